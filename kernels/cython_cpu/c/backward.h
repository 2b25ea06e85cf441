/* The gradients of the fully connected layer:
 *
 *     dz (m, n) = dy act'(saved)    db (n) = Σ_rows dz    dx (m, k) = dz · w (n, k)    dw (n, k) = dzᵀ · x (m, k)
 *
 * In a wide layer dz with the sums of its rows, dx and dw are a job each, shared out by rows; where dz is what is given, its
 * sums are part of the job of dw. In a tall one, many rows over small weights, they are made for a chunk of rows at a time, so
 * that dz never leaves the cache; dw and db are then the sums of what each of a few groups of chunks has. Which way depends on
 * the shape alone, and so do chunks and groups. */
#ifndef BACKWARD_H
#define BACKWARD_H

#include <stdlib.h>
#include "matmul.h"
#include "optim.h"
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

/* The same for `width` columns from c on of `rows` rows from `row`, with db[j] += Σ_i dz[i][c + j]. dz points to the first of the
 * rows; it or db may be NULL. Narrow rows are taken several together, as if they were one; these must be taken whole. */
static void derive_strip(const struct linear_backward *b, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t c, ptrdiff_t width, real *dz,
                         real *db) {
    const ptrdiff_t n = b->n, together = n < STRIP ? STRIP / n : 1, odd = rows % together, even = rows - odd;
    const ptrdiff_t at = row * n + c;
    real sums[STRIP] = {0}, *to = dz ? dz + c : NULL, *rest = dz ? to + even * n : NULL;
    derive_block(b, at, to, db ? sums : NULL, together * n, even / together, together * width);
    if (odd) derive_block(b, at + even * n, rest, db ? sums : NULL, n, odd, width);
    if (!db) return;
    for (ptrdiff_t t = 0; t < together; t++)
        for (ptrdiff_t j = 0; j < width; j++) db[j] += sums[t * width + j];
}

/* All columns. */
static void derive(const struct linear_backward *b, ptrdiff_t row, ptrdiff_t rows, real *dz, real *db) {
    for (ptrdiff_t c = 0; c < b->n; c += STRIP) derive_strip(b, row, rows, c, least(STRIP, b->n - c), dz, db ? db + c : NULL);
}

/* to[] (+)= Σ of `count` sums of `size` reals, in their order; they lie `apart` */
static void add_up(const real *sums, ptrdiff_t count, ptrdiff_t apart, real *to, ptrdiff_t size, int accumulate) {
    if (!accumulate) memset(to, 0, (size_t)size * sizeof(real));
    for (ptrdiff_t s = 0; s < count; s++, sums += apart)
        for (ptrdiff_t i = 0; i < size; i++) to[i] += sums[i];
}

/* C (+)= S V */
static void multiply(struct matmul *j) {
    if (!prefers_outer(j)) {
        matmul(j);
    } else {
        outer(j);
        if (j->finish) j->finish(j, 0, j->m, 0, j->n, j->c, j->c_row);
    }
}

/* C becomes C act'(saved), saved (m, n) lying as C does. */
struct below { struct activation act; const real *saved; };
static void derive_below(const struct matmul *j, ptrdiff_t i, ptrdiff_t end, ptrdiff_t column, ptrdiff_t cols, real *c,
                         ptrdiff_t c_row) {
    const struct below *below = j->with;
    act_backward(below->act, c, below->saved + i * j->c_row + column, c, NULL, c_row, end - i, cols);
}

/* dx (rows, k) = dz (rows, n) · w (n, k), for `rows` rows from `row`; dz points to the first */
static struct matmul dx_product(const struct linear_backward *b, ptrdiff_t row, ptrdiff_t rows, const real *dz, int share) {
    return (struct matmul){.m = rows, .k = b->n, .n = b->k, .s = {dz, b->n, 1}, .v = {b->w.data, b->w.row, b->w.col},
                           .c = (real *)b->dx + row * b->k, .c_row = b->k, .c_col = 1, .share = share};
}
static void make_dx(const struct linear_backward *b, ptrdiff_t row, ptrdiff_t rows, const real *dz, int share) {
    const struct below below = {b->below, b->below_saved ? (const real *)b->below_saved + row * b->k : NULL};
    struct matmul j = dx_product(b, row, rows, dz, share);
    if (below.saved) j.finish = derive_below, j.with = &below;
    multiply(&j);
}

/* Is dw made as its transpose, since vectors along n waste fewer lanes, so many fewer that it pays to turn it? */
INLINE int makes_dw_turned(const struct linear_backward *b) {
    return 7 * round_up(b->n, VLEN) * b->k < 6 * round_up(b->k, VLEN) * b->n;
}

