"""The losses of the array API: torch's values and gradients for every option, what is taken, what is refused."""

import warnings
from itertools import product

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import nn, ops
from fastmlp.kernels.cases import LAYOUTS, lay_out
from fastmlp.kernels.contract import REDUCTIONS

pytestmark = pytest.mark.usefixtures("on_each_backend")

F32, F64 = np.float32, np.float64
DTYPES = pytest.mark.parametrize("dtype", [F32, F64])
SHAPE = (23, 7)

#: function -> what draws its input, its target, and every set of options
VARIANTS = {
    "mse_loss": ("number", "number", [{}, {"weight": "full"}]),
    "l1_loss": ("number", "number", [{}, {"weight": "full"}]),
    "smooth_l1_loss": ("number", "number", [{}, {"beta": 0.3}, {"beta": 0.0}]),
    "huber_loss": ("number", "number", [{}, {"delta": 0.3}, {"weight": "full"}]),
    "binary_cross_entropy": ("unit", "unit", [{}, {"weight": "full"}, {"weight": "row"}]),
    "binary_cross_entropy_with_logits": (
        "number",
        "unit",
        [{}, *({"weight": w, "pos_weight": p} for w, p in product((None, "full", "column"), ("row", "one", "scalar")))],
    ),
    "kl_div": ("negative", "unit", [{}]),
    "kl_div of logarithms": ("negative", "negative", [{"log_target": True}]),
}
CALLS = [
    (name, options | {"reduction": reduction})
    for name, (_, _, variants) in VARIANTS.items()
    for options in variants
    for reduction in (*REDUCTIONS, *(["batchmean"] if name.startswith("kl_div") else []))
]


@pytest.fixture(scope="module")
def torch():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torch", reason="torch is not installed")


def draw(what, dtype, seed):
    rng = np.random.default_rng(seed)
    unit = rng.random(SHAPE)
    unit.flat[::9], unit.flat[4::9] = 0, 1
    shapes = {"full": SHAPE, "row": SHAPE[1:], "column": (SHAPE[0], 1), "one": (1,), "scalar": ()}
    if what in shapes:
        return np.array(rng.uniform(0, 3, shapes[what]), dtype)
    number = 2 * rng.standard_normal(SHAPE)
    return {"number": number, "unit": unit, "negative": -np.abs(number)}[what].astype(dtype)


def arguments(name, options, dtype):
    """input, target, and the options with arrays drawn for those that are words"""
    first, second, _ = VARIANTS[name]
    weights = ("weight", "pos_weight")
    drawn = {key: draw(v, dtype, i) if key in weights and v else v for i, (key, v) in enumerate(options.items())}
    return draw(first, dtype, 10), draw(second, dtype, 11), drawn


