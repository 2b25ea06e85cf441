"""The optimizers' updates and clipped gradients, all parameters in one call. Arguments as in kernels/contract.py.

The formulas are those of reference/optim.py; what depends on the step alone is worked out once, in double, and bias
corrections are taken from the square root to the numbers beside it: m / (√v / b + eps) = b m / (√v + b eps).

Averages of gradients that have become 0 shrink until they are denormal, and then stay so, since rounding keeps them
from shrinking on. So denormal numbers are 0 here.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from ..numba_scalars.functions import at_least
from ..numba_scalars.numbers import choose, constant, fma, square_root
from .denormals import ARCHITECTURE
from .memory import inner
from .parameters import ALL, NOTHING, ONE, TWO, count_of, update_entry, update_run
from .vectors import in_all

# -------------------------------------------------------------------------------------- what updates have in common


@inner
def decay_of(lr, weight_decay, decoupled, maximize):
    """-> Is there nothing to do? Has the parameter no share in the gradient? The gradient's sign, the parameter's share
    and what is left of the parameter"""
    plain, sign = weight_decay == 0 and not maximize, 1 - 2 * maximize
    if decoupled:
        return plain, True, sign, 0.0, 1 - lr * weight_decay
    return plain, weight_decay == 0, sign, weight_decay, 1.0


@inner
def decayed(param, grad, decay):
    """-> the parameter, shrunk, and ±grad + weight_decay · param"""
    plain, apart, sign, coupled, left = decay
    if plain:
        return param, grad
    param, g = param * left, grad * sign
    return param, g if apart else fma(coupled, param, g)


@inner
def lerp(a, b, weight):
    """a + weight (b - a), from the end that is nearer"""
    return fma(weight, b - a, a) if weight < 0.5 else fma(weight - 1, b - a, b)


@inner
def mean_square(v, g, keep):
    """keep v + (1 - keep) g²"""
    return fma(g * (1 - keep), g, v * keep)


def _estimate(name: str) -> Any:
    """An instruction of AVX-512: the first 14 bits of a function, of 16 float32. It is not asked of other vectors."""

    @intrinsic
    def estimate(typingctx: Any, x: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            value = builder.extract_value(args[0], 0)
            kind, bits = value.type, ir.IntType(16)
            if not _has_estimates(x):
                return args[0]
            function = ir.FunctionType(kind, [kind, kind, bits])
            declared = cgutils.get_or_insert_function(builder.module, function, f"llvm.x86.avx512.{name}.ps.512")
            value = builder.call(declared, [value, ir.Constant(kind, ir.Undefined), bits(-1)])
            return builder.insert_value(args[0], value, 0)

        return x(x), emit

    return estimate


def _has_estimates(vector: Any) -> bool:
    return ARCHITECTURE == "x86_64" and vector.lanes == 16 and vector.real == types.float32


reciprocal_root, reciprocal = _estimate("rsqrt14"), _estimate("rcp14")


@intrinsic
def has_estimates(typingctx: Any, vector: Any) -> Any:
    return types.boolean(vector), lambda context, builder, sig, args: ir.IntType(1)(_has_estimates(vector))


@inner
def over_root(a, v, eps):
    """a / (√v + eps), where v is the least normal number if it is less: no average that was flushed to 0 makes it
    infinite.

    With AVX-512 a root and a quotient occupy a port for 22 cycles. There both begin with estimates, which one step of
    Newton's turns into all 24 bits but the last; these do not know infinity.
    """
    v = at_least(v, constant("REAL_MIN", v))
    finite = v <= constant("REAL_MAX", v)
    if not has_estimates(v) or eps >= 2.0**100 or not in_all(finite):
        return a / (square_root(v) + eps)
    r = reciprocal_root(v)
    near = v * r
    d = fma(near * 0.5, fma(-near, r, 1), near) + eps
    q = reciprocal(d)
    return a * fma(fma(-d, q, 1), q, q)


# ------------------------------------------------------------------------------------------ one update of a vector


@inner
def _sgd_terms(numbers):
    lr, momentum, dampening, weight_decay, nesterov, maximize, first = numbers
    decay = decay_of(lr, weight_decay, 0, maximize)
    return decay, lr, momentum, 1 - dampening, momentum != 0, nesterov != 0, first != 0


@inner
def _sgd_update(p, grad, buffer, unused, unused_too, terms):
    decay, lr, momentum, rate, has_buffer, nesterov, first = terms
    p, g = decayed(p, grad, decay)
    if has_buffer:
        buffer = g if first else fma(momentum, buffer, g * rate)
        g = fma(momentum, buffer, g) if nesterov else buffer
    return fma(-lr, g, p), buffer, unused, unused_too


@inner
def _adam_terms(numbers):
    lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step, amsgrad = numbers
    bias1, root2 = 1 - beta1**step, math.sqrt(1 - beta2**step)
    return decay_of(lr, weight_decay, decoupled, maximize), beta1, beta2, lr / bias1 * root2, eps * root2, amsgrad != 0


@inner
def _adam_update(p, grad, m, v, top, terms):
    decay, beta1, beta2, rate, eps, amsgrad = terms
    p, g = decayed(p, grad, decay)
    m, v = lerp(m, g, 1 - beta1), mean_square(v, g, beta2)
    largest = v
    if amsgrad:
        largest = top = choose(v < top, top, choose(top == top, v, top))  # or a NaN
    return fma(-rate, over_root(m, largest, eps), p), m, v, top


@inner
def _rmsprop_terms(numbers):
    lr, alpha, eps, weight_decay, momentum, maximize, centered = numbers
    return decay_of(lr, weight_decay, 0, maximize), lr, alpha, eps, momentum, momentum != 0, centered != 0


@inner
def _rmsprop_update(p, grad, v, m, buffer, terms):
    decay, lr, alpha, eps, momentum, has_buffer, centered = terms
    p, g = decayed(p, grad, decay)
    v = variance = mean_square(v, g, alpha)
    if centered:
        m = lerp(m, g, 1 - alpha)
        variance = v - m * m
    g = over_root(g, variance, eps)
    if has_buffer:
        g = buffer = fma(momentum, buffer, g)
    return fma(-lr, g, p), v, m, buffer


@inner
def _adagrad_terms(numbers):
    lr, lr_decay, weight_decay, eps, maximize, step = numbers
    return decay_of(lr, weight_decay, 0, maximize), lr / (1 + (step - 1) * lr_decay), eps


@inner
def _adagrad_update(p, grad, v, unused, unused_too, terms):
    decay, rate, eps = terms
    p, g = decayed(p, grad, decay)
    v = fma(g, g, v)
    return fma(-rate, over_root(g, v, eps), p), v, unused, unused_too


@inner
def _adadelta_terms(numbers):
    lr, rho, eps, weight_decay, maximize = numbers
    return decay_of(lr, weight_decay, 0, maximize), lr, rho, eps


@inner
def _adadelta_update(p, grad, v, d, unused, terms):
    decay, lr, rho, eps = terms
    p, g = decayed(p, grad, decay)
    v = mean_square(v, g, rho)
    delta = square_root(d + eps) / square_root(v + eps) * g
    return fma(-lr, delta, p), v, mean_square(d, delta, rho), unused


@inner
def _nadam_terms(numbers):
    lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step, mu, mu_next, mu_product = numbers
    root2 = math.sqrt(1 - beta2**step)
    now, average = (1 - mu) / (1 - mu_product), mu_next / (1 - mu_product * mu_next)
    decay = decay_of(lr, weight_decay, decoupled, maximize)
    return decay, beta1, beta2, lr * now * root2, lr * average * root2, eps * root2


@inner
def _nadam_update(p, grad, m, v, unused, terms):
    decay, beta1, beta2, now, average, eps = terms
    p, g = decayed(p, grad, decay)
    m, v = lerp(m, g, 1 - beta1), mean_square(v, g, beta2)
    return p - over_root(fma(g, now, m * average), v, eps), m, v, unused


@inner
def _radam_terms(numbers):
    """The length of the average's window is rho; up to 5 its variance is not to be had."""
    lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step = numbers
    power2 = beta2**step
    rate, bias2, longest = lr / (1 - beta1**step), 1 - power2, 2 / (1 - beta2) - 1
    rho = longest - 2 * step * power2 / bias2
    if rho > 5:
        rate *= math.sqrt(bias2 * (rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho))
    return decay_of(lr, weight_decay, decoupled, maximize), beta1, beta2, rate, eps, rho > 5


