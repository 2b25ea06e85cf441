"""Libraries that train the same network to the same accuracy, in turns.

Every library first trains an epoch, which compiles what it compiles and shows whether its loss is that of the NumPy
reference. Then they take turns, each from the start.
"""

import tempfile
from dataclasses import replace

import numpy as np

from .environment import common_cpus
from .others import Watch, most
from .results import TrainingRow
from .training import AIM, Task, data
from .worker import Worker, WorkerError, Workers

AGREE = 0.01  # how far the mean loss of the first epoch may be from that of the reference
LIBRARIES = ("torch", "jax", "sklearn")


def rows(task: Task, libraries: list[str], threads: int) -> list[TrainingRow]:
    return [TrainingRow(library, "", task.name, task.shape, threads) for library in libraries]


def measure(rows: list[TrainingRow], task: Task, threads: int, backend: str | None, rounds: int) -> None:
    """Fills the rows: each library is trained `rounds` times, and for an epoch before."""
    with tempfile.TemporaryDirectory() as folder, Workers(threads, backend) as workers:
        try:
            for name, array in data(task).items():
                np.save(f"{folder}/{name}.npy", array)
        except ImportError as e:
            for row in rows:
                row.problem = f"its data comes with scikit-learn ({e})"
            return
        first = replace(task, most_epochs=1)
        with Worker("fastmlp", threads, "numpy") as reference:
            right = reference.train(first, folder)["losses"][0]
        for row in rows:
            _first(row, workers, first, folder, right)
        for _ in range(rounds):
            for row in rows:
                if not row.problem:
                    _again(row, workers, task, folder)


def _first(row: TrainingRow, workers: Workers, task: Task, folder: str, right: float) -> None:
    """The first epoch, whose mean loss must be `right`."""
    try:
        found = workers[row.library].train(task, folder)
    except WorkerError as e:
        row.problem = str(e)
        return
    row.version, row.first, loss = found["version"], found["epochs"][0], found["losses"][0]
    if not abs(loss - right) <= AGREE * right:
        row.problem = f"{row.library} refused: its first epoch's mean loss is {loss:.5g}, the reference's {right:.5g}"


def _again(row: TrainingRow, workers: Workers, task: Task, folder: str) -> None:
    try:
        watch = Watch([workers[row.library]], common_cpus(row.threads))
        found = workers[row.library].train(task, folder)
        row.others = most(row.others, watch.share())
        row.peak_mib = workers[row.library].peak_mib()
    except WorkerError as e:
        row.problem = str(e)
        return
    row.epochs, row.loss, row.accuracy = len(found["epochs"]), found["losses"][-1], found["accuracy"]
    row.seconds.append(sum(found["epochs"]))
    row.rows_per_second = found["rows"] * row.epochs / row.times.median
    if row.accuracy < AIM:
        row.problem = f"{100 * row.accuracy:.1f} % after {row.epochs} epochs"
