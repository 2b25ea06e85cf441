"""Cases of the activations alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from ..contract import ACTIVATIONS, FLOATS
from .draw import EDGES, Case, Draw, Params, Shape, between_gaps, case_of, special_values

#: parameters other than the defaults
OTHER_PARAMS = {
    "leaky_relu": ((0.3,), (0.0,)),
    "elu": ((1.5,), (0.0,)),
    "softplus": ((2.0, 20.0), (0.75, 4.0)),
    "celu": ((1.5,), (0.25,)),
    "hardtanh": ((-2.0, 0.5), (0.25, 0.25)),
    "hardshrink": ((1.5,), (0.0,)),
    "softshrink": ((1.5,), (0.0,)),
    "threshold": ((0.5, -1.0), (-1.0, 2.0)),
}
NAMES = tuple(ACTIVATIONS)


def activation(
    kernel: str, shape: Shape, dtype: str = "float32", act: str = "relu", params: Params = (), *,
    special: bool = False,
) -> Case:  # fmt: skip
    """activation_forward or activation_backward. `special`: every special value as x or saved, some as dy."""
    f = ACTIVATIONS[act]
    p = params or f.defaults

    def draw(random: Draw) -> dict[str, Any]:
        forward = kernel == "activation_forward"
        a = random.normal(shape, 4.0) if forward else random.saved(f, p, shape)
        if special:
            a = between_gaps(np.resize(special_values(dtype), shape))
        if forward:
            return {"x": a, "act": f, "params": p}
        dy = random.normal(shape)
        return {"dy": random.spoiled(dy, dy.size // 8) if special else dy, "saved": a, "act": f, "params": p}

    options = {"act": act, "params": params, "special": special}
    output = "y" if kernel == "activation_forward" else "dx"
    return case_of(kernel, shape, dtype, options, draw, {output: shape})


def variants() -> list[tuple[str, Params]]:
    """(activation, params) with the default parameters and with each of the others."""
    return [(name, params) for name in NAMES for params in ((), *OTHER_PARAMS.get(name, ()))]


def activation_cases() -> Iterator[Case]:
    shapes = ((), (3, 4, 5), (1000,), *((e,) for e in EDGES))
    for kernel, dtype in product(("activation_forward", "activation_backward"), FLOATS):
        for act, params in variants():
            yield activation(kernel, (333,), dtype, act, params)
            yield activation(kernel, (7, 37), dtype, act, params, special=True)
        for i, shape in enumerate(shapes):
            yield activation(kernel, shape, dtype, NAMES[i % len(NAMES)])
            yield activation(kernel, shape, dtype, NAMES[(i + 7) % len(NAMES)])
        yield activation(kernel, (70_001,), dtype, "silu")
