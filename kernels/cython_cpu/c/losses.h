/* Cross-entropy, and the negative log-likelihood, with its gradient in one pass over the rows. The formulas are those of
 * reference/losses.py: a row's loss is -Σ_c a_c log p_c, its gradient p Σ_c a_c - a. */
#ifndef LOSSES_H
#define LOSSES_H

#include "softmax.h"

/* unit * scale is 1 / divisor, which alone might be no normal number; 0 for 0. */
struct reciprocal { real unit, scale; };
static struct reciprocal reciprocal_of(double divisor) {
    const double size = fabs(divisor), shift = (double)(1ll << (MANTISSA + 1));
    struct reciprocal r = {1, 0};
    if (size < REAL_MIN && size > 0) r.unit = (real)shift;
    if (size > 1 / REAL_MIN) r.unit = (real)(1 / shift);
    if (size != 0) r.scale = (real)(1 / (divisor * r.unit));
    return r;
}

/* What the rows share. */
struct cross_entropy_job {
    const struct cross_entropy *c;
    struct reciprocal by; /* of the divisor, to multiply the gradient by */
};

/* Labels without smoothing: a is 0 but at the label. */
static double sparse_row(const struct cross_entropy_job *job, const real *x, ptrdiff_t label, real a, real *dx,
                         ptrdiff_t classes) {
    const real top = row_max(x, classes), at_label = x[label]; /* dx may be x */
    const real sum = row_exp(x, top, dx, classes), share = a * job->by.unit * job->by.scale;
    const vec factor = v_set(share / sum);
    EACH_VECTOR(classes) row_store(dx + at, row_load(dx + at, n, factor) * factor, n);
    dx[label] -= share;
    return a == 0 ? 0 : a * (LOG(sum) - (at_label - top));
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

/* A long sum of terms that may be all alike, and then round alike: SUM_BLOCK vectors of them in one chain for each lane, and
 * the sums of such blocks in double, with what rounding takes from it kept in `lost` (Knuth's TwoSum). */
enum { SUM_BLOCK = 16 };
struct sum { double value, lost; vec block; };
INLINE void add_term(struct sum *s, double term) {
    const double value = s->value + term, taken = value - s->value;
    s->lost += (s->value - (value - taken)) + (term - taken);
    s->value = value;
}
/* the n terms of the vector at `at`; beyond them, `terms` may hold anything */
INLINE void add_terms(struct sum *s, vec terms, ptrdiff_t at, ptrdiff_t n) {
    if (n == VLEN) s->block = s->block + terms;
    else for (int i = 0; i < n; i++) add_term(s, (double)terms[i]);
    if (at / VLEN % SUM_BLOCK == SUM_BLOCK - 1) add_term(s, (double)v_sum(s->block)), s->block = v_set(0);
}
INLINE double sum_total(const struct sum *s) {
    const double value = s->value + (double)v_sum(s->block);
    return isfinite(value) ? value + s->lost : value; /* rounding takes NaN from inf */
}

/* Probabilities, or labels with smoothing: every class has its a. */
static double dense_row(const struct cross_entropy_job *job, const real *x, const struct coefficients *k, real *dx,
                        ptrdiff_t classes) {
    const vec zero = v_set(0);
    const real top = row_max(x, classes), sum = row_exp(x, top, dx, classes);
    struct sum all = {0}, loss = {0};
    EACH_VECTOR(classes) add_terms(&all, coefficients(k, at, n), at, n);
    const vec log_sum = v_set(LOG(sum)), t = v_set(top), unit = v_set(job->by.unit), scale = v_set(job->by.scale);
    const vec factor = v_set((real)(sum_total(&all) * (double)job->by.unit * (double)job->by.scale / (double)sum));
    EACH_VECTOR(classes) {
        const vec a = coefficients(k, at, n), s = row_load(x + at, n, t) - t;
        add_terms(&loss, v_sel(v_eq(a, zero), zero, a * (log_sum - s)), at, n);
        row_store(dx + at, row_load(dx + at, n, zero) * factor - a * unit * scale, n);
    }
    return sum_total(&loss);
}

/* The labels were checked, but another Python thread may have written to them since. */
INLINE int out_of_range(const struct cross_entropy *c, int64_t label) { return label < 0 || label >= c->classes; }

/* A row whose label does not count has no gradient; its loss is 0, or NaN if the label is none at all. */
INLINE double ignored_loss(const struct cross_entropy *c, int64_t label) { return label == c->ignore_index ? 0 : NAN; }
INLINE int counts(const struct cross_entropy *c, int64_t label) {
    return label != c->ignore_index && !out_of_range(c, label);
}
static double ignored_row(const struct cross_entropy *c, int64_t label, real *dx) {
    memset(dx, 0, (size_t)c->classes * sizeof(real));
    return ignored_loss(c, label);
}

/* a at the label of row i, which counts */
INLINE real row_weight(const struct cross_entropy *c, ptrdiff_t i, int64_t label) {
    const real s = c->sample_weight ? ((const real *)c->sample_weight)[i] : 1;
    return c->weight ? s * ((const real *)c->weight)[label] : s;
}

static double cross_entropy_row(const struct cross_entropy_job *j, ptrdiff_t i) {
    const struct cross_entropy *c = j->c;
    const ptrdiff_t classes = c->classes;
    const real *x = (const real *)c->logits + i * classes;
    real *dx = (real *)c->dlogits + i * classes;
    const int64_t label = c->labels ? c->labels[i] : -1;
    if (c->labels && !counts(c, label)) return ignored_row(c, label, dx);
    if (c->labels && c->label_smoothing == 0) return sparse_row(j, x, label, row_weight(c, i, label), dx, classes);
    const struct coefficients k = {
        c->probabilities ? (const real *)c->probabilities + i * classes : NULL, c->weight, label,
        c->sample_weight ? ((const real *)c->sample_weight)[i] : 1,
        (real)(1 - c->label_smoothing), (real)(c->label_smoothing / (double)classes)};
    return dense_row(j, x, &k, dx, classes);
}

/* Up to VLEN short rows with labels and without smoothing, a lane each. */
struct short_rows {
    vec label;  /* -1 where it does not count */
    vec weight; /* a at the label; 0 where it does not count, */
    vec other;  /* and then this is the loss */
};
static struct short_rows take_short_rows(const struct cross_entropy *c, ptrdiff_t i, ptrdiff_t rows) {
    int64_t at[VLEN]; /* read once: another thread may write to them */
    real label[VLEN], weight[VLEN] = {0}, other[VLEN] = {0};
    int all = rows == VLEN && !c->weight && !c->sample_weight;
    memcpy(at, c->labels + i, (size_t)rows * sizeof *at);
    if (all) for (int r = 0; r < VLEN; r++) all &= ((uint64_t)at[r] < (uint64_t)c->classes) & (at[r] != c->ignore_index);
    if (all) {
        for (int r = 0; r < VLEN; r++) label[r] = (real)at[r];
        return (struct short_rows){v_load(label), v_set(1), v_set(0)};
    }
    for (int r = 0; r < VLEN; r++) {
        const int counted = r < rows && counts(c, at[r]);
        label[r] = counted ? (real)at[r] : -1;
        if (counted) weight[r] = row_weight(c, i + r, at[r]);
        else if (r < rows) other[r] = (real)ignored_loss(c, at[r]);
    }
    return (struct short_rows){v_load(label), v_load(weight), v_load(other)};
}

/* What sparse_row() gives, but for the rounding, or ignored_row(): the losses go into row_loss[0..rows], the gradient in the
 * place of the logits. top: of each row the largest. */
static void sparse_columns(const struct cross_entropy_job *j, const struct short_rows *s, vec *column, vec top,
                           double *row_loss, ptrdiff_t rows) {
    const ptrdiff_t classes = j->c->classes;
    const vec zero = v_set(0);
    vec sum = zero, picked = zero;
    for (ptrdiff_t q = 0; q < classes; q++) {
        const vec shifted = column[q] - top;
        picked = v_sel(v_eq(s->label, v_set((real)q)), shifted, picked);
        column[q] = v_exp_nonpos(shifted), sum = sum + column[q];
    }
    const vec share = s->weight * j->by.unit * j->by.scale, factor = share / sum;
    const vmask counted = v_le(zero, s->label);
    for (ptrdiff_t q = 0; q < classes; q++) {
        const vec p = column[q] * factor;
        column[q] = v_sel(counted, v_sel(v_eq(s->label, v_set((real)q)), p - share, p), zero);
    }
    const vec loss = v_sel(v_eq(s->weight, zero), zero, s->weight * (v_log(sum) - picked)) + s->other;
    for (int r = 0; r < rows; r++) row_loss[r] = (double)loss[r];
}

/* The rows from i on. */
static void sparse_short_rows(const struct cross_entropy_job *j, ptrdiff_t i, ptrdiff_t rows) {
    const struct cross_entropy *c = j->c;
    const ptrdiff_t classes = c->classes;
    const size_t size = (size_t)(rows * classes) * sizeof(real);
    const real *x = (const real *)c->logits + i * classes;
    real *dx = (real *)c->dlogits + i * classes, some[VLEN * SHORT_ROW], *to = dx;
    if (rows < VLEN) memset(some, 0, sizeof some), x = memcpy(some, x, size), to = some;
    const struct short_rows s = take_short_rows(c, i, rows);
    vec column[SHORT_ROW];
    const vec top = load_columns(x, classes, column);
    sparse_columns(j, &s, column, top, c->row_loss + i, rows);
    store_columns(to, classes, column, v_set(1), v_set(0));
    if (to != dx) memcpy(dx, to, size);
}

INLINE int has_short_rows(const struct cross_entropy *c) {
    return c->labels && c->label_smoothing == 0 && c->classes <= SHORT_ROW;
}

static void cross_entropy_rows(const struct cross_entropy_job *j, ptrdiff_t begin, ptrdiff_t end) {
    const struct cross_entropy *c = j->c;
    if (has_short_rows(c))
        for (ptrdiff_t i = begin; i < end; i += VLEN) sparse_short_rows(j, i, end - i < VLEN ? end - i : VLEN);
    else
        for (ptrdiff_t i = begin; i < end; i++) c->row_loss[i] = cross_entropy_row(j, i);
}

static void cross_entropy_task(void *job, ptrdiff_t index) {
    const struct cross_entropy_job *j = job;
    const ptrdiff_t run = rows_per_task(j->c->classes), begin = index * run, end = begin + run;
    cross_entropy_rows(j, begin, end < j->c->rows ? end : j->c->rows);
}

/* What "mean" divides by: Σ s w_t over the rows that count, Σ s for probabilities. */
static double divisor(const struct cross_entropy *c) {
    const real *weight = c->labels ? c->weight : NULL, *s = c->sample_weight;
    if (!weight && !s) {
        ptrdiff_t rows = c->labels ? 0 : c->rows;
        for (ptrdiff_t i = 0; c->labels && i < c->rows; i++) rows += counts(c, c->labels[i]);
        return (double)rows;
    }
    double total = 0;
    for (ptrdiff_t i = 0; i < c->rows; i++) {
        const int64_t label = c->labels ? c->labels[i] : -1;
        if (c->labels && !counts(c, label)) continue;
        total += (s ? (double)s[i] : 1) * (weight ? (double)weight[label] : 1);
    }
    return total;
}

/* In chains, since an addition waits for the one before; their number is always the same. */
static double sum_of(const double *a, ptrdiff_t count) {
    enum { CHAINS = 8 };
    double sums[CHAINS] = {0}, total = 0;
    for (ptrdiff_t i = 0; i < count / CHAINS * CHAINS; i += CHAINS)
        UNROLL for (int k = 0; k < CHAINS; k++) sums[k] += a[i + k];
    for (ptrdiff_t i = count / CHAINS * CHAINS; i < count; i++) total += a[i];
    for (int k = 0; k < CHAINS; k++) total += sums[k];
    return total;
}

/* cost: of an element, in multiply-adds */
static int run_rows(const struct cross_entropy *c, pool_task task, int cost) {
    const double by = c->reduction == REDUCE_MEAN ? divisor(c) : 1;
    struct cross_entropy_job j = {c, reciprocal_of(by)};
    const ptrdiff_t run = rows_per_task(c->classes);
    const int share = pool_is_worth((double)c->rows * (double)c->classes * cost, VLEN);
    pool_run(task, &j, (c->rows + run - 1) / run, share);
    real *loss = c->loss;
    if (c->reduction != REDUCE_NONE) loss[0] = (real)(sum_of(c->row_loss, c->rows) / by);
    else for (ptrdiff_t i = 0; i < c->rows; i++) loss[i] = (real)c->row_loss[i];
    return 0;
}

static int cross_entropy(const void *arguments) { return run_rows(arguments, cross_entropy_task, ROW_COST); }

static int is_bad(const struct bad_label *b, int64_t label) {
    return (uint64_t)label >= (uint64_t)b->classes && label != b->ignore_index;
}

static int bad_label(const void *arguments) {
    enum { SOME = 256 };
    const struct bad_label *b = arguments;
    *b->found = -1;
    for (ptrdiff_t begin = 0; begin < b->count; begin += SOME) {
        const ptrdiff_t end = begin + SOME < b->count ? begin + SOME : b->count;
        int any = 0;
        for (ptrdiff_t i = begin; i < end; i++) any |= is_bad(b, b->labels[i]);
        for (ptrdiff_t i = begin; any && i < end && *b->found < 0; i++)
            if (is_bad(b, b->labels[i])) *b->found = i;
    }
    return *b->found < 0 ? 0 : REFUSED;
}

/* --------------------------------------------------------------------------------- negative log-likelihood */

/* into a gradient of zeros */
static double nll_row(const struct cross_entropy_job *j, ptrdiff_t i) {
    const struct cross_entropy *c = j->c;
    const int64_t label = c->labels[i];
    if (!counts(c, label)) return ignored_loss(c, label);
    const ptrdiff_t at = i * c->classes + label;
    const real a = row_weight(c, i, label);
    ((real *)c->dlogits)[at] = -a * j->by.unit * j->by.scale;
    return -(double)a * (double)((const real *)c->logits)[at];
}

static void nll_task(void *job, ptrdiff_t index) {
    const struct cross_entropy_job *j = job;
    const struct cross_entropy *c = j->c;
    const ptrdiff_t run = rows_per_task(c->classes), begin = index * run, end = begin + run < c->rows ? begin + run : c->rows;
    memset((real *)c->dlogits + begin * c->classes, 0, (size_t)((end - begin) * c->classes) * sizeof(real));
    for (ptrdiff_t i = begin; i < end; i++) c->row_loss[i] = nll_row(j, i);
}

enum { NLL_COST = 2 };
static int nll_loss(const void *arguments) { return run_rows(arguments, nll_task, NLL_COST); }

#endif
