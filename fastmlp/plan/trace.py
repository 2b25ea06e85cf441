"""The chain of layers that a model is, found by running it once and reading the tape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import waiting
from ..autograd import Tensor
from ..checks import Array, Chosen
from ..creation import default_generator
from ..grad_mode import enable_grad
from ..nn import BatchNorm1d, Module
from ..nn import functional as F
from ..tape import FLOATS, Node, array_of, wrap


class NotAChain(Exception):
    """Why a model cannot be compiled."""


class NotYet(Exception):
    """The optimizer has no state for a parameter yet: the first step is its own."""


@dataclass
class Layer:
    """One step of the chain.

    kind: "linear", "activation", "prelu", "softmax", "log_softmax", "layer_norm", "batch_norm", "dropout".
    act: of a linear layer, or alone. weight, bias: the model's, where there are such.
    options: p of dropout; eps of the norms; momentum, running and training of batch norm, and its module, which counts.
    """

    kind: str
    act: Chosen | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None
    options: dict[str, Any] = field(default_factory=dict)


def trace(model: Module, x: Array) -> tuple[list[Layer], Array]:
    """The layers that model(x) runs through, in the mode that its modules are in, and what it gives. x (m, ...).

    The model is run once, in Python, on a copy of x; everything is afterwards as it was before. NotAChain says what
    cannot be had in native code.
    """
    for name, module in model.named_modules():
        if module._forward_hooks:
            raise NotAChain(f"{name or 'the model'} has forward hooks")
    if x.dtype not in FLOATS:
        raise NotAChain(f"its inputs are {x.dtype}")
    given = wrap(x.copy()).requires_grad_()
    with _untouched(model) as state, enable_grad():
        try:
            y = model(given)
        except Exception as e:
            raise NotAChain(f"its forward raises {type(e).__name__}: {e}") from None
        if not isinstance(y, Tensor):
            raise NotAChain(f"its forward returns {type(y).__name__}, not a Tensor")
        if y.grad_fn is None and y is not given:
            raise NotAChain("what its forward returns does not depend on its input")
        layers = _layers(y, given)
        _check_sources(model, layers)
        for layer in layers:
            if layer.kind == "batch_norm" and layer.options["training"]:
                state.allowed |= {id(t) for t in layer.options["running"]}
        if given._memory.version or state.has_changed():
            raise NotAChain("its forward changes its input, its attributes or what it has learnt")
        return layers, array_of(y)


class _State:
    """What a model is made of before its forward runs, which may change none of it but what is allowed."""

    def __init__(self, model: Module) -> None:
        tensors = (*model.parameters(), *model.buffers())
        self.tensors = [(t, t._memory.version, t.detach().clone()) for t in tensors]
        self.attributes = [(m.__dict__, dict(m.__dict__)) for m in model.modules()]
        self.allowed = {id(m.num_batches_tracked) for m in model.modules() if isinstance(m, BatchNorm1d)}

    def has_changed(self) -> bool:
        if any(t._memory.version != version and id(t) not in self.allowed for t, version, _ in self.tensors):
            return True
        return any(d.get(name) is not value for d, before in self.attributes for name, value in before.items())

    def restore(self) -> None:
        for t, version, before in self.tensors:
            if t._memory.version != version:
                t.detach().copy_(before)
        for d, before in self.attributes:
            d.update(before)


@contextmanager
def _untouched(model: Module) -> Iterator[_State]:
    """All parameters are on the tape meanwhile. Afterwards the model and the generator are as they were."""
    state = _State(model)
    frozen = [p for p in model.parameters() if not p.requires_grad]
    random = default_generator.rng.bit_generator
    draws = random.state
    for p in frozen:
        p.requires_grad_()
    try:
        yield state
    finally:
        for p in frozen:
            p.requires_grad_(False)
        state.restore()
        random.state = draws


def _check_sources(model: Module, layers: list[Layer]) -> None:
    """Parameters and statistics are the model's own, so that changes of them are seen."""
    own = {id(t) for t in (*model.parameters(), *model.buffers())}
    norms = {id(m.running_mean): m for m in model.modules() if isinstance(m, BatchNorm1d) and m.training}
    for layer in layers:
        running = layer.options.get("running", ())
        if any(t is not None and id(t) not in own for t in (layer.weight, layer.bias, *running)):
            raise NotAChain(f"a parameter of {layer.kind} is not one of the model's")
        if layer.kind == "batch_norm":
            layer.options["module"] = norms.get(id(running[0]))


def _layers(y: Tensor, x: Tensor) -> list[Layer]:
    """From the result back to the input."""
    found: list[Layer] = []
    at: Any = y.grad_fn if y is not x else x
    while at is not x:
        if not isinstance(at, Node):
            raise NotAChain("a layer's input is not the output of the one before")
        if at.name == "reshape" and at.edges[0] is x:  # rows made flat, at the start
            break
        if at.gradient not in READ:
            raise NotAChain(f"{at.name}() is not a layer of a chain")
        found.append(READ[at.gradient](at))
        if at.edges[0] is None:
            raise NotAChain(f"the input of {at.name} does not depend on the model's input")
        at = at.edges[0]
    return found[::-1]


def _leaf(node: Node, i: int) -> Tensor:
    """Operand i, a parameter."""
    t = node.edges[i] if i < len(node.edges) else None
    if t is None:
        raise NotAChain(f"a parameter of {node.name} is a constant")
    if isinstance(t, Node):
        raise NotAChain(f"a parameter of {node.name} is computed: by {t.name}")
    return t


def _linear(node: Node) -> Layer:
    *_, biased = node.kept
    return Layer("linear", node.kept[3], _leaf(node, 1), _leaf(node, 2) if biased else None)


def _norm(node: Node) -> Layer:
    _, wanted, shapes, options = node.kept
    given = [name for name, shape in zip(wanted, shapes) if shape is not None]
    operands = {name: _leaf(node, given.index(name)) for name in given if name != "dx"}
    return Layer(node.name, None, operands.get("dweight"), operands.get("dbias"), dict(options))


def _rows(node: Node) -> Layer:
    dim = node.kept[1]
    if node.kept[0].ndim != 2 or dim % 2 != 1:
        raise NotAChain(f"{node.name} along axis {dim} of shape {node.kept[0].shape}, not along the features")
    return Layer(node.name)


#: the function that gives an operation's gradient -> the layer that this operation is
READ: dict[Callable[..., Any] | None, Callable[[Node], Layer]] = {
    waiting._linear_gradient: _linear,
    waiting._activation_gradient: lambda node: Layer("activation", node.kept[1]),
    F._prelu_gradient: lambda node: Layer("prelu", weight=_leaf(node, 1)),
    F._softmax_gradient: _rows,
    F._log_softmax_gradient: _rows,
    F._norm_gradient: _norm,
    F._dropout_gradient: lambda node: Layer("dropout", options={"p": node.kept[0]}),
}


def input_shape(model: Module) -> tuple[int, ...]:
    """(rows, features) as the first layer with a shape of its own takes them; a guess, before there was any input."""
    for module in model.modules():
        for name in ("in_features", "num_features"):
            if hasattr(module, name):
                return 2, int(getattr(module, name))
        if hasattr(module, "normalized_shape"):
            return 2, int(np.prod(module.normalized_shape))
    raise NotAChain("it has no layer that says how many features it takes")