/* dw (n, k) (+)= dzᵀ (n, rows) · x (rows, k), or its transpose */
static struct matmul dw_product(const struct linear_backward *b, ptrdiff_t row, ptrdiff_t rows, const real *dz, real *dw,
                                int add, int share) {
    const struct operand dz_t = {dz, 1, b->n}, x = {(const real *)b->x.data + row * b->x.row, b->x.row, b->x.col};
    struct matmul j = {.m = b->n, .k = rows, .n = b->k, .s = dz_t, .v = x, .c = dw, .c_row = b->k, .c_col = 1, .add = add,
                       .share = share};
    if (makes_dw_turned(b))
        j.m = b->k, j.n = b->n, j.s = (struct operand){x.data, x.col, x.row}, j.c_row = 1, j.c_col = b->k,
        j.v = (struct operand){dz, b->n, 1};
    return j;
}

/* The weights that belong to elements of dw, just made. */
struct weights { const struct optimized *one; struct rule rule; };
/* Those from element `at` on, `count` of them, whose gradient is at grad. */
static void update_some(const struct weights *w, ptrdiff_t at, const real *grad, ptrdiff_t count) {
    struct optimized some = *w->one;
    some.param = (real *)some.param + at, some.grad = grad;
    for (int q = 0; q < OPTIM_STATES; q++)
        if (some.state[q]) some.state[q] = (real *)some.state[q] + at;
    w->rule.run(&some, 0, count, &w->rule.terms);
}
static void update_weights(const struct matmul *j, ptrdiff_t i, ptrdiff_t end, ptrdiff_t column, ptrdiff_t cols, real *c,
                           ptrdiff_t c_row) {
    const uint64_t floating = flush_denormals();
    const int whole = j->c_col == 1 && cols == j->c_row && cols == c_row; /* rows are one run? */
    const ptrdiff_t runs = whole ? 1 : j->c_col == 1 ? end - i : cols;
    const ptrdiff_t count = whole ? (end - i) * cols : j->c_col == 1 ? cols : end - i;
    const ptrdiff_t apart = j->c_col == 1 ? j->c_row : j->c_col, c_apart = j->c_col == 1 ? c_row : j->c_col;
    const ptrdiff_t at = i * j->c_row + column * j->c_col;
    for (ptrdiff_t r = 0; r < runs; r++) update_some(j->with, at + r * apart, c + r * c_apart, count);
    unflush(floating);
}

/* ---------------------------------------------------------------------------------------------------- wide */

struct wide {
    const struct linear_backward *b;
    ptrdiff_t run;   /* rows whose sum is one chain */
    real *dz, *sums; /* (m, n), and (n) of each run; either may be NULL */
    real *turned;    /* room for dzᵀ, or NULL */
    struct matmul dw;
};

/* A run of rows of dz. By rows, so that threads write no line of the cache together, and dx finds its rows of dz where they
 * were made. */
static void derive_task(void *job, ptrdiff_t index) {
    const struct wide *w = job;
    const ptrdiff_t row = index * w->run, n = w->b->n;
    real *sums = w->sums ? memset(w->sums + index * n, 0, (size_t)n * sizeof(real)) : NULL;
    derive(w->b, row, least(w->run, w->b->m - row), w->dz + row * n, sums);
}

/* db[c..end], where dz is given: the same sums as those of derive_task() together. */
static void sum_columns(const struct wide *w, ptrdiff_t c, ptrdiff_t end) {
    const struct linear_backward *b = w->b;
    for (; c < end; c += STRIP) {
        const ptrdiff_t width = least(STRIP, end - c);
        real total[STRIP] = {0}, *db = (real *)b->db + c;
        if (b->accumulate) memcpy(total, db, (size_t)width * sizeof(real));
        for (ptrdiff_t row = 0; row < b->m; row += w->run) {
            real sums[STRIP] = {0};
            derive_strip(b, row, least(w->run, b->m - row), c, width, NULL, sums);
            for (ptrdiff_t j = 0; j < width; j++) total[j] += sums[j];
        }
        memcpy(db, total, (size_t)width * sizeof(real));
    }
}

/* Part of dw; and if dz is given, the part of db that belongs to the first column or row of it. To each thread its own: with
 * tasks only for db, another thread would have a weight and its state than in the step before, and fetch them from its cache. */
static void weights_task(void *job, ptrdiff_t index) {
    const struct wide *w = job;
    const struct linear_backward *b = w->b;
    matmul_task((void *)&w->dw, index);
    if (!b->db || w->sums) return;
    const struct part p = part_of(&w->dw, index);
    if (b->n < STRIP) {
        if (index == 0) sum_columns(w, 0, b->n);
    } else if (makes_dw_turned(b)) {
        if (p.row == 0) sum_columns(w, p.column, p.column + p.cols);
    } else {
        if (p.column == 0) sum_columns(w, p.row, p.row_end);
    }
}

