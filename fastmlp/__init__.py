"""fastmlp: the fastest way to run and train a fully connected network from Python.

Here lives the people's side: shapes, state, training. No loop over elements: those are in `fastmlp.kernels`,
and `fastmlp.ops` is the only caller of them.
"""

from . import ops
from .backend import (
    available_backends,
    get_backend,
    get_num_threads,
    set_backend,
    set_num_threads,
    show_config,
    use_backend,
)

__all__ = [
    "available_backends",
    "get_backend",
    "get_num_threads",
    "ops",
    "set_backend",
    "set_num_threads",
    "show_config",
    "use_backend",
]


def __getattr__(name: str) -> str:
    if name == "__version__":  # read only when asked: importlib.metadata costs more than all the rest
        from importlib.metadata import version

        return version("fastmlp")
    raise AttributeError(f"module 'fastmlp' has no attribute {name!r}")
