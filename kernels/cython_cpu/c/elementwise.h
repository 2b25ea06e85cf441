/* The activations and their derivatives over arrays, and over blocks of a matrix just written. */
#ifndef ELEMENTWISE_H
#define ELEMENTWISE_H

#include "activations.h"
#include "engine.h"
#include "pool.h"

/* y[i][j] = act(z[i][j]), both of one row stride; y may be z */
#define FORWARD(name)                                                                                      \
    static void name##_forward_block(const real *z, real *y, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t cols, \
                                     params p) {                                                           \
        for (ptrdiff_t i = 0; i < rows; i++, z += stride, y += stride) {                                   \
            ptrdiff_t j = 0;                                                                               \
            for (; j + VLEN <= cols; j += VLEN) v_store(y + j, name##_forward(v_load(z + j), p));           \
            if (j < cols) v_store_n(y + j, name##_forward(v_load_n(z + j, (int)(cols - j)), p), (int)(cols - j)); \
        }                                                                                                  \
    }
FOR_EACH_ACTIVATION(FORWARD)

/* dz[i][j] = dy[i][j] act'(saved[i][j]); where sums is not NULL, sums[j] += Σ_i dz[i][j]. Rows of dz are fetched ahead,
 * since other cores may have them from the last time: stores wait for their lines one by one. */
#define BACKWARD(name)                                                                                     \
    static void name##_backward_block(const real *dy, const real *saved, real *dz, real *sums, ptrdiff_t stride, \
                                      ptrdiff_t rows, ptrdiff_t cols, params p) {                          \
        for (ptrdiff_t i = 0; i < rows; i++, dy += stride, saved += stride, dz += stride) {                \
            if (i + AHEAD < rows) fetch(dz + AHEAD * stride, cols);                                        \
            ptrdiff_t j = 0;                                                                               \
            for (; j + VLEN <= cols; j += VLEN) {                                                          \
                const vec d = v_load(dy + j) * name##_derivative(v_load(saved + j), p);                    \
                v_store(dz + j, d);                                                                        \
                if (sums) v_store(sums + j, v_load(sums + j) + d);                                         \
            }                                                                                              \
            if (j < cols) {                                                                                \
                const int n = (int)(cols - j);                                                             \
                const vec d = v_load_n(dy + j, n) * name##_derivative(v_load_n(saved + j, n), p);          \
                v_store_n(dz + j, d, n);                                                                   \
                if (sums) v_store_n(sums + j, v_load_n(sums + j, n) + d, n);                               \
            }                                                                                              \
        }                                                                                                  \
    }
FOR_EACH_ACTIVATION(BACKWARD)

/* The same of a function that the user wrote. What is left of rows is put one behind the other, in whole vectors. Nobody has
 * seen to it that such a formula makes no denormal numbers, which take a hundred times as long: they are 0. */
enum { CUSTOM_BLOCK = 1024 };
_Static_assert(CUSTOM_BLOCK % CUSTOM_STEP == 0 && CUSTOM_STEP % VLEN == 0, "CUSTOM_STEP is no whole number of vectors");

/* to[r] = from[r] for `rows` rows of that width, `stride` apart; zeros beyond. -> how many numbers that is */
static ptrdiff_t put_together(const real *from, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t width, real *to) {
    real *const begin = to;
    for (ptrdiff_t i = 0; i < rows; i++, from += stride)
        for (ptrdiff_t j = 0; j < width; j += VLEN, to += VLEN) v_store(to, load_part(from, (int)(j / VLEN), width));
    for (; (to - begin) % CUSTOM_STEP; to += VLEN) v_store(to, v_set(0));
    return to - begin;
}
static void take_apart(const real *from, real *to, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t width) {
    for (ptrdiff_t i = 0; i < rows; i++, to += stride)
        for (ptrdiff_t j = 0; j < width; j += VLEN, from += VLEN) store_part(to, v_load(from), (int)(j / VLEN), width);
}
/* Rows of so many columns that are put together. */
INLINE ptrdiff_t rows_together(ptrdiff_t width) { return CUSTOM_BLOCK / ((width + VLEN - 1) / VLEN * VLEN); }

static void custom_forward_block(const struct custom *f, const real *z, real *y, ptrdiff_t stride, ptrdiff_t rows,
                                 ptrdiff_t cols) {
    const ptrdiff_t whole = cols / CUSTOM_STEP * CUSTOM_STEP, width = cols - whole;
    const uint64_t floating = flush_denormals();
    for (ptrdiff_t i = 0; whole && i < rows; i++) f->forward[REAL_BITS == 64](z + i * stride, y + i * stride, whole);
    _Alignas(64) real block[CUSTOM_BLOCK];
    for (ptrdiff_t i = 0, some; width && i < rows; i += some) {
        const ptrdiff_t most = rows_together(width), at = i * stride + whole;
        some = rows - i < most ? rows - i : most;
        const ptrdiff_t count = put_together(z + at, stride, some, width, block);
        f->forward[REAL_BITS == 64](block, block, count);
        take_apart(block, y + at, stride, some, width);
    }
    unflush(floating);
}

static void custom_backward_block(const struct custom *f, const real *dy, const real *saved, real *dz, real *sums,
                                  ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t cols) {
    const ptrdiff_t whole = cols / CUSTOM_STEP * CUSTOM_STEP, width = cols - whole;
    const uint64_t floating = flush_denormals();
    for (ptrdiff_t i = 0; whole && i < rows; i++)
        f->backward[REAL_BITS == 64](dy + i * stride, saved + i * stride, dz + i * stride, whole);
    _Alignas(64) real block[CUSTOM_BLOCK], kept[CUSTOM_BLOCK];
    for (ptrdiff_t i = 0, some; width && i < rows; i += some) {
        const ptrdiff_t most = rows_together(width), at = i * stride + whole;
        some = rows - i < most ? rows - i : most;
        put_together(saved + at, stride, some, width, kept);
        const ptrdiff_t count = put_together(dy + at, stride, some, width, block);
        f->backward[REAL_BITS == 64](block, kept, block, count);
        take_apart(block, dz + at, stride, some, width);
    }
    for (ptrdiff_t i = 0; sums && i < rows; i++, dz += stride)
        for (ptrdiff_t j = 0; j < cols; j++) sums[j] += dz[j];
    unflush(floating);
}

typedef void forward_block(const real *, real *, ptrdiff_t, ptrdiff_t, ptrdiff_t, params);
typedef void backward_block(const real *, const real *, real *, real *, ptrdiff_t, ptrdiff_t, ptrdiff_t, params);
#define FORWARD_ENTRY(name) [ACT_##name] = name##_forward_block,
#define BACKWARD_ENTRY(name) [ACT_##name] = name##_backward_block,
static forward_block *const forward_blocks[ACT_COUNT] = {FOR_EACH_ACTIVATION(FORWARD_ENTRY)};
static backward_block *const backward_blocks[ACT_COUNT] = {FOR_EACH_ACTIVATION(BACKWARD_ENTRY)};

INLINE void act_forward(struct activation a, const real *z, real *y, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t cols) {
    if (cols == stride) cols *= rows, rows = 1; /* whole rows are one run */
    if (a.code == ACT_custom) custom_forward_block(a.custom, z, y, stride, rows, cols);
    else forward_blocks[a.code](z, y, stride, rows, cols, (params){(real)a.a, (real)a.b});
}
INLINE void act_backward(struct activation a, const real *dy, const real *saved, real *dz, real *sums,
                         ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t cols) {
    if (a.code == ACT_custom) custom_backward_block(a.custom, dy, saved, dz, sums, stride, rows, cols);
    else backward_blocks[a.code](dy, saved, dz, sums, stride, rows, cols, (params){(real)a.a, (real)a.b});
}

/* Whole arrays, a run of elements to a task. */
enum { RUN = 8192 };

static void elementwise_task(void *job, ptrdiff_t index) {
    const struct elementwise *e = job;
    const ptrdiff_t at = index * RUN, count = e->count - at < RUN ? e->count - at : RUN;
    const real *dy = e->dy, *x = (const real *)e->x + at;
    real *y = (real *)e->y + at;
    if (dy) act_backward(e->act, dy + at, x, y, NULL, 0, 1, count);
    else act_forward(e->act, x, y, 0, 1, count);
}

/* What an element costs, in multiply-adds: with the first, memory counts most; then comes an exponential. */
enum { CHEAP_COST = 6, ELEMENT_COST = 24 };

static int elementwise(const void *arguments) {
    const struct elementwise *e = arguments;
    const ptrdiff_t tasks = (e->count + RUN - 1) / RUN;
    const int code = e->act.code, cost = code <= ACT_relu6 || (code >= ACT_hardsigmoid && code < ACT_COUNT) ? CHEAP_COST : ELEMENT_COST;
    pool_run(elementwise_task, (void *)e, tasks, pool_is_worth((double)e->count * cost, VLEN));
    return 0;
}

#endif
