"""The Numba backend beside its numbers, which test_kernels.py checks: what is compiled when, and where it is kept."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import load_or_skip

import fastmlp as fm
from fastmlp import nn, ops, optim
from fastmlp.kernels.contract import ACTIVATIONS

RNG = np.random.default_rng(0)

LINEAR = """
import numpy as np
from fastmlp import ops, set_backend
set_backend("numba")
x, w, b = (np.random.default_rng(0).standard_normal(s).astype("f") for s in ((33, 20), (17, 20), (17,)))
y, saved = ops.linear(x, w, b, "gelu", save=True)
print([float(a.sum()) for a in (y, *ops.linear_backward(y, x, w, saved, "gelu"))])
"""
#: quicker to compile
GELU = """
import numpy as np
from fastmlp import ops, set_backend
set_backend("numba")
print(float(ops.activation(np.linspace(-2, 2, 99), "gelu").sum()))
"""
HISTORY = """
from fastmlp.kernels.numba_scalars import cache
print([was_there for _, _, was_there in cache.history])
"""
INFO = "from fastmlp.__main__ import main; main(['info'])"


@pytest.fixture(scope="module", autouse=True)
def numba():
    return load_or_skip("numba")


def drawn(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


# ----------------------------------------------------------------------------------------------------- when and where


def test_nothing_of_numba_is_imported_before_it_is_asked_for(python):
    used = """
import sys, numpy as np, fastmlp as fm
from fastmlp import nn, ops
ops.linear(np.ones((2, 3)), np.ones((4, 3)), backend="numpy")
nn.Linear(3, 4)(fm.ones(2, 3))
print(*[name for name in sys.modules if name in ("numba", "llvmlite")])
"""
    assert python(used).split() == []


def test_what_was_compiled_is_there_in_the_next_process(python, tmp_path):
    kept = {"FASTMLP_CACHE_DIR": str(tmp_path / "cache")}
    (sums, first), (same, second) = (python(LINEAR + HISTORY, **kept).splitlines() for _ in range(2))
    assert eval(first) and not any(eval(first))
    assert eval(second) and all(eval(second))
    assert sums == same


def test_a_cache_that_is_off_or_read_only_is_done_without(python, tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    (tmp_path / "file").touch()
    try:
        for where in ("", str(folder), str(tmp_path / "file" / "below")):
            _, history = python(GELU + HISTORY, FASTMLP_CACHE_DIR=where).splitlines()
            assert eval(history) and not any(eval(history))
    finally:
        folder.chmod(stat.S_IRWXU)
    if os.geteuid():  # root may write everywhere
        assert not list(folder.iterdir())


def test_a_damaged_file_is_compiled_anew(python, tmp_path):
    kept = {"FASTMLP_CACHE_DIR": str(tmp_path / "cache")}
    right = python(GELU, **kept)
    for file in (tmp_path / "cache").iterdir():
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    gelu, history = python(GELU + HISTORY, **kept).splitlines(keepends=True)
    assert gelu == right and not any(eval(history))
    assert all(eval(python(GELU + HISTORY, **kept).splitlines()[1]))


def test_info_says_what_was_compiled(python, tmp_path):
    kept = {"FASTMLP_CACHE_DIR": str(tmp_path / "cache")}
    python(GELU, **kept)
    told = python(INFO, **kept)
    count = len(list((tmp_path / "cache").iterdir()))
    assert f"on disk      {count} in {tmp_path / 'cache'}, " in told
    assert "vectors of " in told and "compiled     0 in 0.0 s" in told
    assert "on disk      nothing is kept" in python(INFO, FASTMLP_CACHE_DIR="")


def test_info_says_that_nothing_can_be_kept(python, tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be written" in python(INFO, FASTMLP_CACHE_DIR=str(tmp_path / "file" / "below"))


def test_without_a_compiler_it_is_not_available(python):
    told = python("from fastmlp import available_backends as a; print(a()['numba'])", NUMBA_DISABLE_JIT="1")
    assert told.startswith("backend 'numba' is not available (NUMBA_DISABLE_JIT is set")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_forked_while_another_thread_compiles_compiles_as_well(python):
    told = python(
        """
