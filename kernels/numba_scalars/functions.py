"""The functions of `math` and their equals of NumPy, on numbers, and what each operation does with a derivative.

Formulas as in cython_cpu/c/vmath.h, which says where they come from: no branch, no table, so that a loop over one of
them becomes vectors. NaN gives NaN.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numba.extending import overload

from .numbers import (
    PYTHON,
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
    remainder_to_0,
    round_down,
    round_to_0,
    round_to_even,
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
def reduced(x, shift):
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
    r, two_to_k = reduced(at_most(at_least(x, low), -low), choose(left, shift, -shift))
    near_0 = fma(fma(polynomial("EXP", r), r, 1), r, 1)
    return near_0 * two_to_k * choose(left, 1 / unit, unit)


@formula
def exp_up(x):
    """2^EXP_SHIFT e^x for x <= SATURATED; 0 from EXP_LOW down. No denormal number: what is still to be multiplied by
    something large has lost nothing yet."""
    r, two_to_k = reduced(at_least(x, constant("EXP_LOW", x)), constant("EXP_SHIFT", x))
    return fma(fma(polynomial("EXP", r), r, 1), r, 1) * two_to_k


@formula
def exp_nonpos(x):
    """e^x for x <= 0"""
    return exp_up(x) * (1 / constant("EXP_UNIT", x))


@formula
def expm1_between(x):
    """e^x - 1 for EXPM1_LOW <= x <= SATURATED"""
    r, two_to_k = reduced(x, 0)
    return fma(two_to_k, fma(r * r, polynomial("EXP", r), r), two_to_k - 1)


@formula
def expm1(x):
    end = constant("SATURATED", x)
    between = expm1_between(at_most(at_least(x, constant("EXPM1_LOW", x)), end))
    return choose(x > end, exp(x), choose(x == 0, x, between))  # -0 stays


@formula
def log1p_near_0(e):
    """log(1 + e) for -1/2 <= e <= 1. Where it is e, the squares would be subnormal, and slow."""
    s = choose(absolute(e) < constant("TINY", e), 0, e / (2 + e))
    s2 = s * s
    return fma(-s, fma(-s2, polynomial("ATANH", s2), e), e)


@formula
def _log(k, e):
    """log(2^k (1 + e))"""
    return fma(k, constant("LN2_HI", e), fma(k, constant("LN2_LO", e), log1p_near_0(e)))


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
    m = expm1_between(at_most(2 * absolute(x), constant("SATURATED", x)))
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
def remainder(a, b):
    """Python's: of the sign of b"""
    rest = remainder_to_0(a, b)
    return choose(rest == 0, with_sign_of(rest, b), choose((rest < 0) != (b < 0), rest + b, rest))


@formula
def whole_parts(a, b):
    """Python's //"""
    rest = remainder_to_0(a, b)
    whole = (a - rest) / b - choose((rest != 0) & ((rest < 0) != (b < 0)), plain(1, a), 0)
    near = round_down(whole)
    return choose(whole - near > 0.5, near + 1, near)


@formula
def sign(x):
    """-1, 0 or 1; NaN stays"""
    return choose(x == 0, x, choose(x == x, with_sign_of(plain(1, x), x), x))


# --------------------------------------------------------------------------------------- for plain and dual numbers

#: what an operand may be beside a number
OPERANDS = (Number, *PYTHON)


def _overload(functions: tuple[Any, ...], chosen: Any) -> None:
    """chosen: types of arguments -> what is compiled for them, or None"""
    for function in functions:
        overload(function, jit_options=OPTIONS)(chosen)


def _is(a: Any, is_dual: bool) -> bool:
    return isinstance(a, Number) and a.dual is is_dual


@formula
def share(rate, slope):
    """rate · slope, where 0 · inf is 0: what has stopped to depend on something does not care how fast that changes, as
    1 / (1 + exp(-x)) far on the left."""
    return choose((rate == 0) | (slope == 0), 0, rate * slope)


def _unary(functions: tuple[Any, ...], value: Any, derivative: Callable[..., Any]) -> None:
    """derivative(x, y): of y = value(x)"""
    rate = formula(derivative)

    def chosen(x):
        if _is(x, False):
            return lambda x: value(x)
        if not _is(x, True):
            return None

        def both(x):
            at = plain(x, x)
            y = value(at)
            return dual(y, share(plain(rate(at, y), at), slope(x, x)))

        return both

    _overload(functions, chosen)


