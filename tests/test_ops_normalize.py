"""PReLU, layer norm, batch norm and dropout of the array API: values and gradients, against torch and formulas."""

import warnings

import numpy as np
import pytest

from fastmlp import ops
from fastmlp.kernels.cases import LAYOUTS, lay_out

pytestmark = pytest.mark.usefixtures("on_each_backend")

F32, F64 = np.float32, np.float64
DTYPES = pytest.mark.parametrize("dtype", [F32, F64])
WEIGHTED = pytest.mark.parametrize("weighted", [False, True])


@pytest.fixture(scope="module")
def torch():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torch", reason="torch is not installed")


def random(*shape, dtype=F64):
    return np.random.default_rng((2, *shape)).standard_normal(shape).astype(dtype)


def assert_close(a, b, few=100):
    """Equal but for so many roundings; the same shape and dtype"""
    b = b if isinstance(b, np.ndarray) or not hasattr(b, "detach") else b.detach().numpy()
    assert np.shape(a) == np.shape(b) and a.dtype == b.dtype
    eps = np.finfo(a.dtype).eps
    np.testing.assert_allclose(a, b, rtol=few * eps, atol=few * eps)


def tensors(torch, *arrays):
    """Each as a tensor whose gradient is recorded; None stays None"""
    return [None if a is None else torch.tensor(a, requires_grad=True) for a in arrays]


# --------------------------------------------------------------------------------------------- prelu


@DTYPES
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("shape", [(), (7,), (5, 4), (0, 4), (3, 0), (2, 4, 5), (2, 4, 3, 2), (2, 4, 0)])
def test_prelu_is_that_of_torch(torch, shape, shared, dtype):
    channels = shape[1] if len(shape) > 1 and not shared else 1
    x, dy, weight = random(*shape, dtype=dtype), random(*shape, dtype=dtype), random(channels, dtype=dtype)
    tx, tw = tensors(torch, x, weight)
    theirs = torch.nn.functional.prelu(tx, tw)
    theirs.backward(torch.tensor(dy))
    assert_close(ops.prelu(x, weight), theirs)
    dx, dweight = ops.prelu_backward(dy, x, weight)
    assert_close(dx, tx.grad)
    assert_close(dweight, tw.grad)


def test_prelu_at_zero_and_at_nan():
    x, weight = np.array([-0.0, 0.0, np.nan, -np.inf, np.inf]), np.array([0.5])
    np.testing.assert_array_equal(ops.prelu(x, weight), [0, 0, np.nan, -np.inf, np.inf])
    dx, _ = ops.prelu_backward(np.ones(5), x, weight)
    np.testing.assert_array_equal(dx, [0.5, 0.5, 0.5, 0.5, 1])  # as torch has it


# ---------------------------------------------------------------------------------------- layer norm


@DTYPES
@WEIGHTED
@pytest.mark.parametrize("shape", [(1, 6), (5, 6), (64, 33), (0, 6), (3, 0), (3, 1), (2, 3, 6), (6,)])
def test_layer_norm_is_that_of_torch(torch, shape, weighted, dtype):
    n = shape[-1]
    x, dy = 3 * random(*shape, dtype=dtype) + 1, random(*shape, dtype=dtype)
    weight, bias = (random(n, dtype=dtype), random(n, 1, dtype=dtype)[:, 0]) if weighted else (None, None)
    tx, tw, tb = tensors(torch, x, weight, bias)
    theirs = torch.nn.functional.layer_norm(tx, (n,), tw, tb, 1e-3)
    theirs.backward(torch.tensor(dy))
    y, saved = ops.layer_norm(x, weight, bias, 1e-3, save=True)
    assert_close(y, theirs)
    assert [a.shape for a in saved] == [shape[:-1]] * 2
    dx, dweight, dbias = ops.layer_norm_backward(dy, x, weight, saved)
    assert_close(dx, tx.grad, 1000)
    if weighted:
        assert_close(dweight, tw.grad, 1000)
        assert_close(dbias, tb.grad, 1000)


@DTYPES
def test_layer_norm_of_one_feature_or_a_constant_row_is_the_bias(dtype):
    assert_close(ops.layer_norm(np.full((3, 1), 7, dtype), None, np.full(1, 2, dtype)), np.full((3, 1), 2, dtype))
    row = np.full((2, 1001), 0.1, dtype)
    y, (mean, rstd) = ops.layer_norm(row, save=True)
    assert_close(mean, row[:, 0])
    np.testing.assert_allclose(rstd, 1e-5**-0.5, rtol=1e-6)
    assert np.abs(y).max() < 0.01


