"""The activations: FORWARD[name] gives y from z, DERIVATIVE[name] gives dy/dz from y or z, whichever the contract says
is saved; both with the parameters a and b, in the contract's order, or 0.

kernels/reference/activations.py says what they mean, for inf and NaN too; formulas as in cython_cpu/c/activations.h.
They work on numbers and on vectors of them.
"""

from __future__ import annotations

from typing import Any

from .functions import (
    at_least,
    at_most,
    exp_nonpos,
    expm1_between,
    formula,
    log1p_near_0,
    reduced,
    tanh,
)
from .numbers import absolute, choose, constant, fma, plain, polynomial, with_sign_of

# ------------------------------------------------------------------------------------------- what they are made of


@formula
def one_if(condition, like):
    return choose(condition, plain(1, like), 0)


@formula
def or_nan(value, like):
    """value, but NaN where `like` is"""
    return choose(like == like, value, like)


@formula
def within(y, low, high, slope):
    """slope where low < y < high, else 0"""
    return or_nan(choose((y > low) & (y < high), plain(slope, y), 0), y)


@formula
def expm1_left(x):
    """e^x - 1 for x <= 0"""
    return expm1_between(at_least(x, constant("EXPM1_LOW", x)))


@formula
def product_error(a, b, p):
    """What p lacks of a b"""
    return fma(a, b, -p)


@formula
def sigmoid(x):
    """1 / (1 + e^-x), above and below divided by EXP_UNIT: e^-x may be larger than any number"""
    c = at_most(at_least(x, constant("EXP_LOW", x)), constant("SATURATED", x))
    r, power = reduced(-c, -constant("EXP_SHIFT", x))
    e = fma(fma(polynomial("EXP", r), r, 1), r, 1)
    small = 1 / constant("EXP_UNIT", x)
    return small / fma(e, power, small)


@formula
def times_sigmoid(z, x, x_low):
    """z / (1 + e^-(x + x_low)) for a tiny x_low and EXP_LOW <= x <= SATURATED. At EXP_LOW, or a little below, z · 0.

    Where e^-x might overflow, z and e^-x are divided by EXP_UNIT; beside e^-x, the 1 is nothing there.
    """
    low, shift = constant("EXP_LOW", x), constant("EXP_SHIFT", x)
    left = x < 0.5 * low
    unit = choose(x <= low, 0, choose(left, 1 / constant("EXP_UNIT", x), 1))
    r, power = reduced(-x, choose(left, -shift, 0))
    r = r - x_low
    e = fma(fma(polynomial("EXP", r), r, 1), r, 1)
    return z * unit / fma(e, power, 1)


@formula
def cdf_factor(u):
    """Φ(-a) = e^(-a²/2) cdf_factor(u) / (a + CDF_K), where u = a / (a + CDF_K) and a >= 0"""
    return polynomial("CDF", u - constant("CDF_CENTER", u))


# ------------------------------------------------------------------------------------------------ derivative from y


@formula
def identity_forward(z, a, b):
    return z


@formula
def identity_derivative(y, a, b):
    return plain(1, y)


@formula
def relu_forward(z, a, b):
    return choose(z <= 0, 0, z)  # -0 gives +0


@formula
def relu_derivative(y, a, b):
    return choose(y > 0, 1, at_least(y, 0))


@formula
def leaky_relu_forward(z, a, b):
    return choose(z > 0, z, a * z)


@formula
def leaky_relu_derivative(y, a, b):
    return choose(y > 0, 1, choose(y <= 0, a, y))


@formula
def relu6_forward(z, a, b):
    return choose(z <= 0, 0, at_most(z, 6))


@formula
def relu6_derivative(y, a, b):
    return choose(y > 0, one_if(y < 6, y), at_least(y, 0))


@formula
def sigmoid_forward(z, a, b):
    return sigmoid(z)


@formula
def sigmoid_derivative(y, a, b):
    return y * (1 - y)


@formula
def tanh_forward(z, a, b):
    return tanh(z)


@formula
def tanh_derivative(y, a, b):
    return (1 - y) * (1 + y)


@formula
def elu_forward(z, a, b):
    return choose(z < 0, a * expm1_left(z), z)


@formula
def elu_derivative(y, a, b):
    return choose(y > 0, 1, y + a)


