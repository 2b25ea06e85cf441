"""Softmax and log-softmax along an axis, layer norm, batch norm, and their gradients; dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..backend import active
from ..checks import (
    Array,
    at_least_0,
    float_arrays,
    gradient,
    integer,
    new_or_given,
    number,
    same_shape,
    unsigned,
)
from .arrays import contiguous, copy_back, rows_of, rows_output, target_for


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
    written = target_for(target)
    classes = shape[axis]
    kernel(*(rows_of(contiguous(a), classes) for a in turned), rows_of(written, classes))
    if written is not target:
        target[...] = written
    return y


# --------------------------------------------------------------------------------- layer and batch norm


def layer_norm(
    x: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    out: Array | None = None,
    save: bool = False,
    backend: str | None = None,
) -> Any:
    """y = (x - mean) / √(variance + eps) · weight + bias, with the mean and the biased variance of each row.

    x (..., n), weight and bias (n,) or None -> y (..., n).
    save: also return what `layer_norm_backward` needs: (mean, rstd), both (...), with rstd = 1 / √(variance + eps).
    """
    kernels = active(backend)
    x, weight, bias = float_arrays(("weight", "bias"), x=x, weight=weight, bias=bias)
    n = _features(x, weight=weight, bias=bias)
    eps = at_least_0("eps", eps)
    y = new_or_given(out, x.shape, x.dtype, (x, weight, bias))
    written = target_for(y)
    mean, rstd = np.empty(x.shape[:-1], x.dtype), np.empty(x.shape[:-1], x.dtype)
    kernels.layer_norm_forward(
        rows_of(contiguous(x), n),
        contiguous(weight),
        contiguous(bias),
        eps,
        rows_of(written, n),
        mean.reshape(-1),
        rstd.reshape(-1),
    )
    if written is not y:
        y[...] = written
    return (y, (mean, rstd)) if save else y


def layer_norm_backward(
    dy: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike | None,
    saved: tuple[ArrayLike, ArrayLike],
    *,
    dx: bool | Array = True,
    dweight: bool | Array = True,
    dbias: bool | Array = True,
    backend: str | None = None,
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients of `layer_norm`: dy, x (..., n), weight (n,) or None -> dx (..., n), dweight, dbias (n,).

    saved: what `layer_norm(..., save=True)` returned beside y.
    dx, dweight, dbias: True, an array to write into, or False if that one is not wanted; its place is then None.
    """
    kernel = active(backend).layer_norm_backward
    mean, rstd = _saved(saved, "layer_norm", 2)
    asked = {"dx": dx, "dweight": dweight, "dbias": dbias}
    return _norm_backward(kernel, dy, x, weight, mean, rstd, False, (), asked)


def batch_norm(
    x: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    running_mean: ArrayLike | None = None,
    running_var: ArrayLike | None = None,
    out: Array | None = None,
    save: bool = False,
    backend: str | None = None,
) -> Any:
    """y = (x - mean) / √(var + eps) · weight + bias, with the statistics of each feature over all rows.

    x (..., n), weight and bias (n,) or None -> y (..., n).
    running_mean, running_var: (n,), the statistics to take in evaluation. Without them, in training, they are those
    of x, with the biased variance; then x has at least two rows, or none, whose statistics are NaN.
    save: also return (mean, rstd, var), each (n,), for `batch_norm_backward` and for running statistics (torch's
    running variance takes the unbiased one, var · rows / (rows - 1)); rstd = 1 / √(var + eps).
    """
    kernels = active(backend)
    x, weight, bias, mean, var = float_arrays(
        ("weight", "bias", "running_mean", "running_var"),
        x=x,
        weight=weight,
        bias=bias,
        running_mean=running_mean,
        running_var=running_var,
    )
    if (mean is None) != (var is None):
        raise TypeError("running_mean, running_var: expected both, in evaluation, or neither, in training; got one")
    n = _features(x, weight=weight, bias=bias, running_mean=mean, running_var=var)
    eps = at_least_0("eps", eps)
    rows = rows_of(contiguous(x), n)
    if mean is None and len(rows) == 1:
        raise ValueError(f"x: expected more than 1 row in training, got shape {x.shape}")
    y = new_or_given(out, x.shape, x.dtype, (x, weight, bias, mean, var))
    written = target_for(y)
    weight, bias = contiguous(weight), contiguous(bias)
    if mean is None:
        mean, rstd, var = np.empty(n, x.dtype), np.empty(n, x.dtype), np.empty(n, x.dtype)
        kernels.batch_norm_forward(rows, weight, bias, eps, rows_of(written, n), mean, rstd, var)
    else:
        with np.errstate(divide="ignore", invalid="ignore"):  # eps + var may be 0, or less
            rstd = 1 / np.sqrt(contiguous(var) + x.dtype.type(eps))
        kernels.batch_norm_apply(rows, weight, bias, contiguous(mean), rstd, rows_of(written, n))
    if written is not y:
        y[...] = written
    return (y, (mean, rstd, var)) if save else y


