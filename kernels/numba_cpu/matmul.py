"""C (m, n) = act(start + S (m, k) · V (k, n)), any strides, over the threads of the pool.

How a product is cut is planned in Python, once for each shape; the loops are compiled. C is cut into tasks of row_block
× col_block. A task walks

    k in blocks  ->  V's block, copied into panels as wide as a tile, stays in L2
      rows in strips as high as a tile  ->  S's strip stays in L1
        panels  ->  one tile of C in registers
      the activation over the strips just written, while they are in the cache

the loop order of Goto & van de Geijn 2008, but nothing is copied without need: the tile reads S through any strides,
unless they are bad ones for the caches, and V's rows too, if they are contiguous and few strips use them. A C whose
columns are contiguous is made tile by tile in scratch, and turned.
"""

from __future__ import annotations

from typing import NamedTuple

from numba.core import types

from . import pack
from . import tile as t
from .entry import Address
from .jobs import Given, Operand, evenly, parts
from .memory import address, call, item_size, one_of, part, pointer, record, room, whole_numbers
from .pool import scratch
from .tile import HIGHEST, tile
from .vectors import BYTES, lanes_of

# In bytes: a packed block of V, which is to stay in half of L2; a packed strip of S; a row of V's block of columns;
# from there on rows of V are far apart.
V_BLOCK, S_BLOCK, MAX_COLS, APART = (524288, 196608, 1024, 2048) if BYTES == 64 else (262144, 98304, 512, 512)
K_BLOCK = V_BLOCK // MAX_COLS  # terms that are summed one after the other: it depends on k alone, and so do the bits
MAX_WIDTH = 8 * BYTES  # of a tile
FEW_OUTPUTS = 4096  # to share fewer, every thread would have to fetch nearly all of both operands
LARGE_V = 12_000_000  # bytes of V that the strips read: more than comes from the caches
FINISH = 24  # rows that are finished at a time, at least

#: where a thread's scratch has what: the number of the job, and which block of V the panels hold; panels; strip; tile
#: of C
PANELS_AT, STRIP_AT = 64, 64 + V_BLOCK + MAX_WIDTH
TILE_AT = STRIP_AT + S_BLOCK + BYTES


class Plan(NamedTuple):
    """How a product is made: in elements, and addresses."""

    code: int  # of the task
    tasks: int
    swapped: int  # is it the transpose, with S and V exchanged? Then the bias belongs to rows.
    m: int
    k: int
    n: int
    s_row: int
    s_col: int
    v_row: int
    v_col: int
    c_row: int
    c_col: int
    width: int  # of a tile
    narrow_width: int  # of that for a last panel which is not full
    in_place: int  # is V read where it is, but for a last panel that is not full?
    pack_v: int  # what copies it
    pack_s: int  # what copies a strip of S; 0: it is read where it is
    strip: int  # its height
    row_block: int
    row_blocks: int
    col_block: int
    k_block: int
    depth: int  # of panels and strips: a block of k, or several
    tile: int
    last: int  # for the last strip
    narrow: int
    narrow_last: int
    turn: int  # turns a tile


def _vectors(m: int, n: int, lanes: int) -> int:
    """Of a tile: few rows take wide ones, few columns narrow ones."""
    vectors = 8 if m <= HIGHEST[8] else 4 if m <= HIGHEST[4] else 2
    while vectors > 1 and n <= vectors * lanes // 2:
        vectors //= 2
    return vectors