@formula
def selu_forward(z, a, b):
    return choose(z < 0, constant("SELU_SCALE_ALPHA", z) * expm1_left(z), constant("SELU_SCALE", z) * z)


@formula
def selu_derivative(y, a, b):
    return choose(y > 0, constant("SELU_SCALE", y), y + constant("SELU_SCALE_ALPHA", y))


@formula
def softsign_forward(z, a, b):
    return z / (1 + absolute(z))


@formula
def softsign_derivative(y, a, b):
    d = 1 - absolute(y)
    return d * d


@formula
def celu_forward(z, a, b):
    return choose(z < 0, a * expm1_left(z / a), z)


@formula
def celu_derivative(y, a, b):
    return choose(y > 0, 1, y / a + 1)


@formula
def logsigmoid_forward(z, a, b):
    """-softplus(-z), which keeps its relative accuracy on either side"""
    return at_most(z, 0) - log1p_near_0(exp_nonpos(-absolute(z)))


@formula
def logsigmoid_derivative(y, a, b):
    return -expm1_left(at_most(y, 0))


@formula
def hardsigmoid_forward(z, a, b):
    return at_most(at_least(z + 3, 0), 6) / 6


@formula
def hardsigmoid_derivative(y, a, b):
    return within(y, 0, 1, 1 / 6)


@formula
def hardtanh_forward(z, a, b):
    return at_most(at_least(z, a), b)


@formula
def hardtanh_derivative(y, a, b):
    return within(y, a, b, 1)


@formula
def nonzero(y):
    return or_nan(choose(y == 0, 0, plain(1, y)), y)


@formula
def hardshrink_forward(z, a, b):
    return choose(absolute(z) <= a, 0, z)


@formula
def hardshrink_derivative(y, a, b):
    return nonzero(y)


@formula
def softshrink_forward(z, a, b):
    return choose(absolute(z) <= a, 0, z - with_sign_of(a, z))


@formula
def softshrink_derivative(y, a, b):
    return nonzero(y)


# ------------------------------------------------------------------------------------------------ derivative from z


@formula
def gelu_forward(z, a, b):
    """max(z, 0) - |z| Φ(-|z|). The square is in two parts, or exp would magnify its rounding. `distance` is |z|, cut
    off on the right only: y is inf for inf, but NaN for -inf."""
    end, k = constant("CDF_END", z), constant("CDF_K", z)
    distance = absolute(at_most(z, end))
    c = at_most(distance, end)
    c2 = c * c
    u = distance / (distance + k)
    # u e^(-(c2 + low) / 2), rounded once; e^r = 1 + r + r² P(r)
    r, power = reduced(-0.5 * c2, constant("EXP_SHIFT", z))
    r = fma(-0.5, product_error(c, c, c2), r)
    scaled = u * power
    tail = fma(scaled * r, fma(polynomial("EXP", r), r, 1), scaled) * (cdf_factor(u) * (1 / constant("EXP_UNIT", z)))
    return at_least(z, -0.0) - tail


@formula
def gelu_derivative(z, a, b):
    """Φ(z) + z φ(z)"""
    c = at_most(absolute(z), constant("CDF_END", z))
    e = exp_nonpos(c * c * -0.5)
    w = 1 / (c + constant("CDF_K", z))
    tail = e * w * cdf_factor(c * w)
    return fma(z, e * constant("PDF_0", z), choose(z > 0, 1 - tail, tail))


@formula
def gelu_tanh_forward(z, a, b):
    """z sigmoid(w): w = (A + B z²) z is in two parts, for the same reason as in gelu"""
    c = at_most(at_least(z, -constant("GELU_TANH_END", z)), constant("GELU_TANH_SATURATED", z))
    slope, high = constant("GELU_TANH_B", z), constant("GELU_TANH_A_HI", z)
    c2 = c * c
    f = fma(c2, slope, high)
    low = product_error(c2, slope, f - high) + constant("GELU_TANH_A_LO", z)
    low = fma(product_error(c, c, c2), slope, fma(c2, constant("GELU_TANH_B_LO", z), low))
    w = c * f
    return times_sigmoid(z, w, fma(c, low, product_error(c, f, w)))


