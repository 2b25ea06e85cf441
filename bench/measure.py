"""One case and two libraries give one row: prepare, check, time in turn, compare."""

from collections.abc import Mapping

from . import timing
from .check import problem
from .others import Watch
from .results import Ceiling, Row
from .work import Case, expected, inputs
from .worker import Worker, WorkerError

ATTEMPTS = 3  # a row that other processes disturbed is timed again


def measure(case: Case, peer: str, workers: Mapping[str, Worker], ceiling: Ceiling, turns, seconds, compiled):
    """The row of `case` for fastmlp against `peer`, by their names in `workers`.

    turns, seconds: how many turns of what length. compiled: torch.compile too. What goes wrong is in the row,
    unless it is fastmlp's own worker that cannot be had: WorkerError.
    """
    row = Row(case.section, case.kernel, case.shape, case.dtype, ceiling.threads, peer)
    ours = workers["fastmlp"]
    try:
        row.problem = _fill(row, case, (ours, workers[peer]), turns, seconds, compiled)
    except WorkerError as e:
        row.problem = str(e)
    if row.ratio:
        _compare_with_ceiling(row, case, ceiling)
    return row


def _fill(row, case, pair, turns, seconds, compiled):
    """Puts times and ratio into the row. -> why that was not possible, or None"""
    want = expected(case, inputs(case))
    batches = {}
    for worker in pair:
        right = _right_versions(row, case, worker, want, compiled)
        if not right:
            return "; ".join(row.notes) or f"{worker.library} has no such operation"
        batches |= right
    del want  # up to hundreds of megabytes that nobody needs any more
    for _ in range(ATTEMPTS):  # whether to repeat is decided by what others did, not by what came out
        watch = Watch(pair)
        row.times = timing.take_turns(batches, turns, seconds)
        row.others = watch.share()
        if not row.disturbed:
            break
    row.ours, row.theirs = (_fastest(row.times, worker.library) for worker in pair)
    row.ratio = timing.speed_up(row.times[row.ours], row.times[row.theirs])
    return None


def _right_versions(row, case, worker, want, compiled):
    """{name: batch} of the versions that run and give the right result; the others are in the row's notes."""
    names, notes = worker.prepare(case, compiled)
    row.notes += notes
    right = {}
    for name in names:
        wrong = problem(worker.result(name), want, case.dtype, case.depth)
        if wrong:
            row.notes.append(f"{worker.library} {name} refused: {wrong}")
        else:
            right[f"{worker.library} {name}"] = _batch(worker, name)
    return right


def _batch(worker, name):
    return lambda calls: worker.time(name, calls)


def _fastest(times, library):
    mine = [version for version in times if version.startswith(f"{library} ")]
    return min(mine, key=lambda version: times[version].median)


def _compare_with_ceiling(row, case, ceiling):
    if case.flops is not None:
        row.gflops = case.flops / row.seconds / 1e9
        if ceiling.fma_gflops:
            row.peak_share = row.gflops / (ceiling.fma_gflops[case.dtype] * ceiling.threads)
    if case.bytes is not None:
        row.gbps = case.bytes / row.seconds / 1e9
        row.copy_share = row.gbps / ceiling.copy_gbps
