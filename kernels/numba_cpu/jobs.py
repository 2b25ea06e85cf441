"""A product as it is handed to the threads: an array of whole numbers, what a call gives followed by how it is made.

How is planned in Python, once for each shape, as a NamedTuple that begins with `code`, `tasks` and `swapped`. Kernels
find the plan by themselves, in a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar, NamedTuple

import numpy as np

from .memory import part, pointer
from .pool import new_number, run_code, threads


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


GIVEN = len(Given._fields)
S, V, C, Y, BIAS, RUN, IS_CUSTOM, PARAMS, FINISH, IS_RELU, ADD, NUMBER = range(GIVEN)
CODE, TASKS, SWAPPED = range(GIVEN, GIVEN + 3)
ROOM = GIVEN + 32  # of the longest job


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
OFTEN = 100  # calls
NOT_PLANNED, OFTEN_CALLED, NEEDS_MEMORY = -1, -2, -3  # what kernels say instead of the number of threads
MULTIPLIER = 0x9E3779B97F4A7C15 - 2**64  # Knuth's: 2^64 over the golden ratio


class Plans:
    """What was planned, by what tells a shape: in a hash table with open places, for compiled code.

    make: (*key, threads, is_often) -> plans for so many threads, () for one that will not be asked for. is_often: after
    OFTEN calls, some are made anew. table: its capacity less 1, then rows of a key and the address of the plans: how
    long those for one thread are, how many calls there are to OFTEN, those for one thread, those for all.
    """

    everyone: ClassVar[list[Plans]] = []
    are_hurried = False  # see `at_once`
    MOST = 4096  # shapes that change from call to call must not fill the memory

    def __init__(self, make: Callable[..., list[tuple[int, ...]]]) -> None:
        self.make = make
        self.everyone.append(self)
        self.forget(1)

    def forget(self, threads: int) -> None:
        """What is planned from here on is for so many threads."""
        self.threads = threads
        self.kept: dict[tuple[int, ...], np.ndarray] = {}
        self.table = self._table()

    def add(self, *key: int, is_often: bool = False) -> None:
        if len(self.kept) >= self.MOST:
            self.forget(self.threads)
        is_often = is_often or self.are_hurried
        numbers: list[int] = []
        for most in (1, self.threads):
            for plan in self.make(*key, most, is_often):
                assert len(plan) <= ROOM - GIVEN, "ROOM is too small"
                numbers += [*plan, *[0] * (ROOM - GIVEN - len(plan))]
        self.kept[key] = np.array([len(numbers) // 2, 0 if is_often else OFTEN, *numbers], np.intp)
        self.table = self._table()  # a new one: other threads may be looking something up

    def said(self, threads: int, *key: int) -> None:
        """What a kernel that was called with such a shape said."""
        if threads == OFTEN_CALLED:
            self.add(*key, is_often=True)
        elif threads != self.threads:
            self.forget(threads)

    def _table(self) -> np.ndarray:
        capacity = 64
        while capacity < 2 * len(self.kept):
            capacity *= 2
        table = np.zeros(1 + capacity * ROW, np.intp)
        table[0] = capacity - 1
        rows = table[1:].reshape(capacity, ROW)
        for key, plans in self.kept.items():
            place = 0
            for number in key:
                place = (place ^ number) * MULTIPLIER & 2**64 - 1
            place = place >> 40
            while rows[place & capacity - 1, KEYS]:
                place += 1
            rows[place & capacity - 1] = *key, plans.ctypes.data
        return table


@contextmanager
def at_once() -> Iterator[None]:
    """Within the block, what is compiled for shapes that come often is compiled for all."""
    for plans in Plans.everyone:
        plans.forget(plans.threads)
    Plans.are_hurried = True
    try:
        yield
    finally:
        Plans.are_hurried = False


@part
def find(table, key):
    """The address of the plans of that key, 0 if there are none."""
    place = np.uint64(0)
    for number in key:
        place = (place ^ np.uint64(number)) * np.uint64(MULTIPLIER)
    place = np.intp(place >> np.uint64(40))
    while True:
        row = table + (1 + (place & table[0]) * ROW)
        if row[KEYS] == 0:
            return 0
        same = True
        for i in range(KEYS):
            same &= row[i] == key[i]
        if same:
            return row[KEYS]
        place += 1


@part
def fill_plan(job, plans, which, share):
    """Plan number `which`, for one thread or for all. plans: their address"""
    numbers = pointer(plans, job)
    at = 2 + which * (ROOM - GIVEN) + (numbers[0] if share > 0 else 0)
    for i in range(ROOM - GIVEN):
        job[GIVEN + i] = numbers[at + i]


@part
def counted(plans, like):
    """Of the call that ends with this: the number of threads; OFTEN_CALLED if from now on it is one of OFTEN."""
    numbers = pointer(plans, like)
    left = numbers[1]
    if left > 0:
        numbers[1] = left - 1
    return OFTEN_CALLED if left == 1 else threads()


@part
def run_product(job, share, steps):
    job[NUMBER] = new_number()
    run_code(job[CODE], job, job[TASKS], share, steps)
