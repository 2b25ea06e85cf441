"""A worker of the bench from within, the ways of torch, the CPUs and what others do on them. Time is made up."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

import fastmlp
from fastmlp.bench import ceilings, check, environment, others, peers, work, worker
from fastmlp.bench.work import Case
from fastmlp.bench.worker import Bench

# ------------------------------------------------------------------------------------------------ memory

MEMORY = """
import numpy as np
from fastmlp.bench import peers, worker
from fastmlp.bench.work import Case

def ways(library, case, a, compiled):
    held = np.empty(2**21)  # 16 MiB, as soon as somebody writes into it

    def call():
        held[:] = 1
        scratch = np.ones(2**22)  # 32 MiB
        return scratch[: 2**21].copy()  # 16 MiB

    other = np.ones(2**23)  # 64 MiB
    return [peers.Version("other", other.sum), peers.Version("way", call)]

worker.versions = ways
bench = worker.Bench("numpy", 1)
bench.prepare(Case("softmax", "softmax", (1024, 1024)), False)
print(bench.memory_mib("way"), bench.memory_mib("other"), bench.memory_mib("way"))
"""


def test_the_memory_of_a_way_is_what_it_holds_needs_and_gives():
    """Beside the inputs, and without what other ways hold. In a process that has done nothing else."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", MEMORY], env=worker.environment_of_threads(1), capture_output=True, text=True
    )
    way, other, again = done.stdout.split()
    if way == "None":
        pytest.skip("this system does not tell")
    assert 60 <= float(way) <= 70 and 60 <= float(again) <= 70 and 60 <= float(other) <= 70


# ---------------------------------------------------------------------------------------- within a worker


class Clock:
    """Time that passes when somebody sleeps or works; process_time with it, until the threads sleep."""

    def __init__(self, busy=0.0):
        self.now, self.busy, self.used = 0.0, busy, 0.0

    def sleep(self, seconds):
        self.used += min(seconds, max(0.0, self.busy - self.now))
        self.now += seconds

    def perf_counter(self):
        return self.now

    def process_time(self):
        return self.used


@pytest.mark.parametrize(("busy", "least", "most"), [(0.0, 0.006, 0.01), (0.1, 0.1, 0.12), (9.0, 0.25, 0.27)])
def test_a_worker_answers_when_its_threads_sleep(monkeypatch, busy, least, most):
    clock = Clock(busy)
    monkeypatch.setattr(worker, "time", clock)
    worker.wait_until_idle()
    assert least <= clock.now <= most


def test_a_short_call_is_timed_after_one_that_warms_up(monkeypatch):
    bench, calls = Bench("numpy", 1), []
    bench.versions["way"] = way = peers.Version("way", lambda: calls.append(1))
    bench.time("way", 3)
    assert len(calls) == 1 + 3
    way.seconds = 1.0
    bench.time("way", 1)
    assert len(calls) == 4 + 1  # a second is long


