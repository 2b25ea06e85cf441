"""Softmax and log-softmax over the rows of x (rows, classes), and their gradients.

The row's maximum is taken off first, so that exp never overflows.
"""

import numpy as np


def _shifted(x):
    """x minus its row maximum; a row without classes stays as it is."""
    return x - x.max(axis=1, keepdims=True, initial=-np.inf)


def softmax_forward(x, y):
    with np.errstate(all="ignore"):
        e = np.exp(_shifted(x))
        y[...] = e / e.sum(axis=1, keepdims=True)


def log_softmax_forward(x, y):
    with np.errstate(all="ignore"):
        s = _shifted(x)
        y[...] = s - np.log(np.exp(s).sum(axis=1, keepdims=True))


def softmax_backward(dy, y, dx):
    """dx = y · (dy - Σ dy·y)"""
    with np.errstate(all="ignore"):
        dx[...] = y * (dy - (dy * y).sum(axis=1, keepdims=True))


def log_softmax_backward(dy, y, dx):
    """dx = dy - softmax(x) · Σ dy, with softmax(x) = exp(y)"""
    with np.errstate(all="ignore"):
        dx[...] = dy - np.exp(y) * dy.sum(axis=1, keepdims=True)
