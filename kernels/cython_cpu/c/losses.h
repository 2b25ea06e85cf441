/* Cross-entropy with its gradient in one pass over the rows. The formulas are those of reference/losses.py: a row's
 * loss is -Σ_c a_c log p_c, its gradient p Σ_c a_c - a. */
#ifndef LOSSES_H
#define LOSSES_H

#include "softmax.h"

/* What the rows share. */
struct cross_entropy_job {
    const struct cross_entropy *c;
    double divisor;
    real unit, scale; /* of the gradient: unit * scale is 1 / divisor for "mean", which alone might be no normal number */
};

/* Labels without smoothing: a is 0 but at the label. Here for a row that fits in a register. */
INLINE double short_row(const struct cross_entropy_job *job, const real *x, ptrdiff_t label, real a, real *dx,
                        ptrdiff_t classes) {
    vec lane;
    UNROLL for (int i = 0; i < VLEN; i++) lane[i] = (real)i;
    const vec z = row_load(x, classes, v_set(-INFINITY));
    const real top = v_hmax(z);
    const vec e = v_exp_nonpos(z - top);
    const real sum = v_sum(e), share = a * job->unit * job->scale;
    const vec hit = v_sel(v_eq(lane, v_set((real)label)), v_set(share), v_set(0));
    row_store(dx, e * (share / sum) - hit, classes);
    return a == 0 ? 0 : a * (LOG(sum) - (x[label] - top));
}

/* The same for any row. */
static double sparse_row(const struct cross_entropy_job *job, const real *x, ptrdiff_t label, real a, real *dx,
                         ptrdiff_t classes) {
    if (classes <= VLEN) return short_row(job, x, label, a, dx, classes);
    const real top = row_max(x, classes), sum = row_exp(x, top, dx, classes), share = a * job->unit * job->scale;
    const vec factor = v_set(share / sum);
    EACH_VECTOR(classes) row_store(dx + at, row_load(dx + at, n, factor) * factor, n);
    dx[label] -= share;
    return a == 0 ? 0 : a * (LOG(sum) - (x[label] - top));
}

/* a_c for VLEN classes from `at`: s w_c (keep q_c + spread), where keep is 1 - ε and spread ε / C. */
struct coefficients {
    const real *q, *weight; /* either may be NULL */
    ptrdiff_t label;        /* counts where q is NULL */
    real s, keep, spread;
};
INLINE vec coefficients(const struct coefficients *k, ptrdiff_t at, ptrdiff_t n) {
    const vec zero = v_set(0);
    vec q = zero;
    if (k->q) q = row_load(k->q + at, n, zero);
    else if (k->label >= at && k->label < at + n) q[k->label - at] = 1;
    const vec w = k->weight ? row_load(k->weight + at, n, zero) : v_set(1);
    return w * v_set(k->s) * v_fma(q, v_set(k->keep), v_set(k->spread));
}

/* Probabilities, or labels with smoothing: every class has its a. */
static double dense_row(const struct cross_entropy_job *job, const real *x, const struct coefficients *k, real *dx,
                        ptrdiff_t classes) {
    const vec zero = v_set(0);
    const real top = row_max(x, classes), sum = row_exp(x, top, dx, classes);
    real total = 0;
    {
        vec t = zero;
        EACH_VECTOR(classes) {
            const vec a = coefficients(k, at, n);
            if (n == VLEN) t = t + a;
            else for (int i = 0; i < n; i++) total += a[i];
        }
        total += v_sum(t);
    }
    const vec log_sum = v_set(LOG(sum)), t = v_set(top), unit = v_set(job->unit), scale = v_set(job->scale);
    const vec factor = v_set(total * job->unit * job->scale / sum);
    vec loss = zero;
    EACH_VECTOR(classes) {
        const vec a = coefficients(k, at, n), s = row_load(x + at, n, t) - t;
        const vec term = v_sel(v_eq(a, zero), zero, a * (log_sum - s));
        if (n == VLEN) loss = loss + term;
        else for (int i = 0; i < n; i++) loss[i] += term[i];
        row_store(dx + at, row_load(dx + at, n, zero) * factor - a * unit * scale, n);
    }
    return v_sum(loss);
}

/* The labels were checked, but another Python thread may have written to them since. */
INLINE int out_of_range(const struct cross_entropy *c, int64_t label) { return label < 0 || label >= c->classes; }

static double cross_entropy_row(const struct cross_entropy_job *j, ptrdiff_t i) {
    const struct cross_entropy *c = j->c;
    const ptrdiff_t classes = c->classes;
    const real *x = (const real *)c->logits + i * classes;
    real *dx = (real *)c->dlogits + i * classes;
    const real s = c->sample_weight ? ((const real *)c->sample_weight)[i] : 1;
    const int64_t label = c->labels ? c->labels[i] : -1;
    if (c->labels && (label == c->ignore_index || out_of_range(c, label))) {
        memset(dx, 0, (size_t)classes * sizeof(real));
        return label == c->ignore_index ? 0 : NAN;
    }
    if (c->labels && c->label_smoothing == 0)
        return sparse_row(j, x, label, c->weight ? s * ((const real *)c->weight)[label] : s, dx, classes);
    const struct coefficients k = {
        c->probabilities ? (const real *)c->probabilities + i * classes : NULL, c->weight, label, s,
        (real)(1 - c->label_smoothing), (real)(c->label_smoothing / (double)classes)};
    return dense_row(j, x, &k, dx, classes);
}

static void cross_entropy_task(void *job, ptrdiff_t index) {
    const struct cross_entropy_job *j = job;
    const ptrdiff_t run = rows_per_task(j->c->classes);
    for (ptrdiff_t i = index * run; i < (index + 1) * run && i < j->c->rows; i++)
        j->c->row_loss[i] = cross_entropy_row(j, i);
}

/* What "mean" divides by: Σ s w_t over the rows that count, Σ s for probabilities. */
static double divisor(const struct cross_entropy *c) {
    const real *weight = c->weight, *s = c->sample_weight;
    double total = 0;
    for (ptrdiff_t i = 0; i < c->rows; i++) {
        const int64_t label = c->labels ? c->labels[i] : -1;
        if (c->labels && (label == c->ignore_index || out_of_range(c, label))) continue;
        total += (s ? (double)s[i] : 1) * (c->labels && weight ? (double)weight[label] : 1);
    }
    return total;
}

static void cross_entropy(const struct cross_entropy *c) {
    struct cross_entropy_job j = {c, 1, 1, 1};
    if (c->reduction == REDUCE_MEAN) {
        j.divisor = divisor(c);
        const double size = fabs(j.divisor), shift = (double)(1ll << (MANTISSA + 1));
        if (size < REAL_MIN && size > 0) j.unit = (real)shift;
        if (size > 1 / REAL_MIN) j.unit = (real)(1 / shift);
        j.scale = size != 0 ? (real)(1 / (j.divisor * j.unit)) : 0;
    }
    const ptrdiff_t run = rows_per_task(c->classes);
    pool_run(cross_entropy_task, &j, (c->rows + run - 1) / run);
    real *loss = c->loss;
    double total = 0;
    for (ptrdiff_t i = 0; i < c->rows; i++) {
        if (c->reduction == REDUCE_NONE) loss[i] = (real)c->row_loss[i];
        else total += c->row_loss[i];
    }
    if (c->reduction != REDUCE_NONE) loss[0] = (real)(total / j.divisor);
}

#endif
