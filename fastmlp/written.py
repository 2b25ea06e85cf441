"""Activations and losses that the user writes: Python functions of numbers, compiled when they are made."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from numbers import Real
from typing import Any, overload

import numpy as np

from fastmlp.kernels.contract import ACTIVATIONS, CUSTOM, CUSTOM_LOSS, LOSSES, Activation, Loss

from . import nn, ops
from .autograd import Tensor
from .checks import Array, Chosen, kind, written
from .nn import Module
from .nn.loss_functions import custom_loss
from .waiting import activation as activated

Function = Callable[..., float]

#: where a derivative that is given is compared with differences of its function; the targets of a loss there
PLACES = np.concatenate([-np.geomspace(1000, 1e-3, 100), [0], np.geomspace(1e-3, 1000, 100)])
TARGETS = np.array([-1, 0, 0.5, 1, 2])
STEP, TOLERANCE = 1e-5, 1e-5


class _Written:
    """A function, and its derivative if it is given."""

    what = "function"
    numbers = 1  # that it takes
    own: Any = ()  # names that are fastmlp's
    _custom: Any  # what it was compiled to

    def __init__(self, function: Function, name: str, derivative: Function | None) -> None:
        self.function, self.__name__, self.__doc__ = function, name, function.__doc__
        self.__module__ = function.__module__
        self.__qualname__ = function.__qualname__ if name == function.__name__ else name
        self._learn(derivative)

    def _learn(self, derivative: Function | None) -> None:
        """Compiles it, and checks the derivative, if one is given."""
        raise NotImplementedError

    def derivative(self, function: Function) -> Any:
        """Decorates the function that gives the derivative; it is compared with differences of the function itself."""
        self._learn(_function("derivative", function, self.numbers))
        return self

    @property
    def scalar(self) -> Any:
        """The function of float32 or float64, as Numba's own: for functions of yours under `numba.njit`, and for
        kernels under `numba.cuda.jit`. They know it by a name outside of them: `act = swish2.scalar`."""
        return self._custom.scalars[0]

    @property
    def scalar_derivative(self) -> Any:
        """Its derivative in the same way: of an activation, by what it `saves`; of a loss, by the prediction."""
        return self._custom.scalars[1]

    def __repr__(self) -> str:
        return f"<{self.what} {self.__name__}>"

    def __reduce__(self) -> str:
        return self.__qualname__  # as functions are: by where they can be imported from


class CustomActivation(_Written):
    """What `fastmlp.activation` makes of a function; take it, or its name, wherever the name of an activation is taken.

    saves: "y" or "z", what its derivative is computed from.
    """

    what, own = "activation", ACTIVATIONS

    def _learn(self, derivative: Function | None) -> None:
        custom = _compiler().Functions(self.function, derivative, self.__name__)
        custom.source = self, "chosen.act"
        if not np.isfinite(custom.forward(PLACES)).any():
            raise ValueError(f"activation: {self.__name__} gives no finite numbers")
        saves = "z" if derivative is None else _saved(self.__name__, custom, derivative)
        self._custom = custom
        self.chosen = Chosen(Activation(self.__name__, CUSTOM, saves, custom=custom), ())
        written[self.__name__] = self.chosen

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
        y: Any = ops.activation(x, self.chosen)
        return y.item() if isinstance(x, Real) else y


class CustomLoss(_Written):
    """What `fastmlp.loss` makes of a function; take it as a loss. `module` gives it with options."""

    what, own = "loss", LOSSES
    numbers = 2

    def _learn(self, derivative: Function | None) -> None:
        custom = _compiler().LossFunctions(self.function, derivative, self.__name__)
        custom.source = self, "kind"
        if not np.isfinite(custom.at(*_pairs())[0]).any():
            raise ValueError(f"loss: {self.__name__} gives no finite numbers")
        if derivative is not None:
            _check_slopes(self.__name__, custom)
        self._custom = custom
        self.kind = Loss(self.__name__, CUSTOM_LOSS, custom=custom)

    def module(self, weight: Any = None, reduction: str = "mean") -> Module:
        """As a module: each element's loss is multiplied by weight."""
        return nn.ElementwiseLoss(self, weight, reduction)

    def __call__(self, input: Any, target: Any, reduction: Any = "mean", weight: Any = None) -> Any:
        """Of tensors or of arrays. reduction: "mean" over the elements, "sum", or "none"."""
        if isinstance(input, Tensor):
            return custom_loss(self.kind, input, target, reduction, weight)
        return ops.custom_loss(self.kind, input, target, reduction, weight)[0]


def _compiler() -> Any:
    try:
        from fastmlp.kernels.numba_scalars import compiled
    except ModuleNotFoundError as e:
        raise RuntimeError(f"needs Numba, which is not installed: pip install numba ({e})") from None
    except ImportError as e:
        raise RuntimeError(f"needs Numba: {e}") from None
    return compiled


def _function(argument: str, function: Any, numbers: int) -> Function:
    """TypeError unless it is one of so many numbers."""
    expected = "one number" if numbers == 1 else "two numbers, (prediction, target)"
    if not inspect.isfunction(function):
        raise TypeError(f"{argument}: expected a Python function of {expected}, got {kind(function)}")
    parameters = inspect.signature(function).parameters.values()
    by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in parameters if p.default is p.empty]
    if len(needed) != numbers or needed != by_place[:numbers] or len(by_place) < len(parameters):
        got = f"{function.__name__}{inspect.signature(function)}"
        raise TypeError(f"{argument}: expected a function of {expected}, got {got}")
    return function


