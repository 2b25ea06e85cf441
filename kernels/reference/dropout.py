"""Dropout, Srivastava et al. 2014, with a generator that counts, so that each element's draw depends on the seed and
on its index alone: Philox 4x32-10 of Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011.
"""

import numpy as np

MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85
LOWER, BITS = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox4x32(c0, c1, c2, c3, k0, k1):
    """Four words of the counter, as uint64 arrays of one shape, and two of the key, as ints -> four words, likewise."""
    for _ in range(10):
        p0, p1 = np.uint64(MULTIPLIERS[0]) * c0, np.uint64(MULTIPLIERS[1]) * c2
        c0, c1 = (p1 >> BITS) ^ c1 ^ np.uint64(k0), p1 & LOWER
        c2, c3 = (p0 >> BITS) ^ c3 ^ np.uint64(k1), p0 & LOWER
        k0, k1 = (k0 + WEYL[0]) & 0xFFFFFFFF, (k1 + WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def draws(count, seed, offset):
    """`count` numbers from 0 to 2³² - 1, as uint64 (count,): the words of the blocks from number `offset` on"""
    blocks = np.arange((count + 3) // 4, dtype=np.uint64) + np.uint64(offset)
    zero = np.zeros_like(blocks)
    words = philox4x32(blocks & LOWER, blocks >> BITS, zero, zero, seed & 0xFFFFFFFF, seed >> 32)
    return np.stack(words, axis=1).reshape(-1)[:count]


def dropout(x, p, seed, offset, y):
    """x of any shape, p from 0 to 1 -> y as x; elements are counted in C order"""
    keep = draws(x.size, int(np.asarray(seed).item()), offset) >= int(p * 2**32)
    factor = np.where(keep, 1 / (1 - p) if p < 1 else 0, 0).astype(x.dtype)
    with np.errstate(all="ignore"):
        y[...] = x * factor.reshape(x.shape)
