"""Cases of the optimizers: lists of arrays, read and updated in place."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from ..contract import FLOATS, KERNELS
from .draw import EDGES, Case, Draw, Shape, between_gaps, case_of, special_values

_ADAM = {"lr": 0.03, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.0}
_ADAM |= {"decoupled_weight_decay": False, "maximize": False, "step": 3}
#: kernel -> every argument but the arrays
NUMBERS: dict[str, dict[str, Any]] = {
    "sgd": {
        **{"lr": 0.1, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0},
        **{"nesterov": False, "maximize": False, "first": False},
    },
    "adam": _ADAM,
    "rmsprop": {"lr": 0.01, "alpha": 0.95, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.0, "maximize": False},
    "adagrad": {"lr": 0.01, "lr_decay": 0.0, "weight_decay": 0.0, "eps": 1e-10, "maximize": False, "step": 3},
    "adadelta": {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0, "maximize": False},
    "nadam": {**_ADAM, "mu": 0.46, "mu_next": 0.47, "mu_product": 0.1},
    "radam": {**_ADAM, "step": 40},
}
#: state that is an average of gradients; every other one is of their squares
AVERAGES = ("exp_avgs", "grad_avgs", "momentum_buffers")

SHAPES = ((3, 5), (), (0,), (1,), (17,), (64, 3), (1, 33), (2, 0, 3), (129,))
DECAYS = ("adam", "nadam", "radam")


def update(
    kernel: str, shapes: tuple[Shape, ...] = SHAPES, dtype: str = "float32", *,
    amsgrad: bool = False, centered: bool = False, special: bool = False, **numbers: Any,
) -> Case:  # fmt: skip
    """One step of an optimizer. numbers: what differs from NUMBERS. `special`: NaN, inf and others among the gradients,
    but no finite ones whose squares overflow."""
    scalars = NUMBERS[kernel] | numbers
    kept = {"momentum_buffers": scalars.get("momentum"), "grad_avgs": centered, "max_exp_avg_sqs": amsgrad}
    written = KERNELS[kernel][KERNELS[kernel].index("params") :]
    outputs = {name: list(shapes) if kept.get(name, True) else None for name in written}

    def draw(random: Draw) -> dict[str, Any]:
        grads = [random.normal(shape) for shape in shapes]
        if special:
            values = special_values(dtype)
            with np.errstate(invalid="ignore"):
                values = values[~np.isfinite(values) | (np.abs(values) < 1e6)]
            grads = [between_gaps(np.resize(random.rng.permutation(values), g.shape)) for g in grads]
        return {"grads": grads, **scalars}

    def start(random: Draw) -> dict[str, Any]:
        """Squares are no less than those of the averages; some of both are 0, as they are at first."""
        arrays: dict[str, Any] = {name: None if shape is None else [] for name, shape in outputs.items()}
        for shape in shapes:
            average = random.normal(shape, 0.3) * (random.rng.random(shape) < 0.9)
            for name in written:
                if name == "params":
                    arrays[name].append(random.normal(shape))
                elif arrays[name] is not None:
                    spread = np.abs(random.normal(shape)) * (average != 0)
                    a = average if name in AVERAGES else average * average + spread
                    arrays[name].append(between_gaps(np.asarray(a, dtype)))
        return arrays

    sizes = tuple("x".join(map(str, shape)) or "scalar" for shape in shapes)
    options = {"shapes": sizes if shapes != SHAPES else ""}
    options |= {"amsgrad": amsgrad, "centered": centered, "special": special}
    options |= {name: name if value is True else f"{name}{value}" for name, value in numbers.items()}
    return case_of(kernel, (len(shapes),), dtype, options, draw, outputs, start)


def clip(
    kernel: str, shapes: tuple[Shape, ...] = SHAPES, dtype: str = "float32", *, limit: float, special: bool = False
) -> Case:
    """Gradients clipped by their norm, or each number. `special`: NaN, inf and others among them."""
    outputs = {"grads": list(shapes)} | ({"norm": (1,)} if kernel == "clip_norm" else {})

    def start(random: Draw) -> dict[str, Any]:
        grads = [random.normal(shape) for shape in shapes]
        if special:
            grads = [random.spoiled(g, g.size // 9) if g.size else g for g in grads]
        return {"grads": grads, "norm": random.normal((1,))} if kernel == "clip_norm" else {"grads": grads}

    sizes = tuple("x".join(map(str, shape)) or "scalar" for shape in shapes)
    options = {"shapes": sizes if shapes != SHAPES else "", "limit": f"limit{limit}", "special": special}
    given = {KERNELS[kernel][0]: limit}
    return case_of(kernel, (len(shapes),), dtype, options, lambda random: given, outputs, start)


def clip_cases() -> Iterator[Case]:
    for kernel, dtype, limit in product(("clip_norm", "clip_value"), FLOATS, (0.25, 1e6, float("inf"))):
        yield clip(kernel, dtype=dtype, limit=limit)
        yield clip(kernel, (), dtype, limit=limit)
        yield clip(kernel, tuple((e,) for e in EDGES), dtype, limit=limit)
        yield clip(kernel, ((20_000,), (3,), (8191, 2)), dtype, limit=limit)
    for dtype in FLOATS:
        yield clip("clip_value", ((1000,), (128,)), dtype, limit=2.0, special=True)


def optim_cases() -> Iterator[Case]:
    yield from clip_cases()
    kernels = tuple(NUMBERS)
    for kernel, dtype in product(kernels, FLOATS):
        yield update(kernel, dtype=dtype)
        yield update(kernel, tuple((e,) for e in EDGES), dtype, weight_decay=0.1, maximize=True)
        yield update(kernel, ((1000,), (128,)), dtype, special=True)
        yield update(kernel, (), dtype)
        yield update(kernel, ((20_000,), (3,), (8191, 2)), dtype)
    for dtype, nesterov, first in product(FLOATS, (False, True), (False, True)):
        yield update("sgd", dtype=dtype, momentum=0.9, nesterov=nesterov, first=first, weight_decay=0.01)
        yield update("sgd", dtype=dtype, momentum=0.9, dampening=0.3, first=first, maximize=True)
    for dtype, kernel, step in product(FLOATS, DECAYS, (1, 2, 1000)):
        yield update(kernel, dtype=dtype, step=step)
        yield update(kernel, dtype=dtype, step=step, decoupled_weight_decay=True, weight_decay=0.1)
        yield update(kernel, dtype=dtype, step=step, beta1=0.3, beta2=0.5)
    for dtype, step in product(FLOATS, (5, 6)):
        yield update("radam", dtype=dtype, step=step)  # just before and just after its variance is known
    for dtype, special in product(FLOATS, (False, True)):
        yield update("adam", dtype=dtype, amsgrad=True, special=special)
        yield update("rmsprop", dtype=dtype, centered=True, special=special)
        yield update("rmsprop", dtype=dtype, momentum=0.9, special=special)
        yield update("rmsprop", dtype=dtype, centered=True, momentum=0.9, weight_decay=0.01, special=special)
        yield update("adagrad", dtype=dtype, lr_decay=0.1, step=10, special=special)
