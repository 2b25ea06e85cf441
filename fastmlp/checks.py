"""What a person can get wrong in a call of `ops`: TypeError for types, ValueError for shapes and values. Each names the
argument, what came, and what was expected.
"""

from __future__ import annotations

from difflib import get_close_matches
from itertools import pairwise
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from fastmlp.kernels.contract import ACTIVATIONS, REDUCTIONS, Activation

from .memory import empty

try:
    from ._fast import plain
except ModuleNotFoundError:  # not built: the checks below do it all

    def plain(first: Any, *others: Any) -> bool:
        return False


Array = NDArray[Any]

_F32 = np.dtype(np.float32)
_F64 = np.dtype(np.float64)

#: what other libraries call some of our activations, for the hint in an error
NAMES_ELSEWHERE = {"swish": "silu", "linear": "identity", "none": "identity", "logistic": "sigmoid"}


def as_array(name: str, value: Any) -> Array:
    """np.asarray, for what can be an array."""
    if value is None or isinstance(value, (str, bytes)):
        raise TypeError(f"{name}: expected an array, got {value!r}")
    try:
        return np.asarray(value)
    except ValueError as e:  # lists of unequal lengths
        raise ValueError(f"{name}: cannot be made an array: {e}") from None


def float_arrays(optional: tuple[str, ...] = (), **named: Any) -> list[Any]:
    """The arguments as aligned ndarrays of one float dtype. None stays None if it is `optional`."""
    if plain(*named.values()) and all(value is not None or name in optional for name, value in named.items()):
        return list(named.values())
    arrays = {}
    dtype = None
    for name, value in named.items():
        if value is None and name in optional:
            continue
        a = as_array(name, value)
        own = a.dtype
        if own.kind in "iub" or (not isinstance(value, np.ndarray) and own == _F64):
            own = None  # no precision of its own
        elif own != _F32 and own != _F64:
            raise TypeError(f"{name}: expected float32 or float64, got {own}")
        if own is not None:
            if dtype is not None and own != dtype[1]:
                raise TypeError(
                    f"{name}: expected {dtype[1].name} as {dtype[0]} is, got {own.name}; convert one of them"
                )
            dtype = dtype or (name, own)
        arrays[name] = a
    common = dtype[1] if dtype else _F64
    return [
        np.require(arrays[name], common, ["A"]) if name in arrays else None for name in named
    ]


class Chosen(NamedTuple):
    """An activation and its parameters in the contract's order."""

    act: Activation
    values: tuple[float, ...]


#: those that the user wrote, by their names: see written.py
written: dict[str, Chosen] = {}


def _named(name: Any) -> Activation:
    """The activation of that name."""
    if not isinstance(name, str):
        hint = "; @fastmlp.activation makes an activation of a function" if isinstance(name, FunctionType) else ""
        raise TypeError(f"activation: expected a name, got {kind(name)}{hint}")
    if name in written:
        return written[name].act
    if name not in ACTIVATIONS:
        known = (*ACTIVATIONS, *written)
        near = [NAMES_ELSEWHERE.get(name.lower()), *get_close_matches(name.lower(), known, n=1)]
        near = [n for n in near if n]
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"activation: unknown {name!r}; {hint}known are {', '.join(known)}")
    return ACTIVATIONS[name]


def find_activation(name: Any, given: dict[str, Any]) -> Chosen:
    """The activation of that name with the parameters given; or what this has already found."""
    name = getattr(name, "chosen", name)
    if type(name) is Chosen and not given:
        return name
    act = name.act if type(name) is Chosen else _named(name)
    name = act.name
    if not given:
        return Chosen(act, act.defaults)
    for key, value in given.items():
        if key not in act.params:
            takes = f"takes {', '.join(act.params)}" if act.params else "takes no parameters"
            raise TypeError(
                f"unexpected keyword argument {key!r}: the call has none of that name, and activation {name!r} {takes}"
            )
        if key in act.nonnegative:
            at_least_0(key, value)
        if key in act.positive and not number(key, value) > 0:
            raise ValueError(f"{key}: expected a number > 0, got {value}")
    values = {key: number(key, given.get(key, default)) for key, default in act.params.items()}
    for low, high in pairwise(act.increasing):
        if not values[low] <= values[high]:
            raise ValueError(f"{low}: expected at most {high}, got {values[low]} and {values[high]}")
    return Chosen(act, tuple(values.values()))


