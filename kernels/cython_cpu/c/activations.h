/* The activations: name_forward gives y from z, name_derivative gives dy/dz from y or z, whichever the contract
 * says is saved. kernels/reference/activations.py says what they mean, for inf and NaN too. */
#ifndef ACTIVATIONS_H
#define ACTIVATIONS_H

#include "vmath.h"

typedef struct { real a, b; } params; /* in the contract's order */

/* value, but NaN where `like` is */
INLINE vec or_nan(vec value, vec like) { return v_sel(v_eq(like, like), value, like); }
/* slope where low < y < high, else 0 */
INLINE vec within(vec y, real low, real high, real slope) {
    vec below = v_sel(v_lt(y, v_set(high)), v_set(slope), v_set(0));
    return or_nan(v_sel(v_lt(v_set(low), y), below, v_set(0)), y);
}

/* ---------------------------------------------------------------------------------------- derivative from y */

INLINE vec identity_forward(vec z, params p) { return z; }
INLINE vec identity_derivative(vec y, params p) { return v_set(1); }

INLINE vec relu_forward(vec z, params p) { return v_sel(v_le(z, v_set(0)), v_set(0), z); } /* -0 gives +0 */
INLINE vec relu_derivative(vec y, params p) { return v_sel(v_lt(v_set(0), y), v_set(1), v_max(v_set(0), y)); }

INLINE vec leaky_relu_forward(vec z, params p) { return v_sel(v_lt(v_set(0), z), z, p.a * z); }
INLINE vec leaky_relu_derivative(vec y, params p) {
    return v_sel(v_lt(v_set(0), y), v_set(1), v_sel(v_le(y, v_set(0)), v_set(p.a), y));
}

INLINE vec relu6_forward(vec z, params p) { return v_sel(v_le(z, v_set(0)), v_set(0), v_min(v_set(6), z)); }
INLINE vec relu6_derivative(vec y, params p) {
    return v_sel(v_lt(v_set(0), y), v_sel(v_lt(y, v_set(6)), v_set(1), v_set(0)), v_max(v_set(0), y));
}

INLINE vec sigmoid_forward(vec z, params p) { return v_sigmoid(z); }
INLINE vec sigmoid_derivative(vec y, params p) { return y * (1 - y); }

INLINE vec tanh_forward(vec z, params p) { return v_tanh(z); }
INLINE vec tanh_derivative(vec y, params p) { return (1 - y) * (1 + y); }

INLINE vec elu_forward(vec z, params p) {
    return v_sel(v_lt(z, v_set(0)), p.a * v_expm1(v_max(v_set(EXPM1_LOW), z)), z);
}
INLINE vec elu_derivative(vec y, params p) { return v_sel(v_lt(v_set(0), y), v_set(1), y + p.a); }

INLINE vec selu_forward(vec z, params p) {
    return v_sel(v_lt(z, v_set(0)), SELU_SCALE_ALPHA * v_expm1(v_max(v_set(EXPM1_LOW), z)), SELU_SCALE * z);
}
INLINE vec selu_derivative(vec y, params p) {
    return v_sel(v_lt(v_set(0), y), v_set(SELU_SCALE), y + SELU_SCALE_ALPHA);
}

INLINE vec softsign_forward(vec z, params p) { return z / (1 + v_abs(z)); }
INLINE vec softsign_derivative(vec y, params p) {
    vec d = 1 - v_abs(y);
    return d * d;
}

INLINE vec celu_forward(vec z, params p) {
    return v_sel(v_lt(z, v_set(0)), p.a * v_expm1(v_max(v_set(EXPM1_LOW), z / p.a)), z);
}
INLINE vec celu_derivative(vec y, params p) { return v_sel(v_lt(v_set(0), y), v_set(1), y / p.a + 1); }

/* -softplus(-z), which keeps its relative accuracy on either side */
INLINE vec logsigmoid_forward(vec z, params p) { return v_min(v_set(0), z) - v_log1p(v_exp_nonpos(-v_abs(z))); }
INLINE vec logsigmoid_derivative(vec y, params p) {
    return -v_expm1(v_min(v_set(0), v_max(v_set(EXPM1_LOW), y)));
}

INLINE vec hardsigmoid_forward(vec z, params p) { return v_min(v_set(6), v_max(v_set(0), z + 3)) / 6; }
INLINE vec hardsigmoid_derivative(vec y, params p) { return within(y, 0, 1, (real)(1.0 / 6)); }

INLINE vec hardtanh_forward(vec z, params p) { return v_min(v_set(p.b), v_max(v_set(p.a), z)); }
INLINE vec hardtanh_derivative(vec y, params p) { return within(y, p.a, p.b, 1); }

