"""Cases of the losses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from ..contract import FLOATS, LOSSES, REDUCTIONS
from .draw import EDGES, Case, Draw, Params, Shape, between_gaps, case_of, special_values
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


def nll_loss(
    rows: int, classes: int, dtype: str = "float32", *,
    weight: bool = False, ignored: str = "", reduction: str = "mean", values: str = "",
) -> Case:  # fmt: skip
    """As for cross_entropy; input is what log_softmax might give, and anything else where `values` is "special"."""
    labelled = cross_entropy(rows, classes, dtype, weight=weight, ignored=ignored, reduction=reduction, values=values)

    def draw(random: Draw) -> dict[str, Any]:
        inputs = labelled.draw(random)
        log_p = inputs["logits"] if values == "special" else -np.abs(inputs["logits"])
        names = ("target", "weight", "ignore_index", "reduction")
        return {"input": between_gaps(log_p)} | {name: inputs[name] for name in names}

    options = {"weight": weight, "reduction": reduction, "ignored": ignored and f"ignore_{ignored}", "values": values}
    outputs = {"loss": (rows,) if reduction == "none" else (1,), "dinput": (rows, classes)}
    return case_of("nll_loss", (rows, classes), dtype, options, draw, outputs)


def elementwise_loss(
    shape: Shape, dtype: str = "float32", loss: str = "mse", params: Params = (), *,
    weight: bool = False, pos_weight: int = 0, reduction: str = "mean", special: bool = False,
) -> Case:  # fmt: skip
    """pos_weight: how many there are. Weights include zeros; "mean" then divides by their sum.

    special: every special value as input against some as target; in 0..1 where that is what the loss takes.
    """
    kind = LOSSES[loss]

    def draw(random: Draw) -> dict[str, Any]:
        size = int(np.prod(shape))
        x, t = between_gaps(random.logits((size,), "")), random.normal((size,))
        if loss == "bce":
            x, t = random.unit(size), random.unit(size)
        elif loss == "bce_with_logits" or loss == "kl_div":
            t = random.unit(size)
        if loss.startswith("kl_div"):
            x = between_gaps(-np.abs(x))
        if special:
            values = special_values(dtype)
            if loss == "bce":
                values = values[(values >= 0) & (values <= 1)]
            x = between_gaps(np.resize(values, size))
            t.flat[::2] = np.resize(random.rng.permutation(values), size)[::2]
        w = random.weights(size).reshape(shape) if weight else None
        return {
            "input": x.reshape(shape),
            "target": t.reshape(shape),
            "weight": w,
            "pos_weight": random.weights(pos_weight) if pos_weight else None,
            "kind": kind,
            "params": params or kind.defaults,
            "reduction": reduction,
            "divisor": size if w is None else float(w.sum(dtype=np.float64)),
        }

    options = {"loss": loss, "params": params, "weight": weight, "pos_weight": pos_weight and f"pos{pos_weight}"}
    options |= {"reduction": reduction, "special": special}
    outputs = {"loss": shape if reduction == "none" else (1,), "dinput": shape}
    return case_of("elementwise_loss", shape, dtype, options, draw, outputs)


def find_outside_unit(size: int, dtype: str = "float32", **bad: float) -> Case:
    """`size` numbers in 0..1, ends included, but for `bad`: i3=1.5 puts 1.5 at 3."""

    def draw(random: Draw) -> dict[str, Any]:
        a = random.unit(size)
        for name, value in bad.items():
            a[int(name[1:])] = value
        return {"a": a}

    options = {name: f"{name}={value}" for name, value in bad.items()}
    return case_of("find_outside_unit", (size,), dtype, options, draw, {})


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


def _nll_cases() -> Iterator[Case]:
    for dtype, shape in product(FLOATS, dict.fromkeys(ROWS)):
        yield nll_loss(*shape, dtype)
    for dtype, w, r, ignored in product(FLOATS, (False, True), REDUCTIONS, ("", "some", "every", "class")):
        yield nll_loss(13, 17, dtype, weight=w, reduction=r, ignored=ignored)
        yield nll_loss(24, 33, dtype, weight=w, reduction=r, ignored=ignored, values="special")


#: parameters other than the defaults
OTHER_LOSS_PARAMS = {"smooth_l1": ((0.3,), (2.5,)), "huber": ((0.3,), (2.5,))}


def loss_variants() -> list[tuple[str, Params]]:
    """(loss, params) with the default parameters and with each of the others."""
    return [(name, params) for name in LOSSES for params in ((), *OTHER_LOSS_PARAMS.get(name, ()))]


def _elementwise_cases() -> Iterator[Case]:
    names = list(LOSSES)
    shapes = [(), (3, 4, 5), (0, 4), *((e,) for e in EDGES), (127,), (257,), (8191,), (8193,), (16384,), (20_003,)]
    for dtype, (i, shape), r in product(FLOATS, enumerate(shapes), REDUCTIONS):
        yield elementwise_loss(shape, dtype, names[i % len(names)], reduction=r)
        yield elementwise_loss(shape, dtype, names[(i + 3) % len(names)], reduction=r, weight=True)
    for dtype, (loss, params), r in product(FLOATS, loss_variants(), REDUCTIONS):
        yield elementwise_loss((333,), dtype, loss, params, reduction=r)
        yield elementwise_loss((21, 17), dtype, loss, params, reduction=r, weight=True)
    for dtype, loss in product(FLOATS, names):
        yield elementwise_loss((9000,), dtype, loss)
        for r, w in product(REDUCTIONS, (False, True)):
            yield elementwise_loss((7, 97), dtype, loss, reduction=r, weight=w, special=True)
    for dtype, n, r in product(FLOATS, (1, 2, 7, 15, 16, 17, 33, 231), REDUCTIONS):
        yield elementwise_loss((3, 11, 7), dtype, "bce_with_logits", pos_weight=n, reduction=r, weight=n == 7)
    for dtype in FLOATS:
        yield elementwise_loss((3000, 10), dtype, "bce_with_logits", pos_weight=10)


def _unit_cases() -> Iterator[Case]:
    for dtype in FLOATS:
        for size in (0, 1, 33, 100, 8191, 8193, 30_000):
            yield find_outside_unit(size, dtype)
        for value in (-1e-30, 1.0000002, -1.0, 2.0, np.inf, -np.inf, np.nan):
            yield find_outside_unit(100, dtype, i97=value)
        yield find_outside_unit(40, dtype, i0=-2.0, i5=2.0)
        yield find_outside_unit(30_000, dtype, i12345=2.0, i29999=np.nan)


def loss_cases() -> Iterator[Case]:
    yield from _cross_entropy_cases()
    yield from _nll_cases()
    yield from _elementwise_cases()
    yield from _unit_cases()
    yield from _label_cases()
