"""The cases under pytest-benchmark, for those who track regressions with it: `pytest bench/ --benchmark-compare`.

fastmlp alone, with its own number of threads; each case is checked first. `-k "linear and 128x784"` chooses some, and
FASTMLP_BENCH=full takes all instead of the quick ones.
"""

import os

import pytest

from fastmlp.bench import peers, work
from fastmlp.bench.cases import SECTIONS, select
from fastmlp.bench.check import case_problem

pytest.importorskip("pytest_benchmark", reason="pytest-benchmark is not installed")

CASES = select(list(SECTIONS), ["float32", "float64"], quick=os.environ.get("FASTMLP_BENCH") != "full")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_case(case, benchmark):
    a = work.inputs(case)
    (version,) = peers.versions("fastmlp", case, a)
    with version.context():
        assert case_problem(case, version.results(), work.expected(case, a)) is None
        benchmark.group = case.section
        benchmark(version.call)
