"""The losses as modules: names, arguments and defaults of torch.nn. loss_functions.py has the formulas."""

from __future__ import annotations

from typing import Any

from fastmlp.kernels.contract import Loss

from ..autograd import Tensor
from ..checks import integer, kind, number
from ..creation import as_tensor
from . import loss_functions as F
from .layers import Linear
from .module import Module


class _Loss(Module):
    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if not isinstance(reduction, str):
            raise TypeError(f"reduction: expected a name, got {type(reduction).__name__}; input and target come later")
        self.reduction = reduction


class _Weighted(_Loss):
    """weight: kept as a buffer, so it is part of the module's state."""

    weight: Tensor | None

    def __init__(self, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", None if weight is None else as_tensor(weight))


def _label(ignore_index: Any) -> int:
    if isinstance(ignore_index, Tensor):
        raise TypeError("ignore_index: expected an int, got a Tensor; input and target are given to the loss later")
    return integer("ignore_index", ignore_index)


class ElementwiseLoss(_Weighted):
    """The loss that `fastmlp.loss` made, with options."""

    def __init__(self, loss: Any, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(weight, reduction)
        if not isinstance(getattr(loss, "kind", None), Loss):
            raise TypeError(f"loss: expected what fastmlp.loss made of a function, got {kind(loss)}")
        self.kind = loss.kind

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.custom_loss(self.kind, input, target, self.reduction, self.weight)

    def extra_repr(self) -> str:
        return self.kind.name


class MSELoss(_Loss):
    """(input - target)²"""

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.mse_loss(input, target, self.reduction)


class L1Loss(_Loss):
    """|input - target|"""

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.l1_loss(input, target, self.reduction)


class SmoothL1Loss(_Loss):
    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.smooth_l1_loss(input, target, self.reduction, self.beta)


class HuberLoss(_Loss):
    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.huber_loss(input, target, self.reduction, self.delta)


class BCELoss(_Weighted):
    """Of probabilities; after a sigmoid, BCEWithLogitsLoss without it is faster and more exact."""

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(_Weighted):
    pos_weight: Tensor | None

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(weight, reduction)
        self.register_buffer("pos_weight", None if pos_weight is None else as_tensor(pos_weight))

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.binary_cross_entropy_with_logits(input, target, self.weight, self.reduction, self.pos_weight)


class CrossEntropyLoss(_Weighted):
    """Of logits (m, C, ...) and integer labels (m, ...) or probabilities (m, C, ...); the softmax is part of it."""

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ) -> None:
        super().__init__(weight, reduction)
        self.ignore_index = _label(ignore_index)
        self.label_smoothing = number("label_smoothing", label_smoothing)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class LinearCrossEntropyLoss(_Weighted):
    """A last layer, `linear`, of many classes and its CrossEntropyLoss in one: loss(h, labels) of features h (m, k).

    The logits never exist all at once, but for probabilities as the target, smoothing, and reduction "none". For a
    prediction, `linear(h)` gives them.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        reduction: str = "mean",
        weight: Any = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: Any = None,
    ) -> None:
        super().__init__(weight, reduction)
        if out_features or options is not None:
            raise NotImplementedError("out_features, options: left out of fastmlp")
        self.in_features, self.num_classes = in_features, num_classes
        self.linear = Linear(in_features, num_classes, bias, device, dtype)
        self.ignore_index = None if ignore_index is None else _label(ignore_index)
        self.label_smoothing = number("label_smoothing", label_smoothing)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.linear_cross_entropy(
            input,
            self.linear.weight,
            target,
            linear_bias=self.linear.bias,
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(_Weighted):
    """Of log-probabilities (m, C, ...) and integer labels (m, ...)."""

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(weight, reduction)
        self.ignore_index = _label(ignore_index)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class KLDivLoss(_Loss):
    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.kl_div(input, target, self.reduction, self.log_target)
