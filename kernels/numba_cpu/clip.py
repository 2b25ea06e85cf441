"""Gradients clipped, in place: by the norm of all of them, or number by number. Arguments as in kernels/contract.py."""

from __future__ import annotations

import math

import numpy as np
from numba.core import types

from ..numba_scalars.functions import at_least, at_most
from ..numba_scalars.numbers import fma
from .entry import Entry
from .memory import Array, Arrays, inner, pointer, room
from .parameters import COST, FEW, NOTHING, RUN, TABLE, listed, update_entry, update_run, update_task
from .pool import run_tasks, worth
from .vectors import every, lanes_of, load, load_part, total

MANY = 512  # sums of squares, at most


@inner
def square_sum(g, count):
    """Σ g² (count), in four chains and lane by lane"""
    lanes, at = lanes_of(g), 0
    a = b = c = d = every(g, 0)
    while at + 4 * lanes <= count:
        w, x, y, z = load(g + at), load(g + at + lanes), load(g + at + 2 * lanes), load(g + at + 3 * lanes)
        a, b, c, d = fma(w, w, a), fma(x, x, b), fma(y, y, c), fma(z, z, d)
        at += 4 * lanes
    while at < count:
        x = load_part(g + at, count - at, 0)
        a = fma(x, x, a)
        at += lanes
    return total((a + b) + (c + d))


@inner
def _square_run(one, at, end, like, terms):
    """sums[t] += Σ g² of what task t takes of this gradient, RUN elements at a time"""
    sums, length = terms
    task = (one[0] + at) // length
    for begin in range(at, end, RUN):
        sums[task] += square_sum(pointer(one[2], like) + begin, min(RUN, end - begin))


@inner
def _scale_update(g, unused, first, second, third, share):
    return g * share, first, second, third


@inner
def _bound_update(g, unused, first, second, third, limit):
    return at_most(at_least(g, -limit), limit), first, second, third


@inner
def _no_terms(numbers):
    return numbers[0]


_square_task, _scale_task = update_task(_square_run), update_task(update_run(_scale_update, NOTHING))
_clip_value = update_entry(update_run(_bound_update, NOTHING), _no_terms, 1, "clip_value")


def _norm(grads, nothing, norm, limit):
    """limit: what the norm is made no larger than; where it is infinite, the norm is all that is wanted"""
    table, sums, square = room(pointer(0, np.intp), TABLE), room(pointer(0, np.float64), MANY), 0.0
    for begin in range(0, grads.count, FEW):
        count, elements = listed(table, grads, grads, nothing, nothing, nothing, begin)
        length = RUN * max((elements + MANY * RUN - 1) // (MANY * RUN), 1)
        tasks = (elements + length - 1) // length
        for i in range(tasks):
            sums[i] = 0.0
        steps = elements * COST / lanes_of(norm.data)
        job = table, count, elements, length, norm.data, (sums, length)
        run_tasks(_square_task, job, tasks, worth(steps), steps)
        for i in range(tasks):
            square += sums[i]
    norm.data[0] = math.sqrt(square)
    share = limit / (norm.data[0] + 1e-6)
    if share >= 1 or limit == math.inf:
        return
    for begin in range(0, grads.count, FEW):
        count, elements = listed(table, grads, grads, nothing, nothing, nothing, begin)
        steps = elements * COST / lanes_of(norm.data)
        job = table, count, elements, RUN, norm.data, share
        run_tasks(_scale_task, job, (elements + RUN - 1) // RUN, worth(steps), steps)


_clip_norm = Entry(_norm, lambda real: (Arrays(real), Arrays(real), Array(real), types.float64))


def clip_norm(max_norm, grads, norm):
    _clip_norm[norm.itemsize](grads, None, norm, max_norm)


def clip_value(limit, grads):
    if grads:
        _clip_value[grads[0].itemsize](grads, grads, None, None, None, (limit,))
