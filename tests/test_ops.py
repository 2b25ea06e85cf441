"""The array API, used rightly: any leading shape, any strides, what is converted, where results are written."""

import os

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from fastmlp import ops
from fastmlp.kernels.cases import LAYOUTS, lay_out
from fastmlp.kernels.contract import ACTIVATIONS

pytestmark = pytest.mark.usefixtures("on_each_backend")

F32, F64 = np.float32, np.float64
DTYPES = pytest.mark.parametrize("dtype", [F32, F64])
LEADS = pytest.mark.parametrize("lead", [(), (1,), (5,), (2, 3), (2, 1, 3), (0,), (2, 0)])


def random(*shape, dtype=F64):
    return np.random.default_rng((1, *shape)).standard_normal(shape).astype(dtype)


def assert_close(a, b):
    """Equal but for the rounding of a few hundred operations; the same shape and, for arrays, the same dtype"""
    assert np.shape(a) == np.shape(b)
    eps = np.finfo(np.asarray(a).dtype).eps
    np.testing.assert_allclose(a, b, rtol=100 * eps, atol=100 * eps)


def softmax(x, axis=-1):
    e = np.exp(x)
    return e / e.sum(axis=axis, keepdims=True)


def misaligned(a):
    """A copy of `a` one byte off the alignment of its elements"""
    buffer = np.zeros(a.nbytes + 1, np.uint8)
    copy = buffer[1:].view(a.dtype).reshape(a.shape)
    copy[...] = a
    assert not copy.flags.aligned or not copy.size
    return copy


# ------------------------------------------------------------------------------------------- linear


@DTYPES
@LEADS
def test_linear_takes_any_leading_shape(lead, dtype):
    x, w, b = random(*lead, 4, dtype=dtype), random(3, 4, dtype=dtype), random(3, dtype=dtype)
    y = ops.linear(x, w, b, "tanh")
    assert y.dtype == dtype
    assert_close(y, np.tanh(x @ w.T + b))
    assert_close(ops.linear(x, w), x @ w.T)


@DTYPES
@pytest.mark.parametrize("x_layout", LAYOUTS)
@pytest.mark.parametrize("w_layout", LAYOUTS)
def test_linear_takes_any_strides(x_layout, w_layout, dtype):
    x, w = lay_out(random(6, 4, dtype=dtype), x_layout), lay_out(random(3, 4, dtype=dtype), w_layout)
    b = random(6, dtype=dtype)[::-2]
    z = np.ascontiguousarray(x) @ np.ascontiguousarray(w).T + b
    y, saved = ops.linear(x, w, b, "silu", save=True)
    assert_close(y, z / (1 + np.exp(-z)))
    assert_close(saved, z)
    dy = random(12, 6, dtype=dtype)[::2, ::2]
    dx, dw, db = ops.linear_backward(dy, x, w)
    assert_close(dx, dy @ w)
    assert_close(dw, dy.T @ x)
    assert_close(db, dy.sum(axis=0))


def test_linear_takes_a_batch_that_is_no_matrix_in_memory():
    x = random(4, 3, 5).transpose(1, 0, 2)[::-1]
    w = random(2, 5)
    assert_close(ops.linear(x, w), x @ w.T)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_linear_saves_what_linear_backward_takes(name):
    x, w, b, dy = random(5, 4), random(3, 4), random(3), random(5, 3)
    z = x @ w.T + b
    y, saved = ops.linear(x, w, b, name, save=True)
    assert_close(y, ops.activation(z, name))
    assert_close(saved, y if ACTIVATIONS[name].saves == "y" else z)
    dz = ops.activation_backward(dy, saved, name)
    dx, dw, db = ops.linear_backward(dy, x, w, saved, name)
    assert_close(dx, dz @ w)
    assert_close(dw, dz.T @ x)
    assert_close(db, dz.sum(axis=0))


