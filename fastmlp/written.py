"""Activations that the user writes: Python functions of one number, compiled when they are made."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, overload

import numpy as np

from fastmlp.kernels.contract import ACTIVATIONS, CUSTOM, Activation

from . import nn, ops
from .autograd import Tensor
from .checks import Chosen, kind, written
from .nn import Module
from .waiting import activation as activated

Function = Callable[[float], float]

#: where a derivative is compared with differences of its function
PLACES = np.concatenate([sign * np.geomspace(0.01, 30, 60) for sign in (-1, 1)])
STEP, TOLERANCE = 1e-5, 1e-5


class CustomActivation:
    """What `fastmlp.activation` makes of a function; take it, or its name, wherever the name of an activation is taken.

    saves: "y" or "z", what its derivative is computed from.
    """

    def __init__(self, function: Function, name: str, derivative: Function | None) -> None:
        self.function, self.__name__, self.__doc__ = function, name, function.__doc__
        self.__module__, self.__qualname__ = function.__module__, function.__qualname__
        self._learn(derivative)

    def _learn(self, derivative: Function | None) -> None:
        compiler = _compiler()
        value = compiler.checked(self.function, self.__name__)
        rate = None if derivative is None else compiler.checked(derivative, f"the derivative of {self.__name__}")
        custom = compiler.Functions(value, rate)
        saves = _agreeing(self.__name__, custom, ("z",) if derivative is None else ("y", "z"))
        self.chosen = Chosen(Activation(self.__name__, CUSTOM, saves, custom=custom), ())
        custom.owner = self
        written[self.__name__] = self.chosen

    def derivative(self, function: Function) -> CustomActivation:
        """Decorates the function that gives its derivative, of x or of y, whichever it is found to be right for."""
        self._learn(_of_one_number("derivative", function))
        return self

    def module(self) -> Module:
        """As a layer of a model."""
        return nn.Activation(self)

    @property
    def saves(self) -> str:
        return self.chosen.act.saves

    def __call__(self, x: Any) -> Any:
        """Of a tensor, an array or a number."""
        if isinstance(x, Tensor):
            return activated(x, self.chosen)
        return ops.activation(x, self.chosen) if isinstance(x, np.ndarray) else self.function(x)

    def __repr__(self) -> str:
        return f"<activation {self.__name__}>"

    def __reduce__(self) -> str:
        return self.__qualname__  # as functions are: by where they can be imported from


def _compiler() -> Any:
    try:
        from fastmlp.kernels.numba_scalars import compiled
    except ModuleNotFoundError as e:
        raise RuntimeError(f"activation: needs Numba: pip install fastmlp[numba] ({e})") from None
    return compiled


def _of_one_number(argument: str, function: Any) -> Function:
    if not inspect.isfunction(function):
        raise TypeError(f"{argument}: expected a Python function of one number, got {kind(function)}")
    needed = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    if len(needed) != 1 or needed[0].kind not in (needed[0].POSITIONAL_ONLY, needed[0].POSITIONAL_OR_KEYWORD):
        raise TypeError(
            f"{argument}: expected a function of one number, got {function.__name__}{inspect.signature(function)}"
        )
    return function


def _agreeing(name: str, custom: Any, candidates: tuple[str, ...]) -> str:
    """What of "y" and "z" the derivative is right for: it lies between the differences to the left and to the right."""
    step = STEP * np.maximum(1, np.abs(PLACES))
    left, at, right = (custom.forward(PLACES + d) for d in (-step, 0, step))
    with np.errstate(all="ignore"):
        low, high = np.sort([(at - left) / step, (right - at) / step], axis=0)
        room = TOLERANCE * (1 + np.abs(low) + np.abs(high)) + 8 * np.finfo(float).eps * np.abs(at) / step
        got = {saved: custom.derivative(at if saved == "y" else PLACES) for saved in candidates}
        usual = np.isfinite(low) & np.isfinite(high)
        bad = {saved: usual & ~((low - room <= d) & (d <= high + room)) for saved, d in got.items()}
    if not usual.any():
        raise ValueError(f"activation: {name} gives no finite numbers between {PLACES.min():g} and {PLACES.max():g}")
    for saved in candidates:
        if not bad[saved].any():
            return saved
    middle = (low + high) / 2
    i = np.where(bad["z"], np.nan_to_num(np.abs(got["z"] - middle) / (1 + np.abs(middle)), nan=np.inf), -1).argmax()
    of_y = f" and {got['y'][i]:.6g} for y" if "y" in got else ""
    raise ValueError(
        f"derivative: of {name} at x = {PLACES[i]:.4g}, y = {at[i]:.4g}: differences of the function give "
        f"{middle[i]:.6g}, the derivative gives {got['z'][i]:.6g} for x{of_y}"
    )


@overload
def activation(
    function: Function, *, name: str | None = None, derivative: Function | None = None
) -> CustomActivation: ...
@overload
def activation(
    function: None = None, *, name: str | None = None, derivative: Function | None = None
) -> Callable[[Function], CustomActivation]: ...
def activation(function: Any = None, *, name: str | None = None, derivative: Any = None) -> Any:
    """Decorates a Python function of one number: it becomes an activation, compiled and fused like the built-in ones.

    @fastmlp.activation
    def swish2(x):
        return x / (1 + math.exp(-2 * x))

    It may use Python's arithmetic, comparisons and conditions, the functions of `math`, abs, min and max, and other
    such functions. Numbers in it have the precision of the arrays. It is known by its name, or by `name`, from here on.

    derivative: a function of x, or of y, whichever it is found to be right for; also by `@swish2.derivative`. Without
    one, it is worked out: each operation carries its derivative along.

    Raises
    ------
    TypeError
        Numba cannot compile it, or it does not give a number.
    ValueError
        The name is taken, or the derivative is not that of the function; it says where.
    RuntimeError
        Numba is not installed.
    """
    if function is None:
        return lambda function: activation(function, name=name, derivative=derivative)
    _of_one_number("function", function)
    name = function.__name__ if name is None else name
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"name: expected an identifier such as 'swish2', got {name!r}")
    if name in ACTIVATIONS:
        raise ValueError(f"name: {name!r} is one of fastmlp's own activations")
    return CustomActivation(function, name, None if derivative is None else _of_one_number("derivative", derivative))
