"""A Python function of one number as machine code, which any CPU backend can call between its products."""

from __future__ import annotations

import builtins
import ctypes
import dis
import inspect
import linecache
import operator
import re
import types as python
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numba import cfunc, njit
from numba.core import types
from numba.core.errors import NumbaError, UnsupportedBytecodeError
from numba.extending import intrinsic

from . import cache
from .functions import OPTIONS
from .numbers import PYTHON, Number, number, plain, real_of, slope, variable

#: of functions that Python may call as well
FOR_OTHERS = {"error_model": "numpy", "nogil": True}
REALS = {np.dtype(np.float32): types.float32, np.dtype(np.float64): types.float64}


@intrinsic
def address(typingctx: Any, pointer: Any) -> Any:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.ptrtoint(args[0], context.get_value_type(types.intp))

    return types.intp(pointer), emit


@intrinsic
def wide_vectors(typingctx: Any) -> Any:
    """The function that calls this has vectors as wide as the machine's: of 512 bits, LLVM takes 256 otherwise."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')  # llvmlite knows no attributes with values
        return context.get_dummy_value()

    return types.none(), emit


#: the built-in functions that work on numbers
BUILTINS = {"abs", "bool", "float", "int", "len", "max", "min", "pow", "range", "round"}


def _check_code(function: python.FunctionType) -> None:
    """TypeError for what Numba compiles, but which would go wrong where nobody hears of it: between the products of a
    layer, without Python's lock."""
    code, name = function.__code__, function.__name__
    if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        raise TypeError(f"{name}: expected a plain function, got a generator or coroutine")
    for step in dis.get_instructions(code):
        if step.opname == "RAISE_VARARGS":
            raise TypeError(f"{name}: cannot raise an exception or assert; math.nan says that there is no result")
        if step.opname == "IMPORT_NAME":
            raise TypeError(f"{name}: cannot import; do that around it")
        if step.opname == "BINARY_SUBSCR" or (step.opname == "BINARY_OP" and step.argrepr == "[]"):
            raise TypeError(f"{name}: cannot look up an index; it works on numbers alone")
    for used in cache.names_in(code):
        if used not in function.__globals__ and hasattr(builtins, used) and used not in BUILTINS:
            raise TypeError(
                f"{name}: cannot use {used}; of the built-in functions it may use {', '.join(sorted(BUILTINS))}"
            )


def jitted(function: Any, seen: dict[Any, Any] | None = None) -> Any:
    """The function for Numba, with all plain Python functions that it calls, which Numba would not take."""
    seen = {} if seen is None else seen
    if not isinstance(function, python.FunctionType):
        if hasattr(function, "py_func"):  # Numba's own already
            _check_code(function.py_func)
        return function  # if it is not to be compiled, Numba says so
    if function in seen:
        if seen[function] is None:
            raise TypeError(f"{function.__name__}: cannot call itself")
        return seen[function]
    seen[function] = None
    _check_code(function)
    found = {}
    for name in cache.names_in(function.__code__):
        if name in function.__globals__:
            found[name] = _callable(function.__globals__[name], seen)
    cells = tuple(python.CellType(_callable(_content(cell, function), seen)) for cell in function.__closure__ or ())
    copy = python.FunctionType(
        function.__code__, function.__globals__ | found, function.__name__, function.__defaults__, cells or None
    )
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    seen[function] = njit(**OPTIONS)(copy)
    return seen[function]


def _callable(value: Any, seen: dict[Any, Any]) -> Any:
    """What a name stands for, if it is a function: of Python, of Numba, or that of an activation."""
    value = cache.function_of(value)
    is_function = isinstance(value, python.FunctionType) and not hasattr(value, "__wrapped__")
    return jitted(value, seen) if is_function or hasattr(value, "py_func") else value


