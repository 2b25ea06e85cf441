"""Cases of layer norm, batch norm and dropout."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from typing import Any

import numpy as np

from ..contract import FLOATS, KERNELS
from .draw import EDGES, Case, Draw, between_gaps, case_of

#: (rows, n): of vectors, and of the chunks in which rows are taken
SHAPES = (
    *((3, n) for n in (*EDGES, 127, 128, 129, 1000)),
    *((rows, 10) for rows in (*EDGES, 255, 256, 257)),
    *((0, 0), (1000, 1), (2100, 33)),
)
EPS = 1e-5


def normalize(
    kernel: str, rows: int, n: int, dtype: str = "float32", *,
    weight: bool = True, bias: bool = True, training: bool = True,
    wanted: tuple[str, ...] = ("dx", "dweight", "dbias"), values: str = "",
) -> Case:  # fmt: skip
    """One of the kernels of layer_norm and batch_norm. values: "", "far" (the mean is 1000 deviations), "special"."""
    columns = kernel.startswith("batch_norm")
    one = (n if columns else rows,)  # of the statistics
    takes = KERNELS[kernel]

    def draw(random: Draw) -> dict[str, Any]:
        x = random.normal((rows, n))
        if values == "far":
            x += 1000
        elif values == "special":
            x.flat[[3 * n + 1, n, n + 2, 2 * n]] = np.nan, np.inf, -np.inf, -np.inf
        inputs: dict[str, Any] = {"x": x, "weight": random.normal((n,)) if weight else None}
        inputs |= {"bias": random.normal((n,)) if bias else None, "dy": random.normal((rows, n))}
        rstd = between_gaps(random.rng.uniform(0.3, 2, one).astype(dtype))
        inputs |= {"mean": random.normal(one), "rstd": rstd, "training": training, "eps": EPS}
        return {name: inputs[name] for name in takes if name in inputs and name not in outputs}

    shapes = {"y": (rows, n), "dx": (rows, n), "dweight": (n,), "dbias": (n,)}
    if kernel.endswith("forward"):
        shapes |= dict.fromkeys(("mean", "rstd", "var"), one)
    unwanted = {"dx", "dweight", "dbias"} - set(wanted)
    outputs = {name: None if name in unwanted else shapes[name] for name in takes if name in shapes}
    some = "+".join(wanted) or "nothing" if len(wanted) < 3 else ""
    options = {"noweight": not weight, "nobias": not bias, "given": not training, "wanted": some, "values": values}
    return case_of(kernel, (rows, n), dtype, options, draw, outputs)


def dropout(size: int, dtype: str = "float32", p: float = 0.5, seed: int = 0, offset: int = 0) -> Case:
    def draw(random: Draw) -> dict[str, Any]:
        return {"x": random.normal((size,)), "p": p, "seed": seed, "offset": offset}

    return case_of("dropout", (size,), dtype, {"p": p, "seed": seed, "offset": offset}, draw, {"y": (size,)})


def normalize_cases() -> Iterator[Case]:
    kernels = [name for name in KERNELS if name.startswith(("layer_norm", "batch_norm"))]
    for kernel, dtype in product(kernels, FLOATS):
        for shape in dict.fromkeys(SHAPES):
            yield normalize(kernel, *shape, dtype)
        for shape, values in product(((40, 10), (70, 33), (5, 300)), ("far", "special")):
            yield normalize(kernel, *shape, dtype, values=values)
        for weight, bias in product((False, True), (False, True)):
            yield normalize(kernel, 37, 19, dtype, weight=weight, bias=bias)
    subsets = [s for size in range(4) for s in combinations(("dx", "dweight", "dbias"), size)]
    for dtype, wanted, weight in product(FLOATS, subsets, (False, True)):
        yield normalize("layer_norm_backward", 37, 19, dtype, wanted=wanted, weight=weight)
        for training in (False, True):
            yield normalize("batch_norm_backward", 37, 19, dtype, wanted=wanted, weight=weight, training=training)


def dropout_cases() -> Iterator[Case]:
    for dtype in FLOATS:
        for size in (*EDGES, 1000, 1023, 1024, 1025, 20_001):
            yield dropout(size, dtype)
        for p in (0.0, 2.0**-33, 0.1, 0.25, 1 - 2.0**-40, 1.0):
            yield dropout(1001, dtype, p, seed=12345)
        for seed, offset in ((2**64 - 1, 0), (2**32, 2**32 - 7), (1, 2**64 - 3), (2**63 + 5, 2**40)):
            yield dropout(1001, dtype, 0.3, seed, offset)
