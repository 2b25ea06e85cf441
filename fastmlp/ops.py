"""The array API: NumPy arrays in, NumPy arrays out. The only caller of kernels: check -> allocate -> call.

Everything that a person can get wrong is caught here, once, before anything is written: TypeError for
types, ValueError for shapes and values. Arrays have any leading shape `(..., features)` and any strides, and are
float32 or float64, all of one call alike. Lists and integers have no precision of their own and take that of the float
arrays beside them, float64 if there is none.

    m batch   k features in   n features out   x (..., k)   w (n, k)   b (n,)   z = x wᵀ + b   y = act(z)
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import ArrayLike, NDArray

from fastmlp.kernels.contract import ACTIVATIONS, REDUCTIONS, Activation

from .backend import active

try:
    from ._fast import linear_gradients, linear_output, output_like, plain
except ModuleNotFoundError:  # not built: the checks below do it all

    def plain(first: Any, *others: Any) -> bool:
        return False

    def output_like(out: Any, first: Any, *others: Any) -> Any:
        return None

    def linear_output(x: Any, w: Any, b: Any, out: Any) -> Any:
        return None

    def linear_gradients(
        dy: Any, x: Any, w: Any, saved: Any, dx: Any, dw: Any, db: Any, accumulate: Any
    ) -> Any:
        return None


Array = NDArray[Any]

_F32 = np.dtype(np.float32)
_F64 = np.dtype(np.float64)

#: what other libraries call some of our activations, for the hint in an error
NAMES_ELSEWHERE = {"swish": "silu", "linear": "identity", "none": "identity", "logistic": "sigmoid"}


# ------------------------------------------------------------------------------------------- checks


def _array(name: str, value: Any) -> Array:
    """np.asarray, for what can be an array."""
    if value is None or isinstance(value, (str, bytes)):
        raise TypeError(f"{name}: expected an array, got {value!r}")
    try:
        return np.asarray(value)
    except ValueError as e:  # lists of unequal lengths
        raise ValueError(f"{name}: cannot be made an array: {e}") from None


def _float_arrays(optional: tuple[str, ...] = (), **named: Any) -> list[Any]:
    """The arguments as aligned ndarrays of one float dtype. None stays None if it is `optional`."""
    if plain(*named.values()) and all(value is not None or name in optional for name, value in named.items()):
        return list(named.values())
    arrays = {}
    dtype = None
    for name, value in named.items():
        if value is None and name in optional:
            continue
        a = _array(name, value)
        own = a.dtype
        if own.kind in "iub" or (not isinstance(value, np.ndarray) and own == _F64):
            own = None  # no precision of its own
        elif own != _F32 and own != _F64:
            raise TypeError(f"{name}: expected float32 or float64, got {own}")
        if own is not None:
            if dtype is not None and own != dtype[1]:
                raise TypeError(
                    f"{name}: expected {dtype[1].name} as {dtype[0]} is, got {own.name}; convert one of them"
                )
            dtype = dtype or (name, own)
        arrays[name] = a
    common = dtype[1] if dtype else _F64
    return [
        np.require(arrays[name], common, ["A"]) if name in arrays else None for name in named
    ]


def _activation(name: Any, given: dict[str, Any]) -> tuple[Activation, tuple[float, ...]]:
    """The activation of that name and its parameters in the contract's order."""
    if not isinstance(name, str):
        raise TypeError(f"activation: expected a name, got {type(name).__name__}")
    act = ACTIVATIONS.get(name)
    if act is None:
        near = [NAMES_ELSEWHERE.get(name.lower()), *get_close_matches(name.lower(), ACTIVATIONS, n=1)]
        near = [n for n in near if n]
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"activation: unknown {name!r}; {hint}known are {', '.join(ACTIVATIONS)}")
    if not given:
        return act, act.defaults
    for key, value in given.items():
        if key not in act.params:
            takes = f"takes {', '.join(act.params)}" if act.params else "takes no parameters"
            raise TypeError(f"unexpected keyword argument {key!r}: activation {name!r} {takes}")
        if key in act.nonnegative and not _number(key, value) >= 0:
            raise ValueError(f"{key}: expected a number >= 0, got {value}")
    return act, tuple(_number(key, given.get(key, default)) for key, default in act.params.items())


