/* The losses of single elements, each with its gradient in the same pass. name_at gives both for a vector of elements;
 * kernels/reference/losses.py says what they mean, for inf and NaN too. */
#ifndef ELEMENTWISE_LOSSES_H
#define ELEMENTWISE_LOSSES_H

#include "losses.h"

typedef struct { vec loss, slope; } tangent;
typedef struct { vec pos_weight; real p; } loss_options; /* p: beta | delta */

INLINE tangent mse_at(vec x, vec t, loss_options o) {
    const vec d = x - t;
    return (tangent){d * d, 2 * d};
}

INLINE tangent l1_at(vec x, vec t, loss_options o) {
    const vec d = x - t, z = v_abs(d);
    return (tangent){z, v_sel(v_lt(v_set(0), z), v_copysign(v_set(1), d), v_set(0))};
}

/* beta may be 0 */
INLINE tangent smooth_l1_at(vec x, vec t, loss_options o) {
    const vec d = x - t, z = v_abs(d), q = d / o.p;
    const vmask near = v_lt(z, v_set(o.p));
    const vec sign = v_sel(v_lt(v_set(0), z), v_copysign(v_set(1), d), d);
    return (tangent){v_sel(near, (real)0.5 * q * d, z - (real)0.5 * o.p), v_sel(near, q, sign)};
}

INLINE tangent huber_at(vec x, vec t, loss_options o) {
    const vec d = x - t, z = v_abs(d);
    const vec loss = v_sel(v_lt(z, v_set(o.p)), (real)0.5 * d * d, o.p * (z - (real)0.5 * o.p));
    return (tangent){loss, v_min(v_set(o.p), v_max(v_set(-o.p), d))};
}

INLINE tangent bce_at(vec x, vec t, loss_options o) {
    const vec log_x = v_max(v_set(-100), v_log(x)), log_rest = v_max(v_set(-100), v_log1m(x));
    return (tangent){-(t * log_x + (1 - t) * log_rest), (x - t) / v_max(v_set((real)1e-12), (1 - x) * x)};
}

/* Nothing cancels, since all the terms have one sign. */
INLINE tangent bce_with_logits_at(vec x, vec t, loss_options o) {
    const vec e = v_exp_nonpos(-v_abs(x)), zero = v_set(0), off = 1 - t, on = o.pos_weight * t;
    const vmask right = v_le(zero, x);
    const vec loss = off * v_max(x, zero) + on * v_max(-x, zero) + (off + on) * v_log1p(e);
    return (tangent){loss, (off * v_sel(right, v_set(1), e) - on * v_sel(right, e, v_set(1))) / (1 + e)};
}

INLINE tangent kl_div_at(vec x, vec t, loss_options o) {
    const vec zero = v_set(0);
    return (tangent){v_sel(v_eq(t, zero), zero, t * v_log(t)) - t * x, -t};
}

INLINE tangent kl_div_log_target_at(vec x, vec t, loss_options o) {
    const vec q = v_exp(t);
    return (tangent){q * (t - x), -q};
}

/* In the order of the contract. */
#define FOR_EACH_LOSS(X) X(mse) X(l1) X(smooth_l1) X(huber) X(bce) X(bce_with_logits) X(kl_div) X(kl_div_log_target)

/* ------------------------------------------------------------------------------------------- over arrays */

/* VLEN elements from `at` of an array that repeats the `count` numbers at p */
INLINE vec load_cyclic(const real *p, ptrdiff_t count, ptrdiff_t at) {
    ptrdiff_t i = at % count;
    if (i + VLEN <= count) return v_load(p + i);
    real some[VLEN];
    for (int lane = 0; lane < VLEN; lane++) some[lane] = p[i], i = i + 1 < count ? i + 1 : 0;
    return v_load(some);
}

struct loss_job {
    const struct elementwise_loss *l;
    struct reciprocal by;
};

/* Where losses and slopes of some elements go. */
struct terms {
    const real *weight; /* or NULL */
    real *dx, *loss;    /* loss: NULL where they are to be added up */
    vec unit, scale;
    struct sum sum;
};
static struct terms terms_from(const struct loss_job *j, ptrdiff_t begin) {
    const struct elementwise_loss *l = j->l;
    return (struct terms){.weight = l->weight ? (const real *)l->weight + begin : NULL, .dx = (real *)l->dinput + begin,
                          .loss = l->reduction == REDUCE_NONE ? (real *)l->loss + begin : NULL,
                          .unit = v_set(j->by.unit), .scale = v_set(j->by.scale)};
}
INLINE void take_terms(struct terms *r, tangent f, ptrdiff_t at, ptrdiff_t n) {
    vec factor = r->unit * r->scale;
    if (r->weight) {
        const vec w = row_load(r->weight + at, n, v_set(0));
        f.loss = f.loss * w, factor = w * r->unit * r->scale;
    }
    row_store(r->dx + at, f.slope * factor, n);
    if (r->loss) row_store(r->loss + at, f.loss, n);
    else add_terms(&r->sum, f.loss, at, n);
}

