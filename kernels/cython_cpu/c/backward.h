/* The gradients of the fully connected layer:
 *
 *     dz (m, n) = dy act'(saved)    db (n) = Σ_rows dz    dx (m, k) = dz · w (n, k)    dw (n, k) = dzᵀ · x (m, k)
 *
 * In a wide layer each of the four is a job of its own, shared out by its outputs. In a tall one, many rows over small
 * weights, they are made for a chunk of rows at a time, so that dz never leaves the cache; dw and db are then
 * the sums of what each of a few groups of chunks has. Which way depends on the shape alone, and so do chunks
 * and groups. */
#ifndef BACKWARD_H
#define BACKWARD_H

#include <stdlib.h>
#include "matmul.h"
#include "outer.h"

/* Columns of dz to a task, and rows of it, at most, whose sum is one chain. */
enum { STRIP = 64, SUM_ROWS = 256 };

/* A layer is tall with so many rows, and no more weights than this. */
enum { TALL = 1024, SMALL_WEIGHTS = 4096 };
/* Rows of a group, at least; groups, at most; reals of dz and x in a chunk. */
enum { GROUP_ROWS = 256, GROUPS = 16, CHUNK = 16384 };

/* dz = dy act'(saved), where dz is not NULL, for `rows` rows of width <= STRIP, `stride` apart, from the element `at` of dy
 * and saved on; sums[j] += Σ_i dz[i][j], where sums is not NULL */
static void derive_block(const struct linear_backward *b, ptrdiff_t at, real *dz, real *sums, ptrdiff_t stride,
                         ptrdiff_t rows, ptrdiff_t width) {
    const real *dy = (const real *)b->dy + at;
    if (dz) act_backward(b->act, dy, (const real *)b->saved + at, dz, sums, stride, rows, width);
    else
        for (ptrdiff_t i = 0; i < rows; i++, dy += stride)
            for (ptrdiff_t j = 0; j < width; j++) sums[j] += dy[j];
}

/* The same for `cols` columns from `column`, and `rows` rows from `row`, with db[j] += Σ_i dz[i][j]. dz and db point to the
 * first of them; either may be NULL. Narrow rows are taken several together, as if they were one. */
static void derive(const struct linear_backward *b, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t column, ptrdiff_t cols,
                   real *dz, real *db) {
    const ptrdiff_t together = cols == b->n && cols < STRIP ? STRIP / cols : 1;
    for (ptrdiff_t i = 0; i < rows; i += SUM_ROWS)
        for (ptrdiff_t c = 0; c < cols; c += STRIP) {
            const ptrdiff_t width = least(STRIP, cols - c), at = (row + i) * b->n + column + c;
            const ptrdiff_t count = least(SUM_ROWS, rows - i), odd = count % together, even = count - odd;
            real sums[STRIP] = {0}, *to = dz ? dz + i * b->n + c : NULL, *rest = dz ? to + even * b->n : NULL;
            derive_block(b, at, to, db ? sums : NULL, together * b->n, even / together, together * width);
            if (odd) derive_block(b, at + even * b->n, rest, db ? sums : NULL, b->n, odd, width);
            if (!db) continue;
            for (ptrdiff_t t = 0; t < together; t++)
                for (ptrdiff_t j = 0; j < width; j++) db[c + j] += sums[t * width + j];
        }
}

/* C (+)= S V */
static void multiply(struct matmul *j) {
    if (prefers_outer(j)) outer(j);
    else matmul(j);
}

/* dx (rows, k) = dz (rows, n) · w (n, k), for `rows` rows from `row`; dz points to the first */
static void make_dx(const struct linear_backward *b, ptrdiff_t row, ptrdiff_t rows, const real *dz) {
    multiply(&(struct matmul){.m = rows, .k = b->n, .n = b->k, .s = {dz, b->n, 1}, .v = {b->w.data, b->w.row, b->w.col},
                              .c = (real *)b->dx + row * b->k, .c_row = b->k, .c_col = 1});
}

/* dw (n, k) (+)= dzᵀ (n, rows) · x (rows, k), or its transpose if vectors along n waste fewer lanes */
static void make_dw(const struct linear_backward *b, ptrdiff_t row, ptrdiff_t rows, const real *dz, real *dw, int add) {
    const struct operand dz_t = {dz, 1, b->n}, x = {(const real *)b->x.data + row * b->x.row, b->x.row, b->x.col};
    struct matmul j = {.m = b->n, .k = rows, .n = b->k, .s = dz_t, .v = x, .c = dw, .c_row = b->k, .c_col = 1, .add = add};
    if (round_up(b->n, VLEN) * b->k < round_up(b->k, VLEN) * b->n)
        j.m = b->k, j.n = b->n, j.s = (struct operand){x.data, x.col, x.row}, j.c_row = 1, j.c_col = b->k,
        j.v = (struct operand){dz, b->n, 1};
    multiply(&j);
}

