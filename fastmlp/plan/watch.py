"""Has anything changed that a program was made of? Asked before each run, and therefore compiled ahead of time."""

from __future__ import annotations

from typing import Any

from ..autograd import Tensor
from ..nn import Module
from ..ops.arrays import Entries
from ..optim import Optimizer
from ..tape import array_of

#: what these hold stands also among the attributes; of the hooks the number says enough
KEPT_BY_MODULES = frozenset({"_parameters", "_buffers", "_modules", "_forward_hooks", "_not_saved"})
NOTHING: frozenset[str] = frozenset()


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


class Watch:
    """Of a model, and where it learns of its loss and optimizer: which objects they are made of."""

    def __init__(self, model: Module, modes: bool, loss: Any = None, optimizer: Optimizer | None = None) -> None:
        modules = [*model.modules(), *(loss.modules() if isinstance(loss, Module) else ())]
        passed = KEPT_BY_MODULES if modes else KEPT_BY_MODULES | {"training"}
        looked_at: list[tuple[Any, Any]] = [(m.__dict__, passed) for m in modules]  # parameters and modules, too
        looked_at += [(m._forward_hooks, m._forward_hooks.keys()) for m in modules]
        self._types = [(m, type(m)) for m in modules]
        tensors = [t for m in modules for kind in (m._parameters, m._buffers) for t in kind.values() if t is not None]
        self._tensors = [(t, array_of(t), t.requires_grad) for t in tensors]
        self._versions = [(t, t._memory.version) for t in (loss.buffers() if isinstance(loss, Module) else ())]
        self._lists: list[tuple[Any, list[Any]]] = []
        if optimizer is not None:
            groups, own = optimizer.param_groups, {"param_groups", "state"}
            self._lists = [(some, list(some)) for some in (groups, *(group["params"] for group in groups))]
            looked_at += [(optimizer.__dict__, optimizer.__dict__.keys() - own), (optimizer.state, NOTHING)]
            looked_at += [(kept, _numbers(kept)) for kept in optimizer.state.values()]
        self._entries = Entries(looked_at)

    def sees_no_change(self) -> bool:
        if not self._entries.hold() or not unchanged_tensors(self._tensors):
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


def _numbers(state: dict[str, Any]) -> set[str]:
    """What is no array, and goes on from step to step."""
    return {name for name, value in state.items() if not hasattr(value, "shape")}
