"""Formulas, built in and the user's own, in functions that others compile: for the CPU, and for NVIDIA's GPUs, without
one: in CUDA's simulator, and compiled to machine code where numba-cuda is installed (`make cuda`)."""

import importlib
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import ops

numba = pytest.importorskip("numba", reason="Numba is not installed")
pytestmark = pytest.mark.usefixtures("names_are_forgotten")

from numba.core import types  # noqa: E402

from fastmlp.kernels.numba_scalars.activations import DERIVATIVE, FORWARD  # noqa: E402
from fastmlp.kernels.numba_scalars.losses import ELEMENTWISE  # noqa: E402
from fastmlp.kernels.numba_scalars.numbers import number, real_of  # noqa: E402


@pytest.fixture(scope="module")
def activations():
    """With the derivative worked out, given of x, given of y, and one of all kinds of operations."""

    @fm.activation
    def quick_gelu(x):
        return x / (1 + math.exp(-1.702 * x))

    @fm.activation
    def squared(x):
        return max(x, 0) ** 2

    @squared.derivative
    def squared_rate(x):
        return 2 * max(x, 0)

    @fm.activation
    def logistic(x):
        return 1 / (1 + math.exp(-x))

    @logistic.derivative
    def logistic_rate(y):
        return y * (1 - y)

    @fm.activation
    def everything(x):
        y = x % 3 + math.erf(x) ** 2 + math.floor(x) / 7 + math.copysign(math.sqrt(abs(x) + 1), x)
        for _ in range(3):
            y += math.hypot(x, 2) - math.tanh(x) if x < 1 else math.cosh(x / 9) * math.log1p(x * x)
        return y + math.fmod(x, 2) + round(x) - math.trunc(x) + math.ceil(x) // 2

    return {a.__name__: a for a in (quick_gelu, squared, logistic, everything)}


@pytest.fixture(scope="module")
def losses():
    @fm.loss
    def log_cosh(prediction, target):
        return math.log(math.cosh(prediction - target))

    @fm.loss(derivative=lambda prediction, target: math.exp(prediction) - target)
    def poisson(prediction, target):
        return math.exp(prediction) - target * prediction

    return {a.__name__: a for a in (log_cosh, poisson)}


ACTIVATIONS, LOSSES = ("quick_gelu", "squared", "logistic", "everything"), ("log_cosh", "poisson")


@pytest.fixture(params=[np.float32, np.float64])
def numbers(request):
    return np.random.default_rng(0).normal(size=(2, 999)).astype(request.param)


def assert_close(a, b):
    np.testing.assert_allclose(a, b, rtol=16 * np.finfo(b.dtype).eps, atol=16 * np.finfo(b.dtype).eps)


# ----------------------------------------------------------------------------------------------- under numba.njit


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_in_a_compiled_function(activations, name, numbers):
    act, rate = activations[name].scalar, activations[name].scalar_derivative

    @numba.njit
    def run(z, y, dz, save_y):
        for i in range(z.size):
            y[i] = act(z[i])
            dz[i] = rate(y[i] if save_y else z[i])

    z, (y, dz) = numbers[0], np.empty_like(numbers)
    saves = activations[name].saves
    assert saves == ("y" if name == "logistic" else "z")
    run(z, y, dz, saves == "y")
    assert_close(y, ops.activation(z, name))
    assert_close(dz, ops.activation_backward(np.ones_like(z), y if saves == "y" else z, name))


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_in_a_compiled_function(losses, name, numbers):
    value, rate = losses[name].scalar, losses[name].scalar_derivative

    @numba.njit
    def run(x, t, loss, dx):
        for i in range(x.size):
            loss[i], dx[i] = value(x[i], t[i]), rate(x[i], t[i])

    loss, dx = np.empty_like(numbers)
    run(*numbers, loss, dx)
    each, slopes = losses[name]._custom.at(*numbers)
    assert_close(loss, each)
    assert_close(dx, slopes)


def test_python_may_call_them(activations, losses):
    act, loss = activations["quick_gelu"], losses["poisson"]
    assert act.scalar(2) == pytest.approx(2 / (1 + math.exp(-3.404)), rel=1e-14)  # whole numbers are float64
    assert loss.scalar(1, 2) == pytest.approx(math.e - 2) and loss.scalar_derivative(0.0, 2) == pytest.approx(-1)


def test_a_derivative_given_later_is_the_one():
    @fm.activation
    def twice(x):
        return 2 * x

    assert twice.scalar_derivative(3.0) == 2

    @twice.derivative
    def rate(x):
        return 2 + 1e-7  # near enough to be taken, and to be told from that which was worked out

    assert twice.scalar_derivative(3.0) == 2 + 1e-7


# -------------------------------------------------------------------------------------- in the simulator, which is slow

