"""Activations and losses that the user writes: the numbers of their formula in NumPy, wherever such are taken."""

import copy
import itertools
import math
import pickle
import re

import numpy as np
import pytest
from networks import plainly

import fastmlp as fm
from fastmlp import nn, ops, optim

pytest.importorskip("numba", reason="Numba is not installed")
pytestmark = pytest.mark.usefixtures("names_are_forgotten")

SHIFT = 0.25


def softplus_of(x):
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def helped(x):
    return x * math.tanh(softplus_of(x))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def early(x):
    if x > 2:
        return 2.0
    if x < -1:
        return -1
    return x


def looped(x, times=3):
    y = x
    for _ in range(times):
        y += 0.5 * math.sin(y)
    return y


def looped_numpy(z):
    for _ in range(3):
        z = z + 0.5 * np.sin(z)
    return z


def looped_rate(z):
    rate = 1
    for _ in range(3):
        rate, z = rate * (1 + 0.5 * np.cos(z)), z + 0.5 * np.sin(z)
    return rate


#: name -> function, the same in NumPy, its derivative in NumPy
FORMULAS = {
    "quick_gelu": (
        lambda x: x / (1 + math.exp(-1.702 * x)),
        lambda z: z * sigmoid(1.702 * z),
        lambda z: sigmoid(1.702 * z) * (1 + 1.702 * z * sigmoid(-1.702 * z)),
    ),
    "my_mish": (
        helped,
        lambda z: z * np.tanh(np.logaddexp(0, z)),
        lambda z: np.tanh(np.logaddexp(0, z)) + z * sigmoid(z) / np.cosh(np.logaddexp(0, z)) ** 2,
    ),
    "ternary": (lambda x: x if x > 0 else 0, lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "early": (early, lambda z: np.clip(z, -1, 2), lambda z: ((z <= 2) & (z >= -1)) * 1.0),
    "gauss": (lambda x: math.exp(-x * x), lambda z: np.exp(-z * z), lambda z: -2 * z * np.exp(-z * z)),
    "squared_relu": (lambda x: max(0, x) ** 2, lambda z: np.maximum(z, 0) ** 2, lambda z: 2 * np.maximum(z, 0)),
    "rational": (
        lambda x: x / (SHIFT + abs(x)),
        lambda z: z / (SHIFT + abs(z)),
        lambda z: SHIFT / (SHIFT + abs(z)) ** 2,
    ),
    "looped": (looped, looped_numpy, looped_rate),
    "snake": (
        lambda x: x + math.sin(x) ** 2,
        lambda z: z + np.sin(z) ** 2,
        lambda z: 1 + 2 * np.sin(z) * np.cos(z),
    ),
    "saw": (
        lambda x: (x + 0.3) % 1.5 + (x + 0.2) // 0.7,
        lambda z: np.mod(z + 0.3, 1.5) + np.floor_divide(z + 0.2, 0.7),
        lambda z: 1 + 0 * z,
    ),
    "counted": (lambda x: (x > 1) + 0.5 * x, lambda z: (z > 1) + 0.5 * z, lambda z: 0.5 + 0 * z),
    "constant": (lambda x: 3, lambda z: 3 + 0 * z, lambda z: 0 * z),
}


@pytest.fixture(scope="module")
def made():
    return {name: fm.activation(function, name=name) for name, (function, *_) in FORMULAS.items()}


def points(dtype, size=1003):
    z = np.random.default_rng(0).normal(scale=3, size=size).astype(dtype)
    steps = [
        z - 1,
        (z + 0.3) % 1.5,
        (z + 0.3) % 1.5 - 1.5,
        (z + 0.2) % 0.7,
        (z + 0.2) % 0.7 - 0.7,
    ]  # of those that have any
    return z[np.abs(steps).min(0) > 1e-3]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FORMULAS)
