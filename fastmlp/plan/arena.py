"""The memory that plans compute in: one plan runs at a time, so they all have the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastmlp.kernels.contract import KERNELS, OUTPUTS

from .. import ops
from ..checks import Array
from ..memory import LINE, empty

GAP = 3 * LINE  # between arrays: of some layers the same element would else fall to the same places in a cache


class Arena:
    """Grows when a plan needs more; those made before keep what they had."""

    def __init__(self) -> None:
        self.memory = empty((0,), np.uint8)

    def take(self, size: int) -> Array:
        """So many bytes, from the beginning of a cache line."""
        if size > len(self.memory):
            self.memory = empty((max(size, 2 * len(self.memory)),), np.uint8)
        return self.memory[:size]


class Placed:
    """What stands in the arena, or elsewhere, for the arrays that the calls were recorded with.

    moved: (an array, the one of its shape that stands for it and is not in the arena), each.
    """

    def __init__(self, arena: Arena, calls: Sequence[ops.Call], moved: Sequence[tuple[Array, Array]] = ()) -> None:
        self._of: dict[int, Array] = {}
        self._homes: dict[int, tuple[Array, int]] = {}  # of an array that owns its memory: some memory, where in it
        for a, other in moved:
            self._of[id(a)], self._homes[id(_owner(a))] = other, (other, -_unused(_owner(a)))
        places, end = [], 0
        for a in _own(calls):
            if id(a) not in self._homes:
                places.append((a, end))
                end += -(-a.nbytes // LINE) * LINE + GAP
        memory = arena.take(end)
        for a, begin in places:
            self._homes[id(a)] = memory, begin - _unused(a)
        self._kept = calls  # while it is known what stands for their arrays

    def of(self, a: Any) -> Any:
        """What stands for an argument: itself, if it was there before the calls."""
        if isinstance(a, list):
            return [self.of(item) for item in a]
        if not isinstance(a, np.ndarray) or id(_owner(a)) not in self._homes:
            return a
        if id(a) not in self._of:
            owner = _owner(a)
            memory, begin = self._homes[id(owner)]
            begin += a.ctypes.data - owner.ctypes.data
            self._of[id(a)] = np.ndarray(a.shape, a.dtype, memory, begin, a.strides)
        return self._of[id(a)]

    def calls(self, calls: Sequence[ops.Call]) -> list[ops.Call]:
        return [(name, tuple(self.of(a) for a in arguments)) for name, arguments in calls]


def _owner(a: Array) -> Array:
    """The array whose memory it is."""
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a


def _unused(owner: Array) -> int:
    """Bytes before the array that memory.py put into this memory."""
    return -owner.ctypes.data % LINE if owner.dtype == np.uint8 else 0


def _own(calls: Sequence[ops.Call]) -> list[Array]:
    """The arrays that a call writes before any reads them, each once."""
    seen: set[int] = set()
    own = []
    for name, arguments in calls:
        given = dict(zip(KERNELS[name], arguments))
        read = [a for key, a in given.items() if key not in OUTPUTS.get(name, ())]
        for a in _arrays(read):
            seen.add(id(_owner(a)))
        for a in _arrays([given[key] for key in OUTPUTS.get(name, ())]):
            if id(_owner(a)) not in seen:
                seen.add(id(_owner(a)))
                own.append(_owner(a))
    return own


def _arrays(arguments: Sequence[Any]) -> list[Array]:
    return [a for a in arguments if isinstance(a, np.ndarray)]
