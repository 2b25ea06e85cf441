"""The methods of Tensor as functions, as torch has them: exp(x) is x.exp(); and those of several tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import gradients
from .autograd import Tensor
from .nn import init
from .nn.functional import celu, log_softmax, prelu, relu, selu, sigmoid, softmax, tanh, threshold
from .tape import apply

_METHODS = (
    "abs add all allclose amax amin any argmax argmin argsort ceil chunk clamp clip clone cos div eq equal exp expm1 "
    "flatten flip floor gather ge gt isfinite isinf isnan le log log10 log1p log2 lt masked_fill matmul max maximum "
    "mean min minimum mul ne neg norm numel permute pow prod reciprocal reshape round rsqrt sign sin sort split sqrt "
    "square squeeze std sub sum t topk transpose unsqueeze var"
).split()

globals().update({name: getattr(Tensor, name) for name in _METHODS})
mm = Tensor.matmul

for _function in (relu, selu, sigmoid, softmax, log_softmax, tanh):  # and these as methods
    setattr(Tensor, _function.__name__, _function)
for _name in ("normal_", "uniform_"):
    setattr(Tensor, _name, getattr(init, _name))


def _several(tensors: Any) -> tuple[Tensor, ...]:
    found = () if isinstance(tensors, Tensor) else tuple(tensors)
    if not found or [t for t in found if not isinstance(t, Tensor)]:
        raise TypeError("tensors: expected a list of one tensor or more")
    return found


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Joined along an axis that they have."""
    return apply(gradients.cat, (dim, *_several(tensors)))


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Joined along a new axis."""
    return apply(gradients.stack, (dim, *_several(tensors)))


def where(condition: Tensor, input: Any, other: Any) -> Tensor:
    """input where condition, else other."""
    return apply(gradients.where, (condition, input, other))


__all__ = [
    *_METHODS, "cat", "celu", "log_softmax", "mm", "prelu", "relu", "selu", "sigmoid", "softmax", "stack", "tanh",
    "threshold", "where",
]  # fmt: skip