def test_values_and_derivatives(on_each_backend, made, name, dtype):
    z, (_, formula, derivative) = points(dtype), FORMULAS[name]
    exact = z.astype(np.float64)
    tolerance = {"rtol": 40 * np.finfo(dtype).eps, "atol": 40 * np.finfo(dtype).eps}
    for key in (name, made[name]):
        y = ops.activation(z, key)
        assert y.dtype == dtype
        np.testing.assert_allclose(y, formula(exact), **tolerance)
    dy = np.random.default_rng(1).normal(size=z.shape).astype(dtype)
    dz = ops.activation_backward(dy, y if made[name].saves == "y" else z, name)
    np.testing.assert_allclose(dz, dy * derivative(exact), **tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize(("m", "k", "n"), [(1, 3, 2), (7, 33, 17), (128, 40, 65), (300, 5, 3)])
def test_fused_into_the_product(on_each_backend, made, name, dtype, m, k, n):
    rng, (_, formula, derivative) = np.random.default_rng(2), FORMULAS[name]
    x, w, b, dy = (rng.normal(size=s).astype(dtype) for s in ((m, k), (n, k), (n,), (m, n)))
    w /= dtype(math.sqrt(k))
    y, saved = ops.linear(x, w, b, made[name], save=True)
    np.testing.assert_array_equal(y, ops.linear(x, w, b, name))
    z = x.astype(np.float64) @ w.T.astype(np.float64) + b
    away = abs(z - 1) > 1e-3 if name == "counted" else np.full(z.shape, name != "saw")  # steps
    tolerance = {"rtol": 300 * np.finfo(dtype).eps, "atol": 300 * np.finfo(dtype).eps}
    np.testing.assert_allclose(y[away], formula(z)[away], **tolerance)
    got = ops.linear_backward(dy, x, w, saved, name)
    dz = (dy * derivative(z)).astype(dtype)
    for a, expected in zip(got, (dz @ w, dz.T @ x, dz.sum(0))):
        scale = np.abs(expected).max() + 1
        np.testing.assert_allclose(a, expected, rtol=0, atol=2000 * np.finfo(dtype).eps * scale)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_a_compiled_network_stays_one_native_call(made, threads):
    def net():
        fm.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(20, 70), nn.Activation("quick_gelu"), nn.Linear(70, 33), made["ternary"].module()
        )
        model.append(nn.Linear(33, 4))
        return model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), 0.01)

    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(300, 20)).astype("f"), rng.integers(0, 4, 300)
    before = fm.get_num_threads()
    try:
        fm.set_num_threads(threads)
        network, (model, loss, optimizer) = fm.compile(*net()), net()
        losses = [network.step(x, y) for _ in range(10)]
        assert network.reason is None and "quick_gelu" in network.explain() and "ternary" in network.explain()
        for expected in losses:
            assert plainly(model, loss, optimizer, x, y) == pytest.approx(expected, rel=1e-5)
        assert losses[-1] < losses[0]
        np.testing.assert_allclose(
            network.predict(x), model.eval()(fm.tensor(x)).detach().numpy(), rtol=1e-3, atol=1e-3
        )
    finally:
        fm.set_num_threads(before)


def test_of_tensors_arrays_and_numbers(made):
    quick = made["quick_gelu"]
    assert quick(1.5) == pytest.approx(1.5 / (1 + math.exp(-1.702 * 1.5)))
    np.testing.assert_array_equal(quick(np.ones(3, "f")), ops.activation(np.ones(3, "f"), quick))
    x = fm.tensor([[1.0, -2.0]], requires_grad=True)
    quick(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), FORMULAS["quick_gelu"][2](np.array([[1.0, -2.0]])), rtol=1e-6)
    layer = nn.Linear(2, 3)
    given = (t.detach().numpy() for t in (x, layer.weight, layer.bias))
    np.testing.assert_allclose(quick(layer(x)).detach().numpy(), ops.linear(*given, quick), rtol=1e-6)


# --------------------------------------------------------------------------------------------- derivatives


