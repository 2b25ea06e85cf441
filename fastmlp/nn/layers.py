"""Layers with numbers of their own or none: Linear, Identity, Flatten, Dropout."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import Tensor
from ..checks import number
from ..creation import empty
from ..waiting import linear
from . import functional as F
from . import init
from .module import Module, Parameter


class Linear(Module):
    """y = x wᵀ + b: x (..., in_features) -> (..., out_features). An activation that follows runs in the same kernel.

    weight (out_features, in_features) and bias (out_features,) start in U(-1/√in_features, 1/√in_features), as torch's.
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            if isinstance(size, bool) or not hasattr(size, "__index__"):
                raise TypeError(f"{name}: expected an int, got {type(size).__name__}")
            if size < 0:
                raise ValueError(f"{name}: expected a number >= 0, got {size}")
        self.in_features, self.out_features = int(in_features), int(out_features)
        self.weight = Parameter(empty(out_features, in_features, dtype=dtype, device=device))
        if bias:
            self.bias = Parameter(empty(out_features, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = 1 / math.sqrt(self.in_features) if self.in_features else 0
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Identity(Module):
    """Gives what it gets. Arguments are taken and forgotten, so that it can stand in for any layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


class Flatten(Module):
    """Axes start_dim to end_dim become one: (m, 28, 28) -> (m, 784)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Dropout(Module):
    """In training, each number is zero with probability p, and the others are divided by 1 - p."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= number("p", p) <= 1:
            raise ValueError(f"p: expected a probability, 0 to 1, got {p}")
        F.refuse_inplace(inplace)
        self.p, self.inplace = p, inplace

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"
