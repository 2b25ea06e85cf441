/* The fully connected layer and its gradients: three matmuls and a pass over dy. */
#ifndef LINEAR_H
#define LINEAR_H

#include "dot.h"
#include "matmul.h"

/* Up to FEW rows of x, or of w, summing across lanes costs less than turning an operand, if k fills the lanes or there is
 * little to sum; and up to twice as many where the tile would have to copy its other operand (see plan()). From MANY rows
 * on, turning w costs nothing beside the multiplications. */
enum { FEW = 2 * DOT_ROWS, MANY = 128 };
INLINE int prefers_dot(const struct linear_forward *f) {
    const ptrdiff_t rows = least(f->m, f->n), few = f->k * sizeof(real) % 4096 ? FEW : 2 * FEW;
    return rows <= few && (f->k >= 2 * VLEN || f->m * f->n <= 512) && f->x.col == 1 && f->w.col == 1;
}

/* y = x wᵀ + b, or its transpose as w xᵀ + b: as tiles whose vectors lie along the shorter of the two, since that is the one
 * to be turned; in few rows, as dot products. Which one depends on the shapes alone, and only the dot products add up in
 * another order. */
static void linear_forward(const struct linear_forward *f) {
    real *c = f->z ? f->z : f->y;
    real *y = f->act.code == ACT_identity || f->act.code == ACT_relu ? NULL : f->y;
    const struct operand x = {f->x.data, f->x.row, f->x.col}, w = {f->w.data, f->w.row, f->w.col};
    const int turned = f->m < f->n && f->m <= MANY;
    if (prefers_dot(f)) {
        struct dot d = {.k = f->k, .bias = f->b, .c = c, .y = y, .act = f->act};
        if (f->m < f->n) d.m = f->m, d.n = f->n, d.x = x.data, d.x_row = x.row, d.w = w.data, d.w_row = w.row,
                    d.c_row = f->n, d.c_col = 1, d.bias_row = 0, d.bias_col = 1;
        else d.m = f->n, d.n = f->m, d.x = w.data, d.x_row = w.row, d.w = x.data, d.w_row = x.row,
             d.c_row = 1, d.c_col = f->n, d.bias_row = 1, d.bias_col = 0;
        dot(&d);
        return;
    }
    struct matmul j = {.k = f->k, .c = c, .y = y, .bias = f->b, .act = f->act};
    if (turned) j.m = f->n, j.n = f->m, j.s = w, j.v = (struct operand){x.data, x.col, x.row}, j.c_row = 1,
                j.c_col = f->n, j.bias_by_rows = 1;
    else j.m = f->m, j.n = f->n, j.s = x, j.v = (struct operand){w.data, w.col, w.row}, j.c_row = f->n, j.c_col = 1;
    matmul(&j);
}

/* dz = dy act'(saved) and db = Σ_rows dz, a strip of columns to a task: db is summed in the order of the rows. */
enum { STRIP = 64 };


static void dz_task(void *job, ptrdiff_t index) {
    const struct linear_backward *b = job;
    const ptrdiff_t at = index * STRIP, cols = least(STRIP, b->n - at);
    real sums[STRIP] = {0};
    if (b->dz) {
        act_backward(b->act, (const real *)b->dy + at, (const real *)b->saved + at, (real *)b->dz + at,
                     b->db ? sums : NULL, b->n, b->m, cols);
    } else {
        const real *dy = (const real *)b->dy + at;
        for (ptrdiff_t i = 0; i < b->m; i++, dy += b->n)
            for (ptrdiff_t j = 0; j < cols; j++) sums[j] += dy[j];
    }
    real *db = b->db;
    if (db) for (ptrdiff_t j = 0; j < cols; j++) db[at + j] = sums[j] + (b->accumulate ? db[at + j] : 0);
}

/* dw (n, k) = dzᵀ x for a few rows of x: there is little to sum and much to write, so it is written row after row. */
enum { OUTER_ROWS = 32, OUTER_TERMS = 4 };

/* dw[0..n] (+)= Σ_p s[p] x[p][0..n], for whole vectors or a part of one */
INLINE void outer_vector(const int terms, const vec *s, const real *x, ptrdiff_t x_row, real *dw, int n, int add) {
    vec sum = !add ? v_set(0) : n == VLEN ? v_load(dw) : v_load_n(dw, n);
    UNROLL for (int p = 0; p < terms; p++)
        sum = v_fma(s[p], n == VLEN ? v_load(x + p * x_row) : v_load_n(x + p * x_row, n), sum);
    if (n == VLEN) v_store(dw, sum);
    else v_store_n(dw, sum, n);
}

INLINE void outer_row(const int terms, const struct linear_backward *b, ptrdiff_t i) {
    const real *dz = b->dz ? b->dz : b->dy, *x = b->x.data;
    real *dw = (real *)b->dw + i * b->k;
    vec s[OUTER_TERMS];
    UNROLL for (int p = 0; p < terms; p++) s[p] = v_set(dz[p * b->n + i]);
    ptrdiff_t j = 0;
    for (; j + VLEN <= b->k; j += VLEN) outer_vector(terms, s, x + j, b->x.row, dw + j, VLEN, b->accumulate);
    if (j < b->k) outer_vector(terms, s, x + j, b->x.row, dw + j, (int)(b->k - j), b->accumulate);
}

static void outer_task(void *job, ptrdiff_t index) {
    const struct linear_backward *b = job;
    for (ptrdiff_t i = index * OUTER_ROWS; i < least((index + 1) * OUTER_ROWS, b->n); i++) {
        if (b->m == 1) outer_row(1, b, i);
        else if (b->m == 2) outer_row(2, b, i);
        else if (b->m == 3) outer_row(3, b, i);
        else outer_row(4, b, i);
    }
}

static void outer(const struct linear_backward *b) {
    const ptrdiff_t tasks = parts(b->n, OUTER_ROWS);
    if (worth_sharing(b->m, b->k, b->n)) pool_run(outer_task, (void *)b, tasks);
    else for (ptrdiff_t i = 0; i < tasks; i++) outer_task((void *)b, i);
}

static void linear_backward(const struct linear_backward *b) {
    if (b->dz || b->db) {
        const ptrdiff_t tasks = parts(b->n, STRIP);
        if (worth_sharing(b->m, 0, b->n)) pool_run(dz_task, (void *)b, tasks);
        else for (ptrdiff_t i = 0; i < tasks; i++) dz_task((void *)b, i);
    }
    const real *dz = b->dz ? b->dz : b->dy;
    const struct activation none = {ACT_identity, 0, 0};
    if (b->dx) { /* dx (m, k) = dz (m, n) · w (n, k) */
        struct matmul j = {.m = b->m, .k = b->n, .n = b->k, .s = {dz, b->n, 1},
                           .v = {b->w.data, b->w.row, b->w.col}, .c = b->dx, .c_row = b->k, .c_col = 1, .act = none};
        matmul(&j);
    }
    if (b->dw && b->m > 0 && b->m <= OUTER_TERMS && b->x.col == 1) outer(b);
    else if (b->dw) { /* dw (n, k) = dzᵀ (n, m) · x (m, k) */
        struct matmul j = {.m = b->n, .k = b->m, .n = b->k, .s = {dz, 1, b->n},
                           .v = {b->x.data, b->x.row, b->x.col}, .c = b->dw, .c_row = b->k, .c_col = 1, .act = none,
                           .add = b->accumulate};
        matmul(&j);
    }
}

#endif
