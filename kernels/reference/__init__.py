"""The reference: every kernel in plain NumPy, exact in float64. It defines what is right.

May import numpy and `contract`. Never optimised at the price of being read.
"""

from .activations import activation_backward, activation_forward, prelu_backward, prelu_forward
from .dropout import dropout
from .linear import linear_backward, linear_forward
from .losses import cross_entropy, find_bad_label
from .normalize import (
    batch_norm_apply,
    batch_norm_backward,
    batch_norm_forward,
    layer_norm_backward,
    layer_norm_forward,
)
from .softmax import log_softmax_backward, log_softmax_forward, softmax_backward, softmax_forward

__all__ = [
    "activation_backward",
    "activation_forward",
    "batch_norm_apply",
    "batch_norm_backward",
    "batch_norm_forward",
    "cross_entropy",
    "dropout",
    "find_bad_label",
    "layer_norm_backward",
    "layer_norm_forward",
    "linear_backward",
    "linear_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "prelu_backward",
    "prelu_forward",
    "softmax_backward",
    "softmax_forward",
]
