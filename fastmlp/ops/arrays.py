"""Arrays as kernels take them: C-contiguous, in rows; and the quick checks of `_fast`, where it is built."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import in_context, name_of
from ..checks import Array

try:
    from .._fast import (
        Entries,
        alike,
        apart,
        labels_output,
        linear_fits,
        linear_gradients,
        linear_output,
        output_like,
        rows_output,
        updatable,
    )
except ModuleNotFoundError:  # not built: checks.py does it all

    class Entries:  # type: ignore[no-redef]
        """What stands in some dictionaries. dictionaries: (a dict, the keys that are not looked at), each."""

        def __init__(self, dictionaries: list[tuple[dict[Any, Any], Any]]) -> None:
            self._kept = [(d, {k: v for k, v in d.items() if k not in passed}, len(d)) for d, passed in dictionaries]

        def hold(self) -> bool:
            """Does each dictionary still have as many entries, and at the keys these very values?"""
            return all(len(d) == size and all(d.get(k) is v for k, v in kept.items()) for d, kept, size in self._kept)

    def apart(a: Any, b: Any) -> bool:
        return False

    def alike(a: Any, like: Any) -> bool:
        return type(a) is np.ndarray and a.dtype == like.dtype and a.shape == like.shape and a.flags.c_contiguous

    def output_like(out: Any, first: Any, *others: Any) -> Any:
        return None

    def rows_output(out: Any, axis: Any, first: Any, *others: Any) -> Any:
        return None

    def labels_output(logits: Any, target: Any, weight: Any, sample_weight: Any, out: Any) -> Any:
        return None

    def linear_output(x: Any, w: Any, b: Any, out: Any) -> Any:
        return None

    def linear_fits(x: Any, w: Any, b: Any) -> bool:
        return False

    def linear_gradients(
        dy: Any, x: Any, w: Any, saved: Any, dx: Any, dw: Any, db: Any, accumulate: Any
    ) -> Any:
        return None

    def updatable(grads: Any, numbers: Any, written: Any, required: int) -> Any:
        return None


__all__ = [
    "Entries",
    "alike",
    "apart",
    "contiguous",
    "copy_back",
    "in_context",
    "labels_output",
    "linear_fits",
    "linear_gradients",
    "linear_output",
    "name_of",
    "output_like",
    "rows_of",
    "rows_output",
    "target_for",
    "updatable",
]


def contiguous(a: Any) -> Any:
    """`a` C-contiguous: itself or a copy. None stays None."""
    return a if a is None or a.flags.c_contiguous else np.ascontiguousarray(a)


def target_for(a: Array) -> Array:
    """`a` itself where a kernel can write straight into it, else scratch of its shape."""
    return a if a.flags.carray else np.empty(a.shape, a.dtype)


def copy_back(outs: list[Array | None], written: list[Array | None]) -> None:
    """What is in scratch of `target_for` goes where it was asked for."""
    for a, t in zip(outs, written):
        if a is not t and a is not None:
            a[...] = t


def rows_of(a: Array, columns: int) -> Array:
    """`a` (..., columns) seen as (rows, columns)."""
    if a.ndim == 2:
        return a
    rows = a.size // columns if columns else int(np.prod(a.shape[:-1], dtype=np.intp))
    return a.reshape(rows, columns)
