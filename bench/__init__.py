"""The bench: how fast fastmlp is beside what people use otherwise, and how close to the machine's limit.

`python -m fastmlp.bench` prints the table, `python -m fastmlp.bench.readme` puts saved ones into a README.

    work.py         which cases there are, their inputs, their right answers
    targets.py      what is aimed at, as data, and whether it was reached
    programs.py     training steps and operations as people write them, for fastmlp and torch alike
    peers.py        how each library does each case, at its best; a peer_*.py for each of them
    worker.py       every library runs in a process of its own and is told over a pipe what to do
    timing.py       turns A B A B, medians, spread, ratios with their intervals
    check.py        a result is compared with the reference before it is timed
    others.py       how much of the machine other processes took meanwhile
    measure.py      one case, two libraries -> one row
    suite.py        all cases, for every number of threads
    busy.py         the same work while another process keeps a core busy
    ceilings.py     what the machine can do at most
    environment.py  what was measured on what
    results.py      rows, files, geometric means
    report.py       text on the console
    readme.py       markdown in a README

The bench uses fastmlp as a stranger would, through its public API; only the ceiling of a core comes from the
compiled backend, and peers are imported in their workers alone.
"""
