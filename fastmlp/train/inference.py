"""A model's answers: in evaluation mode, without gradients, some rows at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks
from ..autograd import Tensor
from ..checks import Array
from ..grad_mode import no_grad
from ..nn import Module
from ..nn.module import evaluation, model_dtype
from ..tape import array_of, wrap


def numbers(name: str, value: Any) -> Array:
    """The array of what a person gives as data. TypeError if it has no numbers."""
    a = array_of(value) if isinstance(value, Tensor) else checks.as_array(name, value)
    if a.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected numbers, got {a.dtype}")
    return a


def inputs(model: Module, x: Any) -> Array:
    """x (m, ...) as floats of the model's type."""
    a = numbers("x", x)
    if a.ndim == 0:
        raise ValueError("x: expected rows, got a scalar")
    return a.astype(model_dtype(model), copy=False)


@no_grad()
def predict(model: Module, x: Any, batch_size: int = 1024) -> Array:
    """What the model says to x (m, ...): an array (m, ...).

    Parameters
    ----------
    model : a Module; in evaluation mode meanwhile
    x : inputs, made floats of the model's type
    batch_size : rows at a time

    Raises
    ------
    ValueError, TypeError
        For no rows, no numbers, and a batch_size below 1.
    """
    checks.positive("batch_size", batch_size)
    a = inputs(model, x)
    starts = range(0, max(len(a), 1), batch_size)
    with evaluation(model):  # of copies, as a model may write into its input
        return np.concatenate([array_of(model(wrap(a[i : i + batch_size].copy()))) for i in starts])