@formula
def gelu_tanh_derivative(z, a, b):
    slope, start = constant("GELU_TANH_B", z), constant("GELU_TANH_A", z)
    c = at_most(absolute(z), constant("GELU_TANH_END", z))
    c2 = c * c
    e = exp_nonpos(-c * fma(c2, slope, start))
    r = 1 / (1 + e)
    er = e * r
    return fma(z * (er * r), fma(c2, 3 * slope, start), choose(z < 0, er, r))


@formula
def silu_forward(z, a, b):
    """z e^z / (1 + e^z)"""
    return times_sigmoid(z, at_most(at_least(z, constant("EXP_LOW", z)), constant("SATURATED", z)), 0)


@formula
def silu_derivative(z, a, b):
    """s + z s (1 - s)"""
    e = exp_nonpos(-absolute(z))
    r = 1 / (1 + e)
    er = e * r
    return fma(z, er * r, choose(z < 0, er, r))


@formula
def softplus_forward(z, a, b):
    t = a * z
    y = (at_least(t, 0) + log1p_near_0(exp_nonpos(-absolute(t)))) * (1 / a)
    return choose(t > b, z, y)


@formula
def softplus_derivative(z, a, b):
    t = a * z
    return choose(t > b, 1, sigmoid(t))


@formula
def mish_forward(z, a, b):
    """z h / (1 + h) with h = e^z + e^2z / 2. For positive z, z - z / (1 + h) is the same and more exact."""
    unit = constant("EXP_UNIT", z)
    c = at_most(z, constant("SATURATED", z))
    r, power = reduced(at_least(c, constant("EXP_LOW", z)), constant("EXP_SHIFT", z))  # e, zh, n: unit times larger
    s = fma(r * r, polynomial("EXP", r), r)
    e = fma(power, s, power)
    half = e * (0.5 / unit)
    zp = c * power
    zh = fma(zp, fma(half, s, half + s), zp)  # zp (1 + s) (1 + half)
    n = choose(z <= 0, zh, c * -unit)
    return at_least(z, -0.0) + n / fma(e, half + 1, unit)


@formula
def mish_derivative(z, a, b):
    """t + z (1 - t²) sigmoid(z), t = tanh(softplus(z)) = n / d, with e = e^-|z|: n = e (e + 2), d = n + 2 on the left;
    on the right both are divided by e^2z. Nothing cancels."""
    left = z < 0
    e = exp_nonpos(-absolute(z))
    e2 = e * e
    n = choose(left, fma(2, e, e2), fma(2, e, 1))
    r = 1 / fma(2, choose(left, 1, e2), n)
    return fma(z, 4 * r * r * (1 + e) * choose(left, e, e2), n * r)


@formula
def hardswish_forward(z, a, b):
    return z * (at_most(at_least(z + 3, 0), 6) / 6)


@formula
def hardswish_derivative(z, a, b):
    inside = fma(z, 1 / 3, 0.5)
    return choose(z <= -3, 0, choose(z >= 3, 1, inside))


@formula
def tanhshrink_forward(z, a, b):
    """Lambert's continued fraction of 1768, z - tanh z = z c / (1 + c) with c = z² / (3 + z² / (5 + ...)), cut off
    after 19, is w - w t N(t) / D(t) for t = z² and w = z t / 3: relative error 2^-62 up to z = 1. From there on it is
    (|z| - 1) + 2 / (e^2|z| + 1). Nothing cancels in either."""
    distance = absolute(z)
    c = at_most(distance, 1)
    t = c * c
    w = c * t / 3
    top = fma(fma(fma(t + 1482, t, 311025), t, 18050175), t, 261891630)
    under = fma(fma(fma(fma(t + 1485, t, 315315), t, 18918900), t, 310134825), t, 654729075)
    near = distance < 1
    end = constant("SATURATED", z)
    q = choose(near, top, 2) / choose(near, under, expm1_between(at_most(2 * distance, end)) + 2)
    return with_sign_of(choose(near, fma(-w, t * q, w), distance - 1 + q), z)


@formula
def tanhshrink_derivative(z, a, b):
    t = tanh(z)
    return t * t


@formula
def threshold_forward(z, a, b):
    return choose(z <= a, b, z)


@formula
def threshold_derivative(z, a, b):
    return or_nan(choose(z <= a, 0, plain(1, z)), z)


def _named(ending: str) -> dict[str, Any]:
    return {name.removesuffix(ending): f for name, f in globals().items() if name.endswith(ending)}


FORWARD, DERIVATIVE = _named("_forward"), _named("_derivative")
