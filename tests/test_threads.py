"""The thread pool: the same bits for any number of threads, after a fork, for many callers at once."""

import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastmlp
from fastmlp.kernels import cases
from fastmlp.kernels.contract import KERNELS, LOSSES

COUNTS = (1, 2, 3, 7)

#: large enough to be split, and a spread of small ones
LARGE = [
    *(
        case
        for dtype in ("float32", "float64")
        for m, k, n in (
            *((256, 784, 256), (1000, 300, 517), (5001, 64, 10)),
            *((777, 33, 65), (1, 2000, 3000), (64, 3000, 31)),
        )
        for case in (
            cases.linear_forward(m, k, n, dtype, "gelu", save=True),
            cases.linear_backward(m, k, n, dtype, "relu"),
            cases.linear_backward(m, k, n, dtype, "mish", wanted=("dw", "db"), accumulate=True),
        )
    ),
    *(
        case
        for shape in ((20_000, 10), (1000, 1000), (3, 100_000))
        for case in (
            *(cases.softmax(kernel, *shape) for kernel in KERNELS if "softmax" in kernel),
            *(cases.cross_entropy(*shape, reduction=r, ignored="some") for r in ("none", "mean", "sum")),
            cases.cross_entropy(*shape, "float64", soft=True, weight=True, sample_weight=True),
        )
    ),
    *(
        cases.activation(kernel, (1_000_003,), "float32", act)
        for kernel in ("activation_forward", "activation_backward")
        for act in ("relu", "tanh", "gelu")
    ),
    *(
        case
        for r in ("none", "mean", "sum")
        for case in (
            *(cases.elementwise_loss((1_000_003,), "float32", loss, reduction=r) for loss in LOSSES),
            cases.elementwise_loss((60_001, 7), "float64", "bce_with_logits", reduction=r, weight=True, pos_weight=7),
            cases.nll_loss(200_000, 10, "float32", reduction=r, weight=True, ignored="some"),
        )
    ),
    cases.find_outside_unit(1_000_000, "float32", i654321=1.5, i999999=-1.0),
    cases.find_bad_label(1_000_000, (0, 1, 7, 0, 8), 3),
    *(
        cases.update(kernel, ((700, 1001), (13,), (0,), (), (90_001,)), dtype, weight_decay=0.1)
        for kernel in ("sgd", "adam", "rmsprop", "adagrad", "adadelta", "nadam", "radam")
        for dtype in ("float32", "float64")
    ),
    *(
        cases.normalize(kernel, *shape)
        for shape in ((20_000, 10), (1000, 1000), (3, 100_000))
        for kernel in KERNELS
        if kernel.startswith(("layer_norm", "batch_norm"))
    ),
    *(
        cases.clip(kernel, ((700, 1001), (13,), (0,), (), (90_001,)), dtype, limit=0.5)
        for kernel in ("clip_norm", "clip_value")
        for dtype in ("float32", "float64")
    ),
    *(
        cases.prelu(kernel, *shape, shared=shared)
        for shape in ((20_000, 33, 1), (7, 5, 30_000))
        for kernel in ("prelu_forward", "prelu_backward")
        for shared in (False, True)
    ),
    cases.dropout(1_000_003, "float32", 0.3),
    cases.dropout(1_000_003, "float64", 0.3),
]
CASES = [*LARGE, *cases.all_cases()[::7]]


@pytest.fixture(autouse=True)
def threads_as_before(cython):
    before = cython.get_num_threads()
    yield
    cython.set_num_threads(before)


def same_bits(a, b):
    return all(np.asarray(a[name]).tobytes() == np.asarray(b[name]).tobytes() for name in a)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_bit_identical_for_any_number_of_threads(cython, case):
    inputs, results = case.inputs(), {}
    for threads in COUNTS:
        cython.set_num_threads(threads)
        results[threads] = case.run(cython, inputs)
    for threads in COUNTS[1:]:
        assert same_bits(results[1], results[threads]), f"1 and {threads} threads differ"


@pytest.mark.parametrize("threads", [3, 7])
def test_any_number_of_rows_is_shared_out(cython, threads):
    """Groups and blocks of rows that do not come out even."""
    for m in range(46, 140, 3):
        case = cases.linear_forward(m, 700, 131, "float32", "tanh")
        inputs, results = case.inputs(), []
        for n in (1, threads):
            cython.set_num_threads(n)
            results.append(case.run(cython, inputs))
        assert same_bits(*results), f"{m} rows: 1 and {threads} threads differ"