import os, threading, time, warnings
import numpy as np
from fastmlp import ops

warnings.simplefilter("ignore")  # of Python, about threads and fork
x = np.ones((9, 9))
thread = threading.Thread(target=lambda: ops.linear(x, x, None, "gelu", backend="numba"))
ops.activation(x, "relu", backend="numba")
thread.start()
time.sleep(0.1)
child = os.fork()
if child == 0:
    ops.activation(x, "tanh", backend="numba")
    os._exit(0)
thread.join()
print(os.waitpid(child, 0)[1])
""",
        FASTMLP_CACHE_DIR="",
    )
    assert told == "0\n"


# ------------------------------------------------------------------------------------------------ other machines

#: as little of the suite as shows that vectors of other widths give the same
OTHER_WIDTH = """
import numpy as np
KERNELS = "linear_forward", "linear_backward", "softmax_forward", "cross_entropy", "adam"
from fastmlp import backend
from fastmlp.kernels import reference
from fastmlp.kernels.cases import all_cases
from fastmlp.kernels.numba_cpu.vectors import BYTES
numba = backend.load("numba")
print(BYTES)
seen = {}
for case in all_cases():
    count = seen[case.kernel, case.dtype] = seen.get((case.kernel, case.dtype), 0) + 1
    if count % 97 != 5 or case.dtype != "float32" or case.kernel not in KERNELS:
        continue
    inputs = case.inputs()
    got, same = case.run(numba, inputs), case.run(reference, inputs)
    for name in got:
        np.testing.assert_allclose(got[name], same[name], rtol=2e-4, atol=2e-4, err_msg=case.id)
"""
WIDTHS = {"haswell": "+avx,+avx2,+fma", "x86-64": "+sse2"}


@pytest.mark.parametrize("cpu", WIDTHS)
def test_vectors_of_another_width(python, cpu):
    from llvmlite.binding import get_host_cpu_features

    if not get_host_cpu_features().get("avx2"):
        pytest.skip("this CPU has no AVX2")
    told = python(OTHER_WIDTH, NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES=WIDTHS[cpu])
    assert told.split() == ["32" if cpu == "haswell" else "16"]


def test_without_the_c_engine_it_runs_on_the_callers_thread(python):
    alone = """
