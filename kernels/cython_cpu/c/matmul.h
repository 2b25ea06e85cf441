/* C (m, n) = act(start + S (m, k) · V (k, n)), any strides, over the threads of the pool.
 *
 * C is cut into tasks of row_block × col_block. A task walks
 *
 *     k in blocks  →  V's block, copied into panels as wide as a tile, stays in L2
 *       rows in strips as high as a tile  →  S's strip stays in L1
 *         panels  →  one tile of C in registers
 *       the activation, or what else there is to do, over the strips just written, while they are in the cache
 *
 * the loop order of Goto & van de Geijn 2008, but nothing is copied without need: the tile reads S through any row stride,
 * unless that is a bad one for the caches, and V's rows too, if they are contiguous and few strips use them. What is copied and
 * need not be turned, the first tiles copy on their way. A C whose columns are contiguous is made tile by tile in scratch, and
 * turned. */
#ifndef MATMUL_H
#define MATMUL_H

#include "elementwise.h"
#include "pack.h"
#include "pool.h"
#include "tile.h"

/* Reals in a packed block of V and in packed strips of S: more than half of an L2 cache of 512 KiB, or of 1 MiB with AVX-512;
 * columns of a block; bytes from row to row of V that are far. */
#if defined(ISA_AVX512)
enum { V_BLOCK = 524288 / sizeof(real), S_BLOCK = 196608 / sizeof(real), MAX_COLS = 1024 / sizeof(real), APART = 2048 };
#else
enum { V_BLOCK = 262144 / sizeof(real), S_BLOCK = 98304 / sizeof(real), MAX_COLS = 512 / sizeof(real), APART = 512 };
#endif
enum { MAX_WIDTH = MAX_VECTORS * VLEN };

/* Terms that are summed one after the other; the sums of such blocks are then added up. Shorter chains round less, and
 * as the blocks depend on k alone, so do the bits. */
enum { K_BLOCK = V_BLOCK / MAX_COLS };
_Static_assert(K_BLOCK <= S_BLOCK / (ROWS + 1) - VLEN, "S_BLOCK is too small");

struct operand { const real *data; ptrdiff_t row, col; };

/* Does something with rows [i, end) of the columns [column, column + cols) of C, complete and still in the cache. c: where the
 * first of them is; c_row: to the next row, if not C's own stride. */
struct matmul;
typedef void finish_fn(const struct matmul *, ptrdiff_t i, ptrdiff_t end, ptrdiff_t column, ptrdiff_t cols, real *c,
                       ptrdiff_t c_row);

struct matmul {
    ptrdiff_t m, k, n;
    struct operand s, v;
    real *c; /* C[i][j] at c[i*c_row + j*c_col], one stride 1; where `y` is not NULL, y, alike, gets act(C) */
    ptrdiff_t c_row, c_col;
    const real *bias; /* (n), or (m) with bias_by_rows, or NULL */
    int bias_by_rows;
    int add;          /* to what is in C */
    struct activation act;
    real *y;
    finish_fn *finish; /* or NULL */
    const void *with;  /* for finish() */
    int consumed;      /* is C only for finish(), so that it need not be stored? */
    const real *ahead[AHEADS]; /* arrays like C that finish() needs, fetched while C is made; NULL after the last */
    int share; /* as pool_run() takes it */
    /* chosen by plan(), or by outer() */
    int vectors, pack_s, pack_v, stream;
    int copies_s; /* is S, where packed, copied on the way of the first tile, from a cache? Long runs are quicker from memory. */
    ptrdiff_t row_block, row_blocks, group_rows; /* of a block; blocks of a group; rows of a group */
    ptrdiff_t col_block, col_blocks, k_block;
    ptrdiff_t depth;         /* of panels and strips: a block of k, or several */
    ptrdiff_t strip, strips; /* its height, and how many are packed at a time */
    uint64_t number; /* of this job: tells whose panels a thread's scratch holds */
};

