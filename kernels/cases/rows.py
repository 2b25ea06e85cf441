"""Cases of what works on rows: softmax, log-softmax and their gradients."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from ..contract import FLOATS, KERNELS
from .draw import EDGES, Case, Draw, between_gaps, case_of

#: (rows, classes) of softmax and cross-entropy
ROWS = (
    *((3, classes) for classes in (*EDGES, 100, 127, 128, 129, 1000, 1023, 1025, 5000)),
    *((rows, 10) for rows in EDGES),
    *((40, classes) for classes in (15, 16, 17, 31, 32, 33, 63, 64, 65)),  # several at a time, in blocks that overlap
    *((0, 5), (5, 0), (0, 0), (1, 1), (1000, 1), (700, 10), (130, 257)),
)


def softmax(kernel: str, rows: int, classes: int, dtype: str = "float32", values: str = "") -> Case:
    """One of the four kernels of softmax and log_softmax. values: "", "wide" (hundreds apart), "special"."""
    shape = (rows, classes)

    def draw(random: Draw) -> dict[str, Any]:
        x = random.logits(shape, values)
        if kernel.endswith("forward"):
            return {"x": x}
        log_y = -np.abs(random.logits(shape, values))
        return {"dy": x, "y": between_gaps(np.exp(log_y) if kernel == "softmax_backward" else log_y)}

    output = "y" if kernel.endswith("forward") else "dx"
    return case_of(kernel, shape, dtype, {"values": values}, draw, {output: shape})


def row_cases() -> Iterator[Case]:
    kernels = [name for name in KERNELS if "softmax" in name]
    for kernel, dtype in product(kernels, FLOATS):
        for shape in dict.fromkeys(ROWS):
            yield softmax(kernel, *shape, dtype)
        for values, shape in product(("wide", "special"), ((40, 10), (24, 33), (3, 300))):
            yield softmax(kernel, *shape, dtype, values)