def _binary(
    functions: tuple[Any, ...],
    value: Any,
    by_a: Callable[..., Any],
    by_b: Callable[..., Any],
    has_instruction: bool = False,
) -> None:
    """by_a(a, b, y), by_b(a, b, y): the derivatives of y = value(a, b). has_instruction: for plain ones, numbers.py"""
    rate_a, rate_b = formula(by_a), formula(by_b)

    def chosen(a, b):
        if not all(isinstance(item, OPERANDS) for item in (a, b)):
            return None
        if _is(a, True) and _is(b, True):

            def both(a, b):
                x, y = plain(a, a), plain(b, a)
                z = value(x, y)
                of_a, of_b = plain(rate_a(x, y, z), x), plain(rate_b(x, y, z), x)
                return dual(z, share(of_a, slope(a, a)) + share(of_b, slope(b, b)))

            return both
        if _is(a, True):

            def first(a, b):
                x, y = plain(a, a), plain(b, a)
                z = value(x, y)
                return dual(z, share(plain(rate_a(x, y, z), x), slope(a, a)))

            return first
        if _is(b, True):

            def second(a, b):
                x, y = plain(a, b), plain(b, b)
                z = value(x, y)
                return dual(z, share(plain(rate_b(x, y, z), y), slope(b, b)))

            return second
        if has_instruction or not (isinstance(a, Number) or isinstance(b, Number)):
            return None
        if isinstance(a, Number):
            return lambda a, b: value(a, plain(b, a))
        return lambda a, b: value(plain(a, b), b)

    _overload(functions, chosen)


def _comparison(function: Any) -> None:
    compare = formula(lambda a, b: function(a, b))

    @overload(function, jit_options=OPTIONS)
    def chosen(a, b):
        if _is(a, True) and isinstance(b, OPERANDS):
            return lambda a, b: compare(plain(a, a), plain(b, a))
        if _is(b, True) and isinstance(a, OPERANDS):
            return lambda a, b: compare(plain(a, b), plain(b, b))
        return None


def _question(functions: tuple[Any, ...], value: Any) -> None:
    """Functions that give a bool."""
    answer = formula(value)

    def chosen(x):
        return (lambda x: answer(plain(x, x))) if isinstance(x, Number) else None

    _overload(functions, chosen)


def _of_three(function: Any) -> None:
    """max or min"""

    @overload(function, jit_options=OPTIONS)
    def chosen(a, b, c):
        if any(isinstance(item, Number) for item in (a, b, c)) and all(
            isinstance(item, OPERANDS) for item in (a, b, c)
        ):
            return lambda a, b, c: function(function(a, b), c)
        return None


for function in (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne):
    _comparison(function)

add, subtract = formula(lambda a, b: a + b), formula(lambda a, b: a - b)
multiply, divide = formula(lambda a, b: a * b), formula(lambda a, b: a / b)
larger, smaller = formula(lambda a, b: choose(b > a, b, a)), formula(lambda a, b: choose(b < a, b, a))  # as Python's
sized = formula(lambda a, b: with_sign_of(a, b))
raised = formula(lambda a, b: power(a, b))
cut_remainder = formula(lambda a, b: remainder_to_0(a, b))
distance = formula(lambda a, b: square_root(a * a + b * b))
angle = formula(lambda a, b: plain(math.atan2(real_of(a), real_of(b)), a))
cube_root = formula(lambda x: with_sign_of(power(absolute(x), 1 / 3), x))
TO_DEGREES, TO_RADIANS = 180 / math.pi, math.pi / 180

_binary((operator.add, operator.iadd), add, lambda a, b, y: 1, lambda a, b, y: 1, has_instruction=True)
_binary((operator.sub, operator.isub), subtract, lambda a, b, y: 1, lambda a, b, y: -1, has_instruction=True)
_binary((operator.mul, operator.imul), multiply, lambda a, b, y: b, lambda a, b, y: a, has_instruction=True)
_binary(
    (operator.truediv, operator.itruediv), divide, lambda a, b, y: 1 / b, lambda a, b, y: -y / b, has_instruction=True
)
_binary(
    (operator.pow, operator.ipow, pow, math.pow, np.power),
    raised,
    lambda a, b, y: choose(b == 0, 0, b * power(a, b - 1)),
    lambda a, b, y: choose(y == 0, 0, y * log(a)),
)
_binary((operator.floordiv, operator.ifloordiv), whole_parts, lambda a, b, y: 0, lambda a, b, y: 0)
_binary((operator.mod, operator.imod), remainder, lambda a, b, y: 1, lambda a, b, y: -whole_parts(a, b))
_binary((math.fmod, np.fmod), cut_remainder, lambda a, b, y: 1, lambda a, b, y: -round_to_0(a / b))
_binary(
    (max, np.maximum),
    larger,
    lambda a, b, y: choose(b > a, 0, plain(1, y)),
    lambda a, b, y: choose(b > a, plain(1, y), 0),
)
_binary(
    (min, np.minimum),
    smaller,
    lambda a, b, y: choose(b < a, 0, plain(1, y)),
    lambda a, b, y: choose(b < a, plain(1, y), 0),
)
_of_three(max)
_of_three(min)
_binary((math.copysign, np.copysign), sized, lambda a, b, y: sign(a) * sign(y), lambda a, b, y: 0)
_binary((math.hypot, np.hypot), distance, lambda a, b, y: a / y, lambda a, b, y: b / y)
_binary((math.atan2, np.arctan2), angle, lambda a, b, y: b / (a * a + b * b), lambda a, b, y: -a / (a * a + b * b))

