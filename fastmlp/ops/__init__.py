"""The array API: NumPy arrays in, NumPy arrays out. The only caller of kernels: check -> allocate -> call.

Everything that a person can get wrong is caught here, once, before anything is written, by checks.py. Arrays have
any leading shape `(..., features)` and any strides, and are float32 or float64, all of one call alike. Lists and
integers have no precision of their own and take that of the float arrays beside them, float64 if there is none.

    m batch   k features in   n features out   x (..., k)   w (n, k)   b (n,)   z = x wᵀ + b   y = act(z)

layers.py has the linear layer and the activations, normalize.py softmax, layer norm, batch norm and dropout, losses.py
the losses of rows with labels, elementwise_losses.py the others, optim.py the steps of optimizers; program.py makes one
of many calls.
"""

from .elementwise_losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    custom_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)
from .layers import (
    activation,
    activation_backward,
    choose_activation,
    linear,
    linear_backward,
    prelu,
    prelu_backward,
)
from .losses import cross_entropy, linear_cross_entropy, nll_loss
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
from .optim import adadelta, adagrad, adam, clip_norm, clip_value, nadam, radam, rmsprop, sgd
from .program import Call, compiled_at_once, program, recording

__all__ = [
    "Call",
    "activation",
    "activation_backward",
    "adadelta",
    "adagrad",
    "adam",
    "batch_norm",
    "batch_norm_backward",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "choose_activation",
    "clip_norm",
    "clip_value",
    "compiled_at_once",
    "cross_entropy",
    "custom_loss",
    "dropout",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "layer_norm_backward",
    "linear",
    "linear_backward",
    "linear_cross_entropy",
    "log_softmax",
    "log_softmax_backward",
    "mse_loss",
    "nadam",
    "nll_loss",
    "prelu",
    "prelu_backward",
    "program",
    "radam",
    "recording",
    "rmsprop",
    "sgd",
    "smooth_l1_loss",
    "softmax",
    "softmax_backward",
]