/* dzᵀ (n, m), for dw if strips of dz are too large for the caches, but it is not so large itself that memory must hold it. Its
 * rows are an odd number of lines apart, so that those of a strip fall into different sets. */
enum { MANY_TURNED = 262144, MOST_TURNED = 16 * MANY_TURNED };
struct turned { const real *dz; real *to; ptrdiff_t m, n, row; };
INLINE ptrdiff_t turned_row(ptrdiff_t m) { return round_up(m, 2 * LINE) + LINE; }
INLINE int turns_dz(const struct linear_backward *b) {
    const ptrdiff_t elements = b->m * b->n;
    return b->dw && b->m >= STRIP && elements >= MANY_TURNED && elements <= MOST_TURNED && !makes_dw_turned(b);
}
static void turn_task(void *job, ptrdiff_t index) {
    const struct turned *t = job;
    const ptrdiff_t c = index * STRIP, cols = least(STRIP, t->n - c);
    for (ptrdiff_t i = 0; i < t->m; i += STRIP)
        turn(t->dz + i * t->n + c, t->n, t->to + c * t->row + i, t->row, (int)least(STRIP, t->m - i), (int)cols);
}

/* dw, and what is done with it. Where dz is to be turned, S has the strides of dzᵀ, and its data is still to be exchanged for
 * that. */
static struct matmul weights_product(const struct linear_backward *b, const real *dz, int share) {
    struct matmul j = dw_product(b, 0, b->m, dz, b->dw, b->accumulate, share);
    if (turns_dz(b)) j.s = (struct operand){dz, turned_row(b->m), 1};
    if (b->update) {
        const struct optimized *one = &b->update->one;
        j.finish = update_weights, j.consumed = 1;
        j.ahead[0] = one->param;
        for (int q = 0, at = 1; q < OPTIM_STATES; q++)
            if (one->state[q] && at < AHEADS - 1) j.ahead[at++] = one->state[q];
    }
    return j;
}

static void make_weights(struct wide *w, const real *dz, int share) {
    const struct linear_backward *b = w->b;
    struct weights update;
    ptrdiff_t tasks = 0;
    if (b->dw) {
        w->dw = weights_product(b, dz, share);
        if (w->turned) {
            struct turned t = {dz, w->turned, b->m, b->n, turned_row(b->m)};
            pool_run(turn_task, &t, parts(b->n, STRIP), share);
            w->dw.s.data = w->turned;
        }
        if (b->update) {
            update = (struct weights){&b->update->one, rules[b->update->optimizer](b->update->options, &b->update->one)};
            w->dw.with = &update;
        }
        if (prefers_outer(&w->dw)) multiply(&w->dw);
        else tasks = matmul_tasks(&w->dw);
    }
    if (tasks) pool_run(weights_task, w, tasks, w->dw.share);
    else if (b->db && !w->sums) sum_columns(w, 0, b->n);
}

static int wide(const struct linear_backward *b, int share) {
    struct wide job = {.b = b, .run = least(MAX_RUN, parts(b->m, GROUPS))};
    if (job.run < MIN_RUN) job.run = MIN_RUN;
    const ptrdiff_t tasks = parts(b->m, job.run), elements = b->m * b->n;
    const int derived = b->act.code != ACT_identity && elements;
    const ptrdiff_t own = derived ? elements + (b->db ? tasks * b->n : 0) : 0, turned = turns_dz(b) ? b->n * turned_row(b->m) : 0;
    real *const scratch = own + turned ? malloc((size_t)(own + turned) * sizeof(real)) : NULL;
    if (own + turned && !scratch) return NO_MEMORY;
    if (turned) job.turned = scratch + own;
    if (derived) {
        job.dz = scratch;
        if (b->db) job.sums = scratch + elements;
        pool_run(derive_task, &job, tasks, elements >= MANY_DZ ? share : 0);
        if (b->db) add_up(job.sums, tasks, b->n, b->db, b->n, b->accumulate);
    }
    const real *dz = derived ? job.dz : b->dy;
    if (b->dx) make_dx(b, 0, b->m, dz, share);
    make_weights(&job, dz, share);
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
        if (b->dw) {
            struct matmul j = dw_product(b, row, rows, from, dw, row > begin, 0);
            multiply(&j);
        }
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
    if (b->dw && b->update) {
        const struct optimized *one = &b->update->one;
        update_all(b->update->options, (struct parameters){one, 1}, rules[b->update->optimizer]);
    }
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