def test_parameters_reach_the_kernel():
    x = np.array([[-2.0, 1.0]])
    assert_close(ops.activation(x, "leaky_relu", negative_slope=0.5), [[-1.0, 1.0]])
    assert_close(ops.activation_backward(np.ones((1, 2)), x, "leaky_relu", negative_slope=0.5), [[0.5, 1.0]])
    assert_close(ops.activation(x, "softplus", threshold=0.5, beta=2), [[np.log1p(np.exp(-4.0)) / 2, 1.0]])
    assert_close(ops.linear(x, np.eye(2), None, "elu", alpha=3), [[3 * np.expm1(-2), 1.0]])
    dx, _, _ = ops.linear_backward(np.ones((1, 2)), x, np.eye(2), x, "leaky_relu", negative_slope=F32(0.25))
    assert_close(dx, [[0.25, 1.0]])


@pytest.mark.parametrize("m, k, n", [(0, 4, 3), (5, 0, 3), (5, 4, 0), (0, 0, 0), (0, 4, 0)])
def test_linear_of_nothing(m, k, n):
    """An empty sum is 0: without features y = act(b), without a batch the weights' gradients are 0."""
    x, w, b, dy = random(m, k), random(n, k), random(n), random(m, n)
    y, saved = ops.linear(x, w, b, "sigmoid", save=True)
    assert_close(y, 1 / (1 + np.exp(-(x @ w.T + b))))
    dx, dw, db = ops.linear_backward(dy, x, w, saved, "sigmoid")
    dz = dy * y * (1 - y)
    assert_close(dx, dz @ w)
    assert_close(dw, dz.T @ x)
    assert_close(db, dz.sum(axis=0))


@DTYPES
@LEADS
def test_linear_backward_takes_any_leading_shape(lead, dtype):
    x, w, dy = random(*lead, 4, dtype=dtype), random(3, 4, dtype=dtype), random(*lead, 3, dtype=dtype)
    dx, dw, db = ops.linear_backward(dy, x, w)
    rows = dy.reshape(-1, 3)
    assert_close(dx, dy @ w)
    assert_close(dw, rows.T @ x.reshape(-1, 4))
    assert_close(db, rows.sum(axis=0))
    assert dx.dtype == dw.dtype == db.dtype == dtype


def test_linear_backward_gives_only_what_is_wanted():
    x, w, dy = random(5, 4), random(3, 4), random(5, 3)
    everything = ops.linear_backward(dy, x, w)
    for wanted in [(True, False, False), (False, True, False), (False, False, True), (False, False, False)]:
        result = ops.linear_backward(dy, x, w, dx=wanted[0], dw=wanted[1], db=wanted[2])
        for asked, a, b in zip(wanted, result, everything):
            if asked:
                assert_close(a, b)
            else:
                assert a is None


@pytest.mark.parametrize("layout", ["C", "transposed", "reversed", "rows", "columns"])
def test_linear_backward_accumulates(layout):
    x, w, dy = random(5, 4), random(3, 4), random(5, 3)
    start, db = random(3, 4), random(6)
    dw, view = lay_out(start, layout), db[::2]
    before = db.copy()
    dx, dw2, db2 = ops.linear_backward(dy, x, w, dw=dw, db=view, accumulate=True)
    assert dw2 is dw and db2 is view
    assert_close(dw, start + dy.T @ x)
    assert_close(db[::2], before[::2] + dy.sum(axis=0))
    assert_close(db[1::2], before[1::2])
    assert_close(dx, dy @ w)


# ------------------------------------------------------------------------------------- what is converted


