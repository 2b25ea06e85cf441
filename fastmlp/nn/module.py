"""Module: what holds parameters and other modules. Parameter: a tensor that a module learns."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from ..autograd import Tensor
from ..devices import conversion
from ..memory import copy
from ..tape import array_of, before_write, clear_gradients, look_at, make, wrap


class Parameter(Tensor):
    """A tensor that is learnt: as an attribute of a module it is one of its parameters."""

    def __init__(self, data: Any = (), requires_grad: bool = True) -> None:
        """data: a tensor or an array, whose memory is the parameter's, or lists"""
        t = look_at(data) if isinstance(data, np.ndarray) else data if isinstance(data, Tensor) else Tensor(data)
        make(self, array_of(t), t._memory)
        self.requires_grad_(requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class Keys(NamedTuple):
    """What `load_state_dict(strict=False)` found not to match."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not any(self):
            return "<All keys matched successfully>"
        return f"Keys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


_keys = count()


class Handle:
    """Of a hook that was registered; `remove()` takes it off again."""

    def __init__(self, hooks: dict[int, Any], hook: Any) -> None:
        self._hooks, self._key = hooks, next(_keys)
        hooks[self._key] = hook

    def remove(self) -> None:
        self._hooks.pop(self._key, None)


class Module:
    """Base of all layers and models. A model is a class with layers as attributes and a `forward`:

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            return F.relu(self.fc(x))
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _forward_hooks: dict[int, Callable[..., Any]]
    _not_saved: set[str]

    def __init__(self) -> None:
        # They stand in these dictionaries, in order, and once more as ordinary attributes, which Python finds fastest.
        own = self.__dict__
        own["training"] = True
        own["_parameters"], own["_buffers"], own["_modules"] = {}, {}, {}
        own["_forward_hooks"] = {}
        own["_not_saved"] = set()

    def forward(self, *inputs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward()")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        output = self.forward(*inputs, **options)
        if self._forward_hooks:
            for hook in tuple(self._forward_hooks.values()):
                changed = hook(self, inputs, output)
                output = output if changed is None else changed
        return output

    # attributes

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._register("_parameters", name, value)
        elif isinstance(value, Module):
            self._register("_modules", name, value)
        elif name in self.__dict__.get("_buffers", ()) and (value is None or isinstance(value, Tensor)):
            self._register("_buffers", name, value)
        elif value is None and (kind := self._kind_of(name)):
            self._register(kind, name, None)
        elif name in self.__dict__.get("_parameters", ()):
            raise TypeError(f"{name}: expected a Parameter or None, as it is a parameter; got {type(value).__name__}")
        else:
            if kind := self._kind_of(name):
                del self.__dict__[kind][name]
            object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        if kind := self._kind_of(name):
            del self.__dict__[kind][name]
            self._not_saved.discard(name)
        object.__delattr__(self, name)

    def _kind_of(self, name: str) -> str | None:
        return next((kind for kind in _KINDS if name in self.__dict__.get(kind, ())), None)

    def _register(self, kind: str, name: str, value: Any) -> None:
        if kind not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}: call super().__init__() before assigning {name!r}")
        before = self._kind_of(name)
        if before not in (None, kind):
            del self.__dict__[before][name]
        self.__dict__[kind][name] = value
        if kind != "_buffers":
            self._not_saved.discard(name)
        object.__setattr__(self, name, value)

    def _register_new(self, kind: str, name: str, value: Any, expected: type) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise KeyError(f"name: expected a name without dots, got {name!r}")
        if hasattr(self, name) and self._kind_of(name) != kind:
            raise KeyError(f"name: {type(self).__name__} already has an attribute {name!r}")
        if value is not None and not isinstance(value, expected):
            raise TypeError(f"{name}: expected a {expected.__name__} or None, got {type(value).__name__}")
        self._register(kind, name, value)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        self._register_new("_parameters", name, param, Parameter)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """A tensor that belongs to the module's state but is not learnt; saved with it if `persistent`."""
        self._register_new("_buffers", name, tensor, Tensor)
        (self._not_saved.discard if persistent else self._not_saved.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        self._register_new("_modules", name, module, Module)

    register_module = add_module

    def register_forward_hook(self, hook: Callable[..., Any]) -> Handle:
        """hook(module, inputs, output) is called after each forward; unless it is None, its result is the output."""
        return Handle(self._forward_hooks, hook)

    # what there is

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it, each once."""
        return self._walk(prefix, set())

    def _walk(self, name: str, seen: set[Module]) -> Iterator[tuple[str, Module]]:
        if self not in seen:
            seen.add(self)
            yield name, self
            for key, child in self._modules.items():
                if child is not None:
                    yield from child._walk(f"{name}.{key}" if name else key, seen)

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        return ((name, m) for name, m in self._modules.items() if m is not None)

    def children(self) -> Iterator[Module]:
        return (m for _, m in self.named_children())

    def get_submodule(self, target: str) -> Module:
        module = self
        for name in filter(None, target.split(".")):
            child = module._modules.get(name)
            if child is None:
                raise AttributeError(f"{type(module).__name__} has no module {name!r}")
            module = child
        return module

    def _named(self, kind: str, prefix: str, recurse: bool) -> Iterator[tuple[str, Tensor]]:
        seen = set()
        for name, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for key, t in getattr(module, kind).items():
                if t is not None and id(t) not in seen:
                    seen.add(id(t))
                    yield (f"{name}.{key}" if name else key), t

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        return self._named("_parameters", prefix, recurse)  # type: ignore[return-value]

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        return self._named("_buffers", prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        return (b for _, b in self.named_buffers(recurse=recurse))

    # state

    def _saved(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """(name, parameter or buffer) of everything that is saved, under each of its names."""
        for kind in ("_parameters", "_buffers"):
            for key, t in getattr(self, kind).items():
                if t is not None and key not in self._not_saved:
                    yield prefix + key, t
        for key, child in self._modules.items():
            if child is not None:
                yield from child._saved(f"{prefix}{key}.")

    def state_dict(self) -> OrderedDict[str, Tensor]:
        """Name -> tensor, of all parameters and saved buffers. The tensors share the memory of the module's own."""
        return OrderedDict((name, t.detach()) for name, t in self._saved())

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Keys:
        """Copies the values, tensors or arrays, into the module.

        RuntimeError lists all that does not fit; nothing is written then.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"state_dict: expected a dict, got {type(state_dict).__name__}")
        own = dict(self._saved())
        keys = Keys([k for k in own if k not in state_dict], [k for k in state_dict if k not in own])
        wrong = []
        if strict and keys.missing_keys:
            wrong.append(f"missing keys: {', '.join(keys.missing_keys)}")
        if strict and keys.unexpected_keys:
            wrong.append(f"unexpected keys: {', '.join(map(str, keys.unexpected_keys))}")
        values = {k: np.asarray(_values(state_dict[k])) for k in own if k in state_dict}
        for k, a in values.items():
            if a.shape != own[k].shape:
                wrong.append(f"{k}: expected shape {own[k].shape}, got {a.shape}")
            elif not own[k]._data.flags.writeable:
                wrong.append(f"{k}: is read-only")
            elif a.dtype.kind not in "biuf":
                wrong.append(f"{k}: expected numbers, got {a.dtype}")
        if wrong:
            raise RuntimeError(f"state_dict does not fit {type(self).__name__}: " + "; ".join(wrong))
        before_write([own[k] for k in values])
        for k, a in values.items():
            own[k]._data[...] = a
        return keys

    def train(self, mode: bool = True) -> Any:
        """Training or evaluation, for layers that differ: Dropout, BatchNorm1d. -> the module itself"""
        if not isinstance(mode, bool):
            raise ValueError(f"train: expected True or False, got {mode!r}")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Any:
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        clear_gradients(self.parameters(), set_to_none)

    def apply(self, fn: Callable[[Module], Any]) -> Any:
        """fn(module) for every module, children first. -> the module itself"""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def to(self, *args: Any, dtype: Any = None, device: Any = None) -> Any:
        """to(dtype), to(device): parameters and buffers of floating point in another type, in place."""
        dtype = conversion(args, dtype, device)
        if dtype is None:
            return self
        dtype = np.dtype(dtype)
        if dtype not in (np.float32, np.float64):
            raise TypeError(f"to: expected float32 or float64, got {dtype}")
        for t in (*self.parameters(), *self.buffers()):
            if t.dtype.kind == "f" and t.dtype != dtype:
                t.data = wrap(copy(array_of(t), dtype))
                t.grad = None if t.grad is None else t.grad.to(dtype)
        return self

    def float(self) -> Any:
        return self.to(np.float32)

    def double(self) -> Any:
        return self.to(np.float64)

    def cpu(self) -> Any:
        return self

    # in print

    def extra_repr(self) -> str:
        """What stands in the parentheses of this module's own line."""
        return ""

    def __repr__(self) -> str:
        children = [f"({name}): " + repr(m).replace("\n", "\n  ") for name, m in self._modules.items()]
        extra = self.extra_repr()
        if not children:
            return f"{type(self).__name__}({extra})"
        return "\n  ".join([f"{type(self).__name__}({extra}", *children]) + "\n)"

    def summary(self, *input_size: int) -> str:
        """A table of the layers and their parameters, as text; with the shape of an input, of their outputs as well."""
        from .summary import summary

        return summary(self, input_size)


_KINDS = ("_parameters", "_buffers", "_modules")


def _values(value: Any) -> Any:
    return array_of(value) if isinstance(value, Tensor) else value


@contextmanager
def evaluation(model: Module) -> Iterator[None]:
    """Within the block the model is in evaluation mode; afterwards each of its modules is as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def model_dtype(model: Module) -> np.dtype[Any]:
    """The type that the model computes in: that of its first parameter."""
    return next((p.dtype for p in model.parameters()), np.dtype(np.float32))