import sys
sys.modules["fastmlp.kernels.cython_cpu"] = None  # cannot be imported
"""
    told = "import fastmlp\nprint(fastmlp.get_backend(), fastmlp.available_backends()['cython'])\n"
    sums, chosen = python(alone + LINEAR + told).splitlines()
    assert chosen.startswith("numba backend 'cython' is not available")
    assert [sums] == python(LINEAR).splitlines()


# ----------------------------------------------------------------------------------------------------- same numbers


@pytest.fixture
def plans(numba):
    from fastmlp.kernels.numba_cpu.linear import _forward_plans

    return _forward_plans


def own_kernels():
    """Of small layers, as far as they were compiled or loaded."""
    from fastmlp.kernels.numba_scalars import cache

    return [name for name, *_ in cache.history if "small" in name]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(100, 11, 64), (64, 60, 32), (30, 18, 37), (300, 7, 100)])
def test_a_layers_own_kernel_gives_the_same_bits(numba, shape, dtype):
    """After 100 calls a small layer gets a kernel for its shape."""
    (m, k, n), name = shape, "gelu"
    x, w, b = drawn(m, k, dtype=dtype), drawn(n, k, dtype=dtype), drawn(n, dtype=dtype)

    def results():
        y, saved = ops.linear(x, w, b, name, save=True, backend="numba")
        return [y, *ops.linear_backward(x[:, :1] * w[:, 0], x, w, saved, name, backend="numba")]

    first, before = results(), len(own_kernels())
    for _ in range(110):
        last = results()
    assert len(own_kernels()) > before
    for a, z in zip(first, last):
        np.testing.assert_array_equal(a, z)


def test_parameters_that_change_do_not_fill_the_memory_nor_compile(numba):
    from fastmlp.kernels.numba_cpu.activations import forward_runs
    from fastmlp.kernels.numba_scalars import cache

    act, runs = ACTIVATIONS["leaky_relu"], forward_runs[4]
    x, y = drawn(8, 4), np.empty((8, 4), np.float32)
    numba.activation_forward(x, act, (0.05,), y)
    before = len(cache.history)
    for slope in np.linspace(0.1, 0.9, runs.MOST + 10):
        numba.activation_forward(x, act, (float(slope),), y)
        np.testing.assert_allclose(y, np.where(x > 0, x, np.float32(slope) * x), rtol=1e-6)
    assert len(runs) <= runs.MOST and len(cache.history) == before


def test_many_shapes_do_not_fill_the_memory(plans, monkeypatch):
    monkeypatch.setattr(type(plans), "MOST", 8)
    w = drawn(3, 4)
    for m in (*range(1, 30), *range(1, 5)):
        y = ops.linear(np.ones((m, 4), np.float32), w, backend="numba")
        np.testing.assert_allclose(y, np.broadcast_to(w.sum(axis=1), (m, 3)), rtol=1e-5, atol=1e-6)
    assert 0 < len(plans.kept) <= 8


def test_plans_that_others_forget_at_once_are_used_all_the_same(numba, monkeypatch):
    """Between planning and the call, another thread may forget all."""
    from fastmlp.kernels.numba_cpu.jobs import Plans

    add = Plans.add

    def add_and_forget(self, *key):
        table = add(self, *key)
        self.kept, self.often = {}, set()
        self.table = self._table()
        return table

    monkeypatch.setattr(Plans, "add", add_and_forget)
    x, w, dy = drawn(37, 11), drawn(6, 11), drawn(37, 6)
    y = np.full((37, 6), np.nan, np.float32)
    np.testing.assert_allclose(ops.linear(x, w, out=y, backend="numba"), x @ w.T, rtol=1e-4, atol=1e-5)
    dx, dw, db = ops.linear_backward(dy, x, w, backend="numba")
    for got, right in ((dx, dy @ w), (dw, dy.T @ x), (db, dy.sum(axis=0))):
        np.testing.assert_allclose(got, right, rtol=1e-4, atol=1e-4)


def test_many_threads_call_at_once(numba):
    shapes = [(m, 16, n) for m in (1, 30, 300) for n in (3, 40)]
    arrays = [(drawn(m, k), drawn(n, k), drawn(n)) for m, k, n in shapes]
    right = [ops.linear(*a, "tanh", backend="numba") for a in arrays]

    def work(seed):
        for i in np.random.default_rng(seed).permutation(len(arrays) * 20) % len(arrays):
            np.testing.assert_array_equal(ops.linear(*arrays[i], "tanh", backend="numba"), right[i])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))


def test_many_threads_meet_new_shapes_and_functions_at_once(numba):
    @fm.activation
    def doubled(x):
        return x + x

    def work(seed):
        for m in np.random.default_rng(seed).permutation(60) + 1:
            x, w = np.full((m, 3), m, np.float32), np.ones((2, 3), np.float32)
            for act, factor in (("relu", 3), (doubled, 6), ("identity", 3)):
                np.testing.assert_array_equal(ops.linear(x, w, None, act, backend="numba"), np.full((m, 2), factor * m))
            dx, dw, _ = ops.linear_backward(x[:, :2], x, w, db=False, backend="numba")
            np.testing.assert_array_equal(dx, np.full((m, 3), 2 * m))
            np.testing.assert_array_equal(dw, np.full((2, 3), m**3))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


def test_a_function_of_the_user_is_fused_and_differentiated(numba):
    @fm.activation
    def quick(x):
        return x / (1 + 2.718281828459045 ** (-1.702 * x))

    x, w, b = drawn(40, 9), drawn(5, 9), drawn(5)
    results = {}
    for backend in ("numba", "numpy"):
        y, saved = ops.linear(x, w, b, quick, save=True, backend=backend)
        results[backend] = [y, *ops.linear_backward(y, x, w, saved, quick, backend=backend)]
    for got, right in zip(results["numba"], results["numpy"]):
        np.testing.assert_allclose(got, right, rtol=1e-4, atol=1e-4)


# ----------------------------------------------------------------------------------------------------------- warm-up


def a_model():
    fm.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Dropout(0.2), nn.Linear(20, 3))
    return model, optim.Adam(model.parameters()), drawn(30, 12), np.arange(30) % 3


@pytest.mark.parametrize("backend", ["numba", "cython", "numpy"])
def test_warming_up_changes_nothing(backend):
    load_or_skip(backend)
    model, optimizer, x, labels = a_model()
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    assert fm.warmup(model, x, labels, nn.CrossEntropyLoss(), optimizer, backend=backend) >= 0
    assert fm.warmup(model, x) >= 0
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])
    assert not optimizer.state_dict()["state"] and all(p.grad is None for p in model.parameters())
    np.testing.assert_array_equal(fm.rand(3).numpy(), (a_model(), fm.rand(3).numpy())[1])


def test_after_it_nothing_is_left_to_compile(python):
    told = python("""
