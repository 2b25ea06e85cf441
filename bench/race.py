"""Libraries that train the same network to the same accuracy, in turns.

Every library first trains an epoch, which compiles what it compiles and shows whether its loss is that of the others.
Then they take turns, each from the start.
"""

import statistics
import tempfile
from dataclasses import replace

import numpy as np

from .others import Watch, most
from .results import TrainingRow
from .training import AIM, Task, data
from .worker import WorkerError, Workers

AGREE = 0.01  # how far the mean loss of the first epoch may be from that of most
LIBRARIES = ("torch", "jax", "sklearn")


def measure(task: Task, libraries: list[str], threads: int, backend: str | None, rounds: int) -> list[TrainingRow]:
    """A row for each of the libraries, trained `rounds` times, and for an epoch before."""
    rows = [TrainingRow(library, "", task.name, task.shape, threads) for library in libraries]
    with tempfile.TemporaryDirectory() as folder, Workers(threads, backend) as workers:
        try:
            for name, array in data(task).items():
                np.save(f"{folder}/{name}.npy", array)
        except ImportError as e:
            for row in rows:
                row.problem = f"its data comes with scikit-learn ({e})"
            return rows
        firsts = {row.library: _first(row, workers, task, folder) for row in rows}
        _refuse_what_learns_otherwise(rows, firsts)
        for _ in range(rounds):
            for row in rows:
                if not row.problem:
                    _again(row, workers, task, folder)
    return rows


def _first(row: TrainingRow, workers: Workers, task: Task, folder: str) -> float | None:
    """-> the mean loss of the first epoch"""
    try:
        found = workers[row.library].train(replace(task, most_epochs=1), folder)
    except WorkerError as e:
        row.problem = str(e)
        return None
    row.version, row.first = found["version"], found["epochs"][0]
    return found["losses"][0]


def _refuse_what_learns_otherwise(rows: list[TrainingRow], firsts: dict[str, float | None]) -> None:
    known = [loss for loss in firsts.values() if loss is not None]
    if not known:
        return
    right = statistics.median(known)
    for row in rows:
        loss = firsts[row.library]
        if loss is not None and not abs(loss - right) <= AGREE * right:
            row.problem = f"refused: its first epoch's mean loss is {loss:.5g}, where most have {right:.5g}"


def _again(row: TrainingRow, workers: Workers, task: Task, folder: str) -> None:
    try:
        watch = Watch([workers[row.library]])
        found = workers[row.library].train(task, folder)
        row.others = most(row.others, watch.share())
        row.peak_mib = workers[row.library].peak_mib()
    except WorkerError as e:
        row.problem = str(e)
        return
    row.epochs, row.loss, row.accuracy = len(found["epochs"]), found["losses"][-1], found["accuracy"]
    row.seconds.append(sum(found["epochs"]))
    row.rows_per_second = found["rows"] * row.epochs * len(row.seconds) / sum(row.seconds)
    if row.accuracy < AIM:
        row.problem = f"{100 * row.accuracy:.1f} % after {row.epochs} epochs"
