"""Where numbers stop being finite: for the error that ends a training that has gone astray.

NumPy's own warnings of such numbers are the caller's to silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..checks import Array
from ..grad_mode import no_grad
from ..nn import Module
from ..tape import array_of


def all_finite(a: Array) -> bool:
    """Are all elements finite? A sum says so at once, unless it overflows itself."""
    return isfinite(a.sum()) or bool(np.isfinite(a).all())


def rows_not_finite(a: Array) -> str | None:
    """The first row of `a` that has a NaN or an infinity, and how many more have; None if none has."""
    if all_finite(a):
        return None
    rows = np.flatnonzero(~np.isfinite(a).reshape(len(a), -1).all(axis=1))
    return f"row {rows[0]}" + (f" and {len(rows) - 1} more" if len(rows) > 1 else "")


def culprit(model: Module, x: Any, y: Any) -> str | None:
    """The first of batch, parameters and outputs that is not finite, in words; None if all are. Runs the batch again.

    A module is seen by what it returns: of functions that are called in a `forward` it is the next module's output
    that tells, or the model's own.
    """
    for what, given in (("the inputs x", x), ("the targets y", y)):
        if isinstance(given, Tensor) and (rows := rows_not_finite(array_of(given))):
            return f"{what} of this batch are not finite, in {rows}"
    for name, p in model.named_parameters():
        if not all_finite(array_of(p)):
            return f"the parameter {name!r} is not finite"
    found = _first_output(model, x)
    return f"the first output that is not finite is that of {found[0]!r}, {found[1]}" if found else None


def _first_output(model: Module, x: Any) -> tuple[str, str] | None:
    """(name, repr) of the first module whose output is not finite; children come before those that hold them."""
    found: list[tuple[str, str]] = []

    def watch(name: str) -> Any:
        def hook(module: Module, inputs: Any, output: Any) -> None:
            if not found and isinstance(output, Tensor) and not all_finite(array_of(output)):
                found.append((name or "the model", repr(module).partition("\n")[0]))

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    try:
        with no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def culprit_gradient(parameters: Sequence[tuple[str, Tensor]]) -> str | None:
    """The gradient that is not finite of the layer that backward reached first, the last one; None if all are."""
    for name, p in reversed(parameters):
        if p.grad is not None and not all_finite(array_of(p.grad)):
            return f"the gradient of {name!r} is not finite"
    return None
