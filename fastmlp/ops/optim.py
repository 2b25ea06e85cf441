"""One step of an optimizer, all parameters in one call, in place.

Every function takes lists with an array for each parameter: params, grads, and each kind of state; a kind that is not
kept is None. All arrays are float32, or all float64. params and state are written, so they must be C-contiguous and
writable; grads may have any strides. The arrays of one parameter have one shape and do not overlap. Names and formulas
are torch.optim's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastmlp.kernels.contract import KERNELS

from ..backend import active
from ..checks import Array, as_array, integer, number, output, same_shape
from .arrays import copy_back, updatable

Arrays = Sequence[Array]


def sgd(
    params: Arrays,
    grads: Arrays,
    momentum_buffers: Arrays | None = None,
    *,
    lr: float = 1e-3,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
    first: bool = False,
    backend: str | None = None,
) -> None:
    """Stochastic gradient descent, with momentum that of Sutskever et al. 2013.

    momentum_buffers: None if momentum is 0. first: they hold nothing yet; they begin with the gradient.
    """
    kernel = active(backend).sgd
    numbers = (lr, momentum, dampening, weight_decay)
    grads, numbers, written = _ready("sgd", grads, numbers, (params, momentum_buffers), 1)
    _check_buffers(momentum_buffers, momentum)
    kernel(grads, *numbers, nesterov, maximize, first, *written)


def adam(
    params: Arrays,
    grads: Arrays,
    exp_avgs: Arrays,
    exp_avg_sqs: Arrays,
    max_exp_avg_sqs: Arrays | None = None,
    *,
    step: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
    backend: str | None = None,
) -> None:
    """Adam (Kingma & Ba 2015); with decoupled_weight_decay AdamW (Loshchilov & Hutter 2019). State begins with zeros.

    step: 1 in the first call. max_exp_avg_sqs: for AMSGrad (Reddi et al. 2018).
    """
    kernel = active(backend).adam
    written = (params, exp_avgs, exp_avg_sqs, max_exp_avg_sqs)
    grads, numbers, written = _ready("adam", grads, (lr, beta1, beta2, eps, weight_decay), written, 3)
    _check_averages(beta1, beta2, step)
    kernel(grads, *numbers, decoupled_weight_decay, maximize, step, *written)


def rmsprop(
    params: Arrays,
    grads: Arrays,
    square_avgs: Arrays,
    grad_avgs: Arrays | None = None,
    momentum_buffers: Arrays | None = None,
    *,
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    maximize: bool = False,
    backend: str | None = None,
) -> None:
    """RMSprop (Hinton 2012). State begins with zeros.

    grad_avgs: for the centered one (Graves 2013). momentum_buffers: None if momentum is 0.
    """
    kernel = active(backend).rmsprop
    written = (params, square_avgs, grad_avgs, momentum_buffers)
    grads, numbers, written = _ready("rmsprop", grads, (lr, alpha, eps, weight_decay, momentum), written, 2)
    _check_buffers(momentum_buffers, momentum)
    kernel(grads, *numbers, maximize, *written)


def adagrad(
    params: Arrays,
    grads: Arrays,
    state_sums: Arrays,
    *,
    step: int,
    lr: float = 1e-2,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    eps: float = 1e-10,
    maximize: bool = False,
    backend: str | None = None,
) -> None:
    """Adagrad (Duchi et al. 2011).

    state_sums: of the squares; they begin with any numbers >= 0. step: 1 in the first call.
    """
    kernel = active(backend).adagrad
    grads, numbers, written = _ready("adagrad", grads, (lr, lr_decay, weight_decay, eps), (params, state_sums), 2)
    if not lr_decay >= 0:
        raise ValueError(f"lr_decay: expected a number >= 0, got {lr_decay}")
    _check_step(step)
    kernel(grads, *numbers, maximize, step, *written)


def adadelta(
    params: Arrays,
    grads: Arrays,
    square_avgs: Arrays,
    acc_deltas: Arrays,
    *,
    lr: float = 1.0,
    rho: float = 0.9,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    maximize: bool = False,
    backend: str | None = None,
) -> None:
    """Adadelta (Zeiler 2012). State begins with zeros."""
    kernel = active(backend).adadelta
    written = (params, square_avgs, acc_deltas)
    grads, numbers, written = _ready("adadelta", grads, (lr, rho, eps, weight_decay), written, 3)
    kernel(grads, *numbers, maximize, *written)


def nadam(
    params: Arrays,
    grads: Arrays,
    exp_avgs: Arrays,
    exp_avg_sqs: Arrays,
    *,
    step: int,
    mu_product: float = 1.0,
    lr: float = 2e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum_decay: float = 4e-3,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
    backend: str | None = None,
) -> float:
    """NAdam (Dozat 2016). State begins with zeros. -> the mu_product for the next call

    step: 1 in the first call. mu_product: 1 in the first call, then what the last one returned.
    """
    kernel = active(backend).nadam
    written = (params, exp_avgs, exp_avg_sqs)
    grads, numbers, written = _ready("nadam", grads, (lr, beta1, beta2, eps, weight_decay), written, 3)
    _check_averages(beta1, beta2, step)
    decay, product = number("momentum_decay", momentum_decay), number("mu_product", mu_product)
    for name, value in (("momentum_decay", decay), ("mu_product", product)):
        if not value >= 0:
            raise ValueError(f"{name}: expected a number >= 0, got {value}")
    mu, mu_next = (beta1 * (1 - 0.5 * 0.96 ** (t * decay)) for t in (step, step + 1))
    product *= mu
    kernel(grads, *numbers, decoupled_weight_decay, maximize, step, mu, mu_next, product, *written)
    return product


def radam(
    params: Arrays,
    grads: Arrays,
    exp_avgs: Arrays,
    exp_avg_sqs: Arrays,
    *,
    step: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
    backend: str | None = None,
) -> None:
    """RAdam (Liu et al. 2020). State begins with zeros. step: 1 in the first call."""
    kernel = active(backend).radam
    written = (params, exp_avgs, exp_avg_sqs)
    grads, numbers, written = _ready("radam", grads, (lr, beta1, beta2, eps, weight_decay), written, 3)
    _check_averages(beta1, beta2, step)
    kernel(grads, *numbers, decoupled_weight_decay, maximize, step, *written)


def clip_norm(grads: Arrays, max_norm: float, *, backend: str | None = None) -> Any:
    """The gradients multiplied, in place, by what makes their norm no more than max_norm. -> that norm as it was

    grads: arrays of one dtype, float32 or float64, that do not overlap. The norm is √Σ g² over all of them, of their
    dtype; if it is NaN, so are they then. max_norm: inf leaves them as they are.
    """
    kernel, limit = active(backend).clip_norm, number("max_norm", max_norm)
    grads, written = _clipped(grads, limit == np.inf)
    norm = np.empty(1, written[0].dtype if written else np.float32)
    kernel(limit, written, norm)
    copy_back(grads, written)
    return norm[0]


def clip_value(grads: Arrays, limit: float, *, backend: str | None = None) -> None:
    """Every number g of the gradients becomes min(max(g, -limit), limit), in place; NaN stays."""
    kernel, limit = active(backend).clip_value, number("limit", limit)
    grads, written = _clipped(grads, False)
    kernel(limit, written)
    copy_back(grads, written)


# --------------------------------------------------------------------------------------------- the checks


def _clipped(grads: Any, only_read: bool) -> tuple[Any, Any]:
    """-> the gradients, and C-contiguous ones, themselves or copies; both are the same list if they are not written."""
    grads = _listed("grads", grads)
    dtype = _float_type("grads[0]", grads[0]) if grads else None
    for i, g in enumerate(grads):
        name = f"grads[{i}]"
        if _float_type(name, g) != dtype:
            raise TypeError(f"{name}: expected {dtype} as grads[0] is, got {g.dtype}")
        if not only_read:
            output(g, g.shape, dtype, (), name)
    plain = [np.require(g, dtype, ["C", "A"]) for g in grads]
    return (plain if only_read else grads), plain


def _ready(kernel: str, grads: Any, numbers: Any, written: Any, required: int) -> tuple[Any, Any, Any]:
    """The arguments as the kernel takes them, numbers and `written` in the order of the contract.

    written: params, then each kind of state; only the first `required` of them may not be None.
    """
    lists = updatable(grads, numbers, written, required)
    if lists is not None:
        return lists[0], numbers, lists[1:]
    names = KERNELS[kernel]
    numbers = tuple([number(name, value) for name, value in zip(names[1:], numbers)])
    named = {"grads": _listed("grads", grads)}
    for i, (name, given) in enumerate(zip(names[names.index("params") :], written)):
        named[name] = None if given is None and i >= required else _listed(name, given)
    count = len(named["params"])
    for name, arrays in named.items():
        if arrays is not None and len(arrays) != count:
            raise ValueError(f"{name}: expected {count} arrays, as params has, got {len(arrays)}")
    dtype = _float_type("params[0]", named["params"][0]) if count else None
    for i in range(count):
        _check_parameter(named, i, dtype)
    grads, *written = named.values()
    return grads, numbers, written


def _listed(name: str, given: Any) -> Any:
    if isinstance(given, (np.ndarray, str, bytes)) or not hasattr(given, "__iter__"):
        raise TypeError(f"{name}: expected a list of arrays, got {type(given).__name__}")
    return list(given)


def _float_type(name: str, a: Any) -> Any:
    if not isinstance(a, np.ndarray):
        raise TypeError(f"{name}: expected an ndarray, got {type(a).__name__}")
    if a.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: expected float32 or float64, got {a.dtype}")
    return a.dtype


def _check_parameter(lists: dict[str, Any], i: int, dtype: Any) -> None:
    """The arrays of parameter i; its gradient becomes C-contiguous in the list, others must be."""
    name, shape = f"grads[{i}]", np.shape(lists["params"][i])
    grad = as_array(name, lists["grads"][i])
    if grad.dtype != dtype:
        raise TypeError(f"{name}: expected {dtype.name} as params[0] is, got {grad.dtype}")
    same_shape(name, grad, shape)
    others = [grad]
    for kind, arrays in lists.items():
        if kind != "grads" and arrays is not None:
            name = f"{kind}[{i}]"
            a = output(arrays[i], shape, dtype, tuple(others), name)
            if not a.flags.carray:
                raise ValueError(f"{name}: expected a C-contiguous, aligned array, got strides {a.strides}")
            others.append(a)
    lists["grads"][i] = np.require(grad, dtype, ["C", "A"])


def _check_buffers(momentum_buffers: Any, momentum: float) -> None:
    if (momentum_buffers is None) != (momentum == 0):
        expected = "None, since momentum is 0" if momentum == 0 else f"arrays, since momentum is {momentum}"
        raise ValueError(f"momentum_buffers: expected {expected}")


def _check_averages(beta1: float, beta2: float, step: int) -> None:
    if not (0 <= beta1 < 1 and 0 <= beta2 < 1):
        name, value = ("beta2", beta2) if 0 <= beta1 < 1 else ("beta1", beta1)
        raise ValueError(f"{name}: expected a number >= 0 and < 1, got {value}")
    _check_step(step)


def _check_step(step: int) -> None:
    if type(step) is not int:
        integer("step", step)
    if step < 1:
        raise ValueError(f"step: expected 1 or more, got {step}")
