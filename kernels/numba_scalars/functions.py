"""The functions of `math` on numbers, and what each operation does with a derivative.

Formulas as in cython_cpu/c/vmath.h, which says where they come from: no branch, no table, so that a loop over one of
them becomes vectors. NaN gives NaN.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core import types
from numba.extending import overload

from .numbers import (
    Number,
    absolute,
    choose,
    constant,
    cosine,
    dual,
    exponent_field,
    fma,
    parts,
    plain,
    polynomial,
    power,
    real_of,
    round_down,
    round_up,
    sine,
    slope,
    square_root,
    with_sign_of,
)

OPTIONS = {
    "forceinline": True,
    "error_model": "numpy",
    "nogil": True,
    "no_cfunc_wrapper": True,
    "no_cpython_wrapper": True,
}
formula = njit(**OPTIONS)  # everything that is called from a loop becomes a part of it

# ------------------------------------------------------------------------------------------------- formulas


@formula
def at_least(x, low):
    return choose(x < low, low, x)


@formula
def at_most(x, high):
    return choose(x > high, high, x)


@formula
def _reduced(x, shift):
    """r and 2^k with 2^shift e^x = 2^k e^r, |r| <= ln 2 / 2"""
    offset = constant("OFFSET", x) + shift
    rounded = fma(x, constant("LOG2_E", x), offset)
    k = rounded - offset
    r = fma(k, -constant("LN2_LO", x), fma(k, -constant("LN2_HI", x), x))
    return r, exponent_field(rounded)


@formula
def exp(x):
    left, low = x < 0, constant("EXP_LOW", x)
    shift, unit = constant("EXP_SHIFT", x), constant("EXP_UNIT", x)
    r, two_to_k = _reduced(at_most(at_least(x, low), -low), choose(left, shift, -shift))
    near_0 = fma(fma(polynomial("EXP", r), r, 1), r, 1)
    return near_0 * two_to_k * choose(left, 1 / unit, unit)


@formula
def _expm1_between(x):
    """e^x - 1 for EXPM1_LOW <= x <= SATURATED"""
    r, two_to_k = _reduced(x, 0)
    return fma(two_to_k, fma(r * r, polynomial("EXP", r), r), two_to_k - 1)


@formula
def expm1(x):
    end = constant("SATURATED", x)
    between = _expm1_between(at_most(at_least(x, constant("EXPM1_LOW", x)), end))
    return choose(x > end, exp(x), choose(x == 0, x, between))  # -0 stays


@formula
def _log1p_near_0(e):
    """log(1 + e) for -1/2 <= e <= 1. Where it is e, the squares would be subnormal, and slow."""
    s = choose(absolute(e) < constant("TINY", e), 0, e / (2 + e))
    s2 = s * s
    return fma(-s, fma(-s2, polynomial("ATANH", s2), e), e)


@formula
def _log(k, e):
    """log(2^k (1 + e))"""
    return fma(k, constant("LN2_HI", e), fma(k, constant("LN2_LO", e), _log1p_near_0(e)))


@formula
def log(x):
    small = x < constant("REAL_MIN", x)
    k, e = parts(choose(small, x * constant("SUBNORMAL_UNIT", x), x))
    finite = _log(k - choose(small, constant("SUBNORMAL_SHIFT", x), 0), e)
    special = choose(x == 0, -math.inf, choose(x < 0, math.nan, x))  # inf and NaN stay
    return choose((x > 0) & (x < math.inf), finite, special)


@formula
def log1p(x):
    u = 1 + x  # rounded: what is missing is x - (u - 1)
    k, e = parts(at_most(at_least(u, constant("REAL_MIN", x)), constant("REAL_MAX", x)))
    near = k == 0
    missing = choose(near, 0, (x - (u - 1)) / u)
    finite = _log(k, choose(near, x, e)) + missing
    special = choose(x == -1, -math.inf, choose(x < -1, math.nan, x))  # -0, inf and NaN stay
    return choose((x > -1) & (x < math.inf) & (x != 0), finite, special)


@formula
def tanh(x):
    m = _expm1_between(at_most(2 * absolute(x), constant("SATURATED", x)))
    return with_sign_of(m / (m + 2), x)


@formula
def sinh(x):
    a = absolute(x)
    m, half = expm1(at_most(a, 1)), exp(0.5 * a)
    return with_sign_of(choose(a < 1, 0.5 * (m + m / (m + 1)), 0.5 * half * half - 0.5 / half / half), x)


@formula
def cosh(x):
    half = exp(0.5 * absolute(x))
    return 0.5 * half * half + 0.5 / half / half


@formula
def _erf_near_0(x):
    """for |x| <= ERF_NEAR"""
    return fma(x, polynomial("ERF", x * x), x)


@formula
def _erfc_right(x):
    """for x >= 0: 2 Φ(-a) with a = √2 x, Φ as in vmath.h; the square in two parts, or exp would magnify its rounding"""
    x2 = x * x
    e = exp(-x2)
    a, k = x * constant("SQRT_2", x), constant("CDF_K", x)
    u = a / (a + k)
    finite = 2 * fma(-fma(x, x, -x2), e, e) * polynomial("CDF", u - constant("CDF_CENTER", x)) / (a + k)
    return choose(a > constant("CDF_END", x), 0, finite)


@formula
def erf(x):
    a = absolute(x)
    near = _erf_near_0(at_most(a, constant("ERF_NEAR", x)))
    return with_sign_of(choose(a > constant("ERF_NEAR", x), 1 - _erfc_right(a), near), x)


@formula
def erfc(x):
    a = absolute(x)
    right = choose(a > constant("ERF_NEAR", x), _erfc_right(a), 1 - _erf_near_0(at_most(a, constant("ERF_NEAR", x))))
    return choose(x < 0, 2 - right, right)


@formula
def log2(x):
    return log(x) * (1 / math.log(2))


@formula
def log10(x):
    return log(x) * (1 / math.log(10))


@formula
def exp2(x):
    return power(2, x)


@formula
def tan(x):
    return sine(x) / cosine(x)


def _called(function: Any) -> Any:
    """Numba's own, one number at a time."""
    return formula(lambda x: plain(function(real_of(x)), x))


