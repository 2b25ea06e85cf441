/* The loss of a small network and all its gradients: layer after layer for a block of rows, while everything of them is in
 * the cache.
 *
 *     forward    a₀ = xᵀ    aᵢ₊₁ = act(wᵢ aᵢ + bᵢ)
 *     backward   d = ∂loss/∂aₗ    d ← d act'    dwᵢ += d aᵢᵀ    dbᵢ += Σ_rows d    d ← wᵢᵀ d
 *
 * Within a block arrays lie feature by feature, a[feature][row], so vectors run along the rows: layers of 1 or 10 features
 * waste no lane, and weights are read where they are. Denormal numbers are 0: gradients of what is learnt by heart are such.
 * Blocks are summed up in groups, and these in their order; both depend on the shape alone. */
#ifndef CHAIN_H
#define CHAIN_H

#include "backward.h"
#include "dot.h"
#include "elementwise_losses.h"
#include "losses.h"

/* Rows of a block, at most; and at least where blocks come in fours, so that threads have about as many each. Groups. */
enum { BLOCK_ROWS = 512, MIN_BLOCK = 128, FEW_BLOCKS = 4, CHAIN_GROUPS = 16 };

_Static_assert(CHAIN_BYTES <= SPARE_BYTES, "a thread has no room for a block");

/* How much a block needs. */
struct needs {
    ptrdiff_t features; /* of all its arrays together, but for x as it is given */
    ptrdiff_t widest;   /* layer */
    ptrdiff_t weights;  /* of the largest layer, biases included */
};
static struct needs needs_of(const struct chain *c) {
    struct needs s = {c->k + 1, 0, 0};
    for (ptrdiff_t i = 0, k = c->k; i < c->count; k = c->layers[i++].n) {
        const ptrdiff_t n = c->layers[i].n, weights = n * (k + 1);
        s.features += c->layers[i].saves_z ? 2 * n + 1 : n + 1;
        if (s.widest < n) s.widest = n;
        if (s.weights < weights) s.weights = weights;
    }
    s.features += 3 * s.widest + 2 * c->layers[c->count - 1].n;
    return s;
}

struct chain_job {
    const struct chain *c;
    struct reciprocal by; /* of the divisor of the loss */
    ptrdiff_t block, stride; /* rows of a block; reals from feature to feature */
    ptrdiff_t group, size;   /* blocks of a group; reals of its sums */
    struct needs needs;
    real *sums;
    int refused; /* set by any task, read when all are done */
};

/* Where the arrays of a block are. */
struct block {
    real *a[MAX_CHAIN + 1], *z[MAX_CHAIN]; /* below each a is a row of ones */
    real *d, *next; /* the gradient, and that of the layer before */
    real *rows, *drows; /* the last a and its gradient, row by row, as losses take them */
    real *dw;     /* of a layer (n, k + 1) */
    real *turned; /* an a row by row */
    ptrdiff_t row; /* where it begins */
};

/* Gives the arrays their places, from `at` on. */
static struct block place(const struct chain *c, const struct needs *s, ptrdiff_t stride, real *at) {
    struct block b = {.dw = at};
    at += round_up(s->weights, LINE);
    b.a[0] = at, at += (c->k + 1) * stride;
    for (ptrdiff_t i = 0; i < c->count; i++) {
        const ptrdiff_t n = c->layers[i].n;
        b.a[i + 1] = at, at += (n + 1) * stride;
        if (c->layers[i].saves_z) b.z[i] = at, at += n * stride;
    }
    b.d = at, at += s->widest * stride;
    b.next = at, at += s->widest * stride;
    b.turned = at, at += s->widest * stride;
    b.rows = at, at += c->layers[c->count - 1].n * stride;
    b.drows = at;
    return b;
}

/* ------------------------------------------------------------------------------------------------ a block */

