/* exp, expm1, log(1 + e^x), sigmoid, tanh and the normal distribution's tail, on vectors.
 *
 * No branch, no table, one division at most. NaN gives NaN. The constants come from tools/fit.py. */
#ifndef VMATH_H
#define VMATH_H

#include "coefficients.h"
#include "vec.h"

/* c[0] x^(n-1) + ... + c[n-1] */
INLINE vec v_horner(vec x, const real *c, int n) {
    vec sum = v_set(c[0]);
#pragma GCC unroll 32
    for (int i = 1; i < n; i++) sum = v_fma(sum, x, v_set(c[i]));
    return sum;
}
#define POLYNOMIAL(c, x) v_horner(x, c, sizeof(c) / sizeof(real))

/* ---------------------------------------------------------------------------------------------- exponential
 * e^x = 2^k e^r with whole k and |r| <= ln2/2. ln2 is in two parts, the first so short that k * LN2_HI is exact
 * (Cody & Waite 1980). Adding 1.5 * 2^MANTISSA rounds to a whole number and leaves it in the low bits. With BIAS added as
 * well these are the exponent of 2^k, and a shift takes them there; an exponent of 0 makes it the number 0. */
typedef struct { vec r, power; } reduced; /* e^r * power */

/* 2^shift e^x for 0 <= x / ln2 + shift + BIAS <= 2 BIAS, with offset = OFFSET(shift) */
INLINE reduced v_reduce(vec x, vec offset) {
    vec rounded = v_fma(x, v_set(LOG2_E), offset), k = rounded - offset;
    vec r = v_fma(k, v_set(-LN2_LO), v_fma(k, v_set(-LN2_HI), x));
    return (reduced){r, (vec)((veci)rounded << MANTISSA)};
}
#define OFFSET(shift) v_set(ROUND_MAGIC + BIAS + (shift))

/* e^r and e^r - 1 for |r| <= ln2/2 */
INLINE vec v_exp_near_0(vec r) { return v_fma(v_fma(POLYNOMIAL(EXP, r), r, v_set(1)), r, v_set(1)); }
INLINE vec v_expm1_near_0(vec r) { return v_fma(r * r, POLYNOMIAL(EXP, r), r); }

/* EXP_UNIT * e^x for x <= SATURATED; 0 from EXP_LOW down.
 *
 * EXP_UNIT is so large that this is never a denormal number: z e^z must not be, long after e^z alone has become one. */
INLINE vec v_exp_up(vec x) {
    reduced e = v_reduce(v_max(v_set(EXP_LOW), x), OFFSET(EXP_SHIFT));
    return v_exp_near_0(e.r) * e.power;
}

/* e^x for x <= 0 */
INLINE vec v_exp_nonpos(vec x) { return v_exp_up(x) * (1 / EXP_UNIT); }

/* e^x; from -EXP_LOW up it is inf, long after it ought to be */
INLINE vec v_exp(vec x) {
    vmask left = v_lt(x, v_set(0));
    vec c = v_min(v_set(-EXP_LOW), v_max(v_set(EXP_LOW), x));
    reduced e = v_reduce(c, v_sel(left, OFFSET(EXP_SHIFT), OFFSET(-EXP_SHIFT)));
    return v_exp_near_0(e.r) * e.power * v_sel(left, v_set(1 / EXP_UNIT), v_set(EXP_UNIT));
}

/* e^x - 1 for EXPM1_LOW <= x <= SATURATED */
INLINE vec v_expm1(vec x) {
    reduced e = v_reduce(x, OFFSET(0));
    return v_fma(e.power, v_expm1_near_0(e.r), e.power - 1);
}

/* z * EXP_UNIT * e^(x + x_lo) for EXP_LOW <= x <= SATURATED, rounded once */
INLINE vec v_times_exp_up(vec z, vec x, vec x_lo) {
    reduced e = v_reduce(x, OFFSET(EXP_SHIFT));
    return v_fma(z * e.power, v_expm1_near_0(e.r + x_lo), z * e.power);
}

/* --------------------------------------------------------------------------------------------- made of it */

/* log(1 + e) for 0 <= e <= 1. With s = e / (2 + e) it is 2 atanh(s) = 2 s + s^3 P(s^2), and 2 s = e - e s: written like
 * that, the rounding of s hardly matters. */
INLINE vec v_log1p(vec e) {
    vec s = e / (2 + e), s2 = s * s;
    return v_fma(-s, v_fma(-s2, POLYNOMIAL(ATANH, s2), e), e);
}

/* 1 / (1 + e^-x), numerator and denominator divided by EXP_UNIT: e^-x may be larger than any number */
INLINE vec v_sigmoid(vec x) {
    vec c = v_min(v_set(SATURATED), v_max(v_set(EXP_LOW), x));
    reduced e = v_reduce(-c, OFFSET(-EXP_SHIFT));
    return (1 / EXP_UNIT) / v_fma(v_exp_near_0(e.r), e.power, v_set(1 / EXP_UNIT));
}

/* z / (1 + e^-(x + x_lo)) for EXP_LOW <= x <= SATURATED, and x like z far on the left.
 *
 * Where e^-x may overflow, it and z are divided by EXP_UNIT; 1 is nothing beside it there. At EXP_LOW the result is z * 0. */
INLINE vec v_times_sigmoid(vec z, vec x, vec x_lo) {
    vmask left = v_lt(x, v_set(EXP_LOW / 2));
    vec unit = v_sel(v_le(x, v_set(EXP_LOW)), v_set(0), v_sel(left, v_set(1 / EXP_UNIT), v_set(1)));
    reduced e = v_reduce(-x, v_sel(left, OFFSET(-EXP_SHIFT), OFFSET(0)));
    return z * unit / v_fma(v_exp_near_0(e.r - x_lo), e.power, v_set(1));
}

/* m / (m + 2) with m = e^(2|x|) - 1, and the sign of x. The rounding of a large m cancels. */
INLINE vec v_tanh(vec x) {
    vec m = v_expm1(v_min(v_set(SATURATED), 2 * v_abs(x)));
    return v_copysign(m / (m + 2), x);
}

/* Phi(-a) = e^(-a^2/2) * v_cdf_factor(u) / (a + CDF_K), u = a / (a + CDF_K), for a >= 0
 *
 * The factor varies little, so that the rounding of u does not matter (Shepherd & Laframboise 1981). */
INLINE vec v_cdf_factor(vec u) { return POLYNOMIAL(CDF, u - CDF_CENTER); }

#endif
