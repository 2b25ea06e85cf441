"""The Numba backend: the kernels in Python, built as vectors of LLVM for the CPU at hand when they are first called.

    entry.py           how a kernel is compiled, kept on disk, and called from Python
    memory.py          arrays, pointers; vectors.py, turn.py: vectors; denormals.py: a while without them
    pool.py            tasks over the threads of the C engine, or on the caller's where that is not built
    writer.py          what is written as instructions of LLVM: tile.py, dot.py, small.py
    jobs.py            a product as it is handed to the threads, and the tables of plans
    matmul.py, dot.py, outer.py, small.py    four ways to make a product; pack.py: copies of its operands
    linear.py ...      the kernels, named as in the other backends; gradients.py, wide.py, tall.py: those of linear

May import numba, numpy, `contract` and `numba_scalars`; never `fastmlp` above it nor another sibling folder.
"""

from .activations import activation_backward, activation_forward
from .clip import clip_norm, clip_value
from .describe import describe
from .dropout import dropout
from .elementwise_losses import elementwise_loss, find_outside_unit
from .jobs import at_once
from .linear import linear_backward, linear_forward
from .losses import cross_entropy, find_bad_label, nll_loss
from .normalize import (
    batch_norm_apply,
    batch_norm_backward,
    batch_norm_forward,
    layer_norm_backward,
    layer_norm_forward,
)
from .optim import adadelta, adagrad, adam, nadam, radam, rmsprop, sgd
from .pool import offer
from .prelu import prelu_backward, prelu_forward
from .softmax import log_softmax_backward, log_softmax_forward, softmax_backward, softmax_forward

__all__ = [
    "activation_backward",
    "activation_forward",
    "adadelta",
    "adagrad",
    "adam",
    "at_once",
    "batch_norm_apply",
    "batch_norm_backward",
    "batch_norm_forward",
    "clip_norm",
    "clip_value",
    "cross_entropy",
    "describe",
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
