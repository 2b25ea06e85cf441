"""The reference: every kernel in plain NumPy, exact in float64. It defines what is right.

May import numpy and `contract`. Never optimised at the price of being read.
"""

from .activations import activation_backward, activation_forward
from .linear import linear_backward, linear_forward
from .losses import cross_entropy, elementwise_loss, find_bad_label, find_outside_unit, nll_loss
from .optim import adadelta, adagrad, adam, nadam, radam, rmsprop, sgd
from .softmax import log_softmax_backward, log_softmax_forward, softmax_backward, softmax_forward

__all__ = [
    "activation_backward",
    "activation_forward",
    "adadelta",
    "adagrad",
    "adam",
    "cross_entropy",
    "elementwise_loss",
    "find_bad_label",
    "find_outside_unit",
    "linear_backward",
    "linear_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "nadam",
    "nll_loss",
    "radam",
    "rmsprop",
    "sgd",
    "softmax_backward",
    "softmax_forward",
]
