"""The chain of layers that a model is, found by running it once and reading the tape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import waiting
from ..autograd import Tensor
from ..checks import Chosen
from ..creation import default_generator
from ..grad_mode import enable_grad
from ..nn import BatchNorm1d, Module
from ..nn import functional as F
from ..tape import Node


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


def trace(model: Module, x: Tensor) -> list[Layer]:
    """The layers that model(x) runs through, in the mode that its modules are in. x (m, ...). NotAChain says why not.

    The model is run once, in Python; its buffers and the random numbers are afterwards as they were before.
    """
    for name, module in model.named_modules():
        if module._forward_hooks:
            raise NotAChain(f"{name or 'the model'} has forward hooks")
    x = x.detach()
    x.requires_grad_()
    with _untouched(model), enable_grad():
        try:
            y = model(x)
        except Exception as e:  # which is said better by a run of all its rows
            raise NotAChain(f"its forward raises {type(e).__name__}: {e}") from None
        if not isinstance(y, Tensor):
            raise NotAChain(f"its forward returns {type(y).__name__}, not a Tensor")
        if y.grad_fn is None and y is not x:
            raise NotAChain("what its forward returns does not depend on its input")
        layers = _layers(y, x)
    counting = {id(m.running_mean): m for m in model.modules() if isinstance(m, BatchNorm1d) and m.training}
    for layer in layers:
        if layer.kind == "batch_norm":
            layer.options["module"] = counting.get(id(layer.options["running"][0]))
    return layers


@contextmanager
def _untouched(model: Module) -> Iterator[None]:
    """All parameters are on the tape meanwhile; what is frozen, the buffers and the generator stay as they were."""
    frozen = [p for p in model.parameters() if not p.requires_grad]
    buffers = [(b, b.detach().clone()) for b in model.buffers()]
    random = default_generator.rng.bit_generator
    state = random.state
    for p in frozen:
        p.requires_grad_()
    try:
        yield
    finally:
        for p in frozen:
            p.requires_grad_(False)
        for b, before in buffers:
            b.detach().copy_(before)
        random.state = state


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


def _leaf(node: Node, i: int) -> Tensor | None:
    """Operand i, a parameter."""
    t = node.edges[i] if i < len(node.edges) else None
    if isinstance(t, Node):
        raise NotAChain(f"a parameter of {node.name} is computed: by {t.name}")
    return t


def _linear(node: Node) -> Layer:
    return Layer("linear", node.kept[3], _leaf(node, 1), _leaf(node, 2))


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


def model_dtype(model: Module) -> np.dtype[Any]:
    """The type of its first parameter."""
    return next((p.dtype for p in model.parameters()), np.dtype(np.float32))
