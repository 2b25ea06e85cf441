"""One case and two libraries give one row: prepare, check, time in turn, compare."""

from collections.abc import Mapping
from dataclasses import dataclass

from . import timing
from .check import Answers, case_problem
from .environment import common_cpus
from .others import Watch, most
from .results import Ceiling, Row
from .work import Case
from .worker import Worker, WorkerError

PEAK = "FMA peak"  # timed in the same turns: a call is PEAK_FLOPS operations
PEAK_FLOPS = 1e10  # a turn is one call, which lasts as long as the peak is measured


@dataclass(frozen=True)
class Effort:
    """sessions: with new processes each. turns, seconds: how many turns in one, of what length. attempts: how often a
    row is timed that other processes disturb. compiled: torch.compile too."""

    turns: int
    seconds: float
    sessions: int = 1
    attempts: int = 1
    compiled: bool = False


def measure(
    case: Case,
    peer: str,
    workers: Mapping[str, Worker],
    ceiling: Ceiling,
    effort: Effort,
    answers: Answers,
    before: Row | None = None,
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
        row.problem = _fill(row, case, (ours, workers[peer]), ceiling, effort, answers)
    except WorkerError as e:
        row.problem = str(e)
    except (MemoryError, ValueError, OverflowError, OSError) as e:  # arrays of such a shape cannot be made, or kept
        row.problem = f"{type(e).__name__}: {e}"
    if row.problem is None:
        row.problem = _go_on(row, before)
    if row.problem is None:
        _judge(row, peer)
        _compare_with_ceiling(row, case, ceiling)
        _memory(row, (ours, workers[peer]))
    return row


def _fill(row, case, pair, ceiling, effort, answers):
    """Puts times and ratio into the row. -> why that was not possible, or None"""
    want = answers.of(case)
    batches = {}
    for worker in pair:
        right, notes = right_versions(case, worker, want, effort.compiled)
        row.notes += notes
        if not right:
            return why_none(worker, notes)
        batches |= right
    if case.flops is not None and ceiling.fma_gflops:
        batches[PEAK] = lambda calls: calls * PEAK_FLOPS / 1e9 / pair[0].fma_peak(case.dtype)
    _time(row, pair, batches, effort)
    return None


def _time(row, pair, batches, effort):
    """Times of all versions into the row, once all of them are there; again, if others disturbed them."""
    for _ in range(effort.attempts):
        watch = Watch(pair, common_cpus(row.threads))
        timed = timing.Turns(batches, effort.seconds)
        timed.take(1)
        timed.take((min(effort.turns, timing.FEW) if timed.seconds > timing.LONG else effort.turns) - 1)
        row.others = watch.share()
        if not row.disturbed:
            break
    row.times = timed.times


def _go_on(row, before):
    """The samples of the sessions before, of the versions that ran in all of them, come first. -> what is wrong"""
    row.sessions = [len(next(iter(row.times.values())).samples)]
    if before is None:
        return None
    both = [name for name in row.times if name in before.times]
    row.times = {name: timing.Times(before.times[name].samples + row.times[name].samples) for name in both}
    row.sessions = before.sessions + row.sessions
    row.others = most(row.others, before.others)
    row.memory_mib = before.memory_mib
    row.notes = list(dict.fromkeys(before.notes + row.notes))
    lost = [library for library in ("fastmlp", row.peer) if not _versions(row.times, library)]
    return f"no way of {lost[0]} ran in every session: {'; '.join(row.notes)}" if lost else None


def _judge(row, peer):
    """Which versions stand for the two sides, and their ratio."""
    row.ours, row.theirs = (_fastest(row.times, library) for library in ("fastmlp", peer))
    row.ratio = timing.speed_up(row.times[row.ours], row.times[row.theirs], row.sessions)


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


def right_versions(case, worker, want, compiled=False):
    """{name: batch} of the versions that run and give the right result; notes, also about the others."""
    names, notes = worker.prepare(case, compiled)
    right = {}
    for name in names:
        wrong = case_problem(case, worker.result(name), want)
        if wrong:
            notes.append(f"{worker.library} {name} refused: {wrong}")
        else:
            right[f"{worker.library} {name}"] = _batch(worker, name)
    return right, notes


def why_none(worker, notes):
    """Why no version is right."""
    return "; ".join(notes) or f"the bench knows no way for {worker.library}"


def _batch(worker, name):
    return lambda calls: worker.time(name, calls)


def _versions(times, library):
    return [version for version in times if version.startswith(f"{library} ")]


def _fastest(times, library):
    return min(_versions(times, library), key=lambda version: times[version].median)


def _compare_with_ceiling(row, case, ceiling):
    if case.flops is not None:
        row.gflops = case.flops / row.seconds / 1e9
        if PEAK in row.times:  # turn by turn, as a clock that changes its speed changes both
            share = timing.speed_up(row.times[row.ours], row.times[PEAK]).median
            row.peak_share = share * case.flops / PEAK_FLOPS
    if case.bytes is not None:
        row.gbps = case.bytes / row.seconds / 1e9
        row.copy_share = row.gbps / ceiling.copy_gbps
