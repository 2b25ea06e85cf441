"""Layer norm over the rows of x (rows, n), batch norm over its columns, and their gradients.

    x̂ = (x - mean) · rstd,  rstd = 1 / √(variance + eps),  y = x̂ · weight + bias

with the biased variance Σ (x - mean)² / count. mean and rstd depend on x, so that with g = dy · weight

    dx = rstd · (g - mean(g) - x̂ · mean(g · x̂)),  dweight = Σ_rows dy · x̂,  dbias = Σ_rows dy

Sources: Ba et al. 2016 · Ioffe & Szegedy 2015.
"""

import numpy as np


def _statistics(x, axis, eps):
    """-> mean, variance and rstd along the axis, which stays with size 1; NaN if it has none, or an infinity in it"""
    mean = x.sum(axis=axis, keepdims=True) / x.shape[axis]
    mean = mean + (x - mean).sum(axis=axis, keepdims=True) / x.shape[axis]  # what rounding left of a long sum
    var = ((x - mean) ** 2).sum(axis=axis, keepdims=True) / x.shape[axis]
    return mean, var, 1 / np.sqrt(var + eps)


def _apply(x, weight, bias, mean, rstd, y):
    y[...] = (x - mean) * rstd * (1 if weight is None else weight) + (0 if bias is None else bias)


def _gradients(dy, x, weight, mean, rstd, axis, dx, dweight, dbias):
    """axis: along which mean and rstd were taken of x; None if they were given"""
    normal = (x - mean) * rstd
    if dx is not None:
        g = dy if weight is None else dy * weight
        if axis is not None:
            size = x.shape[axis]
            shift = g.sum(axis=axis, keepdims=True) / size
            slope = (g * normal).sum(axis=axis, keepdims=True) / size
            g = g - shift - normal * slope
        dx[...] = rstd * g
    if dweight is not None:
        dweight[...] = (dy * normal).sum(axis=0)
    if dbias is not None:
        dbias[...] = dy.sum(axis=0)


def layer_norm_forward(x, weight, bias, eps, y, mean, rstd):
    """x (rows, n), weight, bias (n,) or None -> y (rows, n), mean, rstd (rows,)"""
    with np.errstate(all="ignore"):
        m, _, r = _statistics(x, 1, eps)
        mean[...], rstd[...] = m[:, 0], r[:, 0]
        _apply(x, weight, bias, mean[:, None], rstd[:, None], y)


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dweight, dbias):
    with np.errstate(all="ignore"):
        _gradients(dy, x, weight, mean[:, None], rstd[:, None], 1, dx, dweight, dbias)


def batch_norm_forward(x, weight, bias, eps, y, mean, rstd, var):
    """x (rows, n), weight, bias (n,) or None -> y (rows, n), mean, rstd, var (n,)"""
    with np.errstate(all="ignore"):
        m, v, r = _statistics(x, 0, eps)
        mean[...], var[...], rstd[...] = m[0], v[0], r[0]
        _apply(x, weight, bias, mean, rstd, y)


def batch_norm_apply(x, weight, bias, mean, rstd, y):
    with np.errstate(all="ignore"):
        _apply(x, weight, bias, mean, rstd, y)


def batch_norm_backward(dy, x, weight, mean, rstd, training, dx, dweight, dbias):
    with np.errstate(all="ignore"):
        _gradients(dy, x, weight, mean, rstd, 0 if training else None, dx, dweight, dbias)
