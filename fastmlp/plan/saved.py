"""A chain of layers in a file, and what comes out of it again: a model that is nothing but that chain."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..autograd import Tensor
from ..checks import written
from ..nn import Module
from ..nn import functional as F
from ..nn.module import Parameter
from ..tape import array_of, wrap
from ..waiting import activation, linear
from .trace import Layer

FORMAT = "fastmlp predictor 1"
NEEDED = {"linear": ("activation", "weight"), "activation": ("activation",), "prelu": ("weight",)}
#: where activations that the user wrote are compared
PLACES = np.linspace(-8, 8, 41)
TENSORS = ("weight", "bias", "mean", "var")


def tree_of(layers: list[Layer]) -> dict[str, Any]:
    """As `fastmlp.save` takes it."""
    return {"format": FORMAT, "layers": [_entry(layer) for layer in layers]}


def _entry(layer: Layer) -> dict[str, Any]:
    entry: dict[str, Any] = {"kind": layer.kind}
    if layer.act is not None:
        act = layer.act.act
        entry |= {"activation": act.name, "params": dict(zip(act.params, layer.act.values))}
        if act.custom is not None:
            if act.name not in written or written[act.name].act is not act:
                raise RuntimeError(f"save: the name of activation {act.name!r} is that of another one by now")
            entry["samples"] = wrap(act.custom.forward(PLACES))
    if "eps" in layer.options:
        entry["eps"] = float(layer.options["eps"])
    mean, var = layer.options.get("running", (None, None))
    given = zip(TENSORS, (layer.weight, layer.bias, mean, var))
    return entry | {name: t.detach() for name, t in given if t is not None}


def chain_of(tree: Any, path: Any) -> list[Layer]:
    """The layers in what `fastmlp.load` gave. ValueError if they are none."""
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise ValueError(f"{path}: expected a file that Network.save wrote, got another")
    try:
        return [_layer(**entry) for entry in tree["layers"]]
    except AnotherActivation as e:
        raise ValueError(f"{path}: {e}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise ValueError(f"{path}: its layers are damaged: {type(e).__name__}: {e}") from None


def _layer(
    kind: str,
    activation: str | None = None,
    params: dict[str, float] | None = None,
    eps: float = 0.0,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    mean: Tensor | None = None,
    var: Tensor | None = None,
    samples: Tensor | None = None,
) -> Layer:
    if kind not in RUN:
        raise ValueError(f"there is no layer {kind!r}")
    given = {"activation": activation, "weight": weight}
    if missing := [name for name in NEEDED.get(kind, ()) if given[name] is None]:
        raise KeyError(f"{kind} without {', '.join(missing)}")
    for t in (weight, bias, mean, var):
        if t is not None and not isinstance(t, Tensor):
            raise TypeError(f"expected an array, got {type(t).__name__}")
    if samples is not None:
        _check_activation(activation, samples)
    act = None if activation is None else ops.choose_activation(activation, **(params or {}))
    return Layer(kind, act, weight, bias, {"eps": float(eps), "running": (mean, var)})


class AnotherActivation(Exception):
    """An activation that the user wrote is not the one that a file needs."""


def _check_activation(name: Any, samples: Tensor) -> None:
    """samples: what it gave at PLACES when the file was written."""
    if name not in written:
        raise AnotherActivation(f"needs the activation {name!r}: define it first, by fastmlp.activation")
    custom = written[name].act.custom
    if not np.allclose(custom.forward(PLACES), array_of(samples), rtol=1e-9, atol=1e-12, equal_nan=True):
        raise AnotherActivation(f"the activation {name!r} of now gives other numbers than that with which it was saved")


class Chain(Module):
    """One layer after the other."""

    def __init__(self, layers: list[Layer]) -> None:
        super().__init__()
        self.layers = layers
        for i, layer in enumerate(layers):
            for name in ("weight", "bias"):
                t = getattr(layer, name)
                if t is not None:
                    p = Parameter(t)
                    setattr(layer, name, p)
                    self.register_parameter(f"{name}{i}", p)
            for name, t in zip(("mean", "var"), layer.options["running"]):
                if t is not None:
                    self.register_buffer(f"{name}{i}", t)

    def forward(self, x: Any) -> Any:
        x = x.flatten(1) if x.ndim > 2 else x
        for layer in self.layers:
            x = RUN[layer.kind](layer, x)
        return x

    def extra_repr(self) -> str:
        return " -> ".join(layer.kind if layer.act is None else layer.act.act.name for layer in self.layers)


def _batch_norm(layer: Layer, x: Any) -> Any:
    mean, var = layer.options["running"]
    return F.batch_norm(x, mean, var, layer.weight, layer.bias, mean is None, 0.0, layer.options["eps"])


#: kind -> the layer applied, in evaluation
RUN: dict[str, Any] = {
    "linear": lambda layer, x: activation(linear(x, layer.weight, layer.bias), layer.act),
    "activation": lambda layer, x: activation(x, layer.act),
    "prelu": lambda layer, x: F.prelu(x, layer.weight),
    "softmax": lambda layer, x: F.softmax(x, 1),
    "log_softmax": lambda layer, x: F.log_softmax(x, 1),
    "layer_norm": lambda layer, x: F.layer_norm(x, x.shape[1:], layer.weight, layer.bias, layer.options["eps"]),
    "batch_norm": _batch_norm,
}
