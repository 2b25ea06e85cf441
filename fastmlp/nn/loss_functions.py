"""The losses as functions, by torch's names. Each is one kernel that gives the loss and the gradient in one pass.

reduction: "mean", "sum" or "none". The target is a constant; only where a loss depends on nothing but input - target
may it require a gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import ops
from ..autograd import Tensor
from ..checks import Array
from ..tape import ONE, array_of, recorded, records, wrap
from ..waiting import linear


def _values(name: str, t: Any) -> Any:
    """The array of an argument that is a constant."""
    if not isinstance(t, Tensor):
        return t
    if t._requires_grad:
        raise RuntimeError(f"{name}: its gradient is left out of fastmlp; use {name}.detach()")
    return array_of(t)


def _loss(name: str, result: tuple[Any, Array], input: Any, target: Any = None) -> Tensor:
    """The result of a loss of `ops` as a tensor. target: one whose gradient is minus that of the input."""
    loss, dinput = result
    y = wrap(np.asarray(loss))
    wants_target = isinstance(target, Tensor) and target._requires_grad
    if not ((isinstance(input, Tensor) and records(input)) or (wants_target and records(target))):
        return y

    return recorded(name, y, (input, target) if wants_target else (input,), _gradient, (), (dinput, wants_target))


def _gradient(dy: Array, dinput: Array, wants_target: bool) -> Any:
    if dy is ONE[dinput.dtype]:
        dx = dinput
    else:
        dx = dinput * (dy[..., None] if 0 < dy.ndim < dinput.ndim else dy)  # of a row's loss, or an element's
    return (dx, -dx) if wants_target else (dx,)


def _array(t: Any) -> Any:
    return array_of(t) if isinstance(t, Tensor) else t


def cross_entropy(
    input: Tensor,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: Any = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(input) at the target: logits (m, C), integer labels (m,) or probabilities (m, C).

    weight (C,): a weight for each class. "mean" divides by the weights of the labels that count. More axes come behind
    that of the classes: logits (m, C, ...), labels (m, ...).
    """
    target, weight = _values("target", target), _values("weight", weight)
    if np.shape(target) == input.shape:
        target = _classes_last(target)
    input = _classes_last(input)
    result = ops.cross_entropy(_array(input), target, weight, ignore_index, label_smoothing, reduction)
    return _loss("cross_entropy", result, input)


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Any,
    *,
    linear_bias: Tensor | None = None,
    weight: Any = None,
    reduction: Any = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """cross_entropy(linear(input, linear_weight, linear_bias), target), for many classes.

    input (m, k), linear_weight (C, k), linear_bias (C,) or None. For integer labels (m,), without smoothing and with a
    single number as the result, the logits never exist all at once, and the gradients are computed with the loss. Else
    it is the two functions. The rest as for `cross_entropy`.
    """
    if options is not None:
        raise NotImplementedError("options: left out of fastmlp, which takes the rows in parts that fit; use None")
    label = -100 if ignore_index is None else ignore_index
    soft = np.asarray(_values("target", target)).dtype.kind == "f"
    if soft or label_smoothing or reduction == "none":
        logits = linear(input, linear_weight, linear_bias)
        return cross_entropy(logits, target, weight, label, reduction, label_smoothing)
    operands: tuple[Any, ...] = (input, linear_weight, linear_bias)
    wanted = [isinstance(t, Tensor) and records(t) for t in operands]
    arrays: list[Any] = [None if t is None else _array(t) for t in operands]
    target, weight = _values("target", target), _values("weight", weight)
    dx, dw, db = wanted
    x, w, b = arrays
    value, *grads = ops.linear_cross_entropy(x, w, b, target, weight, label, reduction, dx=dx, dw=dw, db=db)
    y = wrap(np.asarray(value, arrays[1].dtype))
    if not any(wanted):
        return y
    learnt, grads = zip(*((t, g) for t, g, want in zip(operands, grads, wanted) if want))
    return recorded("linear_cross_entropy", y, learnt, _linear_gradient, (), grads)


