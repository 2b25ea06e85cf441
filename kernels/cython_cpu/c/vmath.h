/* exp, expm1, log, log1p, sigmoid, tanh and the normal distribution's tail, on vectors.
 *
 * No branch, no table, at most one division. NaN gives NaN. The constants come from tools/fit.py. */
#ifndef VMATH_H
#define VMATH_H

#include "coefficients.h"
#include "vec.h"

/* unit P(step x) with P(t) = c[0] t^(n-1) + ... + c[n-1]. Powers of 2, unit and step change the coefficients without a loss,
 * before the program runs. */
INLINE vec v_horner(vec x, const real *c, const int n, const real unit, const real step) {
    real scale = unit;
    UNROLL for (int i = 1; i < n; i++) scale *= step;
    vec sum = v_set(c[0] * scale);
    UNROLL for (int i = 1; i < n; i++) scale /= step, sum = v_fma(sum, x, v_set(c[i] * scale));
    return sum;
}
#define POLYNOMIAL(c, x) SCALED_POLYNOMIAL(c, x, 1, 1)
#define SCALED_POLYNOMIAL(c, x, unit, step) v_horner(x, c, sizeof(c) / sizeof(real), unit, step)

/* ------------------------------------------------------------------------------------------- exponential
 * e^x = 2^k e^r with whole k and |r| <= ln2/2. ln2 is in two parts, the first so short that k * LN2_HI is exact
 * (Cody & Waite 1980). Adding 1.5 * 2^MANTISSA rounds to a whole number and leaves it in the low bits. With
 * BIAS added as well, these are the exponent field of 2^k, and a shift takes them there. A field of 0 gives
 * the number 0. */
typedef struct { vec r, power; } reduced; /* e^r * power */

/* 2^shift e^x, for offset = OFFSET(shift) and -BIAS <= x / ln2 + shift <= BIAS */
INLINE reduced v_reduce(vec x, vec offset) {
    vec rounded = v_fma(x, v_set(LOG2_E), offset), k = rounded - offset;
    vec r = v_fma(k, v_set(-LN2_LO), v_fma(k, v_set(-LN2_HI), x));
    return (reduced){r, (vec)((veci)rounded << MANTISSA)};
}
#define OFFSET(shift) v_set(ROUND_MAGIC + BIAS + (shift))

/* e^r and e^r - 1 for |r| <= ln2/2 */
INLINE vec v_exp_near_0(vec r) { return v_fma(v_fma(POLYNOMIAL(EXP, r), r, v_set(1)), r, v_set(1)); }
INLINE vec v_expm1_near_0(vec r) { return v_fma(r * r, POLYNOMIAL(EXP, r), r); }

/* EXP_UNIT * e^x for x <= SATURATED; 0 from EXP_LOW down. EXP_UNIT is so large that this is never a denormal
 * number: what is still to be multiplied by something large has lost nothing yet. */
INLINE vec v_exp_up(vec x) {
    reduced e = v_reduce(v_max(v_set(EXP_LOW), x), OFFSET(EXP_SHIFT));
    return v_exp_near_0(e.r) * e.power;
}

/* e^x for x <= 0 */
INLINE vec v_exp_nonpos(vec x) { return v_exp_up(x) * (1 / EXP_UNIT); }

/* e^x */
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

/* EXP_UNIT * z e^(-(x + x_lo) / 2) for 0 <= x <= -2 EXP_LOW and a tiny x_lo, rounded once. Half of x is nowhere needed:
 * its remainder is q = -2 r, and e^r = 1 - q (1/2 - q P(-q / 2) / 4). */
INLINE vec v_times_exp_half_up(vec z, vec x, vec x_lo) {
    const vec offset = OFFSET(EXP_SHIFT);
    vec rounded = v_fma(x, v_set(-LOG2_E / 2), offset), k = rounded - offset;
    vec q = v_fma(k, v_set(2 * LN2_LO), v_fma(k, v_set(2 * LN2_HI), x)) + x_lo;
    vec zp = z * (vec)((veci)rounded << MANTISSA);
    return v_fma(zp * q, v_fma(SCALED_POLYNOMIAL(EXP, q, (real)0.25, (real)-0.5), q, v_set((real)-0.5)), zp);
}

