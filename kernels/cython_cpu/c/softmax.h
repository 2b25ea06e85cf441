/* Softmax and log-softmax over rows, and their gradients. A row is read from memory once; the later passes over
 * it find it in the cache. */
#ifndef SOFTMAX_H
#define SOFTMAX_H

#include "engine.h"
#include "pool.h"
#include "vmath.h"

#if REAL_BITS == 32
#define LOG logf
#else
#define LOG log
#endif

/* Elements to a task, and what one costs, in multiply-adds. */
enum { ROW_RUN = 16384, ROW_COST = 20 };

INLINE ptrdiff_t rows_per_task(ptrdiff_t classes) {
    const ptrdiff_t rows = ROW_RUN / (classes + 1) + 1;
    return rows < VLEN ? rows : rows / VLEN * VLEN;
}

/* A loop over the vectors of a row: `at` is the first element, `n` the number of them, VLEN but for the last. */
#define EACH_VECTOR(count)                                                     \
    for (ptrdiff_t at = 0, n; at < (count); at += VLEN)                        \
        if ((n = (count) - at < VLEN ? (count) - at : VLEN), 1)
INLINE vec row_load(const real *p, ptrdiff_t n, vec other) {
    return n == VLEN ? v_load(p) : v_load_or(p, (int)n, other);
}
INLINE void row_store(real *p, vec a, ptrdiff_t n) {
    if (n == VLEN) v_store(p, a);
    else v_store_n(p, a, (int)n);
}

/* The largest of x (count); -inf if there are none. NaNs may be passed over: the sum of exponentials finds them. */
INLINE real row_max(const real *x, ptrdiff_t count) {
    const vec lowest = v_set(-INFINITY);
    vec top[4] = {lowest, lowest, lowest, lowest};
    ptrdiff_t at = 0;
    for (; at + 4 * VLEN <= count; at += 4 * VLEN)
        UNROLL for (int i = 0; i < 4; i++) top[i] = v_max(top[i], v_load(x + at + i * VLEN));
    for (; at < count; at += VLEN) top[0] = v_max(top[0], row_load(x + at, count - at < VLEN ? count - at : VLEN, lowest));
    return v_hmax(v_max(v_max(top[0], top[1]), v_max(top[2], top[3])));
}

