"""Machine code on disk: what was compiled once on a machine is not compiled again.

In FASTMLP_CACHE_DIR, else where the system keeps caches; the variable set to nothing turns it off. Where nothing can be
written, or what is read is damaged, functions are compiled as if there were no cache.
"""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import sys
import tempfile
import types
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import serialize
from numba.core.compiler import CompileResult
from numba.core.registry import cpu_target

#: what stands for itself
PLAIN = {bool, int, float, str, bytes, type(None), np.float32, np.float64}


class _NoMeaning(Exception):
    """A value of which it cannot be told whether it is the same in another process."""


def key_of(kind: str, functions: list[Any]) -> str | None:
    """Names these functions, with all that they call, on this CPU and with these versions. None: that cannot be."""
    try:
        meaning = _meaning(functions, ())
    except _NoMeaning:
        return None
    return named(kind, meaning)


def named(*what: Any) -> str:
    """The key of what these describe, on this CPU and with these versions."""
    return hashlib.sha256(repr((what, _machine())).encode()).hexdigest()[:32]


@cache
def _machine() -> tuple[Any, ...]:
    versions = sys.version_info[:3], numba.__version__, llvmlite.__version__, np.__version__
    sources = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    return *versions, cpu_target.target_context.codegen().magic_tuple(), hashlib.sha256(b"".join(sources)).hexdigest()


def _meaning(value: Any, around: tuple[Any, ...]) -> Any:
    """What a function computes, as nested tuples of plain values. around: the functions that led here."""
    value = function_of(getattr(value, "py_func", value))
    if type(value) in PLAIN:
        return type(value).__name__, repr(value)
    if isinstance(value, (tuple, list)):
        return type(value).__name__, *(_meaning(item, around) for item in value)
    if value is math or value is np:
        return "module", value.__name__
    if isinstance(value, types.CodeType):
        return value.co_code, value.co_varnames, value.co_names, *(_meaning(c, around) for c in value.co_consts)
    if isinstance(value, (types.BuiltinFunctionType, np.ufunc, type)):
        return "known", getattr(value, "__module__", ""), value.__name__
    if not isinstance(value, types.FunctionType):
        raise _NoMeaning
    if value in around:
        return "itself", around.index(value)
    inner = (*around, value)
    names = {name: value.__globals__[name] for name in sorted(names_in(value.__code__)) if name in value.__globals__}
    try:
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
    except ValueError:  # one has no value yet
        raise _NoMeaning from None
    return (
        *_meaning(value.__code__, inner),
        _meaning(value.__defaults__, inner),
        *((name, _meaning(found, inner)) for name, found in names.items()),
        *(_meaning(cell, inner) for cell in cells),
    )


def function_of(value: Any) -> Any:
    """That of an activation or a loss that the user wrote; else what it is."""
    return getattr(value, "function", value) if hasattr(value, "derivative") else value


def names_in(code: types.CodeType) -> set[str]:
    """Those that it looks up, also in functions within it."""
    inner = (names_in(c) for c in code.co_consts if isinstance(c, types.CodeType))
    return set(code.co_names).union(*inner)


# ---------------------------------------------------------------------------------------------------------- files


class Run:
    """A function that was compiled before. address: of its machine code."""

    def __init__(self, name: str, state: Any) -> None:
        self._library = cpu_target.target_context.codegen().unserialize_library(state)
        self.address = self._library.get_pointer_to_function(name)


def folder() -> Path | None:
    given = os.environ.get("FASTMLP_CACHE_DIR")
    if given is not None:
        return Path(given) if given else None
    if sys.platform == "win32":
        system = os.environ.get("LOCALAPPDATA")
    elif sys.platform == "darwin":
        system = "~/Library/Caches"
    else:
        system = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(system or "~/.cache").expanduser() / "fastmlp"


_here: dict[str, list[Any]] = {}  # what this process has compiled or loaded


def _state(function: Any) -> Any:
    """What is kept of a numba.cfunc, or of the result of a compilation, which has a way in from Python."""
    if isinstance(function, CompileResult):
        return None, function._reduce()
    return function._wrapper_name, function._library.serialize_using_object_code()


def _function(name: str | None, state: Any) -> Any:
    return CompileResult._rebuild(cpu_target.target_context, *state) if name is None else Run(name, state)


def load(key: str | None) -> list[Any] | None:
    if key in _here:
        return _here[key]
    path = folder()
    if key is None or path is None:
        return None
    try:
        data = (path / key).read_bytes()
    except OSError:
        return None
    digest, data = data[:32], data[32:]
    if hashlib.sha256(data).digest() != digest:
        return None
    cpu_target.target_context.refresh()  # functions of Numba's own, which it may call, must be known by then
    _here[key] = [_function(name, state) for name, state in pickle.loads(data)]
    return _here[key]


def store(key: str | None, functions: list[Any]) -> None:
    """functions: numba.cfuncs or results of compilations, whose names hold the key. A file appears as a whole, or not
    at all."""
    if key is None:
        return
    _here[key] = functions
    path = folder()
    if path is None or not all(_is_alone(f, key) for f in functions):
        return
    data = serialize.dumps([_state(f) for f in functions])
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path)
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(data).digest() + data)
        os.replace(name, path / key)
    except OSError:  # read-only, or full
        return


def _is_alone(function: Any, key: str) -> bool:
    """Has it inlined all that it calls? Of a function beside it, another process may have another one of that name."""
    library = function.library if isinstance(function, CompileResult) else function._library
    return all(key in f.name for f in library._final_module.functions if not f.is_declaration)