@pytest.mark.parametrize("m, k, n", [(90, 90, 90), (300, 40, 60)])
def test_jobs_of_middle_size_are_right_while_workers_sleep_and_wake(cython, m, k, n):
    """They are shared out only while workers are awake, or when they come thick and fast."""
    for case in (cases.linear_forward(m, k, n, "float32", "gelu"), cases.linear_backward(m, k, n, "float32", "relu")):
        inputs = case.inputs()
        cython.set_num_threads(1)
        right = case.run(cython, inputs)
        cython.set_num_threads(3)
        for pause in (0, 0, 0, 0.001, 0, 0.001):
            time.sleep(pause)
            assert same_bits(right, case.run(cython, inputs))


def test_bit_identical_from_one_call_to_the_next(cython):
    """Which thread claims which task changes from call to call; nothing may depend on it."""
    cython.set_num_threads(4)
    case = cases.linear_backward(700, 300, 200)
    inputs = case.inputs()
    first = case.run(cython, inputs)
    assert all(same_bits(first, case.run(cython, inputs)) for _ in range(20))


def test_eight_python_threads_at_once(cython):
    cython.set_num_threads(3)
    chosen = [*LARGE[:6], *LARGE[-10:-4], *cases.all_cases()[::150]]
    work = [(case, case.inputs()) for case in chosen]
    expected = [case.run(cython, inputs) for case, inputs in work]

    def run(start):
        order = [(start * 5 + i) % len(work) for i in range(len(work))]
        return all(same_bits(expected[i], work[i][0].run(cython, work[i][1])) for i in order)

    with ThreadPoolExecutor(8) as callers:
        assert all(callers.map(run, range(8)))


def test_the_number_of_threads_may_change_while_others_compute(cython):
    case = cases.linear_forward(500, 300, 200)
    inputs = case.inputs()
    expected = case.run(cython, inputs)
    with ThreadPoolExecutor(4) as callers:
        results = [callers.submit(case.run, cython, inputs) for _ in range(60)]
        for i in range(60):
            fastmlp.set_num_threads(1 + i % 5)
        assert all(same_bits(expected, r.result()) for r in results)


def test_set_num_threads(cython):
    for n in (1, 5, np.int64(2)):
        fastmlp.set_num_threads(n)
        assert fastmlp.get_num_threads() == n
    with pytest.raises(ValueError):
        fastmlp.set_num_threads(0)
    assert fastmlp.get_num_threads() == 2


# --------------------------------------------------------------------------------- in a new process


@pytest.mark.usefixtures("cython")
def test_the_environment_sets_the_number_of_threads(python):
    ask = "import fastmlp; print(fastmlp.get_num_threads())"
    assert python(ask, FASTMLP_NUM_THREADS="3") == "3\n"
    assert int(python(ask, FASTMLP_NUM_THREADS="")) >= 1
    refused = f"try: import fastmlp; fastmlp.get_num_threads()\nexcept ValueError as e: print(e)\nelse: {ask}"
    for wrong in ("0", "-1", "two", "1.5"):
        printed = python(refused, FASTMLP_NUM_THREADS=wrong)
        assert printed == f"FASTMLP_NUM_THREADS: expected a whole number from 1 to 1024, got {wrong!r}\n"


FORK = """
import os, signal, sys, warnings
import numpy as np, fastmlp
from fastmlp import ops
fastmlp.set_backend("cython")
fastmlp.set_num_threads(4)
rng = np.random.default_rng(0)
x, w = rng.standard_normal((600, 400)), rng.standard_normal((300, 400))
before = ops.linear(x, w, None, "tanh")  # the pool exists now
warnings.simplefilter("ignore")  # Python >= 3.12 warns of forking with threads, which is what this is about

def child(depth):
    signal.alarm(30)  # a child that hangs dies
    ok = all((ops.linear(x, w, None, "tanh") == before).all() for _ in range(5))
    if ok and depth:
        ok = wait(os.fork() or child(depth - 1))
    os._exit(0 if ok else 1)

def wait(pid):
    return os.waitpid(pid, 0)[1] == 0

children = [os.fork() or child(1) for _ in range(3)]
mine = all((ops.linear(x, w, None, "tanh") == before).all() for _ in range(5))
print(mine, *map(wait, children))
"""


@pytest.mark.usefixtures("cython")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_computes_after_a_fork(python):
    """Children and grandchildren of a process with a pool compute, and so does the parent meanwhile."""
    assert python(FORK) == "True True True True\n"


EXIT = """
import threading, numpy as np, fastmlp
from fastmlp import ops
fastmlp.set_backend("cython")
fastmlp.set_num_threads(4)
x = np.ones((2000, 500), np.float32)
def work():
    while True:
        ops.linear(x, x[:400])
threading.Thread(target=work, daemon=True).start()
ops.linear(x, x[:400])
print("done")
"""


