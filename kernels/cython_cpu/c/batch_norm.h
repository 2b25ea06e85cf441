/* Batch norm over columns, y = (x - mean) rstd w + b, and its gradients: Ioffe & Szegedy 2015, formulas as in
 * reference/normalize.py. Each chunk of rows has a mean and a sum of squares of its own, found while it is in the cache. */
#ifndef BATCH_NORM_H
#define BATCH_NORM_H

#include "layer_norm.h"

struct batch_norm_job {
    const struct normalize *b;
    ptrdiff_t chunk; /* rows to a task */
    real *sums;      /* of each chunk, STATISTICS or GRADIENTS times n */
};
enum { STATISTICS = 3, GRADIENTS = 2 };

INLINE ptrdiff_t rows_of_chunk(const struct batch_norm_job *j, ptrdiff_t index) {
    const ptrdiff_t left = j->b->rows - index * j->chunk;
    return left < j->chunk ? left : j->chunk;
}

INLINE int batch_norm_share(const struct normalize *b) {
    return pool_is_worth((double)b->rows * (double)b->n * NORM_COST, VLEN);
}

/* Room for `count` times n reals, all 0, for each chunk, and for one at least; NULL if there is none. */
static real *sums_of(const struct batch_norm_job *j, ptrdiff_t count) {
    const ptrdiff_t chunks = chunks_of(j->b->rows, j->chunk);
    return calloc((size_t)((chunks ? chunks : 1) * count * j->b->n) + 1, sizeof(real));
}

/* Of a chunk: a mean m as it was first rounded, Σ (x - m) and Σ (x - m)^2 */
static void statistics_task(void *job, ptrdiff_t index) {
    const struct batch_norm_job *j = job;
    const ptrdiff_t c = j->b->n, rows = rows_of_chunk(j, index);
    const real *x = (const real *)j->b->x + index * j->chunk * c;
    real *mean = j->sums + index * STATISTICS * c, *first = mean + c, *second = first + c;
    const vec zero = v_set(0), part = v_set(1 / (real)rows);
    for (ptrdiff_t i = 0; i < rows; i++)
        EACH_VECTOR(c) add_to(mean + at, row_load(x + i * c + at, n, zero), n);
    EACH_VECTOR(c) row_store(mean + at, row_load(mean + at, n, zero) * part, n);
    for (ptrdiff_t i = 0; i < rows; i++)
        EACH_VECTOR(c) {
            const vec d = row_load(x + i * c + at, n, zero) - row_load(mean + at, n, zero);
            add_to(first + at, d, n), add_to(second + at, d * d, n);
        }
}

/* The statistics of column k from those of the chunks (Chan, Golub & LeVeque 1983). What counts is how far the chunks' means are
 * from each other: they are taken from the first one's, before they are added to what rounding left of them. */
static void add_statistics(const struct batch_norm_job *j, ptrdiff_t chunks, ptrdiff_t k) {
    const struct normalize *b = j->b;
    const ptrdiff_t n = b->n;
    const real *of_chunk = j->sums + k, *pivot = of_chunk;
    double rows = (double)b->rows, shift = 0, squares = 0;
    for (ptrdiff_t c = 0; c < chunks; c++, of_chunk += STATISTICS * n)
        shift += (double)rows_of_chunk(j, c) * (double)(of_chunk[0] - *pivot) + (double)of_chunk[n];
    shift /= rows; /* NaN without rows */
    of_chunk = pivot;
    for (ptrdiff_t c = 0; c < chunks; c++, of_chunk += STATISTICS * n) {
        const double some = (double)rows_of_chunk(j, c), first = (double)of_chunk[n], rest = first / some;
        const double d = (double)(of_chunk[0] - *pivot) + rest - shift, own = (double)of_chunk[2 * n] - first * rest;
        squares += (own < 0 ? 0 : own) + some * (d * d);
    }
    ((real *)b->mean)[k] = (real)((double)*pivot + shift);
    ((real *)b->var)[k] = (real)(squares / rows);
    ((real *)b->rstd)[k] = (real)(1 / sqrt(squares / rows + b->eps));
}

static void apply_task(void *job, ptrdiff_t index) {
    const struct normalize *b = job;
    const ptrdiff_t c = b->n, run = rows_per_task(c), begin = index * run, end = begin + run < b->rows ? begin + run : b->rows;
    const real *mean = b->mean, *rstd = b->rstd, *weight = b->weight, *bias = b->bias;
    const vec zero = v_set(0), one = v_set(1);
    for (ptrdiff_t i = begin; i < end; i++)
        EACH_VECTOR(c) {
            const vec d = row_load((const real *)b->x + i * c + at, n, zero) - row_load(mean + at, n, zero);
            const vec scale = row_load(rstd + at, n, zero) * (weight ? row_load(weight + at, n, zero) : one);
            row_store((real *)b->y + i * c + at, v_fma(d, scale, bias ? row_load(bias + at, n, zero) : zero), n);
        }
}

