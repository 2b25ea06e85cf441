"""The array API, used wrongly: one clear exception, its text as a person reads it, and nothing written."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from fastmlp import ops
from fastmlp.backend import MODULES
from fastmlp.kernels.contract import ACTIVATIONS

pytestmark = pytest.mark.usefixtures("on_each_backend")

F32, F64 = np.float32, np.float64
X, W, B, DY = np.ones((3, 4)), np.ones((2, 4)), np.ones(2), np.ones((3, 2))
X32, W32 = X.astype(F32), W.astype(F32)
LOGITS, LABELS = np.ones((3, 5)), np.array([0, 4, 1])
KNOWN = ", ".join(ACTIVATIONS)

#: what is called -> the exception's type and its whole text. `out` is an array of the right shape and dtype.
NONE = "the call has none of that name, and activation "
EITHER = "expected integer labels of shape (3,) or float class probabilities of shape (3, 5)"
WRONG = [
    # types of arrays
    (lambda out: ops.linear(X, W32, out=out),
     TypeError, "w: expected float64 as x is, got float32; convert one of them"),
    (lambda out: ops.linear(X, W, B.astype(F32), out=out), TypeError,
     "b: expected float64 as x is, got float32; convert one of them"),
    (lambda out: ops.linear(X.astype(np.float16), W, out=out),
     TypeError, "x: expected float32 or float64, got float16"),
    (lambda out: ops.linear(X, W.astype(complex), out=out),
     TypeError, "w: expected float32 or float64, got complex128"),
    (lambda out: ops.linear("x", W, out=out), TypeError, "x: expected an array, got 'x'"),
    (lambda out: ops.linear_backward(DY, X, W, "relu", dx=out), TypeError, "saved: expected an array, got 'relu'"),
    (lambda out: ops.linear(None, W, out=out), TypeError, "x: expected an array, got None"),
    (lambda out: ops.linear(X, None, out=out), TypeError, "w: expected an array, got None"),
    (lambda out: ops.linear_backward(None, X, W, dx=out), TypeError, "dy: expected an array, got None"),
    (lambda out: ops.activation(None, "tanh", out=out), TypeError, "x: expected an array, got None"),
    (lambda out: ops.activation_backward(None, X, "gelu", out=out), TypeError, "dy: expected an array, got None"),
    (lambda out: ops.activation_backward(X, None, "gelu", out=out), TypeError, "saved: expected an array, got None"),
    (lambda out: ops.softmax(None, out=out), TypeError, "x: expected an array, got None"),
    (lambda out: ops.softmax_backward(X, None, out=out), TypeError, "y: expected an array, got None"),
    (lambda out: ops.log_softmax_backward(X, None, out=out), TypeError, "y: expected an array, got None"),
    (lambda out: ops.cross_entropy(None, LABELS, out=out), TypeError, "logits: expected an array, got None"),
    (lambda out: ops.cross_entropy(None, LOGITS, out=out), TypeError, "logits: expected an array, got None"),
    (lambda out: ops.cross_entropy(LOGITS, None, out=out), TypeError, "target: expected an array, got None"),
    (lambda out: ops.linear(X, [[None] * 4] * 2, out=out),
     TypeError, "w: expected float32 or float64, got object"),
    (lambda out: ops.linear(X.astype(">f8"), W, out=out), TypeError, "x: expected float32 or float64, got >f8"),
    (lambda out: ops.linear_backward(DY, X32, W, dx=out), TypeError,
     "x: expected float64 as dy is, got float32; convert one of them"),
    (lambda out: ops.activation_backward(X32, X, "relu", out=out), TypeError,
     "saved: expected float32 as dy is, got float64; convert one of them"),
    (lambda out: ops.softmax_backward(X, X32, out=out), TypeError,
     "y: expected float64 as dy is, got float32; convert one of them"),
    (lambda out: ops.cross_entropy(LOGITS, LABELS, np.ones(5, F32), out=out), TypeError,
     "weight: expected float64 as logits is, got float32; convert one of them"),
    (lambda out: ops.cross_entropy(LOGITS.astype(F32), LOGITS, out=out), TypeError,
     "target: expected float32 as logits is, got float64; convert one of them"),
    (lambda out: ops.cross_entropy(LOGITS, LABELS.astype(object), out=out), TypeError,
     f"target: {EITHER}, got object of shape (3,)"),
    # shapes
    (lambda out: ops.linear(X, np.ones((2, 5)), out=out), ValueError,
     "x: expected shape (..., 5) to fit w (2, 5), got (3, 4)"),
    (lambda out: ops.linear(X, np.ones(4), out=out), ValueError,
     "w: expected shape (out_features, in_features), got (4,)"),
    (lambda out: ops.linear(1.0, W, out=out), ValueError, "x: expected shape (..., in_features), got a scalar"),
    (lambda out: ops.linear(X, W, np.ones(3), out=out),
     ValueError, "b: expected shape (2,) to fit w (2, 4), got (3,)"),
    (lambda out: ops.linear(X, W, np.ones((1, 2)), out=out), ValueError,
     "b: expected shape (2,) to fit w (2, 4), got (1, 2)"),
    (lambda out: ops.linear_backward(DY[:2], X, W, dx=out),
     ValueError, "dy: expected shape (3, 2), got (2, 2)"),
    (lambda out: ops.linear_backward(DY, X, W, DY.T, "relu", dx=out), ValueError,
     "saved: expected shape (3, 2), got (2, 3)"),
    (lambda out: ops.activation_backward(X, X[0], "relu", out=out),
     ValueError, "saved: expected shape (3, 4), got (4,)"),
    (lambda out: ops.softmax_backward(X, X.T, out=out), ValueError, "y: expected shape (3, 4), got (4, 3)"),
    (lambda out: ops.cross_entropy(1.0, 0, out=out),
     ValueError, "logits: expected shape (..., classes), got a scalar"),
    (lambda out: ops.cross_entropy(LOGITS, LABELS[:2], out=out),
     ValueError, f"target: {EITHER}, got int64 of shape (2,)"),
    (lambda out: ops.cross_entropy(LOGITS, LOGITS[:2], out=out),
     ValueError, f"target: {EITHER}, got float64 of shape (2, 5)"),
    (lambda out: ops.cross_entropy(LOGITS, LABELS.astype(float), out=out),
     ValueError, f"target: {EITHER}, got float64 of shape (3,)"),
    (lambda out: ops.cross_entropy(LOGITS, [True, False, True], out=out),
     ValueError, f"target: {EITHER}, got bool of shape (3,)"),
    (lambda out: ops.cross_entropy(LOGITS, np.eye(3, 5, dtype=int), out=out), ValueError,
     f"target: {EITHER}, got int64 of shape (3, 5)"),
    (lambda out: ops.cross_entropy(LOGITS, LABELS, np.ones(4), out=out), ValueError,
     "weight: expected shape (5,), got (4,)"),
    (lambda out: ops.cross_entropy(LOGITS, LABELS, sample_weight=np.ones((3, 1)), out=out), ValueError,
     "sample_weight: expected shape (3,), got (3, 1)"),
    # activations and their parameters
    (lambda out: ops.linear(X, W, B, "gleu", out=out), ValueError,
     f"activation: unknown 'gleu'; did you mean 'gelu'? known are {KNOWN}"),
    (lambda out: ops.activation(X, "ReLU", out=out), ValueError,
     f"activation: unknown 'ReLU'; did you mean 'relu'? known are {KNOWN}"),
    (lambda out: ops.activation(X, "", out=out), ValueError, f"activation: unknown ''; known are {KNOWN}"),
    (lambda out: ops.activation(X, "zzzzzz", out=out),
     ValueError, f"activation: unknown 'zzzzzz'; known are {KNOWN}"),
    (lambda out: ops.activation(X, None, out=out), TypeError, "activation: expected a name, got NoneType"),
    (lambda out: ops.activation(X, np.tanh, out=out), TypeError, "activation: expected a name, got ufunc"),
    (lambda out: ops.activation(X, "relu", alpha=1.0, out=out), TypeError,
     f"unexpected keyword argument 'alpha': {NONE}'relu' takes no parameters"),
    (lambda out: ops.linear(X, W, B, "softplus", alpha=1.0, out=out), TypeError,
     f"unexpected keyword argument 'alpha': {NONE}'softplus' takes beta, threshold"),
    (lambda out: ops.linear(X, W, bias=B, out=out), TypeError,
     f"unexpected keyword argument 'bias': {NONE}'identity' takes no parameters"),
    (lambda out: ops.activation(X, "Swish", out=out), ValueError,
     f"activation: unknown 'Swish'; did you mean 'silu'? known are {KNOWN}"),
    (lambda out: ops.activation(X, "elu", alpha=10**400, out=out), TypeError,
     "alpha: expected a number, got int"),
    (lambda out: ops.activation(X, "elu", alpha=np.ones(2), out=out), TypeError,
     "alpha: expected a number, got ndarray"),
    (lambda out: ops.activation(X, "elu", alpha="1", out=out), TypeError, "alpha: expected a number, got str"),
    (lambda out: ops.activation(X, "elu", alpha=None, out=out),
     TypeError, "alpha: expected a number, got NoneType"),
    (lambda out: ops.activation(X, "elu", alpha=-1, out=out),
     ValueError, "alpha: expected a number >= 0, got -1"),
    (lambda out: ops.activation(X, "leaky_relu", negative_slope=np.nan, out=out), ValueError,
     "negative_slope: expected a number >= 0, got nan"),
    (lambda out: ops.activation(X, "celu", alpha=0, out=out), ValueError, "alpha: expected a number > 0, got 0"),
    (lambda out: ops.activation(X, "celu", alpha=np.nan, out=out), ValueError, "alpha: expected a number > 0, got nan"),
    (lambda out: ops.activation(X, "softshrink", lambd=-1, out=out),
     ValueError, "lambd: expected a number >= 0, got -1"),
    (lambda out: ops.activation(X, "hardtanh", min_val=2, out=out),
     ValueError, "min_val: expected at most max_val, got 2.0 and 1.0"),
    (lambda out: ops.activation(X, "hardtanh", max_val=np.nan, out=out),
     ValueError, "min_val: expected at most max_val, got -1.0 and nan"),
    (lambda out: ops.linear_backward(DY, X, W, None, "relu", dx=out), TypeError,
     "saved: 'relu' needs what linear(..., save=True) returned, got None"),
    (lambda out: ops.linear_backward(DY, X, W, DY, dx=out), TypeError,
     "activation: expected the name that linear() was given, since there is `saved`; got None"),
    (lambda out: ops.linear_backward(DY, X, W, dx=out, accumulate=True), TypeError,
     "dw: accumulate needs an array to add to (or False), got True"),
    # labels and options of cross-entropy
    (lambda out: ops.cross_entropy(LOGITS, [0, 5, 1], out=out), ValueError,
     "target[1] is 5: expected 0 to 4, or ignore_index -100"),
    (lambda out: ops.cross_entropy(LOGITS, [0, 1, -1], out=out), ValueError,
     "target[2] is -1: expected 0 to 4, or ignore_index -100"),
    (lambda out: ops.cross_entropy(LOGITS, [-100, 1, 0], ignore_index=-1, out=out), ValueError,
     "target[0] is -100: expected 0 to 4, or ignore_index -1"),
    (lambda out: ops.cross_entropy(np.ones((2, 3, 5)), [[0, 1, 2], [3, 9, 0]]), ValueError,
     "target[1, 1] is 9: expected 0 to 4, or ignore_index -100"),
    (lambda out: ops.cross_entropy(LOGITS[0], 7),
     ValueError, "target is 7: expected 0 to 4, or ignore_index -100"),
    (lambda out: ops.cross_entropy(LOGITS, np.array([0, 2**64 - 100, 1], np.uint64), out=out), ValueError,
     f"target: label {2**64 - 100} is out of range for 5 classes"),
    (lambda out: ops.cross_entropy(LOGITS, LABELS, reduction="avg", out=out), ValueError,
     "reduction: expected one of none, mean, sum, got 'avg'"),
    (lambda out: ops.cross_entropy(LOGITS, LABELS, reduction=np.ones(2), out=out), ValueError,
     "reduction: expected one of none, mean, sum, got array([1., 1.])"),
    (lambda out: ops.cross_entropy(np.ones((2, 0)), [0, -100]), ValueError,
     "target[0] is 0: expected ignore_index -100"),
    (lambda out: ops.cross_entropy(LOGITS, LABELS, label_smoothing=1.5, out=out), ValueError,
     "label_smoothing: expected 0 to 1, got 1.5"),
    (lambda out: ops.cross_entropy(LOGITS, LABELS, label_smoothing=np.nan, out=out), ValueError,
     "label_smoothing: expected 0 to 1, got nan"),
    # prelu, norms and dropout
    (lambda out: ops.prelu(X, np.ones(3), out=out), ValueError,
     "weight: expected shape (1,) or (4,) for x of shape (3, 4), got (3,)"),
    (lambda out: ops.prelu(X[0], np.ones(4)), ValueError,
     "weight: expected shape (1,) for x of shape (4,), got (4,)"),
    (lambda out: ops.prelu(X, 0.25, out=out), ValueError,
     "weight: expected shape (1,) or (4,) for x of shape (3, 4), got ()"),
    (lambda out: ops.prelu_backward(DY, X, B[:1], dx=out), ValueError, "dy: expected shape (3, 4), got (3, 2)"),
    (lambda out: ops.layer_norm(1.0), ValueError, "x: expected shape (..., features), got a scalar"),
    (lambda out: ops.layer_norm(X, B, out=out), ValueError, "weight: expected shape (4,), got (2,)"),
    (lambda out: ops.layer_norm(X, None, np.ones((1, 4)), out=out),
     ValueError, "bias: expected shape (4,), got (1, 4)"),
    (lambda out: ops.layer_norm(X, eps=-1, out=out), ValueError, "eps: expected a number >= 0, got -1"),
    (lambda out: ops.layer_norm(X, eps=None, out=out), TypeError, "eps: expected a number, got NoneType"),
    (lambda out: ops.layer_norm(X, X32[0], out=out), TypeError,
     "weight: expected float64 as x is, got float32; convert one of them"),
    (lambda out: ops.layer_norm_backward(X, X, None, X, dx=out), TypeError,
     "saved: expected the 2 arrays that layer_norm(..., save=True) returned beside y, got ndarray"),
    (lambda out: ops.layer_norm_backward(X, X, None, (B, B), dx=out), ValueError,
     "mean: expected shape (3,), got (2,)"),
    (lambda out: ops.layer_norm_backward(X, X, None, (LABELS, B), dx=out), ValueError,
     "rstd: expected shape (3,), got (2,)"),
    (lambda out: ops.layer_norm_backward(DY, X, None, (LABELS, LABELS), dx=out), ValueError,
     "dy: expected shape (3, 4), got (3, 2)"),
    (lambda out: ops.batch_norm(X[:1]), ValueError, "x: expected more than 1 row in training, got shape (1, 4)"),
    (lambda out: ops.batch_norm(X, running_mean=X[0], out=out), TypeError,
     "running_mean, running_var: expected both, in evaluation, or neither, in training; got one"),
    (lambda out: ops.batch_norm(X, running_mean=X[0], running_var=B, out=out), ValueError,
     "running_var: expected shape (4,), got (2,)"),
    (lambda out: ops.batch_norm(X, eps=np.nan, out=out), ValueError, "eps: expected a number >= 0, got nan"),
    (lambda out: ops.batch_norm_backward(X, X, None, (X[0], X[0]), dx=out), TypeError,
     "saved: expected the 3 arrays that batch_norm(..., save=True) returned beside y, got 2 of them"),
    (lambda out: ops.batch_norm_backward(X, X, None, (X[:, 0], X[0], X[0]), dx=out), ValueError,
     "mean: expected shape (4,), got (3,)"),
    (lambda out: ops.dropout(X, 1.5, seed=0, out=out), ValueError, "p: expected 0 to 1, got 1.5"),
    (lambda out: ops.dropout(X, np.nan, seed=0, out=out), ValueError, "p: expected 0 to 1, got nan"),
    (lambda out: ops.dropout(X, seed=-1, out=out), ValueError, "seed: expected 0 to 2**64 - 1, got -1"),
    (lambda out: ops.dropout(X, seed=1.0, out=out), TypeError, "seed: expected an int, got float"),
    (lambda out: ops.dropout(X, seed=0, offset=2**64, out=out), ValueError,
     f"offset: expected 0 to 2**64 - 1, got {2**64}"),
    # axes and backends
    (lambda out: ops.softmax(X, 2, out=out), ValueError, "axis: 2 is out of range for x of shape (3, 4)"),
    (lambda out: ops.log_softmax_backward(X, X, -3, out=out), ValueError,
     "axis: -3 is out of range for dy of shape (3, 4)"),
    (lambda out: ops.softmax(1.0), ValueError, "x: expected at least one axis, got a scalar"),
    (lambda out: ops.softmax(X, 1.0, out=out), TypeError, "axis: expected an int, got float"),
    (lambda out: ops.softmax(X, True, out=out), TypeError, "axis: expected an int, got bool"),
    (lambda out: ops.softmax(X, (0, 1), out=out), TypeError, "axis: expected an int, got tuple"),
    (lambda out: ops.softmax(X, backend="tpu", out=out), ValueError,
     f"backend: unknown 'tpu'; known are {', '.join(map(repr, MODULES))}"),
    (lambda out: ops.softmax(X, backend=["numpy"], out=out), TypeError, "backend: expected a name, got list"),
]  # fmt: skip


@pytest.mark.parametrize("call, error, text", WRONG, ids=[text for _, _, text in WRONG])
def test_message(call, error, text, monkeypatch):
    monkeypatch.setattr("fastmlp.checks.written", {})
    out = np.full((3, 4), 77.0)
    with pytest.raises(error) as raised:
        call(out)
    assert str(raised.value) == text
    assert (out == 77).all(), "something was written before the exception"


# ------------------------------------------------------------------------------------------- out=

SQUARE = np.ones((3, 3))
ROWS = (np.ones(3), np.ones(3))
#: every op with `out` for a (3, 3) result, the name under which it is known there
OPS = {
    "linear": (lambda x, out: ops.linear(x, SQUARE, out=out), "out"),
    "activation": (lambda x, out: ops.activation(x, "tanh", out=out), "out"),
    "activation_backward": (lambda x, out: ops.activation_backward(SQUARE, x, "tanh", out=out), "out"),
    "softmax": (lambda x, out: ops.softmax(x, 0, out=out), "out"),
    "log_softmax": (lambda x, out: ops.log_softmax(x, out=out), "out"),
    "softmax_backward": (lambda x, out: ops.softmax_backward(x, SQUARE, out=out), "out"),
    "log_softmax_backward": (lambda x, out: ops.log_softmax_backward(SQUARE, x, out=out), "out"),
    "cross_entropy": (lambda x, out: ops.cross_entropy(x, [0, 1, 2], out=out), "out"),
    "linear_backward dx": (lambda x, out: ops.linear_backward(x, SQUARE, SQUARE, dx=out), "dx"),
    "prelu": (lambda x, out: ops.prelu(x, SQUARE[0], out=out), "out"),
    "prelu_backward dx": (lambda x, out: ops.prelu_backward(x, SQUARE, SQUARE[0], dx=out), "dx"),
    "layer_norm": (lambda x, out: ops.layer_norm(x, out=out), "out"),
    "layer_norm_backward dx": (lambda x, out: ops.layer_norm_backward(x, SQUARE, None, ROWS, dx=out), "dx"),
    "batch_norm": (lambda x, out: ops.batch_norm(x, out=out), "out"),
    "batch_norm_backward dx": (lambda x, out: ops.batch_norm_backward(SQUARE, x, None, (*ROWS, None), dx=out), "dx"),
    "dropout": (lambda x, out: ops.dropout(x, seed=0, out=out), "out"),
    "linear_backward dw": (lambda x, out: ops.linear_backward(SQUARE, x, SQUARE, dw=out), "dw"),
    "linear_backward accumulating": (
        lambda x, out: ops.linear_backward(SQUARE, SQUARE, x, dw=out, db=False, accumulate=True), "dw"),
}  # fmt: skip
EVERY_OP = pytest.mark.parametrize("call, name", OPS.values(), ids=OPS)


def read_only(a):
    a.flags.writeable = False
    return a


WRONG_OUTS = [
    (lambda: np.zeros((3, 3), F32), TypeError, "expected float64, got float32"),
    (lambda: np.zeros((3, 3), int), TypeError, "expected float64, got int64"),
    (lambda: np.zeros((3, 3), ">f8"), TypeError, "expected float64, got >f8"),
    (lambda: [[0.0] * 3] * 3, TypeError, "expected an ndarray, got list"),
    (lambda: np.zeros((4, 3)), ValueError, "expected shape (3, 3), got (4, 3)"),
    (lambda: np.zeros((1, 3, 3)), ValueError, "expected shape (3, 3), got (1, 3, 3)"),
    (lambda: np.zeros(9), ValueError, "expected shape (3, 3), got (9,)"),
    (lambda: read_only(np.zeros((3, 3))), ValueError, "is read-only"),
    (lambda: np.broadcast_to(0.0, (3, 3)), ValueError, "is read-only"),
    (lambda: as_strided(np.zeros(5), (3, 3), (8, 8)), ValueError, "its own elements overlap in memory"),
]


@EVERY_OP
@pytest.mark.parametrize("make, error, text", WRONG_OUTS, ids=[text for _, _, text in WRONG_OUTS])
def test_out_that_does_not_fit(call, name, make, error, text):
    out = make()
    with pytest.raises(error) as raised:
        call(SQUARE, out)
    assert str(raised.value) == f"{name}: {text}"
    assert not np.any(out), "something was written before the exception"


OVERLAPS = {  # x and out, views of one buffer
    "the input itself": lambda a: (a[:3, :3], a[:3, :3]),
    "one row": lambda a: (a[:3, :3], a[2:5, :3]),
    "one element": lambda a: (a[:3, :3], a[2:5, 2:5]),
    "transposed": lambda a: (a[:3, :3], a[:3, :3].T),
    "interleaved, with one column in common": lambda a: (a[:3, :6:2], a[:3, 4:]),
    "a row repeated": lambda a: (as_strided(a, (3, 3), (0, 8)), a[:3, :3]),
}


@EVERY_OP
@pytest.mark.parametrize("views", OVERLAPS.values(), ids=OVERLAPS)
def test_out_that_overlaps_an_input(call, name, views):
    buffer = np.arange(49.0).reshape(7, 7)
    x, out = views(buffer)
    with pytest.raises(ValueError) as raised:
        call(x, out)
    assert str(raised.value) == f"{name}: overlaps another argument in memory"
    np.testing.assert_array_equal(buffer.ravel(), np.arange(49.0))


def test_gradients_must_not_overlap_each_other():
    a = np.zeros((3, 3))
    with pytest.raises(ValueError, match=r"^dw: overlaps another argument in memory$"):
        ops.linear_backward(SQUARE, SQUARE, SQUARE, dx=a, dw=a)
    with pytest.raises(ValueError, match=r"^db: overlaps another argument in memory$"):
        ops.linear_backward(SQUARE, SQUARE, SQUARE, dw=a, db=a[1])
    assert not a.any()


def test_gradients_of_the_wrong_kind():
    for name in ("dx", "dw", "db"):
        for wrong, error, text in (
            (1, TypeError, "expected an ndarray, got int"),
            (None, TypeError, "expected True, False or an ndarray to write into, got None"),
            (np.zeros((9, 9)), ValueError, "expected shape "),
        ):
            right = {"dx": np.zeros((3, 3)), "dw": np.zeros((3, 3)), "db": np.zeros(3)}
            with pytest.raises(error, match=f"^{name}: {text}"):
                ops.linear_backward(SQUARE, SQUARE, SQUARE, **(right | {name: wrong}))
            assert not any(a.any() for a in right.values()), "something was written before the exception"


def test_one_bad_label_among_many():
    """None of the good rows before it is written, however the kernel splits its work."""
    labels = np.zeros(20_000, np.int64)
    labels[17_777] = 3
    out = np.full((20_000, 3), 77.0, F32)
    with pytest.raises(ValueError, match=r"^target\[17777\] is 3: expected 0 to 2, or ignore_index -100$"):
        ops.cross_entropy(np.zeros((20_000, 3), F32), labels, out=out)
    assert (out == 77).all()