def test_a_derivative_of_y_or_of_x_is_told_apart():
    @fm.activation
    def my_tanh(x):
        return math.tanh(x)

    assert my_tanh.saves == "z"

    @my_tanh.derivative
    def _(y):
        return 1 - y * y

    assert my_tanh.saves == "y"
    clip = fm.activation(lambda x: min(x, 100.0), name="clip", derivative=lambda x: 1.0 if x <= 100 else 0.0)
    assert list(ops.activation_backward(np.ones(2), np.array([50.0, 200.0]), clip)) == [1, 0]
    square = fm.activation(lambda x: x * x, name="square", derivative=lambda x: 2 * x)
    assert square.saves == "z" and fm.activation(lambda x: 2 * x, name="double", derivative=lambda x: 2).saves == "z"
    z = points(np.float32)
    np.testing.assert_allclose(ops.activation_backward(np.ones_like(z), z, square), 2 * z)
    np.testing.assert_allclose(
        ops.activation_backward(np.ones_like(z), np.tanh(z), "my_tanh"), 1 - np.tanh(z) ** 2, rtol=1e-5, atol=1e-6
    )


def test_a_wrong_derivative_is_refused_and_the_message_says_where():
    message = r"derivative: of cube at x = (.*), y = (.*): differences of the function give (.*), the derivative gives "
    message += r"(.*) for x and (.*) for y$"
    with pytest.raises(ValueError, match=message) as refused:
        fm.activation(lambda x: x**3, name="cube", derivative=lambda x: 2 * x)
    x, y, slope, of_x, of_y = map(float, re.search(message, str(refused.value)).groups())
    assert np.allclose([y, slope, of_x, of_y], [x**3, 3 * x**2, 2 * x, 2 * x**3], rtol=1e-2) and abs(slope - of_x) > 1
    with pytest.raises(ValueError, match="activation: unknown 'cube'"):
        ops.activation(np.ones(2), "cube")


UNARY = {
    "exp": (math.exp, (-100, 88)), "expm1": (math.expm1, (-20, 88)), "log": (math.log, (1e-30, 1e30)),
    "log1p": (math.log1p, (-0.999, 1e10)), "tanh": (math.tanh, (-20, 20)), "sinh": (math.sinh, (-80, 80)),
    "cosh": (math.cosh, (-80, 80)), "erf": (math.erf, (-5, 5)), "erfc": (math.erfc, (-5, 9)),
    "sqrt": (math.sqrt, (0, 1e10)),
    "sin": (math.sin, (-30, 30)), "cos": (math.cos, (-30, 30)), "tan": (math.tan, (-1.5, 1.5)),
    "atan": (math.atan, (-30, 30)), "asin": (math.asin, (-0.99, 0.99)), "acos": (math.acos, (-0.99, 0.99)),
    "asinh": (math.asinh, (-30, 30)), "acosh": (math.acosh, (1.01, 30)), "atanh": (math.atanh, (-0.99, 0.99)),
    "log2": (math.log2, (1e-30, 1e30)), "log10": (math.log10, (1e-30, 1e30)), "exp2": (math.exp2, (-100, 100)),
    "fabs": (math.fabs, (-5, 5)), "floor": (math.floor, (-5, 5)), "ceil": (math.ceil, (-5, 5)),
}  # fmt: skip
#: units in the last place; those of log2 and log10 are multiplied by a rounded constant
FAR = {"erfc": 3, "sinh": 6, "cosh": 6, "log2": 4, "log10": 4, "tan": 6}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", UNARY)
def test_functions_of_math_are_near_the_truth(name, dtype):
    import mpmath

    from fastmlp.kernels.numba_scalars import compiled

    _, (low, high) = UNARY[name]
    functions = compiled.Functions(eval(f"lambda x: math.{name}(x)", {"math": math}), None, name)
    rng = np.random.default_rng(0)
    z = rng.uniform(low, high, 400)
    if low > 0:
        z = np.concatenate([z, np.exp(rng.uniform(math.log(low), math.log(high), 400))])
    else:
        z = np.concatenate([z, rng.normal(size=400) * 0.1])
    z = z[(z >= low) & (z <= high)].astype(dtype)
    exact = {"fabs": abs, "exp2": lambda x: mpmath.mpf(2) ** x, "log2": lambda x: mpmath.log(x, 2)}.get(
        name, getattr(mpmath, name, None)
    )
    with mpmath.workdps(40):
        truth = [exact(mpmath.mpf(float(a))) for a in z]
        got = functions.forward(z)
        off = [
            abs(mpmath.mpf(float(g)) - t) / max(np.spacing(dtype(abs(float(t)))), np.finfo(dtype).tiny)
            for g, t in zip(got, truth)
        ]
        slopes = (
            [mpmath.diff(exact, mpmath.mpf(float(a))) for a in z[:100]] if name not in ("fabs", "floor", "ceil") else []
        )
    assert max(off) <= FAR.get(name, 2.5)
    rates, eps = functions.derivative(z[:100]), float(np.finfo(dtype).eps)
    for rate, slope in zip(rates, slopes):
        assert float(rate) == pytest.approx(float(slope), rel=200 * eps, abs=4 * eps)


