/* Gradients clipped, in place: by the norm of all of them, or number by number. */
#ifndef CLIP_H
#define CLIP_H

#include <stdlib.h>
#include "optim.h"

INLINE ptrdiff_t lanes_of(ptrdiff_t at, ptrdiff_t end) { return end - at < VLEN ? end - at : VLEN; }

/* sums[t] += Σ g² of what task t takes of this gradient, in four chains and lane by lane */
static void square_run(const struct optimized *o, ptrdiff_t at, ptrdiff_t end, const void *terms) {
    enum { CHAINS = 4 };
    double *sums = *(double *const *)terms;
    const ptrdiff_t task = (o->begin + at) / RUN;
    const real *g = o->param;
    vec total[CHAINS];
    for (int q = 0; q < CHAINS; q++) total[q] = v_set(0);
    for (; at + CHAINS * VLEN <= end; at += CHAINS * VLEN)
        UNROLL for (int q = 0; q < CHAINS; q++) {
            const vec x = v_load(g + at + q * VLEN);
            total[q] = v_fma(x, x, total[q]);
        }
    for (; at < end; at += VLEN) {
        const vec x = row_load(g + at, lanes_of(at, end), v_set(0));
        total[0] = v_fma(x, x, total[0]);
    }
    sums[task] += (double)v_sum((total[0] + total[1]) + (total[2] + total[3]));
}

/* g = g · by */
static void scale_run(const struct optimized *o, ptrdiff_t at, ptrdiff_t end, const void *terms) {
    const real by = *(const real *)terms;
    real *g = o->param;
    for (; at < end; at += VLEN) {
        const ptrdiff_t n = lanes_of(at, end);
        row_store(g + at, row_load(g + at, n, v_set(0)) * by, n);
    }
}

/* g = min(limit, max(-limit, g)); NaN stays */
static void bound_run(const struct optimized *o, ptrdiff_t at, ptrdiff_t end, const void *terms) {
    const vec most = v_set(*(const real *)terms), least = v_set(-*(const real *)terms);
    real *g = o->param;
    for (; at < end; at += VLEN) {
        const ptrdiff_t n = lanes_of(at, end);
        row_store(g + at, v_min(most, v_max(least, row_load(g + at, n, v_set(0)))), n);
    }
}

/* limit: what the norm is made no larger than, as torch does it; where it is infinite, the norm is all that is wanted. */
static int clip_norm(const void *arguments) {
    const struct clip *c = arguments;
    const ptrdiff_t tasks = runs_of(c->of);
    double *sums = calloc((size_t)tasks + 1, sizeof(double)), total = 0;
    if (!sums) return NO_MEMORY;
    run_over(c->of, square_run, &sums);
    for (ptrdiff_t t = 0; t < tasks; t++) total += sums[t];
    free(sums);
    const real norm = (real)sqrt(total), share = (real)c->limit / (norm + (real)1e-6);
    *(real *)c->norm = norm;
    if (!(share >= 1) && !isinf(c->limit)) run_over(c->of, scale_run, &share);
    return 0;
}

static int clip_value(const void *arguments) {
    const struct clip *c = arguments;
    const real limit = (real)c->limit;
    run_over(c->of, bound_run, &limit);
    return 0;
}

#endif