def test_lists_and_integers_take_the_precision_of_the_arrays_beside_them():
    x, w = [[1, 2], [3, 4]], [[0.5, 0.25]]
    expected = [[1.0], [2.5]]
    for a, b, dtype in [
        (x, w, F64),
        (np.array(x), np.array(w), F64),
        (np.array(x, F32), w, F32),
        (x, np.array(w, F32), F32),
        (np.array(x, np.int8), np.array(w, F32), F32),
        (np.array(x, np.uint64), w, F64),
        (tuple(map(tuple, x)), np.array(w, F64), F64),
    ]:
        y = ops.linear(a, b)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(ops.linear(np.eye(2, dtype=bool), w), [[0.5], [0.25]])
    assert ops.activation([True, False], "relu").dtype == F64
    assert ops.activation(F32(2), "relu").dtype == F32
    assert ops.linear(np.ones((1, 2), F32), w, [F64(0.5)]).dtype == F32


@DTYPES
def test_misaligned_arrays_work(dtype):
    x, w, b = random(5, 4, dtype=dtype), random(3, 4, dtype=dtype), random(3, dtype=dtype)
    out = misaligned(np.zeros((5, 3), dtype))
    assert ops.linear(misaligned(x), misaligned(w), misaligned(b), "relu", out=out) is out
    assert_close(out, np.maximum(x @ w.T + b, 0))
    assert_close(ops.softmax(misaligned(x)), softmax(x))
    labels = misaligned(np.array([0, 3, 1, 2, 1]))
    assert_close(ops.cross_entropy(x, labels)[0], ops.cross_entropy(x, labels.copy())[0])


def test_a_field_of_a_packed_record_works():
    """Its strides are no multiple of its element's size."""
    records = np.zeros(6, [("tag", "u1"), ("x", "f8", (4,))])
    records["x"] = random(6, 4)
    w = random(3, 4)
    assert_close(ops.linear(records["x"], w), records["x"] @ w.T)


def test_subclasses_give_plain_arrays():
    y = ops.activation(random(3).view(np.recarray), "relu")
    assert type(y) is np.ndarray


# ------------------------------------------------------------------------------------------- out=

X, W, DY = random(3, 4), random(4, 4), random(3, 4)
LABELS = np.array([0, 3, 1])
WITH_OUT = {  # every op that writes a (3, 4) array into `out`
    "linear": lambda out: ops.linear(X, W, out=out),
    "activation": lambda out: ops.activation(X, "gelu", out=out),
    "activation_backward": lambda out: ops.activation_backward(DY, X, "gelu", out=out),
    "softmax": lambda out: ops.softmax(X, out=out),
    "softmax of columns": lambda out: ops.softmax(X, 0, out=out),
    "log_softmax": lambda out: ops.log_softmax(X, out=out),
    "softmax_backward": lambda out: ops.softmax_backward(DY, X, out=out),
    "log_softmax_backward": lambda out: ops.log_softmax_backward(DY, X, 0, out=out),
    "cross_entropy": lambda out: ops.cross_entropy(X, LABELS, out=out)[1],
    "linear_backward dx": lambda out: ops.linear_backward(DY, X, W, dx=True if out is None else out)[0],
    "prelu": lambda out: ops.prelu(X, W[0], out=out),
    "prelu_backward dx": lambda out: ops.prelu_backward(DY, X, W[0], dx=True if out is None else out)[0],
    "layer_norm": lambda out: ops.layer_norm(X, W[0], out=out),
    "layer_norm_backward dx": lambda out: ops.layer_norm_backward(
        DY, X, W[0], (W[0, :3], W[1, :3]), dx=True if out is None else out)[0],
    "batch_norm": lambda out: ops.batch_norm(X, W[0], out=out),
    "batch_norm, given": lambda out: ops.batch_norm(X, running_mean=W[0], running_var=W[1] ** 2, out=out),
    "batch_norm_backward dx": lambda out: ops.batch_norm_backward(
        DY, X, None, (W[0], W[1], W[2]), dx=True if out is None else out)[0],
    "dropout": lambda out: ops.dropout(X, seed=3, out=out),
}


