"""Calls of kernels written down instead of run, and run later as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np

from ..backend import active, in_context
from ..checks import Array
from ..kernels.contract import PROGRAM
from .one_by_one import OneByOne

Call = tuple[str, tuple[Any, ...]]  # a kernel's name, its arguments


class _Recorder:
    """In the place of a backend: its kernels are written down. Those that look for something find nothing."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def __getattr__(self, name: str) -> Callable[..., int | None]:
        def kernel(*arguments: Any) -> int | None:
            self.calls.append((name, arguments))
            return -1 if name.startswith("find_") else None

        return kernel


@contextmanager
def recording() -> Iterator[list[Call]]:
    """Within the block, and in this thread, functions of `ops` check and allocate, but run nothing.

    -> the list into which their calls of kernels go. What is in the arrays that they give means nothing, therefore.
    """
    recorder = _Recorder()
    token = in_context.set(recorder)  # type: ignore[arg-type]
    try:
        yield recorder.calls
    finally:
        in_context.reset(token)


def program(
    calls: Sequence[Call], slots: Sequence[Array], results: Sequence[Array] | None = None, backend: str | None = None
) -> Any:
    """Recorded calls as one: `run(*arrays)` runs them with these arrays in the place of `slots`.

    results: the arrays that are read afterwards; None is all.

    As in kernels/contract.py, under PROGRAM, which also says what it gives back.
    """
    kernels = active(backend)
    return getattr(kernels, PROGRAM, partial(OneByOne, kernels))(calls, slots, results)


@contextmanager
def compiled_at_once(backend: str | None = None) -> Iterator[None]:
    """Within the block, and in this thread only, calls run on that backend, which compiles what it would otherwise
    compile for shapes that come often."""
    kernels = active(backend)
    token = in_context.set(kernels)
    try:
        with getattr(kernels, "at_once", nullcontext)():
            yield
    finally:
        in_context.reset(token)


def fma_peak(dtype: Any, backend: str | None = None) -> tuple[float, int] | None:
    """GFLOP/s of multiply-adds in the registers of a core, measured now, and the number of threads. None: not known."""
    kernels = active(backend)
    if not hasattr(kernels, "fma_peak"):
        return None
    return kernels.fma_peak(8 * np.dtype(dtype).itemsize), kernels.get_num_threads()