def _content(cell: Any, function: python.FunctionType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        raise TypeError(f"{function.__name__}: uses a name of the function around it that has no value yet") from None


def checked(function: Callable[..., Any], what: str, arguments: int = 1) -> Any:
    """`jitted`, once it is known to give a number for so many. TypeError: it cannot be compiled, or does not."""
    made = jitted(function)
    if function.__defaults__:
        whole = made
        made = njit(**OPTIONS)((lambda x: whole(x)) if arguments == 1 else (lambda x, t: whole(x, t)))
    given = (Number(types.float64),) * arguments
    try:
        made.compile(given)
    except (NumbaError, NotImplementedError, UnsupportedBytecodeError) as e:
        raise TypeError(f"{what}: Numba cannot compile it: {_in_short(e)}") from None
    gives = made.overloads[given].signature.return_type
    if isinstance(gives, types.Boolean) or not isinstance(gives, (Number, *PYTHON)):
        raise TypeError(f"{what}: expected a function that returns a number, it returns {gives}")
    return made


def _in_short(error: Exception) -> str:
    """What it is, and where, in one line."""
    text = str(error)
    missing = re.search(r">>> (.*)", text)
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("Failed in nopython mode")]
    what = f"there is no {missing[1]}" if missing else lines[0]
    place = re.search(r" at (.+) \((\d+)\)", text)
    if place is None:
        return what
    path, number = place[1], int(place[2])
    return f"{what}, line {number} of {Path(path).name}: {linecache.getline(path, number).strip()}"


def on_reals(function: Any) -> Any:
    """x -> function(x), for a float32 or float64"""

    def value(x: Any) -> Any:
        return real_of(plain(function(number(x)), number(x)))

    return njit(**OPTIONS)(value)


def derivative_of(function: Any) -> Any:
    """x -> function'(x), for a float32 or float64"""

    def rate(x: Any) -> Any:
        return real_of(slope(function(variable(x)), number(x)))

    return njit(**OPTIONS)(rate)


def _machine_code(function: Any, signature: Any, name: str) -> Any:
    """By a name that no other function has, in any process, if it is to be kept."""
    function.__name__ = function.__qualname__ = name
    return cfunc(signature, error_model="numpy")(function)


def forward_run(value: Any, real: types.Float, name: str) -> Any:
    """Machine code: y[i] = value(z[i]) for i < count; y may be z."""
    pointer = types.CPointer(real)

    def forward(z: Any, y: Any, count: int) -> None:
        wide_vectors()
        if address(z) == address(y):
            for i in range(count):
                y[i] = value(y[i])
        else:
            for i in range(count):
                y[i] = value(z[i])

    return _machine_code(forward, types.void(pointer, pointer, types.intp), f"forward_{name}")


def backward_run(rate: Any, real: types.Float, name: str) -> Any:
    """Machine code: dz[i] = dy[i] rate(saved[i]) for i < count; dz may be dy."""
    pointer = types.CPointer(real)

    def backward(dy: Any, saved: Any, dz: Any, count: int) -> None:
        wide_vectors()
        if address(dy) == address(dz):
            for i in range(count):
                dz[i] = dz[i] * rate(saved[i])
        else:
            for i in range(count):
                dz[i] = dy[i] * rate(saved[i])

    return _machine_code(backward, types.void(pointer, pointer, pointer, types.intp), f"backward_{name}")


def loss_and_slope(function: Any, rate: Any) -> Any:
    """(x, t) -> function(x, t) and its derivative by x, for float32 or float64. rate: gives that; None: it is worked
    out."""
    if rate is None:

        @njit(**OPTIONS)
        def both(x: Any, t: Any) -> Any:
            y = function(variable(x), number(t))
            return real_of(plain(y, number(x))), real_of(slope(y, number(x)))

    else:

        @njit(**OPTIONS)
        def both(x: Any, t: Any) -> Any:
            a, b = number(x), number(t)
            return real_of(plain(function(a, b), a)), real_of(plain(rate(a, b), a))

    return both


def loss_run(both: Any, real: types.Float, name: str) -> Any:
    """Machine code: loss[i], slopes[i] = both(x[i], t[i]) for i < count"""
    pointer = types.CPointer(real)

    def at(x: Any, t: Any, loss: Any, slopes: Any, count: int) -> None:
        wide_vectors()
        for i in range(count):
            loss[i], slopes[i] = both(x[i], t[i])

    return _machine_code(at, types.void(pointer, pointer, pointer, pointer, types.intp), f"loss_{name}")


