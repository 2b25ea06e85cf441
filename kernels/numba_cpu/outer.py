"""C (m, n) (+)= S (m, k) · V (k, n) where memory is all that counts: a single row, which reads V once, or a few terms,
which hardly do more than write C. A row of C is built up from whole rows of V, several side by side, so that everything
is read and written in long runs."""

from __future__ import annotations

from typing import NamedTuple

from numba.core import types

from ..numba_scalars.numbers import fma
from .entry import Address
from .jobs import Given, Operand, parts
from .memory import address, inner, item_size, pointer, record, whole_numbers
from .vectors import every, lanes_of, load, load_some, store_some, stream, streamed

LONG_ROW, FEW_TERMS = 96, 4
LARGE = 33554432  # bytes of an array that no cache holds
RUN_ROWS, RUN_BYTES, SHARED_COLS = 32, 16384, 512  # rows to a task; of a row, what is built up at a time; cut no finer


class OuterPlan(NamedTuple):
    """How such a product is made: in elements, and the address of the task."""

    code: int
    tasks: int
    swapped: int
    m: int
    k: int
    n: int
    s_row: int
    s_col: int
    v_row: int
    c_row: int
    col_block: int
    col_blocks: int
    streams: int  # is C one term, and larger than any cache?


def prefers_outer(m: int, k: int, n: int, v: Operand, c: Operand) -> bool:
    """For a product without bias and activation. A short row is soon done, and each costs a call."""
    return (m == 1 or (k <= FEW_TERMS and n >= LONG_ROW)) and k > 0 and n > 0 and v.col == 1 and c.col == 1


def plan_outer(m: int, k: int, n: int, s: Operand, v: Operand, c: Operand, size: int, threads: int) -> OuterPlan:
    """A single row is shared out by its columns, not too few at a time, since that makes short runs."""
    col_block = n
    if threads > 1 and m == 1:
        col_block = min(n, parts(parts(n, 2 * threads), SHARED_COLS) * SHARED_COLS)
    col_blocks = parts(n, col_block)
    tasks, streams = parts(m, RUN_ROWS) * col_blocks, k == 1 and m * n * size >= LARGE
    return OuterPlan(outer_task[size], tasks, 0, m, k, n, *s, v.row, c.row, col_block, col_blocks, streams)


@inner
def _eight(s, v, v_row, c, count, add):
    """c[j] (+)= s[0] v[0][j] + ... + s[7] v[7][j] for j < count, a vector at most; s: in all lanes"""
    total = load_some(c, count if add else 0, 0)
    total = fma(s[0], load_some(v, count, 0), total)
    total = fma(s[1], load_some(v + v_row, count, 0), total)
    total = fma(s[2], load_some(v + 2 * v_row, count, 0), total)
    total = fma(s[3], load_some(v + 3 * v_row, count, 0), total)
    total = fma(s[4], load_some(v + 4 * v_row, count, 0), total)
    total = fma(s[5], load_some(v + 5 * v_row, count, 0), total)
    total = fma(s[6], load_some(v + 6 * v_row, count, 0), total)
    store_some(c, fma(s[7], load_some(v + 7 * v_row, count, 0), total), count)


@inner
def _one(s, v, v_row, c, count, add):
    """The same of one term."""
    store_some(c, fma(s, load_some(v, count, 0), load_some(c, count if add else 0, 0)), count)


@inner
def _all_columns(terms, s, v, v_row, c, cols, add):
    """`terms` of all columns: whole vectors, and what is left"""
    step, j = lanes_of(c), 0
    if add:
        while j + step <= cols:
            terms(s, v + j, v_row, c + j, step, True)
            j += step
    else:
        while j + step <= cols:
            terms(s, v + j, v_row, c + j, step, False)
            j += step
    terms(s, v + j, v_row, c + j, cols - j, add)


@inner
def _row(o, s, v, c, cols, add):
    """A row of C, or some columns of it"""
    p = 0
    while p + 8 <= o.k:
        a, b = s, s + 4 * o.s_col
        first = every(c, a[0]), every(c, a[o.s_col]), every(c, a[2 * o.s_col]), every(c, a[3 * o.s_col])
        last = every(c, b[0]), every(c, b[o.s_col]), every(c, b[2 * o.s_col]), every(c, b[3 * o.s_col])
        _all_columns(_eight, first + last, v, o.v_row, c, cols, add or p > 0)
        s, v, p = s + 8 * o.s_col, v + 8 * o.v_row, p + 8
    while p < o.k:
        _all_columns(_one, every(c, s[0]), v, o.v_row, c, cols, add or p > 0)
        s, v, p = s + o.s_col, v + o.v_row, p + 1


@inner
def _streamed_term(s, v, c, cols):
    """c[j] = s[0] v[j], past the caches, which would read each line of c before it is written"""
    s0, step = every(c, s[0]), lanes_of(c)
    j = min(cols, -(address(c) // item_size(c)) % step)
    store_some(c, s0 * load_some(v, j, 0), j)
    while j + step <= cols:
        stream(c + j, s0 * load(v + j))
        j += step
    store_some(c + j, s0 * load_some(v + j, cols - j, 0), cols - j)


def _task(job, index):
    """Some rows of C, or some columns of its only one. job: a Given and an OuterPlan"""
    numbers = whole_numbers(job)
    g = record(numbers, Given)
    o = record(pointer(g.plan, numbers), OuterPlan)
    row, column = index // o.col_blocks * RUN_ROWS, index % o.col_blocks * o.col_block
    end, most = min(column + o.col_block, o.n), RUN_BYTES // item_size(job)
    for i in range(row, min(row + RUN_ROWS, o.m)):
        for j in range(column, end, most):
            cols = min(most, end - j)
            s, v, c = pointer(g.s, job) + i * o.s_row, pointer(g.v, job) + j, pointer(g.c, job) + (i * o.c_row + j)
            if o.streams and not g.add:
                _streamed_term(s, v, c, cols)
            else:
                _row(o, s, v, c, cols, g.add)
    if o.streams:
        streamed()


outer_task = Address(_task, lambda real: (types.CPointer(real), types.intp), "outer")
