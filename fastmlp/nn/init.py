"""Initialization of weights, in place, by torch's names and defaults. -> the tensor itself

fan_in and fan_out of a weight (out, in, ...) are in and out times what follows.
Sources: xavier, Glorot & Bengio 2010 · kaiming, He et al. 2015 · orthogonal, Saxe et al. 2014 · sparse, Martens 2010.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..creation import Generator, rng_of
from ..tape import array_of, before_write

GAINS = {"linear": 1.0, "identity": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """What the nonlinearity asks the standard deviation to be multiplied by. param: the slope of leaky_relu (0.01)."""
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"param: expected the negative slope, a number, got {param!r}")
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in GAINS:
        raise ValueError(f"nonlinearity: expected one of {', '.join([*GAINS, 'leaky_relu'])}, got {nonlinearity!r}")
    return GAINS[nonlinearity]


def _fill(tensor: Tensor, values: Any) -> Tensor:
    before_write((tensor,))
    array_of(tensor)[...] = values
    return tensor


def _matrix(tensor: Tensor) -> tuple[int, int]:
    """-> rows, and the size of a row"""
    if tensor.ndim < 2:
        raise ValueError(f"tensor: expected at least 2 axes, got shape {tensor.shape}")
    return tensor.shape[0], math.prod(tensor.shape[1:])


def _fans(tensor: Tensor) -> tuple[int, int]:
    """fan_in, fan_out"""
    rows, columns = _matrix(tensor)
    return columns, rows * math.prod(tensor.shape[2:])


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """U(a, b)"""
    if not a <= b:
        raise ValueError(f"uniform_: expected a <= b, got a = {a} and b = {b}")
    return _fill(tensor, rng_of(generator).uniform(a, b, tensor.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """N(mean, std²)"""
    if not std >= 0:
        raise ValueError(f"std: expected a number >= 0, got {std}")
    return _fill(tensor, rng_of(generator).normal(mean, std, tensor.shape))


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """N(mean, std²) without what lies outside of [a, b]: it is drawn again."""
    if not (std > 0 and a < b):
        raise ValueError(f"trunc_normal_: expected std > 0 and a < b, got std = {std}, a = {a} and b = {b}")
    if _tail((a - mean) / std, (b - mean) / std) < 1e-3:
        raise ValueError(f"trunc_normal_: hardly any of N({mean}, {std}²) lies in [{a}, {b}]")
    rng = rng_of(generator)
    values = rng.normal(mean, std, tensor.shape)
    while (outside := (values < a) | (values > b)).any():
        values[outside] = rng.normal(mean, std, int(outside.sum()))
    return _fill(tensor, values)


def _tail(a: float, b: float) -> float:
    """The probability that N(0, 1) lies in [a, b]."""
    return (math.erf(b / math.sqrt(2)) - math.erf(a / math.sqrt(2))) / 2


def constant_(tensor: Tensor, val: float) -> Tensor:
    return _fill(tensor, val)


def ones_(tensor: Tensor) -> Tensor:
    return _fill(tensor, 1)


def zeros_(tensor: Tensor) -> Tensor:
    return _fill(tensor, 0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity; of a tensor of two axes."""
    if tensor.ndim != 2:
        raise ValueError(f"tensor: expected 2 axes, got shape {tensor.shape}")
    return _fill(tensor, np.eye(tensor.shape[0], tensor.shape[1]))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """U(-a, a) with a = gain √(6 / (fan_in + fan_out))"""
    bound = gain * math.sqrt(6 / max(sum(_fans(tensor)), 1))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """N(0, 2 gain² / (fan_in + fan_out))"""
    return normal_(tensor, 0, gain * math.sqrt(2 / max(sum(_fans(tensor)), 1)), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode: expected 'fan_in' or 'fan_out', got {mode!r}")
    return calculate_gain(nonlinearity, a) / math.sqrt(max(_fans(tensor)[mode == "fan_out"], 1))


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """U(-b, b) with b = gain √(3 / fan). a: the slope of leaky_relu."""
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """N(0, gain² / fan). a: the slope of leaky_relu."""
    return normal_(tensor, 0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """A random matrix whose rows, or columns if there are fewer, are orthonormal, times gain."""
    rows, columns = _matrix(tensor)
    q, r = np.linalg.qr(rng_of(generator).normal(size=(max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diag(r))  # else the distribution were not uniform
    return _fill(tensor, (gain * (q if rows >= columns else q.T)).reshape(tensor.shape))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """N(0, std²), with a share `sparsity` of each column zero; of a tensor of two axes."""
    if tensor.ndim != 2:
        raise ValueError(f"tensor: expected 2 axes, got shape {tensor.shape}")
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity: expected 0 to 1, got {sparsity}")
    rng = rng_of(generator)
    values = rng.normal(0, std, tensor.shape)
    for column in values.T:
        column[rng.permutation(len(column))[: math.ceil(sparsity * len(column))]] = 0
    return _fill(tensor, values)
