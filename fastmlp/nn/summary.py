"""The table that `Module.summary` gives."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor
from ..grad_mode import no_grad
from ..tape import wrap
from .module import Module


def output_shapes(model: Module, input_size: tuple[int, ...]) -> dict[Module, str]:
    """Runs an input of zeros of that shape through the model, in evaluation mode -> what each module gave."""
    shapes: dict[Module, str] = {}

    def note(module: Module, inputs: Any, output: Any) -> None:
        shapes[module] = "x".join(map(str, output.shape)) if isinstance(output, Tensor) else type(output).__name__

    modules = list(model.modules())
    handles = [m.register_forward_hook(note) for m in modules]
    modes = [m.training for m in modules]
    dtype = next((p.dtype for p in model.parameters()), np.dtype(np.float32))
    try:
        with no_grad():
            model.eval()(wrap(np.zeros(input_size, dtype)))
    finally:
        for m, handle, mode in zip(modules, handles, modes):
            handle.remove()
            m.training = mode
    return shapes


def summary(model: Module, input_size: tuple[int, ...] = ()) -> str:
    """A line for each layer: its name, what it is, its parameters and, if `input_size` is given, its output's shape."""
    shapes = output_shapes(model, input_size) if input_size else {}
    rows = [("layer", "type", "parameters", "output")]
    for name, module in model.named_modules():
        own = [p for p in module._parameters.values() if p is not None]
        if own or not module._modules:
            count = sum(p.numel() for p in own)
            rows.append((name or "(model)", type(module).__name__, f"{count:,}", shapes.get(module, "")))
    parameters = list(model.parameters())
    total = sum(p.numel() for p in parameters)
    learnt = sum(p.numel() for p in parameters if p.requires_grad)
    columns = 4 if input_size else 3
    widths = [max(len(row[i]) for row in rows) for i in range(columns)]
    lines = ["  ".join(f"{row[i]:>{w}}" if i >= 2 else f"{row[i]:<{w}}" for i, w in enumerate(widths)) for row in rows]
    rule = "-" * max(map(len, lines))
    size = sum(p.numel() * p.dtype.itemsize for p in parameters)
    last = f"{total:,} parameters, {learnt:,} of them learnt, {size / 1024:,.1f} KiB"
    return "\n".join([lines[0], rule, *lines[1:], rule, last])