/* A product with so few terms is a matter of writing C. If it is too large for the caches, and no wider than MAX_COLS, so that
 * a strip of it lies in one piece, wide tiles write that in long runs. */
enum { SHORT = 16, SHORT_C = 6000000 / sizeof(real) };

/* To share fewer outputs, every thread would have to fetch nearly all of both operands. */
enum { FEW_OUTPUTS = 4096 };

/* Reals of an array that no cache holds; and reals of V that the strips read, more than comes from the caches. */
enum { LARGE = 33554432 / sizeof(real), LARGE_V = 12000000 / sizeof(real) };

/* Strips of S, at most, that are packed at a time: enough for long runs of memory. A task has as many, if there are enough
 * rows for all threads; if not, it is columns that are shared out. */
enum { STRIPS = 8 };

/* Rows of C, at least, that are finished at a time. */
enum { FINISH = 24 };
_Static_assert((FINISH + ROWS) * (V_BLOCK / 64) <= SPARE_BYTES / sizeof(real), "SPARE_BYTES is too small");

/* What a thread has in its scratch. */
struct panels {
    _Alignas(64) real v[V_BLOCK + MAX_WIDTH];
    _Alignas(64) real s[S_BLOCK + VLEN];
    _Alignas(64) real c[ROWS * MAX_WIDTH]; /* a tile of a C whose columns are contiguous, on its way to or from there */
    _Alignas(64) real rows[SPARE_BYTES / sizeof(real)]; /* rows of a C that is consumed; or what chain.h needs */
    uint64_t job;
    ptrdiff_t column, k; /* which block of V is in v */
    int is_new;          /* are its whole panels still to be copied, on the way of the first strip? */
    ptrdiff_t end;       /* the first row beyond the strips of S in s */
};
_Static_assert(sizeof(struct panels) <= SCRATCH_BYTES, "pool_scratch() is too small");

