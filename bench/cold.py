"""What a library costs before it is warm: its import, its first training step, its packages on disk."""

import os
import subprocess
import sys

from . import environment
from .cases import ARTICLE
from .results import ColdRow
from .work import Case, shape_text
from .worker import Worker, WorkerError, environment_of_threads

CASE = Case("network", "Adam", ARTICLE)
LIBRARIES = ("numpy", "torch", "jax", "sklearn", "onnxruntime")
IMPORT = "import time\nbegin = time.perf_counter()\nimport {}\nprint(time.perf_counter() - begin)"


def rows(libraries: list[str]) -> list[ColdRow]:
    return [ColdRow(library, f"training step {shape_text(ARTICLE)}") for library in libraries]


def measure(rows: list[ColdRow], threads: int, backend: str | None, rounds: int) -> None:
    """Fills the rows; every import, and every first step, in a new process."""
    for _ in range(rounds):  # in turns
        for row in rows:
            if not row.problem:
                _measure_once(row, threads, backend)


def _measure_once(row: ColdRow, threads: int, backend: str | None) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", IMPORT.format(row.library)],
        env=environment_of_threads(threads),
        cwd=os.path.abspath(os.sep),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        row.problem = done.stderr.strip().splitlines()[-1]
        return
    row.imports.append(float(done.stdout))
    try:
        with Worker(row.library, threads, backend, environment.common_cpus(threads)) as worker:
            seconds = worker.first_call(CASE)
            if seconds is not None:
                row.first_steps.append(seconds)
            row.installed_mib = worker.installed_mib()
    except WorkerError as e:
        row.problem = str(e)
