"""The mathematics of tensors on arrays: each function gives its result and the way back.

f(*operands, ...) -> y, gradient        gradient(dy) -> the gradient of each operand (None: it has none)

An operand is an array or a Python number; numbers take the array's type, as in torch. Nothing here knows of tensors.
NumPy does the work, but for the product of matrices, which is a kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import numpy as np
from numpy import ndarray

from . import ops
from .checks import Array
from .ops.arrays import linear_fits

RESULT = -1

#: of floating-point numbers that come without a type; `set_default_dtype` changes it
default_dtype = np.dtype(np.float32)


_quiet = copy_context()
_quiet.run(np.seterr, all="ignore")


def quietly(function: Any, *args: Any) -> Any:
    """function(*args) without NumPy's warnings of what is infinite or undefined: torch has none. (errstate: 1 µs.)"""
    return _quiet.copy().run(function, *args)


class Operation:
    """A function of this file.

    reads: for each operand, which of the operands its gradient reads (RESULT: y itself), so that the tape can tell when
    one was changed too early; an empty one: no gradient reads anything.
    """

    __slots__ = ("forward", "name", "reads")

    def __init__(self, forward: Callable[..., Any], name: str, reads: tuple[tuple[int, ...], ...]) -> None:
        self.forward = forward
        self.name = name
        self.reads = reads

    def __call__(self, *operands: Any) -> Any:
        return self.forward(*operands)


def reads(*per_operand: tuple[int, ...]) -> Callable[[Any], Operation]:
    return lambda function: Operation(function, function.__name__, per_operand)


# --------------------------------------------------------------------------------------------- types, shapes

_RANK = {"b": 0, "i": 1, "u": 1, "f": 2}


def promote(a: Any, b: Any) -> tuple[Any, Any]:
    """Both in the type that torch gives their sum: floats beat integers, an array beats a single number of its kind."""
    if isinstance(a, ndarray) and isinstance(b, ndarray):
        p, q = a, b
        if p.dtype is q.dtype:
            return a, b
        dtype = _common(a, b)
        return p.astype(dtype, copy=False), q.astype(dtype, copy=False)
    if type(b) in (int, float) and isinstance(a, ndarray) and a.dtype.kind == "f":
        return a, b
    if isinstance(a, ndarray):
        return _beside_number(a, b)
    if isinstance(b, ndarray):
        return _beside_number(b, a)[::-1]
    raise TypeError(f"expected a tensor or a number, got {type(a).__name__} and {type(b).__name__}")


def _common(a: Array, b: Array) -> Any:
    ranks = _RANK[a.dtype.kind], _RANK[b.dtype.kind]
    if ranks[0] != ranks[1]:
        return a.dtype if ranks[0] > ranks[1] else b.dtype
    if (a.ndim == 0) != (b.ndim == 0):
        return a.dtype if b.ndim == 0 else b.dtype
    return np.promote_types(a.dtype, b.dtype)


def _beside_number(a: Array, number: Any) -> tuple[Array, Any]:
    """The number is a Python one then, which takes the array's type."""
    if isinstance(number, np.generic):
        number = number.item()
    if not isinstance(number, (bool, int, float)):
        raise TypeError(f"expected a tensor or a number, got {type(number).__name__}")
    if a.dtype.kind == "f":
        return a, number
    if isinstance(number, float):
        return floating(a), number
    return (a.astype(np.int64) if a.dtype.kind == "b" and not isinstance(number, bool) else a), number


def floating(a: Array) -> Array:
    """Integers and booleans become numbers of the default floating-point type."""
    return a if a.dtype.kind == "f" else a.astype(default_dtype)


def fit(g: Array, like: Any) -> Any:
    """The gradient g, summed over the axes along which `like` was repeated, in its type; None for a constant."""
    if not isinstance(like, ndarray) or like.dtype.kind != "f":
        return None
    if g.shape != like.shape:
        g = _folded(g, like.shape)
    return g if g.dtype is like.dtype else g.astype(like.dtype)


def _folded(g: Array, shape: tuple[int, ...]) -> Array:
    extra = g.ndim - len(shape)
    axes = [i + extra for i, size in enumerate(shape) if size == 1 and g.shape[i + extra] != 1]
    return np.asarray(g.sum(axis=(*range(extra), *axes))).reshape(shape)


# ------------------------------------------------------------------------------------------- of two operands


@reads((), ())
def add(a: Any, b: Any) -> Any:
    p, q = promote(a, b)
    return p + q, lambda dy: (fit(dy, a), fit(dy, b))


@reads((), ())
def subtract(a: Any, b: Any) -> Any:
    p, q = promote(a, b)
    return p - q, lambda dy: (fit(dy, a), fit(-dy, b))