def _number(name: str, value: Any) -> float:
    if isinstance(value, (str, bytes)) or not hasattr(value, "__float__"):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    try:
        return float(value)
    except (TypeError, OverflowError):  # an array; an int beyond all floats
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}") from None


def _integer(name: str, value: Any) -> int:
    if not hasattr(value, "__index__"):
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    return int(value)


def _output(out: Any, shape: tuple[int, ...], dtype: Any, inputs: tuple[Any, ...], name: str = "out") -> Array:
    """`out`, once it is known to fit and to overlap no input."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name}: expected an ndarray, got {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"{name}: expected {dtype.name}, got {out.dtype}")
    if out.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {out.shape}")
    if not out.flags.writeable:
        raise ValueError(f"{name}: is read-only")
    first, end = byte_bounds(out)
    if end - first < out.nbytes:
        raise ValueError(f"{name}: its own elements overlap in memory")
    for a in inputs:
        if a is not None and np.may_share_memory(out, a) and np.shares_memory(out, a):
            raise ValueError(f"{name}: overlaps another argument in memory")
    return out


def _new_or_given(out: Array | None, shape: tuple[int, ...], dtype: Any, inputs: tuple[Any, ...]) -> Array:
    return np.empty(shape, dtype) if out is None else _output(out, shape, dtype, inputs)


def _plain(a: Any) -> Any:
    """`a` C-contiguous: itself or a copy. None stays None."""
    return a if a is None or a.flags.c_contiguous else np.ascontiguousarray(a)


def _contiguous(a: Array) -> Array:
    """`a` itself where a kernel can write straight into it, else scratch of its shape."""
    return a if a.flags.carray else np.empty(a.shape, a.dtype)


def _rows(a: Array, columns: int) -> Array:
    """`a` (..., columns) seen as (rows, columns)."""
    if a.ndim == 2:
        return a
    rows = a.size // columns if columns else int(np.prod(a.shape[:-1], dtype=np.intp))
    return a.reshape(rows, columns)


def _weights_fit(x: Any, w: Any, b: Any) -> None:
    """x (..., k), w (n, k), b (n,) or None"""
    if w.ndim != 2:
        raise ValueError(f"w: expected shape (out_features, in_features), got {w.shape}")
    if x.ndim == 0:
        raise ValueError("x: expected shape (..., in_features), got a scalar")
    if x.shape[-1] != w.shape[1]:
        raise ValueError(f"x: expected shape (..., {w.shape[1]}) to fit w {w.shape}, got {x.shape}")
    if b is not None and b.shape != w.shape[:1]:
        raise ValueError(f"b: expected shape {w.shape[:1]} to fit w {w.shape}, got {b.shape}")


# ------------------------------------------------------------------------------------------- linear


def linear(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    activation: str = "identity",
    *,
    out: Array | None = None,
    save: bool = False,
    backend: str | None = None,
    **params: float,
) -> Any:
    """y = activation(x wᵀ + b), in one pass.

    x (..., k), w (n, k) as torch.nn.Linear keeps it, b (n,) or None -> y (..., n).
    activation: a name of `kernels.contract.ACTIVATIONS`; `params` are its own (negative_slope, alpha, beta, threshold).
    out: where to write y; must not overlap an input.
    save: also return what `linear_backward` needs: z, or y itself, so do not change y before that call.
    """
    kernels = active(backend)
    act, values = _activation(activation, params)
    y = linear_output(x, w, b, out)
    if y is not None:
        z = np.empty(y.shape, y.dtype) if save and act.saves == "z" else None
        kernels.linear_forward(x, w, b, act, values, y, z)
        return (y, y if z is None else z) if save else y
    x, w, b = _float_arrays(("b",), x=x, w=w, b=b)
    _weights_fit(x, w, b)
    y = _new_or_given(out, x.shape[:-1] + w.shape[:1], x.dtype, (x, w, b))
    written = _contiguous(y)
    z = np.empty(y.shape, y.dtype) if save and act.saves == "z" else None
    k, n = x.shape[-1], w.shape[0]
    kernels.linear_forward(
        _rows(x, k), w, _plain(b), act, values, _rows(written, n), None if z is None else _rows(z, n)
    )
    if written is not y:
        y[...] = written
    return (y, y if z is None else z) if save else y


def linear_backward(
    dy: ArrayLike,
    x: ArrayLike,
    w: ArrayLike,
    saved: ArrayLike | None = None,
    activation: str = "identity",
    *,
    dx: bool | Array = True,
    dw: bool | Array = True,
    db: bool | Array = True,
    accumulate: bool = False,
    backend: str | None = None,
    **params: float,
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients of `linear`: with dz = dy · activation'(saved), dx = dz w, dw = dzᵀ x, db = Σ dz over the batch.

    dy, saved (..., n), x (..., k), w (n, k) -> dx (..., k), dw (n, k), db (n,).
    saved: what `linear(..., save=True)` returned; may be None for "identity".
    dx, dw, db: True, an array to write into, or False if that one is not wanted; its place in the result is then None.
    accumulate: add to the arrays given as dw and db instead of overwriting them.
    """
    kernels = active(backend)
    act, values = _activation(activation, params)
    if saved is None and act.name != "identity":
        raise TypeError(f"saved: {act.name!r} needs what linear(..., save=True) returned, got None")
    grads = linear_gradients(dy, x, w, saved, dx, dw, db, accumulate)
    if grads is not None:
        kernels.linear_backward(dy, x, w, saved, act, values, *grads, bool(accumulate))
        return grads
    dy, x, w, saved = _float_arrays(("saved",), dy=dy, x=x, w=w, saved=saved)
    _weights_fit(x, w, None)
    n, k = w.shape
    _same_shape("dy", dy, (*x.shape[:-1], n))
    if saved is not None:
        _same_shape("saved", saved, dy.shape)
    outs: list[Array | None] = []
    for name, wanted, shape in (("dx", dx, x.shape), ("dw", dw, w.shape), ("db", db, (n,))):
        if wanted is False:
            outs.append(None)
        elif wanted is True:
            if accumulate and name != "dx":
                raise TypeError(f"{name}: accumulate needs an array to add to (or False), got True")
            outs.append(np.empty(shape, x.dtype))
        else:
            outs.append(_output(wanted, shape, x.dtype, (dy, x, w, saved, *outs), name))
    written = [None if a is None else _contiguous(a) for a in outs]
    if accumulate:
        for a, t in zip(outs[1:], written[1:]):
            if a is not t and a is not None and t is not None:
                t[...] = a
    kernels.linear_backward(
        _rows(_plain(dy), n),
        _rows(x, k),
        w,
        None if saved is None else _rows(_plain(saved), n),
        act,
        values,
        None if written[0] is None else _rows(written[0], k),
        written[1],
        written[2],
        bool(accumulate),
    )
    for a, t in zip(outs, written):
        if a is not t and a is not None:
            a[...] = t
    return outs[0], outs[1], outs[2]


