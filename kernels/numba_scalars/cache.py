"""Machine code on disk: what was compiled once on a machine is not compiled again.

In FASTMLP_CACHE_DIR, else where the system keeps caches; the variable set to nothing turns it off. Where nothing can be
written, or what is read is damaged, functions are compiled as if there were no cache.
"""

from __future__ import annotations

import gc
import hashlib
import io
import math
import os
import pickle
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import serialize
from numba.core.compiler import CompileResult
from numba.core.registry import cpu_target

DIGITS = 32  # of a key
#: of Numba, which change what is compiled
SETTINGS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT")
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
    return hashlib.sha256(repr((what, _machine())).encode()).hexdigest()[:DIGITS]


@cache
def _machine() -> tuple[Any, ...]:
    versions = sys.version_info[:3], numba.__version__, llvmlite.__version__, np.__version__
    sources = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    settings = [getattr(numba.config, name) for name in SETTINGS]
    cpu = cpu_target.target_context.codegen().magic_tuple()
    return *versions, *settings, cpu, hashlib.sha256(b"".join(sources)).hexdigest()


def _meaning(value: Any, around: tuple[Any, ...]) -> Any:
    """What a function computes, as nested tuples of plain values. around: the functions that led here."""
    options = getattr(value, "targetoptions", None)  # of a function that Numba has already
    if options and hasattr(value, "py_func"):
        return "jitted", sorted((k, repr(v)) for k, v in options.items()), _meaning(value.py_func, around)
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
    if given == "":
        return None
    if given is not None:
        return _at_home(given)
    if sys.platform == "win32":
        system = os.environ.get("LOCALAPPDATA")
    elif sys.platform == "darwin":
        system = "~/Library/Caches"
    else:
        system = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = _at_home(system or "~/.cache")
    return None if home is None else home / "fastmlp"


def _at_home(path: str) -> Path | None:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # there is no home
        return None


_here: dict[str | None, list[Any]] = {}  # what this process has compiled or loaded


def at_fork(lock: Any) -> None:
    """A child gets the lock free, and what it guards whole: to fork waits for whoever holds it."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


_lock = threading.RLock()
at_fork(_lock)
#: in this order: the name, the seconds that it took, was it on disk?
history: list[tuple[str, float, bool]] = []


def _state(function: Any) -> Any:
    """What is kept of a numba.cfunc, or of the result of a compilation, which has a way in from Python."""
    if isinstance(function, CompileResult):
        return None, function._reduce()
    return function._wrapper_name, function._library.serialize_using_object_code()


def _function(name: str | None, state: Any) -> Any:
    return CompileResult._rebuild(cpu_target.target_context, *state) if name is None else Run(name, state)


def kept(key: str | None, name: str, compile: Callable[[], list[Any]]) -> list[Any]:
    """Functions of that key: those of this process, or of the disk, or else compiled now, and kept.

    name: for people. compile: gives numba.cfuncs or results of compilations, whose names hold the key.
    """
    with _lock:
        if key in _here:
            return _here[key]
        return _made(key, name, compile)


def _made(key: str | None, name: str, compile: Callable[[], list[Any]]) -> list[Any]:
    start = time.perf_counter()
    functions = None if key is None else _load(key)
    was_there = functions is not None
    if functions is None:
        with _without_collection():
            functions = compile()
    seconds = time.perf_counter() - start
    if key is not None:
        _here[key] = functions
        if not was_there and all(_is_alone(f, key) for f in functions):
            _store(key, name, seconds, functions)
    history.append((name, seconds, was_there))
    return functions


@contextmanager
def _without_collection() -> Iterator[None]:
    """Python's garbage collector finds nothing in what a compilation makes, and takes a tenth of the time to look."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _load(key: str) -> list[Any] | None:
    path = folder()
    data = None if path is None else _read(path / key)
    if data is None:
        return None
    cpu_target.target_context.refresh()  # functions of Numba's own, which it may call, must be known by then
    pickle.load(data)  # what `contents` reads
    return [_function(name, state) for name, state in pickle.load(data)]


def _store(key: str, name: str, seconds: float, functions: list[Any]) -> None:
    """A file appears as a whole, or not at all."""
    path = folder()
    if path is None:
        return
    data = pickle.dumps((name, seconds)) + serialize.dumps([_state(f) for f in functions])
    temporary = None
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path)
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(data).digest() + data)
        os.replace(temporary, path / key)
    except OSError:  # read-only, or full
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _read(path: Path) -> io.BytesIO | None:
    """What was stored there; None if there is no such file, or not what was written."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return io.BytesIO(data[32:]) if hashlib.sha256(data[32:]).digest() == data[:32] else None


def contents() -> list[tuple[str, float, int]]:
    """Of each file: the name, the seconds that it took to compile, bytes."""
    path = folder()
    try:
        files = [] if path is None else list(path.iterdir())
    except OSError:  # there is none, or it must not be read
        return []
    found = []
    for file in files:
        data = _read(file) if len(file.name) == DIGITS else None
        head = None if data is None else pickle.load(data)
        if data is not None and isinstance(head, tuple) and len(head) == 2:  # else it is of another version
            found.append((*head, data.getbuffer().nbytes))
    return found


def is_writable() -> bool:
    """Can something be kept? The folder may still be to be made."""
    where = folder()
    while where is not None:
        try:
            with tempfile.TemporaryFile(dir=where):
                return True
        except FileNotFoundError:
            where = where.parent if where != where.parent else None
        except OSError:
            return False
    return False


def _is_alone(function: Any, key: str) -> bool:
    """Has it inlined all that it calls? Of a function beside it, another process may have another one of that name."""
    library = function.library if isinstance(function, CompileResult) else function._library
    return all(key in f.name for f in library._final_module.functions if not f.is_declaration)
