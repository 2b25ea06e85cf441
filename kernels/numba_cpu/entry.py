"""Kernels as Python calls them, and machine code that they call: compiled when it is first wanted, and kept on disk.

Numba's own way in finds out what each argument is, each time; here that is known, and a call takes less than 0.1 us.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import cfunc, njit
from numba.core import types

from ..numba_scalars import cache as disk
from .memory import Array
from .pool import has_threads
from .vectors import BYTES

REALS = {4: types.float32, 8: types.float64}
Takes = Callable[[Any], tuple[Any, ...]]


class _BySize(dict[int, Any]):
    """What is compiled of a function, by the bytes of its numbers.

    takes: real -> the types of the arguments. name: what makes it different from others of the same function.
    """

    def __init__(self, function: Any, takes: Takes, name: str = "") -> None:
        self.function, self.takes = function, takes
        self.name = " ".join(filter(None, (function.__name__.strip("_"), name)))

    def __missing__(self, size: int) -> Any:
        takes, name = self.takes(REALS[size]), f"{self.name} {REALS[size]}"
        key = disk.named(type(self).__name__, name, takes, BYTES, has_threads(), _sources())

        def compile() -> list[Any]:
            self.function.__name__ = self.function.__qualname__ = f"f_{key}"  # that no other has, in any process
            return [self.compile(takes)]

        (made,) = disk.kept(key, name, compile)
        self[size] = self.handle(made)
        return self[size]

    def compile(self, takes: tuple[Any, ...]) -> Any:
        raise NotImplementedError

    def handle(self, made: Any) -> Any:
        raise NotImplementedError


class Entry(_BySize):
    """A kernel: `kernel[x.itemsize](x, y)`."""

    def compile(self, takes: tuple[Any, ...]) -> Any:
        made = njit(error_model="numpy", no_cfunc_wrapper=True)(self.function)
        made.compile(takes)
        (result,) = made.overloads.values()
        return result

    def handle(self, made: Any) -> Callable[..., Any]:
        return made.entry_point


class Address(_BySize):
    """The address of a function without a result, for others to `call`: `function[x.itemsize]`."""

    def compile(self, takes: tuple[Any, ...]) -> Any:
        return cfunc(types.void(*takes), error_model="numpy")(self.function)

    def handle(self, made: Any) -> int:
        return made.address


def arrays(count: int) -> Takes:
    """The types of so many arrays."""
    return lambda real: (Array(real),) * count


@cache
def _sources() -> str:
    files = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256(b"".join(files)).hexdigest()
