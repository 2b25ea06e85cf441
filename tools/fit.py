"""Computes every constant of kernels/cython_cpu/c/coefficients.h and of kernels/numba_scalars/coefficients.py, and
writes these files: `python tools/fit.py`.

Each polynomial is fitted here, in 50-digit arithmetic (mpmath), to the function itself, so that the largest
weighted error is nearly as small as its degree allows. The result depends on nothing but this file.

Method: least squares on Chebyshev nodes, whose weights are multiplied by the error until the largest errors
are level (Lawson 1961). The coefficients are rounded one by one, and each time the rest is fitted anew.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mpmath as mp
import numpy as np

mp.mp.dps = 50
KERNELS = Path(__file__).parents[1] / "kernels"
FOR_C, FOR_PYTHON = KERNELS / "cython_cpu/c/coefficients.h", KERNELS / "numba_scalars/coefficients.py"

PRECISION = {32: 24, 64: 53}  # bits of a significand
BIAS = {32: 127, 64: 1023}  # of the exponent
SHIFT = {32: 40, 64: 80}  # v_exp_up gives 2^SHIFT e^x: large enough for z e^z to be normal until it vanishes

LN2 = mp.log(2)
GELU_TANH_A = mp.sqrt(8 / mp.pi)
GELU_TANH_B = mp.mpf("0.044715") * GELU_TANH_A
SELU_SCALE = mp.mpf("1.0507009873554804934193349852946")
SELU_ALPHA = mp.mpf("1.6732632423543772848170429916717")

CDF_K = {32: mp.mpf("2.9375"), 64: mp.mpf("3.5")}  # tried: the errors, rounding included, are small and level
CDF_CENTER = mp.mpf("0.375")
ERF_NEAR = mp.mpf("0.75")  # beyond, 1 - erfc is as exact


def exp_low(bits):
    return -(BIAS[bits] + SHIFT[bits]) * LN2


def cdf_end(bits):
    return mp.sqrt(-2 * exp_low(bits))


@dataclass(frozen=True)
class Fit:
    """A polynomial that approximates f between low and high.

    relative: what turns its error into the relative error of the function that f is a part of. The largest of
    those, times `emphasis`, is what is made small.
    """

    name: str
    formula: str
    f: Callable
    relative: Callable
    low: mp.mpf
    high: mp.mpf
    degree: int
    emphasis: Callable = lambda x: 1


def exp_fit(bits):
    return Fit(
        "EXP",
        "e^r = 1 + r + r^2 P(r)",
        f=lambda r: (mp.expm1(r) - r) / r**2,
        relative=lambda r: r**2 / abs(mp.expm1(r)),
        low=-LN2 / 2,
        high=LN2 / 2,
        degree={32: 4, 64: 9}[bits],
    )


def atanh_fit(bits):
    return Fit(
        "ATANH",
        "2 atanh(s) = 2 s + s^3 P(s^2)",
        f=lambda s2: 2 * (mp.atanh(mp.sqrt(s2)) - mp.sqrt(s2)) / mp.sqrt(s2) ** 3,
        relative=lambda s2: mp.sqrt(s2) ** 3 / (2 * mp.atanh(mp.sqrt(s2))),
        low=mp.mpf(0),
        high=mp.mpf(1) / 9,
        degree={32: 3, 64: 8}[bits],
    )


def cdf_fit(bits):
    def at(t):
        return CDF_K[bits] * (t + CDF_CENTER) / (1 - t - CDF_CENTER)

    def factor(t):
        a = at(t)
        return (a + CDF_K[bits]) * mp.exp(a * a / 2) * mp.erfc(a / mp.sqrt(2)) / 2

    return Fit(
        "CDF",
        "Phi(-a) = e^(-a^2/2) P(u - CDF_CENTER) / (a + CDF_K), u = a / (a + CDF_K)",
        f=factor,
        relative=lambda t: 1 / factor(t),
        low=-CDF_CENTER,
        high=cdf_end(bits) / (cdf_end(bits) + CDF_K[bits]) - CDF_CENTER,
        degree={32: 8, 64: 23}[bits],
        # small a: there the other roundings add up
        emphasis=lambda t: 1 + {32: 6, 64: 3}[bits] * (1 - t - CDF_CENTER) ** 4,
    )


def erf_fit(bits):
    return Fit(
        "ERF",
        "erf(x) = x + x P(x^2)",
        f=lambda x2: mp.erf(mp.sqrt(x2)) / mp.sqrt(x2) - 1,
        relative=lambda x2: mp.sqrt(x2) / mp.erf(mp.sqrt(x2)),
        low=mp.mpf(0),
        high=ERF_NEAR**2,
        degree={32: 5, 64: 11}[bits],
    )


def rounded(x, bits, fewer=0):
    """x to the nearest number with the significand of a float or a double, or with `fewer` bits less."""
    with mp.workprec(PRECISION[bits] - fewer):
        return +mp.mpf(x)


def nodes(fit, count):
    """Chebyshev points of the interval."""
    middle, half = (fit.high + fit.low) / 2, (fit.high - fit.low) / 2
    return [middle + half * mp.cos(mp.pi * (2 * i + 1) / (2 * count)) for i in range(count)]


def solve(fit, bits, rounds=15):
    """-> the coefficients, lowest power first, each a number of the precision asked for."""
    n = fit.degree + 1
    xs = nodes(fit, 4 * n)
    powers = np.array([[x**j for j in range(n)] for x in xs])
    weight = np.array([fit.relative(x) * fit.emphasis(x) for x in xs])
    left = np.array([fit.f(x) for x in xs])  # what the coefficients not yet rounded have to give
    coefficients = []
    for j in range(n):
        columns, lawson = powers[:, j:], np.array([mp.mpf(1)] * len(xs))
        for _ in range(rounds):
            scaled = columns * (lawson * weight**2)[:, None]
            c = np.array(list(mp.lu_solve(mp.matrix(columns.T @ scaled), mp.matrix(scaled.T @ left))))
            lawson = lawson * abs(weight * (columns @ c - left))
            lawson = lawson / sum(lawson)
        coefficients.append(rounded(c[0], bits))
        left = left - coefficients[j] * powers[:, j]
    return coefficients


def largest_error(fit, coefficients):
    """log2 of the largest relative error of the rounded polynomial, on a grid finer than the nodes."""
    errors = (fit.relative(x) * abs(mp.polyval(coefficients[::-1], x) - fit.f(x)) for x in nodes(fit, 1000))
    return mp.log(max(errors), 2)


def in_two(name, what, x, bits, fewer):
    """x as a head that ends in zeros, so that multiplying it by a small number is exact, and the rest."""
    head = rounded(x, bits, fewer)
    return [
        (f"{name}_HI", f"{what}, without its last {fewer} bits", head),
        (f"{name}_LO", "the rest of it", x - head),
    ]


def constants(bits):
    """(name, what it is, value) of every single number."""
    low = exp_low(bits)
    return [
        ("LOG2_E", "1 / ln 2", 1 / LN2),
        *in_two("LN2", "ln 2", LN2, bits, {32: 8, 64: 11}[bits]),
        ("EXP_SHIFT", "v_exp_up gives 2^EXP_SHIFT e^x", SHIFT[bits]),
        ("EXP_UNIT", "2^EXP_SHIFT", mp.mpf(2) ** SHIFT[bits]),
        ("EXP_LOW", "where v_exp_up becomes 0", low),
        ("EXPM1_LOW", "where v_expm1 becomes -1", -BIAS[bits] * LN2),
        ("SATURATED", "from here on sigmoid and tanh are 1", {32: 20, 64: 40}[bits]),
        ("CDF_K", "chosen, see there", CDF_K[bits]),
        ("CDF_CENTER", "likewise", CDF_CENTER),
        ("CDF_END", "where e^(-a^2/2) becomes 0", cdf_end(bits)),
        ("PDF_0", "1 / sqrt(2 pi)", 1 / mp.sqrt(2 * mp.pi)),
        ("GELU_TANH_A", "sqrt(8 / pi)", GELU_TANH_A),
        *in_two("GELU_TANH_A", "the same", GELU_TANH_A, bits, 6),
        ("GELU_TANH_B", "0.044715 sqrt(8 / pi)", GELU_TANH_B),
        ("GELU_TANH_B_LO", "the rest of it", GELU_TANH_B - rounded(GELU_TANH_B, bits)),
        (
            "GELU_TANH_END",
            "A z + B z^3 is a little beyond -EXP_LOW",
            mp.findroot(lambda z: GELU_TANH_A * z + GELU_TANH_B * z**3 + low - 0.1, 10),
        ),
        ("GELU_TANH_SATURATED", "where A z + B z^3 > SATURATED", {32: 5.5, 64: 7.5}[bits]),
        ("SELU_SCALE", "as in the reference", SELU_SCALE),
        ("SELU_SCALE_ALPHA", "SELU_SCALE times its alpha", SELU_SCALE * SELU_ALPHA),
    ]


def python_constants(bits):
    """Those that vec.h or the C library have for C."""
    mantissa = PRECISION[bits] - 1
    largest = (2 - mp.mpf(2) ** -mantissa) * mp.mpf(2) ** BIAS[bits]
    return [
        ("OFFSET", "rounds what it is added to; the last bits are then BIAS", 1.5 * mp.mpf(2) ** mantissa + BIAS[bits]),
        ("REAL_MIN", "the least normal number", mp.mpf(2) ** (1 - BIAS[bits])),
        ("REAL_MAX", "the largest number", largest),
        ("SUBNORMAL_SHIFT", "makes a subnormal number normal", mp.mpf(PRECISION[bits])),
        ("SUBNORMAL_UNIT", "2^SUBNORMAL_SHIFT", mp.mpf(2) ** PRECISION[bits]),
        ("SQRT_2", "square root of 2", mp.sqrt(2)),
        ("TINY", "its square is still normal", mp.mpf(2) ** ((2 - BIAS[bits]) // 2 + 1)),
        ("ERF_NEAR", "beyond, erf is 1 - erfc", ERF_NEAR),
    ]


def literal(x, bits):
    """C's hexadecimal notation of x rounded to a float or a double."""
    mantissa, exponent = float(rounded(x, bits)).hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{int(exponent)}" + ("f" if bits == 32 else "")


