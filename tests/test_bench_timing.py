"""How the bench times, what it refuses, and what it measures.

Time itself is a fake clock here, so that no test depends on the machine. torch is not needed.
"""

import math
import random
from dataclasses import replace

import numpy as np
import pytest

import fastmlp
from fastmlp import use_backend
from fastmlp.bench import cases, check, peers, programs, timing, work
from fastmlp.bench.timing import Times
from fastmlp.bench.work import Case

# --------------------------------------------------------------------------------------------- timing


class Machine:
    """A clock that only work advances. `slowness(now)` is how long a unit of work takes then."""

    def __init__(self, slowness=lambda now: 1e-6):
        self.now = 0.0
        self.slowness = slowness

    def version(self, units):
        """A batch function for a version that does that much work in every call."""

        def call():
            self.now += units * self.slowness(self.now)

        return lambda calls: timing.batch_seconds(call, calls, clock=lambda: self.now)


def noise(share, seed=1):
    rng = random.Random(seed)
    return lambda now: 1e-6 * (1 + rng.uniform(-share, share))


def timed(versions, turns=9, seconds=1e-3):
    t = timing.Turns(versions, seconds)
    t.take(turns)
    return t.times


def compared(machine, **units):
    return timing.speed_up(*timed({name: machine.version(n) for name, n in units.items()}).values())


def test_twice_the_work_shows_as_twice_the_time():
    exact = compared(Machine(), ours=30, theirs=60)
    assert exact.low == pytest.approx(2) and exact.median == pytest.approx(2) and exact.high == pytest.approx(2)
    noisy = compared(Machine(noise(0.3)), ours=30, theirs=60)
    assert noisy.low < 2 < noisy.high and noisy.high - noisy.low < 0.5


def test_a_drifting_machine_does_not_move_the_ratio():
    ratio = compared(Machine(lambda now: 1e-6 * (1 + 200 * now)), ours=30, theirs=60)
    times = timed({"a": Machine(lambda now: 1e-6 * (1 + 200 * now)).version(30)})["a"]
    assert times.samples[-1] > 1.5 * times.samples[0]  # the drift is there
    assert ratio.median == pytest.approx(2, rel=0.25)


def test_versions_take_turns():
    order = []

    def batch(name):
        def run(calls):
            order.append(name)
            return calls * 1e-3

        return run

    times = timed({"a": batch("a"), "b": batch("b")}, turns=3, seconds=2e-3)
    assert order[-6:] == ["a", "b"] * 3 and len(times["a"].samples) == 3


def test_turns_add_up():
    t = timing.Turns({"a": Machine().version(30)}, 1e-3)
    t.take(3)
    t.take(2)
    assert len(t.times["a"].samples) == 5


def test_the_interval_of_a_ratio_reaches_over_the_sessions():
    ours, theirs = Times([1.0] * 18), Times([1.0] * 16 + [5.0] * 2)
    together, apart = timing.speed_up(ours, theirs), timing.speed_up(ours, theirs, [16, 2])
    assert (together.low, together.high) == (1, 1) and (apart.low, apart.high) == (1, 5)
    assert together.median == apart.median == 1


@pytest.mark.parametrize("units", [1, 20, 900, 50_000])
def test_a_turn_has_the_length_asked_for(units):
    calls = timing.calls_per_turn(Machine().version(units), seconds=0.01)
    assert calls == max(1, round(0.01 / (units * 1e-6)))


def test_a_slow_first_call_does_not_decide_how_long_a_turn_is():
    first = iter([0.002])
    calls = timing.calls_per_turn(lambda calls: next(first, 0) + calls * 1e-6, seconds=0.01)
    assert calls > 1000


@pytest.mark.parametrize("n", range(6, 40))
def test_the_interval_of_the_median_covers_it_95_times_in_100(n):
    low, high = timing.median_interval(n)

    def missed(r):  # fewer than r of n samples on one side of the median
        return 2 * sum(math.comb(n, i) for i in range(r)) / 2**n

    assert low == n - 1 - high
    assert missed(low + 1) <= 0.05 < missed(low + 2)


def test_the_interval_of_few_samples_is_their_range():
    assert [timing.median_interval(n) for n in (1, 2, 5)] == [(0, 0), (0, 1), (0, 4)]


def test_spread_and_noise():
    assert Times([1.0, 1.0, 1.0]).spread == 0 and not Times([1.0, 1.0, 1.0]).noisy
    assert Times([1.0, 2.0, 3.0]).spread == pytest.approx(0.5) and Times([1.0, 2.0, 3.0]).noisy
    assert not Times([1.0, 5.0] + [1.0] * 7).noisy  # one outlier is not a noisy row