@pytest.mark.parametrize("layout", ["C", "transposed", "reversed", "rows", "columns"])
@pytest.mark.parametrize("name", WITH_OUT)
def test_out_may_lie_anyhow(name, layout):
    expected = WITH_OUT[name](None)
    out = lay_out(np.full((3, 4), 77.0), layout)
    owner = out if out.base is None else out.base
    gaps = owner.size - 12
    assert WITH_OUT[name](out) is out
    np.testing.assert_array_equal(out, expected)
    assert np.isnan(owner).sum() == gaps, "something was written between the elements"


def test_out_may_share_a_buffer_without_overlapping():
    buffer = random(3, 8)
    x, out = buffer[:, ::2], buffer[:, 1::2]
    expected = np.maximum(x, 0)
    np.testing.assert_array_equal(ops.activation(x, "relu", out=out), expected)


def test_inputs_stay_as_they_are():
    before = [a.copy() for a in (X, W, DY, LABELS)]
    for call in WITH_OUT.values():
        call(None)
    for a, b in zip((X, W, DY, LABELS), before):
        np.testing.assert_array_equal(a, b)


# ------------------------------------------------------------------------------- activations, softmax


@DTYPES
@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 3), (2, 0, 3), (2, 3, 4, 5)])
def test_activation_takes_any_shape(shape, dtype):
    x, dy = random(*shape, dtype=dtype), random(*shape, dtype=dtype)
    y = ops.activation(x, "tanh")
    assert type(y) is np.ndarray and y.dtype == dtype
    assert_close(y, np.tanh(x))
    assert_close(ops.activation_backward(dy, y, "tanh"), dy * (1 - y * y))
    assert_close(ops.activation(x.T, "tanh"), np.tanh(x.T))


@DTYPES
@pytest.mark.parametrize("axis", [-3, -2, -1, 0, 1, 2])
def test_softmax_along_any_axis(axis, dtype):
    x, dy = random(3, 4, 5, dtype=dtype), random(5, 4, 3, dtype=dtype).T
    y, log_y = ops.softmax(x, axis), ops.log_softmax(x, axis=axis)
    assert y.dtype == log_y.dtype == dtype
    assert_close(y, softmax(x, axis))
    assert_close(log_y, np.log(softmax(x, axis)))
    assert_close(ops.softmax_backward(dy, y, axis), y * (dy - (dy * y).sum(axis=axis, keepdims=True)))
    assert_close(ops.log_softmax_backward(dy, log_y, axis), dy - y * dy.sum(axis=axis, keepdims=True))
    assert_close(ops.softmax(x[::-1, ::2, ::-2], axis), softmax(x[::-1, ::2, ::-2], axis))


@pytest.mark.parametrize("shape, axis", [((0,), 0), ((0, 3), 1), ((3, 0), 1), ((0, 3), 0), ((2, 0, 3), 2)])
def test_softmax_of_nothing(shape, axis):
    x = np.zeros(shape)
    for result in (ops.softmax(x, axis), ops.softmax_backward(x, x, axis)):
        assert result.shape == shape
    assert (ops.softmax(x, axis) == 1).all()


def test_numpy_integers_are_axes():
    assert_close(ops.softmax(X, np.int64(0)), softmax(X, 0))


# ------------------------------------------------------------------------------------- cross-entropy


@DTYPES
@LEADS
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_takes_any_leading_shape(lead, reduction, dtype):
    logits = random(*lead, 5, dtype=dtype)
    labels = np.random.default_rng(1).integers(0, 5, lead)
    p, one_hot = softmax(logits), np.eye(5)[labels]
    losses = -np.log((p * one_hot).sum(axis=-1))
    loss, dlogits = ops.cross_entropy(logits, labels, reduction=reduction)
    assert loss.dtype == dlogits.dtype == dtype
    rows = losses.size
    if reduction == "none":
        assert_close(loss, losses.astype(dtype))
        assert_close(dlogits, p - one_hot)
    elif reduction == "sum":
        assert_close(loss, losses.sum())
        assert_close(dlogits, p - one_hot)
    elif rows:
        assert_close(loss, losses.mean())
        assert_close(dlogits, (p - one_hot) / rows)
    else:
        assert np.isnan(loss) and dlogits.shape == (*lead, 5)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i4"])
