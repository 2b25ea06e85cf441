"""Training to an accuracy: the tasks, their data, and one training, in the process of a library.

The tests between the epochs are not timed. How libraries take turns: race.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import peers
from .cases import DIGITS
from .work import layers

AIM = 0.97  # of the rows that were never trained on


@dataclass(frozen=True)
class Task:
    """shape: batch x in x hidden ... x out. quick: part of `--quick`"""

    name: str
    shape: tuple[int, ...]
    quick: bool
    lr: float = 1e-3
    most_epochs: int = 100


TASKS = [Task("digits", DIGITS, True), Task("synthetic", (100, 784, 256, 128, 10), False)]


# --------------------------------------------------------------------------------------------------- the data


def data(task: Task) -> dict[str, np.ndarray]:
    """x (rows, in), labels (rows,), the same for the test, and the weights to start from: the same in every run."""
    rng = np.random.default_rng(0)
    x, labels = {"digits": _digits, "synthetic": _synthetic}[task.name](rng)
    order = rng.permutation(len(x))
    count = len(x) * 5 // 6 // task.shape[0] * task.shape[0]  # whole batches
    train, test = order[:count], order[count:]
    arrays = {"x": x[train], "labels": labels[train], "x_test": x[test], "labels_test": labels[test]}
    return arrays | layers(rng, task.shape[1:], "float32")


def _digits(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """1,797 handwritten digits of 8 x 8 pixels, which come with scikit-learn."""
    from sklearn.datasets import load_digits

    x, labels = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), labels.astype(np.int64)


def _synthetic(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """72,000 rows of 784, of which 60,000 are trained on: each near one of 500 places, 50 to a class, in noise.

    Places are 40 from each other, and the noise is 2 in each direction, so that nearly all rows can be told; but with
    120 rows of a place to learn from, a network takes some epochs.
    """
    places = rng.standard_normal((500, 784), np.float32)
    which = rng.integers(0, len(places), 72_000)
    x = rng.standard_normal((len(which), 784), np.float32)
    x *= 2
    x += places[which]
    x /= 3
    return x, which % 10


# ----------------------------------------------------------------------------------------------- one training


def train(library: str, task: Task, folder: str, seconds_of: Callable) -> dict:
    """One training from the start to the AIM. seconds_of(call): what it gives, and how long it took"""
    a = {path.stem: np.load(path) for path in Path(folder).glob("*.npy")}
    x, labels = a.pop("x"), a.pop("labels")
    x_test, labels_test = a.pop("x_test"), a.pop("labels_test")
    trainer = peers.trainer(library, task.shape, a, x, labels, task.lr)
    found = {"version": trainer.name, "epochs": [], "losses": [], "accuracy": 0.0, "rows": len(x)}
    while found["accuracy"] < AIM and len(found["epochs"]) < task.most_epochs:
        order = peers.shuffled(len(found["epochs"]), len(x))
        loss, seconds = seconds_of(lambda order=order: trainer.epoch(len(found["epochs"]), order))
        found["epochs"].append(seconds)
        found["losses"].append(float(loss))
        found["accuracy"] = float(np.mean(np.argmax(trainer.scores(x_test), 1) == labels_test))
    return found
