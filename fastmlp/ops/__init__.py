"""The array API: NumPy arrays in, NumPy arrays out. The only caller of kernels: check -> allocate -> call.

Everything that a person can get wrong is caught here, once, before anything is written, by checks.py. Arrays have
any leading shape `(..., features)` and any strides, and are float32 or float64, all of one call alike. Lists and
integers have no precision of their own and take that of the float arrays beside them, float64 if there is none.

    m batch   k features in   n features out   x (..., k)   w (n, k)   b (n,)   z = x wᵀ + b   y = act(z)

layers.py has the linear layer and the activations, normalize.py softmax, layer norm, batch norm and dropout,
losses.py the losses.
"""

from .layers import activation, activation_backward, linear, linear_backward, prelu, prelu_backward
from .losses import cross_entropy
from .normalize import (
    batch_norm,
    batch_norm_backward,
    dropout,
    layer_norm,
    layer_norm_backward,
    log_softmax,
    log_softmax_backward,
    softmax,
    softmax_backward,
)

__all__ = [
    "activation",
    "activation_backward",
    "batch_norm",
    "batch_norm_backward",
    "cross_entropy",
    "dropout",
    "layer_norm",
    "layer_norm_backward",
    "linear",
    "linear_backward",
    "log_softmax",
    "log_softmax_backward",
    "prelu",
    "prelu_backward",
    "softmax",
    "softmax_backward",
]
