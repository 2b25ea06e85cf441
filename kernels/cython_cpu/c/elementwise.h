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

typedef void forward_block(const real *, real *, ptrdiff_t, ptrdiff_t, ptrdiff_t, params);
typedef void backward_block(const real *, const real *, real *, real *, ptrdiff_t, ptrdiff_t, ptrdiff_t, params);
#define FORWARD_ENTRY(name) [ACT_##name] = name##_forward_block,
#define BACKWARD_ENTRY(name) [ACT_##name] = name##_backward_block,
static forward_block *const forward_blocks[ACT_COUNT] = {FOR_EACH_ACTIVATION(FORWARD_ENTRY)};
static backward_block *const backward_blocks[ACT_COUNT] = {FOR_EACH_ACTIVATION(BACKWARD_ENTRY)};

INLINE void act_forward(struct activation a, const real *z, real *y, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t cols) {
    if (cols == stride) cols *= rows, rows = 1; /* whole rows are one run */
    forward_blocks[a.code](z, y, stride, rows, cols, (params){(real)a.a, (real)a.b});
}
INLINE void act_backward(struct activation a, const real *dy, const real *saved, real *dz, real *sums,
                         ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t cols) {
    backward_blocks[a.code](dy, saved, dz, sums, stride, rows, cols, (params){(real)a.a, (real)a.b});
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
    const int code = e->act.code, cost = code <= ACT_relu6 || code >= ACT_hardsigmoid ? CHEAP_COST : ELEMENT_COST;
    pool_run(elementwise_task, (void *)e, tasks, pool_is_worth((double)e->count * cost, VLEN));
    return 0;
}

#endif