@formula
def sign(x):
    """-1, 0 or 1; NaN stays"""
    return choose(x == 0, x, choose(x == x, with_sign_of(plain(1, x), x), x))


# --------------------------------------------------------------------------------------- for plain and dual numbers


def _is(a: Any, is_dual: bool) -> bool:
    return isinstance(a, Number) and a.dual is is_dual


def _unary(function: Any, value: Any, derivative: Callable[..., Any]) -> None:
    """derivative(x, y): of y = value(x)"""
    rate = formula(derivative)

    @overload(function, jit_options=OPTIONS)
    def chosen(x):
        if _is(x, False):
            return lambda x: value(x)
        if not _is(x, True):
            return None

        def both(x):
            at = plain(x, x)
            y = value(at)
            return dual(y, rate(at, y) * slope(x, x))

        return both


def _binary(functions: tuple[Any, ...], value: Any, by_a: Callable[..., Any], by_b: Callable[..., Any]) -> None:
    """by_a(a, b, y), by_b(a, b, y): the derivatives of y = value(a, b)"""
    rate_a, rate_b = formula(by_a), formula(by_b)

    def chosen(a, b):
        if not all(isinstance(item, (Number, types.Integer, types.Float, types.Boolean)) for item in (a, b)):
            return None
        if _is(a, True) and _is(b, True):

            def both(a, b):
                x, y = plain(a, a), plain(b, a)
                z = value(x, y)
                return dual(z, rate_a(x, y, z) * slope(a, a) + rate_b(x, y, z) * slope(b, b))

            return both
        if _is(a, True):

            def first(a, b):
                x, y = plain(a, a), plain(b, a)
                z = value(x, y)
                return dual(z, rate_a(x, y, z) * slope(a, a))

            return first
        if _is(b, True):

            def second(a, b):
                x, y = plain(a, b), plain(b, b)
                z = value(x, y)
                return dual(z, rate_b(x, y, z) * slope(b, b))

            return second
        return None

    for function in functions:
        overload(function, jit_options=OPTIONS)(chosen)


def _plain_binary(functions: tuple[Any, ...], value: Any) -> None:
    """Where plain numbers have no instruction of their own."""

    def chosen(a, b):
        if _is(a, False) and not _is(b, True) and isinstance(b, (Number, types.Integer, types.Float, types.Boolean)):
            return lambda a, b: value(a, plain(b, a))
        if _is(b, False) and isinstance(a, (types.Integer, types.Float, types.Boolean)):
            return lambda a, b: value(plain(a, b), b)
        return None

    for function in functions:
        overload(function, jit_options=OPTIONS)(chosen)


def _comparison(function: Any) -> None:
    compare = formula(lambda a, b: function(a, b))

    @overload(function, jit_options=OPTIONS)
    def chosen(a, b):
        if _is(a, True) and isinstance(b, (Number, types.Integer, types.Float, types.Boolean)):
            return lambda a, b: compare(plain(a, a), plain(b, a))
        if _is(b, True) and isinstance(a, (Number, types.Integer, types.Float, types.Boolean)):
            return lambda a, b: compare(plain(a, b), plain(b, b))
        return None


def _question(function: Any, value: Any) -> None:
    """A function that gives a bool."""
    answer = formula(value)

    @overload(function, jit_options=OPTIONS)
    def chosen(x):
        return (lambda x: answer(plain(x, x))) if isinstance(x, Number) else None


for function in (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne):
    _comparison(function)

