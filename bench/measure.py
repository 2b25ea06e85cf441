"""One case and two libraries give one row: prepare, check, time in turn, compare."""

from collections.abc import Mapping
from dataclasses import dataclass

from . import timing
from .check import case_problem
from .others import Watch, most
from .results import Ceiling, Row
from .work import Case, expected, inputs
from .worker import Worker, WorkerError

FEW, LONG = 3, 0.5  # turns are enough, where one of all versions takes that many seconds: the clock is exact there
PEAK = "FMA peak"  # timed in the same turns: a call is 10⁹ operations


@dataclass(frozen=True)
class Effort:
    """sessions: with new processes each. turns, seconds: how many turns in one, of what length. most: times the turns
    for a row whose ratio is not precise. attempts: how often a row is timed that other processes disturb. compiled:
    torch.compile too. memory: is it measured too?"""

    turns: int
    seconds: float
    sessions: int = 1
    most: int = 3
    attempts: int = 1
    compiled: bool = False
    memory: bool = False


def measure(
    case: Case, peer: str, workers: Mapping[str, Worker], ceiling: Ceiling, effort: Effort, before: Row | None = None
) -> Row:
    """One session's row of `case` for fastmlp against `peer`, by their names in `workers`. before: that of the sessions
    before, with which it goes on.

    What goes wrong is in the row, unless it is fastmlp's own worker that cannot be had: WorkerError.
    """
    if before is not None and before.problem:
        return before
    row = Row(case.section, case.kernel, case.shape, case.dtype, ceiling.threads, peer)
    ours = workers["fastmlp"]
    try:
        row.problem = _fill(row, case, (ours, workers[peer]), ceiling, effort)
    except WorkerError as e:
        row.problem = str(e)
    except (MemoryError, ValueError, OverflowError) as e:  # arrays of such a shape cannot be made
        row.problem = f"{type(e).__name__}: {e}"
    if row.times:
        _go_on(row, before)
        _judge(row, peer)
        _compare_with_ceiling(row, case, ceiling)
        if effort.memory:
            _memory(row, (ours, workers[peer]))
    return row


def _fill(row, case, pair, ceiling, effort):
    """Puts times and ratio into the row. -> why that was not possible, or None"""
    want = expected(case, inputs(case))
    batches = {}
    for worker in pair:
        right = _right_versions(row, case, worker, want, effort.compiled)
        if not right:
            return "; ".join(row.notes) or f"the bench knows no way for {worker.library}"
        batches |= right
    del want  # up to hundreds of megabytes that nobody needs any more
    if case.flops is not None and ceiling.fma_gflops:
        batches[PEAK] = lambda calls: calls / pair[0].fma_peak(case.dtype)
    _time(row, pair, batches, effort)
    return None


def _time(row, pair, batches, effort):
    """Times of all versions and their ratio into the row, once all of them are there.

    Whether all is repeated is decided by what others did. A ratio that the first turns leave imprecise gets `most`
    times as many, all of them: to look again after each, and stop when the interval happens to be narrow, would
    choose the lucky ones.
    """
    for _ in range(effort.attempts):
        watch = Watch(pair)
        timed = timing.Turns(batches, effort.seconds)
        timed.take(1)
        timed.take((min(effort.turns, FEW) if timed.seconds > LONG else effort.turns) - 1)
        if not timing.precise(*_the_fastest(timed.times, pair)):
            timed.take((effort.most - 1) * effort.turns)
        row.others = watch.share()
        if not row.disturbed:
            break
    row.times = timed.times


def _go_on(row, before):
    """The samples of the sessions before, of the versions that ran in all of them, come first."""
    row.sessions = [len(next(iter(row.times.values())).samples)]
    if before is None:
        return
    both = [name for name in row.times if name in before.times]
    row.times = {name: timing.Times(before.times[name].samples + row.times[name].samples) for name in both}
    row.sessions = before.sessions + row.sessions
    row.others = most(row.others, before.others)
    row.memory_mib = before.memory_mib
    row.notes = list(dict.fromkeys(before.notes + row.notes))


def _judge(row, peer):
    """Which versions stand for the two sides, and their ratio."""
    row.ours, row.theirs = (_fastest(row.times, library) for library in ("fastmlp", peer))
    row.ratio = timing.speed_up(row.times[row.ours], row.times[row.theirs], row.sessions)


def _the_fastest(times, pair):
    """Ours and theirs."""
    return [times[_fastest(times, worker.library)] for worker in pair]


def _memory(row, pair):
    """Of the versions that stand for the two sides; once, as it is the same in every session."""
    for version, worker in zip((row.ours, row.theirs), pair):
        if version not in row.memory_mib:
            try:
                mib = worker.memory_mib(version.removeprefix(f"{worker.library} "))
            except WorkerError as e:
                row.notes.append(f"its memory was not measured: {e}")
                return
            if mib is not None:
                row.memory_mib[version] = mib


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