@reads((1,), (0,))
def multiply(a: Any, b: Any) -> Any:
    p, q = promote(a, b)
    return p * q, lambda dy: (fit(dy * q, a), fit(dy * p, b))


@reads((1,), (0, 1))
def divide(a: Any, b: Any) -> Any:
    p, q = promote(a, b)
    if isinstance(p, ndarray):
        p = floating(p)
    if isinstance(q, ndarray):
        q = floating(q)
    y = p / q if isinstance(q, (int, float)) and q else quietly(np.true_divide, p, q)
    return y, lambda dy: quietly(lambda: (fit(dy / q, a), fit(-dy * (p / q) / q, b)))


@reads((0, 1), (0, 1, RESULT))
def power(a: Any, b: Any) -> Any:
    p, q = promote(a, b)
    y = quietly(pow, p, q)

    def gradient(dy: Array) -> Any:
        da = dy * q * np.where(q == 0, 0, p ** np.where(q == 0, 1, q - 1)) if isinstance(a, ndarray) else dy
        db = dy * np.where(p == 0, 0, y * np.log(p)) if isinstance(b, ndarray) else dy
        return fit(da, a), fit(db, b)

    return y, lambda dy: quietly(gradient, dy)


def _pick(choose: Any, loses: Any) -> Operation:
    """maximum or minimum; equal ones have half of the gradient each, as in torch. loses(p, q): p was not chosen."""

    def function(a: Any, b: Any) -> Any:
        p, q = promote(a, b)
        def gradient(dy: Array) -> Any:
            half = np.where(p == q, dy / 2, dy)
            return fit(np.where(loses(p, q), 0, half), a), fit(np.where(loses(q, p), 0, half), b)

        return choose(p, q), gradient

    return Operation(function, choose.__name__, ((0, 1), (0, 1)))


maximum, minimum = _pick(np.maximum, np.less), _pick(np.minimum, np.greater)


@reads((), (0,), (0,))
def where(condition: Array, a: Any, b: Any) -> Any:
    if not isinstance(condition, ndarray):
        raise TypeError(f"condition: expected a tensor, got {type(condition).__name__}")
    if not isinstance(a, ndarray) and not isinstance(b, ndarray):
        a = np.asarray(a, None if isinstance(a, int) and isinstance(b, int) else default_dtype)
    p, q = promote(a, b)

    def gradient(dy: Array) -> Any:
        return None, fit(np.where(condition, dy, 0), a), fit(np.where(condition, 0, dy), b)

    return np.where(condition, p, q), gradient


@reads((), (0, 1))
def remainder(a: Any, b: Any) -> Any:
    """a - b floor(a / b)"""
    p, q = promote(a, b)
    y = quietly(np.mod, p, q)
    return y, lambda dy: (fit(dy, a), fit(-dy * quietly(np.floor_divide, p, q), b))


@reads((1,), (0,))
def matmul(a: Array, b: Array) -> Any:
    """a @ b. Of two matrices it is a kernel."""
    for x in (a, b):
        if not isinstance(x, ndarray):
            raise TypeError(f"matmul: expected tensors, got {type(x).__name__}")
    bt = b.T
    if linear_fits(a, bt, None):
        return ops.linear(a, bt), lambda dy: (ops.linear(dy, b), ops.linear(a.T, dy.T))
    if a.ndim == 0 or b.ndim == 0 or a.shape[-1] != b.shape[max(b.ndim - 2, 0)] or a.dtype != b.dtype:
        raise RuntimeError(f"matmul: {a.dtype} of shape {a.shape} does not fit {b.dtype} of shape {b.shape}")
    if a.ndim == 1 or b.ndim == 1:
        return _vector_product(a, b)
    return a @ b, lambda dy: (fit(dy @ np.swapaxes(b, -1, -2), a), fit(np.swapaxes(a, -1, -2) @ dy, b))


def _vector_product(a: Array, b: Array) -> Any:
    """A vector on the left is a row, one on the right a column, and the result has no such axis."""
    y, gradient = matmul(a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b)
    shape = (*y.shape[:-2], *y.shape[-2:-1] * (a.ndim > 1), *y.shape[-1:] * (b.ndim > 1))

    def back(dy: Array) -> Any:
        da, db = gradient(dy.reshape(y.shape))
        return da.reshape(a.shape), db.reshape(b.shape)

    return y.reshape(shape), back


# -------------------------------------------------------------------------------------------- of one operand


def _elementwise(name: str, forward: Any, derivative: Any, of: tuple[int, ...]) -> Any:
    """y = forward(a), with derivative(a, y) for its slope."""

    def function(a: Array) -> Any:
        a = floating(a)
        y = quietly(forward, a)
        return y, lambda dy: (dy * quietly(derivative, a, y),)

    return Operation(function, name, (of,))


