"""The busy neighbour: the same forward pass, or training step, while another process keeps one of two cores busy.

Fixed shares of work wait for the slowest thread; small tiles claimed one by one do not. What counts here is the
mean and not the median, because the harm lies in the calls that take very long.
"""

import os
import subprocess
import sys
from contextlib import contextmanager

from .cases import MIDDLE
from .measure import right_versions, why_none
from .others import Watch
from .results import BusyRow
from .work import Case, expected, inputs
from .worker import Worker, WorkerError

CASES = [Case("linear", "relu", (128, 784, 256)), Case("network", "Adam", MIDDLE)]
THREADS = 2
LIBRARIES = ("torch",)
SPIN = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); print(flush=True)\nwhile True: pass"


def measure(case, libraries, backend, rounds, seconds):
    """A BusyRow for each of `libraries`. In each round all are timed quiet, then all busy, `seconds` each."""
    rows = [BusyRow(library, "", case.shape, THREADS, section=case.section) for library in libraries]
    cpus = sorted(os.sched_getaffinity(0))[:2] if hasattr(os, "sched_getaffinity") else []
    if len(cpus) < 2:
        for row in rows:
            row.problem = "needs two CPUs and a system that can bind a process to one of them"
        return rows
    workers = {}
    try:
        want = expected(case, inputs(case))
        for row in rows:
            _start(case, row, workers, backend, cpus, want)
        if timed := [row for row in rows if not row.problem]:
            _time(timed, workers, cpus, rounds, seconds)
    finally:
        for worker in workers.values():
            worker.close()
    return rows


def _start(case, row, workers, backend, cpus, want):
    """Starts the row's library and takes the fastest of its ways that are right."""
    try:
        worker = workers[row.library] = Worker(row.library, THREADS, backend, cpus)
        right, notes = right_versions(case, worker, want)
        if right:
            row.version = min(right, key=lambda version: right[version](10)).removeprefix(f"{row.library} ")
        else:
            row.problem = why_none(worker, notes)
    except WorkerError as e:
        row.problem = str(e)


def _time(rows, workers, cpus, rounds, seconds):
    """Fills the rows: quiet and busy times by turns, and what strangers did in the quiet half."""

    def mean(row):
        calls = often[row.library]
        return workers[row.library].time(row.version, calls) / calls

    shares = []
    try:
        often = {row.library: 10 for row in rows}
        often = {row.library: max(1, round(seconds / mean(row))) for row in rows}
        for _ in range(rounds):
            watch = Watch([workers[row.library] for row in rows], cpus)
            for row in rows:
                row.quiet.append(mean(row))
            shares.append(watch.share())
            with busy_core(cpus[0]):
                for row in rows:
                    row.busy.append(mean(row))
    except WorkerError as e:  # without one of them the turns of the others mean nothing
        for row in rows:
            row.problem = str(e)
        return
    for row in rows:
        row.others = None if None in shares else max(shares)


@contextmanager
def busy_core(cpu):
    """Within the block, another process computes on that CPU without a pause."""
    with subprocess.Popen([sys.executable, "-c", SPIN, str(cpu)], stdout=subprocess.PIPE) as neighbour:
        try:
            neighbour.stdout.readline()  # it is there
            yield
        finally:
            neighbour.kill()