# ---------------------------------------------------------------------------------------- batch norm


@DTYPES
@WEIGHTED
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(1, 6), (2, 6), (5, 6), (300, 33), (0, 6)])
def test_batch_norm_is_that_of_torch(torch, shape, training, weighted, dtype):
    n, rows = shape[-1], shape[0]
    x, dy = 3 * random(*shape, dtype=dtype) + 1, random(*shape, dtype=dtype)
    weight, bias = (random(n, dtype=dtype), random(n, 1, dtype=dtype)[:, 0]) if weighted else (None, None)
    mean, var = random(n, 2, dtype=dtype)[:, 0], random(n, 3, dtype=dtype)[:, 0] ** 2
    tx, tw, tb = tensors(torch, x, weight, bias)
    running = torch.tensor(mean), torch.tensor(var)
    arguments = {"weight": tw, "bias": tb, "training": training, "momentum": 1.0, "eps": 1e-3}
    given = {} if training else {"running_mean": mean, "running_var": var}
    if training and rows == 1:
        for call in (lambda: torch.nn.functional.batch_norm(tx, *running, **arguments), lambda: ops.batch_norm(x)):
            with pytest.raises(ValueError, match=r"xpected more than 1"):
                call()
        return
    theirs = torch.nn.functional.batch_norm(tx, *running, **arguments)
    theirs.backward(torch.tensor(dy))
    y, saved = ops.batch_norm(x, weight, bias, 1e-3, **given, save=True)
    assert_close(y, theirs)
    assert [a.shape for a in saved] == [(n,)] * 3
    if training and rows:
        assert_close(saved[0], running[0])
        assert_close(saved[2] * dtype(rows / (rows - 1)), running[1])
    dx, dweight, dbias = ops.batch_norm_backward(dy, x, weight, saved, training=training)
    assert_close(dx, tx.grad, 1000)
    if weighted:
        assert_close(dweight, tw.grad, 1000)
        assert_close(dbias, tb.grad, 1000)


@DTYPES
@pytest.mark.parametrize("norm, axis", [(ops.layer_norm, 1), (ops.batch_norm, 0)])
def test_the_variance_is_right_far_from_zero(norm, axis, dtype):
    """Deviations of eps · 2⁸ around a mean of 1000: a difference of two sums of squares would have no digit left."""
    shape = (3, 3000) if axis else (3000, 3)
    x = 1000 + 1000 * np.finfo(dtype).eps * 2**8 * random(*shape)
    x = x.astype(dtype)
    wide = x.astype(np.longdouble)
    truth = (wide - wide.mean(axis, keepdims=True)) / wide.std(axis, keepdims=True)
    y, saved = norm(x, eps=0, save=True)
    # the mean is kept in x's own precision: half a rounding of 1000, in deviations
    np.testing.assert_allclose(y, truth, rtol=1e-3, atol=0.6 / 2**8)
    np.testing.assert_allclose(saved[1], 1 / wide.std(axis), rtol=1e-4)


def test_batch_norm_of_nothing_has_no_statistics():
    y, saved = ops.batch_norm(np.empty((0, 3)), save=True)
    assert y.shape == (0, 3) and all(np.isnan(a).all() for a in saved)
    dx, dweight, dbias = ops.batch_norm_backward(y, y, None, saved)
    assert dx.shape == (0, 3) and not dweight.any() and not dbias.any()


def test_batch_norm_without_features():
    """torch has no answer."""
    y, saved = ops.batch_norm(np.empty((3, 0)), save=True)
    assert y.shape == (3, 0) and all(a.shape == (0,) for a in saved)
    assert [a.shape for a in ops.batch_norm_backward(y, y, None, saved)] == [(3, 0), (0,), (0,)]


def test_a_variance_that_no_eps_makes_positive_gives_nan_and_no_warning():
    y = ops.batch_norm(np.ones((2, 3)), eps=0, running_mean=np.zeros(3), running_var=np.array([-1.0, 0, 1]))
    np.testing.assert_array_equal(y, [[np.nan, np.inf, 1]] * 2)