# ---------------------------------------------------------------------------------------------- check


@pytest.fixture
def right():
    rng = np.random.default_rng(3)
    return rng.standard_normal((40, 30))


def test_rounding_passes(right):
    assert check.problem([right.astype(np.float32)], [right], "float32", 100) is None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: a * 1.001, "wrong"),
        (lambda a: np.where(np.arange(a.size).reshape(a.shape) == 1199, 0, a).astype(a.dtype), "wrong"),
        (lambda a: np.where(a > 3, np.nan, a).astype(a.dtype), "wrong"),
        (lambda a: (a.view(np.uint32) & 0xFFFF0000).view(np.float32), "wrong"),  # bfloat16
        (lambda a: a.T, "shape"),
        (lambda a: a.astype(np.float64), "float64"),
    ],
)
def test_anything_else_is_refused(right, spoil, message):
    right[0, 0] = 4
    got = spoil(right.astype(np.float32))
    assert message in check.problem([got], [right], "float32", 100)


def test_a_unit_that_switches_may_move_a_gradient_but_not_a_loss():
    case = Case("network", "Adam", (7, 5, 4, 3))
    want = [np.asarray(2.0), np.ones(100)]
    gradient = np.ones(100, np.float32)
    gradient[7] += 5e-3
    assert check.case_problem(case, [np.float32(2), gradient], want) is None
    assert "result 1 is wrong" in check.case_problem(case, [np.float32(2), gradient * np.float32(1.005)], want)
    assert "result 0 is wrong" in check.case_problem(case, [np.float32(2.001), gradient], want)


def test_an_answer_is_computed_once(tmp_path, monkeypatch):
    case = Case("backward", "relu", (3, 4, 5))
    answers = check.Answers(tmp_path)
    first = answers.of(case)
    monkeypatch.setattr(check, "expected", lambda case, a: pytest.fail("computed again"))
    again = answers.of(case)
    assert len(first) == len(again) == 3
    for one, other, right in zip(first, again, work.expected(case, work.inputs(case))):
        assert np.array_equal(one, right) and np.array_equal(other, right)


def test_a_missing_result_is_refused(right):
    assert "1 results where 2" in check.problem([right], [right, right], "float64", 1)


def test_all_zero_is_a_result():
    assert check.problem([np.zeros(3)], [np.zeros(3)], "float64", 1) is None
    assert "wrong" in check.problem([np.full(3, 1e-3)], [np.zeros(3)], "float64", 1)


# ------------------------------------------------------------------------------------------------ work


def small(case):
    return math.prod(case.shape) < 1_000_000


def test_the_table_holds_what_it_should():
    shapes = {c.shape for c in cases.CASES if (c.section, c.dtype) == ("linear", "float32")}
    assert len(shapes) >= 24 and {(1, 10, 64), (512, 1024, 1024), (512, 4096, 4096)} <= shapes
    assert {c.shape for c in cases.CASES if c.section == "backward"} == shapes
    assert len({c.name for c in cases.CASES}) == len(cases.CASES)
    quick = cases.select(list(cases.SECTIONS), ["float32", "float64"], quick=True)
    assert 0 < len(quick) < len(cases.CASES)
    assert {c.section for c in quick} == set(cases.SECTIONS) - {"busy", "classes", "training", "cold"}
    assert {c.dtype for c in cases.select(["linear"], ["float64"])} == {"float64"}


@pytest.mark.parametrize(
    ("case", "flops", "size"),
    [
        (Case("linear", "relu", (2, 3, 5)), 60, None),
        (Case("backward", "relu", (2, 3, 5)), 120, None),  # dy w and dyᵀ x
        (Case("classes", "labels", (2, 3, 5)), 180, None),
        (Case("predict", "relu", (2, 3, 5, 7)), 60 + 140, None),
        (Case("network", "Adam", (2, 3, 5, 7)), 2 * 60 + 3 * 140, None),  # the first layer has no dx
        (Case("softmax", "softmax", (2, 3), "float64"), None, 96),
        (Case("cross_entropy", "labels", (2, 3)), None, 48),
        (Case("optim", "SGD", (3, 5)), None, 5 * 4 * 20),
        (Case("optim", "Adam", (3, 5)), None, 7 * 4 * 20),
        (Case("loss", "mse_loss", (4,)), None, None),
    ],
    ids=lambda v: v.name if isinstance(v, Case) else None,
)
def test_how_much_work_a_case_is(case, flops, size):
    assert (case.flops, case.bytes) == (flops, size)