static void block_forward(const struct chain_job *j, const struct block *b, ptrdiff_t rows) {
    const struct chain *c = j->c;
    ptrdiff_t k = c->k;
    turn((const real *)c->x + b->row * k, k, b->a[0], j->stride, (int)rows, (int)k);
    for (ptrdiff_t i = 0; i < c->count; i++) {
        const struct chain_layer *l = c->layers + i;
        real *z = l->saves_z ? b->z[i] : b->a[i + 1];
        const int plain = l->act.code == ACT_identity || l->act.code == ACT_relu;
        matmul(&(struct matmul){.m = l->n, .k = k, .n = rows, .s = {l->w, k, 1}, .v = {b->a[i], j->stride, 1}, .c = z,
                                .c_row = j->stride, .c_col = 1, .bias = l->b, .bias_by_rows = 1, .act = l->act,
                                .y = plain ? NULL : b->a[i + 1]});
        k = l->n;
    }
}

/* The cross-entropy of these rows, of short ones feature by feature as they are: from a to d, `stride` apart. */
static void columns_loss(const struct cross_entropy_job *j, const real *a, real *d, ptrdiff_t stride, ptrdiff_t rows) {
    for (ptrdiff_t i = 0; i < rows; i += VLEN) {
        const struct short_rows s = take_short_rows(j->c, i, least(VLEN, rows - i));
        vec column[SHORT_ROW], top = v_set(-INFINITY);
        for (ptrdiff_t q = 0; q < j->c->classes; q++) column[q] = v_load(a + q * stride + i), top = v_max(top, column[q]);
        sparse_columns(j, &s, column, top, j->c->row_loss + i, least(VLEN, rows - i));
        for (ptrdiff_t q = 0; q < j->c->classes; q++) v_store(d + q * stride + i, column[q]);
    }
}

INLINE const real *shifted(const void *p, ptrdiff_t by) { return p ? (const real *)p + by : NULL; }

/* The loss of these rows, and d. -> are labels, targets and outputs what they must be? */
static int block_loss(struct chain_job *j, struct block *b, ptrdiff_t index, ptrdiff_t rows) {
    const struct chain *c = j->c;
    const ptrdiff_t row = b->row;
    const ptrdiff_t n = c->layers[c->count - 1].n;
    const int in_rows = n > 1 && !(c->of_rows && has_short_rows(&c->rows)); /* does the loss take rows, so turned? */
    const real *out = in_rows ? b->rows : b->a[c->count];
    real *gradient = in_rows ? b->drows : b->d;
    if (in_rows) turn(b->a[c->count], j->stride, b->rows, n, (int)n, (int)rows);
    if (c->of_rows) {
        struct cross_entropy some = c->rows;
        some.rows = rows, some.logits = out, some.dlogits = gradient, some.row_loss += row;
        if (some.labels) some.labels += row;
        some.probabilities = shifted(some.probabilities, row * n);
        some.sample_weight = shifted(some.sample_weight, row);
        for (ptrdiff_t i = 0; some.labels && i < rows; i++)
            if (some.labels[i] != some.ignore_index && out_of_range(&some, some.labels[i])) return 0;
        const struct cross_entropy_job loss = {&some, j->by};
        if (has_short_rows(&some)) columns_loss(&loss, out, gradient, j->stride, rows);
        else cross_entropy_rows(&loss, 0, rows);
    } else {
        struct elementwise_loss some = c->each;
        some.count = rows * n, some.input = out, some.dinput = gradient;
        some.target = shifted(some.target, row * n), some.weight = shifted(some.weight, row * n);
        if (c->unit_target && !in_unit(some.target, some.count)) return 0;
        if (c->unit_output && !in_unit(out, some.count)) return 0;
        some.run_loss[index] = loss_runs[some.kind](&(struct loss_job){&some, j->by}, 0, some.count);
    }
    if (in_rows) turn(b->drows, n, b->d, j->stride, (int)rows, (int)n);
    return 1;
}

