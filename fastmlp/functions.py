"""The methods of Tensor as functions, as torch has them: exp(x) is x.exp(); and those of several tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import gradients
from .autograd import Tensor, apply
from .nn.functional import celu, log_softmax, prelu, relu, selu, sigmoid, softmax, tanh, threshold

_METHODS = (
    "abs add all allclose amax amin any argmax argmin argsort ceil clamp clip clone cos div eq equal exp expm1 flatten "
    "floor gather ge gt isfinite isinf isnan le log log10 log1p log2 lt matmul max maximum mean min minimum mul ne neg "
    "norm numel permute pow prod reciprocal reshape round rsqrt sign sin sqrt square squeeze std sub sum t transpose "
    "unsqueeze var"
).split()

globals().update({name: getattr(Tensor, name) for name in _METHODS})
mm = Tensor.matmul


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Joined along an axis that they have."""
    return apply(gradients.cat, tuple(tensors), {"dim": dim})


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Joined along a new axis."""
    return apply(gradients.stack, tuple(tensors), {"dim": dim})


def where(condition: Tensor, input: Any, other: Any) -> Tensor:
    """input where condition, else other."""
    return apply(gradients.where, (condition, input, other), {})


__all__ = [
    *_METHODS, "cat", "celu", "log_softmax", "mm", "prelu", "relu", "selu", "sigmoid", "softmax", "stack", "tanh",
    "threshold", "where",
]  # fmt: skip
