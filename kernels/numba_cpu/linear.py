"""The fully connected layer, forward and backward. Arguments as in kernels/contract.py."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numba.core import types

from .activations import OTHER, RELU, backward_runs, forward_runs
from .dot import MOST_ROWS, plan_dots
from .entry import REALS, Entry
from .gradients import ACTIVATION_COST, chunks_of, plans
from .jobs import (
    ADD,
    BIAS,
    FINISH,
    IS_CUSTOM,
    IS_RELU,
    NEEDS_MEMORY,
    NOT_PLANNED,
    PARAMS,
    PLAN,
    ROOM,
    RUN,
    C,
    Head,
    Operand,
    Plans,
    S,
    V,
    Y,
    counted,
    find,
    parts,
    plan_at,
    run_product,
)
from .matmul import V_BLOCK, plan
from .memory import Array, address, given, item_size, pointer, record, room
from .outer import LARGE
from .pool import worth
from .small import plan_small, prefers_small
from .tall import tall, tall_memory
from .vectors import BYTES, lanes_of
from .wide import wide, wide_memory

MANY = 128  # from so many rows on, turning w costs nothing beside the multiplications
MANY_CALLS = 1000  # parameters that change from call to call must not fill the memory
TURN = 2 if BYTES == 64 else 5  # twice what an element of C costs, to be turned, beside one of x or w

# --------------------------------------------------------------------------------------------------------- forward


def _prefers_turned(m: int, k: int, n: int, size: int) -> bool:
    """Is yᵀ = w xᵀ quicker? An operand is to be turned: w, or x, and then C as well each time that its panels are
    full."""
    width = 2 * BYTES // size
    turns = 2 * parts(k * parts(m, width) * width * size, V_BLOCK) - 1
    return m < n and m <= MANY and m * k + m * n * turns * TURN / 2 < n * k


FEW = 2 * MOST_ROWS
DOT_STEP, DOT_SUM = 1.28, 3  # what a vector of terms and the rest cost, for each element, in multiply-adds


def _prefers_dots(m: int, k: int, n: int, x: Operand, w: Operand, size: int) -> bool:
    """Few rows of x, or of w: summing across lanes then costs less than turning an operand, if k fills the lanes or
    there is little to sum: up to FEW rows, or twice as many where the tile would have to copy its other operand. It
    also costs less than the lanes of the tile that more rows leave empty. Not so if the other operand has to come from
    memory, which the dot products do not read as evenly."""
    lanes, rows, others = BYTES // size, min(m, n), max(m, n)
    few = FEW if k * size % 4096 else 2 * FEW
    is_few = rows <= few and (k >= 2 * lanes or m * n <= 512)
    dots, tiles = rows * (DOT_STEP * k / lanes + DOT_SUM), parts(rows, lanes) * k
    return (is_few or (dots < tiles and others * k * size < LARGE)) and x.col == 1 and w.col == 1


def _forward_plan(
    m: int, k: int, n: int, x_row: int, x_col: int, w_row: int, w_col: int, size: int, threads: int, is_often: bool
) -> tuple[int, ...]:
    """The strides are in bytes."""
    x, w = Operand(x_row // size, x_col // size), Operand(w_row // size, w_col // size)
    if m and n and _prefers_dots(m, k, n, x, w, size):
        if m < n:
            return plan_dots(m, k, n, x.row, w.row, Operand(n, 1), size, threads, False)
        return plan_dots(n, k, m, w.row, x.row, Operand(1, n), size, threads, True)
    if is_often and prefers_small(m, k, n, x, Operand(w.col, w.row), Operand(n, 1), size):
        return plan_small(m, k, n, x, Operand(w.col, w.row), Operand(n, 1), size, threads)
    if _prefers_turned(m, k, n, size):
        return plan(n, k, m, w, Operand(x.col, x.row), Operand(1, n), size, threads, swapped=True)
    return plan(m, k, n, x, Operand(w.col, w.row), Operand(n, 1), size, threads)


_forward_plans = Plans(lambda *key: [_forward_plan(*key)])


def _forward(table, x, w, b, y, z, code, params):
    """-> NOT_PLANNED, or what `counted` says"""
    m, k, n, size = x.shape[0], x.shape[1], w.shape[0], item_size(x.data)
    found = find(table.data, (m, k, n, x.strides[0], x.strides[1], w.strides[0], w.strides[1], size))
    if found == 0:
        return NOT_PLANNED
    steps = m * n * (k + ACTIVATION_COST) / lanes_of(x.data)
    share = worth(steps)
    job = room(table.data, ROOM)
    job[PLAN] = plan_at(table.data, found, 0, share)
    first, kind = z.data if given(z.data) else y.data, code.data[3]
    swapped = record(pointer(job[PLAN], table.data), Head).swapped
    job[S], job[V] = address(w.data if swapped else x.data), address(x.data if swapped else w.data)
    job[C], job[Y] = address(first), address(y.data) if kind == OTHER else 0
    job[BIAS], job[ADD], job[IS_RELU] = address(b.data), 0, kind == RELU
    job[RUN], job[IS_CUSTOM], job[PARAMS], job[FINISH] = code.data[0], code.data[1], address(params.data), code.data[4]
    run_product(job, share, steps)
    return counted(table.data, found)


_kernel = Entry(_forward, lambda real: (Array(types.intp), *(Array(real),) * 5, Array(types.intp), Array(real)))
#: by the bytes of an element, then by the activation and its parameters: the kernel, code and params of the Run
_forward_calls: dict[int, Any] = {size: {} for size in REALS}


def linear_forward(x, w, b, act, params, y, z):
    call = _forward_calls[x.itemsize].get((act.custom or act.code, params))
    if call is None:
        call = _new_call(_forward_calls, _kernel, forward_runs, x.itemsize, act, params)
    kernel, code, values = call
    says = kernel(_forward_plans.table, x, w, b, y, z, code, values)
    if says:
        key = (*x.shape, w.shape[0], *x.strides, *w.strides, x.itemsize)
        if says == NOT_PLANNED:
            says = kernel(_forward_plans.add(*key), x, w, b, y, z, code, values)
        _forward_plans.said(says, *key)


def _new_call(calls, kernel, runs, size, act, params):
    run = runs[size].of(act, params)
    if len(calls[size]) >= MANY_CALLS:
        calls[size].clear()
    calls[size][act.custom or act.code, params] = made = kernel[size], run.code, run.params
    return made


# -------------------------------------------------------------------------------------------------------- backward

_backward_calls: dict[int, Any] = {size: {} for size in REALS}


def linear_backward(dy, x, w, saved, act, params, dx, dw, db, accumulate):
    call = _backward_calls[dy.itemsize].get((act.custom or act.code, params))
    if call is None:
        call = _new_call(_backward_calls, wide, backward_runs, dy.itemsize, act, params)
    kernel, code, values = call
    table = plans.table
    says = kernel(table, dy, x, w, saved, dx, dw, db, None, code, values, accumulate)
    if says:
        _finish_backward(says, table, dy, x, w, saved, dx, dw, db, code, values, accumulate)


@lru_cache(maxsize=1024)
def _kernel_for(m: int, k: int, n: int) -> tuple[Entry, int]:
    """-> the kernel, and how many elements of memory it needs"""
    return (tall, tall_memory(m, k, n)) if chunks_of(m, k, n)[0] else (wide, wide_memory(m, n))


def _finish_backward(says, table, dy, x, w, saved, dx, dw, db, code, values, accumulate):
    """What the kernel said it lacks: a plan, or memory."""
    size, (m, n) = dy.itemsize, dy.shape
    k = (w if x is None else x).shape[1] if x is not None or w is not None else 0

    def key():
        x_strides, w_strides = ((0, 0) if a is None else a.strides for a in (x, w))
        return m, k, n, *x_strides, *w_strides, 4 * size + (dx is not None) + 2 * (dw is not None)

    if says == NOT_PLANNED:
        table = plans.add(*key())
    if says in (NOT_PLANNED, NEEDS_MEMORY):
        kernel, elements = _kernel_for(m, k, n)
        memory = np.empty(elements, dy.dtype)
        says = kernel[size](table, dy, x, w, saved, dx, dw, db, memory, code, values, accumulate)
    if says:
        plans.said(says, *key())
