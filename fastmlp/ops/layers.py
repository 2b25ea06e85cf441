"""The linear layer with its activation in one pass, activations alone, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..backend import active
from ..checks import (
    Array,
    as_array,
    find_activation,
    float_arrays,
    new_or_given,
    output,
    same_shape,
    weights_fit,
)
from .arrays import contiguous, linear_gradients, linear_output, output_like, rows_of, target_for


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
    for a, t in zip(outs, written):
        if a is not t and a is not None:
            a[...] = t
    return outs[0], outs[1], outs[2]


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
    written = target_for(y)
    kernels.activation_forward(contiguous(x), act, values, written)
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
    written = target_for(dx)
    kernels.activation_backward(contiguous(dy), contiguous(saved), act, values, written)
    if written is not dx:
        dx[...] = written
    return dx
