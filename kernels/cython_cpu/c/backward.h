/* The gradients of the fully connected layer:
 *
 *     dz (m, n) = dy act'(saved)    db (n) = Σ_rows dz    dx (m, k) = dz · w (n, k)    dw (n, k) = dzᵀ · x (m, k)
 *
 * In a wide layer dz with the sums of its rows, dx and dw are a job each, shared out by rows. In a tall one, many rows over
 * small weights, they are made for a chunk of rows at a time, so that dz never leaves the cache; dw and db are then
 * the sums of what each of a few groups of chunks has. Which way depends on the shape alone, and so do chunks
 * and groups. */
#ifndef BACKWARD_H
#define BACKWARD_H

#include <stdlib.h>
#include "matmul.h"
#include "outer.h"

/* Columns of dz that are made at a time. */
enum { STRIP = 64 };

/* Rows of dz to a task, at least and at most. So many elements of it are shared out if the products that follow are: each
 * core then has a part of it in its cache. To share fewer would only keep the threads waiting. */
enum { MIN_RUN = 64, MAX_RUN = 256, MANY_DZ = 8192 };

/* A layer is tall with so many rows, and no more weights than these; or if the sums of its groups are less to exchange
 * between the cores than dz and x are. */
enum { TALL = 256, SMALL_WEIGHTS = 4096 };
/* Groups, at least and at most, and rows of one in between. A chunk: reals of dz and x, but not fewer rows. */
enum { FEW_GROUPS = 4, GROUPS = 16, GROUP_ROWS = 256, CHUNK = 16384, MIN_CHUNK = 256 };
INLINE ptrdiff_t groups_of(ptrdiff_t m) { return m < FEW_GROUPS * GROUP_ROWS ? FEW_GROUPS : least(GROUPS, m / GROUP_ROWS); }
INLINE int is_tall(const struct linear_backward *b) {
    const ptrdiff_t weights = b->n * b->k;
    if (b->m < TALL || weights == 0) return 0;
    return weights <= SMALL_WEIGHTS || 2 * groups_of(b->m) * weights <= b->m * (b->n + b->k);
}

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

/* The same for all columns of `rows` rows from `row`, with db[j] += Σ_i dz[i][j]. dz points to the first of the rows; it
 * or db may be NULL. Narrow rows are taken several together, as if they were one. */
static void derive(const struct linear_backward *b, ptrdiff_t row, ptrdiff_t rows, real *dz, real *db) {
    const ptrdiff_t n = b->n, together = n < STRIP ? STRIP / n : 1, odd = rows % together, even = rows - odd;
    for (ptrdiff_t c = 0; c < n; c += STRIP) {
        const ptrdiff_t width = least(STRIP, n - c), at = row * n + c;
        real sums[STRIP] = {0}, *to = dz ? dz + c : NULL, *rest = dz ? to + even * n : NULL;
        derive_block(b, at, to, db ? sums : NULL, together * n, even / together, together * width);
        if (odd) derive_block(b, at + even * n, rest, db ? sums : NULL, n, odd, width);
        if (!db) continue;
        for (ptrdiff_t t = 0; t < together; t++)
            for (ptrdiff_t j = 0; j < width; j++) db[c + j] += sums[t * width + j];
    }
}

/* to[] (+)= Σ of `count` sums of `size` reals, in their order; they lie `apart` */
static void add_up(const real *sums, ptrdiff_t count, ptrdiff_t apart, real *to, ptrdiff_t size, int accumulate) {
    if (!accumulate) memset(to, 0, (size_t)size * sizeof(real));
    for (ptrdiff_t s = 0; s < count; s++, sums += apart)
        for (ptrdiff_t i = 0; i < size; i++) to[i] += sums[i];
}

/* C (+)= S V */
static void multiply(struct matmul *j) {
    if (prefers_outer(j)) outer(j);
    else matmul(j);
}

/* dx (rows, k) = dz (rows, n) · w (n, k), for `rows` rows from `row`; dz points to the first */
static void make_dx(const struct linear_backward *b, ptrdiff_t row, ptrdiff_t rows, const real *dz, int share) {
    multiply(&(struct matmul){.m = rows, .k = b->n, .n = b->k, .s = {dz, b->n, 1}, .v = {b->w.data, b->w.row, b->w.col},
                              .c = (real *)b->dx + row * b->k, .c_row = b->k, .c_col = 1, .share = share});
}

/* dw (n, k) (+)= dzᵀ (n, rows) · x (rows, k), or its transpose if vectors along n waste fewer lanes */
static void make_dw(const struct linear_backward *b, ptrdiff_t row, ptrdiff_t rows, const real *dz, real *dw, int add,
                    int share) {
    const struct operand dz_t = {dz, 1, b->n}, x = {(const real *)b->x.data + row * b->x.row, b->x.row, b->x.col};
    struct matmul j = {.m = b->n, .k = rows, .n = b->k, .s = dz_t, .v = x, .c = dw, .c_row = b->k, .c_col = 1, .add = add,
                       .share = share};
    if (round_up(b->n, VLEN) * b->k < round_up(b->k, VLEN) * b->n)
        j.m = b->k, j.n = b->n, j.s = (struct operand){x.data, x.col, x.row}, j.c_row = 1, j.c_col = b->k,
        j.v = (struct operand){dz, b->n, 1};
    multiply(&j);
}

