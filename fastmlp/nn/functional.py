"""Layers as functions, by torch's names: activations, softmax, linear, dropout, normalization. (The losses are in
loss_functions.py.)

`inplace=True` writes the result into x. Each of them is a call of `ops` on the tape.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from fastmlp.kernels.contract import ACTIVATIONS

from .. import ops
from ..autograd import Tensor
from ..checks import Array, Chosen
from ..creation import default_generator
from ..tape import array_of, before_write, recorded, records, wrap
from ..waiting import activation, linear
from .loss_functions import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    kl_div,
    l1_loss,
    linear_cross_entropy,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)

# -------------------------------------------------------------------------------------------- activations


PLAIN = {name: ops.choose_activation(name) for name in ACTIVATIONS}  # with their default parameters


def _activate(x: Any, act: Chosen, inplace: bool) -> Tensor:
    y = activation(x, act)
    return x._replace(y) if inplace else y


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0)"""
    return _activate(input, PLAIN["relu"], inplace)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6)"""
    return _activate(input, PLAIN["relu6"], inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where it is positive, else negative_slope · x. The slope is not negative."""
    return _activate(input, ops.choose_activation("leaky_relu", negative_slope=negative_slope), inplace)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))"""
    return activation(input, PLAIN["sigmoid"])


def tanh(input: Tensor) -> Tensor:
    return activation(input, PLAIN["tanh"])


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where it is positive, else alpha · (exp(x) - 1). alpha is not negative."""
    return _activate(input, ops.choose_activation("elu", alpha=alpha), inplace)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """elu with the alpha and the scale of self-normalizing networks (Klambauer et al. 2017)"""
    return _activate(input, PLAIN["selu"], inplace)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """max(x, 0) + min(0, alpha · (exp(x / alpha) - 1)). alpha is positive."""
    return _activate(input, ops.choose_activation("celu", alpha=alpha), inplace)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x Φ(x); approximate="tanh": the formula with tanh."""
    names = {"none": "gelu", "tanh": "gelu_tanh"}
    if approximate not in names:
        raise RuntimeError(f"approximate: expected 'none' or 'tanh', got {approximate!r}")
    return activation(input, PLAIN[names[approximate]])


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x · sigmoid(x)"""
    return _activate(input, PLAIN["silu"], inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x · tanh(softplus(x))"""
    return _activate(input, PLAIN["mish"], inplace)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta; x itself where beta x > threshold."""
    return activation(input, ops.choose_activation("softplus", beta=beta, threshold=threshold))


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)"""
    return activation(input, PLAIN["softsign"])


def logsigmoid(input: Tensor) -> Tensor:
    """log sigmoid(x)"""
    return activation(input, PLAIN["logsigmoid"])


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)"""
    return activation(input, PLAIN["tanhshrink"])


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x / 6 + 1/2, 0), 1)"""
    return _activate(input, PLAIN["hardsigmoid"], inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x · hardsigmoid(x)"""
    return _activate(input, PLAIN["hardswish"], inplace)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """min(max(x, min_val), max_val)"""
    return _activate(input, ops.choose_activation("hardtanh", min_val=min_val, max_val=max_val), inplace)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0"""
    return activation(input, ops.choose_activation("hardshrink", lambd=lambd))


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd, and 0 where |x| <= lambd"""
    return activation(input, ops.choose_activation("softshrink", lambd=lambd))


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else value"""
    return _activate(input, ops.choose_activation("threshold", threshold=threshold, value=value), inplace)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a · sigmoid(b), with a and b the halves of x along dim"""
    size = input.shape[dim]
    if size % 2:
        raise RuntimeError(f"glu: expected an even size along dim {dim}, got shape {input.shape}")
    lead = (slice(None),) * (dim % input.ndim)
    return input[(*lead, slice(0, size // 2))] * sigmoid(input[(*lead, slice(size // 2, size))])


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where it is positive, else weight · x; weight of one number, or one for each channel: axis 1 of x."""
    xa, wa = array_of(input), array_of(weight)
    y = wrap(ops.prelu(xa, wa))
    if not records(input, weight):
        return y
    kept = xa, wa, input.requires_grad, weight.requires_grad
    return recorded("prelu", y, (input, weight), _prelu_gradient, (input, weight), kept)


def _prelu_gradient(dy: Array, x: Array, weight: Array, dx: bool, dw: bool) -> Any:
    return ops.prelu_backward(dy, x, weight, dx=dx, dweight=dw)


# -------------------------------------------------------------------------------------- rows: softmax, norms


def _axis(name: str, x: Tensor, dim: int | None) -> int:
    if dim is not None:
        return dim
    dim = 0 if x.ndim in (0, 1, 3) else 1
    warnings.warn(f"{name}: dim was not given, and {dim} was taken; say dim={dim} or dim=-1", stacklevel=4)
    return dim


def softmax(input: Tensor, dim: int | None = None) -> Tensor:
    """exp(x) / Σ exp(x) along dim"""
    dim = _axis("softmax", input, dim)
    y = wrap(ops.softmax(array_of(input), dim))
    return recorded("softmax", y, (input,), _softmax_gradient, (y,), (y._data, dim)) if records(input) else y


def _softmax_gradient(dy: Array, y: Array, dim: int) -> Any:
    return (ops.softmax_backward(dy, y, dim),)


def log_softmax(input: Tensor, dim: int | None = None) -> Tensor:
    """x - log Σ exp(x) along dim"""
    dim = _axis("log_softmax", input, dim)
    y = wrap(ops.log_softmax(array_of(input), dim))
    return recorded("log_softmax", y, (input,), _log_softmax_gradient, (y,), (y._data, dim)) if records(input) else y


def _log_softmax_gradient(dy: Array, y: Array, dim: int) -> Any:
    return (ops.log_softmax_backward(dy, y, dim),)


def softmin(input: Tensor, dim: int | None = None) -> Tensor:
    """softmax(-x)"""
    return softmax(-input, _axis("softmin", input, dim))


def layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """(x - mean) / √(variance + eps) · weight + bias over the last axes, which are of `normalized_shape`."""
    shape = tuple(normalized_shape)
    if not shape or input.shape[-len(shape) :] != shape:
        raise RuntimeError(f"normalized_shape: expected the last axes of input {input.shape}, got {shape}")
    rows = (*input.shape[: -len(shape)], math.prod(shape))
    xa, wa, ba = array_of(input).reshape(rows), _flat(weight), _flat(bias)
    ya, saved = ops.layer_norm(xa, wa, ba, eps, save=True)

    def backward(dy: Array, **wanted: Any) -> Any:
        return ops.layer_norm_backward(dy.reshape(rows), xa, wa, saved, **wanted)

    return _normalized("layer_norm", ya.reshape(input.shape), input, weight, bias, backward, {"eps": eps})


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / √(variance + eps) · weight + bias for each feature: axis 1 of x (m, C) or (m, C, L).

    training: with the statistics of the batch; they go into the running ones, which are changed in place:
    running = (1 - momentum) running + momentum batch, with the unbiased variance. Else with the running ones.
    """
    if input.ndim == 3:
        m, c, length = input.shape
        rows = input.permute(0, 2, 1).reshape(m * length, c)
        y = batch_norm(rows, running_mean, running_var, weight, bias, training, momentum, eps)
        return y.reshape(m, length, c).permute(0, 2, 1)
    if not training and (running_mean is None or running_var is None):
        raise ValueError("running_mean, running_var: expected both in evaluation, got None")
    xa, wa, ba = array_of(input), _flat(weight), _flat(bias)
    # copies, for the gradient keeps them, and the running statistics go on
    given = {} if training else {"running_mean": _flat(running_mean).copy(), "running_var": _flat(running_var).copy()}
    ya, saved = ops.batch_norm(xa, wa, ba, eps, **given, save=True)
    if training and len(xa) and running_mean is not None and running_var is not None:
        rows = xa.size // xa.shape[-1] if xa.size else 0
        move_statistics(running_mean, running_var, saved[0], saved[2], rows, momentum)

    def backward(dy: Array, **wanted: Any) -> Any:
        return ops.batch_norm_backward(dy, xa, wa, saved, training=training, **wanted)

    options = {"eps": eps, "training": training, "momentum": momentum, "running": (running_mean, running_var)}
    return _normalized("batch_norm", ya, input, weight, bias, backward, options)


def move_statistics(
    running_mean: Tensor, running_var: Tensor, mean: Array, var: Array, rows: int, momentum: float
) -> None:
    """running = (1 - momentum) running + momentum batch, in place, with the unbiased variance of the batch."""
    before_write((running_mean, running_var))
    for running, batch in ((running_mean, mean), (running_var, var * (rows / max(rows - 1, 1)))):
        running._data[...] += momentum * (batch - running._data)


def _flat(t: Tensor | None) -> Any:
    return None if t is None else array_of(t).reshape(-1)


def _normalized(
    name: str,
    ya: Array,
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    backward: Any,
    options: dict[str, Any],
) -> Tensor:
    """The result of a norm on the tape; backward(dy, dx=, dweight=, dbias=) gives its gradients.

    options: those of the call, which stay on the tape for whoever reads there what was done.
    """
    y = wrap(ya)
    given = {"dx": input, "dweight": weight, "dbias": bias}
    operands = tuple(t for t in given.values() if t is not None)
    if not records(*operands):
        return y
    wanted = {key: t is not None and t.requires_grad for key, t in given.items()}
    shapes = [None if t is None else t.shape for t in given.values()]
    reads = tuple(t for t in (input, weight) if t is not None)
    return recorded(name, y, operands, _norm_gradient, reads, (backward, wanted, shapes, options))


def _norm_gradient(dy: Array, backward: Any, wanted: dict[str, bool], shapes: list[Any], options: Any) -> Any:
    grads = [(g, shape) for g, shape in zip(backward(dy, **wanted), shapes) if shape is not None]
    return tuple(None if g is None else g.reshape(shape) for g, shape in grads)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """x / max(‖x‖ₚ, eps) along dim"""
    return input / input.norm(p, dim, keepdim=True).clamp(min=eps)


# ------------------------------------------------------------------------------------------------ others


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training, each number is zero with probability p, and the others are divided by 1 - p; else x itself."""
    if not 0 <= p <= 1:
        raise ValueError(f"p: expected a probability, 0 to 1, got {p}")
    refuse_inplace(inplace)
    if not training or p == 0:
        return input
    seed = int(default_generator.rng.integers(2**63))
    y = wrap(ops.dropout(array_of(input), p, seed=seed))
    return recorded("dropout", y, (input,), _dropout_gradient, (), (p, seed)) if records(input) else y


def _dropout_gradient(dy: Array, p: float, seed: int) -> Any:
    return (ops.dropout(dy, p, seed=seed),)


def refuse_inplace(inplace: bool) -> None:
    if inplace:
        raise NotImplementedError("inplace=True is left out of fastmlp here; the activations have it")


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Integers (...) -> (..., num_classes) of int64, 1 at each integer's place. num_classes = -1: as many as needed."""
    a = array_of(tensor)
    if a.dtype.kind not in "iu":
        raise TypeError(f"tensor: expected integers, got {a.dtype}")
    if a.size == 0 and num_classes < 0:
        raise RuntimeError("num_classes: expected a number, as there is no label to tell it")
    classes = int(a.max(initial=-1)) + 1 if num_classes < 0 else num_classes
    if a.size and not 0 <= a.min() <= a.max() < classes:
        raise RuntimeError(f"tensor: expected 0 to {classes - 1}, got {a.min()} to {a.max()}")
    return wrap((a[..., None] == np.arange(classes)).astype(np.int64))


__all__ = [
    *(name for name in ACTIVATIONS if name not in ("identity", "gelu_tanh")),
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "dropout",
    "glu",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "linear",
    "linear_cross_entropy",
    "log_softmax",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "prelu",
    "smooth_l1_loss",
    "softmax",
    "softmin",
]