def _found(owner: Any, path: str) -> Any:
    """What was pickled by its owner, which the program must define by now as it did then."""
    try:
        return operator.attrgetter(path)(owner)
    except AttributeError:
        name = getattr(owner, "__name__", owner)
        raise TypeError(
            f"{name}: expected what fastmlp.activation or fastmlp.loss made, got {type(owner).__name__}"
        ) from None


class _Table:
    """Machine code that the C engine calls: of a function, and of its derivative if that is given.

    table: the functions' addresses, each for float32 and for float64. address: of that. source: an object that can be
    pickled, and what of it has this as its `custom`.
    """

    def __init__(self, function: Any, derivative: Any, name: str) -> None:
        """name: of the function, for errors. TypeError: as `checked`"""
        self.function, self.given, self.name = function, derivative, name
        key = cache.key_of(type(self).__name__, [function, derivative])
        self._runs = cache.kept(key, name, lambda: self._compiled(key or ""))
        self.table = np.array([run.address for run in self._runs], np.uintp)
        self.address = self.table.ctypes.data
        self.source: Any = None

    def _compiled(self, key: str) -> list[Any]:
        raise NotImplementedError

    @cached_property
    def scalars(self) -> tuple[Any, Any]:
        """The function and its derivative, of float32 and float64, for functions that others compile."""
        raise NotImplementedError

    def reduced(self) -> Any:
        """What is pickled instead of that."""
        return _found, self.source

    def _call(self, first: int, *arrays: Any) -> None:
        run = self._runs[first + list(REALS).index(arrays[0].dtype)]
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(arrays), ctypes.c_ssize_t)(run.address)
        function(*(a.ctypes.data for a in arrays), arrays[0].size)


class Functions(_Table):
    """A function of one number and its derivative: of that, or of what the function gives, whichever will be saved."""

    def _on_reals(self) -> tuple[Any, Any]:
        value = checked(self.function, self.name)
        if self.given is None:
            return on_reals(value), derivative_of(value)
        return on_reals(value), on_reals(checked(self.given, f"the derivative of {self.name}"))

    def _compiled(self, key: str) -> list[Any]:
        both = zip((forward_run, backward_run), self._on_reals())
        return [run(f, real, f"{key}_{real}") for run, f in both for real in REALS.values()]

    @cached_property
    def scalars(self) -> tuple[Any, Any]:
        value, rate = self._on_reals()
        return njit(**FOR_OTHERS)(lambda x: value(x)), njit(**FOR_OTHERS)(lambda x: rate(x))

    def forward(self, z: Any) -> Any:
        """z, float32 or float64 of any shape -> function(z)"""
        z = np.ascontiguousarray(z)
        y = np.empty_like(z)
        self._call(0, z, y)
        return y

    def derivative(self, saved: Any) -> Any:
        saved = np.ascontiguousarray(saved)
        dz = np.empty_like(saved)
        self._call(2, np.ones_like(saved), saved, dz)
        return dz


class LossFunctions(_Table):
    """A function of two numbers, and its derivative by the first."""

    def _both(self) -> Any:
        value, rate = checked(self.function, self.name, 2), None
        if self.given is not None:
            rate = checked(self.given, f"the derivative of {self.name}", 2)
        return loss_and_slope(value, rate)

    def _compiled(self, key: str) -> list[Any]:
        both = self._both()
        return [loss_run(both, real, f"{key}_{real}") for real in REALS.values()]

    @cached_property
    def scalars(self) -> tuple[Any, Any]:
        both = self._both()
        return njit(**FOR_OTHERS)(lambda x, t: both(x, t)[0]), njit(**FOR_OTHERS)(lambda x, t: both(x, t)[1])

    def at(self, x: Any, t: Any) -> Any:
        """x, t of one shape, float32 or float64 -> function(x, t), and its derivative by x"""
        x, t = np.ascontiguousarray(x), np.ascontiguousarray(t)
        loss, slopes = np.empty_like(x), np.empty_like(x)
        self._call(0, x, t, loss, slopes)
        return loss, slopes