@pytest.mark.parametrize("name", ["exp", "expm1", "tanh", "erf", "erfc", "log1p", "log", "sinh", "cosh", "atan"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_of_math_at_the_ends(name, dtype):
    from fastmlp.kernels.numba_scalars import compiled

    functions = compiled.Functions(eval(f"lambda x: math.{name}(x)", {"math": math}), None, name)
    tiny = np.finfo(dtype).smallest_subnormal
    z = np.array(
        [np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-30, -1e-30, np.finfo(dtype).max, -np.finfo(dtype).max, tiny, -1, -2],
        dtype,
    )
    plain = {"atan": np.arctan, "erf": np.vectorize(math.erf), "erfc": np.vectorize(math.erfc)}.get(
        name, getattr(np, name, None)
    )
    with np.errstate(all="ignore"):
        expected = plain(z.astype(np.float64)).astype(dtype)
    np.testing.assert_allclose(functions.forward(z), expected, rtol=1e-5)
    zero = functions.forward(np.array([0.0, -0.0], dtype))
    if name in ("expm1", "tanh", "erf", "sinh", "atan"):
        assert list(np.signbit(zero)) == [False, True]


# ------------------------------------------------------------------------------------------------- losses


def log_cosh(prediction, target):
    d = abs(prediction - target)
    return d + math.log1p(math.exp(-2 * d)) - math.log(2)


def quantile(prediction, target, q=0.9):
    d = target - prediction
    return q * d if d > 0 else (q - 1) * d


#: name -> function, the same in NumPy, its derivative by the prediction
LOSSES = {
    "log_cosh": (log_cosh, lambda x, t: np.log(np.cosh(x - t)), lambda x, t: np.tanh(x - t)),
    "quantile": (
        quantile,
        lambda x, t: np.maximum(0.9 * (t - x), -0.1 * (t - x)),
        lambda x, t: np.where(t > x, -0.9, 0.1),
    ),
    "squares": (lambda x, t: (x - t) ** 2, lambda x, t: (x - t) ** 2, lambda x, t: 2 * (x - t)),
    "poisson": (lambda x, t: math.exp(x) - t * x, lambda x, t: np.exp(x) - t * x, lambda x, t: np.exp(x) - t),
    "target only": (lambda x, t: t * 2.5, lambda x, t: 2.5 * t, lambda x, t: 0 * t),
}


@pytest.fixture(scope="module")
def losses():
    return {name: fm.loss(function, name=name.split()[0]) for name, (function, *_) in LOSSES.items()}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1,), (7, 3), (64,), (1025,), (3, 9000), (0, 4)])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_their_gradients(on_each_backend, losses, name, shape, dtype):
    rng, (_, formula, slope) = np.random.default_rng(0), LOSSES[name]
    x, t, w = (rng.normal(size=shape).astype(dtype) for _ in range(3))
    tolerance = {"rtol": 60 * np.finfo(dtype).eps, "atol": 60 * np.finfo(dtype).eps}
    exact = x.astype(float), t.astype(float)
    for reduction, weight in itertools.product(("none", "mean", "sum"), (None, w)):
        loss, dx = ops.custom_loss(losses[name].kind, x, t, reduction, weight)
        each = formula(*exact) * (1 if weight is None else w)
        share = 1 / x.size if reduction == "mean" and x.size else 1
        expected = each if reduction == "none" else each.sum() * share if x.size or reduction == "sum" else np.nan
        scale = 1 if reduction == "none" else abs(each).sum() * share + 1
        np.testing.assert_allclose(loss, expected, rtol=tolerance["rtol"], atol=tolerance["atol"] * scale)
        np.testing.assert_allclose(dx, slope(*exact) * (1 if weight is None else w) * share, **tolerance)
        assert loss.dtype == dtype and dx.dtype == dtype


