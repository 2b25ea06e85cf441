"""Calls of kernels that are run again and again, one after the other: the Program of backends that have none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ..checks import Array

#: of an argument in an array that is given later: which argument, which array, from which element on, of what shape
Place = tuple[int, int, int, tuple[int, ...]]


class OneByOne:
    """As in kernels/contract.py, under PROGRAM. Whichever the results are, each call writes all that it gives."""

    def __init__(
        self,
        kernels: ModuleType,
        calls: Sequence[tuple[str, tuple[Any, ...]]],
        slots: Sequence[Array],
        results: Sequence[Array] | None = None,
    ) -> None:
        self.kernels, self._slots, self._rows = kernels, list(slots), len(slots[0]) if slots else 0
        self._begins = [_address(slot) for slot in slots]
        self._names = [name for name, _ in calls]
        self._calls = [self._call(name, arguments) for name, arguments in calls]

    def _call(
        self, name: str, arguments: tuple[Any, ...]
    ) -> tuple[Callable[..., int | None], tuple[Any, ...], list[Place]]:
        return getattr(self.kernels, name), arguments, [p for i, a in enumerate(arguments) for p in self._places(i, a)]

    def _places(self, i: int, argument: Any) -> list[Place]:
        """Where it is in a slot that it is, or is a part of; there is one at most."""
        if not isinstance(argument, np.ndarray) or not argument.size:
            return []
        places = []
        for number, (slot, begin) in enumerate(zip(self._slots, self._begins)):
            distance = _address(argument) - begin
            if 0 <= distance < slot.nbytes:
                places.append((i, number, distance // argument.itemsize, argument.shape))
        return places

    def run(self, *arrays: Array) -> int:
        self._check(arrays)
        for number, (kernel, arguments, places) in enumerate(self._calls):
            if places:
                now = list(arguments)
                for i, slot, begin, shape in places:
                    given = arrays[slot]
                    now[i] = given if given.shape == shape else _part(given, begin, shape)
                found = kernel(*now)
            else:
                found = kernel(*arguments)
            if found is not None and found >= 0:
                return number
        return -1

    def _check(self, arrays: tuple[Any, ...]) -> None:
        fit = len(arrays) == len(self._slots) and all(
            isinstance(a, np.ndarray) and a.dtype == slot.dtype and a.size == slot.size
            for a, slot in zip(arrays, self._slots)
        )
        if not fit:
            expected = ", ".join(f"{slot.dtype} {slot.shape}" for slot in self._slots)
            raise TypeError(f"run: expected arrays like the slots, {expected}")

    def repeat(self, x: Array, y: Array, order: Array, counters: Sequence[Array], loss: Array) -> tuple[int, float]:
        total = 0.0
        for done, begin in enumerate(range(0, len(order), self._rows)):
            some = order[begin : begin + self._rows]
            for counter in counters if begin else ():
                counter += 1
            if self.run(x[some], y[some]) >= 0:
                return done, total
            total += float(loss[0])
        return len(order) // self._rows, total

    def parts(self) -> list[tuple[int, str, str]]:
        return [(i, name, "") for i, name in enumerate(self._names)]

    def replace(self, index: int, arguments: tuple[Any, ...]) -> None:
        self._calls[index] = self._call(self._names[index], arguments)


def _address(a: Array) -> int:
    return a.__array_interface__["data"][0]


def _part(array: Array, begin: int, shape: tuple[int, ...]) -> Array:
    count = int(np.prod(shape, dtype=np.intp))
    return array.reshape(-1)[begin : begin + count].reshape(shape)
