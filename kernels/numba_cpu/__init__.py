"""The Numba backend: the kernels in Python, built as vectors of LLVM for the CPU at hand when they are first called.

    entry.py        how a kernel is compiled, kept on disk, and called from Python
    memory.py       arrays, pointers and vectors
    pool.py         tasks over the threads of the C engine, or on the caller's where that is not built
    denormals.py    a while without them
    linear.py ...   the kernels, named as in the other backends

May import numba, numpy, `contract` and `numba_scalars`; never `fastmlp` above it nor another sibling folder.
"""

from .activations import activation_backward, activation_forward
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
from .pool import alone, offer
from .prelu import prelu_backward, prelu_forward
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
    "offer",
    "prelu_backward",
    "prelu_forward",
    "radam",
    "rmsprop",
    "sgd",
    "softmax_backward",
    "softmax_forward",
]

offer(alone())