/* e = exp(x - top) where e is not NULL; -> Σ e */
INLINE real row_exp(const real *x, real top, real *e, ptrdiff_t count) {
    const vec lowest = v_set(-INFINITY), t = v_set(top);
    vec sum[4] = {v_set(0), v_set(0), v_set(0), v_set(0)};
    ptrdiff_t at = 0;
    for (; at + 4 * VLEN <= count; at += 4 * VLEN)
        UNROLL for (int i = 0; i < 4; i++) {
            const vec a = v_exp_nonpos(v_load(x + at + i * VLEN) - t);
            if (e) v_store(e + at + i * VLEN, a);
            sum[i] = sum[i] + a;
        }
    for (; at < count; at += VLEN) {
        const ptrdiff_t n = count - at < VLEN ? count - at : VLEN;
        const vec a = v_exp_nonpos(row_load(x + at, n, lowest) - t);
        if (e) row_store(e + at, a, n);
        sum[0] = sum[0] + a;
    }
    return v_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

/* Σ a b, or Σ a where b is NULL */
INLINE real row_dot(const real *a, const real *b, ptrdiff_t count) {
    const vec zero = v_set(0), one = v_set(1);
    vec sum[4] = {zero, zero, zero, zero};
    ptrdiff_t at = 0;
    for (; at + 4 * VLEN <= count; at += 4 * VLEN)
        UNROLL for (int i = 0; i < 4; i++)
            sum[i] = v_fma(v_load(a + at + i * VLEN), b ? v_load(b + at + i * VLEN) : one, sum[i]);
    for (; at < count; at += VLEN) {
        const ptrdiff_t n = count - at < VLEN ? count - at : VLEN;
        sum[0] = v_fma(row_load(a + at, n, zero), b ? row_load(b + at, n, zero) : one, sum[0]);
    }
    return v_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

/* Rows of so many elements, at most, are taken VLEN at a time, turned: lane i of column[c] is x[i][c], and no lane is summed
 * with another. */
enum { SHORT_ROW = 8 * VLEN < 64 ? 8 * VLEN : 64 };

/* Where the next block of VLEN columns starts; the last one may overlap the one before. */
INLINE ptrdiff_t next_block(ptrdiff_t c, ptrdiff_t classes) {
    return c + VLEN >= classes ? classes : c + 2 * VLEN > classes ? classes - VLEN : c + VLEN;
}

/* -> the largest of each row; as in row_max(), NaNs may be passed over. Columns from `classes` to VLEN are filled with -inf. */
INLINE vec load_columns(const real *x, ptrdiff_t classes, vec *column) {
    const ptrdiff_t n = classes < VLEN ? classes : VLEN;
    const vec lowest = v_set(-INFINITY);
    vec top = lowest;
    for (ptrdiff_t c = 0; c < classes; c = next_block(c, classes)) {
        const real *p = x + c;
        vec r[VLEN];
        UNROLL for (int i = 0; i < VLEN; i++, p += classes) r[i] = row_load(p, n, lowest);
        v_transpose(r);
        UNROLL for (int i = 0; i < VLEN; i++) column[c + i] = r[i], top = v_max(top, r[i]);
    }
    return top;
}
/* y[i][c] = column[c] factor + shift; what is in two blocks is written twice, and alike */
INLINE void store_columns(real *y, ptrdiff_t classes, const vec *column, vec factor, vec shift) {
    const ptrdiff_t n = classes < VLEN ? classes : VLEN;
    for (ptrdiff_t c = 0; c < classes; c = next_block(c, classes)) {
        real *p = y + c;
        vec r[VLEN];
        UNROLL for (int i = 0; i < VLEN; i++) r[i] = v_fma(column[c + i], factor, shift);
        v_transpose(r);
        UNROLL for (int i = 0; i < VLEN; i++, p += classes) row_store(p, r[i], n);
    }
}

static void softmax_short_rows(const real *x, real *y, ptrdiff_t classes) {
    vec e[SHORT_ROW], sum = v_set(0);
    const vec top = load_columns(x, classes, e);
    for (ptrdiff_t c = 0; c < classes; c++) e[c] = v_exp_up(e[c] - top), sum = sum + e[c];
    store_columns(y, classes, e, 1 / sum, v_set(0));
}

static void log_softmax_short_rows(const real *x, real *y, ptrdiff_t classes) {
    vec a[SHORT_ROW], sum = v_set(0);
    const vec top = load_columns(x, classes, a);
    for (ptrdiff_t c = 0; c < classes; c++) a[c] = a[c] - top, sum = sum + v_exp_nonpos(a[c]);
    store_columns(y, classes, a, v_set(1), -v_log(sum));
}

static void softmax_row(const real *x, const real *unused, real *y, ptrdiff_t classes) {
    (void)unused;
    const vec scale = v_set(1 / row_exp(x, row_max(x, classes), y, classes));
    EACH_VECTOR(classes) row_store(y + at, row_load(y + at, n, scale) * scale, n);
}

static void log_softmax_row(const real *x, const real *unused, real *y, ptrdiff_t classes) {
    (void)unused;
    const real top = row_max(x, classes);
    const vec t = v_set(top), log_sum = v_set(LOG(row_exp(x, top, NULL, classes)));
    EACH_VECTOR(classes) row_store(y + at, (row_load(x + at, n, t) - t) - log_sum, n);
}

/* dx = y (dy - Σ dy y) */
static void softmax_backward_row(const real *dy, const real *y, real *dx, ptrdiff_t classes) {
    const vec zero = v_set(0);
    const vec sum = v_set(row_dot(dy, y, classes));
    EACH_VECTOR(classes) row_store(dx + at, row_load(y + at, n, zero) * (row_load(dy + at, n, zero) - sum), n);
}

/* dx = dy - exp(y) Σ dy */
static void log_softmax_backward_row(const real *dy, const real *y, real *dx, ptrdiff_t classes) {
    const vec zero = v_set(0);
    const vec sum = v_set(row_dot(dy, NULL, classes));
    EACH_VECTOR(classes)
        row_store(dx + at, v_fma(-v_exp(row_load(y + at, n, zero)), sum, row_load(dy + at, n, zero)), n);
}

typedef void row_fn(const real *, const real *, real *, ptrdiff_t);
typedef void short_rows_fn(const real *, real *, ptrdiff_t classes); /* VLEN of them */

struct row_job {
    const struct softmax *s;
    row_fn *row;
    short_rows_fn *short_rows; /* or NULL */
};

static void row_task(void *job, ptrdiff_t index) {
    const struct row_job *j = job;
    const ptrdiff_t c = j->s->classes, run = rows_per_task(c), begin = index * run;
    ptrdiff_t rows = j->s->rows - begin < run ? j->s->rows - begin : run;
    const real *x = (const real *)j->s->x + begin * c, *y = j->s->y ? (const real *)j->s->y + begin * c : NULL;
    real *out = (real *)j->s->out + begin * c;
    if (!j->short_rows) {
        for (; rows; rows--, x += c, out += c, y = y ? y + c : NULL) j->row(x, y, out, c);
        return;
    }
    for (; rows >= VLEN; rows -= VLEN, x += VLEN * c, out += VLEN * c) j->short_rows(x, out, c);
    if (rows) {
        real some[VLEN * SHORT_ROW] = {0};
        memcpy(some, x, (size_t)(rows * c) * sizeof(real));
        j->short_rows(some, some, c);
        memcpy(out, some, (size_t)(rows * c) * sizeof(real));
    }
}

static int each_row(const struct softmax *s, row_fn *row, short_rows_fn *short_rows) {
    struct row_job j = {s, row, s->classes <= SHORT_ROW ? short_rows : NULL};
    const ptrdiff_t run = rows_per_task(s->classes);
    const int share = pool_is_worth((double)s->rows * (double)s->classes * ROW_COST, VLEN);
    if (s->classes) pool_run(row_task, &j, (s->rows + run - 1) / run, share);
    return 0;
}

static int softmax_forward(const void *arguments) { return each_row(arguments, softmax_row, softmax_short_rows); }
static int log_softmax_forward(const void *arguments) { return each_row(arguments, log_softmax_row, log_softmax_short_rows); }
static int softmax_backward(const void *arguments) { return each_row(arguments, softmax_backward_row, NULL); }
static int log_softmax_backward(const void *arguments) { return each_row(arguments, log_softmax_backward_row, NULL); }

#endif