def _differences(values: Callable[[Array], Array], at: Array) -> tuple[Array, Array]:
    """Between which the derivative of the function lies that gives these values: differences to the left and to the
    right, with some room. NaN where they are not finite."""
    step = STEP * np.maximum(0.1, np.abs(at))
    left, y, right = (values(at + d) for d in (-step, 0, step))
    with np.errstate(all="ignore"):
        low, high = np.sort([(y - left) / step, (right - y) / step], axis=0)
        room = TOLERANCE * (1 + np.abs(low) + np.abs(high)) + 8 * np.finfo(float).eps * np.abs(y) / step
        low, high = low - room, high + room
    return low, np.where(np.isfinite(low), high, np.nan)


def _wrong(slopes: Array, low: Array, high: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.isfinite(high) & ~((low <= slopes) & (slopes <= high))


def _worst(slopes: Array, low: Array, high: Array) -> tuple[int, float]:
    """Where it is most wrong, and what it should be there."""
    middle = (low + high) / 2
    with np.errstate(all="ignore"):
        off = np.nan_to_num(np.abs(slopes - middle) / (1 + np.abs(middle)), nan=np.inf)
    at = int(np.where(_wrong(slopes, low, high), off, -1).argmax())
    return at, middle[at]


def _saved(name: str, custom: Any, derivative: Function) -> str:
    """What of "y" and "z" the derivative is right for: where it is for both, what its parameter is called."""
    low, high = _differences(custom.forward, PLACES)
    y = custom.forward(PLACES)
    of_y, of_z = custom.derivative(y), custom.derivative(PLACES)
    for saved in "yz" if next(iter(inspect.signature(derivative).parameters)) == "y" else "zy":
        if not _wrong(of_y if saved == "y" else of_z, low, high).any():
            return saved
    i, right = _worst(of_z, low, high)
    raise ValueError(
        f"derivative: of {name} at x = {PLACES[i]:.4g}, y = {y[i]:.4g}: differences of the function give {right:.6g}, "
        f"the derivative gives {of_z[i]:.6g} for x and {of_y[i]:.6g} for y"
    )


def _pairs() -> tuple[Array, Array]:
    """Predictions and targets."""
    x, t = np.meshgrid(PLACES, TARGETS)
    return x.ravel(), t.ravel()


def _check_slopes(name: str, custom: Any) -> None:
    """ValueError unless the derivative by the prediction is right, for some targets."""
    x, t = _pairs()
    low, high = _differences(lambda x: custom.at(x, t)[0], x)
    slopes = custom.at(x, t)[1]
    if _wrong(slopes, low, high).any():
        i, right = _worst(slopes, low, high)
        raise ValueError(
            f"derivative: of {name} at prediction = {x[i]:.4g}, target = {t[i]:g}: differences of the function give "
            f"{right:.6g}, the derivative gives {slopes[i]:.6g}"
        )


def _made(made: type[_Written], plural: str, function: Any, name: str | None, derivative: Any) -> Any:
    """What the decorators give; of no function, a decorator."""
    if function is None:
        return lambda function: _made(made, plural, function, name, derivative)
    _function("function", function, made.numbers)
    name = function.__name__ if name is None else name
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"name: expected an identifier such as 'swish2', got {name!r}; name= gives another")
    if name in made.own:
        raise ValueError(f"name: {name!r} is one of fastmlp's own {plural}")
    return made(function, name, None if derivative is None else _function("derivative", derivative, made.numbers))


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

    It may use Python's arithmetic, comparisons, conditions and loops, most functions of `math` (not gamma, lgamma and
    those of whole numbers), their equals of NumPy, abs, min, max, round and int, and other such functions. It may not
    raise exceptions, nor call itself. Numbers in it have the precision of the arrays; subnormal ones may count as 0.
    What it reads from around it is what that is now. It is known by its name, or by `name`, from here on.

    derivative: a function of x, or of y, whichever it is found to be right for, at some 200 places; where it is for
    both, of y if that is its parameter's name. Also by `@swish2.derivative`. Without one, it is worked out: each
    operation carries its derivative along.

    Raises
    ------
    TypeError
        Numba cannot compile it, or it does not give a number.
    ValueError
        The name is taken, or the derivative is not that of the function; it says where.
    RuntimeError
        Numba is not installed.
    """
    return _made(CustomActivation, "activations", function, name, derivative)


@overload
def loss(function: Function, *, name: str | None = None, derivative: Function | None = None) -> CustomLoss: ...
@overload
def loss(
    function: None = None, *, name: str | None = None, derivative: Function | None = None
) -> Callable[[Function], CustomLoss]: ...
def loss(function: Any = None, *, name: str | None = None, derivative: Any = None) -> Any:
    """Decorates a Python function of two numbers, prediction and target: it becomes a loss, compiled, with its gradient
    in the same pass.

    @fastmlp.loss
    def log_cosh(prediction, target):
        return math.log(math.cosh(prediction - target))

    It may use what `fastmlp.activation` says. The loss of a batch is the mean over all elements; prediction and target
    have one shape. Take it where a loss is taken, in training loops, `Trainer` and `compile`; `log_cosh.module(weight,
    reduction)` gives it with options.

    derivative: a function of prediction and target, that by the prediction; also by `@log_cosh.derivative`. Without
    one, it is worked out.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As `fastmlp.activation`.
    """
    return _made(CustomLoss, "losses", function, name, derivative)
