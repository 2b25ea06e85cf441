"""Pictures by matplotlib, which is imported with the first. Each is a Figure of its own, drawn without a screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks
from .autograd import Tensor
from .checks import Array
from .nn import Activation, Module
from .nn import functional as F
from .tape import array_of, wrap
from .train import History, predict
from .train.inference import numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def activation(
    function: str | Callable[[Tensor], Tensor], low: float = -5, high: float = 5, path: Any = None
) -> Figure:
    """An activation beside its derivative, which the tape gives.

    Parameters
    ----------
    function : a name of `nn.functional`, such as "relu" or "gelu", or of an activation that `fastmlp.activation` made,
        a module, or any function of a Tensor
    low, high : from where to where
    path : also save it there

    Raises
    ------
    ValueError, TypeError
        For an unknown name, an empty range, and for what is no function.

    Examples
    --------
    >>> activation("gelu", path="gelu.png")  # doctest: +SKIP
    """
    f, name = _function(function)
    if not checks.number("low", low) < checks.number("high", high):
        raise ValueError(f"high: expected a number above low = {low}, got {high}")
    x = wrap(np.linspace(low, high, 1001)).requires_grad_()
    y = f(x)
    y.sum().backward()
    derivative = np.zeros(1001) if x.grad is None else array_of(x.grad)
    figure, (left, right) = _figure(1, 2)
    for axes, values, label in ((left, array_of(y), name), (right, derivative, f"derivative of {name}")):
        axes.axhline(0, color="0.8", linewidth=0.8)
        axes.axvline(0, color="0.8", linewidth=0.8)
        axes.plot(array_of(x), values, label=label)
        axes.set_title(label)
        axes.set_xlabel("x")
    return _saved(figure, path)


def history(history: History, path: Any = None) -> Figure:
    """The curves of a training, over the epochs: the loss, and each metric, beside what validation says.

    The learning rate is drawn where it changed. Few epochs are drawn as points, too.

    Parameters
    ----------
    history : what `Trainer.fit` returned
    path : also save it there

    Raises
    ------
    TypeError, ValueError
        If it is none, or has no epoch.
    """
    if not isinstance(history, History):
        raise TypeError(f"history: expected a History, got {type(history).__name__}")
    if not history.epochs:
        raise ValueError("history: has no finished epoch")
    names = [name for name in history.history if not name.startswith("val_")]
    if len(set(history.history.get("lr", ()))) == 1:
        names.remove("lr")
    marker = "o" if len(history.epochs) < 10 else None  # of one epoch there is no line
    figure, all_axes = _figure(1, len(names))
    for axes, name in zip(all_axes, names):
        for label in (name, f"val_{name}"):
            if label in history.history:
                axes.plot(history.epochs, history.history[label], marker=marker, label=label)
        axes.set_title(name)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        if len(axes.lines) > 1:
            axes.legend()
    return _saved(figure, path)


def decision_boundary(
    model: Module, x: Any, y: Any, points: int = 200, path: Any = None, axes: Axes | None = None
) -> Figure:
    """What a classifier of two inputs says everywhere around the samples, and the samples.

    Parameters
    ----------
    model : (m, 2) -> (m, classes) logits or probabilities, whose largest counts; or (m, 1), drawn as it is, with a
        line at 0.5, or at 0 if it goes below 0 or above 1, as logits do
    x, y : samples (m, 2) and integer classes (m,) or (m, 1)
    points : of the grid, along each axis
    path : also save it there
    axes : of matplotlib, to draw there; the figure is then the one that they belong to

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit.
    """
    samples, classes = numbers("x", x), numbers("y", y)
    if samples.ndim != 2 or samples.shape[1] != 2 or len(samples) == 0:
        raise ValueError(f"x: expected shape (m, 2) with m >= 1, got {samples.shape}")
    if classes.size != len(samples):
        raise ValueError(f"y: expected {len(samples)} classes as x has rows, got shape {classes.shape}")
    if checks.integer("points", points) < 2:
        raise ValueError(f"points: expected an int >= 2, got {points}")
    first, second = (_around(column, points) for column in samples.T)
    grid = np.stack(np.meshgrid(first, second), axis=-1)  # (points, points, 2)
    scores = _answers(model, grid.reshape(-1, 2))
    if axes is None:
        _, (axes,) = _figure(1, 1)
    figure: Any = axes.get_figure()
    if scores.shape[1] == 1:
        low, high = (0.0, 1.0) if scores.min() >= 0 and scores.max() <= 1 else _symmetric(scores)
        level, heights = (low + high) / 2, scores.reshape(points, points)
        # the boundary is where the colours meet, white
        levels = np.linspace(low, high, 21)
        drawn = axes.contourf(first, second, heights, levels, cmap="RdBu_r", alpha=0.6, antialiased=True)
        if heights.min() < level < heights.max():
            axes.contour(first, second, heights, levels=[level], colors="black", linewidths=1)
        figure.colorbar(drawn, ax=axes, ticks=np.linspace(low, high, 5))
        colors = ["C0", "C3"]  # blue and red, as the scale has them
    else:
        regions = scores.argmax(axis=1).reshape(points, points)
        colors = [f"C{i}" for i in range(scores.shape[1])]
        axes.contourf(first, second, regions, levels=np.arange(len(colors) + 1) - 0.5, colors=colors, alpha=0.3)
    size = np.clip(1000 / len(samples), 12, 80)  # few are drawn larger
    for label in np.unique(classes):
        inside, color = samples[classes.ravel() == label].T, colors[int(label) % len(colors)]
        axes.scatter(inside[0], inside[1], s=size, color=color, edgecolors="white", linewidths=0.5, label=f"{label:g}")
    axes.legend(title="class")
    return _saved(figure, path)


def weights(model: Module, path: Any = None) -> Figure:
    """A histogram of each weight: every parameter but the biases.

    Raises
    ------
    ValueError
        If there is nothing to draw.
    """
    named = [(name, array_of(p)) for name, p in _matrices(model)]
    return _saved(_histograms(named, "model: has no weights"), path)


def gradients(model: Module, path: Any = None) -> Figure:
    """A histogram of each weight's gradient, as the last `backward()` left it.

    Raises
    ------
    ValueError
        If there are none.
    """
    named = [(name, array_of(p.grad)) for name, p in _matrices(model) if p.grad is not None]
    return _saved(_histograms(named, "model: has no gradients; call backward() first"), path)


# ------------------------------------------------------------------------------------------------ helpers


def _figure(rows: int, columns: int) -> tuple[Figure, list[Any]]:
    """-> a bare Figure, which needs neither pyplot nor a screen, and its axes"""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("fastmlp.plots needs matplotlib: pip install matplotlib") from None
    figure = Figure(figsize=(4.5 * columns, 3.5 * rows), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _saved(figure: Figure, path: Any) -> Figure:
    if path is not None:
        figure.savefig(path)
    return figure


def _function(function: Any) -> tuple[Callable[[Tensor], Tensor], str]:
    """-> the function, and what it is called"""
    if isinstance(function, str):
        if function in checks.written:
            return Activation(function), function
        found = getattr(F, function, None)
        if getattr(found, "__module__", None) != F.__name__ or not callable(found):
            raise ValueError(f"function: {function!r} is no function of fastmlp.nn.functional")
        return found, function
    if not callable(function):
        raise TypeError(f"function: expected a name or a function of a Tensor, got {type(function).__name__}")
    return function, getattr(function, "__name__", None) or repr(function)


def _around(column: Array, points: int) -> Array:
    """`points` numbers over the range of the column, and a little beyond."""
    low, high = float(column.min()), float(column.max())
    margin = 0.1 * (high - low) or 1.0
    return np.linspace(low - margin, high + margin, points)


def _symmetric(scores: Array) -> tuple[float, float]:
    """A range about 0 that holds all of them."""
    most = float(np.abs(scores).max())
    return -most, most


def _answers(model: Module, x: Array) -> Array:
    """(m, 2) -> (m, outputs), in evaluation mode"""
    scores = predict(model, x, len(x))
    if scores.ndim == 1:
        scores = scores[:, None]
    if scores.ndim != 2 or len(scores) != len(x):
        raise ValueError(f"model: expected outputs of shape ({len(x)}, classes), got {scores.shape}")
    return scores


def _matrices(model: Module) -> list[tuple[str, Any]]:
    if not isinstance(model, Module):
        raise TypeError(f"model: expected a Module, got {type(model).__name__}")
    return [(name, p) for name, p in model.named_parameters() if not name.endswith("bias")]


def _histograms(named: list[tuple[str, Array]], otherwise: str) -> Figure:
    if not named:
        raise ValueError(otherwise)
    columns = min(len(named), 4)
    figure, all_axes = _figure(-(-len(named) // columns), columns)
    for axes, (name, a) in zip(all_axes, named):
        axes.hist(a[np.isfinite(a)], bins=50)
        axes.set_title(name)
        axes.set_xlabel(f"mean {a.mean():.2g}, standard deviation {a.std():.2g}")
    for axes in all_axes[len(named) :]:
        axes.set_visible(False)
    return figure