_unary((operator.neg,), formula(lambda x: -x), lambda x, y: -1)
_unary((operator.pos,), formula(lambda x: x), lambda x, y: 1)
_unary((abs, math.fabs, np.abs, np.fabs), formula(lambda x: absolute(x)), lambda x, y: sign(x))
_unary((float,), formula(lambda x: x), lambda x, y: 1)
_unary((int, math.trunc, np.trunc), formula(lambda x: round_to_0(x)), lambda x, y: 0)
_unary((round, np.rint), formula(lambda x: round_to_even(x)), lambda x, y: 0)
_unary((math.floor, np.floor), formula(lambda x: round_down(x)), lambda x, y: 0)
_unary((math.ceil, np.ceil), formula(lambda x: round_up(x)), lambda x, y: 0)
_unary((np.sign,), sign, lambda x, y: 0)
_unary((math.exp, np.exp), exp, lambda x, y: y)
_unary((math.exp2, np.exp2), exp2, lambda x, y: y * math.log(2))
_unary((math.expm1, np.expm1), expm1, lambda x, y: exp(x))
_unary((math.log, np.log), log, lambda x, y: 1 / x)
_unary((math.log1p, np.log1p), log1p, lambda x, y: 1 / (1 + x))
_unary((math.log2, np.log2), log2, lambda x, y: (1 / math.log(2)) / x)
_unary((math.log10, np.log10), log10, lambda x, y: (1 / math.log(10)) / x)
_unary((math.sqrt, np.sqrt), formula(lambda x: square_root(x)), lambda x, y: 0.5 / y)
_unary((math.cbrt, np.cbrt), cube_root, lambda x, y: (1 / 3) / (y * y))
_unary((np.square,), formula(lambda x: x * x), lambda x, y: 2 * x)
_unary((math.tanh, np.tanh), tanh, lambda x, y: (1 - y) * (1 + y))
_unary((math.sinh, np.sinh), sinh, lambda x, y: cosh(x))
_unary((math.cosh, np.cosh), cosh, lambda x, y: sinh(x))
_unary((math.erf,), erf, lambda x, y: (2 / math.sqrt(math.pi)) * exp(-x * x))
_unary((math.erfc,), erfc, lambda x, y: (-2 / math.sqrt(math.pi)) * exp(-x * x))
_unary((math.sin, np.sin), formula(lambda x: sine(x)), lambda x, y: cosine(x))
_unary((math.cos, np.cos), formula(lambda x: cosine(x)), lambda x, y: -sine(x))
_unary((math.tan, np.tan), tan, lambda x, y: 1 + y * y)
_unary((math.atan, np.arctan), _called(math.atan), lambda x, y: 1 / (1 + x * x))
_unary((math.asin, np.arcsin), _called(math.asin), lambda x, y: 1 / square_root(1 - x * x))
_unary((math.acos, np.arccos), _called(math.acos), lambda x, y: -1 / square_root(1 - x * x))
_unary((math.asinh, np.arcsinh), _called(math.asinh), lambda x, y: 1 / square_root(1 + x * x))
_unary((math.acosh, np.arccosh), _called(math.acosh), lambda x, y: 1 / square_root(x * x - 1))
_unary((math.atanh, np.arctanh), _called(math.atanh), lambda x, y: 1 / (1 - x * x))
_unary((math.degrees,), formula(lambda x: x * TO_DEGREES), lambda x, y: TO_DEGREES)
_unary((math.radians,), formula(lambda x: x * TO_RADIANS), lambda x, y: TO_RADIANS)
_question((math.isnan, np.isnan), lambda x: x != x)
_question((math.isinf, np.isinf), lambda x: absolute(x) == math.inf)
_question((math.isfinite, np.isfinite), lambda x: absolute(x) < math.inf)
_question((bool,), lambda x: x != 0)
