"""Which parameters one call can update. Compiled ahead of time, as tape.py is."""

from __future__ import annotations

from typing import Any

from ..tape import array_of


def batches(params: list[Any], state: dict[Any, Any]) -> dict[Any, Any]:
    """Those with a gradient, by (steps so far, bytes of a number) -> parameters, arrays, gradients, state of each."""
    found: dict[Any, Any] = {}
    for p in params:
        grad = p._grad
        if grad is not None:
            kept, array = state[p], p._data
            key = kept.get("step") if kept else 0, array.itemsize
            if key not in found:
                found[key] = ([], [], [], [])
            batch = found[key]
            batch[0].append(p)
            batch[1].append(array)
            batch[2].append(array_of(grad))
            batch[3].append(kept)
    return found