def _linear_gradient(dy: Array, *grads: Array) -> Any:
    return grads if dy is ONE[dy.dtype] else tuple(g * dy for g in grads)


def _classes_last(t: Any) -> Any:
    """(m, C, ...) -> (m, ..., C), the way of `ops`"""
    ndim = len(t.shape)
    if ndim < 3:
        return t
    axes = 0, *range(2, ndim), 1
    return t.permute(*axes) if isinstance(t, Tensor) else t.transpose(axes)


def nll_loss(
    input: Tensor, target: Any, weight: Any = None, ignore_index: int = -100, reduction: Any = "mean"
) -> Tensor:
    """-input at the target: log-probabilities (m, C) or (m, C, ...), integer labels (m,) or (m, ...)."""
    target, weight, input = _values("target", target), _values("weight", weight), _classes_last(input)
    result = ops.nll_loss(_array(input), target, weight, ignore_index, reduction)
    return _loss("nll_loss", result, input)


def binary_cross_entropy(input: Tensor, target: Any, weight: Any = None, reduction: Any = "mean") -> Tensor:
    """-(t log p + (1 - t) log(1 - p)) for probabilities p; logarithms are at least -100."""
    result = ops.binary_cross_entropy(_array(input), _values("target", target), _values("weight", weight), reduction)
    return _loss("binary_cross_entropy", result, input)


def binary_cross_entropy_with_logits(
    input: Tensor, target: Any, weight: Any = None, reduction: Any = "mean", pos_weight: Any = None
) -> Tensor:
    """binary_cross_entropy of sigmoid(input). pos_weight (n,) or one number: a factor of the terms with t."""
    result = ops.binary_cross_entropy_with_logits(
        _array(input),
        _values("target", target),
        _values("weight", weight),
        reduction,
        _values("pos_weight", pos_weight),
    )
    return _loss("binary_cross_entropy_with_logits", result, input)


def custom_loss(kind: Any, input: Tensor, target: Any, reduction: Any = "mean", weight: Any = None) -> Tensor:
    """That of an object of `fastmlp.loss`, by its kind."""
    given = None if weight is None else _values("weight", weight)
    result = ops.custom_loss(kind, _array(input), _values("target", target), reduction, given)
    return _loss(kind.name, result, input)


def _difference(
    function: Callable[..., tuple[Any, Array]], input: Any, target: Any, reduction: str, weight: Any, **params: Any
) -> Tensor:
    if weight is not None:
        params["weight"] = _values("weight", weight)
    result = function(_array(input), _array(target), reduction=reduction, **params)
    return _loss(function.__name__, result, input, target)


def mse_loss(input: Tensor, target: Any, reduction: Any = "mean", weight: Any = None) -> Tensor:
    """(input - target)²"""
    return _difference(ops.mse_loss, input, target, reduction, weight)


def l1_loss(input: Tensor, target: Any, reduction: Any = "mean", weight: Any = None) -> Tensor:
    """|input - target|"""
    return _difference(ops.l1_loss, input, target, reduction, weight)


def smooth_l1_loss(input: Tensor, target: Any, reduction: Any = "mean", beta: float = 1.0) -> Tensor:
    """d² / (2 beta) for |d| < beta, else |d| - beta / 2, with d = input - target"""
    return _difference(ops.smooth_l1_loss, input, target, reduction, None, beta=beta)


def huber_loss(input: Tensor, target: Any, reduction: Any = "mean", delta: float = 1.0, weight: Any = None) -> Tensor:
    """d² / 2 for |d| < delta, else delta (|d| - delta / 2), with d = input - target"""
    return _difference(ops.huber_loss, input, target, reduction, weight, delta=delta)


def kl_div(input: Tensor, target: Any, reduction: Any = "mean", log_target: bool = False) -> Tensor:
    """t (log t - input) for log-probabilities input; log_target: t = exp(target). "batchmean" divides by the rows."""
    result = ops.kl_div(_array(input), _values("target", target), reduction, log_target)
    return _loss("kl_div", result, input)
