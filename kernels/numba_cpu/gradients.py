"""What both ways to the gradients of the fully connected layer have in common:

    dz (m, n) = dy · act'(saved)    db (n) = Σ_rows dz    dx (m, k) = dz · w (n, k)    dw (n, k) = dzᵀ · x (m, k)

In a wide layer dz with the sums of its rows, dx and dw are a job each (wide.py). In a tall one, many rows over small
weights, they are made for a chunk of rows at a time, so that dz never leaves the cache; dw and db are then the sums of
what each of a few groups of chunks has (tall.py). Which way depends on the shape alone, and so do chunks and groups.
"""

from __future__ import annotations

from typing import NamedTuple

from numba.core import types

from .activations import backward
from .entry import Address
from .jobs import ADD, BIAS, IS_RELU, PLAN, C, Head, Operand, Plans, S, V, Y, evenly, find, parts, plan_at
from .matmul import plan
from .memory import Array, address, call, given, item_size, part, pointer, record
from .outer import plan_outer, prefers_outer
from .small import plan_small, prefers_small
from .vectors import BYTES, every, lanes_of, load_some, store_some

ACTIVATION_COST = 16  # of an element, in multiply-adds
IN_CACHE = 16384  # bytes of dz that are made at a time

# A layer is tall with so many rows, and no more weights than these; or if the sums of its groups are less to exchange
# between the cores than dz and x are. Groups, at least and at most, and rows of one in between. A chunk: elements of dz
# and x, but not fewer rows.
TALL, SMALL_WEIGHTS = 256, 4096
FEW_GROUPS, MANY_GROUPS, GROUP_ROWS, CHUNK, MIN_CHUNK = 4, 16, 256, 16384, 256


