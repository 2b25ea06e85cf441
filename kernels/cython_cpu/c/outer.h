/* C (m, n) (+)= S (m, k) · V (k, n) where memory is all that counts: a single row, which reads V once, or a few terms,
 * which hardly do more than write C. A row of C is built up from whole rows of V, up to eight side by side, so that
 * everything is read and written in long runs. Adds in the order and the blocks of k, as the tile does. */
#ifndef OUTER_H
#define OUTER_H

#include "matmul.h"

enum { LONG_ROW = 96, FEW_TERMS = 4, MOST_TERMS = 8, RUN_ROWS = 32, RUN_COLS = 16384 / sizeof(real), SHARED_COLS = 512 };

/* Is C so large, and made of so few terms, that it is best written past the caches? Else each line of it is read first. */
INLINE int streams(const struct matmul *j) { return !j->add && j->k <= SHORT && j->m * j->n >= LARGE; }

INLINE int prefers_outer(const struct matmul *j) {
    const int few_terms = j->k <= FEW_TERMS && j->n >= LONG_ROW; /* a short row is soon done, and each costs a call */
    return (j->m == 1 || few_terms || streams(j)) && j->k > 0 && j->v.col == 1 && j->c_col == 1 && !j->bias && !j->y;
}

/* c[0..n] = from[0..n], or 0 where it is NULL, + Σ_p s[p] v[p][0..n] over `terms` rows of V; n at most a vector */
INLINE void outer_vector(const int terms, const vec *s, const real *v, ptrdiff_t v_row, const real *from, real *c, int n,
                         int stream) {
    vec sum = !from ? v_set(0) : n == VLEN ? v_load(from) : v_load_n(from, n);
    UNROLL for (int p = 0; p < terms; p++)
        sum = v_fma(s[p], n == VLEN ? v_load(v + p * v_row) : v_load_n(v + p * v_row, n), sum);
    if (n < VLEN) v_store_n(c, sum, n);
    else if (stream) v_stream(c, sum);
    else v_store(c, sum);
}

INLINE void outer_terms(const int terms, const struct matmul *j, const real *s, const real *v, const real *from, real *c,
                        ptrdiff_t cols, int stream) {
    vec scale[MOST_TERMS];
    UNROLL for (int p = 0; p < terms; p++) scale[p] = v_set(s[p * j->s.col]);
    ptrdiff_t at = 0;
    if (stream) {
        at = least(cols, (ptrdiff_t)(-(uintptr_t)c % VBYTES / sizeof(real)));
        if (at) outer_vector(terms, scale, v, j->v.row, from, c, (int)at, 0);
        for (; at + VLEN <= cols; at += VLEN)
            outer_vector(terms, scale, v + at, j->v.row, from ? from + at : NULL, c + at, VLEN, 1);
    }
    for (; at + VLEN <= cols; at += VLEN)
        outer_vector(terms, scale, v + at, j->v.row, from ? from + at : NULL, c + at, VLEN, 0);
    if (at < cols) outer_vector(terms, scale, v + at, j->v.row, from ? from + at : NULL, c + at, (int)(cols - at), 0);
}

/* c[0..cols] = Σ_p s[p] v[p][0..cols] over k terms, some at a time; what they add up to before the last of them is in kept[],
 * which may be c. */
static void outer_sum(const struct matmul *j, const real *s, const real *v, ptrdiff_t k, real *c, real *kept, ptrdiff_t cols) {
    for (ptrdiff_t p = 0, terms; p < k; p += terms, s += terms * j->s.col, v += terms * j->v.row) {
        terms = k - p >= 8 ? 8 : k - p >= 4 ? 4 : k - p;
        const int last = p + terms == k, stream = last && j->stream;
        const real *from = p ? kept : NULL;
        real *to = last ? c : kept;
        if (terms == 8) outer_terms(8, j, s, v, from, to, cols, stream);
        else if (terms == 4) outer_terms(4, j, s, v, from, to, cols, stream);
        else if (terms == 3) outer_terms(3, j, s, v, from, to, cols, stream);
        else if (terms == 2) outer_terms(2, j, s, v, from, to, cols, stream);
        else outer_terms(1, j, s, v, from, to, cols, stream);
    }
}

/* Row i of C from `column` on, in runs and in blocks of k: sums[] goes where C already holds something, or holds what is not
 * complete yet and must not be written past the caches. */
static void outer_row(const struct matmul *j, ptrdiff_t i, ptrdiff_t column, ptrdiff_t cols) {
    for (ptrdiff_t at = 0; at < cols; at += RUN_COLS)
        for (ptrdiff_t p = 0; p < j->k; p += j->k_block) {
            real sums[RUN_COLS], *c = j->c + i * j->c_row + column + at;
            const ptrdiff_t run = least(RUN_COLS, cols - at);
            const int add = j->add || p > 0;
            real *to = add ? sums : c;
            outer_sum(j, j->s.data + i * j->s.row + p * j->s.col, j->v.data + p * j->v.row + column + at,
                      least(j->k_block, j->k - p), to, j->stream ? sums : to, run);
            if (add) for (ptrdiff_t q = 0; q < run; q++) c[q] += sums[q];
        }
}

static void outer_task(void *job, ptrdiff_t index) {
    const struct matmul *j = job;
    const ptrdiff_t row = index / j->col_blocks * RUN_ROWS, column = index % j->col_blocks * j->col_block;
    for (ptrdiff_t i = row; i < least(row + RUN_ROWS, j->m); i++)
        outer_row(j, i, column, least(j->col_block, j->n - column));
    if (j->stream) v_streamed();
}

/* A single row is shared out by its columns, not too few at a time, since that makes short runs. */
static void outer(struct matmul *j) {
    j->k_block = evenly(j->k, K_BLOCK);
    j->stream = streams(j);
    j->col_block = j->share <= 0 || j->m > 1 ? j->n : least(j->n, round_up(parts(j->n, 2 * pool_threads()), SHARED_COLS));
    if (j->m == 0 || j->n == 0) return;
    j->col_blocks = parts(j->n, j->col_block);
    const ptrdiff_t tasks = parts(j->m, RUN_ROWS) * j->col_blocks;
    pool_run(outer_task, j, tasks, j->share);
}

#endif
