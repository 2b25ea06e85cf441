"""Layer norm over rows and batch norm over columns, with their gradients. Arguments as in kernels/contract.py.

Formulas as in reference/normalize.py. Sums over the rows of a matrix are taken in chunks of rows, each a task with sums
of its own, which are added up in their order and in double. How long a chunk is depends on the number of rows alone, so
the threads change nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types

from ..numba_scalars.numbers import choose, fma, number, real_of, square_root
from .entry import Entry
from .memory import Array, given, inner
from .pool import run_tasks, worth
from .softmax import rows_per_task
from .vectors import every, lanes_of, load, load_part, narrowed, store_part, total, widened

COST = 8  # of an element, in multiply-adds
MIN_CHUNK_ROWS, MAX_CHUNK_ROWS, FEW_CHUNKS = 32, 256, 64  # rows of a chunk, at least and at most; chunks in between
STATISTICS, GRADIENTS = 3, 2  # rows of sums that a chunk has


# ----------------------------------------------------------------------------------------------------- sums of chunks


def chunk_rows(rows: int) -> int:
    wanted = rows // FEW_CHUNKS
    return MIN_CHUNK_ROWS if wanted < MIN_CHUNK_ROWS else MAX_CHUNK_ROWS if wanted > MAX_CHUNK_ROWS else wanted


@inner
def chunks_of(rows, chunk):
    return (rows + chunk - 1) // chunk


@inner
def add_to(sums, terms, count):
    """sums[j] += terms, for the first `count` columns, of a vector at most"""
    store_part(sums, load_part(sums, count, 0) + terms, count)


@inner
def add_chunks(sums, chunks, apart, to, n):
    """to[j] = Σ_chunks sums[chunk][j] for j < n; the sums of the chunks lie `apart`. `to` may be the first, or null."""
    if given(to):
        for at in range(0, n, lanes_of(sums)):
            all_of = widened(every(sums, 0))
            for c in range(chunks):
                all_of = all_of + widened(load_part(sums + (c * apart + at), n - at, 0))
            store_part(to + at, narrowed(to, all_of), n - at)


@inner
def part_or(pointer, at, count, other):
    """The vector there, or `other` of a null pointer"""
    return load_part(pointer + at, count, other) if given(pointer) else every(pointer, other)


# --------------------------------------------------------------------------------------------------------- layer norm


@inner
def row_sum(x, count):
    """Σ x, in four chains"""
    lanes, at = lanes_of(x), 0
    a = b = c = d = every(x, 0)
    while at + 4 * lanes <= count:
        a, b = a + load(x + at), b + load(x + (at + lanes))
        c, d = c + load(x + (at + 2 * lanes)), d + load(x + (at + 3 * lanes))
        at += 4 * lanes
    while at < count:
        a = a + load_part(x + at, count - at, 0)
        at += lanes
    return total((a + b) + (c + d))


@inner
def row_moments(x, shift, count):
    """Σ (x - shift) and Σ (x - shift)²"""
    lanes, at, m = lanes_of(x), 0, every(x, shift)
    a = b = c = d = a2 = b2 = c2 = d2 = every(x, 0)
    while at + 4 * lanes <= count:
        p, q = load(x + at) - m, load(x + (at + lanes)) - m
        r, s = load(x + (at + 2 * lanes)) - m, load(x + (at + 3 * lanes)) - m
        a, b, c, d = a + p, b + q, c + r, d + s
        a2, b2, c2, d2 = fma(p, p, a2), fma(q, q, b2), fma(r, r, c2), fma(s, s, d2)
        at += 4 * lanes
    while at < count:
        p = load_part(x + at, count - at, m) - m
        a, a2 = a + p, fma(p, p, a2)
        at += lanes
    return number(total((a + b) + (c + d))), number(total((a2 + b2) + (c2 + d2)))


@inner
def row_statistics(x, count, eps, mean, rstd):
    """The mean, and 1 / √(variance + eps): in two passes, where what the first mean lacks by rounding is taken from the
    second (Chan, Golub & LeVeque 1983)."""
    shift = number(row_sum(x, count)) / count
    first, second = row_moments(x, shift, count)
    rest = first / count
    variance = (second - first * rest) / count
    mean[0], rstd[0] = real_of(shift + rest), real_of(1 / square_root(choose(variance < 0, 0, variance) + eps))


@inner
def _layer_forward_task(job, index):
    x, weight, bias, y, mean, rstd, rows, n, eps = job
    run = rows_per_task(x, n)
    for i in range(index * run, min(rows, (index + 1) * run)):
        begin = i * n
        row_statistics(x + begin, n, eps, mean + i, rstd + i)
        m, r = every(x, mean[i]), every(x, rstd[i])
        for at in range(0, n, lanes_of(x)):
            w, b = part_or(weight, at, n - at, 1), part_or(bias, at, n - at, 0)
            normal = (load_part(x + (begin + at), n - at, 0) - m) * r
            store_part(y + (begin + at), fma(normal, w, b), n - at)


def _layer_forward(x, weight, bias, y, mean, rstd, eps):
    rows, n = x.shape[0], x.shape[1]
    run, steps = rows_per_task(x.data, n), rows * n * COST / lanes_of(x.data)
    job = x.data, weight.data, bias.data, y.data, mean.data, rstd.data, rows, n, eps
    run_tasks(_layer_forward_task, job, (rows + run - 1) // run, worth(steps), steps)


@inner
def layer_dx(dy, x, weight, mean, rstd, dx, n):
    """Of a row, with g = dy w and x̂ = (x - mean) rstd: dx = rstd (g - Σ g / n - x̂ Σ g x̂ / n)"""
    m, r = every(x, mean), every(x, rstd)
    all_of = along = every(x, 0)
    for at in range(0, n, lanes_of(x)):
        g = load_part(dy + at, n - at, 0) * part_or(weight, at, n - at, 1)
        all_of, along = all_of + g, fma(g, (load_part(x + at, n - at, m) - m) * r, along)
    shift, slope = every(x, number(total(all_of)) / n), every(x, number(total(along)) / n)
    for at in range(0, n, lanes_of(x)):
        g = load_part(dy + at, n - at, 0) * part_or(weight, at, n - at, 1)
        normal = (load_part(x + at, n - at, m) - m) * r
        store_part(dx + at, r * fma(-normal, slope, g - shift), n - at)


@inner
def _layer_backward_task(job, index):
    dy, x, weight, mean, rstd, dx, sums, rows, n, chunk = job
    dbias = sums + index * GRADIENTS * n
    dweight = dbias + n
    for i in range(index * chunk, min(rows, (index + 1) * chunk)):
        begin = i * n
        if given(dx):
            layer_dx(dy + begin, x + begin, weight, mean[i], rstd[i], dx + begin, n)
        if given(sums):
            m, r = every(x, mean[i]), every(x, rstd[i])
            for at in range(0, n, lanes_of(x)):
                g = load_part(dy + (begin + at), n - at, 0)
                normal = (load_part(x + (begin + at), n - at, m) - m) * r
                add_to(dbias + at, g, n - at)
                add_to(dweight + at, g * normal, n - at)


def _layer_backward(dy, x, weight, mean, rstd, dx, dweight, dbias, sums, chunk):
    rows, n = x.shape[0], x.shape[1]
    chunks, steps = chunks_of(rows, chunk), rows * n * COST / lanes_of(x.data)
    job = dy.data, x.data, weight.data, mean.data, rstd.data, dx.data, sums.data, rows, n, chunk
    run_tasks(_layer_backward_task, job, chunks, worth(steps), steps)
    if given(sums.data):
        add_chunks(sums.data, chunks, GRADIENTS * n, dbias.data, n)
        add_chunks(sums.data + n, chunks, GRADIENTS * n, dweight.data, n)


# --------------------------------------------------------------------------------------------------------- batch norm


@inner
def _statistics_task(job, index):
    """Of a chunk: a mean m as it was first rounded, Σ (x - m) and Σ (x - m)²"""
    x, sums, rows, n, chunk = job
    mean = sums + index * STATISTICS * n
    first, second = mean + n, mean + 2 * n
    begin, end = index * chunk, min(rows, (index + 1) * chunk)
    for i in range(begin, end):
        for at in range(0, n, lanes_of(x)):
            add_to(mean + at, load_part(x + (i * n + at), n - at, 0), n - at)
    part = every(x, 1 / (end - begin))
    for at in range(0, n, lanes_of(x)):
        store_part(mean + at, load_part(mean + at, n - at, 0) * part, n - at)
    for i in range(begin, end):
        for at in range(0, n, lanes_of(x)):
            d = load_part(x + (i * n + at), n - at, 0) - load_part(mean + at, n - at, 0)
            add_to(first + at, d, n - at)
            store_part(second + at, fma(d, d, load_part(second + at, n - at, 0)), n - at)


@inner
def add_statistics(sums, rows, n, chunk, eps, mean, rstd, var, at):
    """The statistics of a vector of columns from those of the chunks (Chan, Golub & LeVeque 1983). What counts is how
    far the chunks' means are from each other: they are taken from the first one's, before they are added to what
    rounding left of them."""
    count, chunks = n - at, chunks_of(rows, chunk)
    pivot = load_part(sums + at, count, 0)
    shift = squares = widened(every(sums, 0))
    for c in range(chunks):
        of_chunk, some = sums + (c * STATISTICS * n + at), min(chunk, rows - c * chunk)
        apart, first = load_part(of_chunk, count, 0) - pivot, load_part(of_chunk + n, count, 0)
        shift = shift + (some * widened(apart) + widened(first))
    shift = shift / rows  # NaN without rows
    for c in range(chunks):
        of_chunk, some = sums + (c * STATISTICS * n + at), min(chunk, rows - c * chunk)
        apart, first = load_part(of_chunk, count, 0) - pivot, widened(load_part(of_chunk + n, count, 0))
        rest = first / some
        d, own = widened(apart) + rest - shift, widened(load_part(of_chunk + 2 * n, count, 0)) - first * rest
        squares = squares + (choose(own < 0, 0, own) + some * (d * d))
    variance = squares / rows
    store_part(mean + at, narrowed(mean, widened(pivot) + shift), count)
    store_part(var + at, narrowed(var, variance), count)
    store_part(rstd + at, narrowed(rstd, 1 / square_root(variance + eps)), count)


@inner
def _apply_task(job, index):
    x, weight, bias, mean, rstd, y, rows, n = job
    run = rows_per_task(x, n)
    for i in range(index * run, min(rows, (index + 1) * run)):
        for at in range(0, n, lanes_of(x)):
            here, left = i * n + at, n - at
            d = load_part(x + here, left, 0) - load_part(mean + at, left, 0)
            scale = load_part(rstd + at, left, 0) * part_or(weight, at, left, 1)
            store_part(y + here, fma(d, scale, part_or(bias, at, left, 0)), left)


def _apply(x, weight, bias, mean, rstd, y):
    rows, n = x.shape[0], x.shape[1]
    run, steps = rows_per_task(x.data, n), rows * n * COST / lanes_of(x.data)
    job = x.data, weight.data, bias.data, mean.data, rstd.data, y.data, rows, n
    run_tasks(_apply_task, job, (rows + run - 1) // run, worth(steps), steps)


def _statistics(x, mean, rstd, var, sums, chunk, eps):
    rows, n = x.shape[0], x.shape[1]
    steps = rows * n * COST / lanes_of(x.data)
    run_tasks(_statistics_task, (x.data, sums.data, rows, n, chunk), chunks_of(rows, chunk), worth(steps), steps)
    for at in range(0, n, lanes_of(x.data)):
        add_statistics(sums.data, rows, n, chunk, eps, mean.data, rstd.data, var.data, at)


@inner
def _gradients_task(job, index):
    """Of a chunk: Σ dy and Σ dy x̂, with x̂ = (x - mean) rstd"""
    dy, x, mean, rstd, sums, rows, n, chunk = job
    dbias = sums + index * GRADIENTS * n
    dweight = dbias + n
    for i in range(index * chunk, min(rows, (index + 1) * chunk)):
        for at in range(0, n, lanes_of(x)):
            here, left = i * n + at, n - at
            g = load_part(dy + here, left, 0)
            d = load_part(x + here, left, 0) - load_part(mean + at, left, 0)
            add_to(dbias + at, g, left)
            add_to(dweight + at, g * (d * load_part(rstd + at, left, 0)), left)


@inner
def _batch_dx_task(job, index):
    """dx = w rstd (dy - Σ dy / rows - x̂ Σ dy x̂ / rows); where the statistics were given, w rstd dy"""
    dy, x, weight, mean, rstd, dx, sums, rows, n, training = job
    run, part = rows_per_task(x, n), every(x, 1 / rows)
    for i in range(index * run, min(rows, (index + 1) * run)):
        for at in range(0, n, lanes_of(x)):
            here, left = i * n + at, n - at
            r, g = load_part(rstd + at, left, 0), load_part(dy + here, left, 0)
            if training:
                normal = (load_part(x + here, left, 0) - load_part(mean + at, left, 0)) * r
                all_of, along = load_part(sums + at, left, 0), load_part(sums + (n + at), left, 0)
                g = g - fma(normal, along, all_of) * part
            store_part(dx + here, part_or(weight, at, left, 1) * r * g, left)


def _batch_backward(dy, x, weight, mean, rstd, dx, dweight, dbias, sums, chunk, training):
    rows, n = x.shape[0], x.shape[1]
    steps = rows * n * COST / lanes_of(x.data)
    share, chunks, all_of = worth(steps), chunks_of(rows, chunk), sums.data
    if given(all_of):
        sums_job = dy.data, x.data, mean.data, rstd.data, all_of, rows, n, chunk
        run_tasks(_gradients_task, sums_job, chunks, share, steps)
        add_chunks(all_of, chunks, GRADIENTS * n, dbias.data, n)
        add_chunks(all_of + n, chunks, GRADIENTS * n, dweight.data, n)
        add_chunks(all_of, chunks, GRADIENTS * n, all_of, GRADIENTS * n)
    if given(dx.data):
        run = rows_per_task(x.data, n)
        dx_job = dy.data, x.data, weight.data, mean.data, rstd.data, dx.data, all_of, rows, n, training
        run_tasks(_batch_dx_task, dx_job, (rows + run - 1) // run, share, steps)


# -------------------------------------------------------------------------------------------------------- the kernels


def _takes(count: int, *numbers: Any) -> Any:
    return lambda real: (*[Array(real)] * count, *numbers)


_layer_norm_forward = Entry(_layer_forward, _takes(6, types.float64))
_layer_norm_backward = Entry(_layer_backward, _takes(9, types.intp))
_batch_norm_statistics = Entry(_statistics, _takes(5, types.intp, types.float64))
_batch_norm_apply = Entry(_apply, _takes(6))
_batch_norm_backward = Entry(_batch_backward, _takes(9, types.intp, types.boolean))


def _sums(x: Any, chunk: int, count: int) -> Any:
    """Memory for the sums of each chunk, `count` rows of them, and for those of one at least."""
    rows, n = x.shape
    return np.zeros(((rows + chunk - 1) // chunk or 1) * count * n, x.dtype)


def layer_norm_forward(x, weight, bias, eps, y, mean, rstd):
    _layer_norm_forward[x.itemsize](x, weight, bias, y, mean, rstd, eps)


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dweight, dbias):
    chunk = chunk_rows(len(x))
    sums = None if dweight is None and dbias is None else _sums(x, chunk, GRADIENTS)
    _layer_norm_backward[x.itemsize](dy, x, weight, mean, rstd, dx, dweight, dbias, sums, chunk)


def batch_norm_forward(x, weight, bias, eps, y, mean, rstd, var):
    chunk = chunk_rows(len(x))
    _batch_norm_statistics[x.itemsize](x, mean, rstd, var, _sums(x, chunk, STATISTICS), chunk, eps)
    _batch_norm_apply[x.itemsize](x, weight, bias, mean, rstd, y)


def batch_norm_apply(x, weight, bias, mean, rstd, y):
    _batch_norm_apply[x.itemsize](x, weight, bias, mean, rstd, y)


def batch_norm_backward(dy, x, weight, mean, rstd, training, dx, dweight, dbias):
    chunk = chunk_rows(len(x))
    sums = _sums(x, chunk, GRADIENTS) if training or dweight is not None or dbias is not None else None
    _batch_norm_backward[x.itemsize](dy, x, weight, mean, rstd, dx, dweight, dbias, sums, chunk, training)
