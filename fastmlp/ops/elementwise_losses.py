"""The losses of single elements, each with its gradient in the same pass; names and defaults as in torch.nn.functional.

All of them return (loss, dinput): the gradient is with respect to input, and of its shape.

    input, target  of one shape, any. Unlike torch, none of them broadcasts: (100,) against (100, 1) is a mistake.
    weight         None, or what broadcasts to that shape: each element's loss is multiplied by it.
    reduction      "mean" over the elements, "sum", or "none": a loss for every element, and each one's own gradient.
    out            where to write dinput; must not overlap an input.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from fastmlp.kernels.contract import LOSSES, REDUCTIONS, Loss

from ..backend import active
from ..checks import Array, broadcast, float_arrays, known_reduction, new_or_given, number
from .arrays import contiguous, output_like, target_for

Reduction = Literal["mean", "sum", "none"]

MSE, L1, SMOOTH_L1, HUBER, BCE, BCE_WITH_LOGITS, KL_DIV, KL_DIV_LOG_TARGET = LOSSES.values()


def mse_loss(
    input: ArrayLike,
    target: ArrayLike,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
    *,
    out: Array | None = None,
    backend: str | None = None,
) -> tuple[Any, Array]:
    """(input - target)². With a weight, "mean" divides by the sum of the weights."""
    return _loss(MSE, (), input, target, reduction, weight, out=out, backend=backend)


def l1_loss(
    input: ArrayLike,
    target: ArrayLike,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
    *,
    out: Array | None = None,
    backend: str | None = None,
) -> tuple[Any, Array]:
    """|input - target|; the gradient at 0 is 0. With a weight, "mean" divides by the sum of the weights."""
    return _loss(L1, (), input, target, reduction, weight, out=out, backend=backend)


def smooth_l1_loss(
    input: ArrayLike,
    target: ArrayLike,
    reduction: Reduction = "mean",
    beta: float = 1.0,
    *,
    out: Array | None = None,
    backend: str | None = None,
) -> tuple[Any, Array]:
    """d²/(2 beta) where |d| < beta, else |d| - beta/2, for d = input - target; with beta 0 the same as l1_loss."""
    beta = number("beta", beta)
    if not beta >= 0:
        raise ValueError(f"beta: expected a number >= 0, got {beta}")
    if beta == 0:
        return _loss(L1, (), input, target, reduction, out=out, backend=backend)
    return _loss(SMOOTH_L1, (beta,), input, target, reduction, out=out, backend=backend)


def huber_loss(
    input: ArrayLike,
    target: ArrayLike,
    reduction: Reduction = "mean",
    delta: float = 1.0,
    weight: ArrayLike | None = None,
    *,
    out: Array | None = None,
    backend: str | None = None,
) -> tuple[Any, Array]:
    """d²/2 where |d| < delta, else delta (|d| - delta/2), for d = input - target.

    With a weight, too, "mean" divides by the number of elements.
    """
    delta = number("delta", delta)
    if not delta > 0:
        raise ValueError(f"delta: expected a number > 0, got {delta}")
    return _loss(HUBER, (delta,), input, target, reduction, weight, out=out, backend=backend)


def binary_cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    *,
    out: Array | None = None,
    backend: str | None = None,
) -> tuple[Any, Array]:
    """-(target log(input) + (1 - target) log(1 - input)), for probabilities: ValueError for what is not in 0..1.

    As in torch, a logarithm is -100 at least and the gradient's denominator (1 - input) input 1e-12 at least, so that
    both stay finite at 0 and 1.
    """
    return _loss(BCE, (), input, target, reduction, weight, out=out, backend=backend)


def binary_cross_entropy_with_logits(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    pos_weight: ArrayLike | None = None,
    *,
    out: Array | None = None,
    backend: str | None = None,
) -> tuple[Any, Array]:
    """The same for logits: (1 - target) softplus(input) + pos_weight target softplus(-input), which never overflows.

    pos_weight: a weight for the positive class; (n,) for the last axis, or what broadcasts to the last axes of input.
    """
    return _loss(BCE_WITH_LOGITS, (), input, target, reduction, weight, pos_weight, out=out, backend=backend)


def kl_div(
    input: ArrayLike,
    target: ArrayLike,
    reduction: Literal["mean", "batchmean", "sum", "none"] = "mean",
    log_target: bool = False,
    *,
    out: Array | None = None,
    backend: str | None = None,
) -> tuple[Any, Array]:
    """target (log(target) - input), for log-probabilities as input: the Kullback-Leibler divergence; 0 · log 0 is 0.

    log_target: the target is in logarithms, too. reduction: "batchmean" divides by the length of the first axis, which
    gives the mean divergence of a batch; "mean" divides by the number of elements, as everywhere.
    """
    kind, known = KL_DIV_LOG_TARGET if log_target else KL_DIV, (*REDUCTIONS, "batchmean")
    return _loss(kind, (), input, target, reduction, known=known, out=out, backend=backend)


def custom_loss(
    kind: Loss,
    input: ArrayLike,
    target: ArrayLike,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
    *,
    out: Array | None = None,
    backend: str | None = None,
) -> tuple[Any, Array]:
    """A loss that the user wrote: see `fastmlp.loss`, which gives objects that have such a kind."""
    return _loss(kind, (), input, target, reduction, weight, out=out, backend=backend)


def _loss(
    kind: Loss,
    params: tuple[float, ...],
    input: Any,
    target: Any,
    reduction: str,
    weight: Any = None,
    pos_weight: Any = None,
    *,
    known: tuple[str, ...] = REDUCTIONS,
    out: Array | None,
    backend: str | None,
) -> tuple[Any, Array]:
    kernels = active(backend)
    known_reduction(reduction, known)
    dinput: Any = output_like(out, input, target) if weight is None and pos_weight is None else None
    written = dinput
    if dinput is None:
        input, target, weight, pos_weight = _converted(input, target, weight, pos_weight)
        dinput = new_or_given(out, input.shape, input.dtype, (input, target, weight, pos_weight))
        written = target_for(dinput)
    if kind is BCE:
        _in_unit(kernels, "input", input)
        _in_unit(kernels, "target", target)
    divisor = dinput.size
    if reduction == "batchmean":
        divisor, reduction = len(dinput) if dinput.ndim else 1, "mean"
    elif weight is not None and kind.mean_over_weights:
        with np.errstate(all="ignore"):
            divisor = float(weight.sum(dtype=np.float64))
    loss = np.empty(dinput.shape if reduction == "none" else 1, dinput.dtype)
    kernels.elementwise_loss(input, target, weight, pos_weight, kind, params, reduction, divisor, loss, written)
    if written is not dinput:
        dinput[...] = written
    return (loss if reduction == "none" else loss[0]), dinput


def _converted(input: Any, target: Any, weight: Any, pos_weight: Any) -> list[Any]:
    """The four as kernels take them: weight in the shape of input, pos_weight in that of its last axes."""
    input, target, weight, pos_weight = float_arrays(
        ("weight", "pos_weight"), input=input, target=target, weight=weight, pos_weight=pos_weight
    )
    if target.shape != input.shape:
        raise ValueError(f"target: expected the shape of input {input.shape}, got {target.shape}")
    weight = broadcast("weight", weight, input.shape)
    if pos_weight is not None:
        pos_weight = broadcast("pos_weight", pos_weight, input.shape[max(input.ndim - pos_weight.ndim, 0) :])
    return [contiguous(a) for a in (input, target, weight, pos_weight)]


def _in_unit(kernels: Any, name: str, a: Array) -> None:
    """ValueError unless all of `a` is in 0..1."""
    bad = kernels.find_outside_unit(a)
    if bad >= 0:
        at = np.unravel_index(bad, a.shape)
        where = f"{name}[{', '.join(map(str, at))}]" if at else name
        hint = "; for logits there is binary_cross_entropy_with_logits" if name == "input" else ""
        raise ValueError(f"{where} is {a[at]}: expected 0 to 1{hint}")
