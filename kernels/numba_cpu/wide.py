"""The gradients of a wide layer: dz, dx and dw one after the other."""

from __future__ import annotations

import numpy as np

from .activations import IDENTITY
from .entry import Entry
from .gradients import ACTIVATION_COST, fill_job, find_plans, pieces_at, takes
from .jobs import NEEDS_MEMORY, NOT_PLANNED, ROOM, counted, parts, run_product
from .memory import call, given, item_size, part, retyped, room
from .pool import run_tasks, worth
from .vectors import lanes_of

MIN_RUN, MAX_RUN, RUNS = 64, 256, 16  # rows whose sum is one chain; runs in between
MANY_DZ = 8192  # elements of dz that are worth sharing out, if the products that follow are
SMALL = 65536  # bytes that are kept on the stack
WORDS = SMALL // 8


def wide_memory(m: int, n: int) -> int:
    """Elements: of dz, and of the sums of its runs."""
    return (m + parts(m, MIN_RUN)) * n


@part
def _derive_task(job, index):
    """A run of rows of dz, and their sums."""
    derive, run, is_custom, params, dy, saved, dz, is_dy, sums, adds, m, n, rows = job
    at, count = index * rows * n, min(rows, m - index * rows)
    own = sums + index * n
    call(derive, run, is_custom, params, dy + at, saved + at, dz + at, is_dy, own, adds, 1, count, n)


def _wide(table, dy, x, w, saved, dx, dw, db, memory, code, params, accumulate):
    """memory: `wide_memory` of it, or None. -> NOT_PLANNED; NEEDS_MEMORY if it is tall, or if SMALL is not enough; or
    what `counted` says"""
    found, k = find_plans(table, dy, x, w, dx, dw)
    if found == 0:
        return NOT_PLANNED
    m, n, pieces = dy.shape[0], dy.shape[1], pieces_at(table.data, found)
    is_small = (m + (m + MIN_RUN - 1) // MIN_RUN) * n * item_size(dy.data) <= SMALL
    if not given(memory.data) and (pieces.chunk or not is_small):
        return NEEDS_MEMORY
    steps = m * n * (k + ACTIVATION_COST) / lanes_of(dy.data)
    share = worth(steps)
    rows = max(MIN_RUN, min(MAX_RUN, (m + RUNS - 1) // RUNS))
    runs, is_dy = (m + rows - 1) // rows, np.intp(code.data[3] == IDENTITY)
    adds = pieces.add_rows if given(db.data) else 0
    own = memory.data if given(memory.data) else retyped(room(table.data, WORDS), dy.data)
    dz = dy.data if is_dy else own
    sums = own + (0 if is_dy else m * n)
    if not is_dy or adds:
        run = pieces.derive, code.data[0], code.data[1], params.data
        task = (*run, dy.data, saved.data, dz, is_dy, sums, adds, m, n, rows)
        some = m * n * ACTIVATION_COST / lanes_of(dy.data)
        run_tasks(_derive_task, task, runs, share if m * n >= MANY_DZ else 0, some)
    if adds:
        call(pieces.add_up, sums, runs, n, db.data, n, np.intp(accumulate))
    job = room(table.data, ROOM)
    for which in range(2):
        made, factor, add = (dw.data, x.data, accumulate) if which else (dx.data, w.data, False)
        if given(made):
            fill_job(job, table.data, found, 1 + which, dz, factor, made, add, share)
            run_product(job, share, steps)
    return counted(table.data, found)


wide = Entry(_wide, takes)
