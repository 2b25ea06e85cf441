"""The losses of single elements: ELEMENTWISE[name] gives (loss, slope) of input x and target t, the slope by x. p is
the loss's parameter, beta or delta, and `positive` the weight of t in bce_with_logits; the others take no notice.

kernels/reference/losses.py says what they mean, for inf and NaN too; formulas as in cython_cpu/c/elementwise_losses.h.
They work on numbers and on vectors of them.
"""

from __future__ import annotations

from typing import Any

from .functions import at_least, at_most, exp, exp_nonpos, formula, log, log1p_near_0
from .numbers import absolute, choose, constant, fma, parts, plain, with_sign_of


@formula
def sign_or(d, otherwise):
    """-1 or 1, but `otherwise` for 0 and NaN"""
    return choose(absolute(d) > 0, with_sign_of(plain(1, d), d), otherwise)


@formula
def log1m(x):
    """log(1 - x) for 0 <= x <= 1, or NaN: below 1/2, where 1 - x would be rounded, from x itself"""
    near = x < 0.5
    k, e = parts(1 - x)
    k, e = choose(near, 0, k), choose(near, -x, e)
    finite = fma(k, constant("LN2_HI", x), fma(k, constant("LN2_LO", x), log1p_near_0(e)))
    return choose(x < 1, finite, -float("inf")) + 0 * x


@formula
def mse_loss(x, t, p, positive):
    d = x - t
    return d * d, 2 * d


@formula
def l1_loss(x, t, p, positive):
    d = x - t
    return absolute(d), sign_or(d, 0)


@formula
def smooth_l1_loss(x, t, p, positive):
    """p may be 0"""
    d = x - t
    z, q = absolute(d), d / p
    near = z < p
    return choose(near, 0.5 * q * d, z - 0.5 * p), choose(near, q, sign_or(d, d))


@formula
def huber_loss(x, t, p, positive):
    d = x - t
    z = absolute(d)
    return choose(z < p, 0.5 * d * d, p * (z - 0.5 * p)), at_most(at_least(d, -p), p)


@formula
def bce_loss(x, t, p, positive):
    loss = -(t * at_least(log(x), -100) + (1 - t) * at_least(log1m(x), -100))
    return loss, (x - t) / at_least((1 - x) * x, 1e-12)


@formula
def bce_with_logits_loss(x, t, p, positive):
    """Nothing cancels, since all the terms have one sign."""
    e = exp_nonpos(-absolute(x))
    off, on = 1 - t, positive * t
    right = x >= 0
    loss = off * at_least(x, 0) + on * at_least(-x, 0) + (off + on) * log1p_near_0(e)
    return loss, (off * choose(right, 1, e) - on * choose(right, e, 1)) / (1 + e)


@formula
def kl_div_loss(x, t, p, positive):
    return choose(t == 0, 0, t * log(t)) - t * x, -t


@formula
def kl_div_log_target_loss(x, t, p, positive):
    q = exp(t)
    return q * (t - x), -q


ELEMENTWISE: dict[str, Any] = {
    name.removesuffix("_loss"): f for name, f in list(globals().items()) if name.endswith("_loss")
}
