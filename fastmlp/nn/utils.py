"""Gradients clipped, by their norm or one by one, with the names and semantics of torch.nn.utils."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import ops
from ..autograd import Tensor
from ..checks import Array, number
from ..tape import array_of, before_write, wrap

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
Tensors = Tensor | Iterable[Tensor]


def _listed(name: str, tensors: Any) -> list[Tensor]:
    listed = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    for t in listed:
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}: expected tensors, got {type(t).__name__}")
    return listed


def _gradients(parameters: Tensors) -> list[Tensor]:
    return [p.grad for p in _listed("parameters", parameters) if p.grad is not None]


@np.errstate(all="ignore")
def get_total_norm(tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False) -> Tensor:
    """The norm of all numbers in the tensors, as if they were one vector. -> a tensor of one number

    norm_type: which p-norm; inf: the largest absolute value.
    error_if_nonfinite: RuntimeError if it is inf or NaN.
    """
    p = number("norm_type", norm_type)
    arrays = [array_of(t) for t in _listed("tensors", tensors)]
    if p == 2 and _are_alike(arrays):
        total = ops.clip_norm(arrays, np.inf)
        _check_finite(total, p, error_if_nonfinite)
        return wrap(np.asarray(total))
    norms = np.array([np.linalg.norm(a.reshape(-1), p) for a in arrays if a.size], np.result_type(np.float32, *arrays))
    total = np.linalg.norm(norms, p) if norms.size else norms.dtype.type(0)
    _check_finite(total, p, error_if_nonfinite)
    return wrap(np.asarray(total, norms.dtype))


def _are_alike(arrays: list[Array]) -> bool:
    """Are there gradients, all of one dtype that kernels take, each in memory of its own?"""
    return len({id(a) for a in arrays}) == len(arrays) > 0 and {a.dtype for a in arrays} in ({F32}, {F64})


def _check_finite(total: Any, p: float, error_if_nonfinite: bool) -> None:
    if error_if_nonfinite and not np.isfinite(total):
        raise RuntimeError(
            f"error_if_nonfinite: the total norm of order {p} is {total}, so that gradients cannot be clipped by it"
        )


@np.errstate(all="ignore")
def clip_grad_norm_(
    parameters: Tensors, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Multiply all gradients by what makes their total norm no more than max_norm. -> that norm as it was before

    norm_type, error_if_nonfinite: as in `get_total_norm`.
    """
    limit = number("max_norm", max_norm)
    grads = _gradients(parameters)
    arrays = [array_of(g) for g in grads]
    if norm_type == 2 and limit != np.inf and not error_if_nonfinite and _are_alike(arrays):
        before_write(grads)
        return wrap(np.asarray(ops.clip_norm(arrays, limit)))
    total = get_total_norm(grads, norm_type, error_if_nonfinite)
    share = limit / (array_of(total)[()] + 1e-6)
    if not share >= 1:  # so that NaN shows
        before_write(grads)
        for g in grads:
            g._data *= share
    return total


def clip_grad_value_(parameters: Tensors, clip_value: float) -> None:
    """Clip every number of every gradient to -clip_value .. clip_value."""
    limit = number("clip_value", clip_value)
    grads = _gradients(parameters)
    before_write(grads)
    arrays = [array_of(g) for g in grads]
    if _are_alike(arrays):
        return ops.clip_value(arrays, limit)
    for g in grads:
        np.clip(g._data, -limit, limit, out=g._data)