INLINE vec nonzero(vec y) { return or_nan(v_sel(v_eq(y, v_set(0)), v_set(0), v_set(1)), y); }

INLINE vec hardshrink_forward(vec z, params p) { return v_sel(v_le(v_abs(z), v_set(p.a)), v_set(0), z); }
INLINE vec hardshrink_derivative(vec y, params p) { return nonzero(y); }

INLINE vec softshrink_forward(vec z, params p) {
    return v_sel(v_le(v_abs(z), v_set(p.a)), v_set(0), z - v_copysign(v_set(p.a), z));
}
INLINE vec softshrink_derivative(vec y, params p) { return nonzero(y); }

/* ---------------------------------------------------------------------------------------- derivative from z */

/* y = max(z, 0) - |z| Φ(-|z|). The square is in two parts, or exp would magnify its rounding. `distance` is
 * |z|, cut off on the right only: y is inf for inf, but NaN for -inf. */
INLINE vec gelu_forward(vec z, params p) {
    vec distance = v_abs(v_min(v_set(CDF_END), z)), a = v_min(v_set(CDF_END), distance), a2 = a * a;
    vec u = distance / (distance + CDF_K);
    vec tail = v_times_exp_half_up(u, a2, v_prod_err(a, a, a2)) * v_cdf_factor(u, 1 / EXP_UNIT);
    return v_max(v_set((real)-0.0), z) - tail;
}

/* Φ(z) + z φ(z) */
INLINE vec gelu_derivative(vec z, params p) {
    vec a = v_min(v_set(CDF_END), v_abs(z));
    vec e = v_exp_nonpos(a * a * (real)-0.5);
    vec w = 1 / (a + CDF_K), tail = e * w * v_cdf_factor(a * w, 1);
    return v_fma(z, e * PDF_0, v_sel(v_lt(v_set(0), z), 1 - tail, tail));
}

/* z sigmoid(w): w = (A + B z^2) z is in two parts, for the same reason as in gelu */
INLINE vec gelu_tanh_forward(vec z, params p) {
    vec c = v_min(v_set(GELU_TANH_SATURATED), v_max(v_set(-GELU_TANH_END), z));
    vec c2 = c * c, c2_lo = v_prod_err(c, c, c2);
    vec f = v_fma(c2, v_set(GELU_TANH_B), v_set(GELU_TANH_A_HI));
    vec f_lo = v_prod_err(c2, v_set(GELU_TANH_B), f - GELU_TANH_A_HI) + GELU_TANH_A_LO;
    f_lo = v_fma(c2_lo, v_set(GELU_TANH_B), v_fma(c2, v_set(GELU_TANH_B_LO), f_lo));
    vec w = c * f;
    return v_times_sigmoid(z, w, v_fma(c, f_lo, v_prod_err(c, f, w)));
}

INLINE vec gelu_tanh_derivative(vec z, params p) {
    vec c = v_min(v_set(GELU_TANH_END), v_abs(z)), c2 = c * c;
    vec e = v_exp_nonpos(-c * v_fma(c2, v_set(GELU_TANH_B), v_set(GELU_TANH_A)));
    vec r = 1 / (1 + e), er = e * r;
    vec dw = v_fma(c2, v_set(3 * GELU_TANH_B), v_set(GELU_TANH_A));
    return v_fma(z * (er * r), dw, v_sel(v_lt(z, v_set(0)), er, r));
}

/* z e^z / (1 + e^z) */
INLINE vec silu_forward(vec z, params p) {
    return v_times_sigmoid(z, v_min(v_set(SATURATED), v_max(v_set(EXP_LOW), z)), v_set(0));
}

/* s + z s (1 - s) */
INLINE vec silu_derivative(vec z, params p) {
    vec e = v_exp_nonpos(-v_abs(z)), r = 1 / (1 + e), er = e * r;
    return v_fma(z, er * r, v_sel(v_lt(z, v_set(0)), er, r));
}

INLINE vec softplus_forward(vec z, params p) {
    vec t = p.a * z;
    vec y = (v_max(t, v_set(0)) + v_log1p(v_exp_nonpos(-v_abs(t)))) * (1 / p.a);
    return v_sel(v_lt(v_set(p.b), t), z, y);
}
INLINE vec softplus_derivative(vec z, params p) {
    vec t = p.a * z;
    return v_sel(v_lt(v_set(p.b), t), v_set(1), v_sigmoid(t));
}

