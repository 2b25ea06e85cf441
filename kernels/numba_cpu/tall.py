"""The gradients of a tall layer: a task for each group of chunks of rows, with sums of its own."""

from __future__ import annotations

import numpy as np

from .activations import IDENTITY
from .entry import Entry
from .gradients import ACTIVATION_COST, chunks_of, fill_job, find_plans, pieces_at, takes
from .jobs import NOT_PLANNED, ROOM, counted, parts, run_alone
from .memory import call, given, item_size, part, room
from .pool import run_tasks, worth
from .vectors import lanes_of


def tall_memory(m: int, k: int, n: int) -> int:
    """Elements: of each group dw (n, k), db (n), dz (chunk, n)."""
    group, chunk = chunks_of(m, k, n)
    return parts(m, group) * (n * k + n + chunk * n)


@part
def _task(job, index):
    """A group of chunks."""
    arrays, run, wanted, shape, own = job
    table, found, dy, x, w, saved, dx = arrays
    is_weighed, adds, is_dy = wanted
    m, k, n, x_row, group, chunk = shape
    dw = own + index * (n * k + n + chunk * n)
    db = dw + n * k
    product = room(table, ROOM)
    end = min(m, (index + 1) * group)
    for i in range(index * group, end, chunk):
        rows, at = min(chunk, end - i), i * n
        which = 3 if i + chunk >= m else 1
        dz = dy + at if is_dy else db + n
        is_first = np.intp(i == index * group)
        call(run[0], run[1], run[2], run[3], dy + at, saved + at, dz, is_dy, db, adds, is_first, rows, n)
        if given(dx):
            fill_job(product, table, found, which, dz, w, dx + i * k, 0, 0)
            run_alone(product)
        if is_weighed:
            fill_job(product, table, found, which + 1, dz, x + i * x_row, dw, 1 - is_first, 0)
            run_alone(product)


def _tall(table, dy, x, w, saved, dx, dw, db, memory, code, params, accumulate):
    """memory: `tall_memory` of it. -> NOT_PLANNED, or what `counted` says"""
    found, k = find_plans(table, dy, x, w, dx, dw)
    if found == 0:
        return NOT_PLANNED
    m, n, own = dy.shape[0], dy.shape[1], memory.data
    pieces = pieces_at(table.data, found)
    group, chunk, add_up = pieces.group, pieces.chunk, pieces.add_up
    groups, apart = (m + group - 1) // group, n * k + n + chunk * n
    x_row = x.strides[0] // item_size(x.data) if given(x.data) else 0
    arrays = table.data, found, dy.data, x.data, w.data, saved.data, dx.data
    adds = pieces.add_rows if given(db.data) else 0
    wanted = given(dw.data), adds, np.intp(code.data[3] == IDENTITY)
    run = pieces.derive, code.data[0], code.data[1], params.data
    steps = m * n * (2 * k + ACTIVATION_COST) / lanes_of(dy.data)
    run_tasks(_task, (arrays, run, wanted, (m, k, n, x_row, group, chunk), own), groups, worth(steps), steps)
    if given(dw.data):
        call(add_up, own, groups, apart, dw.data, n * k, np.intp(accumulate))
    if given(db.data):
        call(add_up, own + n * k, groups, apart, db.data, n, np.intp(accumulate))
    return counted(table.data, found)


tall = Entry(_tall, takes)
