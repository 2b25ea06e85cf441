"""How a tensor is printed: as PyTorch prints a CPU tensor, so that what people know how to read stays readable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from . import checks
from .checks import Array

#: what stands before the name of a dtype
DTYPE_PREFIX = "fastmlp."
#: dtypes that the values alone tell
DEFAULT_DTYPE = np.dtype(np.float32)
UNSAID = (DEFAULT_DTYPE, np.dtype(np.int64), np.dtype(np.bool_))


@dataclass
class PrintOptions:
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


OPTIONS = PrintOptions()
PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": inf, "edgeitems": 3, "linewidth": 80},
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Sets how tensors are printed from now on, as `torch.set_printoptions`. What is None stays, but for `sci_mode`.

    Parameters
    ----------
    precision : digits after the point (4)
    threshold : a tensor of more elements is summarized (1000)
    edgeitems : elements at both ends of each axis that a summary shows (3)
    linewidth : characters of a line (80)
    profile : "default", "short" or "full"; the other arguments go on top of it
    sci_mode : scientific notation always (True), never (False), or (None) when max / min > 1000, max > 1e8 or
        min < 1e-4, over the sizes of what is neither 0 nor infinite. As in torch, every call sets it.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; nothing is changed then.
    """
    new: dict[str, Any] = {}
    if profile is not None:
        if profile not in PROFILES:
            raise ValueError(f"profile: expected one of {', '.join(PROFILES)}, got {profile!r}")
        new |= PROFILES[profile]
    if threshold is not None:
        new["threshold"] = checks.number("threshold", threshold)
    for name, value, least in (("precision", precision, 0), ("edgeitems", edgeitems, 0), ("linewidth", linewidth, 1)):
        if value is not None:
            new[name] = checks.integer(name, value)
            if new[name] < least:
                raise ValueError(f"{name}: expected an int >= {least}, got {value}")
    if sci_mode is not None and not isinstance(sci_mode, bool):
        raise TypeError(f"sci_mode: expected True, False or None, got {sci_mode!r}")
    new["sci_mode"] = sci_mode
    for name, value in new.items():
        setattr(OPTIONS, name, value)


def format_tensor(a: Array, *, grad_fn_name: str | None = None, requires_grad: bool = False) -> str:
    """`tensor([[1., 2.],\\n        [3., 4.]])`: what torch prints for a CPU tensor of these values.

    Parameters
    ----------
    a : array of bools, integers or floats up to float64, of any shape
    grad_fn_name : the name of the operation that made it, if that is on the tape: `grad_fn=<name>`
    requires_grad : otherwise said as `requires_grad=True`

    Raises
    ------
    TypeError
        If `a` is no array, or of another dtype.
    """
    if not isinstance(a, np.ndarray):
        raise TypeError(f"a: expected an ndarray, got {type(a).__name__}")
    if a.dtype.kind not in "biuf" or a.dtype.itemsize > 8:
        raise TypeError(f"a: expected bools, integers or floats up to float64, got {a.dtype}")
    prefix = "tensor("
    text = "[]" if a.size == 0 else _values(a, len(prefix))
    suffixes = []
    if (a.size == 0 and a.ndim != 1) or (a.size and not OPTIONS.edgeitems):
        suffixes.append(f"size={tuple(a.shape)}")
    if a.dtype != DEFAULT_DTYPE if a.size == 0 else a.dtype not in UNSAID:
        suffixes.append(f"dtype={DTYPE_PREFIX}{a.dtype.name}")
    if grad_fn_name is not None:
        suffixes.append(f"grad_fn=<{grad_fn_name}>")
    elif requires_grad:
        suffixes.append("requires_grad=True")
    return _with_suffixes(prefix + text, suffixes, len(prefix))


def _with_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    """Each suffix on the last line while it fits there, else on a new one."""
    used = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if used + len(suffix) + 2 > OPTIONS.linewidth:
            text += ",\n" + " " * indent + suffix
            used = indent + len(suffix)
        else:
            text += ", " + suffix
            used += len(suffix) + 2
    return text + ")"


def _values(a: Array, indent: int) -> str:
    summarize = a.size > OPTIONS.threshold
    shown = _edges(a) if summarize else a
    write, width = _formatter(shown)
    return _nested(a, indent, summarize, write, width)


def _edges(a: Array) -> Array:
    """The elements that a summary shows: they alone decide on notation and width."""
    edge = OPTIONS.edgeitems
    for axis, n in enumerate(a.shape):
        if n > 2 * edge:
            a = np.take(a, [*range(edge), *range(n - edge, n)], axis)
    return a


def _formatter(shown: Array) -> tuple[Callable[[Any], str], int]:
    """-> the function that writes one element, and the width that the elements share.

    The width is that of the longest; among floats zeros, infinities and NaN do not count. With sci_mode=False there is
    room for the notation that would have been chosen, as in torch up to 2.6 and in what is written about it.
    """
    if shown.dtype.kind != "f":
        return str, max([1, *(len(str(value)) for value in shown.ravel().tolist())])
    flat = shown.ravel().astype(np.float64)
    counted = flat[np.isfinite(flat) & (flat != 0)]
    unasked = _scientific(counted)
    write = _float_writer(counted, unasked if OPTIONS.sci_mode is None else OPTIONS.sci_mode and counted.size > 0)
    longest = _float_writer(counted, unasked) if OPTIONS.sci_mode is False else write
    return write, max([1, *(len(longest(value)) for value in counted.tolist())])


def _float_writer(counted: Array, scientific: bool) -> Callable[[float], str]:
    digits = OPTIONS.precision
    if scientific:
        return lambda value: f"{value:.{digits}e}"
    if (counted == np.ceil(counted)).all():
        return lambda value: f"{value:.0f}." if np.isfinite(value) else f"{value}"
    return lambda value: f"{value:.{digits}f}"


def _scientific(counted: Array) -> bool:
    """Do they differ so much, or lie so far from 1, that their exponents are worth printing?"""
    if counted.size == 0:
        return False
    size = np.abs(counted)
    least, most = size.min().item(), size.max().item()
    with np.errstate(over="ignore"):  # beside a subnormal
        return bool(np.divide(most, least) > 1000 or most > 1e8 or least < 1e-4)


def _nested(a: Array, indent: int, summarize: bool, write: Callable[[Any], str], width: int) -> str:
    """The values in brackets; an inner axis is indented by one more, and each axis has one more empty line between."""
    if a.ndim == 0:
        return write(a.item()).rjust(width)
    edge = OPTIONS.edgeitems
    skips = summarize and len(a) > 2 * edge
    rows = np.concatenate([a[:edge], a[len(a) - edge :]]) if skips else a
    if a.ndim == 1:
        parts = [write(value).rjust(width) for value in rows.tolist()]
        dots = " ..." if edge else "..."
    else:
        parts = [_nested(row, indent + 1, summarize, write, width) for row in rows]
        dots = "..."
    if skips:
        parts.insert(edge, dots)
    between = "," + "\n" * max(a.ndim - 1, 1) + " " * (indent + 1)
    if a.ndim == 1:
        each = max(1, (OPTIONS.linewidth - indent) // (width + 2))
        parts = [", ".join(parts[i : i + each]) for i in range(0, len(parts), each)]
    return "[" + between.join(parts) + "]"
