/* Dropout: y = x keep / (1 - p), where the keep of each element is drawn by a generator that counts: Philox 4x32-10 of Salmon et
 * al. 2011. Whether an element is kept depends on the seed and on its index alone. */
#ifndef DROPOUT_H
#define DROPOUT_H

#include "elementwise.h"

/* 64-bit lanes. A 32-bit word is the lower half of one; the upper half may hold anything. */
typedef uint64_t vecu __attribute__((vector_size(VBYTES)));
enum { VBLOCKS = VBYTES / 8 };
#define LOWER 0xffffffffu

/* the 64-bit product of the lower halves */
INLINE vecu v_mul32(vecu a, uint64_t b) {
#if defined(ISA_AVX512)
    return (vecu)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64((int64_t)b));
#elif defined(ISA_AVX2)
    return (vecu)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x((int64_t)b));
#else
    return (a & LOWER) * b;
#endif
}

/* a0 b0 a1 b1 ..., of the first and of the last halves */
#if VBYTES == 64
#define PAIRS_LO 0, 8, 1, 9, 2, 10, 3, 11
#define PAIRS_HI 4, 12, 5, 13, 6, 14, 7, 15
#elif VBYTES == 32
#define PAIRS_LO 0, 4, 1, 5
#define PAIRS_HI 2, 6, 3, 7
#else
#define PAIRS_LO 0, 2
#define PAIRS_HI 1, 3
#endif
#if defined(__clang__)
#define PAIRS(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PAIRS(a, b, ...) __builtin_shuffle(a, b, (vecu){__VA_ARGS__})
#endif

/* The four words of each of the VBLOCKS blocks from number `block` on, in the order of the elements. */
INLINE void philox(uint64_t block, uint64_t seed, uint32_t *words) {
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    vecu c0, c1, c2 = {0}, c3 = {0};
    UNROLL for (int i = 0; i < VBLOCKS; i++) c0[i] = block + (uint64_t)i;
    c1 = c0 >> 32;
    UNROLL for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        const vecu p0 = v_mul32(c0, 0xD2511F53u), p1 = v_mul32(c2, 0xCD9E8D57u);
        c0 = (p1 >> 32) ^ c1 ^ k0, c1 = p1;
        c2 = (p0 >> 32) ^ c3 ^ k1, c3 = p0;
    }
    const vecu first = (c0 & LOWER) | (c1 << 32), last = (c2 & LOWER) | (c3 << 32);
    const vecu lo = PAIRS(first, last, PAIRS_LO), hi = PAIRS(first, last, PAIRS_HI);
    memcpy(words, &lo, VBYTES), memcpy(words + VBYTES / 4, &hi, VBYTES);
}

/* Elements whose words are drawn at a time; what one costs, in multiply-adds. */
enum { DRAWN = 1024, DROPOUT_COST = 12 };

static void dropout_task(void *job, ptrdiff_t index) {
    const struct dropout *d = job;
    const uint32_t least_kept = (uint32_t)(d->p < 1 ? d->p * 4294967296.0 : 0);
    const real scale = d->p < 1 ? (real)(1 / (1 - d->p)) : 0;
    const ptrdiff_t begin = index * RUN, end = begin + RUN < d->count ? begin + RUN : d->count;
    uint32_t words[DRAWN];
    for (ptrdiff_t first = begin; first < end; first += DRAWN) {
        const ptrdiff_t count = end - first < DRAWN ? end - first : DRAWN;
        const real *x = (const real *)d->x + first;
        real *y = (real *)d->y + first;
        for (ptrdiff_t i = 0; i < count; i += 4 * VBLOCKS) philox(d->offset + (uint64_t)(first + i) / 4, *d->seed, words + i);
        for (ptrdiff_t i = 0; i < count; i++) y[i] = x[i] * (words[i] < least_kept ? 0 : scale);
    }
}

static int dropout(const void *arguments) {
    const struct dropout *d = arguments;
    const int share = pool_is_worth((double)d->count * DROPOUT_COST, VLEN);
    pool_run(dropout_task, (void *)d, (d->count + RUN - 1) / RUN, share);
    return 0;
}

#endif
