/* Layer norm over rows, y = (x - mean) rstd w + b, and its gradients: Ba et al. 2016, formulas as in reference/normalize.py. */
#ifndef LAYER_NORM_H
#define LAYER_NORM_H

#include "columns.h"

#if REAL_BITS == 32
#define SQRT sqrtf
#else
#define SQRT sqrt
#endif

/* What an element costs, in multiply-adds. */
enum { NORM_COST = 8 };

/* Σ (x - shift) and Σ (x - shift)^2 */
INLINE void row_moments(const real *x, real shift, ptrdiff_t count, real *first, real *second) {
    const vec zero = v_set(0), m = v_set(shift);
    vec sum[4] = {zero, zero, zero, zero}, squares[4] = {zero, zero, zero, zero};
    ptrdiff_t at = 0;
    for (; at + 4 * VLEN <= count; at += 4 * VLEN)
        UNROLL for (int i = 0; i < 4; i++) {
            const vec d = v_load(x + at + i * VLEN) - m;
            sum[i] = sum[i] + d, squares[i] = v_fma(d, d, squares[i]);
        }
    for (; at < count; at += VLEN) {
        const vec d = row_load(x + at, count - at < VLEN ? count - at : VLEN, m) - m;
        sum[0] = sum[0] + d, squares[0] = v_fma(d, d, squares[0]);
    }
    *first = v_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
    *second = v_sum((squares[0] + squares[1]) + (squares[2] + squares[3]));
}

/* The mean, and 1 / sqrt(variance + eps): in two passes, where what the first mean lacks by rounding is taken from the second
 * (Chan, Golub & LeVeque 1983). */
INLINE void row_statistics(const real *x, ptrdiff_t count, real eps, real *mean, real *rstd) {
    real first, second;
    *mean = row_dot(x, NULL, count) / (real)count;
    row_moments(x, *mean, count, &first, &second);
    const real rest = first / (real)count, variance = (second - first * rest) / (real)count;
    *mean += rest;
    *rstd = 1 / SQRT((variance < 0 ? 0 : variance) + eps);
}

static void layer_norm_forward_task(void *job, ptrdiff_t index) {
    const struct normalize *l = job;
    const ptrdiff_t c = l->n, run = rows_per_task(c), begin = index * run, end = begin + run < l->rows ? begin + run : l->rows;
    const real *weight = l->weight, *bias = l->bias;
    for (ptrdiff_t i = begin; i < end; i++) {
        const real *x = (const real *)l->x + i * c;
        real *y = (real *)l->y + i * c, *mean = (real *)l->mean + i, *rstd = (real *)l->rstd + i;
        row_statistics(x, c, (real)l->eps, mean, rstd);
        const vec zero = v_set(0), one = v_set(1), m = v_set(*mean), r = v_set(*rstd);
        EACH_VECTOR(c) {
            const vec w = weight ? row_load(weight + at, n, zero) : one, b = bias ? row_load(bias + at, n, zero) : zero;
            row_store(y + at, v_fma((row_load(x + at, n, zero) - m) * r, w, b), n);
        }
    }
}

static int layer_norm_forward(const void *arguments) {
    const struct normalize *l = arguments;
    const ptrdiff_t run = rows_per_task(l->n);
    const int share = pool_is_worth((double)l->rows * (double)l->n * NORM_COST, VLEN);
    pool_run(layer_norm_forward_task, (void *)l, (l->rows + run - 1) / run, share);
    return 0;
}

/* ---------------------------------------------------------------------------------------------- gradients */

struct layer_norm_job {
    const struct normalize *l;
    ptrdiff_t chunk;
    real *sums; /* of each chunk: dbias (n), dweight (n); or NULL */
};

/* With g = dy w and x^ = (x - mean) rstd: dx = rstd (g - Σ g / n - x^ Σ g x^ / n) */
static void layer_norm_dx(const struct normalize *l, ptrdiff_t i) {
    const ptrdiff_t c = l->n;
    const real *x = (const real *)l->x + i * c, *dy = (const real *)l->dy + i * c, *weight = l->weight;
    const real mean = ((const real *)l->mean)[i], rstd = ((const real *)l->rstd)[i];
    const vec zero = v_set(0), one = v_set(1), m = v_set(mean), r = v_set(rstd);
    vec all = zero, along = zero;
    EACH_VECTOR(c) {
        const vec g = row_load(dy + at, n, zero) * (weight ? row_load(weight + at, n, zero) : one);
        all = all + g, along = v_fma(g, (row_load(x + at, n, m) - m) * r, along);
    }
    const vec shift = v_set(v_sum(all) / (real)c), slope = v_set(v_sum(along) / (real)c);
    EACH_VECTOR(c) {
        const vec g = row_load(dy + at, n, zero) * (weight ? row_load(weight + at, n, zero) : one);
        const vec normal = (row_load(x + at, n, m) - m) * r;
        row_store((real *)l->dx + i * c + at, r * v_fma(-normal, slope, g - shift), n);
    }
}

static void layer_norm_backward_task(void *job, ptrdiff_t index) {
    const struct layer_norm_job *j = job;
    const struct normalize *l = j->l;
    const ptrdiff_t c = l->n, begin = index * j->chunk, end = begin + j->chunk < l->rows ? begin + j->chunk : l->rows;
    real *dbias = j->sums ? j->sums + index * 2 * c : NULL, *dweight = dbias ? dbias + c : NULL;
    for (ptrdiff_t i = begin; i < end; i++) {
        if (l->dx) layer_norm_dx(l, i);
        if (!dbias) continue;
        const vec zero = v_set(0), m = v_set(((const real *)l->mean)[i]), r = v_set(((const real *)l->rstd)[i]);
        EACH_VECTOR(c) {
            const vec dy = row_load((const real *)l->dy + i * c + at, n, zero);
            add_to(dbias + at, dy, n);
            add_to(dweight + at, dy * ((row_load((const real *)l->x + i * c + at, n, m) - m) * r), n);
        }
    }
}

static int layer_norm_backward(const void *arguments) {
    const struct normalize *l = arguments;
    struct layer_norm_job j = {l, chunk_rows(l->rows), NULL};
    const ptrdiff_t chunks = chunks_of(l->rows, j.chunk);
    if (l->dweight || l->dbias) {
        j.sums = calloc((size_t)(chunks * 2 * l->n) + 1, sizeof(real));
        if (!j.sums) return NO_MEMORY;
    }
    const int share = pool_is_worth((double)l->rows * (double)l->n * NORM_COST, VLEN);
    pool_run(layer_norm_backward_task, &j, chunks, share);
    if (j.sums) {
        add_chunks(j.sums, chunks, 2 * l->n, l->dbias, l->n);
        add_chunks(j.sums + l->n, chunks, 2 * l->n, l->dweight, l->n);
    }
    free(j.sums);
    return 0;
}

#endif
