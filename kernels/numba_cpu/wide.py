"""The gradients of a wide layer: dz, dx and dw one after the other."""

from __future__ import annotations

from .activations import IDENTITY
from .entry import Entry
from .gradients import ACTIVATION_COST, add_up, clear, derive, fill_job, find_plans, takes
from .jobs import NOT_PLANNED, ROOM, counted, parts, run_product
from .memory import given, inner, lanes_of, room
from .pool import run_tasks, worth

MIN_RUN, MAX_RUN, RUNS = 64, 256, 16  # rows whose sum is one chain; runs in between
MANY_DZ = 8192  # elements of dz that are worth sharing out, if the products that follow are
SMALL = 4096  # elements that are kept on the stack


def wide_memory(m: int, n: int) -> int:
    """Elements: of dz, and of the sums of its runs."""
    return (m + parts(m, MIN_RUN)) * n


@inner
def _derive_task(job, index):
    """A run of rows of dz, and their sums."""
    run, is_custom, params, dy, saved, dz, sums, is_summed, is_dy, m, n, rows = job
    own, at = sums + index * n, index * rows * n
    if is_summed:
        clear(own, n)
    count = min(rows, m - index * rows)
    derive(run, is_custom, params, dy + at, saved + at, dz + at, own, is_summed, is_dy, count, n)


def _wide(table, dy, x, w, saved, dx, dw, db, memory, code, params, accumulate):
    """memory: `wide_memory` of it, or None where SMALL is enough. -> NOT_PLANNED, or what `counted` says"""
    plans, k = find_plans(table, dy, x, w, dx, dw)
    if plans == 0:
        return NOT_PLANNED
    m, n = dy.shape[0], dy.shape[1]
    steps = m * n * (k + ACTIVATION_COST) / lanes_of(dy.data)
    share = worth(steps)
    rows = max(MIN_RUN, min(MAX_RUN, (m + RUNS - 1) // RUNS))
    runs, is_dy, is_summed = (m + rows - 1) // rows, code.data[3] == IDENTITY, given(db.data)
    own = memory.data if given(memory.data) else room(dy.data, SMALL)
    dz = dy.data if is_dy else own
    sums = own + (0 if is_dy else m * n)
    if not is_dy or is_summed:
        run = code.data[0], code.data[1], params.data
        task = (*run, dy.data, saved.data, dz, sums, is_summed, is_dy, m, n, rows)
        some = m * n * ACTIVATION_COST / lanes_of(dy.data)
        run_tasks(_derive_task, task, runs, share if m * n >= MANY_DZ else 0, some)
    if is_summed:
        add_up(sums, runs, n, db.data, n, accumulate)
    job = room(table.data, ROOM)
    if given(dx.data):
        fill_job(job, plans, 0, dz, w.data, dx.data, 0, share)
        run_product(job, share, steps)
    if given(dw.data):
        fill_job(job, plans, 1, dz, x.data, dw.data, accumulate, share)
        run_product(job, share, steps)
    return counted(plans, table.data)


wide = Entry(_wide, takes)
