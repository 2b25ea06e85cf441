"""The reference: every kernel in plain NumPy, exact in float64. It defines what is right.

May import numpy and `contract`. Never optimised at the price of being read.
"""

from .activations import activation_backward, activation_forward, prelu_backward, prelu_forward
from .dropout import dropout
from .linear import linear_backward, linear_forward
from .losses import cross_entropy, elementwise_loss, find_bad_label, find_outside_unit, nll_loss
from .normalize import (
    batch_norm_apply,
    batch_norm_backward,
    batch_norm_forward,
    layer_norm_backward,
    layer_norm_forward,
)
from .optim import adadelta, adagrad, adam, clip_norm, clip_value, nadam, radam, rmsprop, sgd
from .softmax import log_softmax_backward, log_softmax_forward, softmax_backward, softmax_forward

__all__ = [
    "activation_backward",
    "activation_forward",
    "adadelta",
    "adagrad",
    "adam",
    "batch_norm_apply",
    "batch_norm_backward",
    "batch_norm_forward",
    "clip_norm",
    "clip_value",
    "cross_entropy",
    "dropout",
    "elementwise_loss",
    "find_bad_label",
    "find_outside_unit",
    "layer_norm_backward",
    "layer_norm_forward",
    "linear_backward",
    "linear_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "nadam",
    "nll_loss",
    "prelu_backward",
    "prelu_forward",
    "radam",
    "rmsprop",
    "sgd",
    "softmax_backward",
    "softmax_forward",
]