# ------------------------------------------------------------------------------- activations, softmax


def _same_shape(name: str, a: Array, shape: tuple[int, ...]) -> None:
    if a.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {a.shape}")


def activation(
    x: ArrayLike, name: str, *, out: Array | None = None, backend: str | None = None, **params: float
) -> Array:
    """y = activation(x), element by element; x of any shape. `name` and `params` as in `linear`."""
    kernels = active(backend)
    act, values = _activation(name, params)
    y = output_like(out, x)
    if y is not None:
        kernels.activation_forward(x, act, values, y)
        return y
    (x,) = _float_arrays(x=x)
    y = _new_or_given(out, x.shape, x.dtype, (x,))
    written = _contiguous(y)
    kernels.activation_forward(_plain(x), act, values, written)
    if written is not y:
        y[...] = written
    return y


def activation_backward(
    dy: ArrayLike,
    saved: ArrayLike,
    name: str,
    *,
    out: Array | None = None,
    backend: str | None = None,
    **params: float,
) -> Array:
    """dx = dy · activation'(saved), element by element.

    saved: y or z, whichever `kernels.contract.ACTIVATIONS[name].saves` says.
    """
    kernels = active(backend)
    act, values = _activation(name, params)
    dx = output_like(out, dy, saved)
    if dx is not None:
        kernels.activation_backward(dy, saved, act, values, dx)
        return dx
    dy, saved = _float_arrays(dy=dy, saved=saved)
    _same_shape("saved", saved, dy.shape)
    dx = _new_or_given(out, dy.shape, dy.dtype, (dy, saved))
    written = _contiguous(dx)
    kernels.activation_backward(_plain(dy), _plain(saved), act, values, written)
    if written is not dx:
        dx[...] = written
    return dx