/* z h / (1 + h) with h = e^z + e^2z / 2. For positive z, z - z / (1 + h) is the same and more exact. */
INLINE vec mish_forward(vec z, params p) {
    vec c = v_min(v_set(SATURATED), z);
    reduced t = v_reduce(v_max(v_set(EXP_LOW), c), OFFSET(EXP_SHIFT)); /* e, zh, n: EXP_UNIT times larger */
    vec s = v_expm1_near_0(t.r), e = v_fma(t.power, s, t.power), half = e * ((real)0.5 / EXP_UNIT);
    vec zp = c * t.power, zh = v_fma(zp, v_fma(half, s, half + s), zp); /* zp (1 + s) (1 + half) */
    vec n = v_sel(v_le(z, v_set(0)), zh, c * -EXP_UNIT);
    return v_max(v_set((real)-0.0), z) + n / v_fma(e, half + 1, v_set(EXP_UNIT));
}

/* t + z (1 - t^2) sigmoid(z), t = tanh(softplus(z)) = n / d, with e = e^-|z|:
 * n = e (e + 2), d = n + 2 on the left; on the right both are divided by e^2z. Nothing cancels. */
INLINE vec mish_derivative(vec z, params p) {
    vmask left = v_lt(z, v_set(0));
    vec e = v_exp_nonpos(-v_abs(z)), e2 = e * e;
    vec n = v_sel(left, v_fma(v_set(2), e, e2), v_fma(v_set(2), e, v_set(1)));
    vec r = 1 / v_fma(v_set(2), v_sel(left, v_set(1), e2), n);
    return v_fma(z, 4 * r * r * (1 + e) * v_sel(left, e, e2), n * r);
}

INLINE vec hardswish_forward(vec z, params p) {
    return z * (v_min(v_set(6), v_max(v_set(0), z + 3)) / 6);
}
INLINE vec hardswish_derivative(vec z, params p) {
    vec inside = v_fma(z, v_set((real)(1.0 / 3)), v_set((real)0.5));
    return v_sel(v_le(z, v_set(-3)), v_set(0), v_sel(v_le(v_set(3), z), v_set(1), inside));
}

/* Lambert's continued fraction of 1768, z - tanh z = z c / (1 + c) with c = z^2 / (3 + z^2 / (5 + ...)), cut off after
 * 11 or 19, is w - w t N(t) / D(t) for t = z^2 and w = z t / 3: relative errors 2^-29 and 2^-62 up to z = 1. */
#if REAL_BITS == 32
#define THIRD_ERROR 0x1p-25f /* 3 (real)(1/3) - 1 */
static const real TANHSHRINK_N[] = {1, 207, 4158}, TANHSHRINK_D[] = {1, 210, 4725, 10395};
#else
#define THIRD_ERROR -0x1p-54
static const real TANHSHRINK_N[] = {1, 1482, 311025, 18050175, 261891630};
static const real TANHSHRINK_D[] = {1, 1485, 315315, 18918900, 310134825, 654729075};
#endif
/* From z = 1 on, (|z| - 1) + 2 / (e^2|z| + 1), where nothing cancels either. */
INLINE vec tanhshrink_forward(vec z, params p) {
    vec a = v_abs(z), c = v_min(v_set(1), a), t = c * c, w = c * (real)(1.0 / 3) * t;
    vmask near = v_lt(a, v_set(1));
    vec n = v_sel(near, POLYNOMIAL(TANHSHRINK_N, t), v_set(2));
    vec q = n / v_sel(near, POLYNOMIAL(TANHSHRINK_D, t), v_expm1(v_min(v_set(SATURATED), 2 * a)) + 2);
    return v_copysign(v_sel(near, v_fma(-w, v_fma(t, q, v_set(THIRD_ERROR)), w), a - 1 + q), z);
}
INLINE vec tanhshrink_derivative(vec z, params p) {
    vec tanh = v_tanh(z);
    return tanh * tanh;
}

INLINE vec threshold_forward(vec z, params p) { return v_sel(v_le(z, v_set(p.a)), v_set(p.b), z); }
INLINE vec threshold_derivative(vec z, params p) {
    return or_nan(v_sel(v_le(z, v_set(p.a)), v_set(0), v_set(1)), z);
}

/* In the order of the contract. */
#define FOR_EACH_ACTIVATION(X) \
    X(identity) X(relu) X(leaky_relu) X(relu6) X(sigmoid) X(tanh) X(elu) X(selu) X(softsign) \
    X(gelu) X(gelu_tanh) X(silu) X(softplus) X(mish) X(hardswish) X(logsigmoid) X(celu) X(tanhshrink) \
    X(hardsigmoid) X(hardtanh) X(hardshrink) X(softshrink) X(threshold)

#endif
