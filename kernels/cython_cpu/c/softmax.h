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

/* Elements to a task. */
enum { ROW_RUN = 16384 };

INLINE ptrdiff_t rows_per_task(ptrdiff_t classes) { return classes < ROW_RUN ? ROW_RUN / (classes + 1) + 1 : 1; }

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

static void softmax_row(const real *x, const real *unused, real *y, ptrdiff_t classes) {
    (void)unused;
    if (classes <= VLEN) { /* the row fits in a register */
        const vec a = row_load(x, classes, v_set(-INFINITY)), e = v_exp_nonpos(a - v_hmax(a));
        row_store(y, e * (1 / v_sum(e)), classes);
        return;
    }
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

struct row_job {
    const struct softmax *s;
    void (*row)(const real *, const real *, real *, ptrdiff_t);
};

static void row_task(void *job, ptrdiff_t index) {
    const struct row_job *j = job;
    const ptrdiff_t c = j->s->classes, run = rows_per_task(c);
    for (ptrdiff_t i = index * run; i < (index + 1) * run && i < j->s->rows; i++)
        j->row((const real *)j->s->x + i * c, j->s->y ? (const real *)j->s->y + i * c : NULL, (real *)j->s->out + i * c, c);
}

static void each_row(const struct softmax *s, void (*row)(const real *, const real *, real *, ptrdiff_t)) {
    struct row_job j = {s, row};
    const ptrdiff_t run = rows_per_task(s->classes);
    if (s->classes) pool_run(row_task, &j, (s->rows + run - 1) / run);
}

static void softmax_forward(const struct softmax *s) { each_row(s, softmax_row); }
static void log_softmax_forward(const struct softmax *s) { each_row(s, log_softmax_row); }
static void softmax_backward(const struct softmax *s) { each_row(s, softmax_backward_row); }
static void log_softmax_backward(const struct softmax *s) { each_row(s, log_softmax_backward_row); }

#endif