@pytest.mark.usefixtures("cython")
def test_the_process_ends_while_a_thread_computes(python):
    assert python(EXIT) == "done\n"


# ----------------------------------------------------------------------- the floating-point environment

FENV = """
import ctypes, sys
import numpy as np
libm = None if sys.platform == "win32" else ctypes.CDLL(None)

def environment():
    # what the caller sees of it: subnormals in and out, the rounding mode
    subnormal, normal = np.full(64, 1e-310), np.full(64, 3e-308)
    rounding = libm.fegetround() if hasattr(libm, "fegetround") else None
    thirds = np.ones(64) / np.full(64, 3.0)
    results = subnormal * 1.0, normal * 0.1, np.full(64, 1e-40, np.float32) * np.float32(0.5), thirds, -thirds
    return rounding, [a.tobytes() for a in results]

before = environment()
import fastmlp
from fastmlp import ops
fastmlp.set_backend("cython")
assert environment() == before, "importing changed it"
fastmlp.set_num_threads(3)
x = np.full((500, 400), 1e-40, np.float32)
y = ops.linear(x, np.eye(400, dtype=np.float32)[:300])
for call in (
    lambda: ops.linear(x, x[:300], None, "gelu"),
    lambda: ops.linear_backward(y, x, x[:300]),
    lambda: ops.softmax(x),
    lambda: ops.cross_entropy(x, np.zeros(500, int)),
):
    call()
assert environment() == before, "computing changed it"
z = ops.activation(np.full(2_000_000, 1e-40, np.float32), "relu")  # on the workers as well
print((z == np.float32(1e-40)).all(), (y == np.float32(1e-40)).all())
"""


@pytest.mark.usefixtures("cython")
def test_the_floating_point_environment_is_left_alone(python):
    """Neither importing nor computing flushes subnormals or changes the rounding; no worker flushes them."""
    assert python(FENV) == "True True\n"


ROUNDING = """
import ctypes, platform
import numpy as np, fastmlp
from fastmlp import ops
fastmlp.set_backend("cython")
fastmlp.set_num_threads(4)
libm = ctypes.CDLL(None)
nearest, upward = 0, {UPWARD}[platform.machine()]
x = np.random.default_rng(0).standard_normal((1000, 1000)).astype(np.float32)
assert libm.fegetround() == nearest
libm.fesetround(upward)
y = ops.activation(x, "sigmoid")  # starts the workers
print(libm.fegetround() == upward)
libm.fesetround(nearest)
y = ops.activation(x, "sigmoid")
fastmlp.set_num_threads(1)
print((y == ops.activation(x, "sigmoid")).all())
"""
UPWARD = {"x86_64": 0x800, "aarch64": 0x400000, "arm64": 0x400000}  # FE_UPWARD of the C library


@pytest.mark.usefixtures("cython")
@pytest.mark.skipif(os.name != "posix", reason="ctypes finds fesetround in Unix systems only")
@pytest.mark.skipif(platform.machine() not in UPWARD, reason="FE_UPWARD is not known for this machine")
def test_the_callers_rounding_mode(python):
    """It survives a call, and the workers that are started meanwhile do not keep it for later calls."""
    assert python(ROUNDING.replace("{UPWARD}", repr(UPWARD))) == "True\nTrue\n"


@pytest.mark.parametrize(
    "own, files, cpus",
    [
        ("0::/", {"cpu.max": "150000 100000"}, 2),
        ("0::/", {"cpu.max": "max 100000"}, 1 << 20),
        ("0::/pod/box", {"pod/cpu.max": "300000 100000", "pod/box/cpu.max": "max 100000"}, 3),  # the outer one limits
        ("0::/pod/box", {"pod/cpu.max": "300000 100000", "pod/box/cpu.max": "50000 100000"}, 1),
        ("0::/not/mounted/here", {"cpu.max": "400000 100000"}, 4),
        (
            "3:cpu,cpuacct:/box\n1:name=systemd:/",
            {"cpu/box/cpu.cfs_quota_us": "200000", "cpu/box/cpu.cfs_period_us": "100000"},
            2,
        ),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 1 << 20),
        ("", {}, 1 << 20),
    ],
)
def test_cgroup_limits(cython, tmp_path, own, files, cpus):
    from fastmlp.kernels.cython_cpu.threads import cgroup_cpus

    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text + "\n")
    assert cgroup_cpus(tmp_path / "groups", tmp_path / "own") == cpus
    assert cgroup_cpus(tmp_path / "groups", tmp_path / "missing") == 1 << 20
