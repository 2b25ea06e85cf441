"""Which backend runs: the `backend=` argument, else `use_backend`, else `set_backend`, else FASTMLP_BACKEND,
else the first of `AUTOMATIC` that can be imported.

A backend is a module of plain functions, one for each entry of `kernels.contract.KERNELS`. Asked for by name and not
available, it raises and says what to do; chosen automatically, the next one serves.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np

MODULES = {
    "cython": "fastmlp.kernels.cython_cpu",
    "numba": "fastmlp.kernels.numba_cpu",
    "numpy": "fastmlp.kernels.reference",
}
AUTOMATIC = ("cython", "numba", "numpy")
REMEDY = {
    "cython": "its C extension is not built: reinstall fastmlp with a C compiler at hand",
    "numba": "pip install numba",
    "numpy": "reinstall fastmlp",
}

_loaded: dict[str, ModuleType] = {}
_default: ModuleType | None = None  # set_backend's, or what the environment or the automatic choice gave
#: what `use_backend` has chosen here
in_context: ContextVar[ModuleType | None] = ContextVar("fastmlp_backend", default=None)


def load(name: str, setting: str = "backend") -> ModuleType:
    """The backend of that name, asked for by `setting`.

    ValueError: no such backend; RuntimeError: it cannot be imported here.
    """
    if not isinstance(name, str):
        raise TypeError(f"backend: expected a name, got {type(name).__name__}")
    if name in _loaded:
        return _loaded[name]
    if name not in MODULES:
        raise ValueError(f"{setting}: unknown {name!r}; known are {', '.join(map(repr, MODULES))}")
    try:
        module = import_module(MODULES[name])
    except ImportError as e:
        remedy = "" if "DISABLE_JIT" in str(e) else f"; {REMEDY[name]}"
        raise RuntimeError(f"backend {name!r} is not available ({e}){remedy}") from e
    if hasattr(module, "offer"):  # threads of its own it has not: those of the C engine, where that is built
        try:
            module.offer(load("cython").pool_addresses())
        except RuntimeError:
            pass
    _loaded[name] = module
    return module


def active(name: str | None = None) -> ModuleType:
    """The backend module that serves a call made with `backend=name`."""
    if name is not None:
        return load(name)
    return in_context.get() or _default or _choose()


def name_of(module: ModuleType | None) -> str | None:
    """The name of a backend; None of None."""
    return None if module is None else _name_of(module)


def _choose() -> ModuleType:
    global _default
    asked = os.environ.get("FASTMLP_BACKEND")
    if asked:
        _default = load(asked, "FASTMLP_BACKEND")
        return _default
    for name in AUTOMATIC:
        try:
            _default = load(name)
            return _default
        except RuntimeError:
            continue
    raise RuntimeError("no backend can be imported; reinstall fastmlp")


def set_backend(name: str | None) -> None:
    """Choose the backend for the whole process: "cython", "numba", "numpy"; None goes back to the automatic choice."""
    global _default
    _default = None if name is None else load(name)


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Within the block, and in this thread only, calls run on backend `name`."""
    token = in_context.set(load(name))
    try:
        yield
    finally:
        in_context.reset(token)


def _name_of(module: ModuleType) -> str:
    return next(name for name, m in _loaded.items() if m is module)


def get_backend() -> str:
    """The name of the backend that a call without `backend=` runs on now."""
    return _name_of(active())


def available_backends() -> dict[str, str]:
    """Every backend's name with "available", or with the reason why not."""
    states = {}
    for name in MODULES:
        try:
            load(name)
            states[name] = "available"
        except (RuntimeError, ValueError) as e:  # ValueError: FASTMLP_ISA or FASTMLP_NUM_THREADS
            states[name] = str(e)
    return states


def set_num_threads(n: int) -> None:
    """Use at most `n` >= 1 threads, the caller's included, in the compiled kernels. Results do not depend on it."""
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"set_num_threads: expected an int, got {type(n).__name__}")
    if not 1 <= n <= 1024:
        raise ValueError(f"set_num_threads: expected 1 to 1024 threads, got {n}")
    load("cython").set_num_threads(int(n))


def get_num_threads() -> int:
    """The number of threads that the compiled kernels use: FASTMLP_NUM_THREADS, else what affinity and cgroup allow."""
    return load("cython").get_num_threads()


def cpu_name() -> str:
    """What the machine calls its CPU."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def show_config() -> None:
    """Print what runs where: versions, backends, instruction set, threads."""
    from importlib.metadata import version

    print(f"fastmlp      {version('fastmlp')}")
    print(f"python       {platform.python_version()} on {platform.system()} {platform.machine()}")
    print(f"numpy        {np.__version__}")
    try:
        print(f"backend      {get_backend()}")
    except (RuntimeError, ValueError) as e:
        print(f"backend      none: {e}")
    for name, state in available_backends().items():
        print(f"  {name:<10} {state}")
    for module in list(_loaded.values()):
        for label, text in getattr(module, "describe", dict)().items():
            print(f"{label:<12} {text}")