import numpy as np, fastmlp as fm
from fastmlp import nn, optim
from fastmlp.kernels.numba_scalars import cache

fm.set_backend("numba")
x, labels, loss = np.ones((30, 12), "f"), np.arange(30) % 3, nn.CrossEntropyLoss()
models = [nn.Sequential(nn.Linear(12, n), nn.ReLU(), nn.Linear(n, 3)) for n in (20, 33)]
optimizers = [optim.SGD(m.parameters(), 0.01) for m in models]
for model, optimizer in zip(models, optimizers):
    fm.warmup(model, x, labels, loss, optimizer)
compiled = len(cache.history)
for threads in (2, 1):
    fm.set_num_threads(threads)
    for model, optimizer in zip(models, optimizers):
        for _ in range(105):
            optimizer.zero_grad()
            loss(model(fm.from_numpy(x)), fm.from_numpy(labels)).backward()
            optimizer.step()
print(compiled > 10, [name for name, *_ in cache.history[compiled:]])
""")
    assert told == "True []\n"


def test_what_it_is_given_gets_no_gradients():
    model, optimizer, x, labels = a_model()

    class Weighed(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.calls = nn.Parameter(fm.ones(1)), 0

        def forward(self, output, target):
            self.calls += 1
            return (nn.functional.cross_entropy(output, target) * self.weight).sum()

    x, loss = fm.tensor(x, requires_grad=True), Weighed()
    fm.warmup(model, x, labels, loss, optimizer)
    assert x.grad is None and loss.weight.grad is None and loss.calls == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((3, 1.0), "model: expected a module, got int"),
        (("model", "x", "y"), "loss: expected one, since there is a target; got None"),
        (("model", "x", None, "loss"), "target: expected one, since there is a loss; got None"),
        (("model", "x", None, None, "optimizer"), "loss: expected one, since there is an optimizer; got None"),
        (("model", "x", "y", 3), "loss: expected a function of output and target, got int"),
        (("model", "x", "y", "loss", 3), "optimizer: expected an optimizer, got int"),
        (("model", None), "x: expected an array or a tensor, got NoneType"),
        (("model", "x", "y", "loss", "another's"), "optimizer: expected the model's, got one of other parameters"),
    ],
)
def test_wrong_arguments(arguments, message):
    model, optimizer, x, labels = a_model()
    known = {"model": model, "x": x, "y": labels, "loss": nn.CrossEntropyLoss(), "optimizer": optimizer}
    known["another's"] = a_model()[1]
    with pytest.raises((TypeError, ValueError)) as e:
        fm.warmup(*(known.get(a, a) if isinstance(a, str) else a for a in arguments))
    assert str(e.value) == message