def of_torch(torch, function, input, target, **options):
    """torch's loss, and the gradient of the sum of what it gives"""
    t = torch.tensor(input, requires_grad=True)
    options = {key: torch.tensor(v) if isinstance(v, np.ndarray) else v for key, v in options.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of kl_div's "mean"
        loss = getattr(torch.nn.functional, function)(t, torch.tensor(target), **options)
    loss.sum().backward()
    return loss.detach().numpy(), t.grad.numpy()


def assert_close(got, expected, tolerance=20.0):
    assert np.shape(got) == np.shape(expected) and got.dtype == expected.dtype
    eps = tolerance * np.finfo(expected.dtype).eps
    np.testing.assert_allclose(got, expected, rtol=eps, atol=eps)


@DTYPES
@pytest.mark.parametrize("name, options", CALLS, ids=[f"{n}-{'-'.join(map(str, o.values()))}" for n, o in CALLS])
def test_value_and_gradient_are_those_of_torch(torch, name, options, dtype):
    input, target, options = arguments(name, options, dtype)
    function = name.partition(" ")[0]
    loss, dinput = getattr(ops, function)(input, target, **options)
    expected, gradient = of_torch(torch, function, input, target, **options)
    terms = input.size if options["reduction"] == "sum" else 1
    assert_close(loss, expected, 20 * max(1, terms**0.5))
    if name == "binary_cross_entropy":  # torch's smallest denominator is 1e-12 rounded to float32
        np.testing.assert_allclose(dinput, gradient, rtol=1e-5 if dtype == F32 else 1e-8)
    else:
        assert_close(dinput, gradient)


NAN, INF = np.nan, np.inf
SPECIAL = [NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 2.0, 0.5, -0.25, 1e30, -1e30, 1e-40]
PAIRS = {
    "number": list(product(SPECIAL, [0.0, 1.0, NAN, INF])),
    "unit": list(product([0.0, -0.0, 1.0, 0.5, 1e-45, 1e-13, 1 - 2**-24, 1e-8], [0.0, 1.0, 0.5, 1e-40])),
    "logits": list(product([x for x in SPECIAL if x != -INF] + [100.0, -100.0, 1e3, -1e3], [0.0, 1.0, 0.5, NAN])),
    "negative": list(product([-INF, 0.0, -1.0, -1e30, NAN, 1.0], [0.0, 1.0, 0.5, 1e-40, -1.0, NAN, INF, -INF])),
}
AT = [
    ("mse_loss", "number", {}),
    ("l1_loss", "number", {}),
    *(("smooth_l1_loss", "number", {"beta": beta}) for beta in (1.0, 0.5, 0)),
    *(("huber_loss", "number", {"delta": delta}) for delta in (1.0, 0.5)),
    ("binary_cross_entropy", "unit", {}),
    ("binary_cross_entropy_with_logits", "logits", {}),
    ("kl_div", "negative", {}),
    ("kl_div", "negative", {"log_target": True}),
]


@DTYPES
@pytest.mark.parametrize("function, values, options", AT)
def test_kinks_ends_and_values_that_are_no_numbers_are_as_in_torch(torch, function, values, options, dtype):
    """Also where vectors end: the pairs are 4 to 60, and the last ones stand alone, too."""
    for pairs in (PAIRS[values], PAIRS[values][-3:]):
        input, target = np.array(pairs, F64).T.astype(dtype)
        got = getattr(ops, function)(input, target, reduction="none", **options)
        expected = of_torch(torch, function, input, target, reduction="none", **options)
        np.testing.assert_allclose(got[0], expected[0], rtol=1e-5 if dtype == F32 else 1e-12, atol=1e-43)
        np.testing.assert_allclose(got[1], expected[1], rtol=1e-5 if dtype == F32 else 1e-8, atol=1e-7)


def test_the_loss_of_an_impossible_logit_is_its_limit():
    """torch says NaN."""
    loss, dinput = ops.binary_cross_entropy_with_logits([-INF, -INF], [1.0, 0.5], reduction="none", pos_weight=2)
    assert loss.tolist() == [INF, INF] and dinput.tolist() == [-2.0, -1.0]


def test_bce_with_logits_keeps_its_precision_far_out():
    loss, dinput = ops.binary_cross_entropy_with_logits([-80.0, 80.0], [0.0, 1.0], reduction="none")
    np.testing.assert_allclose(loss, np.exp(-80.0), rtol=1e-14)
    np.testing.assert_allclose(dinput, [np.exp(-80.0), -np.exp(-80.0)], rtol=1e-14)


@DTYPES
@pytest.mark.parametrize("weight, ignored", list(product((False, True), repeat=2)))
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nll_loss_is_that_of_torch(torch, reduction, weight, ignored, dtype):
    rng = np.random.default_rng(0)
    log_p = ops.log_softmax(rng.standard_normal((6, 5)).astype(dtype))
    target = rng.integers(0, 5, 6)
    options = {"reduction": reduction, "ignore_index": int(target[2]) if ignored else -100}
    if weight:
        options["weight"] = rng.uniform(0, 2, 5).astype(dtype)
    loss, dinput = ops.nll_loss(log_p, target, **options)
    expected = of_torch(torch, "nll_loss", log_p, target, **options)
    assert_close(loss, expected[0])
    assert_close(dinput, expected[1])


# ------------------------------------------------------------------------------------------ what is taken

FUNCTIONS = {name: getattr(ops, name) for name in VARIANTS if " " not in name}
EVERY = pytest.mark.parametrize("name", FUNCTIONS)


@EVERY
@pytest.mark.parametrize("layouts", list(product(LAYOUTS, LAYOUTS))[::5])
def test_any_strides(name, layouts):
    input, target, _ = arguments(name, {}, F32)
    input, target = lay_out(input, layouts[0]), lay_out(target, layouts[1])
    loss, dinput = FUNCTIONS[name](input, target)
    expected = FUNCTIONS[name](np.ascontiguousarray(input), np.ascontiguousarray(target))
    assert loss == expected[0]
    np.testing.assert_array_equal(dinput, expected[1])


@EVERY
@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3, 4)])
def test_any_shape(name, shape):
    values = np.full(shape, 0.25, F32)
    losses, dinput = FUNCTIONS[name](values, values / 2, reduction="none")
    assert losses.shape == dinput.shape == shape and losses.dtype == dinput.dtype == F32
    loss, _ = FUNCTIONS[name](values, values / 2)
    assert np.shape(loss) == () and loss.dtype == F32
    np.testing.assert_allclose(loss, losses.mean(), rtol=1e-6)