# ----------------------------------------------------------------------------- shapes, strides, outputs


@DTYPES
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_strides_and_any_leading_shape(layout, dtype):
    x = lay_out(random(6, 4, dtype=dtype), layout)
    weight, bias = random(8, dtype=dtype)[::-2], random(4, 2, dtype=dtype)[:, 0]
    plain = np.ascontiguousarray(x)
    for norm in (ops.layer_norm, ops.batch_norm):
        expected = norm(plain, weight.copy(), bias.copy())
        np.testing.assert_array_equal(norm(x, weight, bias), expected)
        np.testing.assert_array_equal(norm(plain.reshape(3, 2, 4), weight, bias), expected.reshape(3, 2, 4))
    np.testing.assert_array_equal(ops.prelu(x, weight), np.where(x > 0, x, weight * x))
    np.testing.assert_array_equal(ops.dropout(x, seed=1), ops.dropout(plain, seed=1))
    np.testing.assert_array_equal(ops.dropout(plain.ravel(), seed=1), ops.dropout(x, seed=1).ravel())


GRADIENTS = {
    "layer_norm": lambda x, **asked: ops.layer_norm_backward(x, x, x[0], (x[:, 0], x[:, 1]), **asked),
    "batch_norm": lambda x, **asked: ops.batch_norm_backward(x, x, x[0], (x[1], x[2], x[2]), **asked),
    "batch_norm, given": lambda x, **asked: ops.batch_norm_backward(
        x, x, x[0], (x[1], x[2], x[2]), training=False, **asked
    ),
    "prelu": lambda x, **asked: ops.prelu_backward(x, x, x[0], **asked),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_that_are_not_wanted_and_where_they_are_written(name):
    x, call = random(6, 4), GRADIENTS[name]
    names = ("dx", "dweight", "dbias")[: len(call(x))]
    for i, (key, expected) in enumerate(zip(names, call(x))):
        only = call(x, **{other: other == key for other in names})
        assert [a is None for a in only] == [other != key for other in names]
        np.testing.assert_array_equal(only[i], expected)
        out = np.full((*expected.shape[:-1], 8), 77.0)[..., ::2]
        assert call(x, **{key: out})[i] is out
        np.testing.assert_array_equal(out, expected)
        with pytest.raises(ValueError, match=f"^{key}: expected shape"):
            call(x, **{key: np.zeros(5)})


def test_statistics_may_lie_anyhow():
    x, dy = random(6, 4), random(6, 4, 1)[..., 0]
    _, (mean, rstd) = ops.layer_norm(x, save=True)
    strided = np.stack([mean, rstd], axis=1)
    expected = ops.layer_norm_backward(dy, x, None, (mean, rstd))
    for a, b in zip(ops.layer_norm_backward(dy, x, None, (strided[:, 0], strided[:, 1])), expected):
        np.testing.assert_array_equal(a, b)


# ------------------------------------------------------------------------------------------- dropout


@DTYPES
@pytest.mark.parametrize("shape", [(), (0,), (1001,), (30, 40), (2, 3, 5)])
def test_dropout(shape, dtype):
    x = np.abs(random(*shape, dtype=dtype)) + 1
    y = ops.dropout(x, 0.25, seed=5)
    kept = y != 0
    assert y.dtype == dtype and y.shape == shape
    assert_close(y, np.where(kept, x / dtype(0.75), dtype(0)))
    np.testing.assert_array_equal(ops.dropout(np.ones_like(x), 0.25, seed=5) != 0, kept)  # the gradient's
    if x.size > 100:
        assert 0.7 < kept.mean() < 0.8
        assert (kept != (ops.dropout(x, 0.25, seed=6) != 0)).any()
    np.testing.assert_array_equal(ops.dropout(x, 0, seed=5), x)
    np.testing.assert_array_equal(ops.dropout(x, 1, seed=5), 0 * x)


def test_dropout_continues_where_the_offset_says():
    x = np.ones(1000)
    np.testing.assert_array_equal(ops.dropout(x, seed=2**63)[400:], ops.dropout(x[400:], seed=2**63, offset=100))


def test_dropout_lets_nan_through():
    """As torch does, also where it drops: nan · 0."""
    assert np.isnan(ops.dropout(np.full(100, np.nan), seed=0)).all()
