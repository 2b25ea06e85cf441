"""The linear layer with its activation in one pass, activations alone, PReLU, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..backend import active
from ..checks import (
    Array,
    Chosen,
    as_array,
    find_activation,
    float_arrays,
    gradient,
    new_or_given,
    same_shape,
    weights_fit,
)
from .arrays import contiguous, copy_back, linear_gradients, linear_output, output_like, rows_of, target_for


def choose_activation(name: str, **params: float) -> Chosen:
    """An activation with its parameters, checked once and then taken by the other functions in the place of a name."""
    return find_activation(name, params)


def linear(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    activation: str | Chosen = "identity",
    *,
    out: Array | None = None,
    save: bool = False,
    backend: str | None = None,
    **params: float,
) -> Any:
    """y = activation(x wᵀ + b), in one pass.

    x (..., k), w (n, k) as torch.nn.Linear keeps it, b (n,) or None -> y (..., n).
    activation: a name of `kernels.contract.ACTIVATIONS`; `params` are its own (negative_slope, alpha, beta, threshold).
        Or what `choose_activation` gave.
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
    written = target_for(y)
    z = np.empty(y.shape, y.dtype) if save and act.saves == "z" else None
    k, n = x.shape[-1], w.shape[0]
    kernels.linear_forward(
        rows_of(x, k), w, contiguous(b), act, values, rows_of(written, n), None if z is None else rows_of(z, n)
    )
    if written is not y:
        y[...] = written
    return (y, y if z is None else z) if save else y


def linear_backward(
    dy: ArrayLike,
    x: ArrayLike,
    w: ArrayLike,
    saved: ArrayLike | None = None,
    activation: str | Chosen | None = None,
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
    for name, asked, shape in (("dx", dx, x.shape), ("dw", dw, w.shape), ("db", db, (n,))):
        if asked is True and accumulate and name != "dx":
            raise TypeError(f"{name}: accumulate needs an array to add to (or False), got True")
        outs.append(gradient(name, asked, shape, x.dtype, (dy, x, w, saved, *outs)))
    written = [None if a is None else target_for(a) for a in outs]
    if accumulate:
        for a, t in zip(outs[1:], written[1:]):
            if a is not t and a is not None and t is not None:
                t[...] = a
    kernels.linear_backward(
        rows_of(contiguous(dy), n),
        rows_of(x, k),
        w,
        None if saved is None else rows_of(contiguous(saved), n),
        act,
        values,
        None if written[0] is None else rows_of(written[0], k),
        written[1],
        written[2],
        bool(accumulate),
    )
    copy_back(outs, written)
    return outs[0], outs[1], outs[2]


def activation(
    x: ArrayLike, name: str | Chosen, *, out: Array | None = None, backend: str | None = None, **params: float
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
    written = target_for(y)
    kernels.activation_forward(contiguous(x), act, values, written)
    if written is not y:
        y[...] = written
    return y


def activation_backward(
    dy: ArrayLike,
    saved: ArrayLike,
    name: str | Chosen,
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
    written = target_for(dx)
    kernels.activation_backward(contiguous(dy), contiguous(saved), act, values, written)
    if written is not dx:
        dx[...] = written
    return dx


def prelu(x: ArrayLike, weight: ArrayLike, *, out: Array | None = None, backend: str | None = None) -> Array:
    """y = x, or weight · x where x is not positive; x of any shape.

    weight: (1,), or (channels,) with one slope for each index along axis 1 of x, as in torch.
    """
    kernels = active(backend)
    x, weight = float_arrays(x=x, weight=weight)
    channels = _channels(x, weight)
    y = new_or_given(out, x.shape, x.dtype, (x, weight))
    written = target_for(y)
    kernels.prelu_forward(contiguous(x).reshape(channels), contiguous(weight), written.reshape(channels))
    if written is not y:
        y[...] = written
    return y


def prelu_backward(
    dy: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    *,
    dx: bool | Array = True,
    dweight: bool | Array = True,
    backend: str | None = None,
) -> tuple[Array | None, Array | None]:
    """The gradients of `prelu`: where x is positive, dx = dy; elsewhere dx = weight · dy, and dweight = Σ dy · x.

    dy, x of one shape, weight (1,) or (channels,) -> dx as x, dweight as weight.
    dx, dweight: True, an array to write into, or False if that one is not wanted; its place in the result is then None.
    """
    kernels = active(backend)
    dy, x, weight = float_arrays(dy=dy, x=x, weight=weight)
    same_shape("dy", dy, x.shape)
    channels = _channels(x, weight)
    outs = [gradient("dx", dx, x.shape, x.dtype, (dy, x, weight))]
    outs.append(gradient("dweight", dweight, weight.shape, x.dtype, (dy, x, weight, *outs)))
    written = [None if a is None else target_for(a) for a in outs]
    kernels.prelu_backward(
        contiguous(dy).reshape(channels),
        contiguous(x).reshape(channels),
        contiguous(weight),
        None if written[0] is None else written[0].reshape(channels),
        written[1],
    )
    copy_back(outs, written)
    return outs[0], outs[1]


def _channels(x: Array, weight: Array) -> tuple[int, int, int]:
    """x as (rows, channels, inner), once the weight is known to fit: axis 1 holds the channels, if there is one."""
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.shape not in ((1,), (channels,)):
        either = "(1,)" if channels == 1 else f"(1,) or ({channels},)"
        raise ValueError(f"weight: expected shape {either} for x of shape {x.shape}, got {weight.shape}")
    if x.ndim < 2:
        return 1, 1, x.size
    return x.shape[0], channels, int(np.prod(x.shape[2:], dtype=np.intp))