/* db[i] (+)= Σ_r d[i][r], where db[i] is at db[i*apart] */
static void add_sums(const real *d, ptrdiff_t stride, ptrdiff_t n, ptrdiff_t rows, real *db, ptrdiff_t apart, int add) {
    for (ptrdiff_t i = 0; i < n; i += VLEN) {
        vec sums[VLEN];
        const int some = (int)least(VLEN, n - i);
        UNROLL for (int q = 0; q < VLEN; q++) sums[q] = v_set(0);
        for (ptrdiff_t r = 0; r < rows; r += VLEN) /* VLEN chains of additions, side by side */
            UNROLL for (int q = 0; q < VLEN; q++) {
                const real *p = d + (i + (q < some ? q : 0)) * stride + r;
                sums[q] = sums[q] + (rows - r < VLEN ? v_load_n(p, (int)(rows - r)) : v_load(p));
            }
        const vec total = v_sums(sums);
        for (int q = 0; q < some; q++) db[(i + q) * apart] = add ? db[(i + q) * apart] + total[q] : total[q];
    }
}

/* As dot products the rows are summed across lanes, for each element of dw; as tiles the inputs are turned, and lanes beyond k
 * are wasted. In multiply-adds, of which DOT_END are what an element's last sum costs, and TURNED what a turned number does. */
enum { DOT_END = 4 };
#define TURNED 0.7
INLINE int prefers_dots(ptrdiff_t n, ptrdiff_t k, ptrdiff_t rows, int must_turn) {
    const double dots = (double)(n * k) * ((double)rows / VLEN + DOT_END);
    const double tiles = (double)(n * parts(k, VLEN) * rows) + (must_turn ? TURNED * (double)(k * rows) : 0);
    return dots < tiles;
}

/* dw (n, k + 1) (+)= d aᵀ, of layer i; the last column is db, which comes of the ones below a. */
static void add_products(const struct chain_job *j, const struct block *b, ptrdiff_t i, ptrdiff_t rows, real *dw, int add) {
    const struct chain *c = j->c;
    const ptrdiff_t n = c->layers[i].n, k = i ? c->layers[i - 1].n : c->k;
    if (prefers_dots(n, k, rows, i > 0)) {
        struct dot d = {.m = n, .k = rows, .n = k + 1, .x = b->d, .x_row = j->stride, .w = b->a[i], .w_row = j->stride,
                        .c = add ? b->dw : dw, .c_row = k + 1, .c_col = 1};
        dot(&d);
        if (add) add_up(b->dw, 1, 0, dw, n * (k + 1), 1);
        return;
    }
    if (i) turn(b->a[i], j->stride, b->turned, k, (int)k, (int)rows);
    const real *in = i ? b->turned : (const real *)c->x + b->row * k;
    matmul(&(struct matmul){.m = n, .k = rows, .n = k, .s = {b->d, j->stride, 1}, .v = {in, k, 1}, .c = dw, .c_row = k + 1,
                            .c_col = 1, .add = add});
    add_sums(b->d, j->stride, n, rows, dw + k, k + 1, add);
}

/* to[] (+)= the gradients of all layers that learn, the last one first */
static void block_backward(const struct chain_job *j, struct block *b, ptrdiff_t rows, real *to, int add) {
    const struct chain *c = j->c;
    for (ptrdiff_t i = c->count - 1; i >= c->first; i--) {
        const struct chain_layer *l = c->layers + i;
        const ptrdiff_t n = l->n, k = i ? c->layers[i - 1].n : c->k;
        if (l->act.code != ACT_identity)
            act_backward(l->act, b->d, l->saves_z ? b->z[i] : b->a[i + 1], b->d, NULL, j->stride, n, rows);
        if (l->dw || l->db) {
            add_products(j, b, i, rows, to, add);
            to += n * (k + 1);
        }
        if (i == c->first) break;
        matmul(&(struct matmul){.m = k, .k = n, .n = rows, .s = {l->w, 1, k}, .v = {b->d, j->stride, 1}, .c = b->next,
                                .c_row = j->stride, .c_col = 1});
        real *const done = b->d;
        b->d = b->next, b->next = done;
    }
}

/* ------------------------------------------------------------------------------------------------ all rows */