def batch_norm_backward(
    dy: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike | None,
    saved: tuple[ArrayLike, ArrayLike, ArrayLike],
    *,
    training: bool = True,
    dx: bool | Array = True,
    dweight: bool | Array = True,
    dbias: bool | Array = True,
    backend: str | None = None,
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients of `batch_norm`: dy, x (..., n), weight (n,) or None -> dx (..., n), dweight, dbias (n,).

    saved: what `batch_norm(..., save=True)` returned beside y. training: False if that was given running statistics,
    which do not depend on x.
    dx, dweight, dbias: True, an array to write into, or False if that one is not wanted; its place is then None.
    """
    kernel = active(backend).batch_norm_backward
    mean, rstd, _ = _saved(saved, "batch_norm", 3)
    asked = {"dx": dx, "dweight": dweight, "dbias": dbias}
    return _norm_backward(kernel, dy, x, weight, mean, rstd, True, (bool(training),), asked)


def _norm_backward(
    kernel: Any,
    dy: Any,
    x: Any,
    weight: Any,
    mean: Any,
    rstd: Any,
    by_column: bool,
    options: tuple[bool, ...],
    asked: dict[str, bool | Array],
) -> tuple[Array | None, Array | None, Array | None]:
    """The checks and the call that the two kernels share. by_column: mean and rstd are (n,), else (...)."""
    dy, x, weight, mean, rstd = float_arrays(("weight",), dy=dy, x=x, weight=weight, mean=mean, rstd=rstd)
    n = _features(x, weight=weight)
    same_shape("dy", dy, x.shape)
    same_shape("mean", mean, (n,) if by_column else x.shape[:-1])
    same_shape("rstd", rstd, mean.shape)
    outs: list[Array | None] = []
    for name, shape in (("dx", x.shape), ("dweight", (n,)), ("dbias", (n,))):
        outs.append(gradient(name, asked[name], shape, x.dtype, (dy, x, weight, mean, rstd, *outs)))
    written = [None if a is None else target_for(a) for a in outs]
    kernel(
        rows_of(contiguous(dy), n),
        rows_of(contiguous(x), n),
        contiguous(weight),
        contiguous(mean).reshape(-1),
        contiguous(rstd).reshape(-1),
        *options,
        None if written[0] is None else rows_of(written[0], n),
        *written[1:],
    )
    copy_back(outs, written)
    return outs[0], outs[1], outs[2]


def _features(x: Array, **named: Array | None) -> int:
    """n of x (..., n), once the others are known to be (n,) or None"""
    if x.ndim == 0:
        raise ValueError("x: expected shape (..., features), got a scalar")
    for name, a in named.items():
        if a is not None:
            same_shape(name, a, x.shape[-1:])
    return x.shape[-1]


def _saved(saved: Any, op: str, size: int) -> Any:
    if not isinstance(saved, tuple) or len(saved) != size:
        came = f"{len(saved)} of them" if isinstance(saved, tuple) else type(saved).__name__
        raise TypeError(f"saved: expected the {size} arrays that {op}(..., save=True) returned beside y, got {came}")
    return saved


# ------------------------------------------------------------------------------------------- dropout


def dropout(
    x: ArrayLike,
    p: float = 0.5,
    *,
    seed: int,
    offset: int = 0,
    out: Array | None = None,
    backend: str | None = None,
) -> Array:
    """y = x · keep / (1 - p), where each element is kept with probability 1 - p; x of any shape.

    Which ones are kept depends on seed, offset and the element's index in C order alone, so the gradient is the same
    function of dy: dx = dropout(dy, p, seed=seed, offset=offset).
    seed, offset: 0 to 2**64 - 1. Calls with one seed draw different numbers if their offsets are at least x.size / 4
    apart: each step of the offset is good for four elements.
    """
    kernels = active(backend)
    p = number("p", p)
    if not 0 <= p <= 1:
        raise ValueError(f"p: expected 0 to 1, got {p}")
    seed, offset = unsigned("seed", seed), unsigned("offset", offset)
    (x,) = float_arrays(x=x)
    y = new_or_given(out, x.shape, x.dtype, (x,))
    written = target_for(y)
    kernels.dropout(contiguous(x), p, seed, offset, written)
    if written is not y:
        y[...] = written
    return y