@EVERY
def test_of_nothing(name):
    for reduction, expected in (("mean", NAN), ("sum", 0), ("none", np.empty((0, 3)))):
        loss, dinput = FUNCTIONS[name](np.empty((0, 3)), np.empty((0, 3)), reduction=reduction)
        np.testing.assert_array_equal(loss, expected)
        assert dinput.shape == (0, 3)


@EVERY
@pytest.mark.parametrize("layout", ["C", "transposed", "reversed", "rows", "columns"])
def test_out_may_lie_anyhow(name, layout):
    input, target, _ = arguments(name, {}, F64)
    expected = FUNCTIONS[name](input, target)
    out = lay_out(np.full(SHAPE, 77.0), layout)
    owner = out if out.base is None else out.base
    loss, dinput = FUNCTIONS[name](input, target, out=out)
    assert dinput is out and loss == expected[0]
    np.testing.assert_array_equal(out, expected[1])
    assert np.isnan(owner).sum() == owner.size - out.size, "something was written between the elements"


def test_lists_and_integers():
    loss, dinput = ops.mse_loss([1.0, 2.0], [0, 4])
    assert loss == 2.5 and dinput.tolist() == [1.0, -2.0]
    loss, _ = ops.binary_cross_entropy_with_logits(np.zeros(3, F32), np.array([0, 1, 1]), pos_weight=[1])
    assert loss.dtype == F32
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)


def test_weights_broadcast():
    x, t = np.arange(6.0).reshape(2, 3), np.zeros((2, 3))
    loss, dinput = ops.mse_loss(x, t, weight=[1, 0, 0])
    assert loss == 9 / 2 and dinput.tolist() == [[0, 0, 0], [3, 0, 0]]
    loss, _ = ops.huber_loss(x, t, weight=[[1], [0]])
    assert loss == (0.5 + 1.5) / 6


def test_without_any_weight_the_mean_is_nan_and_its_gradient_0():
    loss, dinput = ops.mse_loss([1.0, 2.0], [0, 0], weight=[0, 0])
    assert np.isnan(loss) and dinput.tolist() == [0, 0]


def test_batchmean_divides_by_the_first_axis():
    input, target, _ = arguments("kl_div", {}, F64)
    total, gradient = ops.kl_div(input, target, "sum")
    loss, dinput = ops.kl_div(input, target, "batchmean")
    np.testing.assert_allclose(loss, total / SHAPE[0], rtol=1e-15)
    np.testing.assert_allclose(dinput, gradient / SHAPE[0], rtol=1e-15)
    assert ops.kl_div(-1.0, 1.0, "batchmean")[0] == 1


@DTYPES
def test_long_sums_of_like_terms(dtype):
    """All alike, they would round alike."""
    x = np.full(1_000_003, 0.1, dtype)
    for reduction, expected in (("sum", x.size * F64(x[0]) ** 2), ("mean", F64(x[0]) ** 2)):
        loss, _ = ops.mse_loss(x, np.zeros_like(x), reduction)
        np.testing.assert_allclose(loss, expected, rtol=8 * np.finfo(dtype).eps)


def test_nll_loss_of_any_leading_shape():
    log_p, target = ops.log_softmax(np.arange(24.0).reshape(2, 3, 4) ** 0.5), np.array([[0, 1, 2], [3, -100, 0]])
    loss, dinput = ops.nll_loss(log_p, target, reduction="none")
    flat = ops.nll_loss(log_p.reshape(6, 4), target.reshape(6), reduction="none")
    np.testing.assert_array_equal(loss, flat[0].reshape(2, 3))
    np.testing.assert_array_equal(dinput, flat[1].reshape(2, 3, 4))
    loss, dinput = ops.nll_loss([-1.0, -2.0], 1)
    assert loss == 2 and dinput.tolist() == [0, -1]


# ----------------------------------------------------------------------------------------- what is refused

