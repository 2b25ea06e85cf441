"""All parameters of an optimizer in one call: tables of their arrays, and tasks of some elements of them in a row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types

from .denormals import flush_denormals, unflush
from .entry import Entry
from .memory import Arrays, address, given, inner, item, pointer, room, size
from .pool import run_tasks, worth
from .vectors import every, lanes_of, load_part, store_part

RUN = 8192  # elements to a task, of all parameters' in a row
COST = 24  # of an element, in multiply-adds
FEW = 128  # parameters that are done at a time: their table is on the stack
KINDS = 7  # of numbers that a table has of a parameter: see `listed`
TABLE = FEW * KINDS

#: which kinds of state an update keeps
NOTHING, ONE, TWO, ALL = (False, False, False), (True, False, False), (True, True, False), (True, True, True)

# ---------------------------------------------------------------------------------------------- lists of parameters


@inner
def _address(arrays, i):
    return address(item(arrays, i).data) if arrays.count else 0


@inner
def listed(table, params, grads, first, second, third, begin):
    """Of FEW parameters from `begin` on, fewer if there are no more: where each begins among their elements, how many
    it has, and the addresses of its arrays, 0 for a list that is None. -> how many parameters, and all their elements
    """
    count, elements = min(params.count - begin, FEW), 0
    for k in range(count):
        one, i = table + k * KINDS, begin + k
        one[0], one[1], one[2], one[3] = elements, size(item(params, i)), _address(params, i), _address(grads, i)
        one[4], one[5], one[6] = _address(first, i), _address(second, i), _address(third, i)
        elements += one[1]
    return count, elements


def update_task(run: Any) -> Any:
    """A task that calls run(one, at, end, like, terms) for its elements at..end of each parameter. one: its row of the
    table. like: a pointer to numbers as all have them"""

    @inner
    def task(job, index):
        table, params, elements, length, like, terms = job
        begin, end = index * length, min((index + 1) * length, elements)
        first, beyond = 0, params  # the last parameter that begins at `begin` or before, by bisection
        while beyond - first > 1:
            middle = (first + beyond) // 2
            if table[middle * KINDS] <= begin:
                first = middle
            else:
                beyond = middle
        before = flush_denormals()
        for i in range(first, params):
            one = table + i * KINDS
            if one[0] >= end:
                break
            run(one, max(begin - one[0], 0), min(end - one[0], one[1]), like, terms)
        unflush(before)

    return task


@inner
def _given(one):
    """How many kinds of state there are of a parameter"""
    return (one[4] != 0) + (one[5] != 0) + (one[6] != 0)


def _part(kept: Any) -> Any:
    """Takes a vector of a kind of state, or 0 if it is not kept, and puts it back. kept: is it? None: if it is given"""

    @inner
    def take(state, at, count):
        if kept or (kept is None and given(state)):
            return load_part(state + at, count, 0)
        return every(state, 0)

    @inner
    def put(state, at, vector, count):
        if kept or (kept is None and given(state)):
            store_part(state + at, vector, count)

    return take, put


def _loop(update: Any, kept: Any) -> Any:
    """Over the vectors of a parameter. kept: for each kind of state, as `_part` has it"""
    (take_first, put_first), (take_second, put_second), (take_third, put_third) = map(_part, kept)

    @inner
    def step(param, grad, first, second, third, at, count, terms):
        p, g = load_part(param + at, count, 0), load_part(grad + at, count, 0)
        a, b, c = take_first(first, at, count), take_second(second, at, count), take_third(third, at, count)
        p, a, b, c = update(p, g, a, b, c, terms)
        store_part(param + at, p, count)
        put_first(first, at, a, count)
        put_second(second, at, b, count)
        put_third(third, at, c, count)

    @inner
    def loop(one, at, end, like, terms):
        param, grad, lanes = pointer(one[2], like), pointer(one[3], like), lanes_of(like)
        first, second, third = pointer(one[4], like), pointer(one[5], like), pointer(one[6], like)
        while at + lanes <= end:
            step(param, grad, first, second, third, at, lanes, terms)
            at += lanes
        if at < end:
            step(param, grad, first, second, third, at, end - at, terms)

    return loop


def update_run(update: Any, usual: Any, other: Any = None) -> Any:
    """update(param, grad, first, second, third, terms) -> the new param and states, of one vector. usual, other: which
    states are kept, and, if there are more than those, which then"""
    loop = _loop(update, usual)
    if other is None:
        return loop
    longer, few = _loop(update, other), sum(usual)

    @inner
    def run(one, at, end, like, terms):
        if _given(one) == few:
            loop(one, at, end, like, terms)
        else:
            longer(one, at, end, like, terms)

    return run


def update_entry(run: Any, terms_of: Any, numbers: int, name: str) -> Entry:
    """terms_of(numbers) -> what the updates of this step need"""
    task = update_task(run)

    def kernel(params, grads, first, second, third, numbers):
        table, terms = room(pointer(0, np.intp), TABLE), terms_of(numbers)
        for begin in range(0, params.count, FEW):
            count, elements = listed(table, params, grads, first, second, third, begin)
            like = item(params, begin).data
            steps = elements * COST / lanes_of(like)
            job = table, count, elements, RUN, like, terms
            run_tasks(task, job, (elements + RUN - 1) // RUN, worth(steps), steps)

    def takes(real: Any) -> Any:
        return (*[Arrays(real)] * 5, types.UniTuple(types.float64, numbers))

    return Entry(kernel, takes, name)


def count_of(step: Any) -> Any:
    """The number, which may stand in an array (1,)."""
    return step.item() if isinstance(step, np.ndarray) else step