exp = _elementwise("exp", np.exp, lambda a, y: y, (RESULT,))
expm1 = _elementwise("expm1", np.expm1, lambda a, y: y + 1, (RESULT,))
log = _elementwise("log", np.log, lambda a, y: 1 / a, (0,))
log1p = _elementwise("log1p", np.log1p, lambda a, y: 1 / (1 + a), (0,))
log2 = _elementwise("log2", np.log2, lambda a, y: 1 / (a * a.dtype.type(np.log(2))), (0,))
log10 = _elementwise("log10", np.log10, lambda a, y: 1 / (a * a.dtype.type(np.log(10))), (0,))
sqrt = _elementwise("sqrt", np.sqrt, lambda a, y: 0.5 / y, (RESULT,))
rsqrt = _elementwise("rsqrt", lambda a: 1 / np.sqrt(a), lambda a, y: -0.5 * y / a, (0, RESULT))
reciprocal = _elementwise("reciprocal", lambda a: 1 / a, lambda a, y: -y * y, (RESULT,))
sin = _elementwise("sin", np.sin, lambda a, y: np.cos(a), (0,))
cos = _elementwise("cos", np.cos, lambda a, y: -np.sin(a), (0,))


def _steps(name: str, forward: Any) -> Operation:
    """Constant almost everywhere: the gradient is 0."""

    def function(a: Array) -> Any:
        if a.dtype.kind == "b":
            raise RuntimeError(f"{name}: expected numbers, got {a.dtype}")
        return forward(a), lambda dy: (np.zeros_like(dy),)

    return Operation(function, name, ((),))


sign, floor, ceil, round = (_steps(f.__name__, f) for f in (np.sign, np.floor, np.ceil, np.round))


@reads(())
def negative(a: Array) -> Any:
    return -a, lambda dy: (-dy,)


@reads((0,))
def absolute(a: Array) -> Any:
    return np.abs(a), lambda dy: (dy * np.sign(a),)


@reads((0,))
def square(a: Array) -> Any:
    return a * a, lambda dy: (2 * dy * a,)


@reads((0,))
def clamp(a: Array, min: Any = None, max: Any = None) -> Any:
    if min is None and max is None:
        raise ValueError("clamp: at least one of min and max must be a number")
    low, high = (v.item() if isinstance(v, np.generic) else v for v in (min, max))

    def gradient(dy: Array) -> Any:
        outside = (a < low if low is not None else False) | (a > high if high is not None else False)
        return (np.where(outside, 0, dy),)

    return np.clip(a, low, high), gradient


@reads(())
def cast(a: Array, dtype: Any) -> Any:
    """a in another type, copied always."""
    return a.astype(dtype), (lambda dy: (dy.astype(a.dtype),)) if np.dtype(dtype).kind == "f" else None


@reads(())
def clone(a: Array) -> Any:
    return a.copy(), lambda dy: (dy,)


# --------------------------------------------------------------------------------------------- reductions


add_up: Any = np.add.reduce  # a.sum() takes half a microsecond longer


def _axes(dim: Any) -> Any:
    return tuple(dim) if isinstance(dim, (list, tuple)) else dim


def spread(dy: Array, a: Array, dim: Any, keepdim: bool) -> Array:
    """What a reduction over `dim` gave for `a`, repeated along it."""
    if dim is not None and not keepdim:
        dy = np.expand_dims(dy, _axes(dim))
    return np.broadcast_to(dy, a.shape)


@reads(())
def sum(a: Array, dim: Any = None, keepdim: bool = False) -> Any:
    y = add_up(a, _axes(dim), keepdims=keepdim and dim is not None)
    return y, lambda dy: (spread(dy, a, dim, keepdim),)