X, U = np.ones((3, 4)), np.full((3, 4), 0.5)
LABELS = np.array([0, 3, 1])
BAD = U.copy()
BAD[1, 2] = 1.5
HINT = "; for logits there is binary_cross_entropy_with_logits"
WRONG = [
    *(
        (lambda out, f=f: f(np.zeros(100), np.zeros((100, 1)), out=out),
         ValueError, "target: expected the shape of input (100,), got (100, 1)")
        for f in FUNCTIONS.values()
    ),
    *(
        (lambda out, f=f: f(U, U, reduction="avg", out=out),
         ValueError, "reduction: expected one of none, mean, sum, got 'avg'")
        for name, f in FUNCTIONS.items() if name != "kl_div"
    ),
    (lambda out: ops.mse_loss(X, X, "batchmean", out=out),
     ValueError, "reduction: expected one of none, mean, sum, got 'batchmean'"),
    (lambda out: ops.kl_div(X, X, "avg", out=out),
     ValueError, "reduction: expected one of none, mean, sum, batchmean, got 'avg'"),
    (lambda out: ops.mse_loss(X, X.astype(F32), out=out),
     TypeError, "target: expected float64 as input is, got float32; convert one of them"),
    (lambda out: ops.mse_loss(X, None, out=out), TypeError, "target: expected an array, got None"),
    (lambda out: ops.mse_loss("x", X, out=out), TypeError, "input: expected an array, got 'x'"),
    (lambda out: ops.mse_loss(X, X, weight=np.ones(3), out=out),
     ValueError, "weight: expected a shape that broadcasts to (3, 4), got (3,)"),
    (lambda out: ops.mse_loss(X[0], X[0], weight=X, out=out),
     ValueError, "weight: expected a shape that broadcasts to (4,), got (3, 4)"),
    (lambda out: ops.binary_cross_entropy_with_logits(X, X, pos_weight=np.ones(3), out=out),
     ValueError, "pos_weight: expected a shape that broadcasts to (4,), got (3,)"),
    (lambda out: ops.binary_cross_entropy_with_logits(X[0], X[0], pos_weight=X, out=out),
     ValueError, "pos_weight: expected a shape that broadcasts to (4,), got (3, 4)"),
    (lambda out: ops.smooth_l1_loss(X, X, beta=-1, out=out), ValueError, "beta: expected a number >= 0, got -1.0"),
    (lambda out: ops.smooth_l1_loss(X, X, beta=NAN, out=out), ValueError, "beta: expected a number >= 0, got nan"),
    (lambda out: ops.smooth_l1_loss(X, X, beta="1", out=out), TypeError, "beta: expected a number, got str"),
    (lambda out: ops.huber_loss(X, X, delta=0, out=out), ValueError, "delta: expected a number > 0, got 0.0"),
    (lambda out: ops.binary_cross_entropy(BAD, U, out=out),
     ValueError, f"input[1, 2] is 1.5: expected 0 to 1{HINT}"),
    (lambda out: ops.binary_cross_entropy(-BAD.T, U.T), ValueError, f"input[0, 0] is -0.5: expected 0 to 1{HINT}"),
    (lambda out: ops.binary_cross_entropy([0.5, NAN], [0, 1]), ValueError, f"input[1] is nan: expected 0 to 1{HINT}"),
    (lambda out: ops.binary_cross_entropy(2.0, 1.0), ValueError, f"input is 2.0: expected 0 to 1{HINT}"),
    (lambda out: ops.binary_cross_entropy(U, BAD, out=out), ValueError, "target[1, 2] is 1.5: expected 0 to 1"),
    (lambda out: ops.nll_loss(X, [0, 4, 1], out=out),
     ValueError, "target[1] is 4: expected 0 to 3, or ignore_index -100"),
    (lambda out: ops.nll_loss(X, LABELS.astype(F64), out=out),
     TypeError, "target: expected integer labels, got float64"),
    (lambda out: ops.nll_loss(X, LABELS[:2], out=out), ValueError, "target: expected shape (3,), got (2,)"),
    (lambda out: ops.nll_loss(X, LABELS, np.ones(3), out=out), ValueError, "weight: expected shape (4,), got (3,)"),
    (lambda out: ops.nll_loss(X, LABELS, np.ones(4, F32), out=out),
     TypeError, "weight: expected float64 as input is, got float32; convert one of them"),
    (lambda out: ops.nll_loss(1.0, 0, out=out), ValueError, "input: expected shape (..., classes), got a scalar"),
    (lambda out: ops.nll_loss(X, LABELS, reduction="avg", out=out),
     ValueError, "reduction: expected one of none, mean, sum, got 'avg'"),
    (lambda out: ops.nll_loss(X, LABELS, ignore_index=2**63, out=out),
     ValueError, "ignore_index: expected a 64-bit integer, got 9223372036854775808"),
]  # fmt: skip


