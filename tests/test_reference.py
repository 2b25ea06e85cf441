"""Is the reference right? Its gradients against central differences, its values against closed forms and torch.

Everything here is float64 and calls the reference's kernels directly. The other backends inherit by equality.
"""

import math
import warnings
from itertools import product

import numpy as np
import pytest

from fastmlp.kernels import reference
from fastmlp.kernels.cases import (
    OTHER_LOSS_PARAMS,
    OTHER_PARAMS,
    Draw,
    cross_entropy,
    elementwise_loss,
    linear_backward,
    nll_loss,
    normalize,
    prelu,
)
from fastmlp.kernels.contract import ACTIVATIONS, LOSSES, REDUCTIONS

VARIANTS = [(a, p) for a in ACTIVATIONS for p in (ACTIVATIONS[a].defaults, *OTHER_PARAMS.get(a, ()))]
KINKS = {
    "relu": (0,), "leaky_relu": (0,), "relu6": (0, 6), "elu": (0,), "selu": (0,), "hardswish": (-3, 3), "celu": (0,),
    "hardsigmoid": (-3, 3),
}  # fmt: skip
STEP = 1e-5


def kinks(name, params):
    """Where the activation has no derivative"""
    if name in ("hardshrink", "softshrink"):
        return -params[0], params[0]
    return {"hardtanh": params, "threshold": params[:1]}.get(name, KINKS.get(name, ()))


def forward(name, params, z):
    y = np.empty_like(z)
    reference.activation_forward(z, ACTIVATIONS[name], params, y)
    return y


def derivative(name, params, z):
    """act'(z), by way of what the activation saves"""
    act, dx = ACTIVATIONS[name], np.empty_like(z)
    saved = forward(name, params, z) if act.saves == "y" else z
    reference.activation_backward(np.ones_like(z), saved, act, params, dx)
    return dx


def central_difference(f, a):
    """d f / d a, element by element; f() reads `a` anew and returns a number"""
    gradient = np.empty_like(a)
    for i in np.ndindex(a.shape):
        before = a[i]
        a[i] = before + STEP
        above = f()
        a[i] = before - STEP
        below = f()
        a[i] = before
        gradient[i] = (above - below) / (2 * STEP)
    return gradient


# ------------------------------------------------------------------------------------- activations

erf, exp, tanh = math.erf, math.exp, math.tanh
CLOSED_FORMS = {  # written down again, from the papers, for one number
    "identity": lambda z: z,
    "relu": lambda z: max(z, 0.0),
    "leaky_relu": lambda z, slope: z if z > 0 else slope * z,
    "relu6": lambda z: min(max(z, 0.0), 6.0),
    "sigmoid": lambda z: 1 / (1 + exp(-z)),
    "tanh": tanh,
    "elu": lambda z, alpha: z if z > 0 else alpha * (exp(z) - 1),
    "selu": lambda z: 1.0507009873554805 * (z if z > 0 else 1.6732632423543772 * (exp(z) - 1)),
    "softsign": lambda z: z / (1 + abs(z)),
    "gelu": lambda z: 0.5 * z * (1 + erf(z / math.sqrt(2))),
    "gelu_tanh": lambda z: 0.5 * z * (1 + tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))),
    "silu": lambda z: z / (1 + exp(-z)),
    "softplus": lambda z, beta, threshold: z if beta * z > threshold else math.log(1 + exp(beta * z)) / beta,
    "mish": lambda z: z * tanh(math.log(1 + exp(z))),
    "hardswish": lambda z: 0.0 if z <= -3 else z if z >= 3 else z * (z + 3) / 6,
    "logsigmoid": lambda z: -math.log(1 + exp(-z)),
    "celu": lambda z, alpha: max(0.0, z) + min(0.0, alpha * (exp(z / alpha) - 1)),
    "tanhshrink": lambda z: z - tanh(z),
    "hardsigmoid": lambda z: 0.0 if z <= -3 else 1.0 if z >= 3 else z / 6 + 0.5,
    "hardtanh": lambda z, low, high: min(max(z, low), high),
    "hardshrink": lambda z, lambd: z if z > lambd or z < -lambd else 0.0,
    "softshrink": lambda z, lambd: z - lambd if z > lambd else z + lambd if z < -lambd else 0.0,
    "threshold": lambda z, threshold, value: z if z > threshold else value,
}


