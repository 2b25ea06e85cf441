"""PReLU, with a slope for each channel or one for all, and its gradients. Arguments as in kernels/contract.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types

from ..numba_scalars.numbers import choose
from .activations import CHEAP_COST, RUN
from .entry import Entry
from .memory import Array, given, inner
from .normalize import add_chunks, add_to, chunk_rows, chunks_of
from .pool import run_tasks, worth
from .vectors import every, lanes_of, load_part, store_part, total


@inner
def _part(dy, x, y, dx, at, count, w):
    """A vector from `at` on, with slopes w; -> its terms of dweight, 0 when forward"""
    a = load_part(x + at, count, 0)
    if given(y):
        store_part(y + at, choose(a > 0, a, w * a), count)
        return every(x, 0)
    g = load_part(dy + at, count, 0)
    if given(dx):
        store_part(dx + at, choose(a > 0, g, w * g), count)
    return choose(a > 0, 0, a * g)


@inner
def _row(dy, x, y, dx, weight, sums, channels, inside, begin, end):
    """x[begin:] as (channels, inside), which may end before that does"""
    if inside == 1:
        for at in range(0, channels, lanes_of(x)):
            left = channels - at
            terms = _part(dy, x, y, dx, begin + at, left, load_part(weight + at, left, 0))
            if given(sums):
                add_to(sums + at, terms, left)
        return
    for c in range(channels):
        first, w, terms = begin + c * inside, every(x, weight[c]), every(x, 0)
        last = min(first + inside, end)
        for at in range(first, last, lanes_of(x)):
            terms = terms + _part(dy, x, y, dx, at, last - at, w)
        if given(sums):
            sums[c] += total(terms)


@inner
def _task(job, index):
    dy, x, y, dx, weight, sums, rows, channels, inside, count, chunk = job
    own = sums
    if given(sums):
        own = sums + index * channels
    for i in range(index * chunk, min(rows, (index + 1) * chunk)):
        _row(dy, x, y, dx, weight, own, channels, inside, i * channels * inside, count)


def _prelu(dy, x, weight, y, dx, dweight, sums, rows, channels, inside, chunk):
    count, chunks = x.shape[0] * x.shape[1] * x.shape[2], chunks_of(rows, chunk)
    steps = count * CHEAP_COST / lanes_of(x.data)
    job = dy.data, x.data, y.data, dx.data, weight.data, sums.data, rows, channels, inside, count, chunk
    if count:
        run_tasks(_task, job, chunks, worth(steps), steps)
    add_chunks(sums.data, chunks, channels, dweight.data, channels)


_kernel = Entry(_prelu, lambda real: (*[Array(real)] * 7, *[types.intp] * 4))


def _call(dy: Any, x: Any, weight: Any, y: Any, dx: Any, dweight: Any) -> None:
    """One slope for all is that of one channel, cut into rows of RUN elements. Rows come in chunks, each a task."""
    rows, channels, inside = x.shape
    if weight.size == 1:
        rows, channels, inside = (x.size + RUN - 1) // RUN, 1, RUN
    chunk = chunk_rows(rows) if inside == 1 else max(RUN // max(channels * inside, 1), 1)
    sums = None if dweight is None else np.zeros((rows + chunk - 1) // chunk * channels, x.dtype)
    _kernel[x.itemsize](dy, x, weight, y, dx, dweight, sums, rows, channels, inside, chunk)


def prelu_forward(x, weight, y):
    _call(None, x, weight, y, None, None)


def prelu_backward(dy, x, weight, dx, dweight):
    _call(dy, x, weight, None, dx, dweight)
