"""One case and two libraries give one row: prepare, check, time in turn, compare."""

from collections.abc import Mapping

from . import timing
from .check import case_problem
from .others import Watch
from .results import Ceiling, Row
from .work import Case, expected, inputs
from .worker import Worker, WorkerError

MOST = 3  # times the turns asked for: what a row gets whose ratio is not precise
PEAK = "FMA peak"  # timed in the same turns: a call is 10⁹ operations


def measure(
    case: Case, peer: str, workers: Mapping[str, Worker], ceiling: Ceiling, turns, seconds, compiled, attempts=1
):
    """The row of `case` for fastmlp against `peer`, by their names in `workers`.

    turns, seconds: how many turns of what length. compiled: torch.compile too. attempts: how often a row is timed that
    other processes disturb. What goes wrong is in the row,
    unless it is fastmlp's own worker that cannot be had: WorkerError.
    """
    row = Row(case.section, case.kernel, case.shape, case.dtype, ceiling.threads, peer)
    ours = workers["fastmlp"]
    try:
        row.problem = _fill(row, case, (ours, workers[peer]), ceiling, turns, seconds, compiled, attempts)
    except WorkerError as e:
        row.problem = str(e)
    if row.ratio:
        _compare_with_ceiling(row, case, ceiling)
    return row


def _fill(row, case, pair, ceiling, turns, seconds, compiled, attempts):
    """Puts times and ratio into the row. -> why that was not possible, or None"""
    want = expected(case, inputs(case))
    batches = {}
    for worker in pair:
        right = _right_versions(row, case, worker, want, compiled)
        if not right:
            return "; ".join(row.notes) or f"{worker.library} has no such operation"
        batches |= right
    del want  # up to hundreds of megabytes that nobody needs any more
    if case.flops is not None and ceiling.fma_gflops:
        batches[PEAK] = lambda calls: calls / pair[0].fma_peak(case.dtype)
    _time(row, pair, batches, turns, seconds, attempts)
    return None


def _time(row, pair, batches, turns, seconds, attempts):
    """Times of all versions and their ratio into the row, once all of them are there.

    Whether all is repeated is decided by what others did. A ratio that the first turns leave imprecise gets MOST
    times as many, all of them: to look again after each, and stop when the interval happens to be narrow, would
    choose the lucky ones.
    """
    for _ in range(attempts):
        watch = Watch(pair)
        timed = timing.Turns(batches, seconds)
        timed.take(turns)
        if not timing.precise(*_the_fastest(timed.times, pair)):
            timed.take((MOST - 1) * turns)
        row.others = watch.share()
        if not row.disturbed:
            break
    row.times = timed.times
    row.ours, row.theirs = (_fastest(timed.times, worker.library) for worker in pair)
    row.ratio = timing.speed_up(timed.times[row.ours], timed.times[row.theirs])


def _the_fastest(times, pair):
    """Ours and theirs."""
    return [times[_fastest(times, worker.library)] for worker in pair]


def _right_versions(row, case, worker, want, compiled):
    """{name: batch} of the versions that run and give the right result; the others are in the row's notes."""
    names, notes = worker.prepare(case, compiled)
    row.notes += notes
    right = {}
    for name in names:
        wrong = case_problem(case, worker.result(name), want)
        if wrong:
            row.notes.append(f"{worker.library} {name} refused: {wrong}")
        else:
            right[f"{worker.library} {name}"] = _batch(worker, name)
            if case.section == "classes" and (mib := worker.extra_mib(name)) is not None:
                row.extra_mib[f"{worker.library} {name}"] = mib
    return right


def _batch(worker, name):
    return lambda calls: worker.time(name, calls)


def _fastest(times, library):
    mine = [version for version in times if version.startswith(f"{library} ")]
    return min(mine, key=lambda version: times[version].median)


def _compare_with_ceiling(row, case, ceiling):
    if case.flops is not None:
        row.gflops = case.flops / row.seconds / 1e9
        if PEAK in row.times:  # turn by turn, as a clock that changes its speed changes both
            share = timing.speed_up(row.times[row.ours], row.times[PEAK]).median
            row.peak_share = share * case.flops / 1e9 / ceiling.threads
    if case.bytes is not None:
        row.gbps = case.bytes / row.seconds / 1e9
        row.copy_share = row.gbps / ceiling.copy_gbps
