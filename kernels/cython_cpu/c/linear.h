/* The fully connected layer. */
#ifndef LINEAR_H
#define LINEAR_H

#include "dot.h"
#include "matmul.h"

/* Few rows of x, or of w, are multiplied as dot products. Summing across lanes then costs less than turning an operand, if k
 * fills the lanes or there is little to sum: up to FEW rows, or twice as many where the tile would have to copy its other
 * operand (see plan()). It also costs less than the lanes of the tile that more rows leave empty; DOT_STEP and DOT_SUM are
 * what a step of VLEN terms and the rest cost, for each element, in multiply-adds. Not so if the other operand has to
 * come from memory, which the dot products do not read as evenly. */
enum { FEW = 2 * DOT_ROWS };
#define DOT_STEP 1.28
#define DOT_SUM 3
INLINE int prefers_dot(const struct linear_forward *f) {
    const ptrdiff_t rows = least(f->m, f->n), others = f->m + f->n - rows;
    const ptrdiff_t few = f->k * sizeof(real) % 4096 ? FEW : 2 * FEW;
    const int is_few = rows <= few && (f->k >= 2 * VLEN || f->m * f->n <= 512);
    const double dots = (double)rows * (DOT_STEP * (double)f->k / VLEN + DOT_SUM);
    const double tiles = (double)parts(rows, VLEN) * (double)f->k;
    return (is_few || (dots < tiles && others * f->k < LARGE)) && f->x.col == 1 && f->w.col == 1;
}

/* An operand is to be turned: w, n k elements, or x, m k of them, and then C as well, to and fro each time that V_BLOCK
 * is full.
 * TURN / 2: what an element of C costs beside one of x or w; more where tiles are not whole vectors high.
 * From MANY rows on, turning w costs nothing beside the multiplications. */
#if defined(ISA_AVX512)
enum { TURN = 2 };
#else
enum { TURN = 5 };
#endif
enum { MANY = 128 };
INLINE int prefers_turned(const struct linear_forward *f) {
    const double m = (double)f->m, k = (double)f->k, n = (double)f->n;
    const double turns = 2 * (double)parts(f->k * round_up(f->m, 2 * VLEN), V_BLOCK) - 1; /* of each tile, about */
    return f->m < f->n && f->m <= MANY && m * k + m * n * turns * TURN / 2 < n * k;
}

/* What comes first, and what is made of it; NULL where that is the same. */
INLINE real *z_of(const struct linear_forward *f) { return f->z ? f->z : f->y; }
INLINE real *y_of(const struct linear_forward *f) {
    return f->act.code == ACT_identity || f->act.code == ACT_relu ? NULL : f->y;
}

static struct dot forward_dots(const struct linear_forward *f, int share) {
    struct dot d = {.k = f->k, .bias = f->b, .c = z_of(f), .y = y_of(f), .act = f->act, .share = share};
    if (f->m < f->n) d.m = f->m, d.n = f->n, d.x = f->x.data, d.x_row = f->x.row, d.w = f->w.data, d.w_row = f->w.row,
                d.c_row = f->n, d.c_col = 1, d.bias_row = 0, d.bias_col = 1;
    else d.m = f->n, d.n = f->m, d.x = f->w.data, d.x_row = f->w.row, d.w = f->x.data, d.w_row = f->x.row,
         d.c_row = 1, d.c_col = f->n, d.bias_row = 1, d.bias_col = 0;
    return d;
}

static struct matmul forward_product(const struct linear_forward *f, int share) {
    struct matmul j = {.k = f->k, .c = z_of(f), .y = y_of(f), .bias = f->b, .act = f->act, .share = share};
    const struct operand x = {f->x.data, f->x.row, f->x.col}, w = {f->w.data, f->w.row, f->w.col};
    if (prefers_turned(f)) j.m = f->n, j.n = f->m, j.s = w, j.v = (struct operand){x.data, x.col, x.row}, j.c_row = 1,
                j.c_col = f->n, j.bias_by_rows = 1;
    else j.m = f->m, j.n = f->n, j.s = x, j.v = (struct operand){w.data, w.col, w.row}, j.c_row = f->n, j.c_col = 1;
    return j;
}

/* y = x wᵀ + b, or its transpose as w xᵀ + b: as tiles, in the way that turns less; in few rows, as dot products. Which one
 * depends on shapes and strides alone, and only the dot products add up in another order. */
static int linear_forward(const void *arguments) {
    const struct linear_forward *f = arguments;
    const int share = worth_sharing(f->m, f->k, f->n);
    if (!pool_scratch()) return NO_MEMORY;
    if (prefers_dot(f)) {
        struct dot d = forward_dots(f, share);
        dot(&d);
    } else {
        struct matmul j = forward_product(f, share);
        matmul(&j);
    }
    return 0;
}

#endif