/* ------------------------------------------------------------------------------------------ made of it */

/* log(1 + e) for -1/2 <= e <= 1: 2 atanh(s) = 2 s + s^3 P(s^2) with s = e / (2 + e). For 2 s it has e - e s, which
 * is the same, and then the rounding of s hardly matters. */
INLINE vec v_log1p(vec e) {
    vec s = e / (2 + e), s2 = s * s;
    return v_fma(-s, v_fma(-s2, POLYNOMIAL(ATANH, s2), e), e);
}

/* x = 2^k (1 + e) for a normal x > 0, with whole k and sqrt(1/2) <= 1 + e < sqrt(2), so that the two terms of log x do not
 * cancel. Added to the bits, the distance from sqrt(1/2) to 1 takes them over to the next k where they should be. */
typedef struct { vec k, e; } powers;
INLINE powers v_powers(vec x) {
    const veci low = (veci)v_set((real)0.70710678118654752440), fraction = ((veci){0} + 1 << MANTISSA) - 1;
    const veci bits = (veci)x + ((veci)v_set(1) - low);
    const vec magic = v_set(ROUND_MAGIC), k = (vec)((veci)magic + (bits >> MANTISSA) - BIAS) - magic;
    return (powers){k, (vec)((bits & fraction) + low) - 1};
}
INLINE vec v_log_of(powers x) {
    return v_fma(x.k, v_set(LN2_HI), v_fma(x.k, v_set(LN2_LO), v_log1p(x.e)));
}

/* log x, for every x: a subnormal one is made normal first */
INLINE vec v_log(vec x) {
    const vmask small = v_lt(x, v_set(REAL_MIN));
    const vec shift = v_sel(small, v_set(MANTISSA + 1), v_set(0));
    powers p = v_powers(v_sel(small, x * (real)(1ll << (MANTISSA + 1)), x));
    p.k = p.k - shift;
    const vec finite = v_sel(v_lt(x, v_set(INFINITY)), v_log_of(p), x); /* inf and NaN stay */
    return v_sel(v_lt(v_set(0), x), finite, v_sel(v_eq(x, v_set(0)), v_set(-INFINITY), v_set(NAN)));
}

/* log(1 - x) for 0 <= x <= 1, or NaN: below 1/2, where 1 - x would be rounded, from x itself */
INLINE vec v_log1m(vec x) {
    const vmask near = v_lt(x, v_set((real)0.5));
    powers p = v_powers(1 - x);
    p.k = v_sel(near, v_set(0), p.k), p.e = v_sel(near, -x, p.e);
    return v_sel(v_lt(x, v_set(1)), v_log_of(p), v_set(-INFINITY)) + 0 * x;
}

/* 1 / (1 + e^-x), above and below divided by EXP_UNIT: e^-x may be larger than any number */
INLINE vec v_sigmoid(vec x) {
    vec c = v_min(v_set(SATURATED), v_max(v_set(EXP_LOW), x));
    reduced e = v_reduce(-c, OFFSET(-EXP_SHIFT));
    return (1 / EXP_UNIT) / v_fma(v_exp_near_0(e.r), e.power, v_set(1 / EXP_UNIT));
}

/* z / (1 + e^-(x + x_lo)) for a tiny x_lo and EXP_LOW <= x <= SATURATED. At EXP_LOW, or a little below, z * 0.
 *
 * Where e^-x might overflow, z and e^-x are divided by EXP_UNIT; beside e^-x, the 1 is nothing there. */
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

/* Φ(-a) = e^(-a^2/2) v_cdf_factor(u, 1) / (a + CDF_K), where u = a / (a + CDF_K) and a >= 0. The factor varies
 * so little that the rounding of u does not matter (Shepherd & Laframboise 1981 do so for erfc). unit: to multiply it by. */
INLINE vec v_cdf_factor(vec u, const real unit) { return SCALED_POLYNOMIAL(CDF, u - CDF_CENTER, unit, 1); }

#endif