static int batch_norm_apply(const void *arguments) {
    const struct normalize *b = arguments;
    const ptrdiff_t run = rows_per_task(b->n);
    pool_run(apply_task, (void *)b, (b->rows + run - 1) / run, batch_norm_share(b));
    return 0;
}

static int batch_norm_forward(const void *arguments) {
    const struct normalize *b = arguments;
    struct batch_norm_job j = {b, chunk_rows(b->rows), NULL};
    const ptrdiff_t chunks = chunks_of(b->rows, j.chunk);
    j.sums = sums_of(&j, STATISTICS);
    if (!j.sums) return NO_MEMORY;
    pool_run(statistics_task, &j, chunks, batch_norm_share(b));
    for (ptrdiff_t k = 0; k < b->n; k++) add_statistics(&j, chunks, k);
    free(j.sums);
    return batch_norm_apply(b);
}

/* ---------------------------------------------------------------------------------------------- gradients */

/* Of a chunk: Σ dy and Σ dy x^, with x^ = (x - mean) rstd */
static void gradients_task(void *job, ptrdiff_t index) {
    const struct batch_norm_job *j = job;
    const struct normalize *b = j->b;
    const ptrdiff_t c = b->n, rows = rows_of_chunk(j, index), first = index * j->chunk * c;
    real *dbias = j->sums + index * GRADIENTS * c, *dweight = dbias + c;
    const real *mean = b->mean, *rstd = b->rstd;
    const vec zero = v_set(0);
    for (ptrdiff_t i = 0; i < rows; i++)
        EACH_VECTOR(c) {
            const ptrdiff_t here = first + i * c + at;
            const vec dy = row_load((const real *)b->dy + here, n, zero);
            const vec d = row_load((const real *)b->x + here, n, zero) - row_load(mean + at, n, zero);
            add_to(dbias + at, dy, n), add_to(dweight + at, dy * (d * row_load(rstd + at, n, zero)), n);
        }
}

/* dx = w rstd (dy - Σ dy / rows - x^ Σ dy x^ / rows); where the statistics were given, w rstd dy */
static void batch_norm_dx_task(void *job, ptrdiff_t index) {
    const struct batch_norm_job *j = job;
    const struct normalize *b = j->b;
    const ptrdiff_t c = b->n, run = rows_per_task(c), begin = index * run, end = begin + run < b->rows ? begin + run : b->rows;
    const real *mean = b->mean, *rstd = b->rstd, *weight = b->weight, *all = j->sums;
    const vec zero = v_set(0), one = v_set(1), part = v_set(1 / (real)b->rows);
    for (ptrdiff_t i = begin; i < end; i++)
        EACH_VECTOR(c) {
            const vec r = row_load(rstd + at, n, zero), w = weight ? row_load(weight + at, n, zero) : one;
            vec g = row_load((const real *)b->dy + i * c + at, n, zero);
            if (b->training) {
                const vec normal = (row_load((const real *)b->x + i * c + at, n, zero) - row_load(mean + at, n, zero)) * r;
                g = g - v_fma(normal, row_load(all + c + at, n, zero), row_load(all + at, n, zero)) * part;
            }
            row_store((real *)b->dx + i * c + at, w * r * g, n);
        }
}

static int batch_norm_backward(const void *arguments) {
    const struct normalize *b = arguments;
    struct batch_norm_job j = {b, chunk_rows(b->rows), NULL};
    const ptrdiff_t n = b->n, chunks = chunks_of(b->rows, j.chunk), run = rows_per_task(n);
    const int share = batch_norm_share(b);
    if (b->dweight || b->dbias || b->training) {
        j.sums = sums_of(&j, GRADIENTS);
        if (!j.sums) return NO_MEMORY;
        pool_run(gradients_task, &j, chunks, share);
        add_chunks(j.sums, chunks, GRADIENTS * n, b->dbias, n);
        add_chunks(j.sums + n, chunks, GRADIENTS * n, b->dweight, n);
        add_chunks(j.sums, chunks, GRADIENTS * n, j.sums, GRADIENTS * n);
    }
    if (b->dx) pool_run(batch_norm_dx_task, &j, (b->rows + run - 1) / run, share);
    free(j.sums);
    return 0;
}

#endif
