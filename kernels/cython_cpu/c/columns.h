/* Sums over the rows of a matrix, for each column. Rows are taken in chunks, each a task with sums of its own, which are added up
 * in their order and in double. How long a chunk is depends on the number of rows alone, so the threads change nothing. */
#ifndef COLUMNS_H
#define COLUMNS_H

#include <stdlib.h>
#include "pool.h"
#include "softmax.h"

/* Rows of a chunk, at least and at most; chunks in between. */
enum { MIN_CHUNK_ROWS = 32, MAX_CHUNK_ROWS = 256, FEW_CHUNKS = 64 };

INLINE ptrdiff_t chunk_rows(ptrdiff_t rows) {
    const ptrdiff_t wanted = rows / FEW_CHUNKS;
    return wanted < MIN_CHUNK_ROWS ? MIN_CHUNK_ROWS : wanted > MAX_CHUNK_ROWS ? MAX_CHUNK_ROWS : wanted;
}
INLINE ptrdiff_t chunks_of(ptrdiff_t rows, ptrdiff_t chunk) { return (rows + chunk - 1) / chunk; }

/* sums[j] += terms, for the n <= VLEN columns from j = 0 */
INLINE void add_to(real *sums, vec terms, ptrdiff_t n) { row_store(sums, row_load(sums, n, v_set(0)) + terms, n); }

/* to[j] = Σ_chunks sums[chunk][j] for j < n; the sums of the chunks lie `apart`. `to` may be the first of them, or NULL. */
static void add_chunks(const real *sums, ptrdiff_t chunks, ptrdiff_t apart, real *to, ptrdiff_t n) {
    enum { BLOCK = 64 };
    for (ptrdiff_t begin = 0; to && begin < n; begin += BLOCK) {
        const ptrdiff_t width = n - begin < BLOCK ? n - begin : BLOCK;
        double total[BLOCK] = {0};
        for (ptrdiff_t c = 0; c < chunks; c++)
            for (ptrdiff_t j = 0; j < width; j++) total[j] += (double)sums[c * apart + begin + j];
        for (ptrdiff_t j = 0; j < width; j++) to[begin + j] = (real)total[j];
    }
}

#endif
