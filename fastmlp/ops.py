"""The array API: NumPy arrays in, NumPy arrays out. The only caller of kernels: check -> allocate -> call.

Everything that a person can get wrong is caught here, once, before anything is written, by checks.py. Arrays have
any leading shape `(..., features)` and any strides, and are float32 or float64, all of one call alike. Lists and
integers have no precision of their own and take that of the float arrays beside them, float64 if there is none.

    m batch   k features in   n features out   x (..., k)   w (n, k)   b (n,)   z = x wᵀ + b   y = act(z)
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from fastmlp.kernels.contract import REDUCTIONS

from .backend import active
from .checks import (
    Array,
    as_array,
    find_activation,
    float_arrays,
    integer,
    labels_fit,
    new_or_given,
    number,
    output,
    probabilities_fit,
    same_shape,
    weights_fit,
)

try:
    from ._fast import labels_output, linear_gradients, linear_output, output_like, rows_output
except ModuleNotFoundError:  # not built: checks.py does it all

    def output_like(out: Any, first: Any, *others: Any) -> Any:
        return None

    def rows_output(out: Any, axis: Any, first: Any, *others: Any) -> Any:
        return None

    def labels_output(logits: Any, target: Any, weight: Any, sample_weight: Any, out: Any) -> Any:
        return None

    def linear_output(x: Any, w: Any, b: Any, out: Any) -> Any:
        return None

    def linear_gradients(
        dy: Any, x: Any, w: Any, saved: Any, dx: Any, dw: Any, db: Any, accumulate: Any
    ) -> Any:
        return None

__all__ = [
    "activation",
    "activation_backward",
    "cross_entropy",
    "linear",
    "linear_backward",
    "log_softmax",
    "log_softmax_backward",
    "softmax",
    "softmax_backward",
]

# ------------------------------------------------------------------------------------------- shapes


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
    act, values = find_activation(activation, params)
    y = linear_output(x, w, b, out)
    if y is not None:
        z = np.empty(y.shape, y.dtype) if save and act.saves == "z" else None
        kernels.linear_forward(x, w, b, act, values, y, z)
        return (y, y if z is None else z) if save else y
    x, w, b = float_arrays(("b",), x=x, w=w, b=b)
    weights_fit(x, w, b)
    y = new_or_given(out, x.shape[:-1] + w.shape[:1], x.dtype, (x, w, b))
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
    activation: str | None = None,
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
    saved, activation: what `linear(..., save=True)` returned, and the name that it was given. Without either the
    layer had no activation; saved may also be None for "identity".
    dx, dw, db: True, an array to write into, or False if that one is not wanted; its place in the result is then None.
    accumulate: add to the arrays given as dw and db instead of overwriting them.
    """
    kernels = active(backend)
    if activation is None and saved is not None:
        as_array("saved", saved)  # it may be the name
        raise TypeError("activation: expected the name that linear() was given, since there is `saved`; got None")
    act, values = find_activation("identity" if activation is None else activation, params)
    if saved is None and act.name != "identity":
        raise TypeError(f"saved: {act.name!r} needs what linear(..., save=True) returned, got None")
    grads = linear_gradients(dy, x, w, saved, dx, dw, db, accumulate)
    if grads is not None:
        kernels.linear_backward(dy, x, w, saved, act, values, *grads, bool(accumulate))
        return grads
    dy, x, w, saved = float_arrays(("saved",), dy=dy, x=x, w=w, saved=saved)
    weights_fit(x, w, None)
    n, k = w.shape
    same_shape("dy", dy, (*x.shape[:-1], n))
    if saved is not None:
        same_shape("saved", saved, dy.shape)
    outs: list[Array | None] = []
    for name, wanted, shape in (("dx", dx, x.shape), ("dw", dw, w.shape), ("db", db, (n,))):
        if wanted is False:
            outs.append(None)
        elif wanted is True:
            if accumulate and name != "dx":
                raise TypeError(f"{name}: accumulate needs an array to add to (or False), got True")
            outs.append(np.empty(shape, x.dtype))
        elif wanted is None:
            raise TypeError(f"{name}: expected True, False or an ndarray to write into, got None")
        else:
            outs.append(output(wanted, shape, x.dtype, (dy, x, w, saved, *outs), name))
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


def activation(
    x: ArrayLike, name: str, *, out: Array | None = None, backend: str | None = None, **params: float
) -> Array:
    """y = activation(x), element by element; x of any shape. `name` and `params` as in `linear`."""
    kernels = active(backend)
    act, values = find_activation(name, params)
    y = output_like(out, x)
    if y is not None:
        kernels.activation_forward(x, act, values, y)
        return y
    (x,) = float_arrays(x=x)
    y = new_or_given(out, x.shape, x.dtype, (x,))
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
    act, values = find_activation(name, params)
    dx = output_like(out, dy, saved)
    if dx is not None:
        kernels.activation_backward(dy, saved, act, values, dx)
        return dx
    dy, saved = float_arrays(dy=dy, saved=saved)
    same_shape("saved", saved, dy.shape)
    dx = new_or_given(out, dy.shape, dy.dtype, (dy, saved))
    written = _contiguous(dx)
    kernels.activation_backward(_plain(dy), _plain(saved), act, values, written)
    if written is not dx:
        dx[...] = written
    return dx