def kind(value: Any) -> str:
    """What came, for an error. A class is often an instance whose parentheses were forgotten."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def number(name: str, value: Any) -> float:
    if isinstance(value, (str, bytes)) or not hasattr(value, "__float__"):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    try:
        return float(value)
    except (TypeError, OverflowError):  # an array; an int beyond all floats
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}") from None


def at_least_0(name: str, value: Any) -> float:
    result = number(name, value)
    if not result >= 0:
        raise ValueError(f"{name}: expected a number >= 0, got {value}")
    return result


def unsigned(name: str, value: Any) -> int:
    value = integer(name, value)
    if not 0 <= value < 2**64:
        raise ValueError(f"{name}: expected 0 to 2**64 - 1, got {value}")
    return value


def integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    return int(value)


def positive(name: str, value: Any) -> int:
    if integer(name, value) < 1:
        raise ValueError(f"{name}: expected an int >= 1, got {value}")
    return int(value)


def known_reduction(reduction: Any, known: tuple[str, ...] = REDUCTIONS) -> None:
    if not isinstance(reduction, str) or reduction not in known:
        raise ValueError(f"reduction: expected one of {', '.join(known)}, got {reduction!r}")


def int64(name: str, value: Any) -> int:
    value = integer(name, value)
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{name}: expected a 64-bit integer, got {value}")
    return value


def output(out: Any, shape: tuple[int, ...], dtype: Any, inputs: tuple[Any, ...], name: str = "out") -> Array:
    """`out`, once it is known to fit and to overlap no input."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name}: expected an ndarray, got {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"{name}: expected {dtype.name}, got {out.dtype}")
    if out.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {out.shape}")
    if not out.flags.writeable:
        raise ValueError(f"{name}: is read-only")
    first, end = byte_bounds(out)
    if end - first < out.nbytes:
        raise ValueError(f"{name}: its own elements overlap in memory")
    for a in inputs:
        if a is not None and np.may_share_memory(out, a) and np.shares_memory(out, a):
            raise ValueError(f"{name}: overlaps another argument in memory")
    return out


def new_or_given(
    out: Array | None, shape: tuple[int, ...], dtype: Any, inputs: tuple[Any, ...], name: str = "out"
) -> Array:
    return empty(shape, dtype) if out is None else output(out, shape, dtype, inputs, name)


def gradient(name: str, asked: Any, shape: tuple[int, ...], dtype: Any, inputs: tuple[Any, ...]) -> Array | None:
    """Where to write the gradient that is asked for by True or by an array; None where it is not, by False."""
    if asked is None:
        raise TypeError(f"{name}: expected True, False or an ndarray to write into, got None")
    if asked is False:
        return None
    return new_or_given(None if asked is True else asked, shape, dtype, inputs, name)


def weights_fit(x: Any, w: Any, b: Any) -> None:
    """x (..., k), w (n, k), b (n,) or None"""
    if w.ndim != 2:
        raise ValueError(f"w: expected shape (out_features, in_features), got {w.shape}")
    if x.ndim == 0:
        raise ValueError("x: expected shape (..., in_features), got a scalar")
    if x.shape[-1] != w.shape[1]:
        raise ValueError(f"x: expected shape (..., {w.shape[1]}) to fit w {w.shape}, got {x.shape}")
    if b is not None and b.shape != w.shape[:1]:
        raise ValueError(f"b: expected shape {w.shape[:1]} to fit w {w.shape}, got {b.shape}")


def same_shape(name: str, a: Array, shape: tuple[int, ...]) -> None:
    if a.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {a.shape}")


def broadcast(name: str, a: Any, shape: tuple[int, ...]) -> Any:
    """`a` seen in that shape; None stays None."""
    if a is None or a.shape == shape:
        return a
    try:
        return np.broadcast_to(a, shape)
    except ValueError:
        raise ValueError(f"{name}: expected a shape that broadcasts to {shape}, got {a.shape}") from None


def probabilities_fit(target: Array, logits: tuple[int, ...]) -> None:
    """What is no array of integers must be probabilities; labels of another type are the likelier mistake."""
    is_number = target.dtype.kind in "fb"
    if not is_number or target.shape != logits:
        raise (ValueError if is_number else TypeError)(_no_target(target, logits))


def labels_fit(target: Array, logits: tuple[int, ...]) -> None:
    if target.shape != logits[:-1]:
        raise ValueError(_no_target(target, logits))


def _no_target(target: Array, logits: tuple[int, ...]) -> str:
    return (
        f"target: expected integer labels of shape {logits[:-1]} or float class probabilities of shape {logits}, "
        f"got {target.dtype} of shape {target.shape}"
    )