@inner
def _radam_update(p, grad, m, v, unused, terms):
    decay, beta1, beta2, rate, eps, rectified = terms
    p, g = decayed(p, grad, decay)
    m, v = lerp(m, g, 1 - beta1), mean_square(v, g, beta2)
    return fma(-rate, over_root(m, v, eps) if rectified else m, p), m, v, unused


_sgd = update_entry(update_run(_sgd_update, NOTHING, ONE), _sgd_terms, 7, "sgd")
_adam = update_entry(update_run(_adam_update, TWO, ALL), _adam_terms, 9, "adam")
_rmsprop = update_entry(update_run(_rmsprop_update, ONE, (True, None, None)), _rmsprop_terms, 7, "rmsprop")
_adagrad = update_entry(update_run(_adagrad_update, ONE), _adagrad_terms, 6, "adagrad")
_adadelta = update_entry(update_run(_adadelta_update, TWO), _adadelta_terms, 5, "adadelta")
_nadam = update_entry(update_run(_nadam_update, TWO), _nadam_terms, 11, "nadam")
_radam = update_entry(update_run(_radam_update, TWO), _radam_terms, 8, "radam")


def sgd(grads, lr, momentum, dampening, weight_decay, nesterov, maximize, first, params, momentum_buffers):
    if params:
        numbers = lr, momentum, dampening, weight_decay, nesterov, maximize, first
        _sgd[params[0].itemsize](params, grads, momentum_buffers, None, None, numbers)


