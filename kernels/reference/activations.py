"""The activations and their derivatives in NumPy.

`FORWARD[name](z, *params)` gives y; `DERIVATIVE[name](saved, *params)` gives dy/dz from what the contract says
is saved: y or z. Every function keeps the dtype of its argument. ±inf and NaN give what the formula
gives, as in torch: gelu, silu, mish and hardswish of -inf are NaN (-inf · 0). The derivative at NaN is NaN, also
where torch gives 0 or 1.

Sources: ELU, Clevert et al. 2015 · SELU, Klambauer et al. 2017 · GELU, Hendrycks & Gimpel 2016 ·
SiLU, Elfwing et al. 2017 · Mish, Misra 2019 · hardswish, Howard et al. 2019 · CELU, Barron 2017 ·
hardsigmoid, Courbariaux et al. 2015, of torch's slope 1/6 · the shrinkages, Donoho & Johnstone 1994.
"""

import math

import numpy as np

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
GELU_CUBIC = 0.044715

_erfc = np.vectorize(math.erfc, otypes=[np.float64])  # NumPy has no erfc


def normal_cdf(z):
    """Φ(z) = erfc(-z/√2) / 2: keeps its relative accuracy far into the left tail, where 1 + erf cancels."""
    return (0.5 * _erfc(-np.asarray(z, np.float64) / math.sqrt(2))).astype(z.dtype)


def normal_pdf(z):
    return np.exp(-0.5 * z * z) / z.dtype.type(math.sqrt(2 * math.pi))


def sigmoid(z):
    e = np.exp(-np.abs(z))  # never overflows
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def softplus(z, beta=1.0, threshold=20.0):
    t = beta * z
    return np.where(t > threshold, z, (np.maximum(t, 0) + np.log1p(np.exp(-np.abs(t)))) / beta)


def gelu_tanh_argument(z):
    """u with gelu_tanh(z) = z · sigmoid(2u), the same as z/2 · (1 + tanh(u))."""
    return SQRT_2_OVER_PI * (z + GELU_CUBIC * z**3)


def gelu_tanh_derivative(z):
    """s + z s' with s = sigmoid(2u), s' = 2u' sigmoid(2u) sigmoid(-2u); 1 - s would cancel."""
    c = np.clip(z, -1e3, 1e3)  # s is 0 or 1 long before, and z³ cannot overflow
    u = gelu_tanh_argument(c)
    slope = 2 * SQRT_2_OVER_PI * (1 + 3 * GELU_CUBIC * c * c)
    return sigmoid(2 * u) + z * (sigmoid(2 * u) * sigmoid(-2 * u) * slope)


def silu_derivative(z):
    return sigmoid(z) * (1 + z * sigmoid(-z))


def mish_derivative(z):
    """t + z t' with t = tanh(softplus(z)), t' = (1 - t²) sigmoid(z) = sigmoid(z) / cosh²(softplus(z))"""
    return np.tanh(softplus(z)) + z * sigmoid(z) / np.cosh(softplus(z)) ** 2


def elu(z, alpha=1.0):
    return np.where(z > 0, z, alpha * np.expm1(np.where(z > 0, 0, z)))


def tanhshrink(z):
    """z - tanh(z). Below 1, where that cancels: z c / (1 + c) by Lambert's continued fraction of 1768,
    tanh(z) = z / (1 + c), c = z² / (3 + z² / (5 + ...)), here to 19."""
    t, c = np.minimum(np.abs(z), 1) ** 2, 0
    for odd in range(19, 1, -2):
        c = t / (odd + c)
    return np.where(np.abs(z) < 1, z * c / (1 + c), z - np.tanh(z))


def hardtanh(z, min_val, max_val):
    return np.where(z < min_val, min_val, np.where(z > max_val, max_val, z))


def softshrink(z, lambd):
    return np.where(z > lambd, z - lambd, where(z < -lambd, z + lambd, 0, z))


def where(condition, then, otherwise, like):
    """np.where that keeps the dtype of `like` and lets its NaNs through."""
    return np.where(np.isnan(like), like, np.where(condition, then, otherwise)).astype(like.dtype)


