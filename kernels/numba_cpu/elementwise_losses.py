"""Losses of single elements, each with its gradient in the same pass. Arguments as in kernels/contract.py."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba.core import types

from ..numba_scalars.losses import ELEMENTWISE
from ..numba_scalars.numbers import choose
from .denormals import flush_denormals, unflush
from .entry import Entry, arrays
from .losses import CODES, LANES, MEAN, NONE, SUM_BLOCK, add_term, reciprocal_of, whole_sum
from .memory import Array, call, given, inner, pointer, room, size
from .pool import run_tasks, worth
from .vectors import BYTES, every, lanes_of, largest, load, load_some, only, store, store_some, total

RUN = 8192  # elements to a task
CHEAP = {"mse", "l1", "smooth_l1", "huber"}
CHEAP_COST, COST = 6, 40  # of an element, in multiply-adds: with the first, memory counts most
CUSTOM_BLOCK, CUSTOM_STEP = 1024, 64  # elements: as c/elementwise.h and c/engine.h have it


class Elements(NamedTuple):
    """x, t, dx (count,); weight (count,) or null; loss (count,), or null where the losses are summed, each run's into
    run_loss, float64. param, code: of the loss. positive: `cycle` weights and as many more as a vector has lanes, or
    null; hop: from the place of a vector's first one to that of the next vector's, but for whole cycles."""

    x: Any
    t: Any
    weight: Any
    positive: Any
    cycle: Any
    hop: Any
    param: Any
    code: Any
    unit: Any
    scale: Any
    loss: Any
    dx: Any
    run_loss: Any
    count: Any


@inner
def _take(job, at, loss, slope):
    """A vector of the losses and slopes from `at` on; -> its losses, weighted"""
    factor = job.unit * job.scale
    if given(job.weight):
        w = load(job.weight + at)
        loss, factor = loss * w, w * job.unit * job.scale
    store(job.dx + at, slope * factor)
    if given(job.loss):
        store(job.loss + at, loss)
    return loss


@inner
def _take_some(job, at, loss, slope, left):
    """The same of one with so many elements; -> 0 behind them"""
    factor = job.unit * job.scale
    if given(job.weight):
        w = load_some(job.weight + at, left, 0)
        loss, factor = loss * w, w * job.unit * job.scale
    store_some(job.dx + at, slope * factor, left)
    if given(job.loss):
        store_some(job.loss + at, loss, left)
    return only(loss, left)


@inner
def _positive(job, i):
    """The vector of weights from i on, and the i of the next."""
    if not given(job.positive):
        return every(job.x, 1), i
    after = i + job.hop
    return load(job.positive + i), after if after < job.cycle else after - job.cycle


def _run(formula: Any) -> Any:
    @inner
    def run(job, begin, end):
        """The sum of the losses of elements begin..end"""
        x, t, n, p = job.x, job.t, lanes_of(job.x), every(job.x, job.param)
        value = lost = 0.0
        i, whole = begin % job.cycle, begin + (end - begin) // n * n
        for start in range(begin, end, SUM_BLOCK * n):
            block, stop = every(x, 0), min(end, start + SUM_BLOCK * n)
            for at in range(start, min(whole, stop), n):
                positive, i = _positive(job, i)
                loss, slope = formula(load(x + at), load(t + at), p, positive)
                block = block + _take(job, at, loss, slope)
            for at in range(min(whole, stop), stop, n):
                positive, i = _positive(job, i)
                left = end - at
                loss, slope = formula(load_some(x + at, left, 0), load_some(t + at, left, 0), p, positive)
                block = block + _take_some(job, at, loss, slope, left)
            value, lost = add_term(value, lost, total(block))
        return whole_sum(value, lost)

    return run


@inner
def _padded(a, count, to):
    """A copy, with zeros up to CUSTOM_STEP."""
    for at in range(0, CUSTOM_STEP, lanes_of(a)):
        store(to + at, load_some(a + at, count - at, 0))


@inner
def _custom_losses(code, x, t, losses, slopes, count):
    """Machine code that takes multiples of CUSTOM_STEP: what is left of them is put where there is room for that."""
    whole = count // CUSTOM_STEP * CUSTOM_STEP
    if whole:
        call(code, x, t, losses, slopes, whole)
    if whole < count:
        last_x, last_t = room(x, CUSTOM_STEP), room(x, CUSTOM_STEP)
        _padded(x + whole, count - whole, last_x)
        _padded(t + whole, count - whole, last_t)
        call(code, last_x, last_t, losses + whole, slopes + whole, CUSTOM_STEP)


@inner
def _custom_run(job, begin, end):
    """The same of a function that the user wrote, some elements at a time. job.code: the address of its table. Nobody
    has seen to it that it makes no denormal numbers."""
    losses, slopes, n = room(job.x, CUSTOM_BLOCK), room(job.x, CUSTOM_BLOCK), lanes_of(job.x)
    code, value, lost = pointer(job.code, np.intp)[BYTES // (8 * n)], 0.0, 0.0
    floating = flush_denormals()
    for start in range(begin, end, CUSTOM_BLOCK):
        count = min(CUSTOM_BLOCK, end - start)
        _custom_losses(code, job.x + start, job.t + start, losses, slopes, count)
        for group in range(0, count, SUM_BLOCK * n):
            block, stop = every(job.x, 0), min(count, group + SUM_BLOCK * n)
            whole = stop // n * n
            for at in range(group, whole, n):
                block = block + _take(job, start + at, load(losses + at), load(slopes + at))
            for at in range(whole, stop, n):
                block = block + _take_some(job, start + at, load(losses + at), load(slopes + at), stop - at)
            value, lost = add_term(value, lost, total(block))
    unflush(floating)
    return whole_sum(value, lost)


def _elementwise(run: Any, cost: int, name: str) -> Entry:
    @inner
    def task(job, index):
        job.run_loss[index] = run(job, index * RUN, min(job.count, (index + 1) * RUN))

    def loss_of_elements(x, t, weight, positive, repeated, param, code, reduction, divisor, loss, dx, run_loss):
        count, cycle, n = size(x), 1, lanes_of(x.data)
        if given(positive.data) and count:
            cycle, at = size(positive), 0
            for i in range(cycle + n):
                repeated.data[i] = positive.data[at]
                at = at + 1 if at + 1 < cycle else 0
        by, kept, sums = 1.0, loss.data, run_loss.data
        if reduction == MEAN:
            by = divisor
        if reduction != NONE:
            kept = pointer(0, loss.data)
        if not given(sums):
            sums = room(sums, 1)
        unit, scale = reciprocal_of(x.data, by)
        job = Elements(
            x.data, t.data, weight.data, repeated.data, cycle, n % cycle, param, code, unit, scale, kept, dx.data, sums,
            count,
        )  # fmt: skip
        runs, steps = (count + RUN - 1) // RUN, count * cost / n
        run_tasks(task, job, runs, worth(steps), steps)
        if reduction != NONE:
            value = lost = 0.0
            for i in range(runs):
                value, lost = add_term(value, lost, sums[i])
            loss.data[0] = whole_sum(value, lost) / by

    def takes(real: Any) -> tuple[Any, ...]:
        array = Array(real)
        numbers = types.float64, types.intp, types.intp, types.float64
        return (array,) * 5 + numbers + (array, array, Array(types.float64))

    return Entry(loss_of_elements, takes, name)


_kernels = {name: _elementwise(_run(f), CHEAP_COST if name in CHEAP else COST, name) for name, f in ELEMENTWISE.items()}
_custom = _elementwise(_custom_run, COST, "of the user")


def elementwise_loss(input, target, weight, pos_weight, kind, params, reduction, divisor, loss, dinput):
    repeated = run_loss = None
    param = params[0] if params else 0.0
    if kind.custom is None:
        kernel, code = _kernels[kind.name], 0
    else:
        kernel, code = _custom, kind.custom.address
    if pos_weight is not None:
        repeated = np.empty(pos_weight.size + LANES, input.dtype)
    if input.size > RUN:
        run_loss = np.empty(input.size // RUN + 1)
    kernel[input.itemsize](
        input, target, weight, pos_weight, repeated, param, code, CODES[reduction], divisor, loss, dinput, run_loss
    )


# ---------------------------------------------------------------------------------------------------- probabilities


@inner
def _marked(x, outside):
    """1 in the lanes whose numbers are outside, NaN too; else as it was"""
    return choose((x >= 0) & (x <= 1), outside, 1)


@inner
def _unit_task(job, index):
    a, count, found = job
    begin, end, n = index * RUN, min(count, (index + 1) * RUN), lanes_of(a)
    p = q = every(a, 0)
    whole = begin + (end - begin) // (2 * n) * (2 * n)
    for at in range(begin, whole, 2 * n):
        p, q = _marked(load(a + at), p), _marked(load(a + (at + n)), q)
    for at in range(whole, end, n):
        p = _marked(load_some(a + at, end - at, 0), p)
    if largest(p + q) > 0:
        found[0] = 1


def _first_outside_unit(a):
    count, found = size(a), room(a.data, 1)
    found[0] = 0
    steps = count * CHEAP_COST / lanes_of(a.data)
    run_tasks(_unit_task, (a.data, count, found), (count + RUN - 1) // RUN, worth(steps), steps)
    if found[0] > 0:
        for i in range(count):
            if not (a.data[i] >= 0 and a.data[i] <= 1):
                return i
    return -1


_outside_unit = Entry(_first_outside_unit, arrays(1))


def find_outside_unit(a):
    return _outside_unit[a.itemsize](a)