def softmax(
    x: ArrayLike, axis: int = -1, *, out: Array | None = None, backend: str | None = None
) -> Array:
    """exp(x) / Σ exp(x) along `axis`, stable for any finite x."""
    return _along_axis(active(backend).softmax_forward, axis, out, x=x)


def log_softmax(
    x: ArrayLike, axis: int = -1, *, out: Array | None = None, backend: str | None = None
) -> Array:
    """x - log Σ exp(x) along `axis`."""
    return _along_axis(active(backend).log_softmax_forward, axis, out, x=x)


def softmax_backward(
    dy: ArrayLike,
    y: ArrayLike,
    axis: int = -1,
    *,
    out: Array | None = None,
    backend: str | None = None,
) -> Array:
    """dx = y · (dy - Σ dy·y) along `axis`, with y = softmax(x)."""
    return _along_axis(active(backend).softmax_backward, axis, out, dy=dy, y=y)


def log_softmax_backward(
    dy: ArrayLike,
    y: ArrayLike,
    axis: int = -1,
    *,
    out: Array | None = None,
    backend: str | None = None,
) -> Array:
    """dx = dy - exp(y) · Σ dy along `axis`, with y = log_softmax(x)."""
    return _along_axis(active(backend).log_softmax_backward, axis, out, dy=dy, y=y)


def _along_axis(kernel: Any, axis: int, out: Array | None, **named: Any) -> Array:
    """Run a kernel that works on rows (rows, classes) along any axis of arrays of one shape."""
    y = output_like(out, *named.values())
    if y is not None and y.ndim == 2 and type(axis) is int and axis in (-1, 1):
        kernel(*named.values(), y)
        return y
    arrays = _float_arrays(**named)
    first, *others = named
    shape = arrays[0].shape
    axis = _integer("axis", axis)
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis: {axis} is out of range for {first} of shape {shape}")
    for name, a in zip(others, arrays[1:]):
        _same_shape(name, a, shape)
    y = _new_or_given(out, shape, arrays[0].dtype, tuple(arrays))
    last = axis in (-1, len(shape) - 1)
    turned = arrays if last else [np.moveaxis(a, axis, -1) for a in arrays]
    target = y if last else np.moveaxis(y, axis, -1)
    written = _contiguous(target)
    classes = shape[axis]
    kernel(*(_rows(_plain(a), classes) for a in turned), _rows(written, classes))
    if written is not target:
        target[...] = written
    return y


# ------------------------------------------------------------------------------------- cross-entropy