@reads(())
def mean(a: Array, dim: Any = None, keepdim: bool = False) -> Any:
    if a.dtype.kind != "f":
        raise RuntimeError(f"mean: expected a floating-point tensor, got {a.dtype}; call float() first")
    y = add_up(a, _axes(dim), keepdims=keepdim and dim is not None)
    count = a.dtype.type(a.size // max(y.size, 1))
    return quietly(np.true_divide, y, count), lambda dy: (spread(quietly(np.true_divide, dy, count), a, dim, keepdim),)


@reads((0,))
def var(a: Array, dim: Any = None, correction: float = 1, keepdim: bool = False) -> Any:
    """Σ (a - mean)² / (n - correction)"""
    axes = _axes(dim)
    centred = a - a.mean(axis=axes, keepdims=True)
    total = (centred * centred).sum(axis=axes, keepdims=keepdim and dim is not None)
    count = a.dtype.type(max(a.size / max(total.size, 1) - correction, 0))
    y = quietly(np.true_divide, total, count)
    return y, lambda dy: (spread(quietly(np.true_divide, 2 * dy, count), a, dim, keepdim) * centred,)


@reads((0, RESULT))
def std(a: Array, dim: Any = None, correction: float = 1, keepdim: bool = False) -> Any:
    """√var; where that is 0, so is the gradient."""
    v, back = var(a, dim, correction, keepdim)
    y = np.sqrt(v)

    def gradient(dy: Array) -> Any:
        return back(quietly(lambda: np.where(y == 0, 0, dy / (2 * y))))

    return y, gradient


@reads((0, RESULT))
def norm(a: Array, dim: Any = None, keepdim: bool = False) -> Any:
    """√Σ a²; where that is 0, so is the gradient."""
    y = np.sqrt(add_up(a * a, _axes(dim), keepdims=keepdim and dim is not None))

    def gradient(dy: Array) -> Any:
        slope = quietly(lambda: np.where(y == 0, 0, dy / y))
        return (spread(slope, a, dim, keepdim) * a,)

    return y, gradient


@reads((0, RESULT))
def extreme(a: Array, reduce: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """max or min; equal ones share the gradient evenly, as torch's amax does."""
    if a.size == 0:
        raise RuntimeError(f"max, min: the tensor of shape {a.shape} has no elements")
    y = reduce(a, _axes(dim), keepdims=keepdim and dim is not None)

    def gradient(dy: Array) -> Any:
        best = spread(y, a, dim, keepdim)
        chosen = (a == best) | (np.isnan(a) & np.isnan(best))
        share = spread(dy, a, dim, keepdim) / chosen.sum(axis=_axes(dim), keepdims=True, dtype=a.dtype)
        return (np.where(chosen, share, 0),)

    return y, gradient


@reads((0, RESULT))
def prod(a: Array, dim: Any = None, keepdim: bool = False) -> Any:
    y = a.prod(axis=_axes(dim), keepdims=keepdim and dim is not None)

    def gradient(dy: Array) -> Any:
        if (a == 0).any():
            raise NotImplementedError("prod: the gradient at a zero is left out of fastmlp")
        return (spread(dy * y, a, dim, keepdim) / a,)

    return y, gradient


# ------------------------------------------------------------------------------------------------- shapes


@reads(())
def reshape(a: Array, shape: tuple[int, ...]) -> Any:
    return a.reshape(shape), lambda dy: (dy.reshape(a.shape),)


@reads(())
def permute(a: Array, axes: tuple[int, ...]) -> Any:
    return a.transpose(axes), lambda dy: (dy.transpose(np.argsort([i % a.ndim for i in axes])),)


@reads(())
def expand(a: Array, shape: tuple[int, ...]) -> Any:
    extra = len(shape) - a.ndim
    whole = tuple(a.shape[i - extra] if size == -1 else size for i, size in enumerate(shape))
    return np.broadcast_to(a, whole), lambda dy: (fit(dy, a),)


@reads(())
def index(a: Array, where: Any) -> Any:
    parts = where if isinstance(where, tuple) else (where,)
    several = any(isinstance(part, (list, ndarray)) for part in parts)  # an element may be picked more than once
    if several:
        parts = where = tuple(part.copy() if isinstance(part, ndarray) else part for part in parts)

    def gradient(dy: Array) -> Any:
        da = np.zeros(a.shape, a.dtype)
        if several:
            np.add.at(da, where, dy)
        else:
            da[where] = dy
        return (da,)

    y = a[where]
    return (y if isinstance(y, ndarray) else a[(*parts, ...)]), gradient  # a view also of a single element


@reads((1,), ())
def gather(a: Array, indices: Array, dim: int) -> Any:
    """a at `indices` along `dim`"""

    def gradient(dy: Array) -> Any:
        da = np.zeros(a.shape, a.dtype)
        place = list(np.ogrid[tuple(map(slice, indices.shape))])
        place[dim] = indices
        np.add.at(da, tuple(place), dy)  # an index may come more than once
        return da, None

    return np.take_along_axis(a, indices, dim), gradient


@reads()
def cat(dim: int, *arrays: Array) -> Any:
    borders = np.cumsum([a.shape[dim] for a in arrays])[:-1]
    return np.concatenate(arrays, dim), lambda dy: (None, *map(fit, np.split(dy, borders, dim), arrays))


@reads()
def stack(dim: int, *arrays: Array) -> Any:
    return np.stack(arrays, dim), lambda dy: (None, *map(fit, np.moveaxis(dy, dim, 0), arrays))
