"""The array API under shapes, strides and values that nobody thought of."""

import numpy as np
import pytest
from compare import rounding
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastmlp import ops
from fastmlp.kernels import reference
from fastmlp.kernels.contract import ACTIVATIONS

FEW_EXAMPLES = settings(max_examples=60, deadline=None, derandomize=True, database=None)
DTYPES = st.sampled_from([np.float32, np.float64])
SIZES = st.integers(0, 20)


@st.composite
def views(draw, shape, dtype, largest=100.0):
    """An array of that shape, some view of a larger one: axes permuted, reversed, every second element."""
    order = draw(st.permutations(range(len(shape))))
    steps = [draw(st.sampled_from([1, 1, 1, -1, 2, -2, 3])) for _ in shape]
    base_shape = tuple(shape[axis] * abs(steps[axis]) for axis in order)
    numbers = st.floats(-largest, largest, width=np.dtype(dtype).itemsize * 8)
    base = draw(hnp.arrays(dtype, base_shape, elements=numbers))
    return base.transpose(np.argsort(order))[tuple(slice(None, None, step) for step in steps)]


@st.composite
def layers(draw):
    """x (..., k), w (n, k), b (n,) or None, of one dtype"""
    dtype, k, n = draw(DTYPES), draw(SIZES), draw(SIZES)
    lead = draw(st.lists(st.integers(0, 6), max_size=3).map(tuple))
    b = draw(st.none() | views((n,), dtype))
    return draw(views((*lead, k), dtype)), draw(views((n, k), dtype)), b


@st.composite
def rows(draw, largest=100.0):
    """An array of one dimension or more, and one of its axes"""
    shape = draw(st.lists(st.integers(0, 12), min_size=1, max_size=3).map(tuple))
    return draw(views(shape, draw(DTYPES), largest)), draw(st.integers(-len(shape), len(shape) - 1))


def assert_within(got, truth, allowed):
    error = np.abs(got - truth)
    assert (error <= allowed).all(), f"error {error.max()}, allowed {np.max(allowed)}"


@given(layer=layers(), name=st.sampled_from(["identity", "relu", "tanh", "silu", "softsign"]))
@FEW_EXAMPLES
def test_linear(backend_name, layer, name):
    x, w, b = layer
    y, saved = ops.linear(x, w, b, name, save=True, backend=backend_name)
    wide = [None if a is None else a.astype(np.float64) for a in layer]
    terms = np.abs(wide[0]) @ np.abs(wide[1]).T + (0 if b is None else np.abs(wide[2]))
    z = wide[0] @ wide[1].T + (0 if b is None else wide[2])
    truth = np.empty_like(z)
    reference.activation_forward(z, ACTIVATIONS[name], (), truth)
    allowed = rounding(y.dtype, 2 * terms + np.abs(truth), x.shape[-1] + 8)
    assert y.dtype == x.dtype and y.shape == (*x.shape[:-1], len(w))
    assert_within(y, truth, allowed)
    assert_within(saved, truth if ACTIVATIONS[name].saves == "y" else z, allowed)
    out = np.full(y.shape[::-1], 77, y.dtype).T
    assert ops.linear(x, w, b, name, out=out, backend=backend_name) is out
    np.testing.assert_array_equal(out, y)


@given(layer=layers(), data=st.data())
@FEW_EXAMPLES
def test_linear_backward(backend_name, layer, data):
    x, w, _ = layer
    dy = data.draw(views((*x.shape[:-1], len(w)), x.dtype))
    dx, dw, db = ops.linear_backward(dy, x, w, backend=backend_name)
    x, w, dy = x.astype(np.float64), w.astype(np.float64), dy.astype(np.float64)
    lead, batch = tuple(range(x.ndim - 1)), int(np.prod(x.shape[:-1]))
    for got, formula, factors, length in (
        (dx, np.matmul, (dy, w), len(w)),
        (dw, lambda dy, x: np.tensordot(dy, x, (lead, lead)), (dy, x), batch),
        (db, lambda dy: dy.sum(axis=lead), (dy,), batch),
    ):
        terms = formula(*map(np.abs, factors))
        assert_within(got, formula(*factors), rounding(got.dtype, terms, length + 8))


