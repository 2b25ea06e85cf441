/* Copies of operands in the order in which the tile reads them. */
#ifndef PACK_H
#define PACK_H

#include "vec.h"

/* The VLEN × VLEN transpose of r, by log2(VLEN) perfect shuffles. */
INLINE void transpose(vec *r) {
    UNROLL for (int stage = 1; stage < VLEN; stage *= 2) {
        vec t[VLEN];
        UNROLL for (int i = 0; i < VLEN / 2; i++) {
            t[2 * i] = v_zip_lo(r[i], r[i + VLEN / 2]);
            t[2 * i + 1] = v_zip_hi(r[i], r[i + VLEN / 2]);
        }
        UNROLL for (int i = 0; i < VLEN; i++) r[i] = t[i];
    }
}

/* to[p*width + j] = from[j*stride + p] for p < k, j < cols <= VLEN: rows that lie along p, turned; 0 beyond cols */
static void pack_turned(const real *from, ptrdiff_t stride, real *to, ptrdiff_t width, ptrdiff_t k, int cols) {
    ptrdiff_t p = 0;
    for (; p + VLEN <= k; p += VLEN) {
        vec r[VLEN];
        UNROLL for (int j = 0; j < VLEN; j++) r[j] = v_load(from + (j < cols ? j : 0) * stride + p);
        if (cols < VLEN) for (int j = cols; j < VLEN; j++) r[j] = v_set(0);
        transpose(r);
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
            transpose(r);
            UNROLL for (int q = 0; q < VLEN; q++) {
                if (q >= n) continue;
                real *p = to + (j + q) * to_row + i;
                if (m == VLEN) v_store(p, r[q]);
                else v_store_n(p, r[q], m);
            }
        }
}

#endif
