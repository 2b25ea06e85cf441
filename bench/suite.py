"""A whole run: for every number of threads the ceilings and every case against every peer; then the neighbour.

A session has new processes, and makes every table; the last one prints them. An interrupted run has what it has.
"""

import tempfile
from itertools import groupby

from . import busy, ceilings, cold, environment, race, report
from .cases import SECTIONS
from .check import Answers
from .measure import measure
from .progress import progress
from .results import Ceiling
from .training import TASKS
from .worker import WorkerError, Workers

#: of what is no table of cases, whom it is measured beside
LIBRARIES = {"training": race.LIBRARIES, "cold": cold.LIBRARIES, "busy": busy.LIBRARIES}


def say(lines):
    for line in [lines] if isinstance(lines, str) else lines:
        print(line, flush=True)


def run(args, results):
    """Measures what `args` asks for into `results` and prints it. WorkerError: fastmlp cannot be used."""
    effort = args.effort
    results.options = {"quick": args.quick, "shapes": bool(args.shapes)} | {
        name: getattr(effort, name) for name in ("compiled", "sessions", "turns")
    }
    results.environment = environment.describe()
    wanted = {case: args.against or case.peers for case in args.cases}
    with tempfile.TemporaryDirectory() as folder:
        for threads in args.threads:
            with Workers(threads, args.backend) as workers:
                _introduce(workers, results, _peers(wanted, args))
                if threads == args.threads[0]:
                    say(report.environment_lines(results))
                ceiling = Ceiling(threads, workers["fastmlp"].fma_peaks(), ceilings.copy_bandwidth(threads))
                results.ceilings.append(ceiling)
                say(["", report.ceiling_line(ceiling)])
                if args.cases and effort.sessions > 1:
                    say(f"            in {effort.sessions} sessions; the tables come with the last")
                _measure_all(wanted, workers, ceiling, args, Answers(folder), results)
    _measure_the_rest(args, results)
    results.environment["load_average_at_end"] = environment.load_average()
    results.complete = True


def _measure_the_rest(args, results):
    """What is not a table of cases. Rows are in the results before they are complete: the run may be interrupted."""

    def with_peers(section):
        return ["fastmlp", *(p for p in args.against or LIBRARIES[section] if p not in results.missing)]

    if "training" in args.sections:
        for task in (t for t in TASKS if t.quick or not args.quick):
            for threads in args.threads:
                rows = race.rows(task, with_peers("training"), threads)
                results.training += rows
                race.measure(rows, task, threads, args.backend, rounds=3)
                say(report.training_lines(rows))
    if "cold" in args.sections:
        results.cold = cold.rows(with_peers("cold"))
        cold.measure(results.cold, args.threads[-1], args.backend, 1 if args.quick else 3)
        say(report.cold_lines(results.cold))
    if "busy" in args.sections:
        for case in busy.CASES:
            rows = busy.measure(case, with_peers("busy"), args.backend, rounds=7, seconds=0.4)
            results.busy += rows
            say(report.busy_lines(rows))


def _peers(wanted, args):
    """All that the run may need."""
    whole = {peer for section in args.sections for peer in LIBRARIES.get(section, ())}
    return {peer for peers in wanted.values() for peer in peers} | set(args.against or whole)


def _introduce(workers, results, peers):
    """Starts every library once, and writes down what it is, or why it is missing."""
    results.libraries["fastmlp"] = workers["fastmlp"].environment()
    for peer in sorted(peers):
        try:
            results.libraries[peer] = workers[peer].environment()
        except WorkerError as e:
            results.missing[peer] = str(e)


def _measure_all(wanted, workers, ceiling, args, answers, results):
    """The rows for one number of threads, session by session."""
    tables, rows, shown = _tables(wanted, results), {}, []
    sessions = range(1, args.effort.sessions + 1)
    try:
        with progress(len(sessions) * sum(map(len, tables))) as begin:
            for session in sessions:
                for table in tables:
                    _measure_table(table, rows, workers, ceiling, args.effort, answers, begin)
                    if session == sessions[-1]:
                        shown.append(table)
                        _show(table, rows)
                    else:
                        case, peer = table[0]
                        say(f"  session {session}: {case.section}, {case.dtype}, against {peer}")
                workers.close()  # the next session has new ones
    finally:
        results.rows += rows.values()
        for table in tables:  # of an interrupted run
            if table not in shown:
                _show(table, rows)


def _measure_table(table, rows, workers, ceiling, effort, answers, begin):
    """Another session of the rows of one table."""
    for case, peer in table:
        begin(f"{case.name} against {peer}")
        rows[case, peer] = measure(case, peer, workers, ceiling, effort, answers, rows.get((case, peer)))


def _tables(wanted, results):
    """[(case, peer), ...] for each section, dtype and peer"""
    pairs = [(case, peer) for case, peers in wanted.items() for peer in peers if peer not in results.missing]

    def table(pair):
        case, peer = pair
        return SECTIONS.index(case.section), case.dtype, peer

    return [list(group) for _, group in groupby(sorted(pairs, key=table), key=table)]


def _show(table, rows):
    found = [rows[pair] for pair in table if pair in rows]
    if found:
        say(report.table_lines(found))