def chunks_of(m: int, k: int, n: int) -> tuple[int, int]:
    """-> rows of a group and of a chunk, of which a group has a whole number; 0, 0 if the layer is wide"""
    weights = n * k
    groups = min(MANY_GROUPS, max(FEW_GROUPS, m // GROUP_ROWS))
    if m < TALL or weights == 0 or (weights > SMALL_WEIGHTS and 2 * groups * weights > m * (n + k)):
        return 0, 0
    rows = parts(m, groups)
    chunk = evenly(rows, max(MIN_CHUNK, CHUNK // (n + k)))
    return parts(rows, chunk) * chunk, chunk


# ----------------------------------------------------------------------------------------------- dz and sums of rows


def _add_rows(sums, rows, count, n):
    """sums[j] += Σ_i rows[i][j] over `count` rows of n"""
    for j in range(0, n, lanes_of(sums)):
        total = load_some(sums + j, n - j, 0)
        for i in range(count):
            total = total + load_some(rows + (i * n + j), n - j, 0)
        store_some(sums + j, total, n - j)


def _derive(run, is_custom, params, dy, saved, dz, is_dy, sums, adds, is_first, rows, n):
    """dz = dy · act'(saved) for `rows` rows of n, unless it is dy, some at a time. Where `adds` is the address of
    add_rows, sums[j] += Σ_i dz[i][j], from 0 if they are the first."""
    if adds and is_first:
        for j in range(0, n, lanes_of(sums)):
            store_some(sums + j, every(sums, 0), n - j)
    some = max(1, IN_CACHE // (n * item_size(dy)))
    for i in range(0, rows, some):
        count, at = min(some, rows - i), i * n
        if not is_dy:
            backward(run, is_custom, params, dy + at, saved + at, dz + at, count * n)
        if adds:
            call(adds, sums, dz + at, count, n)


def _add_up(sums, count, apart, to, size, accumulate):
    """to[] (+)= Σ of `count` sums of `size` elements, in their order; they lie `apart`"""
    for j in range(0, size, lanes_of(to)):
        total = load_some(to + j, size - j, 0) if accumulate else every(to, 0)
        for i in range(count):
            total = total + load_some(sums + (i * apart + j), size - j, 0)
        store_some(to + j, total, size - j)


def _takes(kinds):
    """p: a pointer, i: a whole number"""
    return lambda real: tuple(types.CPointer(real) if kind == "p" else types.intp for kind in kinds)


add_rows = Address(_add_rows, _takes("ppii"))
derive = Address(_derive, _takes("iippppipiiii"))
add_up = Address(_add_up, _takes("piipii"))


class Pieces(NamedTuple):
    """What the plans begin with: addresses, and what `chunks_of` says."""

    add_rows: int
    derive: int
    add_up: int
    group: int
    chunk: int


@part
def pieces_at(table, found):
    return record(pointer(plan_at(table, found, 0, 0), table), Pieces)


# ----------------------------------------------------------------------------------------------------------- plans


def _product_plan(
    m: int, k: int, n: int, s: Operand, v: Operand, c: Operand, size: int, threads: int, is_often: bool
) -> tuple[int, ...]:
    """Of a product without bias and activation."""
    if prefers_outer(m, k, n, v, c):
        return plan_outer(m, k, n, s, v, c, size, threads)
    if is_often and prefers_small(m, k, n, s, v, c, size):
        return plan_small(m, k, n, s, v, c, size, threads)
    return plan(m, k, n, s, v, c, size, threads)


def _weights_plan(m: int, k: int, n: int, x: Operand, size: int, threads: int) -> tuple[int, ...]:
    """Of dw (n, k) = dzᵀ (n, m) · x (m, k), or of its transpose if vectors along n waste so many fewer lanes that it
    pays to turn it."""
    lanes = BYTES // size
    if 7 * parts(n, lanes) * k < 6 * parts(k, lanes) * n:
        return plan(k, m, n, Operand(x.col, x.row), Operand(n, 1), Operand(1, k), size, threads, swapped=True)
    return _product_plan(n, m, k, Operand(1, n), x, Operand(k, 1), size, threads, False)


def _plans_of(
    m: int, k: int, n: int, x_row: int, x_col: int, w_row: int, w_col: int, what: int, threads: int, is_often: bool
) -> list[tuple[int, ...]]:
    """Pieces, and how dx and dw are made; of a tall layer, those of a chunk, and those of the last one.

    Strides in bytes. what: 4 · the bytes of an element, + 1 for dx, + 2 for dw
    """
    size = what // 4
    x, w = Operand(x_row // size, x_col // size), Operand(w_row // size, w_col // size)

    def both(m: int, threads: int) -> list[tuple[int, ...]]:
        dx = _product_plan(m, n, k, Operand(n, 1), w, Operand(k, 1), size, threads, is_often) if what & 1 else ()
        return [dx, _weights_plan(m, k, n, x, size, threads) if what & 2 else ()]

    pieces = Pieces(add_rows[size], derive[size], add_up[size], *chunks_of(m, k, n))
    if pieces.chunk:
        return [pieces, *both(pieces.chunk, 1), *both(m % pieces.chunk or pieces.chunk, 1)]
    return [pieces, *both(m, threads)]


plans = Plans(_plans_of)


@part
def find_plans(table, dy, x, w, dx, dw):
    """-> where the plans are in the table, 0 if there are none, and k, which is that of x or of w"""
    k, x_row, x_col, w_row, w_col = 0, 0, 0, 0, 0
    if given(x.data):
        k, x_row, x_col = x.shape[1], x.strides[0], x.strides[1]
    if given(w.data):
        k, w_row, w_col = w.shape[1], w.strides[0], w.strides[1]
    what = 4 * item_size(dy.data) + given(dx.data) + 2 * given(dw.data)
    return find(table.data, (dy.shape[0], k, dy.shape[1], x_row, x_col, w_row, w_col, what)), k


@part
def fill_job(job, table, found, which, s, v, c, add, share):
    """C (+)= S V, or its transpose, as plan number `which`, for one thread or for all"""
    job[PLAN] = plan_at(table, found, which, share)
    swapped = record(pointer(job[PLAN], job), Head).swapped
    job[S], job[V], job[C] = address(v if swapped else s), address(s if swapped else v), address(c)
    job[Y], job[BIAS], job[IS_RELU], job[ADD] = 0, 0, 0, add


def takes(real):
    """The arguments of both kernels: table, dy, x, w, saved, dx, dw, db, memory, code, params, accumulate"""
    return (Array(types.intp), *(Array(real),) * 8, Array(types.intp), Array(real), types.boolean)
