"""Kernels compiled before they are needed."""

from __future__ import annotations

import copy
import time
from typing import Any

from . import ops
from .autograd import Tensor
from .checks import kind
from .creation import as_tensor, default_generator
from .grad_mode import no_grad
from .nn import Module
from .optim.optimizer import Optimizer


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
    TypeError: an argument of another kind, or one without those that it needs; ValueError: another model's optimizer.
    """
    if not isinstance(model, Module):
        raise TypeError(f"model: expected a module, got {kind(model)}")
    if (target is None) != (loss is None):
        missing, there = ("loss", "target") if loss is None else ("target", "loss")
        raise TypeError(f"{missing}: expected one, since there is a {there}; got None")
    if loss is not None and not callable(loss):
        raise TypeError(f"loss: expected a function of output and target, got {kind(loss)}")
    if optimizer is not None:
        _check_optimizer(model, loss, optimizer)
    x, target = _constant("x", x), None if target is None else _constant("target", target)
    start = time.perf_counter()
    model, loss, optimizer = copy.deepcopy((model, loss, optimizer))
    drawn = copy.deepcopy(default_generator.rng.bit_generator.state)  # by dropout
    try:
        with ops.compiled_at_once(backend):
            if loss is None:
                with no_grad():
                    model(x)
            else:
                loss(model(x), target).backward()
                if optimizer is not None:
                    optimizer.step()
    finally:
        default_generator.rng.bit_generator.state = drawn
    return time.perf_counter() - start


def _check_optimizer(model: Module, loss: Any, optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: expected an optimizer, got {kind(optimizer)}")
    if loss is None:
        raise TypeError("loss: expected one, since there is an optimizer; got None")
    own = {id(p) for p in model.parameters()}
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise ValueError("optimizer: expected the model's, got one of other parameters")


def _constant(name: str, value: Any) -> Tensor:
    """A tensor that gets no gradient."""
    try:
        return as_tensor(value).detach()
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected an array or a tensor, got {kind(value)}") from None
