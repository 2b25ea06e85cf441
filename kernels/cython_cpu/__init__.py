"""The compiled backend: C micro-kernels, one source compiled once for every instruction set, chosen at import.

The `.pyx` files are thin: they turn arrays into pointers. The work is in `c/` (`linear.h` is a good place to start
reading). May import `contract`; never `fastmlp` above it nor a sibling folder. Importing it raises ImportError where
the extension is not built, ValueError where FASTMLP_ISA or FASTMLP_NUM_THREADS make no sense.
"""

from . import engine  # first: it chooses the tables that the other modules read
from .activations import activation_backward, activation_forward, prelu_backward, prelu_forward
from .dropout import dropout
from .engine import available_isas, built_isas, fma_peak, get_num_threads, isa, pool_addresses, set_num_threads
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
from .program import Program
from .softmax import log_softmax_backward, log_softmax_forward, softmax_backward, softmax_forward
from .threads import default_num_threads

__all__ = [
    "Program",
    "activation_backward",
    "activation_forward",
    "adadelta",
    "adagrad",
    "adam",
    "available_isas",
    "batch_norm_apply",
    "batch_norm_backward",
    "batch_norm_forward",
    "built_isas",
    "clip_norm",
    "clip_value",
    "cross_entropy",
    "describe",
    "dropout",
    "elementwise_loss",
    "find_bad_label",
    "find_outside_unit",
    "fma_peak",
    "get_num_threads",
    "isa",
    "layer_norm_backward",
    "layer_norm_forward",
    "linear_backward",
    "linear_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "nadam",
    "nll_loss",
    "pool_addresses",
    "prelu_backward",
    "prelu_forward",
    "radam",
    "rmsprop",
    "set_num_threads",
    "sgd",
    "softmax_backward",
    "softmax_forward",
]

engine.set_num_threads(default_num_threads())


def describe():
    """What runs here, in words."""
    built = ", ".join(built_isas())
    return {"instructions": f"{isa()} (built: {built}; FASTMLP_ISA forces one)", "threads": str(get_num_threads())}