@pytest.mark.parametrize("size", [4, 300])  # layers one by one, or all as one
@pytest.mark.parametrize("make", [
    lambda loss: loss, lambda loss: loss.module(), lambda loss: loss.module(np.float32([0.5, 1, 2]), "sum"),
])  # fmt: skip
def test_networks_learn_with_it(losses, size, make):
    loss, rng = make(losses["log_cosh"]), np.random.default_rng(5)
    x, y = rng.normal(size=(size, 6)).astype("f"), rng.normal(size=(size, 3)).astype("f")

    def parts():
        fm.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 3))
        return model, optim.Adam(model.parameters(), 0.01)

    (model, optimizer), (other, other_optimizer) = parts(), parts()
    net = fm.compile(model, loss, optimizer)
    values = [net.step(x, y) for _ in range(20)]
    assert net.reason is None and values[-1] < values[0]
    if fm.get_backend() == "cython" and size == 300:
        assert "chain" in [name for _, name, _ in net._last_steps["only"].program.parts()]
    for value in values:
        assert plainly(other, loss, other_optimizer, x, y) == pytest.approx(value, rel=1e-5)
    assert fm.Trainer(other, loss, other_optimizer).fit(x, y, epochs=2, seed=0).history["loss"][-1] < values[0]


def test_losses_of_tensors_arrays_and_numbers(losses):
    loss, x, t = losses["log_cosh"], np.float32([[1.0, -2.0]]), np.float32([[0.5, 3.0]])
    expected = np.log(np.cosh(x - t)).mean()
    assert loss(x, t) == pytest.approx(expected, rel=1e-6)
    assert loss(fm.tensor(x), fm.tensor(t)).item() == pytest.approx(expected, rel=1e-6)
    assert loss(1.0, 0.5) == pytest.approx(math.log(math.cosh(0.5)))
    np.testing.assert_allclose(loss(fm.tensor(x), t, "none").numpy(), np.log(np.cosh(x - t)), rtol=1e-6)
    assert repr(loss) == "<loss log_cosh>" and repr(loss.module()) == "ElementwiseLoss(log_cosh)"
    with pytest.raises(ValueError, match=r"target: expected the shape of input \(1, 2\), got \(2,\)"):
        loss(x, t[0])
    with pytest.raises(RuntimeError, match="target: its gradient is left out of fastmlp"):
        loss(fm.tensor(x), fm.tensor(t, requires_grad=True))


def test_derivatives_of_losses():
    @fm.loss
    def cube(prediction, target):
        return abs(prediction - target) ** 3

    with pytest.raises(
        ValueError, match=r"derivative: of cube at prediction = .*, target = .*: differences of the function"
    ):

        @cube.derivative
        def _(prediction, target):
            return 3 * (prediction - target) ** 2

    @cube.derivative
    def _(prediction, target):
        d = prediction - target
        return 3 * d * abs(d)

    loss, dx = ops.custom_loss(cube.kind, np.float32([2.0, -1.0]), np.float32([1.0, 1.0]))
    assert loss == 4.5 and list(dx) == [1.5, -6.0]


@pytest.mark.parametrize(("make", "error", "match"), [
    (lambda: fm.loss(lambda x: x, name="f"), TypeError, "expected a function of two numbers, .*, got <lambda>"),
    (lambda: fm.loss(np.hypot), TypeError, "function: expected a Python function of two numbers, .*, got ufunc"),
    (lambda: fm.loss(lambda x, t: x, name="mse"), ValueError, "name: 'mse' is one of fastmlp's own losses"),
    (lambda: fm.loss(lambda x, t: x[t], name="f"), TypeError, "cannot look up an index; it works on numbers alone"),
    (lambda: fm.loss(lambda x, t: x * math.nan, name="f"), ValueError, "loss: f gives no finite numbers"),
    (lambda: nn.ElementwiseLoss(nn.MSELoss()), TypeError, "loss: expected what fastmlp.loss made .*, got MSELoss"),
])  # fmt: skip
def test_losses_that_are_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


