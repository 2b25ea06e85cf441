"""The fully connected layer: y = act(x wᵀ + b), and its gradients."""

import numpy as np

from .activations import activation_backward, activation_forward


def linear_forward(x, w, b, act, params, y, z):
    """x (m, k), w (n, k), b (n,) or None -> y (m, n), and z = x wᵀ + b (m, n) if wanted."""
    pre = y if z is None else z
    with np.errstate(all="ignore"):
        np.matmul(x, w.T, out=pre)
        if b is not None:
            pre += b
    activation_forward(pre, act, params, y)


def linear_backward(dy, x, w, saved, act, params, dx, dw, db, accumulate):
    """dy, saved (m, n), x (m, k), w (n, k) -> dx (m, k), dw (n, k), db (n,); None where not wanted."""
    if act.name == "identity":
        dz = dy
    else:
        dz = np.empty_like(dy)
        activation_backward(dy, saved, act, params, dz)
    with np.errstate(all="ignore"):
        if dx is not None:
            np.matmul(dz, w, out=dx)
        if dw is not None:
            dw[...] = dz.T @ x + (dw if accumulate else 0)
        if db is not None:
            db[...] = dz.sum(axis=0) + (db if accumulate else 0)