@pytest.mark.parametrize("name, params", VARIANTS)
def test_activation_is_its_closed_form(name, params):
    z = np.linspace(-12, 30, 4001)
    truth = np.array([CLOSED_FORMS[name](v, *params) for v in z.tolist()])
    np.testing.assert_allclose(forward(name, params, z), truth, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name, params", VARIANTS)
def test_derivative_is_the_central_difference(name, params):
    z = np.linspace(-12, 12, 2000)
    for kink in kinks(name, params):
        z = z[np.abs(z - kink) > 2 * STEP]
    if name == "softplus":
        z = z[np.abs(params[0] * z - params[1]) > 2 * params[0] * STEP]
    difference = (forward(name, params, z + STEP) - forward(name, params, z - STEP)) / (2 * STEP)
    np.testing.assert_allclose(derivative(name, params, z), difference, rtol=0, atol=2e-9)


def test_derivatives_at_the_kinks_are_those_of_torch():
    at = {"relu": {0: 0}, "leaky_relu": {0: 0.01}, "relu6": {0: 0, 6: 0}, "hardswish": {-3: 0, 3: 1}}
    at |= {"celu": {0: 1}, "hardsigmoid": {-3: 0, 3: 0}, "hardtanh": {-1: 0, 1: 0}, "threshold": {0: 0}}
    at |= {"hardshrink": {-0.5: 0, 0.5: 0}, "softshrink": {-0.5: 0, 0.5: 0}}
    for name, values in at.items():
        z = np.array(list(values), np.float64)
        np.testing.assert_array_equal(derivative(name, ACTIVATIONS[name].defaults, z), list(values.values()))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_at_the_ends(name):
    """NaN gives NaN; ±inf gives the limit, or NaN where the formula says -inf · 0."""
    at_minus_inf = {"identity": -np.inf, "leaky_relu": -np.inf, "tanh": -1, "elu": -1, "softsign": np.nan}
    at_minus_inf |= {"selu": -1.0507009873554805 * 1.6732632423543772}
    at_minus_inf |= dict.fromkeys(("gelu", "gelu_tanh", "silu", "mish", "hardswish"), np.nan)
    at_minus_inf |= dict.fromkeys(("logsigmoid", "tanhshrink", "hardshrink", "softshrink"), -np.inf)
    at_minus_inf |= {"celu": -1, "hardtanh": -1}
    at_inf = {"relu6": 6, "sigmoid": 1, "tanh": 1, "softsign": np.nan, "logsigmoid": 0, "hardsigmoid": 1, "hardtanh": 1}
    y = forward(name, ACTIVATIONS[name].defaults, np.array([-np.inf, np.inf, np.nan]))
    np.testing.assert_array_equal(y, [at_minus_inf.get(name, 0), at_inf.get(name, np.inf), np.nan])


# ------------------------------------------------------------------------------------------- linear


@pytest.mark.parametrize("name, params", VARIANTS)
def test_linear_backward_is_the_central_difference(name, params):
    random = Draw(f"gradient of {name}", "float64")
    x, w, b, dy = (random.normal(shape) for shape in ((3, 4), (5, 4), (5,), (3, 5)))
    act, y, z = ACTIVATIONS[name], np.empty((3, 5)), np.empty((3, 5))

    def loss():
        reference.linear_forward(x, w, b, act, params, y, z)
        return float((dy * y).sum())

    loss()
    assert all(np.abs(z - kink).min() > 1e-3 for kink in kinks(name, params)), "the step would cross a kink"
    dx, dw, db = np.empty_like(x), np.empty_like(w), np.empty_like(b)
    saved = y.copy() if act.saves == "y" else z.copy()
    reference.linear_backward(dy, x, w, saved, act, params, dx, dw, db, False)
    for gradient, a in ((dx, x), (dw, w), (db, b)):
        np.testing.assert_allclose(gradient, central_difference(loss, a), rtol=0, atol=1e-8)


def test_linear_backward_accumulates_into_dw_and_db_only():
    case = linear_backward(6, 3, 4, "float64", "tanh")
    more = linear_backward(6, 3, 4, "float64", "tanh", accumulate=True)
    plain, start = case.run(reference), more.allocate()
    sums = more.run(reference, case.inputs() | {"accumulate": True}, {k: a.copy() for k, a in start.items()})
    np.testing.assert_array_equal(sums["dx"], plain["dx"])
    np.testing.assert_allclose(sums["dw"], plain["dw"] + start["dw"], rtol=1e-15)
    np.testing.assert_allclose(sums["db"], plain["db"] + start["db"], rtol=1e-15)


def test_linear_without_features_is_the_bias():
    y = np.empty((2, 3))
    x, w, b = np.empty((2, 0)), np.empty((3, 0)), np.arange(3.0)
    reference.linear_forward(x, w, b, ACTIVATIONS["identity"], (), y, None)
    np.testing.assert_array_equal(y, [[0, 1, 2]] * 2)


# --------------------------------------------------------------------------- prelu, layer and batch norm


@pytest.mark.parametrize("shared", [False, True])
def test_prelu_values_and_gradients(shared):
    inputs = prelu("prelu_backward", 3, 4, 2, "float64", shared=shared).inputs()
    x, weight, dy, y = inputs["x"], inputs["weight"], inputs["dy"], np.empty((3, 4, 2))

    def loss():
        reference.prelu_forward(x, weight, y)
        return float((dy * y).sum())

    loss()
    for i in np.ndindex(x.shape):
        assert y[i] == x[i] * (1 if x[i] > 0 else weight[0 if shared else i[1]])
    dx, dweight = np.empty_like(x), np.empty_like(weight)
    reference.prelu_backward(dy, x, weight, dx, dweight)
    np.testing.assert_allclose(dx, central_difference(loss, x), rtol=0, atol=1e-9)
    np.testing.assert_allclose(dweight, central_difference(loss, weight), rtol=0, atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["layer_norm", "batch_norm", "batch_norm given"])
def test_norm_values_and_gradients(name, weighted):
    kind, given = name.split()[0], name.endswith("given")
    case = normalize(f"{kind}_backward", 4, 5, "float64", weight=weighted, training=not given)
    inputs = case.inputs()
    x, weight, dy, mean, rstd = (inputs[key] for key in ("x", "weight", "dy", "mean", "rstd"))
    bias, y, var = Draw(name, "float64").normal((5,)) if weighted else None, np.empty((4, 5)), np.empty(5)

    def loss():
        if given:
            reference.batch_norm_apply(x, weight, bias, mean, rstd, y)
        elif kind == "batch_norm":
            reference.batch_norm_forward(x, weight, bias, 0.1, y, mean, rstd, var)
        else:
            reference.layer_norm_forward(x, weight, bias, 0.1, y, mean, rstd)
        return float((dy * y).sum())

    loss()
    if not given:
        axis = 0 if kind == "batch_norm" else 1
        truth = (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 0.1)
        np.testing.assert_allclose(y, truth * weight + bias if weighted else truth, rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(1 / rstd**2 - 0.1, x.var(axis), rtol=1e-13)
        if kind == "batch_norm":
            np.testing.assert_allclose(var, x.var(axis), rtol=1e-14)
    gradients = case.run(reference, inputs)
    assert list(gradients) == ["dx", "dweight", "dbias"]
    np.testing.assert_allclose(gradients["dx"], central_difference(loss, x), rtol=0, atol=1e-8)
    if weighted:
        np.testing.assert_allclose(gradients["dweight"], central_difference(loss, weight), rtol=0, atol=1e-9)
        np.testing.assert_allclose(gradients["dbias"], central_difference(loss, bias), rtol=0, atol=1e-9)


# ------------------------------------------------------------------------------------------- softmax


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_values_and_gradient(name):
    random = Draw(name, "float64")
    x, dy = random.normal((3, 5), 2.0), random.normal((3, 5))
    y, dx = np.empty_like(x), np.empty_like(x)
    kernel, backward = getattr(reference, f"{name}_forward"), getattr(reference, f"{name}_backward")

    def loss():
        kernel(x, y)
        return float((dy * y).sum())

    loss()
    for row, values in zip(x.tolist(), y if name == "softmax" else np.exp(y)):
        np.testing.assert_allclose(values, [exp(v) / math.fsum(map(exp, row)) for v in row], rtol=1e-14)
    backward(dy, y.copy(), dx)
    np.testing.assert_allclose(dx, central_difference(loss, x), rtol=0, atol=1e-9)


def test_softmax_of_far_apart_values():
    x = np.array([[1e308, -1e308, 0.0], [1000.0, 1000.0, -np.inf], [-1e4, -1e4, -1e4]])
    y = np.empty_like(x)
    reference.softmax_forward(x, y)
    np.testing.assert_allclose(y, [[1, 0, 0], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-15)
    reference.log_softmax_forward(x[1:], y[1:])
    np.testing.assert_allclose(y[1:], [[-math.log(2)] * 2 + [-np.inf], [-math.log(3)] * 3], rtol=1e-15)


# ------------------------------------------------------------------------------------- cross-entropy


def closed_form_loss(logits, target, weight, sample_weight, ignore_index, label_smoothing, reduction):
    """Row by row and class by class, in Python numbers, as the definition reads."""
    rows, classes = logits.shape
    total, divisor, losses = 0.0, 0.0, []
    for i in range(rows):
        log_sum = math.log(math.fsum(exp(v) for v in logits[i]))
        s = 1.0 if sample_weight is None else sample_weight[i]
        w = [1.0] * classes if weight is None else weight
        if target.ndim == 1 and target[i] == ignore_index:
            losses.append(0.0)
            continue
        one_hot = [float(c == target[i]) for c in range(classes)] if target.ndim == 1 else target[i]
        q = [(1 - label_smoothing) * q + label_smoothing / classes for q in one_hot]
        losses.append(s * math.fsum(w[c] * q[c] * (log_sum - logits[i, c]) for c in range(classes)))
        divisor += s * w[target[i]] if target.ndim == 1 else s
    total = math.fsum(losses)
    return losses if reduction == "none" else [total] if reduction == "sum" else [total / divisor]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("ignored", ["", "some", "class"])
@pytest.mark.parametrize("soft, weight, sample_weight", list(product((False, True), repeat=3)))
def test_cross_entropy_values_and_gradient(soft, weight, sample_weight, ignored, smoothing, reduction):
    case = cross_entropy(
        4, 5, "float64", soft=soft, weight=weight, sample_weight=sample_weight, ignored=ignored,
        label_smoothing=smoothing, reduction=reduction,
    )  # fmt: skip
    inputs = case.inputs()
    out = {name: a.copy() for name, a in case.run(reference, inputs).items()}
    np.testing.assert_allclose(out["loss"], closed_form_loss(**inputs), rtol=1e-13, atol=1e-13)

    def loss():
        return float(case.run(reference, inputs)["loss"].sum())

    # rows do not depend on each other, so the gradient of the losses' sum holds each row's own gradient
    np.testing.assert_allclose(out["dlogits"], central_difference(loss, inputs["logits"]), rtol=0, atol=2e-9)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cross_entropy_where_no_row_counts(reduction):
    for case in (
        cross_entropy(3, 4, "float64", ignored="every", reduction=reduction),
        cross_entropy(0, 4, "float64", reduction=reduction),
    ):
        out = case.run(reference)
        expected = np.nan if reduction == "mean" else 0
        np.testing.assert_array_equal(out["loss"], np.full(out["loss"].shape, expected))
        np.testing.assert_array_equal(out["dlogits"], np.zeros(out["dlogits"].shape))


def test_find_bad_label():
    def find(labels, classes=3, ignore_index=-100):
        return reference.find_bad_label(np.array(labels, np.int64), classes, ignore_index)

    assert find([]) == -1
    assert find([0, 1, 2, -100]) == -1
    assert find([0, 3, -1]) == 1
    assert find([-1]) == 0
    assert find([0, -100], ignore_index=-1) == 1
    assert find([0, 7, 8], ignore_index=7) == 2
    assert find([0], classes=0) == 0


# --------------------------------------------------------------------------------------- other losses


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("ignored", ["", "some", "class"])
@pytest.mark.parametrize("weight", [False, True])
def test_nll_loss_gradient(weight, ignored, reduction):
    case = nll_loss(4, 5, "float64", weight=weight, ignored=ignored, reduction=reduction)
    inputs = case.inputs()
    out = {name: a.copy() for name, a in case.run(reference, inputs).items()}
    difference = central_difference(lambda: float(case.run(reference, inputs)["loss"].sum()), inputs["input"])
    np.testing.assert_allclose(out["dinput"], difference, rtol=0, atol=1e-9)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nll_loss_of_log_softmax_is_cross_entropy(reduction):
    logits = cross_entropy(6, 5, "float64", weight=True, ignored="some", reduction=reduction)
    inputs = logits.inputs()
    expected, log_p = logits.run(reference, inputs)["loss"], np.empty((6, 5))
    reference.log_softmax_forward(inputs["logits"], log_p)
    given = [inputs[name] for name in ("target", "weight", "ignore_index", "reduction")]
    loss = np.empty_like(expected)
    reference.nll_loss(log_p, *given, loss, np.empty((6, 5)))
    np.testing.assert_allclose(loss, expected, rtol=1e-14)


LOSS_CLOSED_FORMS = {  # of one x, one t and the pos_weight or the parameter
    "mse": lambda x, t, p: (x - t) ** 2,
    "l1": lambda x, t, p: abs(x - t),
    "smooth_l1": lambda x, t, p: (x - t) ** 2 / (2 * p) if abs(x - t) < p else abs(x - t) - p / 2,
    "huber": lambda x, t, p: (x - t) ** 2 / 2 if abs(x - t) < p else p * (abs(x - t) - p / 2),
    "bce": lambda x, t, p: -t * math.log(x) - (1 - t) * math.log(1 - x),
    "bce_with_logits": lambda x, t, p: p * t * math.log(1 + exp(-x)) + (1 - t) * math.log(1 + exp(x)),
    "kl_div": lambda x, t, p: (t * math.log(t) if t else 0.0) - t * x,
    "kl_div_log_target": lambda x, t, p: exp(t) * (t - x),
}
LOSS_VARIANTS = [(a, p, 0) for a in LOSSES for p in (LOSSES[a].defaults, *OTHER_LOSS_PARAMS.get(a, ()))]
LOSS_VARIANTS += [("bce_with_logits", (), 3)]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight", [False, True])
@pytest.mark.parametrize("name, params, pos_weight", LOSS_VARIANTS)
def test_elementwise_loss_values_and_gradient(name, params, pos_weight, weight, reduction):
    options = {"weight": weight, "pos_weight": pos_weight, "reduction": reduction}
    case = elementwise_loss((5, 3), "float64", name, params, **options)
    inputs = case.inputs()
    x, t = inputs["input"], inputs["target"]
    if name == "bce":  # the closed form is not for 0 and 1, nor is a difference
        np.clip(x, 0.1, 0.9, out=x)
    p = np.resize(inputs["pos_weight"] if pos_weight else inputs["params"] or 1, x.shape)
    losses = np.vectorize(LOSS_CLOSED_FORMS[name])(x, t, p) * (inputs["weight"] if weight else 1)
    out = {key: a.copy() for key, a in case.run(reference, inputs).items()}
    expected = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / inputs["divisor"]}[reduction]
    np.testing.assert_allclose(out["loss"], np.broadcast_to(expected, out["loss"].shape), rtol=1e-13, atol=1e-13)
    difference = central_difference(lambda: float(case.run(reference, inputs)["loss"].sum()), x)
    np.testing.assert_allclose(out["dinput"], difference, rtol=1e-7, atol=1e-8)


def test_find_outside_unit():
    def find(*numbers):
        return reference.find_outside_unit(np.array(numbers))

    assert find() == find(0.0, -0.0, 0.5, 1.0) == -1
    assert find(0.0, 1.1, -1) == 1
    assert find(np.nan) == find(np.inf) == find(-1e-300) == 0


# --------------------------------------------------------------------------------------------- torch


@pytest.fixture(scope="module")
def torch():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torch", reason="torch is not installed")


TORCH_NAMES = {"gelu_tanh": "gelu", "identity": None}


@pytest.mark.parametrize("name, params", VARIANTS)
def test_activation_is_that_of_torch(torch, name, params):
    options = dict(zip(ACTIVATIONS[name].params, params))
    if name == "gelu_tanh":
        options["approximate"] = "tanh"
    function = getattr(torch.nn.functional, TORCH_NAMES.get(name, name) or "", lambda z: z * 1)
    z = np.concatenate([np.linspace(-12, 30, 2001), [0.0, 6.0], *((-v, v) for v in (0.25, 0.5, 1.0, 1.5, 2.0, 3.0))])
    t = torch.tensor(z, requires_grad=True)
    y = function(t, **options)
    y.sum().backward()
    np.testing.assert_allclose(forward(name, params, z), y.detach().numpy(), rtol=1e-13, atol=1e-13)
    few = 1e-8 if name == "hardsigmoid" else 1e-12  # torch's slope of 1/6 is a float32
    np.testing.assert_allclose(derivative(name, params, z), t.grad.numpy(), rtol=1e-12, atol=few)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_is_that_of_torch(torch, name):
    random = Draw(name, "float64")
    x, dy, y, dx = random.normal((6, 9), 5.0), random.normal((6, 9)), np.empty((6, 9)), np.empty((6, 9))
    t = torch.tensor(x, requires_grad=True)
    theirs = getattr(torch, name)(t, 1)
    theirs.backward(torch.tensor(dy))
    getattr(reference, f"{name}_forward")(x, y)
    getattr(reference, f"{name}_backward")(dy, y, dx)
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-13)
    np.testing.assert_allclose(dx, t.grad.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("soft, ignored", [(True, ""), (False, ""), (False, "some"), (False, "class")])
@pytest.mark.parametrize("weight", [False, True])
def test_cross_entropy_is_that_of_torch(torch, weight, soft, ignored, smoothing, reduction):
    options = {"soft": soft, "weight": weight, "ignored": ignored}
    case = cross_entropy(6, 9, "float64", **options, label_smoothing=smoothing, reduction=reduction)
    inputs = case.inputs()
    ours = case.run(reference, inputs)
    t = torch.tensor(inputs["logits"], requires_grad=True)
    theirs = torch.nn.functional.cross_entropy(
        t, torch.tensor(inputs["target"]), None if not weight else torch.tensor(inputs["weight"]),
        ignore_index=inputs["ignore_index"], label_smoothing=smoothing, reduction=reduction,
    )  # fmt: skip
    theirs.sum().backward()
    np.testing.assert_allclose(ours["loss"], np.atleast_1d(theirs.detach().numpy()), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(ours["dlogits"], t.grad.numpy(), rtol=1e-12, atol=1e-13)
