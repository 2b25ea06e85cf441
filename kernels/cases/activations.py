"""Cases of the activations alone, and of PReLU."""

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


def prelu(
    kernel: str, rows: int, channels: int, inner: int, dtype: str = "float32", *,
    shared: bool = False, wanted: tuple[str, ...] = ("dx", "dweight"), special: bool = False,
) -> Case:  # fmt: skip
    """prelu_forward or prelu_backward. shared: one slope for all channels. special: NaN, inf and others among x."""
    shape, slopes = (rows, channels, inner), (1 if shared else channels,)

    def draw(random: Draw) -> dict[str, Any]:
        x, weight = random.normal(shape), random.normal(slopes)
        inputs = {"x": random.spoiled(x, x.size // 8) if special else x, "weight": weight}
        return inputs if kernel == "prelu_forward" else inputs | {"dy": random.normal(shape)}

    some = "+".join(wanted) or "nothing" if len(wanted) < 2 else ""
    shapes = {"y": shape} if kernel == "prelu_forward" else {"dx": shape, "dweight": slopes}
    outputs = {name: size if name == "y" or name in wanted else None for name, size in shapes.items()}
    return case_of(kernel, shape, dtype, {"shared": shared, "wanted": some, "special": special}, draw, outputs)


def _prelu_cases() -> Iterator[Case]:
    shapes = (
        *((5, channels, 1) for channels in EDGES),
        *((3, 4, inner) for inner in EDGES),
        *((rows, 10, 1) for rows in (0, 1, 31, 32, 33, 65, 3000)),
        *((0, 0, 0), (1, 1, 1), (700, 3, 2), (2, 3, 5000)),
    )
    for kernel, dtype in product(("prelu_forward", "prelu_backward"), FLOATS):
        for shape, shared in product(shapes, (False, True)):
            yield prelu(kernel, *shape, dtype, shared=shared)
        for inner, shared in product((1, 9), (False, True)):
            yield prelu(kernel, 15, 17, inner, dtype, shared=shared, special=True)
            for wanted in ((), ("dx",), ("dweight",)):
                yield prelu("prelu_backward", 15, 17, inner, dtype, shared=shared, wanted=wanted)


def activation_cases() -> Iterator[Case]:
    yield from _prelu_cases()
    shapes = ((), (3, 4, 5), (1000,), *((e,) for e in EDGES))
    for kernel, dtype in product(("activation_forward", "activation_backward"), FLOATS):
        for act, params in variants():
            yield activation(kernel, (333,), dtype, act, params)
            yield activation(kernel, (7, 37), dtype, act, params, special=True)
        for i, shape in enumerate(shapes):
            yield activation(kernel, shape, dtype, NAMES[i % len(NAMES)])
            yield activation(kernel, shape, dtype, NAMES[(i + 7) % len(NAMES)])
        yield activation(kernel, (70_001,), dtype, "silu")
