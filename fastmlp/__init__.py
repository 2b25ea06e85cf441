"""fastmlp: the fastest way to run and train a fully connected network from Python.

Here lives the people's side: shapes, state, training. No loop over elements: those are in `fastmlp.kernels`,
and `fastmlp.ops` is the only caller of them. Names are torch's: `import fastmlp as torch` runs what fastmlp has.
"""

from typing import Any

import numpy as _np

from . import cuda, data, io, metrics, nn, ops, optim, plots, utils
from .autograd import Tensor
from .backend import (
    available_backends,
    get_backend,
    get_num_threads,
    set_backend,
    set_num_threads,
    show_config,
    use_backend,
)
from .creation import (
    Generator,
    arange,
    as_tensor,
    bernoulli,
    e,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    get_default_dtype,
    inf,
    is_tensor,
    linspace,
    manual_seed,
    nan,
    normal,
    ones,
    ones_like,
    pi,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    set_default_dtype,
    tensor,
    zeros,
    zeros_like,
)
from .devices import device
from .functions import *  # noqa: F403
from .grad_mode import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from .io import load, save
from .plan import Network
from .plan import compile as compile  # not in __all__, where it would take the place of Python's own
from .printing import set_printoptions
from .train import Callback, EarlyStopping, History, Monitor, Trainer
from .warming import warmup
from .written import CustomActivation, CustomLoss, activation, loss

float32 = float = _np.dtype(_np.float32)
float64 = double = _np.dtype(_np.float64)
int64 = long = _np.dtype(_np.int64)
int32 = int = _np.dtype(_np.int32)
int16, int8, uint8 = (_np.dtype(name) for name in ("int16", "int8", "uint8"))
bool = _np.dtype(_np.bool_)
dtype = _np.dtype
Size = tuple
inference_mode = no_grad

__all__ = [
    "Callback",
    "CustomActivation",
    "CustomLoss",
    "EarlyStopping",
    "Generator",
    "History",
    "Monitor",
    "Network",
    "Size",
    "Tensor",
    "Trainer",
    "activation",
    "arange",
    "as_tensor",
    "available_backends",
    "bernoulli",
    "bool",
    "cuda",
    "data",
    "device",
    "double",
    "dtype",
    "e",
    "empty",
    "empty_like",
    "enable_grad",
    "eye",
    "float",
    "float32",
    "float64",
    "from_numpy",
    "full",
    "full_like",
    "get_backend",
    "get_default_dtype",
    "get_num_threads",
    "inf",
    "inference_mode",
    "int",
    "int8",
    "int16",
    "int32",
    "int64",
    "io",
    "is_grad_enabled",
    "is_tensor",
    "linspace",
    "load",
    "long",
    "loss",
    "manual_seed",
    "metrics",
    "nan",
    "nn",
    "no_grad",
    "normal",
    "ones",
    "ones_like",
    "ops",
    "optim",
    "pi",
    "plots",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "save",
    "set_backend",
    "set_default_dtype",
    "set_grad_enabled",
    "set_num_threads",
    "set_printoptions",
    "show_config",
    "tensor",
    "uint8",
    "use_backend",
    "utils",
    "warmup",
    "zeros",
    "zeros_like",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":  # read only when asked: importlib.metadata costs more than all the rest
        from importlib.metadata import version

        return version("fastmlp")
    raise AttributeError(f"module 'fastmlp' has no attribute {name!r}")