# ------------------------------------------------------------------------------------------------- errors


def two(x, y):
    return x


def unknown(x):
    return missing(x)  # noqa: F821


def no_gamma(x):
    return math.gamma(x)


IT_RETURNS = "expected a function that returns a number, it returns"
UNCOMPILED = "Numba cannot compile it"


@pytest.mark.parametrize(("make", "error", "match"), [
    (lambda: fm.activation(3), TypeError, "function: expected a Python function of one number, got int"),
    (lambda: fm.activation(np.tanh), TypeError, "function: expected a Python function of one number, got ufunc"),
    (lambda: fm.activation(two), TypeError, r"function: expected a function of one number, got two\(x, y\)"),
    (lambda: fm.activation(lambda: 3, name="none"), TypeError, "function: expected a function of one number"),
    (lambda: fm.activation(lambda x: x), ValueError, "name: expected an identifier such as 'swish2', got '<lambda>'"),
    (lambda: fm.activation(lambda x: x, name="relu"), ValueError, "name: 'relu' is one of fastmlp's own activations"),
    (lambda: fm.activation(lambda x: x, name="f", derivative=3), TypeError, "derivative: expected a Python function"),
    (lambda: fm.activation(unknown), TypeError, f"^unknown: {UNCOMPILED}: NameError: name 'missing' is not defined$"),
    (lambda: fm.activation(no_gamma), TypeError, rf"^no_gamma: {UNCOMPILED}: there is no gamma\(number \(float64\)\), "
     r"line \d+ of test_written.py: return math.gamma\(x\)$"),
    (lambda: fm.activation(lambda x: None, name="f"), TypeError, f"f: {IT_RETURNS} none"),
    (lambda: fm.activation(lambda x: x > 0, name="f"), TypeError, f"f: {IT_RETURNS} bool"),
    (lambda: fm.activation(lambda x: (x, x), name="f"), TypeError, f"f: {IT_RETURNS}"),
    (lambda: fm.activation(lambda x: x.imag, name="f"), TypeError, f"f: {UNCOMPILED}: .*imag"),
    (lambda: fm.activation(lambda x: math.nan * x, name="f"), ValueError, "activation: f gives no finite numbers"),
    (lambda: fm.activation(lambda x: x, name="f", derivative=lambda x: "1"), TypeError, f"of f: {IT_RETURNS}"),
])  # fmt: skip
def test_what_is_refused(make, error, match):
    with pytest.raises(error, match=re.compile(match, re.DOTALL)):
        make()


def test_parameters_and_unknown_names(made):
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'beta'.*'quick_gelu' takes no parameters"):
        ops.activation(np.ones(2), "quick_gelu", beta=2)
    with pytest.raises(ValueError, match="did you mean 'quick_gelu'"):
        ops.activation(np.ones(2), "quick_gelo")


def test_a_name_may_be_given_again():
    first = fm.activation(lambda x: 2 * x, name="again")
    second = fm.activation(lambda x: 3 * x, name="again")
    x = np.ones(5, "f")
    assert (ops.activation(x, "again") == 3).all()
    assert (ops.activation(x, first) == 2).all() and (ops.activation(x, second) == 3).all()


def raises(x):
    if x > 100:
        raise ValueError("too large")
    return x


def asserts(x):
    assert x > 0
    return x


def prints(x):
    print(x)
    return x


def imports(x):
    import random

    return x * random.random()


def recursive(x):
    return recursive(x / 2) if x > 1 else x


def one(x):
    return other(x / 2)


def other(x):
    return one(x / 2)


async def later(x):
    return x


def yields(x):
    yield x


def empty_cell():
    def inner(x):
        return value * x

    made = fm.activation(inner)
    value = 3
    return made, value


NO_EXCEPTION = "cannot raise an exception or assert; math.nan says that there is no result"