static void chain_task(void *job, ptrdiff_t index) {
    struct chain_job *j = job;
    const struct chain *c = j->c;
    const uint64_t floating = flush_denormals();
    struct block b = place(c, &j->needs, j->stride, ((struct panels *)pool_scratch())->rows);
    for (ptrdiff_t i = 0, k = c->k; i < c->count; k = c->layers[i++].n)
        for (ptrdiff_t r = 0; r < j->stride; r++) b.a[i][k * j->stride + r] = 1;
    for (ptrdiff_t at = index * j->group; at < (index + 1) * j->group && at * j->block < c->m; at++) {
        const ptrdiff_t row = at * j->block, rows = least(j->block, c->m - row);
        b.row = row;
        block_forward(j, &b, rows);
        if (c->y) {
            const ptrdiff_t n = c->layers[c->count - 1].n;
            turn(b.a[c->count], j->stride, (real *)c->y + row * n, n, (int)n, (int)rows);
        }
        if (!block_loss(j, &b, at, rows)) {
            __atomic_store_n(&j->refused, 1, __ATOMIC_RELAXED);
            break;
        }
        block_backward(j, &b, rows, j->sums + index * j->size, at > index * j->group);
    }
    unflush(floating);
}

/* The sums of all groups, where the layers want them. */
static void hand_out(const struct chain_job *j, ptrdiff_t groups) {
    const struct chain *c = j->c;
    const real *from = j->sums;
    add_up(j->sums + j->size, groups - 1, j->size, j->sums, j->size, 1);
    for (ptrdiff_t i = c->count - 1; i >= c->first; i--) {
        const struct chain_layer *l = c->layers + i;
        const ptrdiff_t k = i ? c->layers[i - 1].n : c->k;
        real *dw = l->dw, *db = l->db;
        if (!dw && !db) continue;
        for (ptrdiff_t r = 0; r < l->n; r++, from += k + 1) {
            if (dw) memcpy(dw + r * k, from, (size_t)k * sizeof(real));
            if (db) db[r] = from[k];
        }
    }
}

static void add_losses(const struct chain *c, ptrdiff_t blocks, double divisor) {
    if (c->of_rows) {
        *(real *)c->rows.loss = (real)(sum_of(c->rows.row_loss, c->m) / divisor);
        return;
    }
    struct sum total = {0};
    for (ptrdiff_t i = 0; i < blocks; i++) add_term(&total, c->each.run_loss[i]);
    *(real *)c->each.loss = (real)(sum_total(&total) / divisor);
}

/* What an element of the activations costs, forward and back, in multiply-adds. */
enum { CHAIN_COST = 32 };

static int chain(const void *arguments) {
    const struct chain *c = arguments;
    if (!pool_scratch()) return NO_MEMORY;
    ptrdiff_t size = 0;
    double cost = 0;
    for (ptrdiff_t i = 0, k = c->k; i < c->count; k = c->layers[i++].n) {
        if (i >= c->first && (c->layers[i].dw || c->layers[i].db)) size += c->layers[i].n * (k + 1);
        cost += (double)c->m * (double)c->layers[i].n * (double)(3 * k + CHAIN_COST);
    }
    const int reduction = c->of_rows ? c->rows.reduction : c->each.reduction;
    const double by = reduction != REDUCE_MEAN ? 1 : c->of_rows ? divisor(&c->rows) : c->each.divisor;
    struct chain_job j = {.c = c, .by = reciprocal_of(by), .size = round_up(size, LINE), .needs = needs_of(c)};
    const ptrdiff_t room = CHAIN_BYTES / sizeof(real) - round_up(j.needs.weights, LINE);
    ptrdiff_t blocks = parts(c->m, least(BLOCK_ROWS, room / j.needs.features / VLEN * VLEN));
    if (c->m >= FEW_BLOCKS * MIN_BLOCK) blocks = round_up(blocks, FEW_BLOCKS);
    j.stride = j.block = round_up(parts(c->m, blocks), VLEN);
    blocks = parts(c->m, j.block);
    j.group = parts(blocks, CHAIN_GROUPS);
    const ptrdiff_t groups = parts(blocks, j.group);
    j.sums = malloc((size_t)(groups * j.size) * sizeof(real) + 64);
    if (!j.sums) return NO_MEMORY;
    pool_run(chain_task, &j, groups, pool_is_worth(cost, VLEN));
    if (!j.refused) {
        hand_out(&j, groups);
        add_losses(c, blocks, by);
    }
    free(j.sums);
    return j.refused ? REFUSED : 0;
}

#endif
