"""Has anything changed that a program was made of? Asked before each run, and therefore compiled ahead of time."""

from __future__ import annotations

from typing import Any

from ..autograd import Tensor
from ..nn import Module
from ..optim import Optimizer
from ..tape import array_of

#: what these hold stands also among the attributes; of the hooks the number says enough
KEPT_BY_MODULES = {"_parameters", "_buffers", "_modules", "_forward_hooks", "_not_saved"}

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


def unchanged_items(some: Any, items: list[Any]) -> bool:
    """Are there still these very items, and no other?"""
    if len(some) != len(items):
        return False
    for i, item in enumerate(some):
        if item is not items[i]:
            return False
    return True


def entries_of(*dictionaries: Any) -> list[Entry]:
    for d in dictionaries:
        if type(d) is not dict:
            raise TypeError(f"expected a dict, got {type(d).__name__}")
    return [(d, key, value) for d in dictionaries for key, value in d.items()]


class Watch:
    """Of a model, and where it learns of its loss and optimizer: which objects they are made of."""

    def __init__(self, model: Module, modes: bool, loss: Any = None, optimizer: Optimizer | None = None) -> None:
        modules = [*model.modules(), *(loss.modules() if isinstance(loss, Module) else ())]
        own = [m.__dict__ for m in modules]  # which holds parameters, buffers and modules, too
        self._sizes: list[tuple[Any, int]] = [(d, len(d)) for d in (*own, *(m._forward_hooks for m in modules))]
        passed = KEPT_BY_MODULES if modes else {*KEPT_BY_MODULES, "training"}
        self._entries = [entry for entry in entries_of(*own) if entry[1] not in passed]
        self._types = [(m, type(m)) for m in modules]
        tensors = [t for m in modules for kind in (m._parameters, m._buffers) for t in kind.values() if t is not None]
        self._tensors = [(t, array_of(t), t.requires_grad) for t in tensors]
        self._versions = [(t, t._memory.version) for t in (loss.buffers() if isinstance(loss, Module) else ())]
        self._states: dict[Any, Any] = {} if optimizer is None else optimizer.state
        self._kept = list(self._states.values())
        self._lists: list[tuple[Any, list[Any]]] = []
        if optimizer is not None:
            groups = optimizer.param_groups
            self._lists = [(some, list(some)) for some in (groups, *(group["params"] for group in groups))]
            self._entries += [(optimizer.__dict__, key, getattr(optimizer, key)) for key in ("param_groups", "state")]
            for kept in self._kept:
                self._entries += [entry for entry in entries_of(kept) if hasattr(entry[2], "shape")]

    def sees_no_change(self) -> bool:
        if not unchanged_sizes(self._sizes) or not unchanged(self._entries) or not unchanged_tensors(self._tensors):
            return False
        if self._kept and not unchanged_items(self._states.values(), self._kept):
            return False
        for some, items in self._lists:
            if not unchanged_items(some, items):
                return False
        for m, kind in self._types:
            if type(m) is not kind:
                return False
        for t, version in self._versions:
            if t._memory.version != version:
                return False
        return True
