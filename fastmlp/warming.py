"""Kernels compiled before they are needed."""

from __future__ import annotations

import copy
import time
from typing import Any

from . import ops
from .checks import kind
from .creation import as_tensor, default_generator
from .grad_mode import no_grad
from .nn import Module


def warmup(
    model: Module,
    x: Any,
    target: Any = None,
    loss: Any = None,
    optimizer: Any = None,
    *,
    backend: str | None = None,
) -> float:
    """Compile what the model needs for inputs like x, and, with target and loss, for training; -> the seconds it took.

    Numba compiles a kernel when it is first called, and gives a small layer one of its own when that has been called
    100 times; here both happen at once. Other backends have nothing to compile. What was compiled is kept on disk, and
    is there within milliseconds in the next process.

    model: a module; nothing of it is changed, since a copy runs. x, target: as they will be given to the model and to
    the loss; shapes and dtypes count. loss: a function of output and target. optimizer: the model's, whose step is
    compiled too. backend: that one, by name; else the one that is active.
    TypeError: loss without target, target without loss, or an optimizer without them.
    """
    if not isinstance(model, Module):
        raise TypeError(f"model: expected a module, got {kind(model)}")
    if (target is None) != (loss is None):
        missing, there = ("loss", "target") if loss is None else ("target", "loss")
        raise TypeError(f"{missing}: expected one, since there is a {there}; got None")
    if optimizer is not None and loss is None:
        raise TypeError("loss: expected one, since there is an optimizer; got None")
    start = time.perf_counter()
    model, optimizer = copy.deepcopy((model, optimizer))
    drawn = copy.deepcopy(default_generator.rng.bit_generator.state)  # by dropout
    try:
        with ops.compiled_at_once(backend):
            if loss is None:
                with no_grad():
                    model(as_tensor(x))
            else:
                loss(model(as_tensor(x)), as_tensor(target)).backward()
                if optimizer is not None:
                    optimizer.step()
    finally:
        default_generator.rng.bit_generator.state = drawn
    return time.perf_counter() - start
