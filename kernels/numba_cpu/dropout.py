"""Dropout. Arguments as in kernels/contract.py.

The keep of each element is drawn by a generator that counts: Philox 4x32-10 of Salmon et al. 2011. Whether an element
is kept depends on the seed and on its index alone.
"""

from __future__ import annotations

import numpy as np
from numba.core import types

from ..numba_scalars.compiled import wide_vectors
from .activations import RUN
from .entry import Entry
from .memory import Array, inner, pointer, room, size
from .pool import run_tasks, worth
from .vectors import lanes_of

DRAWN = 1024  # elements whose words are drawn at a time
COST = 12  # of an element, in multiply-adds
FIRST, SECOND = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)  # multipliers
STEP_0, STEP_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)  # of the key
LOWER, BITS = np.uint64(0xFFFFFFFF), np.uint64(32)


@inner
def philox(block, seed):
    """The four words of a block: the lower halves of four uint64, whose upper ones may hold anything."""
    c0, c1, c2, c3 = block, block >> BITS, np.uint64(0), np.uint64(0)
    k0, k1 = seed, seed >> BITS
    for _ in range(10):
        p0, p1 = (c0 & LOWER) * FIRST, (c2 & LOWER) * SECOND
        c0, c1 = (p1 >> BITS) ^ c1 ^ k0, p1
        c2, c3 = (p0 >> BITS) ^ c3 ^ k1, p0
        k0, k1 = k0 + STEP_0, k1 + STEP_1
    return c0, c1, c2, c3


@inner
def _task(job, index):
    x, y, count, least_kept, scale, seed, offset = job
    wide_vectors()
    words = room(pointer(0, np.uint32), DRAWN)
    for begin in range(index * RUN, min((index + 1) * RUN, count), DRAWN):
        some, block = min(DRAWN, count - begin), offset + np.uint64(begin // 4)
        for i in range((some + 63) // 64 * 16):  # blocks of whole vectors
            w0, w1, w2, w3 = philox(block + np.uint64(i), seed)
            words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3] = w0, w1, w2, w3
        for i in range(some):
            y[begin + i] = x[begin + i] * (scale[0] if words[i] >= least_kept else scale[1])


def _dropout(x, y, p, seed, offset):
    count = size(x)
    steps = count * COST / lanes_of(x.data)
    scale = room(x.data, 2)
    scale[0], scale[1] = 1 / (1 - p) if p < 1 else 0.0, 0.0
    least_kept = np.uint32(p * 2.0**32 if p < 1 else 0.0)
    job = x.data, y.data, count, least_kept, scale, seed, offset
    run_tasks(_task, job, (count + RUN - 1) // RUN, worth(steps), steps)


_kernel = Entry(_dropout, lambda real: (Array(real), Array(real), types.float64, types.uint64, types.uint64))


def dropout(x, p, seed, offset, y):
    _kernel[x.itemsize](x, y, p, seed.item() if isinstance(seed, np.ndarray) else seed, offset)