/* ---------------------------------------------------------------------------------------------------- wide */

struct wide { const struct linear_backward *b; real *dz; };

static void wide_task(void *job, ptrdiff_t index) {
    const struct linear_backward *b = ((struct wide *)job)->b;
    const ptrdiff_t at = index * STRIP, cols = least(STRIP, b->n - at);
    real *dz = ((struct wide *)job)->dz, *db = b->db ? (real *)b->db + at : NULL;
    if (db && !b->accumulate) memset(db, 0, (size_t)cols * sizeof(real));
    derive(b, 0, b->m, at, cols, dz ? dz + at : NULL, db);
}

static int wide(const struct linear_backward *b) {
    struct wide job = {b, NULL};
    const int derived = b->act.code != ACT_identity && b->m && b->n;
    if (derived && !(job.dz = malloc((size_t)(b->m * b->n) * sizeof(real)))) return -1;
    if (derived || b->db) {
        const ptrdiff_t tasks = parts(b->n, STRIP);
        if (worth_sharing(b->m / 4, 0, b->n)) pool_run(wide_task, &job, tasks); /* cheap for what it reads */
        else for (ptrdiff_t i = 0; i < tasks; i++) wide_task(&job, i);
    }
    const real *dz = derived ? job.dz : b->dy;
    if (b->dx) make_dx(b, 0, b->m, dz);
    if (b->dw) make_dw(b, 0, b->m, dz, b->dw, b->accumulate);
    free(job.dz);
    return 0;
}

/* ---------------------------------------------------------------------------------------------------- tall */

struct tall {
    const struct linear_backward *b;
    ptrdiff_t rows, chunk; /* of a group; of those, at a time */
    real *scratch;         /* of each group: dw (n, k), db (n), dz (chunk, n) */
    ptrdiff_t share;       /* how many reals that is */
};

static void tall_task(void *job, ptrdiff_t index) {
    const struct tall *t = job;
    const struct linear_backward *b = t->b;
    const ptrdiff_t begin = index * t->rows, end = least(begin + t->rows, b->m);
    real *dw = t->scratch + index * t->share, *db = dw + b->n * b->k, *dz = db + b->n;
    const int derived = b->act.code != ACT_identity;
    memset(db, 0, (size_t)b->n * sizeof(real));
    for (ptrdiff_t row = begin; row < end; row += t->chunk) {
        const ptrdiff_t rows = least(t->chunk, end - row);
        if (derived || b->db) derive(b, row, rows, 0, b->n, derived ? dz : NULL, b->db ? db : NULL);
        const real *from = derived ? dz : (const real *)b->dy + row * b->n;
        if (b->dx) make_dx(b, row, rows, from);
        if (b->dw) make_dw(b, row, rows, from, dw, row > begin);
    }
}

/* to[] (+)= Σ over the groups, in their order, of what each has `at` there in its share */
static void add_up(const struct tall *t, ptrdiff_t groups, ptrdiff_t at, real *to, ptrdiff_t count, int accumulate) {
    if (!accumulate) memset(to, 0, (size_t)count * sizeof(real));
    for (ptrdiff_t g = 0; g < groups; g++) {
        const real *from = t->scratch + g * t->share + at;
        for (ptrdiff_t i = 0; i < count; i++) to[i] += from[i];
    }
}

static int tall(const struct linear_backward *b) {
    const ptrdiff_t wanted = least(GROUPS, b->m / GROUP_ROWS);
    struct tall t = {.b = b, .rows = parts(b->m, wanted)};
    t.chunk = evenly(t.rows, CHUNK / (b->n + b->k));
    t.share = round_up(b->n * b->k + b->n + t.chunk * b->n, LINE);
    const ptrdiff_t groups = parts(b->m, t.rows);
    t.scratch = malloc((size_t)(groups * t.share) * sizeof(real));
    if (!t.scratch) return -1;
    if (worth_sharing(b->m, 2 * b->k, b->n)) pool_run(tall_task, &t, groups);
    else for (ptrdiff_t g = 0; g < groups; g++) tall_task(&t, g);
    if (b->dw) add_up(&t, groups, 0, b->dw, b->n * b->k, b->accumulate);
    if (b->db) add_up(&t, groups, b->n * b->k, b->db, b->n, b->accumulate);
    free(t.scratch);
    return 0;
}

static int linear_backward(const struct linear_backward *b) {
    if (!pool_scratch()) return -1;
    const int is_tall = b->m >= TALL && b->n > 0 && b->k > 0 && b->n * b->k <= SMALL_WEIGHTS;
    return is_tall ? tall(b) : wide(b);
}

#endif
