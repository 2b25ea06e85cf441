/* The matmul tile: C (rows, cols) = start + S (rows, k) · V (k, cols), held in registers; one after the other, along a row.
 *
 * V enters as whole vectors along the columns, S as scalars that are broadcast. An element's sum is one chain of
 * multiply-adds over k in order, whatever the tile's shape: results do not depend on how C was cut into tiles. */
#ifndef TILE_H
#define TILE_H

#include "pack.h"

/* Registers: ROWS × 2 vectors of accumulators, 2 of V, 1 or 2 of S. Few rows take wider tiles, as one
 * multiply-add takes 4 cycles and two can start in each: 8 accumulators at least. A tile one vector wide is for the last
 * columns. So many STEPS of k are made in one turn of the loop, and so many rows SHARE a pointer: base, base + stride,
 * base + 2 stride are one addressing mode each. */
#if defined(ISA_AVX512)
enum { ROWS = 14, ROWS_4 = 6, ROWS_8 = 3, STEPS = 1, SHARE = 3 };
#elif defined(ISA_NEON)
enum { ROWS = 12, ROWS_4 = 6, ROWS_8 = 3, STEPS = 1, SHARE = 3 };
#else
enum { ROWS = 6, ROWS_4 = 3, ROWS_8 = 1, STEPS = 4, SHARE = 2 };
#endif
enum { MAX_VECTORS = 8 };

/* How wide the tiles of a job with so many rows are, in vectors. */
INLINE int tile_vectors(ptrdiff_t rows) { return rows <= ROWS_8 ? 8 : rows <= ROWS_4 ? 4 : 2; }
INLINE int tile_rows(int vectors) { return vectors == 8 ? ROWS_8 : vectors == 4 ? ROWS_4 : ROWS; }

enum { AHEADS = 4 };

struct tile {
    ptrdiff_t k;
    const real *s; /* S[i][p]: one of its strides is 1 */
    ptrdiff_t s_row, s_col;
    const real *v; /* V[p][0..]: whole vectors may be read */
    ptrdiff_t v_row, v_panel; /* v_panel: to the columns of the next tile */
    real *c;
    ptrdiff_t c_row;
    ptrdiff_t cols;   /* columns to write, of as many tiles as it takes */
    int add;          /* to what is in C */
    const real *bias; /* where not: start from bias[i*bias_row + j*bias_col], one stride 1 and one 0; NULL: from 0 */
    ptrdiff_t bias_row;
    real floor;       /* C = max(floor, C), NaN kept: 0 for relu, else -inf */
    const real *next; /* the strip that comes after this one, of the same k, to be fetched meanwhile; or NULL */
    ptrdiff_t next_row;
    /* Copies in the order of use, made on the way by the first tile that reads S, if its columns are contiguous, which the
     * others then take; and by all that read V. The stores are free: the loop waits for its multiply-adds. NULL: none. */
    real *s_copy, *v_copy;
    const real *ahead[AHEADS]; /* what else will be needed at the place of C, to be fetched meanwhile; NULL after the last */
    ptrdiff_t ahead_row;
};

/* for every accumulator of the tile */
#define EACH(statement) \
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int j = 0; j < vectors; j++) statement

/* p, which the compiler does not know to be related to what it was: it would keep registers full of offsets. */
INLINE const real *moved(const real *p) {
    if (STEPS > 1) __asm__("" : "+r"(p));
    return p;
}

/* acc[i][j] += S[i][p] V[p][j] */
#define STEP(scalar)                                                                             \
    do {                                                                                         \
        vec v[MAX_VECTORS];                                                                      \
        UNROLL for (int j = 0; j < vectors; j++) v[j] = v_keep(v_load(vp + j * VLEN));           \
        if (v_copy) {                                                                            \
            UNROLL for (int j = 0; j < vectors; j++) v_store(v_copy + j * VLEN, v[j]);           \
            v_copy += vectors * VLEN;                                                            \
            fetch(vp + AHEAD * t->v_row, vectors * VLEN);                                        \
        }                                                                                        \
        UNROLL for (int i = 0; i < rows; i++) {                                                  \
            const vec s = v_set(scalar);                                                         \
            UNROLL for (int j = 0; j < vectors; j++) v_add_product(&acc[i][j], s, v[j]);         \
        }                                                                                        \
    } while (0)