def test_labels_may_be_any_integers(dtype):
    expected = ops.cross_entropy(X, [0, 3, 1])
    strided = np.array([0, 9, 3, 9, 1, 9], dtype)[::2]
    for labels in (np.array([0, 3, 1], dtype), strided):
        got = ops.cross_entropy(X, labels)
        assert got[0] == expected[0]
        np.testing.assert_array_equal(got[1], expected[1])


def test_labels_and_their_one_hot_rows_agree():
    loss, dlogits = ops.cross_entropy(X, LABELS)
    for one_hot in (np.eye(4)[LABELS], np.eye(4, dtype=bool)[LABELS], np.eye(4)[LABELS].tolist()):
        loss2, dlogits2 = ops.cross_entropy(X, one_hot)
        assert_close(loss2, loss)
        assert_close(dlogits2, dlogits)


def test_cross_entropy_options_reach_the_kernel():
    p = softmax(X)
    loss, dlogits = ops.cross_entropy(X, [0, -1, 1], ignore_index=-1, reduction="none")
    assert_close(loss, np.where([1, 0, 1], -np.log(p[range(3), [0, 0, 1]]), 0))
    assert (dlogits[1] == 0).all()
    weight, sample_weight = np.array([1.0, 2, 3, 4]), [1.0, 0.5, 2.0]
    loss, _ = ops.cross_entropy(X, LABELS, weight, sample_weight=sample_weight)
    factor = weight[LABELS] * sample_weight
    assert_close(loss, (factor * -np.log(p[range(3), LABELS])).sum() / factor.sum())
    loss, _ = ops.cross_entropy(X, LABELS, label_smoothing=1, reduction="sum")
    assert_close(loss, -np.log(p).sum() / 4)


def test_cross_entropy_of_one_row_is_a_number():
    loss, dlogits = ops.cross_entropy([1.0, 2.0], 1)
    assert np.ndim(loss) == 0 and dlogits.shape == (2,)
    assert_close(loss, np.log1p(np.exp(-1.0)))
    loss, _ = ops.cross_entropy([1.0, 2.0], 1, reduction="none")
    assert np.shape(loss) == ()


def test_cross_entropy_without_classes():
    loss, dlogits = ops.cross_entropy(np.zeros((3, 0)), np.full(3, -100), reduction="sum")
    assert loss == 0 and dlogits.shape == (3, 0)


# --------------------------------------------------------------------------------------------- large


def test_offsets_beyond_2_to_the_31():
    """Rows more than 2³¹ elements apart, in memory that is never touched in between."""
    far = 2**31 + 3
    try:
        buffer = np.zeros(far + 16, F32)
    except MemoryError:
        pytest.skip("no 8 GiB of address space")
    x = as_strided(buffer, (2, 5), (4 * far, 4))
    x[...] = np.arange(10).reshape(2, 5)
    w = random(3, 5, dtype=F32)
    assert_close(ops.linear(x, w), np.ascontiguousarray(x) @ w.T)
    assert_close(ops.linear(w, x), w @ np.ascontiguousarray(x).T)


@pytest.mark.skipif(not os.environ.get("FASTMLP_TEST_HUGE"), reason="needs 18 GiB; FASTMLP_TEST_HUGE=1 runs it")
def test_more_than_2_to_the_31_elements():
    x = np.zeros((2**31 + 8) // 8 * 8, F32).reshape(8, -1)
    x[-1, -3:] = [-1, 2, 3]
    y = ops.activation(x, "relu")
    np.testing.assert_array_equal(y[-1, -4:], [0, 0, 2, 3])
    assert np.count_nonzero(y) == 2


def test_cross_entropy_takes_probabilities_as_a_list_of_the_logits_precision():
    logits = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], np.float32)
    q = [[0.25, 0.5, 0.25], [0.0, 0.0, 1.0]]
    loss, dlogits = ops.cross_entropy(logits, q)
    expected, _ = ops.cross_entropy(logits, np.array(q, np.float32))
    assert loss == expected and loss.dtype == dlogits.dtype == np.float32


