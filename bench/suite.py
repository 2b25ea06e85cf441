"""A whole run: for every number of threads the ceilings and every case against every peer; then the neighbour.

Rows are kept and printed as they come, so that an interrupted run has what it has.
"""

from itertools import groupby

from . import busy, ceilings, environment, report, work
from .measure import MOST, measure
from .results import Ceiling
from .worker import Worker, WorkerError


def say(lines):
    for line in [lines] if isinstance(lines, str) else lines:
        print(line, flush=True)


class Workers:
    """The processes of one number of threads; one that has died is started again when it is next needed."""

    def __init__(self, threads, backend):
        self._config = (threads, backend, environment.common_cpus(threads))
        self._running = {}

    def __getitem__(self, library):
        worker = self._running.get(library)
        if worker is None or not worker.alive:
            worker = self._running[library] = Worker(library, *self._config)
        return worker

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in self._running.values():
            worker.close()


def run(args, results):
    """Measures what `args` asks for into `results` and prints it. WorkerError: fastmlp cannot be used."""
    results.options = {"quick": args.quick, "compiled": args.compile, "turns": args.turns, "most": MOST}
    results.environment = environment.describe()
    cases = work.select(args.section, args.dtype, args.quick)
    wanted = {case: args.against or case.peers for case in cases}
    for threads in args.threads:
        with Workers(threads, args.backend) as workers:
            _introduce(workers, results, {peer for peers in wanted.values() for peer in peers})
            if threads == args.threads[0]:
                say(report.environment_lines(results))
            ceiling = Ceiling(threads, workers["fastmlp"].fma_peaks(), ceilings.copy_bandwidth(threads))
            results.ceilings.append(ceiling)
            say(["", report.ceiling_line(ceiling)])
            _measure_all(wanted, workers, ceiling, args, results)
    if "busy" in args.section:
        for case in busy.CASES:
            rows = busy.measure(
                case,
                ["fastmlp", *(args.against or ["torch"])],
                args.backend,
                rounds=3 if args.quick else 7,
                seconds=0.15 if args.quick else 0.4,
            )
            results.busy += rows
            say(report.busy_lines(rows))
    results.environment["load_average_at_end"] = environment.load_average()
    results.complete = True


def _introduce(workers, results, peers):
    """Starts every library once, and writes down what it is, or why it is missing."""
    results.libraries["fastmlp"] = workers["fastmlp"].environment()
    for peer in sorted(peers):
        try:
            results.libraries[peer] = workers[peer].environment()
        except WorkerError as e:
            results.missing[peer] = str(e)


def _measure_all(wanted, workers, ceiling, args, results):
    """The rows for one number of threads: a table for each section, dtype and peer."""
    pairs = [(case, peer) for case, peers in wanted.items() for peer in peers if peer not in results.missing]

    def table(pair):
        case, peer = pair
        return work.SECTIONS.index(case.section), case.dtype, peer

    for _, group in groupby(sorted(pairs, key=table), key=table):
        _measure_table(list(group), workers, ceiling, args, results)


def _measure_table(pairs, workers, ceiling, args, results):
    """Each row is printed as it comes; the summary below them comes even if the rest is interrupted."""
    rows = []
    try:
        for case, peer in pairs:
            row = measure(case, peer, workers, ceiling, args.turns, args.seconds, args.compile)
            if not rows:
                say(report.table_heading(row))
            rows.append(row)
            results.rows.append(row)
            say(report.row_lines(row))
    finally:
        if rows:
            say(report.table_summary(rows))