/* A line or two of what else will be needed; not all at once, as a core waits for few lines at a time. */
#define FETCH_AHEAD                                                                              \
    do {                                                                                         \
        if (!ahead || p % 2 != 0) break;                                                         \
        UNROLL for (int j = 0; j < vectors; j++) __builtin_prefetch(ahead + j * VLEN, 1, 2);     \
        ahead += t->ahead_row;                                                                   \
        if (--ahead_rows == 0) array++, ahead_rows = rows, ahead = *array ? *array + at : NULL;  \
    } while (0)

/* A step over a column of S. Whole vectors are copied, up to VLEN - 1 reals beyond the strip: who asks for a copy sees to it that
 * these may be read, and that there is room for them. */
#define COLUMN_STEP                                                                              \
    do {                                                                                         \
        STEP(sp[i]);                                                                             \
        if (s_copy) {                                                                            \
            UNROLL for (int i = 0; i < rows; i += VLEN) v_store(s_copy + i, v_load(sp + i));     \
            s_copy += rows;                                                                      \
            fetch(sp + 2 * AHEAD * s_col, rows);                                                 \
        }                                                                                        \
        vp = moved(vp + t->v_row), sp = moved(sp + s_col);                                       \
    } while (0)

/* rows, vectors and by_rows are constants in every instance. by_rows: S's rows are contiguous (s_col = 1), else its
 * columns are (s_row = 1). */
INLINE void tile(const int rows, const int vectors, const int by_rows, const struct tile *t) {
    const real *v = t->v, *next = t->next, *s = t->s;
    real *v_copy = t->v_copy, *s_copy = t->s_copy;
    ptrdiff_t s_col = t->s_col;
    for (ptrdiff_t at = 0; at < t->cols; at += vectors * VLEN, v += t->v_panel, next = NULL) {
        const ptrdiff_t cols = t->cols - at, c_row = t->c_row;
        real *c = t->c + at;
        vec acc[ROWS][MAX_VECTORS];
        const int full = cols >= vectors * VLEN;
        if (t->add || !t->bias) {
            EACH(acc[i][j] = v_set(0));
        } else if (t->bias_row) {
            EACH(acc[i][j] = v_set(t->bias[i]));
        } else {
            UNROLL for (int j = 0; j < vectors; j++) {
                const vec b = load_part(t->bias + at, j, cols);
                UNROLL for (int i = 0; i < rows; i++) acc[i][j] = b;
            }
        }
        const real *vp = v, *const *array = t->ahead, *ahead = *array ? *array + at : NULL;
        int ahead_rows = rows;
        ptrdiff_t p = 0;
        if (by_rows) {
            const real *base[ROWS];
            const ptrdiff_t stride = t->s_row;
            UNROLL for (int g = 0; g * SHARE < rows; g++) base[g] = t->s + g * SHARE * stride;
            for (; p + STEPS <= t->k; p += STEPS) {
                FETCH_AHEAD;
                if (next && p % LINE == 0)
                    UNROLL for (int i = 0; i < rows; i++) __builtin_prefetch(next + i * t->next_row + p, 0, 2);
                UNROLL for (int e = 0; e < STEPS; e++) {
                    STEP(base[i / SHARE][i % SHARE * stride + e]);
                    vp = moved(vp + t->v_row);
                }
                UNROLL for (int g = 0; g * SHARE < rows; g++) base[g] = moved(base[g] + STEPS);
            }
            if (STEPS > 1) ONCE for (; p < t->k; p++, vp += t->v_row) {
                STEP(base[i / SHARE][i % SHARE * stride]);
                UNROLL for (int g = 0; g * SHARE < rows; g++) base[g]++;
            }
        } else {
            const real *sp = s;
            for (; p + STEPS <= t->k; p += STEPS) {
                FETCH_AHEAD;
                UNROLL for (int e = 0; e < STEPS; e++) COLUMN_STEP;
            }
            if (STEPS > 1) ONCE for (; p < t->k; p++) COLUMN_STEP;
            if (s_copy) s = t->s_copy, s_col = rows, s_copy = NULL;
        }
        if (t->add) {
            if (full) EACH(acc[i][j] += v_load(c + i * c_row + j * VLEN));
            else EACH(acc[i][j] += load_part(c + i * c_row, j, cols));
        }
        const vec floor = v_set(t->floor);
        EACH(acc[i][j] = v_sel(v_le(acc[i][j], floor), floor, acc[i][j]));
        if (full) EACH(v_store(c + i * c_row + j * VLEN, acc[i][j]));
        else EACH(store_part(c + i * c_row, acc[i][j], j, cols));
    }
}