def test_cross_entropy_refuses_an_ignore_index_that_no_label_can_be():
    with pytest.raises(ValueError, match="ignore_index: expected a 64-bit integer, got 9223372036854775808"):
        ops.cross_entropy(np.zeros((1, 2), np.float32), [0], ignore_index=2**63)


@pytest.mark.parametrize("target", [np.array([0, 1, 2]), np.full((3, 3), 1 / 3, np.float32)], ids=["labels", "soft"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mean_over_weights_whose_reciprocal_no_float_holds(target, smoothing):
    """Weights of 1e-40 give what weights of 1 give: "mean" divides by their sum."""
    logits = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    which = "weight" if target.ndim == 1 else "sample_weight"

    def gradient(value):
        weights = {which: np.full(3, value, np.float32)}
        return ops.cross_entropy(logits, target, label_smoothing=smoothing, **weights)[1]

    np.testing.assert_allclose(gradient(1e-40), gradient(1), rtol=1e-4, atol=1e-5)  # 1e-40 has 16 bits
    np.testing.assert_allclose(gradient(1e38), gradient(1), rtol=1e-5, atol=1e-6)


def test_mean_over_weights_that_are_negative_or_add_up_to_nothing():
    """Weights of -1e32 give what weights of 1 give; where the weights of the labels are 0, the gradient is 0."""
    logits = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    ones = ops.cross_entropy(logits, [0, 1])[1]
    negative = ops.cross_entropy(logits, [0, 1], np.full(3, -1e32, np.float32))[1]
    np.testing.assert_allclose(negative, ones, rtol=1e-5, atol=1e-6)
    nothing = ops.cross_entropy(logits, [0, 0], np.array([0, 1e33, 1], np.float32), label_smoothing=0.1)[1]
    np.testing.assert_array_equal(nothing, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_terms_of_many_classes_are_summed_with_care(dtype, smoothing):
    """All alike, they would round alike."""
    logits = 3 * np.random.default_rng(5).standard_normal((1, 50257)).astype(dtype)
    loss, got = ops.cross_entropy(logits, [7], label_smoothing=smoothing)
    e = np.exp(logits.astype(np.longdouble))
    p, target = e / e.sum(), np.full(logits.shape, smoothing / logits.size, np.longdouble)
    target[0, 7] += 1 - smoothing
    eps = np.finfo(dtype).eps
    assert np.abs(got - (p - target)).max() < 8 * eps
    assert abs(loss + (target * np.log(p)).sum()) < 32 * eps * abs(loss)


def test_rows_without_classes_whose_labels_are_ignored():
    loss, dlogits = ops.cross_entropy(np.zeros((40, 0), np.float32), np.full(40, -100), reduction="sum")
    assert loss == 0 and dlogits.shape == (40, 0)


@pytest.mark.parametrize("classes", [1, 10, 33, 64, 65, 100])
def test_a_row_gives_the_same_bits_whatever_rows_are_beside_it(classes):
    x = 3 * np.random.default_rng(0).standard_normal((40, classes), np.float32)
    labels = np.arange(40) % classes
    _, dlogits = ops.cross_entropy(x, labels, reduction="sum")
    for i in (0, 7, 39):
        for softmax in (ops.softmax, ops.log_softmax):
            np.testing.assert_array_equal(softmax(x[i : i + 1]), softmax(x)[i : i + 1])
        np.testing.assert_array_equal(ops.cross_entropy(x[i], labels[i], reduction="sum")[1], dlogits[i])
