/* How products are made: what linear.h and backward.h would do, told and not done. */
#ifndef HOW_H
#define HOW_H

#include "backward.h"
#include "linear.h"

static struct how how_of(struct matmul j) {
    if (prefers_outer(&j)) return (struct how){.made = HOW_outer, .tasks = 1};
    const ptrdiff_t tasks = matmul_tasks(&j);
    if (!tasks) return (struct how){.made = HOW_not};
    return (struct how){HOW_tiles, j.c_col != 1, j.strip, j.vectors * VLEN, j.share > 0 ? tasks : 1};
}

static struct how forward_how(const struct linear_forward *f) {
    const int share = worth_sharing(f->m, f->k, f->n) != 0; /* as if the workers were awake */
    if (!prefers_dot(f)) return how_of(forward_product(f, share));
    struct dot d = forward_dots(f, share);
    const ptrdiff_t tasks = dot_tasks(&d), rows = evenly(d.m, DOT_ROWS);
    return (struct how){tasks ? HOW_dots : HOW_not, f->m >= f->n, rows, dot_tile_cols(&d, rows), tasks};
}

static void backward_how(const struct linear_backward *b, struct how *dx, struct how *dw) {
    const int share = worth_sharing(b->m, b->k, b->n) != 0;
    *dx = *dw = (struct how){.made = HOW_not};
    if (is_tall(b)) {
        const struct how groups = {.made = HOW_groups, .tasks = groups_of(b->m)};
        if (b->dx) *dx = groups;
        if (b->dw) *dw = groups;
        return;
    }
    if (b->dx) *dx = how_of(dx_product(b, 0, b->m, b->dy, share));
    if (b->dw) *dw = how_of(weights_product(b, b->dy, share));
}

#endif
