/* y = x wᵀ + b for a few rows of x: vectors lie along k, so that neither x nor w is copied or turned. */
#ifndef DOT_H
#define DOT_H

#include "matmul.h"

/* Columns to a tile of so many rows: rows × columns accumulators, a load for each row and column at every step. A single row of
 * few terms, where summing up costs most, takes WIDE columns. */
enum { WIDE = 16, WIDE_TERMS = 8 * VLEN };
#if defined(ISA_AVX512) || defined(ISA_NEON)
enum { DOT_ROWS = 4 };
static const int dot_cols[DOT_ROWS + 1] = {0, 8, 12, 8, 6};
#define EACH_DOT(DO) DO(1, 8) DO(2, 12) DO(3, 8) DO(4, 6)
#else
enum { DOT_ROWS = 3 };
static const int dot_cols[DOT_ROWS + 1] = {0, 8, 6, 4};
#define EACH_DOT(DO) DO(1, 8) DO(2, 6) DO(3, 4)
#endif

enum { DOT_BLOCK = 48 }; /* a multiple of every number of columns */

/* Lane i of the result is the sum of a[i]'s lanes: log2(VLEN) rounds of zip and add, in a fixed order. */
INLINE void v_fold(vec *a, const int half) {
    UNROLL for (int i = 0; i < half; i++) a[i] = v_zip_lo(a[i], a[i + half]) + v_zip_hi(a[i], a[i + half]);
}
INLINE vec v_sums(vec *a) {
    if (VLEN >= 16) v_fold(a, 8);
    if (VLEN >= 8) v_fold(a, 4);
    if (VLEN >= 4) v_fold(a, 2);
    v_fold(a, 1);
    return a[0];
}

struct dot { /* x (m, k) and w (n, k) with contiguous rows */
    ptrdiff_t m, k, n, x_row, w_row, c_row, c_col, bias_row, bias_col, col_block;
    const real *x, *w, *bias;
    real *c, *y;
    struct activation act;
    int share; /* as pool_run() takes it */
};

/* C[i][j] = x[i]·w[j] + bias for i < rows and the `valid` columns at w, c, bias. Columns beyond repeat the last. */
INLINE void dot_tile(const int rows, const int cols, const struct dot *d, const real *x, const real *w,
                     const real *bias, real *c, int valid, real floor) {
    enum { SUMS = 24 + VLEN };
    const real *wj[WIDE];
    UNROLL for (int j = 0; j < cols; j++) wj[j] = w + (j < valid ? j : valid - 1) * d->w_row;
    vec acc[SUMS];
    UNROLL for (int q = 0; q < rows * cols; q++) acc[q] = v_set(0);
    ptrdiff_t p = 0;
    for (; p + VLEN <= d->k; p += VLEN) {
        vec xv[DOT_ROWS];
        UNROLL for (int i = 0; i < rows; i++) xv[i] = v_keep(v_load(x + i * d->x_row + p));
        UNROLL for (int j = 0; j < cols; j++) {
            const vec wv = v_keep(v_load(wj[j] + p));
            UNROLL for (int i = 0; i < rows; i++) acc[i * cols + j] = v_fma(xv[i], wv, acc[i * cols + j]);
        }
    }
    if (p < d->k) {
        const int left = (int)(d->k - p);
        vec xv[DOT_ROWS];
        UNROLL for (int i = 0; i < rows; i++) xv[i] = v_load_n(x + i * d->x_row + p, left);
        UNROLL for (int j = 0; j < cols; j++) {
            const vec wv = v_load_n(wj[j] + p, left);
            UNROLL for (int i = 0; i < rows; i++) acc[i * cols + j] = v_fma(xv[i], wv, acc[i * cols + j]);
        }
    }
    real sums[SUMS];
    UNROLL for (int q = 0; q < rows * cols; q += VLEN) {
        UNROLL for (int i = rows * cols; i < q + VLEN; i++) acc[i] = v_set(0);
        v_store(sums + q, v_sums(acc + q));
    }
    if (d->c_col == 1 && (!bias || d->bias_row == 0)) {
        const vec lowest = v_set(floor);
        UNROLL for (int i = 0; i < rows; i++)
            for (int j = 0, n; j < cols && j < valid; j += VLEN) {
                n = (int)least(VLEN, least(cols, valid) - j);
                const vec z = v_load(sums + i * cols + j) + (bias ? v_load_n(bias + j, n) : v_set(0));
                const vec kept = v_sel(v_le(z, lowest), lowest, z);
                if (n == VLEN) v_store(c + i * d->c_row + j, kept);
                else v_store_n(c + i * d->c_row + j, kept, n);
            }
        return;
    }
    UNROLL for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols && j < valid; j++) {
            const real z = sums[i * cols + j] + (bias ? bias[i * d->bias_row + j * d->bias_col] : 0);
            c[i * d->c_row + j * d->c_col] = z <= floor ? floor : z;
        }
}

typedef void dot_fn(const struct dot *, const real *, const real *, const real *, real *, int, real);
#define DOT(rows, cols)                                                                                    \
    static void dot_##rows##x##cols(const struct dot *d, const real *x, const real *w, const real *bias, real *c, int valid, \
                           real floor) { dot_tile(rows, cols, d, x, w, bias, c, valid, floor); }
EACH_DOT(DOT)
DOT(1, 16)
#define DOT_ENTRY(rows, cols) dot_##rows##x##cols,
static dot_fn *const dots[DOT_ROWS] = {EACH_DOT(DOT_ENTRY)};

INLINE int dot_tile_cols(const struct dot *d, ptrdiff_t rows) {
    return rows == 1 && d->k <= WIDE_TERMS ? WIDE : dot_cols[rows];
}

static void dot_task(void *job, ptrdiff_t index) {
    const struct dot *d = job;
    const ptrdiff_t begin = index * d->col_block, end = least(begin + d->col_block, d->n);
    const ptrdiff_t strip = evenly(d->m, DOT_ROWS);
    const real floor = d->act.code == ACT_relu ? 0 : -INFINITY;
    for (ptrdiff_t block = begin; block < end; block += DOT_BLOCK) /* of w, which stays in the cache */
        for (ptrdiff_t i = 0; i < d->m; i += strip) {
            const ptrdiff_t rows = least(strip, d->m - i), stop = least(block + DOT_BLOCK, end);
            const int cols = dot_tile_cols(d, rows);
            dot_fn *const tile = cols == WIDE ? dot_1x16 : dots[rows - 1];
            for (ptrdiff_t j = block; j < stop; j += cols)
                tile(d, d->x + i * d->x_row, d->w + j * d->w_row,
                     d->bias ? d->bias + i * d->bias_row + j * d->bias_col : NULL,
                     d->c + i * d->c_row + j * d->c_col, (int)least(cols, stop - j), floor);
        }
    if (!d->y) return;
    const ptrdiff_t at = begin * d->c_col;
    if (d->c_col == 1) act_forward(d->act, d->c + at, d->y + at, d->c_row, d->m, end - begin);
    else act_forward(d->act, d->c + at, d->y + at, d->c_col, end - begin, d->m);
}

/* -> the number of tasks */
static ptrdiff_t dot_tasks(struct dot *d) {
    d->col_block = d->share > 0 ? round_up(parts(d->n, 4 * pool_threads()), DOT_BLOCK) : d->n;
    return d->m && d->n ? parts(d->n, d->col_block) : 0;
}

static void dot(struct dot *d) {
    const ptrdiff_t tasks = dot_tasks(d);
    if (tasks) pool_run(dot_task, d, tasks, d->share);
}

#endif