#define TILE(rows, vectors)                                                                       \
    static void tile_##rows##x##vectors(const struct tile *t) { tile(rows, vectors, 0, t); }       \
    static void tile_##rows##x##vectors##_by_rows(const struct tile *t) { tile(rows, vectors, 1, t); }
#define ENTRY(rows, vectors) {tile_##rows##x##vectors, tile_##rows##x##vectors##_by_rows}

#define EACH_1(DO, v) DO(1, v)
#define EACH_3(DO, v) DO(1, v) SEP DO(2, v) SEP DO(3, v)
#define EACH_6(DO, v) EACH_3(DO, v) SEP DO(4, v) SEP DO(5, v) SEP DO(6, v)
#define EACH_12(DO, v) EACH_6(DO, v) SEP DO(7, v) SEP DO(8, v) SEP DO(9, v) SEP DO(10, v) SEP DO(11, v) SEP DO(12, v)
#define EACH_14(DO, v) EACH_12(DO, v) SEP DO(13, v) SEP DO(14, v)
#if defined(ISA_AVX512)
#define EACH_WIDE_2 EACH_14
#define EACH_WIDE_4 EACH_6
#define EACH_WIDE_8 EACH_3
#elif defined(ISA_NEON)
#define EACH_WIDE_2 EACH_12
#define EACH_WIDE_4 EACH_6
#define EACH_WIDE_8 EACH_3
#else
#define EACH_WIDE_2 EACH_6
#define EACH_WIDE_4 EACH_3
#define EACH_WIDE_8 EACH_1
#endif

#define SEP
EACH_WIDE_2(TILE, 1)
EACH_WIDE_2(TILE, 2)
EACH_WIDE_4(TILE, 4)
EACH_WIDE_8(TILE, 8)
#undef SEP
#define SEP ,
typedef void tile_fn(const struct tile *);
static tile_fn *const tiles_1[ROWS][2] = {EACH_WIDE_2(ENTRY, 1)};
static tile_fn *const tiles_2[ROWS][2] = {EACH_WIDE_2(ENTRY, 2)};
static tile_fn *const tiles_4[ROWS_4][2] = {EACH_WIDE_4(ENTRY, 4)};
static tile_fn *const tiles_8[ROWS_8][2] = {EACH_WIDE_8(ENTRY, 8)};
#undef SEP

INLINE void run_tile(int rows, int vectors, const struct tile *t) {
    const int by_rows = t->s_col == 1 && t->s_row != 1;
    tile_fn *const *row = vectors == 8   ? tiles_8[rows - 1]
                          : vectors == 4 ? tiles_4[rows - 1]
                          : vectors == 2 ? tiles_2[rows - 1]
                                         : tiles_1[rows - 1];
    row[by_rows](t);
}

#endif