@pytest.mark.parametrize(("function", "match"), [
    (raises, f"^raises: {NO_EXCEPTION}$"), (asserts, f"^asserts: {NO_EXCEPTION}$"),
    (lambda x: raises(x) + 1, f"^raises: {NO_EXCEPTION}$"), (prints, "^prints: cannot use print; of"),
    (imports, "^imports: cannot import; do that around it$"), (recursive, "^recursive: cannot call itself$"),
    (one, "^one: cannot call itself$"),
    (later, "^later: expected a plain function, got a generator or coroutine$"),
    (yields, "^yields: expected a plain function, got a generator or coroutine$"),
    (lambda x: (1.0, 2.0)[0] * x + math.pi, None), (lambda x: COEFFICIENTS[0] * x, "cannot look up an index"),
])  # fmt: skip
def test_what_would_go_wrong_unheard_is_refused(function, match):
    if match is None:  # folded by Python itself
        assert fm.activation(function, name="folded")(1.0) == 1 + math.pi
        return
    with pytest.raises(TypeError, match=re.compile(match, re.DOTALL)):
        fm.activation(function, name=None if function.__name__ != "<lambda>" else "f")


COEFFICIENTS = (0.5, 0.25)


def test_names_of_the_function_around():
    with pytest.raises(TypeError, match="inner: uses a name of the function around it that has no value yet"):
        empty_cell()
    with pytest.raises(TypeError, match=r"expected a function of one number, got <lambda>\(x, \*, a=2\)"):
        fm.activation(lambda x, *, a=2: a * x, name="f")
    with pytest.raises(TypeError, match=r"expected a name, got function; @fastmlp.activation makes an activation"):
        nn.Activation(helped)
    with pytest.raises(TypeError, match=r"Sequential: expected a Module, got CustomActivation; nn.Activation"):
        nn.Sequential(importable)


def test_it_may_call_another_activation_and_functions_within(made):
    quick = made["quick_gelu"]

    def twice(x):
        def inner(z):
            return softplus_of(z)

        return quick(x) + inner(x)

    z = points(np.float64)
    expected = z * sigmoid(1.702 * z) + np.logaddexp(0, z)
    np.testing.assert_allclose(fm.activation(twice)(z), expected, rtol=1e-13, atol=1e-14)


# ----------------------------------------------------------------------------------------- far from the middle


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("function", "left", "right"), [
    (lambda x: x / (1 + math.exp(-1.702 * x)), (0, 0), (None, 1)),
    (lambda x: 1 / (1 + math.exp(-x)), (0, 0), (1, 0)),
    (lambda x: 1 / math.cosh(x), (0, 0), (0, 0)),
    (lambda x: math.tanh(math.exp(x)), (0, 0), (1, 0)),
    (lambda x: x * math.tanh(math.log1p(math.exp(x))), (0, 0), (None, 1)),
    (lambda x: 1 - 2 / (math.exp(2 * x) + 1), (-1, 0), (1, 0)),
    (lambda x: math.exp(-x * x), (0, 0), (0, 0)),
])  # fmt: skip
def test_far_out_gradients_are_those_of_the_limit(dtype, function, left, right):
    act = fm.activation(function, name="far")
    for sign, (value, slope) in ((-1, left), (1, right)):
        x = sign * np.array([60, 100, 300, 800, 1e4, 1e6], dtype)
        y, dx = ops.activation(x, act), ops.activation_backward(np.ones_like(x), x, act)
        np.testing.assert_allclose(y, x if value is None else np.full_like(x, value), atol=1e-20)
        np.testing.assert_allclose(dx, np.full_like(x, slope), atol=1e-20)
    assert np.isnan(act(np.array([np.nan], dtype))[0])
    assert np.isnan(ops.activation_backward(np.ones(1, dtype), np.array([np.nan], dtype), act)[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_remainders_are_pythons(dtype):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(scale=1000, size=2000), [1, -1, 0.3, -0.3, 0, 101]]).astype(dtype)

    def made(b):
        return fm.activation(lambda x: x % b, name="rest"), fm.activation(lambda x: x // b, name="whole")

    for b in (0.1, -0.7, 3, math.inf):
        b = float(dtype(b))
        rest, whole = made(b)
        expected = [divmod(float(a), b) for a in x]
        np.testing.assert_allclose(rest(x), [r for _, r in expected], rtol=1e-6, atol=1e-30)
        np.testing.assert_array_equal(whole(x), np.array([w for w, _ in expected], dtype))


# ------------------------------------------------------------------------------------------ copies and files


@fm.activation
def importable(x):
    return x + 0.1 * math.tanh(x)


@fm.loss
def importable_loss(prediction, target):
    return abs(prediction - target)


def test_copies_of_losses():
    model = nn.Linear(3, 2)
    net = fm.compile(model, importable_loss, optim.SGD(model.parameters(), 0.1))
    module = importable_loss.module(reduction="sum")
    x, y = np.ones((4, 3), "f"), np.zeros((4, 2), "f")
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert other(fm.tensor(x[:, :2]), fm.tensor(y)).item() == 8
    others = copy.deepcopy(net), pickle.loads(pickle.dumps(net))
    expected = net.step(x, y)
    assert all(other.step(x, y) == expected and other.loss is importable_loss for other in others)


def test_copies_and_files(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.Activation(importable), nn.Linear(4, 2))
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("f")
    expected = model(fm.tensor(x)).detach().numpy()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other(fm.tensor(x)).detach().numpy(), expected)
    assert copy.deepcopy(importable) is importable and pickle.loads(pickle.dumps(importable)) is importable
    with pytest.raises(ValueError, match=r"net.npz: needs the activation 'importable': define it first"):
        fm.compile(model).save(tmp_path / "net.npz")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fastmlp.plan.saved.written", {})
            fm.Network.load(tmp_path / "net.npz")
    np.testing.assert_allclose(fm.Network.load(tmp_path / "net.npz").predict(x), expected, rtol=1e-6)
    assert "importable" in repr(model)