add, subtract = formula(lambda a, b: a + b), formula(lambda a, b: a - b)
multiply, divide = formula(lambda a, b: a * b), formula(lambda a, b: a / b)
larger, smaller = formula(lambda a, b: choose(b > a, b, a)), formula(lambda a, b: choose(b < a, b, a))  # as Python's
sized = formula(lambda a, b: with_sign_of(a, b))
whole_parts = formula(lambda a, b: round_down(a / b))
remainder = formula(lambda a, b: a - b * round_down(a / b))
raised = formula(lambda a, b: power(a, b))

_binary((operator.add, operator.iadd), add, lambda a, b, y: 1, lambda a, b, y: 1)
_binary((operator.sub, operator.isub), subtract, lambda a, b, y: 1, lambda a, b, y: -1)
_binary((operator.mul, operator.imul), multiply, lambda a, b, y: b, lambda a, b, y: a)
_binary((operator.truediv, operator.itruediv), divide, lambda a, b, y: 1 / b, lambda a, b, y: -y / b)
_binary(
    (operator.pow, operator.ipow, math.pow),
    raised,
    lambda a, b, y: choose(b == 0, 0, b * power(a, b - 1)),
    lambda a, b, y: choose(y == 0, 0, y * log(a)),
)
_plain_binary((operator.pow, operator.ipow, math.pow), raised)
_binary((max,), larger, lambda a, b, y: choose(b > a, 0, plain(1, y)), lambda a, b, y: choose(b > a, plain(1, y), 0))
_binary((operator.floordiv, operator.ifloordiv), whole_parts, lambda a, b, y: 0, lambda a, b, y: 0)
_plain_binary((operator.floordiv, operator.ifloordiv), whole_parts)
_binary((operator.mod, operator.imod), remainder, lambda a, b, y: 1, lambda a, b, y: -whole_parts(a, b))
_plain_binary((operator.mod, operator.imod), remainder)
_plain_binary((max,), larger)
_binary((min,), smaller, lambda a, b, y: choose(b < a, 0, plain(1, y)), lambda a, b, y: choose(b < a, plain(1, y), 0))
_plain_binary((min,), smaller)
_binary((math.copysign,), sized, lambda a, b, y: sign(a) * sign(y), lambda a, b, y: 0)
_plain_binary((math.copysign,), sized)

_unary(operator.neg, formula(lambda x: -x), lambda x, y: -1)
_unary(operator.pos, formula(lambda x: x), lambda x, y: 1)
_unary(abs, formula(lambda x: absolute(x)), lambda x, y: sign(x))
_unary(math.fabs, formula(lambda x: absolute(x)), lambda x, y: sign(x))
_unary(float, formula(lambda x: x), lambda x, y: 1)
_unary(math.exp, exp, lambda x, y: y)
_unary(math.exp2, exp2, lambda x, y: y * math.log(2))
_unary(math.expm1, expm1, lambda x, y: exp(x))
_unary(math.log, log, lambda x, y: 1 / x)
_unary(math.log1p, log1p, lambda x, y: 1 / (1 + x))
_unary(math.log2, log2, lambda x, y: (1 / math.log(2)) / x)
_unary(math.log10, log10, lambda x, y: (1 / math.log(10)) / x)
_unary(math.sqrt, formula(lambda x: square_root(x)), lambda x, y: 0.5 / y)
_unary(math.tanh, tanh, lambda x, y: (1 - y) * (1 + y))
_unary(math.sinh, sinh, lambda x, y: cosh(x))
_unary(math.cosh, cosh, lambda x, y: sinh(x))
_unary(math.erf, erf, lambda x, y: (2 / math.sqrt(math.pi)) * exp(-x * x))
_unary(math.erfc, erfc, lambda x, y: (-2 / math.sqrt(math.pi)) * exp(-x * x))
_unary(math.sin, formula(lambda x: sine(x)), lambda x, y: cosine(x))
_unary(math.cos, formula(lambda x: cosine(x)), lambda x, y: -sine(x))
_unary(math.tan, tan, lambda x, y: 1 + y * y)
_unary(math.atan, _called(math.atan), lambda x, y: 1 / (1 + x * x))
_unary(math.asin, _called(math.asin), lambda x, y: 1 / square_root(1 - x * x))
_unary(math.acos, _called(math.acos), lambda x, y: -1 / square_root(1 - x * x))
_unary(math.asinh, _called(math.asinh), lambda x, y: 1 / square_root(1 + x * x))
_unary(math.acosh, _called(math.acosh), lambda x, y: 1 / square_root(x * x - 1))
_unary(math.atanh, _called(math.atanh), lambda x, y: 1 / (1 - x * x))
_unary(math.floor, formula(lambda x: round_down(x)), lambda x, y: 0)
_unary(math.ceil, formula(lambda x: round_up(x)), lambda x, y: 0)
_question(math.isnan, lambda x: x != x)
_question(math.isinf, lambda x: absolute(x) == math.inf)
_question(math.isfinite, lambda x: absolute(x) < math.inf)
