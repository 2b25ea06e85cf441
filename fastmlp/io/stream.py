"""What a file says about its arrays, checked before anything of that size is allocated."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..checks import Array

LARGEST = 2**63 - 1
MOST_AXES = 64  # NumPy's limit
PIECE = 1 << 20


def nbytes(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """The bytes of such an array, if there can be one: NumPy wants even an empty one's other axes to be addressable."""
    if len(shape) > MOST_AXES:
        raise ValueError(f"{name!r} has {len(shape)} axes, more than {MOST_AXES}")
    if prod(n or 1 for n in shape) * dtype.itemsize > LARGEST:
        raise ValueError(f"{name!r} has the impossible shape {shape}")
    return prod(shape) * dtype.itemsize


def read_array(name: str, stream: Any, shape: tuple[int, ...], dtype: np.dtype[Any], order: Any = "C") -> Array:
    """An array of that shape from the next bytes of the stream; the caller knows that the stream has as many."""
    flat = np.empty(prod(shape), dtype)
    raw = flat.view(np.uint8)
    done = 0
    while done < raw.size:  # by pieces: a zip's stream makes a copy of whatever is asked for
        read = stream.readinto(raw[done : done + PIECE].data)
        if not read:
            raise ValueError(f"{name!r} ends after {done} of {raw.size} bytes")
        done += read
    if dtype.kind == "b" and (raw > 1).any():
        raise ValueError(f"{name!r} has bools that are neither 0 nor 1")
    return flat.astype(dtype.newbyteorder("="), copy=False).reshape(shape, order=order)


def saved(name: str, a: Array) -> Array:
    """The array, if its dtype is one that files hold."""
    if a.dtype.kind not in "biuf" or a.dtype.itemsize > 8:
        raise TypeError(f"{name!r}: expected an array of bools, integers or floats up to float64, got {a.dtype}")
    return a


def utf8(name: str) -> bytes:
    """The name in UTF-8."""
    try:
        return name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name!r}: a name that is no Unicode text") from None
