"""Has anything changed that a program was made of? Asked before each run, and therefore compiled ahead of time."""

from __future__ import annotations

from typing import Any

from ..autograd import Tensor
from ..nn import Module
from ..optim import Optimizer
from ..tape import array_of

Entry = tuple[dict[Any, Any], Any, Any]  # a dictionary, a key, the value that stood there


def unchanged(entries: list[Entry]) -> bool:
    """Does each dictionary still have that very value?"""
    for d, key, value in entries:
        if d.get(key) is not value:
            return False
    return True


def unchanged_sizes(sizes: list[tuple[Any, int]]) -> bool:
    for d, size in sizes:
        if len(d) != size:
            return False
    return True


def unchanged_tensors(tensors: list[tuple[Tensor, Any, bool]]) -> bool:
    """Does each still have that very array, and is it learnt or not as before?"""
    for t, array, learns in tensors:
        if t._data is not array or t._requires_grad is not learns:
            return False
    return True


def unchanged_values(d: dict[Any, Any], values: list[Any]) -> bool:
    """Does it still hold these very values, and no other?"""
    if len(d) != len(values):
        return False
    for i, value in enumerate(d.values()):
        if value is not values[i]:
            return False
    return True


def entries_of(*dictionaries: Any) -> list[Entry]:
    return [(d, key, value) for d in dictionaries for key, value in d.items()]


class Refusal:
    """Why there is no plan, as long as nothing changes."""

    def __init__(self, watch: Watch, reason: str) -> None:
        self.watch = watch
        self.reason = reason


class Watch:
    """Of a model, and where it learns of its loss and optimizer: which objects they are made of."""

    def __init__(self, model: Module, modes: bool, loss: Any = None, optimizer: Optimizer | None = None) -> None:
        modules = [*model.modules(), *(loss.modules() if isinstance(loss, Module) else ())]
        parts = [d for m in modules for d in (m._modules, m._parameters, m._buffers, m._forward_hooks)]
        self._sizes: list[tuple[Any, int]] = [(d, len(d)) for d in parts]
        self._entries = entries_of(*parts)
        if modes:
            self._entries += [(m.__dict__, "training", m.training) for m in model.modules()]
        if isinstance(loss, Module):
            self._entries += entries_of(loss.__dict__)
        tensors = [t for m in modules for kind in (m._parameters, m._buffers) for t in kind.values() if t is not None]
        self._tensors = [(t, array_of(t), t.requires_grad) for t in tensors]
        self._versions = [(t, t._memory.version) for t in (loss.buffers() if isinstance(loss, Module) else ())]
        self._states: dict[Any, Any] = {} if optimizer is None else optimizer.state
        self._kept = list(self._states.values())
        if optimizer is not None:
            groups = optimizer.param_groups
            self._sizes += [(some, len(some)) for some in (groups, *(group["params"] for group in groups))]
            self._entries += [(optimizer.__dict__, key, getattr(optimizer, key)) for key in ("param_groups", "state")]
            for kept in self._kept:
                self._entries += [(kept, key, value) for key, value in kept.items() if hasattr(value, "shape")]

    def sees_no_change(self) -> bool:
        if not unchanged_sizes(self._sizes) or not unchanged(self._entries) or not unchanged_tensors(self._tensors):
            return False
        if self._kept and not unchanged_values(self._states, self._kept):
            return False
        for t, version in self._versions:
            if t._memory.version != version:
                return False
        return True
