/* PReLU, with a slope for each channel or one for all, and its gradients. */
#ifndef PRELU_H
#define PRELU_H

#include "columns.h"
#include "elementwise.h"

/* x as (rows, channels, inner); with one slope for all it is one channel, cut into rows of RUN elements. */
struct prelu_job {
    const struct prelu *p;
    ptrdiff_t rows, channels, inner, count; /* the last row may end before `inner` does, after `count` elements */
    ptrdiff_t chunk;                        /* rows to a task */
    real *sums;                             /* (chunks, channels), or NULL */
};

/* n <= VLEN elements from `at`, with slopes w; -> their terms of dweight, 0 when forward */
INLINE vec prelu_part(const struct prelu *p, ptrdiff_t at, ptrdiff_t n, vec w) {
    const vec zero = v_set(0), x = row_load((const real *)p->x + at, n, zero);
    const vmask positive = v_lt(zero, x);
    if (!p->dy) {
        row_store((real *)p->y + at, v_sel(positive, x, w * x), n);
        return zero;
    }
    const vec dy = row_load((const real *)p->dy + at, n, zero);
    if (p->dx) row_store((real *)p->dx + at, v_sel(positive, dy, w * dy), n);
    return v_sel(positive, zero, x * dy);
}

static void prelu_row(const struct prelu_job *j, ptrdiff_t row, real *sums) {
    const real *weight = j->p->weight;
    const ptrdiff_t begin = row * j->channels * j->inner;
    if (j->inner == 1) {
        EACH_VECTOR(j->channels) {
            const vec terms = prelu_part(j->p, begin + at, n, row_load(weight + at, n, v_set(0)));
            if (sums) add_to(sums + at, terms, n);
        }
        return;
    }
    for (ptrdiff_t c = 0; c < j->channels; c++) {
        const ptrdiff_t first = begin + c * j->inner, left = j->count - first;
        vec sum = v_set(0);
        EACH_VECTOR(left < j->inner ? left : j->inner) sum = sum + prelu_part(j->p, first + at, n, v_set(weight[c]));
        if (sums) sums[c] += v_sum(sum);
    }
}

static void prelu_task(void *job, ptrdiff_t index) {
    const struct prelu_job *j = job;
    const ptrdiff_t begin = index * j->chunk, end = begin + j->chunk < j->rows ? begin + j->chunk : j->rows;
    real *sums = j->sums ? j->sums + index * j->channels : NULL;
    for (ptrdiff_t row = begin; row < end; row++) prelu_row(j, row, sums);
}

static int prelu(const void *arguments) {
    const struct prelu *p = arguments;
    const ptrdiff_t count = p->rows * p->channels * p->inner;
    struct prelu_job j = {p, p->rows, p->channels, p->inner, count, 0, NULL};
    if (p->weights == 1) j.rows = (count + RUN - 1) / RUN, j.channels = 1, j.inner = RUN;
    const ptrdiff_t size = j.channels * j.inner;
    j.chunk = j.inner == 1 ? chunk_rows(j.rows) : size && size < RUN ? RUN / size : 1;
    const ptrdiff_t chunks = chunks_of(j.rows, j.chunk);
    if (p->dy && p->dweight) {
        j.sums = calloc((size_t)(chunks * j.channels) + 1, sizeof(real));
        if (!j.sums) return NO_MEMORY;
    }
    if (count) pool_run(prelu_task, &j, chunks, pool_is_worth((double)count * CHEAP_COST, VLEN));
    if (j.sums) add_chunks(j.sums, chunks, j.channels, p->dweight, j.channels);
    free(j.sums);
    return 0;
}

#endif
