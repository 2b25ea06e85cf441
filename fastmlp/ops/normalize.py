"""What works on rows, or along another axis: softmax, log-softmax, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..backend import active
from ..checks import Array, float_arrays, integer, new_or_given, same_shape
from .arrays import contiguous, rows_of, rows_output, target_for


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