def test_inputs_are_the_same_in_every_process():
    case = cases.CASES[0]
    first, second = work.inputs(case), work.inputs(case)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(work.inputs(replace(case, kernel="gelu"))["x"], first["x"])


@pytest.mark.parametrize("shape", [(100, 10, 64), (128, 784, 256), (7, 4096, 50)])
def test_the_sign_of_every_unit_is_certain(shape):
    a = work.inputs(work.Case("backward", "relu", shape))
    z = a["x"].astype(np.float64) @ a["w"].T.astype(np.float64) + a["b"]
    summed_the_other_way = a["x"][:, ::-1] @ a["w"][:, ::-1].T + a["b"]
    assert np.array_equal(z, summed_the_other_way.astype(np.float64)) and (z != 0).all()
    assert np.abs(a["w"]).mean() > 0.4 * shape[1] ** -0.5  # still the weights of a layer


@pytest.mark.parametrize("case", cases.select(["step"], ["float32"]), ids=lambda c: c.name)
def test_the_signs_of_a_step_are_certain(case):
    """No z of a relu is so near 0 that the rounding of some library could switch a unit on."""
    a = {name: v.astype(np.float64) for name, v in work.inputs(case).items()}
    z1 = a["x"] @ a["fc1.weight"].T + a["fc1.bias"]
    z2 = np.maximum(z1, 0) @ a["fc2.weight"].T + a["fc2.bias"]
    assert min(np.abs(z1).min(), np.abs(z2).min()) > 2e-6  # some 20 ulp of a z


def test_a_step_leaves_the_parameters_where_they_are():
    a = work.inputs(work.Case("step", work.AS_WRITTEN, (5, 4, 3, 2, 1)))
    step, checked = programs.training_step(fastmlp, (5, 4, 3, 2, 1), a)
    first = step()
    assert isinstance(first, float) and first > 0
    for _ in range(3):
        step()
    loss, *gradients = checked()
    assert loss == np.float32(first) and [g.shape for g in gradients] == [(3, 4), (3,), (2, 3), (2,), (1, 2), (1,)]


WRITTEN = [c for c in cases.CASES if c.section in ("step", "eager")]


@pytest.mark.parametrize("case", WRITTEN, ids=lambda c: c.name)
def test_what_people_write_is_the_same_in_torch(case):
    pytest.importorskip("torch")
    a = work.inputs(case)
    ways = peers.versions("fastmlp", case, a) + peers.versions("torch", case, a, compiled=True)
    assert len(ways) == 2  # torch is not compiled here
    for version in ways:
        version.call()
        assert check.problem(version.results(), work.expected(case, a), case.dtype, case.depth) is None


@pytest.mark.parametrize("case", [c for c in cases.CASES if small(c)], ids=lambda c: c.name)
def test_every_way_to_do_a_case_is_right(case):
    a = work.inputs(case)
    want = work.expected(case, a)
    ways = peers.versions("fastmlp", case, a) + peers.versions("numpy", case, a)
    alone = (
        case.section in ("step", "network") or case.kernel == "gelu" or case.kernel.startswith("binary_cross_entropy")
    )
    assert len(ways) == 2 - alone  # what NumPy has no function for
    for version in ways:
        with use_backend("numpy"):
            got = version.results()
        assert check.problem(got, want, case.dtype, case.depth) is None, version.name


SMALL = [
    work.Case("network", "Adam", (7, 5, 4, 3, 1)),
    work.Case("network", "Adam", (7, 5, 4, 3)),
    work.Case("predict", "relu", (7, 5, 4, 1)),
    work.Case("predict", "relu", (1, 5, 4, 3)),
    work.Case("classes", "labels", (7, 5, 9)),
    work.Case("optim", "SGD", (5, 4, 3)),
    work.Case("optim", "Adam", (5, 4, 3)),
]


@pytest.mark.parametrize("case", SMALL, ids=lambda c: c.name)
@pytest.mark.parametrize("peer", peers.PEERS)
def test_what_peers_do_with_networks_is_right(peer, case, monkeypatch):
    if peer != "numpy":
        pytest.importorskip(peer)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    a = work.inputs(case)
    for version in peers.versions("fastmlp", case, a) + peers.versions(peer, case, a):
        assert check.case_problem(case, version.results(), work.expected(case, a)) is None, version.name