def adam(
    grads, lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, step,
    params, exp_avgs, exp_avg_sqs, max_exp_avg_sqs,
):  # fmt: skip
    if params:
        amsgrad = max_exp_avg_sqs is not None
        numbers = lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, count_of(step), amsgrad
        _adam[params[0].itemsize](params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, numbers)


def rmsprop(grads, lr, alpha, eps, weight_decay, momentum, maximize, params, square_avgs, grad_avgs, momentum_buffers):
    if params:
        numbers = lr, alpha, eps, weight_decay, momentum, maximize, grad_avgs is not None
        _rmsprop[params[0].itemsize](params, grads, square_avgs, grad_avgs, momentum_buffers, numbers)


def adagrad(grads, lr, lr_decay, weight_decay, eps, maximize, step, params, state_sums):
    if params:
        numbers = lr, lr_decay, weight_decay, eps, maximize, count_of(step)
        _adagrad[params[0].itemsize](params, grads, state_sums, None, None, numbers)


def adadelta(grads, lr, rho, eps, weight_decay, maximize, params, square_avgs, acc_deltas):
    if params:
        numbers = lr, rho, eps, weight_decay, maximize
        _adadelta[params[0].itemsize](params, grads, square_avgs, acc_deltas, None, numbers)


def nadam(
    grads, lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, step, mu, mu_next, mu_product,
    params, exp_avgs, exp_avg_sqs,
):  # fmt: skip
    if params:
        numbers = (
            lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, count_of(step),
            mu, mu_next, mu_product,
        )  # fmt: skip
        _nadam[params[0].itemsize](params, grads, exp_avgs, exp_avg_sqs, None, numbers)


def radam(
    grads, lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, step, params, exp_avgs, exp_avg_sqs
):
    if params:
        numbers = lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, count_of(step)
        _radam[params[0].itemsize](params, grads, exp_avgs, exp_avg_sqs, None, numbers)