def test_a_first_call_counts_what_is_made_for_it(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(worker, "time", clock)

    def ways(*_):
        clock.now += 2
        return [peers.Version("way", lambda: clock.sleep(3)), peers.Version("other", lambda: clock.sleep(50))]

    bench = Bench("numpy", 1)
    monkeypatch.setattr(worker, "versions", ways)
    assert bench.first_call(Case("tiny", "relu", (1, 2, 3))) == 5


def test_every_library_is_told_the_number_of_threads(monkeypatch):
    monkeypatch.delenv("OMP_PROC_BIND", raising=False)
    env = worker.environment_of_threads(3)
    assert {env[f"{name}_NUM_THREADS"] for name in ("OMP", "MKL", "OPENBLAS", "FASTMLP")} == {"3"}
    assert env["OMP_PROC_BIND"] == "true"
    assert "OMP_PROC_BIND" not in worker.environment_of_threads(1)


@pytest.mark.parametrize("threads", [1, 2])
def test_torch_and_fastmlp_have_that_many_threads(threads):
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads(), fastmlp.get_num_threads()
    try:
        peers.use_threads("torch", threads, None)
        assert torch.get_num_threads() == threads
        if fastmlp.get_backend() != "numpy":
            peers.use_threads("fastmlp", threads, None)
            assert fastmlp.get_num_threads() == threads
    finally:
        torch.set_num_threads(before[0])
        fastmlp.set_num_threads(before[1])


TORCH_WAYS = {
    Case("linear", "gelu", (3, 4, 5)): {"eager", "out="},
    Case("backward", "relu", (3, 4, 5)): {"autograd", "out="},
    Case("softmax", "softmax", (3, 4)): {"eager", "out="},
    Case("cross_entropy", "labels", (3, 4)): {"autograd", "out="},
    Case("classes", "labels", (3, 4, 5)): {"autograd", "out="},
    Case("loss", "mse_loss", (9,)): {"autograd", "out="},
    Case("loss", "binary_cross_entropy", (9,)): {"autograd", "out="},
    Case("loss", "binary_cross_entropy_with_logits", (9,)): {"autograd", "out="},
    Case("optim", "Adam", (3, 4)): {"for each", "foreach", "fused"},
    Case("network", "Adam", (2, 3, 4)): {"eager", "fused Adam"},
}


@pytest.mark.parametrize("case", TORCH_WAYS, ids=lambda case: case.name)
def test_torch_runs_in_every_way_that_it_has(case):
    pytest.importorskip("torch")
    a = work.inputs(case)
    ways = peers.versions("torch", case, a)
    assert {way.name for way in ways} == TORCH_WAYS[case]
    for way in ways:
        assert check.case_problem(case, way.results(), work.expected(case, a)) is None, way.name


# ---------------------------------------------------------------------------------- the machine and its limits


def test_others_are_what_is_left_of_the_work_of_the_cpus(tmp_path, monkeypatch):
    stat, clock = tmp_path / "stat", Clock()
    tick = os.sysconf("SC_CLK_TCK")

    def busy(cpu0, cpu1):
        stat.write_text(f"cpu 1 1\ncpu0 {cpu0 * tick} 0 0 77 7 0 0 0\ncpu1 {cpu1 * tick} 0 0 77 7 0 0 0\nintr 5\n")

    monkeypatch.setattr(others, "STAT", stat)
    monkeypatch.setattr(others, "time", clock)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    own = SimpleNamespace(cpu_seconds=lambda: clock.now / 2)
    busy(100, 100)
    all_cpus, one = others.Watch([own]), others.Watch([own], [1])
    clock.now = 10.0
    busy(103, 107)  # five of these ten seconds are ours
    assert all_cpus.share() == pytest.approx((10 - 5) / 20)
    assert one.share() == pytest.approx((7 - 5) / 10)


def test_libraries_are_bound_to_as_many_cpus_as_they_have_threads(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(environment, "_siblings", lambda cpu: {cpu % 2, cpu % 2 + 2})  # two cores
    bound = {threads: environment.common_cpus(threads) for threads in (1, 2, 3, 4)}
    assert bound == {1: [1], 2: [1, 0], 3: [1, 0, 3], 4: None}


@pytest.mark.parametrize(("shown", "cpus"), [("0,4\n", {0, 4}), ("2-3", {0, 2, 3}), ("", {0})])
def test_siblings_as_the_system_shows_them(monkeypatch, shown, cpus):
    monkeypatch.setattr(environment.Path, "read_text", lambda path: shown)
    assert environment._siblings(0) == cpus


def test_the_ceilings(monkeypatch):
    monkeypatch.setattr(ceilings, "COPY_BYTES", 10**6)
    monkeypatch.setattr(ceilings, "_copy_once", lambda pool, parts: 0.5)
    assert ceilings.copy_bandwidth(2) == pytest.approx(2 * 10**6 / 0.5 / 1e9)
    peaks = ceilings.fma_peaks(2)
    if peaks is None:
        pytest.skip("the compiled backend is not there")
    monkeypatch.setattr("fastmlp.kernels.cython_cpu.fma_peak", lambda bits, seconds: 100.0 * 32 / bits)
    assert ceilings.fma_peaks(2) == {"float32": 200.0, "float64": 100.0}
    assert peaks["float32"] > 1.5 * peaks["float64"] > 1