def softmax(
    x: ArrayLike, axis: int = -1, *, out: Array | None = None, backend: str | None = None
) -> Array:
    """exp(x) / Σ exp(x) along `axis`, stable for any finite x."""
    kernel = active(backend).softmax_forward
    y = rows_output(out, axis, x)
    if y is None:
        return _along_axis(kernel, axis, out, x=x)
    kernel(x, y)
    return y


def log_softmax(
    x: ArrayLike, axis: int = -1, *, out: Array | None = None, backend: str | None = None
) -> Array:
    """x - log Σ exp(x) along `axis`."""
    kernel = active(backend).log_softmax_forward
    y = rows_output(out, axis, x)
    if y is None:
        return _along_axis(kernel, axis, out, x=x)
    kernel(x, y)
    return y


def softmax_backward(
    dy: ArrayLike,
    y: ArrayLike,
    axis: int = -1,
    *,
    out: Array | None = None,
    backend: str | None = None,
) -> Array:
    """dx = y · (dy - Σ dy·y) along `axis`, with y = softmax(x)."""
    kernel = active(backend).softmax_backward
    dx = rows_output(out, axis, dy, y)
    if dx is None:
        return _along_axis(kernel, axis, out, dy=dy, y=y)
    kernel(dy, y, dx)
    return dx


def log_softmax_backward(
    dy: ArrayLike,
    y: ArrayLike,
    axis: int = -1,
    *,
    out: Array | None = None,
    backend: str | None = None,
) -> Array:
    """dx = dy - exp(y) · Σ dy along `axis`, with y = log_softmax(x)."""
    kernel = active(backend).log_softmax_backward
    dx = rows_output(out, axis, dy, y)
    if dx is None:
        return _along_axis(kernel, axis, out, dy=dy, y=y)
    kernel(dy, y, dx)
    return dx


def _along_axis(kernel: Any, axis: int, out: Array | None, **named: Any) -> Array:
    """Run a kernel that works on rows (rows, classes) along any axis of arrays of one shape."""
    arrays = float_arrays(**named)
    first, *others = named
    shape = arrays[0].shape
    if shape == ():
        raise ValueError(f"{first}: expected at least one axis, got a scalar")
    axis = integer("axis", axis)
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis: {axis} is out of range for {first} of shape {shape}")
    for name, a in zip(others, arrays[1:]):
        same_shape(name, a, shape)
    y = new_or_given(out, shape, arrays[0].dtype, tuple(arrays))
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
    label_smoothing = number("label_smoothing", label_smoothing)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing: expected 0 to 1, got {label_smoothing}")
    ignore_index = integer("ignore_index", ignore_index)
    if not -(2**63) <= ignore_index < 2**63:
        raise ValueError(f"ignore_index: expected a 64-bit integer, got {ignore_index}")
    dlogits = labels_output(logits, target, weight, sample_weight, out)
    if dlogits is not None:
        rows, classes = dlogits.shape
        _known(kernels, target, (rows,), classes, ignore_index)
        loss = np.empty(rows if reduction == "none" else 1, dlogits.dtype)
        kernels.cross_entropy(logits, target, None, None, ignore_index, label_smoothing, reduction, loss, dlogits)
        return (loss if reduction == "none" else loss[0]), dlogits
    given, target = target, as_array("target", target)
    soft = target.dtype.kind not in "iu" and target.shape != (0,)  # an empty list may be labels
    if soft:
        probabilities_fit(target, as_array("logits", logits).shape)
    logits, probabilities, weight, sample_weight = float_arrays(
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
        same_shape("target", probabilities, logits.shape)
        target = _rows(_plain(probabilities), classes)
    else:
        target = _labels(kernels, target, lead, classes, ignore_index)
    if weight is not None:
        same_shape("weight", weight, (classes,))
    if sample_weight is not None:
        same_shape("sample_weight", sample_weight, lead)
        sample_weight = _plain(sample_weight).reshape(-1)
    dlogits = new_or_given(out, logits.shape, logits.dtype, (logits, target, weight, sample_weight))
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


def _labels(kernels: Any, target: Array, lead: tuple[int, ...], classes: int, ignore_index: int) -> Array:
    """Integer labels as int64 (rows,), every one of them a class or `ignore_index`."""
    labels_fit(target, (*lead, classes))
    if target.dtype.kind == "u" and target.size and int(target.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"target: label {target.max()} is out of range for {classes} classes")
    if target.dtype != np.int64 or target.ndim != 1 or not target.flags.carray:
        target = np.require(target, np.int64, ["C", "A"]).reshape(-1)
    _known(kernels, target, lead, classes, ignore_index)
    return target


def _known(kernels: Any, labels: Any, lead: tuple[int, ...], classes: int, ignore_index: int) -> None:
    """ValueError unless every one of the labels (rows,) of shape `lead` is a class or `ignore_index`."""
    bad = kernels.find_bad_label(labels, classes, ignore_index)
    if bad >= 0:
        where = np.unravel_index(bad, lead) if lead else ()
        at = f"target[{', '.join(map(str, where))}]" if lead else "target"
        known = f"0 to {classes - 1}, or " if classes else ""
        raise ValueError(f"{at} is {labels[bad]}: expected {known}ignore_index {ignore_index}")