SIMULATED = """
import math, warnings
import numpy as np
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # some versions of Numba announce that their CUDA moves to a package of its own
    from numba import cuda
import fastmlp
from fastmlp.kernels import reference
from fastmlp.kernels.contract import ACTIVATIONS

@fastmlp.activation
def own_silu(x):
    return x / (1 + math.exp(-x))

act, rate = own_silu.scalar, own_silu.scalar_derivative

@cuda.jit
def kernel(z, y, dz):
    i = cuda.grid(1)
    if i < z.size:
        y[i] = act(z[i])
        dz[i] = rate(z[i])

for dtype in np.float32, np.float64:
    z = np.linspace(-9, 9, 100).astype(dtype)
    y, dz = np.zeros_like(z), np.zeros_like(z)
    kernel[4, 32](z, y, dz)
    exact, ones, right, slopes = z.astype(float), np.ones(100), np.empty(100), np.empty(100)
    reference.activation_forward(exact, ACTIVATIONS["silu"], (), right)
    reference.activation_backward(ones, exact, ACTIVATIONS["silu"], (), slopes)
    tolerance = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(y, right, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(dz, slopes, rtol=tolerance, atol=tolerance)
print("right")
"""


def test_a_gpu_kernel_in_the_simulator(python):
    assert python(SIMULATED, NUMBA_ENABLE_CUDASIM="1").split() == ["right"]


# ------------------------------------------------------------------------------------------------ as machine code


@pytest.fixture(scope="module")
def cuda():
    """What compiles kernels for GPUs."""
    try:
        for needed in ("numba_cuda", "cuda.core"):  # instead, Numba has a compiler that needs an installed CUDA
            importlib.import_module(needed)
        from numba import cuda
    except ImportError as e:
        from conftest import REQUIRED

        if "numba_cuda" in REQUIRED:
            pytest.fail(f"FASTMLP_REQUIRE={','.join(REQUIRED)}, but: {e}")
        pytest.skip(f"numba-cuda is not installed; `make cuda` does it ({e})")
    return cuda


GPUS = [(8, 0), (9, 0)]  # A100; H100 and H200


@pytest.fixture(params=GPUS, ids="sm_{0[0]}{0[1]}".format)
def machine_code(request, cuda, monkeypatch):
    """(kernel, real, arrays): kernel, of so many arrays and their size, for a GPU -> its PTX, and what the assembler
    says of it"""
    from cuda.core import Linker, LinkerOptions, ObjectCode
    from numba.cuda import dispatcher

    # It asks the driver which GPU there is as soon as a kernel calls a function.
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=request.param))

    def make(kernel, real, arrays):
        takes = types.void(*[types.CPointer(real)] * arrays, types.int32)
        ptx, _ = cuda.compile(kernel, takes, device=False, abi="numba", cc=request.param)
        options = LinkerOptions(arch="sm_{}{}".format(*request.param), ptxas_options=["-v"])
        linker = Linker(ObjectCode.from_ptx(ptx.encode()), options=options)
        assert linker.link("cubin").code
        return ptx, linker.get_info_log()

    return make


def check(made, real):
    """It needs no memory beside registers, and float32 stays that: double precision is slow on many GPUs."""
    ptx, report = made
    assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in report
    if real == types.float32:
        assert not re.search(r"\.f64", ptx)


@pytest.mark.parametrize("real", [types.float32, types.float64], ids=str)
@pytest.mark.parametrize("name", FORWARD)
def test_built_in_activations_compile_for_gpus(cuda, machine_code, name, real):
    forward, derivative = FORWARD[name], DERIVATIVE[name]

    def kernel(z, saved, y, dz, count):
        i = cuda.grid(1)
        if i < count:
            a, b = number(z[count]), number(z[count + 1])
            y[i] = real_of(forward(number(z[i]), a, b))
            dz[i] = dz[i] * real_of(derivative(number(saved[i]), a, b))

    check(machine_code(kernel, real, 4), real)


@pytest.mark.parametrize("real", [types.float32, types.float64], ids=str)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_built_in_losses_compile_for_gpus(cuda, machine_code, name, real):
    both = ELEMENTWISE[name]

    def kernel(x, t, loss, dx, count):
        i = cuda.grid(1)
        if i < count:
            each, slope = both(number(x[i]), number(t[i]), number(x[count]), number(x[count + 1]))
            loss[i], dx[i] = real_of(each), real_of(slope)

    check(machine_code(kernel, real, 4), real)


@pytest.mark.parametrize("real", [types.float32, types.float64], ids=str)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_own_activations_compile_for_gpus(cuda, machine_code, activations, name, real):
    act, rate = activations[name].scalar, activations[name].scalar_derivative

    def kernel(z, saved, y, dz, count):
        i = cuda.grid(1)
        if i < count:
            y[i] = act(z[i])
            dz[i] = dz[i] * rate(saved[i])

    check(machine_code(kernel, real, 4), real)


@pytest.mark.parametrize("real", [types.float32, types.float64], ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_own_losses_compile_for_gpus(cuda, machine_code, losses, name, real):
    value, rate = losses[name].scalar, losses[name].scalar_derivative

    def kernel(x, t, loss, dx, count):
        i = cuda.grid(1)
        if i < count:
            loss[i] = value(x[i], t[i])
            dx[i] = rate(x[i], t[i])

    check(machine_code(kernel, real, 4), real)