def test_files_know_the_activation_that_they_need(tmp_path):
    def leaky(slope):
        return fm.activation(lambda x: x if x > 0 else slope * x, name="leaky")

    first = leaky(0.1)
    net, again = (fm.compile(nn.Sequential(nn.Linear(3, 4), a.module())) for a in (first, leaky(0.9)))
    again.save(tmp_path / "net.npz")
    with pytest.raises(RuntimeError, match="save: the name of activation 'leaky' is that of another one by now"):
        net.save(tmp_path / "other.npz")
    leaky(0.2)
    with pytest.raises(ValueError, match=r"net.npz: the activation 'leaky' of now gives other numbers than"):
        fm.Network.load(tmp_path / "net.npz")
    leaky(0.9)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("f")
    np.testing.assert_array_equal(fm.Network.load(tmp_path / "net.npz").predict(x), again.predict(x))


@fm.activation
def changing(x):
    return math.tanh(x)


def test_copies_have_the_derivative_that_belongs_to_what_is_saved():
    layer, x = nn.Activation(changing), fm.tensor([0.5, 2.0], requires_grad=True)

    @changing.derivative
    def _(y):
        return 1 - y * y

    for one in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), nn.Activation(changing)):
        x.grad = None
        one(x).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), 1 - np.tanh([0.5, 2.0]) ** 2, rtol=1e-6)


def test_pictures_know_its_name(made):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    titles = [axes.get_title() for axes in fm.plots.activation("quick_gelu").axes]
    assert titles == ["quick_gelu", "derivative of quick_gelu"]
    curves = [axes.lines[-1].get_ydata() for axes in fm.plots.activation(made["quick_gelu"]).axes]
    z = np.linspace(-5, 5, 1001)
    for curve, formula in zip(curves, FORMULAS["quick_gelu"][1:]):
        np.testing.assert_allclose(curve, formula(z), atol=1e-12)


def test_a_layers_parameters_go_with_it():
    layer = nn.Activation("leaky_relu", negative_slope=0.5)
    assert ops.activation(np.float32([-1]), layer)[0] == -0.5 and repr(nn.Activation(layer)) == repr(layer)


def test_numba_is_imported_when_it_is_needed(python):
    imported = "print('numba' in sys.modules)"
    code = f"import sys, fastmlp; {imported}; fastmlp.activation(lambda x: x, name='f'); {imported}"
    assert python(code).split() == ["False", "True"]
