"""The losses of rows with labels or class probabilities, each with its gradient in the same pass."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from ..backend import active
from ..checks import (
    Array,
    as_array,
    find_activation,
    float_arrays,
    gradient,
    int64,
    known_reduction,
    labels_fit,
    new_or_given,
    number,
    probabilities_fit,
    same_shape,
    weights_fit,
)
from ..memory import empty
from .arrays import contiguous, copy_back, labels_output, rows_of, target_for


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
    known_reduction(reduction)
    label_smoothing = number("label_smoothing", label_smoothing)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing: expected 0 to 1, got {label_smoothing}")
    ignore_index = int64("ignore_index", ignore_index)
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
        target = rows_of(contiguous(probabilities), classes)
    else:
        target = _labels(kernels, target, lead, classes, ignore_index)
    if weight is not None:
        same_shape("weight", weight, (classes,))
    if sample_weight is not None:
        same_shape("sample_weight", sample_weight, lead)
        sample_weight = contiguous(sample_weight).reshape(-1)
    dlogits = new_or_given(out, logits.shape, logits.dtype, (logits, target, weight, sample_weight))
    written = target_for(dlogits)
    loss = np.empty(lead if reduction == "none" else 1, logits.dtype)
    kernels.cross_entropy(
        rows_of(contiguous(logits), classes),
        target,
        contiguous(weight),
        sample_weight,
        ignore_index,
        label_smoothing,
        reduction,
        loss.reshape(-1),
        rows_of(written, classes),
    )
    if written is not dlogits:
        dlogits[...] = written
    return (loss if reduction == "none" else loss[0]), dlogits


LOGITS_BYTES = 52 << 20  # of the logits that linear_cross_entropy has at a time


def linear_cross_entropy(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: Literal["mean", "sum"] = "mean",
    *,
    dx: bool | Array = True,
    dw: bool | Array = True,
    db: bool | Array = True,
    backend: str | None = None,
) -> tuple[float, Array | None, Array | None, Array | None]:
    """The cross-entropy of a last layer, cross_entropy(x wᵀ + b, target), with all its gradients. -> loss, dx, dw, db

    x (..., k), w (C, k), b (C,) or None, target (...): integer labels. For many classes C: the logits are made, and
    turned into their gradient in place, some rows at a time, so that they take no more than 52 MiB, or one row.
    weight (C,), ignore_index, reduction: as for `cross_entropy`.
    dx, dw, db: True, an array to write into, or False if that one is not wanted; its place in the result is then None.
    """
    kernels = active(backend)
    known_reduction(reduction, ("mean", "sum"))
    ignore_index = int64("ignore_index", ignore_index)
    target = as_array("target", target)
    x, w, b, weight = float_arrays(("b", "weight"), x=x, w=w, b=b, weight=weight)
    weights_fit(x, w, b)
    classes, k = w.shape
    labels = _nothing_but_labels(kernels, target, x.shape[:-1], classes, ignore_index)
    if weight is not None:
        same_shape("weight", weight, (classes,))
        weight = contiguous(weight)
    outs: list[Array | None] = []
    for name, asked, shape in (("dx", dx, x.shape), ("dw", dw, w.shape), ("db", db, (classes,))):
        outs.append(gradient(name, asked, shape, x.dtype, (x, w, b, target, weight, *outs)))
    written = [None if a is None else target_for(a) for a in outs]
    flat = None if written[0] is None else rows_of(written[0], k)
    total = divisor(labels, weight, ignore_index) if reduction == "mean" else 1.0
    grads = [flat, *written[1:]]
    loss = _in_chunks(kernels, rows_of(x, k), w, contiguous(b), labels, weight, ignore_index, total, grads)
    copy_back(outs, written)
    return loss, outs[0], outs[1], outs[2]


def rows_at_a_time(rows: int, classes: int, itemsize: int) -> int:
    """Of logits, so that they take no more than LOGITS_BYTES, or one row: about equally many each time."""
    chunks = max(-(-rows * classes * itemsize // LOGITS_BYTES), 1)
    return max(-(-rows // chunks), 1)


def divisor(labels: Array, weight: Array | None, ignore_index: int) -> float:
    """What "mean" divides by: the weights of the rows that count, or their number."""
    counted = labels[labels != ignore_index]
    return float(len(counted)) if weight is None else float(weight[counted].sum(dtype=np.float64))


def _in_chunks(
    kernels: Any,
    x: Array,
    w: Array,
    b: Array | None,
    labels: Array,
    weight: Array | None,
    ignore_index: int,
    total_weight: float,
    grads: list[Array | None],
) -> float:
    """Forward and backward for some rows at a time; what they share is summed. -> the loss"""
    dx, dw, db = grads
    rows, classes = len(x), len(w)
    chunk = rows_at_a_time(rows, classes, x.itemsize)
    act, values = find_activation("identity", {})
    logits = empty((min(chunk, rows), classes), x.dtype)
    share = np.full(len(logits), 1 / total_weight if total_weight else 0.0, x.dtype)
    loss, total = np.empty(1, x.dtype), 0.0
    for begin in range(0, max(rows, 1), chunk):
        some, z = slice(begin, begin + chunk), logits[: min(chunk, rows - begin)]
        kernels.linear_forward(x[some], w, b, act, values, z, None)
        kernels.cross_entropy(z, labels[some], weight, share[: len(z)], ignore_index, 0.0, "sum", loss, z)
        kernels.linear_backward(
            z, x[some], w, z, act, values, None if dx is None else dx[some], dw, db, begin > 0
        )
        total += float(loss[0])
    return x.dtype.type(total if total_weight else np.nan)


def nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: Literal["mean", "sum", "none"] = "mean",
    *,
    out: Array | None = None,
    backend: str | None = None,
) -> tuple[Any, Array]:
    """The negative log-likelihood and its gradient with respect to the log-probabilities, in one pass. -> loss, dinput

    input (..., C): log-probabilities, as log_softmax gives them. target (...): integer labels.
    weight, ignore_index, reduction and out as for `cross_entropy`.
    """
    kernels = active(backend)
    known_reduction(reduction)
    ignore_index = int64("ignore_index", ignore_index)
    dinput = labels_output(input, target, weight, None, out)
    if dinput is not None:
        rows, classes = dinput.shape
        _known(kernels, target, (rows,), classes, ignore_index)
        loss = np.empty(rows if reduction == "none" else 1, dinput.dtype)
        kernels.nll_loss(input, target, None, ignore_index, reduction, loss, dinput)
        return (loss if reduction == "none" else loss[0]), dinput
    target = as_array("target", target)
    input, weight = float_arrays(("weight",), input=input, weight=weight)
    if input.ndim == 0:
        raise ValueError("input: expected shape (..., classes), got a scalar")
    lead, classes = input.shape[:-1], input.shape[-1]
    target = _nothing_but_labels(kernels, target, lead, classes, ignore_index)
    if weight is not None:
        same_shape("weight", weight, (classes,))
    dinput = new_or_given(out, input.shape, input.dtype, (input, target, weight))
    written = target_for(dinput)
    loss = np.empty(lead if reduction == "none" else 1, input.dtype)
    kernels.nll_loss(
        rows_of(contiguous(input), classes),
        target,
        contiguous(weight),
        ignore_index,
        reduction,
        loss.reshape(-1),
        rows_of(written, classes),
    )
    if written is not dinput:
        dinput[...] = written
    return (loss if reduction == "none" else loss[0]), dinput


def _labels(kernels: Any, target: Array, lead: tuple[int, ...], classes: int, ignore_index: int) -> Array:
    """Integer labels as int64 (rows,), every one of them a class or `ignore_index`."""
    labels_fit(target, (*lead, classes))
    if target.dtype.kind == "u" and target.size and int(target.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"target: label {target.max()} is out of range for {classes} classes")
    if target.dtype != np.int64 or target.ndim != 1 or not target.flags.carray:
        target = np.require(target, np.int64, ["C", "A"]).reshape(-1)
    _known(kernels, target, lead, classes, ignore_index)
    return target


def _nothing_but_labels(kernels: Any, target: Array, lead: tuple[int, ...], classes: int, ignore_index: int) -> Array:
    """The same, where probabilities are no target."""
    if target.dtype.kind not in "iu" and target.shape != (0,):  # an empty list may be labels
        raise TypeError(f"target: expected integer labels, got {target.dtype}")
    same_shape("target", target, lead)
    return _labels(kernels, target, lead, classes, ignore_index)


def _known(kernels: Any, labels: Any, lead: tuple[int, ...], classes: int, ignore_index: int) -> None:
    """ValueError unless every one of the labels (rows,) of shape `lead` is a class or `ignore_index`."""
    bad = kernels.find_bad_label(labels, classes, ignore_index)
    if bad >= 0:
        where = np.unravel_index(bad, lead) if lead else ()
        at = f"target[{', '.join(map(str, where))}]" if lead else "target"
        known = f"0 to {classes - 1}, or " if classes else ""
        raise ValueError(f"{at} is {labels[bad]}: expected {known}ignore_index {ignore_index}")