FORWARD = {
    "identity": lambda z: z,
    "relu": lambda z: np.where(z <= 0, 0, z),  # relu(-0) is +0, whatever np.maximum makes of it
    "leaky_relu": lambda z, slope: np.where(z > 0, z, slope * z),
    "relu6": lambda z: np.where(z <= 0, 0, np.minimum(z, 6)),
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "elu": elu,
    "selu": lambda z: SELU_SCALE * elu(z, SELU_ALPHA),
    "softsign": lambda z: z / (1 + np.abs(z)),
    "gelu": lambda z: z * normal_cdf(z),
    "gelu_tanh": lambda z: z * sigmoid(2 * gelu_tanh_argument(z)),
    "silu": lambda z: z * sigmoid(z),
    "softplus": softplus,
    "mish": lambda z: z * np.tanh(softplus(z)),
    "hardswish": lambda z: z * (np.minimum(np.maximum(z + 3, 0), 6) / 6),
    "logsigmoid": lambda z: np.minimum(z, 0) - np.log1p(np.exp(-np.abs(z))),
    "celu": lambda z, alpha: np.where(z > 0, z, alpha * np.expm1(np.where(z > 0, 0, z / alpha))),
    "tanhshrink": tanhshrink,
    "hardsigmoid": lambda z: np.minimum(np.maximum(z + 3, 0), 6) / 6,
    "hardtanh": hardtanh,
    "hardshrink": lambda z, lambd: np.where(np.abs(z) <= lambd, 0, z),
    "softshrink": softshrink,
    "threshold": lambda z, threshold, value: np.where(z <= threshold, value, z),
}

# from y, where the line does not say z
DERIVATIVE = {
    "identity": lambda y: np.ones_like(y),
    "relu": lambda y: where(y > 0, 1, 0, y),
    "leaky_relu": lambda y, slope: where(y > 0, 1, slope, y),
    "relu6": lambda y: where((y > 0) & (y < 6), 1, 0, y),
    "sigmoid": lambda y: y * (1 - y),
    "tanh": lambda y: (1 - y) * (1 + y),
    "elu": lambda y, alpha: where(y > 0, 1, y + alpha, y),
    "selu": lambda y: where(y > 0, SELU_SCALE, y + SELU_SCALE * SELU_ALPHA, y),
    "softsign": lambda y: (1 - np.abs(y)) ** 2,
    "gelu": lambda z: normal_cdf(z) + z * normal_pdf(z),
    "gelu_tanh": gelu_tanh_derivative,
    "silu": silu_derivative,
    "softplus": lambda z, beta, threshold: where(beta * z > threshold, 1, sigmoid(beta * z), z),
    "mish": mish_derivative,
    "hardswish": lambda z: where(z <= -3, 0, np.where(z >= 3, 1, z / 3 + 0.5), z),
    "logsigmoid": lambda y: -np.expm1(np.minimum(y, 0)),  # 1 - sigmoid(z)
    "celu": lambda y, alpha: where(y > 0, 1, y / alpha + 1, y),
    "tanhshrink": lambda z: np.tanh(z) ** 2,
    "hardsigmoid": lambda y: where((y > 0) & (y < 1), 1 / 6, 0, y),
    "hardtanh": lambda y, min_val, max_val: where((y > min_val) & (y < max_val), 1, 0, y),
    "hardshrink": lambda y, lambd: where(y == 0, 0, 1, y),
    "softshrink": lambda y, lambd: where(y == 0, 0, 1, y),
    "threshold": lambda z, threshold, value: where(z <= threshold, 0, 1, z),
}


def activation_forward(x, act, params, y):
    forward = FORWARD[act.name] if act.custom is None else act.custom.forward
    with np.errstate(all="ignore"):
        y[...] = forward(x, *params)


def activation_backward(dy, saved, act, params, dx):
    derivative = DERIVATIVE[act.name] if act.custom is None else act.custom.derivative
    with np.errstate(all="ignore"):
        dx[...] = dy * derivative(saved, *params)


def prelu_forward(x, weight, y):
    """PReLU, He et al. 2015: x (rows, channels, inner), weight (channels,) or (1,) -> y as x"""
    with np.errstate(all="ignore"):
        y[...] = np.where(x > 0, x, weight[:, None] * x)


def prelu_backward(dy, x, weight, dx, dweight):
    """dy, x (rows, channels, inner), weight (channels,) or (1,) -> dx as x, dweight as weight; or None"""
    with np.errstate(all="ignore"):
        if dx is not None:
            dx[...] = np.where(x > 0, dy, weight[:, None] * dy)
        if dweight is not None:
            terms = np.where(x > 0, 0, dy * x)
            dweight[...] = terms.sum(axis=(0, 2)) if len(dweight) == x.shape[1] else terms.sum()