/* The elements from `begin` on; -> the sum of their losses, unless they are to be kept apart */
#define RUN_OF(name)                                                                                       \
    static double name##_run(const struct loss_job *j, ptrdiff_t begin, ptrdiff_t count) {                 \
        const struct elementwise_loss *l = j->l;                                                           \
        const real *x = (const real *)l->input + begin, *t = (const real *)l->target + begin;              \
        const vec zero = v_set(0);                                                                         \
        struct terms r = terms_from(j, begin);                                                             \
        loss_options o = {v_set(1), (real)l->param};                                                       \
        EACH_VECTOR(count) {                                                                               \
            if (l->pos_weight) o.pos_weight = load_cyclic(l->pos_weight, l->pos_weights, begin + at);      \
            take_terms(&r, name##_at(row_load(x + at, n, zero), row_load(t + at, n, zero), o), at, n);     \
        }                                                                                                  \
        return sum_total(&r.sum);                                                                          \
    }
FOR_EACH_LOSS(RUN_OF)

/* The same of a function that the user wrote, some elements at a time. */
static double custom_run(const struct loss_job *j, ptrdiff_t begin, ptrdiff_t count) {
    const struct elementwise_loss *l = j->l;
    _Alignas(64) real x[CUSTOM_BLOCK], t[CUSTOM_BLOCK], loss[CUSTOM_BLOCK], slope[CUSTOM_BLOCK];
    struct terms r = terms_from(j, begin);
    const uint64_t floating = flush_denormals();
    for (ptrdiff_t done = 0, some; done < count; done += some) {
        some = count - done < CUSTOM_BLOCK ? count - done : CUSTOM_BLOCK;
        const ptrdiff_t padded = put_together((const real *)l->input + begin + done, 0, 1, some, x);
        put_together((const real *)l->target + begin + done, 0, 1, some, t);
        l->custom->at[REAL_BITS == 64](x, t, loss, slope, padded);
        for (ptrdiff_t i = 0; i < some; i += VLEN)
            take_terms(&r, (tangent){v_load(loss + i), v_load(slope + i)}, done + i, some - i < VLEN ? some - i : VLEN);
    }
    unflush(floating);
    return sum_total(&r.sum);
}

#define RUN_ENTRY(name) [LOSS_##name] = name##_run,
static double (*const loss_runs[LOSS_COUNT + 1])(const struct loss_job *, ptrdiff_t, ptrdiff_t) = {
    FOR_EACH_LOSS(RUN_ENTRY) RUN_ENTRY(custom)};

static void loss_task(void *job, ptrdiff_t index) {
    const struct loss_job *j = job;
    const ptrdiff_t at = index * LOSS_RUN, left = j->l->count - at;
    j->l->run_loss[index] = loss_runs[j->l->kind](j, at, left < LOSS_RUN ? left : LOSS_RUN);
}

/* What an element costs, in multiply-adds: up to huber memory counts most; then come logarithms and exponentials. */
enum { CHEAP_LOSS_COST = 6, LOSS_COST = 40 };

static int elementwise_loss(const void *arguments) {
    const struct elementwise_loss *l = arguments;
    const double by = l->reduction == REDUCE_MEAN ? l->divisor : 1;
    struct loss_job j = {l, reciprocal_of(by)};
    const ptrdiff_t runs = (l->count + LOSS_RUN - 1) / LOSS_RUN;
    const int cost = l->kind <= LOSS_huber ? CHEAP_LOSS_COST : LOSS_COST;
    pool_run(loss_task, &j, runs, pool_is_worth((double)l->count * cost, VLEN));
    if (l->reduction == REDUCE_NONE) return 0;
    struct sum total = {0};
    for (ptrdiff_t i = 0; i < runs; i++) add_term(&total, l->run_loss[i]);
    *(real *)l->loss = (real)(sum_total(&total) / by);
    return 0;
}

/* ---------------------------------------------------------------------------------------- probabilities */

/* Are all of them in 0..1? NaN is not. */
static int in_unit(const real *a, ptrdiff_t count) {
    const vec zero = v_set(0), one = v_set(1);
    vec outside = zero;
    EACH_VECTOR(count) {
        const vec x = row_load(a + at, n, zero);
        outside = v_max(outside, v_sel(v_le(zero, x), v_sel(v_le(x, one), zero, one), one));
    }
    return v_hmax(outside) == 0;
}

struct unit_job {
    const real *a;
    ptrdiff_t count;
    int found; /* set by any task, read when all are done */
};

static void unit_task(void *job, ptrdiff_t index) {
    struct unit_job *j = job;
    const ptrdiff_t begin = index * LOSS_RUN, left = j->count - begin, count = left < LOSS_RUN ? left : LOSS_RUN;
    if (!in_unit(j->a + begin, count)) __atomic_store_n(&j->found, 1, __ATOMIC_RELAXED);
}

static int outside_unit(const void *arguments) {
    const struct outside_unit *o = arguments;
    const ptrdiff_t count = o->count;
    struct unit_job j = {o->a, count, 0};
    pool_run(unit_task, &j, (count + LOSS_RUN - 1) / LOSS_RUN, pool_is_worth((double)count * CHEAP_LOSS_COST, VLEN));
    *o->found = -1;
    for (ptrdiff_t i = 0; j.found && *o->found < 0 && i < count; i++)
        if (!(j.a[i] >= 0 && j.a[i] <= 1)) *o->found = i; /* NaN is neither */
    return *o->found < 0 ? 0 : REFUSED;
}

#endif
