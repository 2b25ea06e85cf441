"""Modules made of modules: Sequential, ModuleList."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import count
from operator import index
from typing import Any

from ..checks import kind
from .module import Module


class _Numbered(Module):
    """Modules in order, by number."""

    def _fill(self, modules: Iterable[Module]) -> None:
        for module in modules:
            self.append(module)

    def _check(self, module: Any) -> None:
        if not isinstance(module, Module):
            hint = "; nn.Activation(it) is one" if hasattr(module, "chosen") else ""
            raise TypeError(f"{type(self).__name__}: expected a Module, got {kind(module)}{hint}")

    def append(self, module: Module) -> Any:
        self._check(module)
        names = (str(i) for i in count(len(self)))
        self.add_module(next(name for name in names if name not in self._modules), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        self._fill(list(modules))
        return self

    def insert(self, index: int, module: Module) -> Any:
        self._check(module)
        modules = list(self)
        modules.insert(index, module)
        self._refill(modules)
        return self

    def _refill(self, modules: list[Module]) -> None:
        for name in list(self._modules):
            delattr(self, name)
        self._fill(modules)

    def _name(self, i: int) -> str:
        if not -len(self) <= index(i) < len(self):
            raise IndexError(f"{type(self).__name__}: index {i} is out of range for {len(self)} modules")
        return list(self._modules)[i]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def __contains__(self, module: object) -> bool:
        return any(m is module for m in self)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return self._of(list(self._modules.items())[i])
        return self._modules[self._name(i)]

    def _of(self, items: list[tuple[str, Any]]) -> Any:
        raise NotImplementedError

    def __setitem__(self, i: int, module: Module) -> None:
        setattr(self, self._name(i), module)

    def __delitem__(self, i: int) -> None:
        modules = list(self)
        del modules[i]
        self._refill(modules)


class Sequential(_Numbered):
    """Sequential(a, b, c)(x) is c(b(a(x))). An OrderedDict gives the modules names."""

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], OrderedDict):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            self._fill(modules)

    def forward(self, x: Any) -> Any:
        for name, module in self._modules.items():
            try:
                x = module(x)  # type: ignore[misc]
            except Exception as e:
                e.add_note(f"in layer {name} of the Sequential, {type(module).__name__}")
                raise
        return x

    def _of(self, items: list[tuple[str, Any]]) -> Any:
        return Sequential(OrderedDict(items))


class ModuleList(_Numbered):
    """A list of modules, whose parameters are the list's."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self._fill(modules)

    def _of(self, items: list[tuple[str, Any]]) -> Any:
        return ModuleList(m for _, m in items)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])