def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: Literal["mean", "sum", "none"] = "mean",
    *,
    sample_weight: ArrayLike | None = None,
    out: Array | None = None,
    backend: str | None = None,
) -> tuple[Any, Array]:
    """The cross-entropy loss and its gradient with respect to the logits, in one pass. -> loss, dlogits

    logits (..., C). target: integer labels (...), or class probabilities (..., C) of the logits' dtype.
    weight (C,): a weight for each class. sample_weight (...): one for each row.
    ignore_index: rows with this label count nothing. label_smoothing: 0 to 1.
    reduction: "mean" divides by the weights of the rows that count, as torch does, "sum" adds, "none" gives a
    loss (...) for every row and each row's own gradient. out: where to write dlogits.
    """
    kernels = active(backend)
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise ValueError(f"reduction: expected one of {', '.join(REDUCTIONS)}, got {reduction!r}")
    label_smoothing = _number("label_smoothing", label_smoothing)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing: expected 0 to 1, got {label_smoothing}")
    ignore_index = _integer("ignore_index", ignore_index)
    if not -(2**63) <= ignore_index < 2**63:
        raise ValueError(f"ignore_index: expected a 64-bit integer, got {ignore_index}")
    given, target = target, _array("target", target)
    soft = target.dtype.kind not in "iu" and target.shape != (0,)  # an empty list may be labels
    if soft:
        _probabilities_fit(target, _array("logits", logits).shape)
    logits, probabilities, weight, sample_weight = _float_arrays(
        ("weight", "sample_weight") if soft else ("target", "weight", "sample_weight"),
        logits=logits,
        target=given if soft else None,
        weight=weight,
        sample_weight=sample_weight,
    )
    if logits.ndim == 0:
        raise ValueError("logits: expected shape (..., classes), got a scalar")
    lead, classes = logits.shape[:-1], logits.shape[-1]
    if soft:
        _same_shape("target", probabilities, logits.shape)
        target = _rows(_plain(probabilities), classes)
    else:
        target = _labels(kernels, target, lead, classes, ignore_index)
    if weight is not None:
        _same_shape("weight", weight, (classes,))
    if sample_weight is not None:
        _same_shape("sample_weight", sample_weight, lead)
        sample_weight = _plain(sample_weight).reshape(-1)
    dlogits = _new_or_given(out, logits.shape, logits.dtype, (logits, target, weight, sample_weight))
    written = _contiguous(dlogits)
    loss = np.empty(lead if reduction == "none" else 1, logits.dtype)
    kernels.cross_entropy(
        _rows(_plain(logits), classes),
        target,
        _plain(weight),
        sample_weight,
        ignore_index,
        label_smoothing,
        reduction,
        loss.reshape(-1),
        _rows(written, classes),
    )
    if written is not dlogits:
        dlogits[...] = written
    return (loss if reduction == "none" else loss[0]), dlogits


def _probabilities_fit(target: Array, logits: tuple[int, ...]) -> None:
    """What is no array of integers must be probabilities; labels of another type are the likelier mistake."""
    is_number = target.dtype.kind in "fb"
    if not is_number or target.shape != logits:
        raise (ValueError if is_number else TypeError)(
            f"target: expected integer labels of shape {logits[:-1]} or class probabilities of shape {logits}, "
            f"got {target.dtype} of shape {target.shape}"
        )


def _labels(kernels: Any, target: Array, lead: tuple[int, ...], classes: int, ignore_index: int) -> Array:
    """Integer labels as int64 (rows,), every one of them a class or `ignore_index`."""
    _same_shape("target", target, lead)
    if target.dtype.kind == "u" and target.size and int(target.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"target: label {target.max()} is out of range for {classes} classes")
    if target.dtype != np.int64 or target.ndim != 1 or not target.flags.carray:
        target = np.require(target, np.int64, ["C", "A"]).reshape(-1)
    labels = target
    bad = kernels.find_bad_label(labels, classes, ignore_index)
    if bad >= 0:
        where = np.unravel_index(bad, lead) if lead else ()
        at = f"target[{', '.join(map(str, where))}]" if lead else "target"
        known = f"0 to {classes - 1}, or " if classes else ""
        raise ValueError(f"{at} is {labels[bad]}: expected {known}ignore_index {ignore_index}")
    return labels