@given(pair=rows(largest=50.0), name=st.sampled_from(list(ACTIVATIONS)))
@FEW_EXAMPLES
def test_activation(backend_name, pair, name):
    """As the reference in float64, to the rounding of x and y; what is saved gives the derivative."""
    x, act = pair[0], ACTIVATIONS[name]
    z = x.astype(np.float64)
    truth, slope = np.empty_like(z), np.empty_like(z)
    reference.activation_forward(z, act, act.defaults, truth)
    saved = truth if act.saves == "y" else z
    reference.activation_backward(np.ones_like(z), saved, act, act.defaults, slope)
    y = ops.activation(x, name, backend=backend_name)
    assert_within(y, truth, rounding(x.dtype, np.abs(truth) + np.abs(z * slope), 8))
    dx = ops.activation_backward(np.ones_like(x), saved.astype(x.dtype), name, backend=backend_name)
    assert_within(dx, slope, rounding(x.dtype, 2 + np.abs(slope), 8))


@given(pair=rows())
@FEW_EXAMPLES
def test_softmax(backend_name, pair):
    x, axis = pair
    y = ops.softmax(x, axis, backend=backend_name)
    log_y = ops.log_softmax(x, axis, backend=backend_name)
    assert y.shape == log_y.shape == x.shape and y.dtype == log_y.dtype == x.dtype
    if not x.size:
        return
    assert (y >= 0).all() and (y <= 1).all() and (log_y <= 0).all()
    assert_within(y.sum(axis=axis, dtype=np.float64), 1, rounding(x.dtype, 1.0, 20))
    wide = x.astype(np.float64)
    below = wide - wide.max(axis=axis, keepdims=True)
    truth = below - np.log(np.exp(below).sum(axis=axis, keepdims=True))
    assert_within(log_y, truth, rounding(x.dtype, 1 - below, 20))
    assert_within(y, np.exp(truth), rounding(x.dtype, np.exp(truth) * (1 - below), 20))


@given(data=st.data())
@FEW_EXAMPLES
def test_cross_entropy(backend_name, data):
    """The losses against their definition; the rows of their gradient sum to 0; sum and mean are just that."""
    dtype, n, classes = data.draw(DTYPES), data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    logits = data.draw(views((n, classes), dtype, 30.0))
    labels = data.draw(hnp.arrays(np.int64, n, elements=st.integers(0, classes - 1) | st.just(-100)))
    smoothing = data.draw(st.sampled_from([0.0, 0.1, 1.0]))
    options = {"label_smoothing": smoothing, "backend": backend_name}
    losses, gradient = ops.cross_entropy(logits, labels, reduction="none", **options)
    wide = logits.astype(np.float64)
    log_p = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    one_hot = np.eye(classes)[np.maximum(labels, 0)] * (labels >= 0)[:, None]
    q = (1 - smoothing) * one_hot + smoothing / classes * (labels >= 0)[:, None]
    few = rounding(dtype, 100.0, 20)
    assert_within(losses, -(q * log_p).sum(axis=1), few)
    assert_within(gradient, np.exp(log_p) * (labels >= 0)[:, None] - q, few)
    assert_within(gradient.sum(axis=1, dtype=np.float64), 0, few)
    total, _ = ops.cross_entropy(logits, labels, reduction="sum", **options)
    assert_within(total, losses.sum(dtype=np.float64), n * few)
    mean, dmean = ops.cross_entropy(logits, labels, **options)
    counted = (labels >= 0).sum()
    if counted:
        assert_within(mean, losses.sum(dtype=np.float64) / counted, n * few)
        assert_within(dmean, gradient.astype(np.float64) / counted, few)
    else:
        assert np.isnan(mean) and not dmean.any()


@given(data=st.data())
@FEW_EXAMPLES
@pytest.mark.parametrize("op", ["softmax", "activation"])
def test_out_gets_what_is_returned_otherwise(backend_name, op, data):
    """Whatever view `out` is, only its own elements change."""
    x, _ = data.draw(rows())
    call = {
        "softmax": lambda out: ops.softmax(x, out=out, backend=backend_name),
        "activation": lambda out: ops.activation(x, "mish", out=out, backend=backend_name),
    }[op]
    steps = [data.draw(st.sampled_from([1, -1, 2, -3])) for _ in x.shape]
    buffer = np.full([size * abs(step) for size, step in zip(x.shape, steps)], 77, x.dtype)
    out = buffer[tuple(slice(None, None, step) for step in steps)]
    expected = call(None)
    assert call(out) is out
    np.testing.assert_array_equal(out, expected)
    out[...] = 77
    assert (buffer == 77).all()
