"""Cases of the losses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from ..contract import FLOATS, REDUCTIONS
from .draw import Case, Draw, case_of
from .rows import ROWS


def cross_entropy(
    rows: int, classes: int, dtype: str = "float32", *,
    soft: bool = False, weight: bool = False, sample_weight: bool = False, ignored: str = "",
    label_smoothing: float = 0.0, reduction: str = "mean", values: str = "",
) -> Case:  # fmt: skip
    """soft: probabilities instead of labels. ignored: "", "some" or "every" row, "class" (class 0 is ignored).

    values: as for softmax. Weights include zeros.
    """

    def draw(random: Draw) -> dict[str, Any]:
        logits = random.logits((rows, classes), values)
        labels = random.rng.integers(0, max(classes, 1), rows)
        if ignored == "some":
            labels[::3] = -100
        elif ignored == "every" or not classes:
            labels[:] = -100
        return {
            "logits": logits,
            "target": random.probabilities((rows, classes)) if soft else labels,
            "weight": random.weights(classes) if weight else None,
            "sample_weight": random.weights(rows) if sample_weight else None,
            "ignore_index": 0 if ignored == "class" else -100,
            "label_smoothing": label_smoothing,
            "reduction": reduction,
        }

    options = {"soft": soft, "weight": weight, "sample_weight": sample_weight, "reduction": reduction}
    options |= {"ignored": ignored and f"ignore_{ignored}", "smoothing": label_smoothing, "values": values}
    outputs = {"loss": (rows,) if reduction == "none" else (1,), "dlogits": (rows, classes)}
    return case_of("cross_entropy", (rows, classes), dtype, options, draw, outputs)


def find_bad_label(zeros: int, labels: tuple[int, ...], classes: int, ignore_index: int = -100) -> Case:
    """That many zeros, then `labels`."""

    def draw(random: Draw) -> dict[str, Any]:
        a = np.array((0,) * zeros + labels, np.int64)
        return {"labels": a, "classes": classes, "ignore_index": ignore_index}

    options = {"labels": labels, "classes": f"of{classes}", "ignore_index": f"ignore{ignore_index}"}
    return case_of("find_bad_label", (zeros,), "int64", options, draw, {})


def _cross_entropy_cases() -> Iterator[Case]:
    flags, smoothings = (False, True), (0.0, 0.1, 1.0)
    for dtype, soft, shape in product(FLOATS, flags, dict.fromkeys(ROWS)):
        yield cross_entropy(*shape, dtype, soft=soft)
    for dtype, w, s, e, r in product(FLOATS, flags, flags, smoothings, REDUCTIONS):
        options = {"weight": w, "sample_weight": s, "label_smoothing": e, "reduction": r}
        yield cross_entropy(13, 17, dtype, soft=True, **options)
        for ignored in ("", "some", "every", "class"):
            yield cross_entropy(13, 17, dtype, ignored=ignored, **options)
    for dtype, values, r, soft, w in product(FLOATS, ("wide", "special"), REDUCTIONS, flags, flags):
        ignored = "" if soft else "some"
        yield cross_entropy(24, 33, dtype, soft=soft, weight=w, reduction=r, ignored=ignored, values=values)


def _label_cases() -> Iterator[Case]:
    for zeros in (1, 16, 1000):
        for labels in ((), (1, 2), (3,), (-1,), (-100,), (1, -100, 5, -7), (2**31,), (-(2**40),)):
            yield find_bad_label(zeros, labels, 3)
    yield find_bad_label(1, (1, 7, 9), 3, ignore_index=7)
    yield find_bad_label(0, (), 0)
    yield find_bad_label(0, (-100, -100, 0), 0)


def loss_cases() -> Iterator[Case]:
    yield from _cross_entropy_cases()
    yield from _label_cases()