@pytest.mark.parametrize("call, error, text", WRONG, ids=[f"{i} {text}" for i, (_, _, text) in enumerate(WRONG)])
def test_message(call, error, text):
    out = np.full((3, 4), 77.0)
    with pytest.raises(error) as raised:
        call(out)
    assert str(raised.value) == text
    assert (out == 77).all(), "something was written before the exception"


@pytest.mark.parametrize("name", [*FUNCTIONS, "nll_loss"])
def test_out_that_does_not_fit_or_overlaps(name):
    function, target = getattr(ops, name), LABELS if name == "nll_loss" else U
    x = U.copy()
    for out, error, text in (
        (np.zeros((3, 4), F32), TypeError, "out: expected float64, got float32"),
        (np.zeros((4, 3)), ValueError, r"out: expected shape \(3, 4\), got \(4, 3\)"),
        (x, ValueError, "out: overlaps another argument in memory"),
    ):
        with pytest.raises(error, match=text):
            function(x, target, out=out)
    assert (x == 0.5).all()


def test_a_weight_may_not_be_out():
    weight = np.ones((3, 4))
    with pytest.raises(ValueError, match=r"^out: overlaps another argument in memory$"):
        ops.mse_loss(X, U, weight=weight, out=weight)
    row = weight[0]
    with pytest.raises(ValueError, match=r"^out: overlaps another argument in memory$"):
        ops.binary_cross_entropy_with_logits(X, U, pos_weight=row, out=weight)
    assert (weight == 1).all()


# --------------------------------------------------------------------------------- a last layer of many classes


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("shape", [(7, 5, 11), (1, 3, 1), (40, 16, 200), (6, 1, 70)])
def test_linear_cross_entropy_is_the_two_together(on_each_backend, monkeypatch, shape, reduction, dtype):
    m, k, classes = shape
    rng = np.random.default_rng(0)
    x, w, b = (rng.normal(size=s).astype(dtype) for s in ((m, k), (classes, k), (classes,)))
    labels, weight = rng.integers(0, classes, m), rng.random(classes).astype(dtype)
    labels[::5] = -100
    if classes == 1:
        labels[:] = 0
    for rows in (m, 3, 1):  # at a time
        monkeypatch.setattr(ops.losses, "LOGITS_BYTES", rows * classes * x.itemsize)
        for bias in (b, None):
            loss, dx, dw, db = ops.linear_cross_entropy(x, w, bias, labels, weight, reduction=reduction)
            expected, dz = ops.cross_entropy(ops.linear(x, w, bias), labels, weight, reduction=reduction)
            rtol = 1e-5 if dtype is np.float32 else 1e-12
            np.testing.assert_allclose(loss, expected, rtol=rtol)
            for ours, theirs in zip((dx, dw, db), ops.linear_backward(dz, x, w)):
                np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)


