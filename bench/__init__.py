"""The bench: how fast fastmlp is beside what people use otherwise, and how close to the machine's limit.

`fastmlp bench` (or `python -m fastmlp.bench`) prints the tables, `python -m fastmlp.bench.readme` puts saved ones into
a README.

what is measured
    cases.py        which cases there are, by suites
    work.py         the inputs of a case, its right answer
    training.py     networks that are trained to an accuracy
    programs.py     training steps and operations as people write them, for fastmlp and torch alike
    peers.py        how each library does each case, at its best; a peer_*.py for each of them
    targets.py      what is aimed at, as data, and whether it was reached
how
    worker.py       every library runs in a process of its own and is told over a pipe what to do
    timing.py       turns A B A B, medians, spread, ratios with their intervals
    check.py        a result is compared with the reference before it is timed
    others.py       how much of the machine other processes took meanwhile
    measure.py      one case, two libraries -> one row
    race.py         one network, all libraries train it -> a row for each
    cold.py         imports, first steps, sizes on disk
    busy.py         the same work while another process keeps a core busy
    ceilings.py     what the machine can do at most
    environment.py  what was measured on what
    suite.py        a whole run; progress.py: how far it is
what came out
    results.py      rows, files, geometric means
    compare.py      what changed since a saved run
    tables.py       a run as tables
    report.py       text on the console
    readme.py       markdown in a README
    pictures.py     bars, lines, the roofline
    page.py         a page for a browser
    test_cases.py   the same cases under pytest-benchmark

The bench uses fastmlp as a stranger would, through its public API; only the ceiling of a core comes from the
compiled backend, and peers are imported in their workers alone.
"""