INLINE ptrdiff_t least(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
INLINE ptrdiff_t parts(ptrdiff_t total, ptrdiff_t size) { return (total + size - 1) / size; }
INLINE ptrdiff_t round_up(ptrdiff_t a, ptrdiff_t unit) { return parts(a, unit) * unit; }
/* The size of parts of about equal size, none above `most`. */
INLINE ptrdiff_t evenly(ptrdiff_t total, ptrdiff_t most) { return total ? parts(total, parts(total, most)) : 1; }

/* What an activation costs, in multiply-adds. */
enum { ACTIVATION_COST = 16 };
INLINE int worth_sharing(ptrdiff_t m, ptrdiff_t k, ptrdiff_t n) {
    return pool_is_worth((double)m * (double)n * (double)(k + ACTIVATION_COST), VLEN);
}

static void plan(struct matmul *j) {
    j->number = pool_new_number();
    const int wide = j->k <= SHORT && j->n >= MAX_WIDTH && j->n <= MAX_COLS && j->m * j->n >= SHORT_C;
    j->vectors = wide ? MAX_VECTORS : tile_vectors(j->m);
    const ptrdiff_t width = j->vectors * VLEN;
    if (j->m * j->n < FEW_OUTPUTS) j->share = 0;
    const ptrdiff_t threads = j->share > 0 ? pool_threads() : 1, wanted = threads > 1 ? 4 * threads : 1;

    /* What is consumed goes on to arrays as large as C, best in runs as long as its rows. */
    const int one_block = j->k <= K_BLOCK; /* if not, a task copies V once for each block of k, and should have many rows */
    const ptrdiff_t tile = tile_rows(j->vectors), by_rows = parts(j->m, (j->consumed ? 1 : one_block ? 2 : STRIPS) * tile);
    const ptrdiff_t most = one_block ? V_BLOCK / (j->k > 64 ? j->k : 64) / width * width : MAX_COLS;
    j->col_block = most > width ? most : width;
    while (j->col_block > width && by_rows * parts(j->n, j->col_block) < wanted) j->col_block /= 2;
    j->col_blocks = parts(j->n, j->col_block);
    /* A group of rows for each thread, if rows are cut at all, and its tasks one after the other, column by column: so a thread
     * keeps its panels from task to task, and no two write to the same lines of the cache all along a border of columns. */
    const ptrdiff_t cuts = parts(wanted, j->col_blocks);
    j->group_rows = parts(j->m, least(cuts, threads));
    j->row_block = cuts > 1 ? evenly(j->group_rows, round_up(parts(j->m, cuts), (tile + 1) / 2)) : j->m;
    j->row_blocks = parts(j->group_rows, j->row_block);
    j->strip = evenly(least(j->m, j->row_block), tile);

    const ptrdiff_t strips = parts(least(j->m, j->row_block), j->strip);
    const ptrdiff_t panels = parts(least(j->n, j->col_block), width);
    /* V's rows far apart fall into few sets of L1, a multiple of the page apart of L2 too: already a second strip would not find
     * them there. From beyond the caches, the long runs of a copy come faster than the short ones of a tile. */
    const size_t apart = j->v.row * sizeof(real);
    const int far = strips * j->k * j->n >= LARGE_V || strips >= (apart % 4096 ? 4 : 2);
    j->pack_v = j->v.col != 1 || (apart >= APART && far);
    /* S's rows a multiple of the page apart fall into one set of L1; its columns far apart miss it */
    j->pack_s = j->s.col == 1 ? j->k > 64 && j->s.row * sizeof(real) % 4096 == 0
              : j->s.row == 1 ? panels > 1 && j->s.col * sizeof(real) >= 1024 : 1;
    j->k_block = evenly(j->k, K_BLOCK);
    /* a C that has to be turned is turned less often if tiles take several blocks of k in one go */
    const ptrdiff_t room = least(V_BLOCK / round_up(least(j->n, j->col_block), width), S_BLOCK / tile - VLEN);
    j->depth = j->c_col != 1 && room > j->k_block ? room / j->k_block * j->k_block : j->k_block;
    j->copies_s = j->s.row == 1 && j->depth == j->k_block && j->k * j->s.col <= 8 * V_BLOCK;
    j->strips = least(STRIPS, S_BLOCK / STRIP_SPACE(j->strip, j->depth));
    j->consumed = j->consumed && j->k <= j->depth && j->c_col == 1 && !j->add;
}

/* The strip S[i..i+rows][p..p+depth] for the tile: where it is, or a copy. `row_end` is where the task ends. */
INLINE void give_strip(const struct matmul *j, struct panels *own, struct tile *t, ptrdiff_t i, ptrdiff_t rows,
                       ptrdiff_t row_end, ptrdiff_t p, ptrdiff_t depth) {
    const real *from = j->s.data + i * j->s.row + p * j->s.col;
    if (!j->pack_s) {
        t->s = from, t->s_row = j->s.row, t->s_col = j->s.col;
    } else if (j->s.col == 1) {
        t->s = own->s, t->s_row = depth + VLEN, t->s_col = 1;
        for (ptrdiff_t r = 0; r < rows; r++) memcpy(own->s + r * t->s_row, from + r * j->s.row, depth * sizeof(real));
    } else if (j->copies_s) {
        t->s = from, t->s_row = 1, t->s_col = j->s.col;
        t->s_copy = i + round_up(rows, VLEN) <= j->m ? own->s : NULL;
    } else if (j->s.row == 1) {
        if (i < own->end) {
            t->s += STRIP_SPACE(j->strip, depth);
        } else {
            own->end = least(i + j->strips * j->strip, row_end);
            pack_strips(from, j->s.col, own->s, j->strip, depth, own->end - i, j->m - i);
            t->s = own->s;
        }
        t->s_row = 1, t->s_col = rows;
    } else {
        t->s = own->s, t->s_row = 1, t->s_col = rows;
        for (ptrdiff_t q = 0; q < depth; q++)
            for (ptrdiff_t r = 0; r < rows; r++) own->s[q * rows + r] = from[r * j->s.row + q * j->s.col];
    }
}

/* Columns of the panel that starts at column c of `cols`: of a last one, no more than a tile needs. */
INLINE ptrdiff_t panel_width(const struct matmul *j, ptrdiff_t cols, ptrdiff_t c) {
    ptrdiff_t width = j->vectors * VLEN;
    while (width > VLEN && cols - c <= width / 2) width /= 2;
    return width;
}

/* V[p..p+k][column..column+cols] in panels, unless they are there from the task before. Where V is read in place, only
 * a last panel that is not full is copied, so that the tile may read whole vectors. */
static void give_panels(const struct matmul *j, struct panels *own, ptrdiff_t column, ptrdiff_t cols, ptrdiff_t p,
                        ptrdiff_t k) {
    if (own->job == j->number && own->column == column && own->k == p) return;
    const ptrdiff_t width = j->vectors * VLEN, whole = cols / width * width;
    const real *from = j->v.data + p * j->v.row + column * j->v.col;
    real *to = own->v;
    ptrdiff_t c = 0;
    if (j->v.col == 1) {
        if (j->pack_v) to += whole * k;
        c = whole;
    }
    for (; c < cols; c += width, to += width * k)
        pack_panel(from + c * j->v.col, j->v.row, j->v.col, to, (int)panel_width(j, cols, c), k, (int)least(cols - c, width));
    own->job = j->number, own->column = column, own->k = p;
    own->is_new = j->pack_v && j->v.col == 1;
}

/* y = act(C) */
static void activate(const struct matmul *j, ptrdiff_t i, ptrdiff_t end, ptrdiff_t column, ptrdiff_t cols, real *c,
                     ptrdiff_t c_row) {
    real *y = j->y + i * j->c_row + column * j->c_col;
    if (j->c_col == 1) act_forward(j->act, c, y, c_row, end - i, cols);
    else act_forward(j->act, c, y, j->c_col, cols, end - i);
}

/* A tile of C, over the blocks of k in [p, p + depth). */
INLINE void run_blocks(const struct matmul *j, struct tile *t, ptrdiff_t rows, ptrdiff_t width, ptrdiff_t p, ptrdiff_t depth) {
    const real *s = t->s;
    ptrdiff_t q = 0;
    do { /* once even for k = 0 */
        t->k = least(j->k_block, depth - q);
        t->add = j->add || p + q > 0;
        t->floor = j->act.code == ACT_relu && p + q + t->k == j->k ? 0 : -INFINITY;
        run_tile((int)rows, (int)(width / VLEN), t);
        q += t->k;
        t->s += t->k * t->s_col, t->v += t->k * t->v_row;
        if (t->next) t->next += t->k;
        if (t->v_copy) t->v_copy += t->k * width;
    } while (q < depth);
    t->s = s; /* for the next panel */
}

/* C[i..i+rows][column..column+cols], which is `to`, from the strip that `t` has and the panels of own: all whole ones in one go,
 * unless C has to be turned, and then what is left. */
INLINE void run_strip(const struct matmul *j, struct panels *own, struct tile *t, real *to, ptrdiff_t i, ptrdiff_t rows,
                      ptrdiff_t row_end, ptrdiff_t column, ptrdiff_t cols, ptrdiff_t p, ptrdiff_t depth) {
    const int turned = j->c_col != 1, fetches = j->s.col == 1 && i + rows < row_end;
    const ptrdiff_t whole = cols & -(ptrdiff_t)(j->vectors * VLEN); /* a power of 2 */
    for (ptrdiff_t c = 0; c < cols; c += t->cols) {
        const int in_place = (!j->pack_v || own->is_new) && c < whole;
        const ptrdiff_t width = panel_width(j, cols, c);
        t->cols = turned ? least(width, cols - c) : c < whole ? whole - c : cols - c;
        t->v = in_place ? j->v.data + p * j->v.row + column + c : own->v + (j->pack_v ? c * depth : 0);
        t->v_copy = in_place && j->pack_v ? own->v + c * depth : NULL;
        t->v_row = in_place ? j->v.row : width;
        t->v_panel = in_place ? width : width * depth;
        if (c > 0) t->ahead[0] = NULL; /* a last panel that is not full */
        t->next = fetches && c == 0 ? j->s.data + (i + rows) * j->s.row + p : NULL;
        t->bias = j->bias ? j->bias + (j->bias_by_rows ? i : column + c) : NULL;
        real *at = to + c * j->c_col;
        if (!turned) t->c = at;
        else if (j->add || p > 0) turn(at, j->c_col, t->c, t->c_row, (int)t->cols, (int)rows);
        run_blocks(j, t, rows, width, p, depth);
        if (t->s_copy) t->s = t->s_copy, t->s_col = rows, t->s_copy = NULL;
        if (turned) turn(t->c, t->c_row, at, j->c_col, (int)rows, (int)t->cols);
    }
}

/* The part of C that a task makes. A last group may have fewer rows, and then tasks without any. */
struct part { ptrdiff_t row, row_end, column, cols; };
static struct part part_of(const struct matmul *j, ptrdiff_t index) {
    const ptrdiff_t in_group = index % (j->row_blocks * j->col_blocks), group = index / (j->row_blocks * j->col_blocks);
    const ptrdiff_t column = in_group / j->row_blocks * j->col_block;
    const ptrdiff_t row = group * j->group_rows + in_group % j->row_blocks * j->row_block;
    const ptrdiff_t end = least((group + 1) * j->group_rows, j->m);
    return (struct part){least(row, end), least(row + j->row_block, end), column, least(j->col_block, j->n - column)};
}

static void matmul_task(void *job, ptrdiff_t index) {
    const struct matmul *j = job;
    const struct part part = part_of(j, index);
    const ptrdiff_t row = part.row, row_end = part.row_end, column = part.column, cols = part.cols;
    if (row == row_end) return;
    struct panels *own = pool_scratch();
    const ptrdiff_t c_row = j->consumed ? round_up(cols, LINE) : j->c_row;
    struct tile t = {.c = own->c, .c_row = j->c_col != 1 ? MAX_WIDTH : c_row, .bias_row = j->bias_by_rows,
                     .next_row = j->s.row};
    real *const c = j->c + row * j->c_row + column * j->c_col;
    ptrdiff_t p = 0, depth;
    do { /* once even for k = 0 */
        depth = least(j->depth, j->k - p);
        const int finishes = j->finish && p + depth == j->k;
        give_panels(j, own, column, cols, p, depth);
        own->end = row;
        ptrdiff_t finished = row;
        for (ptrdiff_t i = row; i < row_end; i += j->strip) {
            const ptrdiff_t rows = least(j->strip, row_end - i), end = i + rows;
            give_strip(j, own, &t, i, rows, row_end, p, depth);
            real *const first = j->consumed ? own->rows : c + (finished - row) * c_row; /* of those to be finished */
            for (int q = 0; q < AHEADS; q++) t.ahead[q] = finishes && j->ahead[q] ? j->ahead[q] + i * j->c_row + column : NULL;
            t.ahead_row = j->c_row;
            run_strip(j, own, &t, first + (i - finished) * c_row, i, rows, row_end, column, cols, p, depth);
            own->is_new = 0;
            if (finishes && (end == row_end || end - finished >= FINISH)) {
                j->finish(j, finished, end, column, cols, first, c_row);
                finished = end;
            }
        }
        p += depth;
    } while (p < j->k);
}

/* -> the number of tasks */
static ptrdiff_t matmul_tasks(struct matmul *j) {
    if (j->m == 0 || j->n == 0) return 0;
    if (j->y) j->finish = activate;
    plan(j);
    return parts(j->m, j->group_rows) * j->row_blocks * j->col_blocks;
}

static void matmul(struct matmul *j) {
    const ptrdiff_t tasks = matmul_tasks(j);
    if (tasks) pool_run(matmul_task, j, tasks, j->share);
}

#endif
