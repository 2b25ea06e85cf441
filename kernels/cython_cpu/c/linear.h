/* The fully connected layer and its gradients: three matmuls and a pass over dy. */
#ifndef LINEAR_H
#define LINEAR_H

#include "dot.h"
#include "matmul.h"
#include "outer.h"

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

/* C (+)= S V */
static void multiply(struct matmul *j) {
    if (prefers_outer(j)) outer(j);
    else matmul(j);
}

static void linear_backward(const struct linear_backward *b) {
    if (b->dz || b->db) {
        const ptrdiff_t tasks = parts(b->n, STRIP);
        if (worth_sharing(b->m / 4, 0, b->n)) pool_run(dz_task, (void *)b, tasks); /* cheap for what it reads */
        else for (ptrdiff_t i = 0; i < tasks; i++) dz_task((void *)b, i);
    }
    const real *dz = b->dz ? b->dz : b->dy;
    const struct activation none = {ACT_identity, 0, 0};
    if (b->dx) { /* dx (m, k) = dz (m, n) · w (n, k) */
        struct matmul j = {.m = b->m, .k = b->n, .n = b->k, .s = {dz, b->n, 1},
                           .v = {b->w.data, b->w.row, b->w.col}, .c = b->dx, .c_row = b->k, .c_col = 1, .act = none};
        multiply(&j);
    }
    if (b->dw) { /* dw (n, k) = dzᵀ (n, m) · x (m, k), or its transpose if vectors along n waste fewer lanes */
        const struct operand s = {dz, 1, b->n}, v = {b->x.data, b->x.row, b->x.col};
        struct matmul j = {.m = b->n, .k = b->m, .n = b->k, .s = s, .v = v, .c = b->dw, .c_row = b->k, .c_col = 1,
                           .act = none, .add = b->accumulate};
        if (round_up(b->n, VLEN) * b->k < round_up(b->k, VLEN) * b->n)
            j.m = b->k, j.n = b->n, j.s = (struct operand){v.data, v.col, v.row}, j.c_row = 1, j.c_col = b->k,
            j.v = (struct operand){s.data, s.col, s.row};
        multiply(&j);
    }
}

#endif