def written(bits, solved):
    """C's lines of one precision. Highest power first, as Horner's rule takes them."""
    yield from (f"#define {name:19} {literal(x, bits):24} /* {what} */" for name, what, x in constants(bits))
    for fit, coefficients in solved:
        yield ""
        yield f"/* {fit.formula}: relative error 2^{mp.nstr(largest_error(fit, coefficients), 3)} */"
        yield f"static const real {fit.name}[] = {{"
        yield from (f"    {literal(c, bits)}," for c in reversed(coefficients))
        yield "};"


def in_python(bits, solved):
    """The lines of one precision, as entries of a dictionary."""
    yield f"    {bits}: {{"
    for name, what, x in (*constants(bits), *python_constants(bits)):
        yield f'        "{name}": {float(rounded(x, bits))!r},  # {what}'
    for fit, coefficients in solved:
        error = mp.nstr(largest_error(fit, coefficients), 3)
        yield f'        "{fit.name}": [  # {fit.formula}: relative error 2^{error}'
        yield from (f"            {float(c)!r}," for c in reversed(coefficients))
        yield "        ],"
    yield "    },"


HEAD = """\
/* Written by tools/fit.py; do not edit. */
#ifndef COEFFICIENTS_H
#define COEFFICIENTS_H

#include "vec.h"
"""


PYTHON_HEAD = '''\
"""Written by tools/fit.py; do not edit. Bits of a number -> constants and polynomials, highest power first."""

from typing import Any

COEFFICIENTS: dict[int, dict[str, Any]] = {
'''


def main():
    both = {}
    for bits in (32, 64):
        both[bits] = [(fit, solve(fit, bits)) for fit in (exp_fit(bits), atanh_fit(bits), cdf_fit(bits))]
    singles, doubles = ("\n".join(written(bits, both[bits])) for bits in (32, 64))
    FOR_C.write_text(f"{HEAD}\n#if REAL_BITS == 32\n\n{singles}\n\n#else\n\n{doubles}\n\n#endif\n#endif\n")
    lines = []
    for bits, solved in both.items():
        erf = erf_fit(bits)
        lines += in_python(bits, [*solved, (erf, solve(erf, bits))])
    FOR_PYTHON.write_text(PYTHON_HEAD + "\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
