/* Copies of operands in the order in which the tile reads them. */
#ifndef PACK_H
#define PACK_H

#include "vec.h"

/* to[p*width + j] = from[j*stride + p] for p < k, j < cols <= VLEN: rows that lie along p, turned; 0 beyond cols */
static void pack_turned(const real *from, ptrdiff_t stride, real *to, ptrdiff_t width, ptrdiff_t k, int cols) {
    ptrdiff_t p = 0;
    for (; p + VLEN <= k; p += VLEN) {
        vec r[VLEN];
        UNROLL for (int j = 0; j < VLEN; j++) r[j] = v_load(from + (j < cols ? j : 0) * stride + p);
        if (cols < VLEN) for (int j = cols; j < VLEN; j++) r[j] = v_set(0);
        v_transpose(r);
        UNROLL for (int q = 0; q < VLEN; q++) v_store(to + (p + q) * width, r[q]);
    }
    for (; p < k; p++)
        for (int j = 0; j < VLEN; j++) to[p * width + j] = j < cols ? from[j * stride + p] : 0;
}

/* to[p*width + j] = from[p*row + j*col] for p < k, j < cols; 0 for cols <= j < width. Width: whole vectors. */
static void pack_panel(const real *from, ptrdiff_t row, ptrdiff_t col, real *to, int width, ptrdiff_t k, int cols) {
    if (row == 1 && col != 1) {
        for (int j = 0; j < width; j += VLEN) {
            const int here = cols - j < 0 ? 0 : cols - j < VLEN ? cols - j : VLEN;
            pack_turned(here ? from + j * col : from, col, to + j, width, k, here);
        }
    } else if (col == 1) {
        for (ptrdiff_t p = 0; p < k; p++)
            for (int j = 0; j < width; j += VLEN) v_store(to + p * width + j, load_part(from + p * row, j / VLEN, cols));
    } else {
        for (ptrdiff_t p = 0; p < k; p++)
            for (int j = 0; j < width; j++) to[p * width + j] = j < cols ? from[p * row + j * col] : 0;
    }
}

/* from[p*row + r] for p < k, r < rows in strips of `height` rows, STRIP_SPACE(height, k) reals each; a last one may be lower. Row
 * by row, across all strips: long runs are what memory gives quickest. from[p*row + valid] must not be read. What a vector holds
 * beyond a strip is overwritten by the next of the strip. */
#define STRIP_SPACE(height, k) ((height) * (k) + VLEN)
static void pack_strips(const real *from, ptrdiff_t row, real *to, ptrdiff_t height, ptrdiff_t k, ptrdiff_t rows,
                        ptrdiff_t valid) {
    const ptrdiff_t reach = (height + VLEN - 1) / VLEN * VLEN; /* of whole vectors */
    for (ptrdiff_t p = 0; p < k; p++, from += row) {
        real *at = to + p * height;
        if (p + AHEAD < k) fetch(from + AHEAD * row, rows);
        ptrdiff_t r = 0;
        for (; r + height <= rows && r + reach <= valid; r += height, at += STRIP_SPACE(height, k))
            for (ptrdiff_t i = 0; i < height; i += VLEN) v_store(at + i, v_load(from + r + i));
        for (at -= p * height; r < rows; r += height, at += STRIP_SPACE(height, k)) {
            const ptrdiff_t here = rows - r < height ? rows - r : height;
            for (ptrdiff_t i = 0; i < here; i += VLEN) {
                const ptrdiff_t left = valid - r - i;
                v_store(at + p * here + i, left < VLEN ? v_load_n(from + r + i, (int)left) : v_load(from + r + i));
            }
        }
    }
}

/* to[j*to_row + i] = from[i*from_row + j] for i < rows, j < cols */
static void turn(const real *from, ptrdiff_t from_row, real *to, ptrdiff_t to_row, int rows, int cols) {
    for (int i = 0; i < rows; i += VLEN)
        for (int j = 0; j < cols; j += VLEN) {
            const int m = rows - i < VLEN ? rows - i : VLEN, n = cols - j < VLEN ? cols - j : VLEN;
            vec r[VLEN];
            UNROLL for (int q = 0; q < VLEN; q++) {
                const real *p = from + (i + (q < m ? q : 0)) * from_row + j;
                r[q] = n == VLEN ? v_load(p) : v_load_n(p, n);
            }
            v_transpose(r);
            UNROLL for (int q = 0; q < VLEN; q++) {
                if (q >= n) continue;
                real *p = to + (j + q) * to_row + i;
                if (m == VLEN) v_store(p, r[q]);
                else v_store_n(p, r[q], m);
            }
        }
}

#endif