def _blocks(m: int, k: int, n: int, width: int, strip: int, size: int, threads: int) -> tuple[int, int]:
    """Rows and columns of a task: columns as many as there is room for, unless it takes more tasks for all threads."""
    wanted = 4 * threads if threads > 1 and m * n >= FEW_OUTPUTS else 1
    one_block = k <= K_BLOCK  # if not, a task copies V once for each block of k, and should have many rows
    by_rows = parts(m, (2 if one_block else 8) * strip)
    col_block = max(width, V_BLOCK // size // max(k, 64) // width * width if one_block else MAX_COLS // size)
    while col_block > width and by_rows * parts(n, col_block) < wanted:
        col_block = max(width, col_block // 2 // width * width)
    col_block = min(col_block, parts(n, width) * width)
    return parts(parts(m, strip), parts(wanted, parts(n, col_block))) * strip, col_block


def _copies(k: int, n: int, s: Operand, v: Operand, strips: int, panels: int, size: int) -> tuple[int, int, int]:
    """Is V read in place; what copies V; what copies S, or 0. strips, panels: of a task"""
    far = strips * k * n * size >= LARGE_V or strips >= (4 if v.row * size % 4096 else 2)
    in_place = v.col == 1 and not (v.row * size >= APART and far)
    pack_v = pack.rows if v.col == 1 else pack.turned if v.row == 1 else pack.one_by_one
    pack_s = None
    if s.col == 1:  # rows a multiple of the page apart fall into one set of L1
        pack_s = pack.long_rows if k > 64 and s.row * size % 4096 == 0 else None
    elif s.row != 1:
        pack_s = pack.one_by_one
    elif panels > 1 and s.col * size >= 1024:
        pack_s = pack.rows
    return in_place, pack_v[size], pack_s[size] if pack_s else 0


def plan(
    m: int, k: int, n: int, s: Operand, v: Operand, c: Operand, size: int, threads: int, swapped: bool = False
) -> Plan:
    """size: bytes of an element. threads: 1, or how many share the work."""
    if m * n == 0:
        return Plan(*(0,) * len(Plan._fields))  # no tasks
    lanes = BYTES // size
    vectors = _vectors(m, n, lanes)
    width, strip = vectors * lanes, evenly(m, HIGHEST[vectors])
    row_block, col_block = _blocks(m, k, n, width, strip, size, threads)
    row_blocks = parts(m, row_block)
    copies = _copies(k, n, s, v, parts(row_block, strip), parts(min(n, col_block), width), size)

    k_block = evenly(k, K_BLOCK)
    depth, room = k_block, min(V_BLOCK // size // col_block, S_BLOCK // size // strip - lanes)
    if c.col != 1 and room > k_block:  # C is turned less often
        depth = room // k_block * k_block

    narrow = width
    while 0 < n % width <= narrow // 2 and narrow > lanes:
        narrow //= 2
    last = m % strip or strip
    tiles = [tile(rows, wide // lanes)[size] for wide in (width, narrow) for rows in (strip, last)]
    turn = 0 if c.col == 1 else pack.turned[size]
    return Plan(
        *(matmul_task[size], row_blocks * parts(n, col_block), swapped, m, k, n, *s, *v, *c, width, narrow, *copies),
        *(strip, row_block, row_blocks, col_block, k_block, depth, *tiles, turn),
    )


# --------------------------------------------------------------------------------------------------------- the task


@part
def _give_panels(j, g, own, v, panels, column, cols, p, k):
    """V[p..p+k][column..column+cols] in panels, unless they are there from the task before. Where V is read in place,
    only a last panel that is not full is copied, so that the tile may read whole vectors."""
    if own[0] == g.number and own[1] == column and own[2] == p:
        return
    whole = cols // j.width * j.width
    src = v + (p * j.v_row + column * j.v_col)
    for c in range(whole if j.in_place else 0, cols, j.width):
        width = j.width if c < whole else j.narrow_width
        some = min(width, cols - c)
        call(j.pack_v, src + c * j.v_col, j.v_row, j.v_col, panels + c * k, width, some, k, width)
    own[0], own[1], own[2] = g.number, column, p


@part
def _run_blocks(j, g, told, code, p, k, floor):
    """A tile of C, over the blocks of k in [p, p + k)"""
    s, v, q = told[t.S], told[t.V], 0
    while True:  # once even for k = 0
        some = min(j.k_block, k - q)
        told[t.K], told[t.ADD] = some, g.add or p + q > 0
        is_last = p + q + some == j.k
        call(code, told, floor if is_last else one_of(-float("inf"), floor))
        q += some
        if q >= k:
            break
        told[t.S] += some * told[t.S_COL]
        told[t.V] += some * told[t.V_ROW]
    told[t.S], told[t.V] = s, v


@part
def _run_strip(j, g, told, tiles, v, panels, c, i, rows, column, cols, p, k, floor):
    """C[i..i+rows][column..column+cols], where c is the first of them, from the strip that `told` has and the panels:
    all whole ones in one go, unless C has to be turned, and then what is left."""
    size = item_size(c)
    whole = cols // j.width * j.width
    is_turned = j.c_col != 1
    at = 0
    while at < cols:
        in_place = j.in_place and at < whole
        width = j.width if at < whole else j.narrow_width
        some = min(width, cols - at) if is_turned else whole - at if at < whole else cols - at
        src = v + (p * j.v_row + column + at) if in_place else panels + at * k
        told[t.V], told[t.V_ROW] = address(src), (j.v_row if in_place else width) * size
        told[t.V_PANEL] = (width if in_place else width * k) * size
        told[t.COLS] = some
        if g.bias:
            told[t.BIAS] = g.bias + (i if j.swapped else column + at) * size
        code = (j.tile if rows == j.strip else j.last) if at < whole else j.narrow if rows == j.strip else j.narrow_last
        to = c + at * j.c_col
        if is_turned and (g.add or p > 0):
            call(j.turn, to, 1, j.c_col, tiles, MAX_WIDTH // size, some, rows, some)
        told[t.C] = address(tiles if is_turned else to)
        _run_blocks(j, g, told, code, p, k, floor)
        if is_turned:
            call(j.turn, tiles, 1, MAX_WIDTH // size, to, j.c_col, rows, some, rows)
        at += some


def _task(job, index):
    """Part of C: the rows of one block, the columns of another. job: a Given, with a Plan"""
    numbers = whole_numbers(job)
    g = record(numbers, Given)
    j = record(pointer(g.plan, numbers), Plan)
    size = item_size(job)
    column = index // j.row_blocks * j.col_block
    cols = min(j.col_block, j.n - column)
    row = index % j.row_blocks * j.row_block
    row_end = min(row + j.row_block, j.m)

    own = whole_numbers(scratch(job))
    begin = address(own)
    panels, strip, tiles = (
        pointer(begin + PANELS_AT, job),
        pointer(begin + STRIP_AT, job),
        pointer(begin + TILE_AT, job),
    )
    s, v, params = pointer(g.s, job), pointer(g.v, job), pointer(g.params, job)
    c = pointer(g.c, job) + (row * j.c_row + column * j.c_col)
    y = pointer(g.y, job) + (row * j.c_row + column * j.c_col)
    told = room(numbers, 13)
    told[t.C_ROW] = (j.c_row if j.c_col == 1 else MAX_WIDTH // size) * size
    told[t.BIAS], told[t.BIAS_BY_ROWS] = 0, j.swapped
    floor = one_of(0.0 if g.is_relu else -float("inf"), job[0])

    p = 0
    while True:  # once even for k = 0
        k = min(j.depth, j.k - p)
        is_last = p + k == j.k
        _give_panels(j, g, own, v, panels, column, cols, p, k)
        finished = row
        for i in range(row, row_end, j.strip):
            rows = min(j.strip, row_end - i)
            src = s + (i * j.s_row + p * j.s_col)
            if j.pack_s:
                long = j.s_col == 1
                call(j.pack_s, src, j.s_col, j.s_row, strip, k + lanes_of(job) if long else rows, rows, k, rows)
                told[t.S] = address(strip)
                told[t.S_ROW], told[t.S_COL] = ((k + lanes_of(job)) * size, size) if long else (size, rows * size)
            else:
                told[t.S], told[t.S_ROW], told[t.S_COL] = address(src), j.s_row * size, j.s_col * size
            _run_strip(j, g, told, tiles, v, panels, c + (i - row) * j.c_row, i, rows, column, cols, p, k, floor)
            end = i + rows
            if g.y and is_last and (end == row_end or end - finished >= FINISH):
                past = (finished - row) * j.c_row
                made = end - finished
                rows, count, apart = (made, cols, j.c_row) if j.c_col == 1 else (cols, made, j.c_col)
                call(g.finish, g.run, g.is_custom, params, c + past, y + past, apart, rows, count)
                finished = end
        p += k
        if p >= j.k:
            break


matmul_task = Address(_task, lambda real: (types.CPointer(real), types.intp), "matmul")
