"""Cases of the linear layer, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from typing import Any

from ..contract import ACTIVATIONS, FLOATS
from .activations import NAMES, variants
from .draw import EDGES, LAYOUTS, Case, Draw, Params, case_of, lay_out

#: (m, k, n) of the linear kernels
SWEEP = (
    *((m, 7, 10) for m in EDGES),
    *((5, 9, n) for n in EDGES),
    *((14, k, 33) for k in (*EDGES, 255, 256, 257, 383, 384, 385, 511, 512, 513, 1025)),  # across block borders
    *((e, e, e) for e in EDGES),
    *product((13, 14, 15, 28, 29), (5,), (31, 32, 33, 63, 65)),
    *((0, 0, 3), (0, 3, 0), (3, 0, 0), (0, 0, 0), (1, 0, 1), (1, 1, 1000), (1, 1000, 1), (1000, 1, 1)),
)
LARGE = (
    *((1, 1000, 777), (257, 513, 129), (515, 100, 33), (1500, 33, 10), (100, 300, 700)),
    *((530, 70, 300), (40, 1024, 96)),  # many strips of a far-strided operand, rows a page apart
)
BEYOND_CACHES = (((3, 4099, 2053), "dw"), ((2053, 4099, 11), "dx"), ((2053, 4099, 16), "dx"))  # written past them
FEW = ((17, 33, 15), (1, 10, 64), (64, 65, 31))
FEW_FOR_LAYOUTS = ((1, 19, 33), (29, 40, 3), (31, 70, 65))


def linear_forward(
    m: int, k: int, n: int, dtype: str = "float32", act: str = "relu", params: Params = (), *,
    nobias: bool = False, save: bool = False, layouts: tuple[str, ...] = (), special: bool = False,
) -> Case:  # fmt: skip
    """x (m, k) and w (n, k), in the two `layouts` if given. `special`: NaN, inf and others among x, w, b."""
    f = ACTIVATIONS[act]

    def draw(random: Draw) -> dict[str, Any]:
        x, w, b = random.normal((m, k)), random.normal((n, k), 2 / max(k, 1) ** 0.5), random.normal((n,))
        if special:
            x, w, b = random.spoiled(x, m // 2), random.spoiled(w, 1), random.spoiled(b, 1)
        if layouts:
            x, w = lay_out(x, layouts[0]), lay_out(w, layouts[1])
        return {"x": x, "w": w, "b": None if nobias else b, "act": f, "params": params or f.defaults}

    options = {"act": act, "params": params, "nobias": nobias, "save": save}
    options |= {"layouts": layouts, "special": special}
    outputs = {"y": (m, n), "z": (m, n) if save and f.saves == "z" else None}
    return case_of("linear_forward", (m, k, n), dtype, options, draw, outputs)


def linear_backward(
    m: int, k: int, n: int, dtype: str = "float32", act: str = "relu", params: Params = (), *,
    wanted: tuple[str, ...] = ("dx", "dw", "db"), accumulate: bool = False, layouts: tuple[str, ...] = (),
    special: bool = False, unused: bool = False,
) -> Case:  # fmt: skip
    """dx, dw and db as `wanted`. `unused`: x, w and saved are None where the contract allows it."""
    f = ACTIVATIONS[act]
    p = params or f.defaults

    def draw(random: Draw) -> dict[str, Any]:
        dy, saved = random.normal((m, n)), random.saved(f, p, (m, n))
        x, w = random.normal((m, k)), random.normal((n, k), 2 / max(k, 1) ** 0.5)
        if special:
            dy, saved, x = random.spoiled(dy, m // 4), random.spoiled(saved, 1), random.spoiled(x, 1)
        if layouts:
            x, w = lay_out(x, layouts[0]), lay_out(w, layouts[1])
        if unused:
            x, w = x if "dw" in wanted else None, w if "dx" in wanted else None
            saved = None if act == "identity" else saved
        return {"dy": dy, "x": x, "w": w, "saved": saved, "act": f, "params": p, "accumulate": accumulate}

    some = "+".join(wanted) or "nothing" if len(wanted) < 3 else ""
    options = {"act": act, "params": params, "wanted": some, "accumulate": accumulate}
    options |= {"layouts": layouts, "special": special, "unused": unused}
    shapes = {"dx": (m, k), "dw": (n, k), "db": (n,)}
    outputs = {name: shape if name in wanted else None for name, shape in shapes.items()}
    return case_of("linear_backward", (m, k, n), dtype, options, draw, outputs)


def _forward_cases() -> Iterator[Case]:
    for dtype, (i, shape) in product(FLOATS, enumerate(SWEEP)):
        yield linear_forward(*shape, dtype, NAMES[i % len(NAMES)], save=i % 2 == 0)
    for dtype, shape in product(FLOATS, LARGE):
        yield linear_forward(*shape, dtype, "relu")
        yield linear_forward(*shape, dtype, "gelu_tanh", save=True)
    for dtype, shape, (act, params) in product(FLOATS, FEW, variants()):
        yield linear_forward(*shape, dtype, act, params, save=True)
        yield linear_forward(*shape, dtype, act, params, nobias=True)
    for dtype, shape, layouts in product(FLOATS, FEW_FOR_LAYOUTS, product(LAYOUTS, LAYOUTS)):
        yield linear_forward(*shape, dtype, "tanh", layouts=layouts)
    for dtype, act in product(FLOATS, NAMES):
        yield linear_forward(33, 20, 35, dtype, act, special=True)


def _backward_cases() -> Iterator[Case]:
    subsets = [s for size in range(4) for s in combinations(("dx", "dw", "db"), size)]
    for dtype, (i, shape) in product(FLOATS, enumerate(SWEEP)):
        yield linear_backward(*shape, dtype, NAMES[i % len(NAMES)], accumulate=i % 3 == 0)
    for dtype, shape in product(FLOATS, LARGE):
        yield linear_backward(*shape, dtype, "relu")
        yield linear_backward(*shape, dtype, "silu", accumulate=True)
    for shape, wanted in BEYOND_CACHES:
        yield linear_backward(*shape, "float32", "relu", wanted=(wanted,))
    for dtype, shape, (act, params) in product(FLOATS, FEW, variants()):
        yield linear_backward(*shape, dtype, act, params)
    for dtype, wanted, accumulate, unused in product(FLOATS, subsets, (False, True), (False, True)):
        for act in ("identity", "relu", "mish"):
            yield linear_backward(15, 18, 33, dtype, act, wanted=wanted, accumulate=accumulate, unused=unused)
    for dtype, shape, layouts in product(FLOATS, FEW_FOR_LAYOUTS, product(LAYOUTS, LAYOUTS)):
        yield linear_backward(*shape, dtype, "tanh", layouts=layouts)
    for dtype, act in product(FLOATS, NAMES):
        yield linear_backward(33, 20, 35, dtype, act, special=True)


def linear_cases() -> Iterator[Case]:
    yield from _forward_cases()
    yield from _backward_cases()