def test_linear_cross_entropy_in_any_layout_and_into_arrays(on_each_backend):
    rng = np.random.default_rng(1)
    x, w, b = rng.normal(size=(2, 3, 8))[..., ::2], rng.normal(size=(4, 6)).T, rng.normal(size=6)
    labels = rng.integers(0, 6, (2, 3)).astype(np.int8)
    loss, dz = ops.cross_entropy(ops.linear(x, w, b), labels)
    dx, dw = np.empty((2, 3, 8))[..., 1::2], np.empty((4, 6)).T
    found = ops.linear_cross_entropy(x, w, b, labels, dx=dx, dw=dw, db=False)
    assert found[1] is dx and found[2] is dw and found[3] is None
    np.testing.assert_allclose(found[0], loss, rtol=1e-12)
    for ours, theirs in zip((dx, dw), ops.linear_backward(dz, x, w)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


def test_linear_cross_entropy_without_rows_that_count(on_each_backend):
    x, w = np.ones((2, 3)), np.ones((4, 3))
    for labels in (np.full(2, -100), np.zeros(0, int)):
        loss, dx, dw, db = ops.linear_cross_entropy(x[: len(labels)], w, None, labels)
        assert np.isnan(loss) and not dx.any() and not dw.any() and not db.any()


@pytest.mark.parametrize(
    "change, error, match",
    [
        ({"target": np.array([0, 4])}, ValueError, r"target\[1\] is 4: expected 0 to 3"),
        ({"target": np.array([0.0, 1.0])}, TypeError, "target: expected integer labels, got float64"),
        ({"target": np.array([0])}, ValueError, r"target: expected shape \(2,\), got \(1,\)"),
        ({"w": np.ones((4, 2))}, ValueError, r"x: expected shape \(..., 2\)"),
        ({"b": np.ones(3)}, ValueError, r"b: expected shape \(4,\)"),
        ({"weight": np.ones(3)}, ValueError, r"weight: expected shape \(4,\), got \(3,\)"),
        ({"reduction": "none"}, ValueError, "reduction: expected one of mean, sum, got 'none'"),
        ({"dw": np.ones((3, 3))}, ValueError, r"dw: expected shape \(4, 3\)"),
        ({"dx": None}, TypeError, "dx: expected True, False or an ndarray"),
    ],
)
def test_what_linear_cross_entropy_refuses(change, error, match):
    given = {"x": np.ones((2, 3)), "w": np.ones((4, 3)), "b": None, "target": np.array([0, 1])}
    with pytest.raises(error, match=match):
        ops.linear_cross_entropy(**(given | change))


CLASS_WEIGHT = np.arange(1, 10, dtype=F32)


@pytest.mark.parametrize("options", [{}, {"weight": CLASS_WEIGHT}, {"reduction": "sum", "bias": True}], ids=str)
@pytest.mark.parametrize("more", [{}, {"label_smoothing": 0.1}, {"ignore_index": 3}], ids=str)
def test_the_layer_with_its_loss(options, more):
    fm.manual_seed(0)
    head = nn.LinearCrossEntropyLoss(5, 9, **options, **more)
    h, labels = fm.randn(7, 5, requires_grad=True), [0, 3, 8, 1, 1, 2, 5]
    both = {key: value for key, value in (options | more).items() if key != "bias"}
    plain = nn.CrossEntropyLoss(**both)
    results = []
    for loss in (head(h, labels), plain(head.linear(h), labels)):
        (loss * 2).backward()
        results.append([loss.detach(), *(t.grad.clone() for t in (h, *head.linear.parameters()))])
        h.grad = None
        head.zero_grad()
    for ours, theirs in zip(*results):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    with fm.no_grad():
        assert not head(h, labels).requires_grad
    head.linear.weight.requires_grad_(False)
    head(h, labels).backward()
    assert head.linear.weight.grad is None and h.grad is not None


def test_what_the_layer_with_its_loss_leaves_out():
    with pytest.raises(NotImplementedError, match="out_features, options: left out"):
        nn.LinearCrossEntropyLoss(5, 9, out_features=(2,))
    head = nn.LinearCrossEntropyLoss(5, 9, reduction="none")
    assert head(fm.ones(3, 5), [0, 1, 2]).shape == (3,)
    soft = np.full((3, 9), 1 / 9, F32)
    np.testing.assert_allclose(head(fm.ones(3, 5), soft).detach(), head(fm.ones(3, 5), fm.tensor(soft)).detach())


def test_the_layer_with_its_loss_beside_torch():
    torch = pytest.importorskip("torch")
    if not hasattr(torch.nn, "LinearCrossEntropyLoss"):
        pytest.skip("this torch has none")
    ours, theirs = (t.nn.LinearCrossEntropyLoss(5, 9, bias=True) for t in (fm, torch))
    theirs.load_state_dict({name: torch.tensor(t.detach().numpy()) for name, t in ours.state_dict().items()})
    h, labels = np.random.default_rng(0).normal(size=(7, 5)).astype("f"), np.array([0, 3, 8, 1, 1, 2, 5])
    a, b = ours(fm.tensor(h), fm.tensor(labels)), theirs(torch.tensor(h), torch.tensor(labels))
    a.backward(), b.backward()
    np.testing.assert_allclose(a.item(), b.item(), rtol=1e-6)
    np.testing.assert_allclose(ours.linear.weight.grad, theirs.linear.weight.grad, rtol=1e-4, atol=1e-6)
