"""A product as it is handed to the threads: what a call gives, and the address of how it is made.

How is planned in Python, once for each shape, as a NamedTuple that begins as `Head`. Kernels find the plans by
themselves, in a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import ClassVar, NamedTuple

import numpy as np

from ..numba_scalars.cache import at_fork
from .memory import address, call, part, pointer, record
from .pool import new_number, run_code, thread_count, threads


class Given(NamedTuple):
    """What a call gives: addresses, and numbers."""

    s: int
    v: int
    c: int
    y: int  # gets act(C); 0: nobody does
    bias: int
    run: int  # of the activation, as of a Run
    is_custom: int
    params: int
    finish: int  # runs that over rows
    is_relu: int  # is C to be max(0, C)?
    add: int  # to what is in C
    number: int  # of this job
    plan: int


ROOM = len(Given._fields)
S, V, C, Y, BIAS, RUN, IS_CUSTOM, PARAMS, FINISH, IS_RELU, ADD, NUMBER, PLAN = range(ROOM)


class Head(NamedTuple):
    """How every plan begins."""

    code: int  # of the task
    tasks: int
    swapped: int  # is it the transpose, with S and V exchanged? Then the bias belongs to rows.


class Operand(NamedTuple):
    """A matrix: from row to row, from column to column, in elements."""

    row: int
    col: int


def parts(total: int, size: int) -> int:
    return -(-total // size)


def evenly(total: int, most: int) -> int:
    """The size of parts of about equal size, none above `most`."""
    return parts(total, parts(total, most)) if total else 1


# ----------------------------------------------------------------------------------------------------------- tables

KEYS = 8  # whole numbers that tell a shape
ROW = KEYS + 1
SIZE = 32  # numbers of a plan, at most
OFTEN = 100  # calls
NOT_PLANNED, OFTEN_CALLED, NEEDS_MEMORY = -1, -2, -3  # what kernels say; or the number of threads, if that has changed
MULTIPLIER = 0x9E3779B97F4A7C15 - 2**64  # Knuth's: 2^64 over the golden ratio


lock = Lock()  # of what all Plans keep; taken before that of numba_scalars.cache
at_fork(lock)
hurried: ContextVar[bool] = ContextVar("fastmlp_hurried", default=False)  # see `at_once`


class Plans:
    """What was planned, by what tells a shape: in a hash table with open places, for compiled code.

    make: (*key, threads, is_often) -> plans for so many threads, () for one that will not be asked for. is_often: after
    OFTEN calls, some are made anew.

    table: its capacity less 1; for how many threads; rows of a key and of where its plans begin; these. Of a key: how
    long its plans for one thread are; how many calls there are to OFTEN; those plans; those for all threads. Whoever
    runs with a table holds it, so that what it says stays there; what is added goes into a new one.
    """

    everyone: ClassVar[list[Plans]] = []
    MOST = 1024  # shapes that change from call to call must not fill the memory

    def __init__(self, make: Callable[..., list[tuple[int, ...]]]) -> None:
        self.make, self.threads = make, 0
        self.often: set[tuple[int, ...]] = set()  # what was called OFTEN, or is to be treated so
        self.kept: dict[tuple[int, ...], np.ndarray] = {}
        self.table = self._table()
        self.everyone.append(self)

    def add(self, *key: int) -> np.ndarray:
        """-> the table that has it. Others may forget it again at once: who asked goes on with this one."""
        with lock:
            threads = thread_count()
            if threads != self.threads or len(self.kept) >= self.MOST:
                self.threads = threads
                self.kept.clear()
            if len(self.often) >= self.MOST:
                self.often.clear()
            if hurried.get():
                self.often.add(key)
            is_often = key in self.often
            alone, shared = (self._numbers(key, most, is_often) for most in (1, threads))
            self.kept[key] = np.array([len(alone), 0 if is_often else OFTEN, *alone, *shared], np.intp)
            self.table = self._table()
            return self.table

    def said(self, says: int, *key: int) -> None:
        """What a kernel that was called with such a shape said."""
        if says == OFTEN_CALLED:
            with lock:
                self.often.add(key)
        if says:  # or there are other threads
            self.add(*key)

    def keep_those_called_often(self) -> None:
        with lock:
            self.kept = {key: plans for key, plans in self.kept.items() if key in self.often}
            self.table = self._table()

    def _numbers(self, key: tuple[int, ...], threads: int, is_often: bool) -> list[int]:
        numbers: list[int] = []
        for plan in self.make(*key, threads, is_often):
            assert len(plan) <= SIZE
            numbers += [*plan, *[0] * (SIZE - len(plan))]
        return numbers

    def _table(self) -> np.ndarray:
        capacity = 64
        while capacity < 2 * len(self.kept):
            capacity *= 2
        begin = 2 + capacity * ROW
        table = np.zeros(begin + sum(plans.size for plans in self.kept.values()), np.intp)
        table[:2] = capacity - 1, self.threads
        rows = table[2:begin].reshape(capacity, ROW)
        for key, plans in self.kept.items():
            place = 0
            for number in key:
                place = (place ^ number) * MULTIPLIER & 2**64 - 1
            place = place >> 40
            while rows[place & capacity - 1, KEYS]:
                place += 1
            rows[place & capacity - 1] = *key, begin
            own = table[begin : begin + plans.size]
            own[:] = plans  # and so many calls as there are left by now
            self.kept[key] = own
            begin += plans.size
        return table


@contextmanager
def at_once() -> Iterator[None]:
    """Within the block, and in this thread, what is compiled for shapes that come often is compiled for all."""
    for plans in Plans.everyone:
        plans.keep_those_called_often()
    token = hurried.set(True)
    try:
        yield
    finally:
        hurried.reset(token)


@part
def find(table, key):
    """Where the plans of that key are in the table, 0 if it has none."""
    place = np.uint64(0)
    for number in key:
        place = (place ^ np.uint64(number)) * np.uint64(MULTIPLIER)
    place = np.intp(place >> np.uint64(40))
    while True:
        row = table + (2 + (place & table[0]) * ROW)
        if row[KEYS] == 0:
            return 0
        same = True
        for i in range(KEYS):
            same &= row[i] == key[i]
        if same:
            return row[KEYS]
        place += 1


@part
def plan_at(table, found, which, share):
    """The address of plan number `which`, for one thread or for all"""
    plans = table + found
    return address(plans + (2 + which * SIZE + (plans[0] if share > 0 else 0)))


@part
def counted(table, found):
    """What a kernel says that has done its work."""
    plans = table + found
    left = plans[1]
    if left > 0:
        plans[1] = left - 1
    now = threads()
    return OFTEN_CALLED if left == 1 else 0 if now == table[1] else now


@part
def run_product(job, share, steps):
    job[NUMBER] = new_number()
    plan = record(pointer(job[PLAN], job), Head)
    run_code(plan.code, job, plan.tasks, share, steps)


@part
def run_alone(job):
    """The same, on this thread: within a task."""
    job[NUMBER] = new_number()
    plan = record(pointer(job[PLAN], job), Head)
    for index in range(plan.tasks):
        call(plan.code, job, index)
