"""How good predictions are: functions (prediction, target) -> float of arrays.

A metric is any such callable; `NAMED` has those that go by a name. They are computed in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import numpy as np

from . import checks
from .checks import Array

Metric = Callable[[Any, Any], float]


def accuracy(prediction: Any, target: Any) -> float:
    """The share of right classes.

    Parameters
    ----------
    prediction : (..., classes) logits or probabilities: the class is that of the largest, the first of equals.
        Or one column (m, 1) or (m,) of probabilities: class 1 from 0.5 on, as in `binary_accuracy`.
        Or classes, integers of the target's shape.
    target : (...) integer classes; or (..., classes) probabilities, such as one-hot rows. For one column 0s and 1s, of
        its shape or without its axis.

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit, for no samples at all, and for one column beyond 0..1: that is of logits, whose
        threshold is 0.

    Examples
    --------
    >>> accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    """
    p, t = _arrays(prediction, target)
    if p.dtype.kind in "iub" and p.shape == t.shape:
        return float(np.mean(p == t))
    if p.ndim < 2 or p.shape[-1] == 1:
        if p.size and not (p.min() >= 0 and p.max() <= 1):
            raise ValueError(
                f"prediction: expected one column of probabilities, got values from {p.min():.3g} to {p.max():.3g}; "
                "for logits take binary_accuracy with threshold=0"
            )
        return binary_accuracy(p, t)
    if t.dtype.kind == "f" and t.shape == p.shape:
        t = t.argmax(axis=-1)
    _classes_fit(p, t)
    return float(np.mean(p.argmax(axis=-1) == t))


def binary_accuracy(prediction: Any, target: Any, threshold: float = 0.5) -> float:
    """The share of numbers on the right side: class 1 is from `threshold` on. For logits the threshold is 0.

    Parameters
    ----------
    prediction : (...) or (..., 1) numbers
    target : 0s and 1s of that shape, with or without a last axis of 1
    threshold : where class 1 begins

    Raises
    ------
    ValueError
        For other shapes, no samples at all, and for targets that are neither 0 nor 1.

    Examples
    --------
    >>> binary_accuracy([0.2, 0.5, 0.9], [0, 1, 0])
    0.6666666666666666
    """
    p, t = _arrays(prediction, target)
    if p.ndim == t.ndim + 1 and p.shape[-1] == 1:
        p = p[..., 0]
    if t.ndim == p.ndim + 1 and t.shape[-1] == 1:
        t = t[..., 0]
    _same_shape(p, t)
    if not ((t == 0) | (t == 1)).all():
        raise ValueError(f"target: expected 0s and 1s, got values from {t.min()} to {t.max()}")
    return float(np.mean((p >= threshold) == t))


def top_k_accuracy(prediction: Any, target: Any, k: int = 5) -> float:
    """The share of samples whose class is among the k largest. Of equals the first counts as larger.

    Parameters
    ----------
    prediction : (..., classes) numbers, at least k classes
    target : (...) integer classes
    k : how many may be tried

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit, for no samples at all, or a k that is not within 1..classes.

    Examples
    --------
    >>> top_k_accuracy([[0.1, 0.6, 0.3], [0.7, 0.1, 0.2]], [2, 1], k=2)
    0.5
    """
    p, t = _arrays(prediction, target)
    _classes_fit(p, t)
    if not 1 <= checks.integer("k", k) <= p.shape[-1]:
        raise ValueError(f"k: expected an int within 1..{p.shape[-1]}, the number of classes, got {k}")
    best = np.argsort(-p.astype(np.float64), axis=-1, kind="stable")[..., :k]
    return float(np.mean((best == t[..., None]).any(axis=-1)))


def mean_absolute_error(prediction: Any, target: Any) -> float:
    """mean |prediction - target|, of arrays of the same shape.

    Raises
    ------
    ValueError
        For different shapes: (m,) against (m, 1) would compare every sample with every other.

    Examples
    --------
    >>> mean_absolute_error([1.0, 2.0], [1.0, 4.0])
    1.0
    """
    return float(np.mean(np.abs(_difference(prediction, target))))


def mean_squared_error(prediction: Any, target: Any) -> float:
    """mean (prediction - target)², of arrays of the same shape.

    Raises
    ------
    ValueError
        For different shapes.

    Examples
    --------
    >>> mean_squared_error([1.0, 2.0], [1.0, 4.0])
    2.0
    """
    return float(np.mean(_difference(prediction, target) ** 2))


def r2_score(prediction: Any, target: Any) -> float:
    """1 - Σ (target - prediction)² / Σ (target - its mean)²: 1 at best, 0 for the mean. Of several outputs, their mean.

    A constant output counts 1 if it is met exactly, else 0, as in scikit-learn.

    Parameters
    ----------
    prediction, target : (m,) or (m, outputs), m >= 2

    Raises
    ------
    ValueError
        For other or different shapes.

    Examples
    --------
    >>> r2_score([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    0.7857142857142857
    """
    residual = _difference(prediction, target)
    if residual.ndim not in (1, 2) or len(residual) < 2:
        raise ValueError(f"prediction: expected shape (m,) or (m, outputs) with m >= 2, got {residual.shape}")
    truth = np.asarray(target, np.float64)
    left = (residual**2).sum(axis=0)
    whole = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    constant = whole == 0
    score = np.where(constant, left == 0, 1 - left / np.where(constant, 1, whole))
    return float(np.mean(score))


#: what `Trainer` finds by name
NAMED: dict[str, Metric] = {
    f.__name__: f
    for f in (accuracy, binary_accuracy, top_k_accuracy, mean_absolute_error, mean_squared_error, r2_score)
}


def find(metric: Any) -> Metric:
    """The metric of that name, or the callable itself. ValueError, TypeError for anything else."""
    if callable(metric):
        return metric
    if not isinstance(metric, str):
        raise TypeError(f"metrics: expected names or functions (prediction, target) -> float, got {metric!r}")
    if metric not in NAMED:
        near = get_close_matches(metric, NAMED, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"metrics: unknown {metric!r}; {hint}known are {', '.join(NAMED)}")
    return NAMED[metric]


def _arrays(prediction: Any, target: Any) -> tuple[Array, Array]:
    p, t = checks.as_array("prediction", prediction), checks.as_array("target", target)
    for name, a in (("prediction", p), ("target", t)):
        if a.dtype.kind not in "biuf":
            raise TypeError(f"{name}: expected numbers, got {a.dtype}")
        if a.size == 0:
            raise ValueError(f"{name}: expected at least one sample, got shape {a.shape}")
    return p, t


def _same_shape(p: Array, t: Array) -> None:
    if p.shape != t.shape:
        raise ValueError(f"target: expected shape {p.shape} as prediction has, got {t.shape}")


def _classes_fit(p: Array, t: Array) -> None:
    """p (..., classes), t (...) integers"""
    if t.dtype.kind not in "iu":
        raise TypeError(f"target: expected integer classes of shape {p.shape[:-1]}, got {t.dtype} of shape {t.shape}")
    if p.ndim == 0 or t.shape != p.shape[:-1]:
        raise ValueError(f"target: expected shape {p.shape[:-1]} to fit prediction {p.shape}, got {t.shape}")


def _difference(prediction: Any, target: Any) -> Array:
    p, t = _arrays(prediction, target)
    _same_shape(p, t)
    return p.astype(np.float64) - t