/* ---------------------------------------------------------------------------------------------------- wide */

struct wide {
    const struct linear_backward *b;
    ptrdiff_t run;   /* rows to a task, whose sum is one chain */
    real *dz, *sums; /* (m, n), and (n) of each task; either may be NULL */
};

static void wide_task(void *job, ptrdiff_t index) {
    const struct wide *w = job;
    const ptrdiff_t row = index * w->run, n = w->b->n;
    real *sums = w->sums ? memset(w->sums + index * n, 0, (size_t)n * sizeof(real)) : NULL;
    derive(w->b, row, least(w->run, w->b->m - row), w->dz ? w->dz + row * n : NULL, sums);
}

/* By rows, so that threads write no line of the cache together, and dx finds its rows of dz where they were made. */
static int wide(const struct linear_backward *b, int share) {
    struct wide job = {.b = b, .run = least(MAX_RUN, parts(b->m, GROUPS))};
    if (job.run < MIN_RUN) job.run = MIN_RUN;
    const int derived = b->act.code != ACT_identity && b->m && b->n;
    const ptrdiff_t tasks = parts(b->m, job.run), elements = derived ? b->m * b->n : 0;
    real *scratch = NULL;
    if (derived || (b->db && b->n)) {
        scratch = malloc((size_t)(elements + (b->db ? tasks * b->n : 0) + 1) * sizeof(real));
        if (!scratch) return NO_MEMORY;
        if (derived) job.dz = scratch;
        if (b->db) job.sums = scratch + elements;
        pool_run(wide_task, &job, tasks, b->m * b->n >= MANY_DZ ? share : 0);
        if (b->db) add_up(job.sums, tasks, b->n, b->db, b->n, b->accumulate);
    }
    const real *dz = derived ? job.dz : b->dy;
    if (b->dx) make_dx(b, 0, b->m, dz, share);
    if (b->dw) make_dw(b, 0, b->m, dz, b->dw, b->accumulate, share);
    free(scratch);
    return 0;
}

/* ---------------------------------------------------------------------------------------------------- tall */

struct tall {
    const struct linear_backward *b;
    ptrdiff_t rows, chunk; /* of a group; of those, at a time */
    real *scratch;         /* of each group: dw (n, k), db (n), dz (chunk, n) */
    ptrdiff_t size;        /* how many reals that is */
};

static void tall_task(void *job, ptrdiff_t index) {
    const struct tall *t = job;
    const struct linear_backward *b = t->b;
    const ptrdiff_t begin = index * t->rows, end = least(begin + t->rows, b->m);
    real *dw = t->scratch + index * t->size, *db = dw + b->n * b->k, *dz = db + b->n;
    const int derived = b->act.code != ACT_identity;
    memset(db, 0, (size_t)b->n * sizeof(real));
    for (ptrdiff_t row = begin; row < end; row += t->chunk) {
        const ptrdiff_t rows = least(t->chunk, end - row);
        if (derived || b->db) derive(b, row, rows, derived ? dz : NULL, b->db ? db : NULL);
        const real *from = derived ? dz : (const real *)b->dy + row * b->n;
        if (b->dx) make_dx(b, row, rows, from, 0);
        if (b->dw) make_dw(b, row, rows, from, dw, row > begin, 0);
    }
}

static int tall(const struct linear_backward *b, int share) {
    struct tall t = {.b = b, .rows = parts(b->m, groups_of(b->m))};
    const ptrdiff_t chunk = CHUNK / (b->n + b->k);
    t.chunk = evenly(t.rows, chunk < MIN_CHUNK ? MIN_CHUNK : chunk);
    t.size = round_up(b->n * b->k + b->n + t.chunk * b->n, LINE);
    const ptrdiff_t groups = parts(b->m, t.rows);
    t.scratch = malloc((size_t)(groups * t.size) * sizeof(real));
    if (!t.scratch) return NO_MEMORY;
    pool_run(tall_task, &t, groups, share);
    if (b->dw) add_up(t.scratch, groups, t.size, b->dw, b->n * b->k, b->accumulate);
    if (b->db) add_up(t.scratch + b->n * b->k, groups, t.size, b->db, b->n, b->accumulate);
    free(t.scratch);
    return 0;
}

static int linear_backward(const void *arguments) {
    const struct linear_backward *b = arguments;
    if (!pool_scratch()) return NO_MEMORY;
    const int products = (b->dx != NULL) + (b->dw != NULL), together = is_tall(b) ? products : products > 0;
    const int share = worth_sharing(b->m, together * b->k, b->n); /* of what one job does */
    return is_tall(b) ? tall(b, share) : wide(b, share);
}

#endif
