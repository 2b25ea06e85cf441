"""Random inputs for every kernel, the same in every run: what the tests check and the benches time.

A `Case` is one call of one kernel. One builder for each family of kernels makes a case of any shape and option;
`all_cases()` is the selection that the tests run. It covers rather than multiplies: every shape with some
activations, every activation on some shapes, every layout with a few shapes, every option on one shape.

Inputs lie between NaNs in memory: before them, behind them and, where a layout has gaps, in the gaps. A kernel
that reads a wrong element cannot hide it.

This module may import numpy and `contract` only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, product
from types import ModuleType
from typing import Any
from zlib import crc32

import numpy as np

from .contract import ACTIVATIONS, FLOATS, KERNELS, REDUCTIONS, Activation

Shape = tuple[int, ...]
Params = tuple[float, ...]

#: 0, 1, primes, and one less and one more than the widths of vectors and of register tiles
EDGES = (0, 1, 2, 3, 5, 7, 13, 14, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65)

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

#: (rows, classes) of softmax and cross-entropy
ROWS = (
    *((3, classes) for classes in (*EDGES, 100, 127, 128, 129, 1000, 1023, 1025, 5000)),
    *((rows, 10) for rows in EDGES),
    *((40, classes) for classes in (15, 16, 17, 31, 32, 33, 63, 64, 65)),  # several at a time, in blocks that overlap
    *((0, 5), (5, 0), (0, 0), (1, 1), (1000, 1), (700, 10), (130, 257)),
)

#: how x and w of the linear kernels may lie in memory
LAYOUTS = ("C", "transposed", "reversed", "rows", "columns", "repeated")

#: parameters other than the defaults
OTHER_PARAMS = {
    "leaky_relu": ((0.3,), (0.0,)),
    "elu": ((1.5,), (0.0,)),
    "softplus": ((2.0, 20.0), (0.75, 4.0)),
}
NAMES = tuple(ACTIVATIONS)
GAP = 5  # NaNs before and behind every input; odd, so that inputs are aligned to no more than their own element


# ------------------------------------------------------------------------------------------- a case


@dataclass(frozen=True)
class Case:
    """One call of a kernel.

    kernel: its name in contract.KERNELS. id: readable, unique, and the seed of everything drawn.
    draw: makes the inputs. outputs: name -> shape of what the kernel writes, None where it is asked not to.
    """

    kernel: str
    id: str
    dtype: str
    draw: Callable[[Draw], dict[str, Any]]
    outputs: dict[str, Shape | None]

    def inputs(self) -> dict[str, Any]:
        """Every argument but the outputs, by name."""
        return self.draw(Draw(self.id, self.dtype))

    def allocate(self) -> dict[str, np.ndarray | None]:
        """The outputs, full of numbers: a kernel overwrites them, or adds to them where it accumulates."""
        random = Draw(self.id + " outputs", self.dtype)
        return {name: None if shape is None else random.normal(shape) for name, shape in self.outputs.items()}

    def run(
        self,
        backend: ModuleType,
        inputs: dict[str, Any] | None = None,
        outputs: dict[str, np.ndarray | None] | None = None,
    ) -> dict[str, Any]:
        """Call that backend's kernel -> its outputs by name, or {"returned": value} where it has none."""
        inputs = self.inputs() if inputs is None else inputs
        outputs = self.allocate() if outputs is None else outputs
        given = inputs | outputs
        returned = getattr(backend, self.kernel)(*(given[name] for name in KERNELS[self.kernel]))
        if not outputs:
            return {"returned": returned}
        return {name: a for name, a in outputs.items() if a is not None}


def widen(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same arguments with every float array in float64."""
    return {
        name: a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a
        for name, a in arguments.items()
    }


# ------------------------------------------------------------------------------- arrays and where they lie


def between_gaps(values: np.ndarray) -> np.ndarray:
    """A C-contiguous copy of `values` with GAP NaNs before and behind it in memory."""
    buffer = np.full(values.size + 2 * GAP, np.nan, values.dtype)
    copy = buffer[GAP : GAP + values.size].reshape(values.shape)
    copy[...] = values
    return copy


def lay_out(values: np.ndarray, layout: str) -> np.ndarray:
    """A copy of `values` (rows, columns) in memory as `layout` says; "repeated" takes its first row for all."""
    rows, columns = values.shape
    if layout == "transposed":
        return between_gaps(values.T).T
    if layout == "reversed":
        return between_gaps(values[::-1, ::-1])[::-1, ::-1]
    if layout == "repeated":
        return np.broadcast_to(between_gaps(values[:1]), values.shape)
    if layout == "rows":
        copy = np.full((2 * rows, columns), np.nan, values.dtype)[::2]
    elif layout == "columns":
        copy = np.full((rows, 2 * columns), np.nan, values.dtype)[:, ::2]
    else:
        return between_gaps(values)
    copy[...] = values
    return copy


def special_values(dtype: Any) -> np.ndarray:
    """NaN, ±inf, ±0, subnormals, the ends of the range, and numbers near the limits of exp and the kinks."""
    f = np.finfo(dtype)
    magnitudes = [np.inf, 0.0, f.smallest_subnormal, 100 * f.smallest_subnormal, f.tiny, f.eps, 1e-3, 0.5, 0.75]
    magnitudes += [1 - f.epsneg, 1.0, 1 + f.eps, 2.0, 3.0, 6.0, 6.5, 9.0, 13.0, 14.5, 17.0, 20.0, 20.5, 38.0]
    magnitudes += [87.3, 88.7, 88.8, 103.9, 104.1] if f.bits == 32 else [708.3, 709.7, 709.8, 744.4, 745.2]
    magnitudes += [1e4, f.max / 8, f.max]
    return np.array([np.nan, *magnitudes, *(-m for m in magnitudes)], dtype)


class Draw:
    """Random arrays of one dtype; what is drawn depends on the seed's text and on nothing else."""

    def __init__(self, seed: str, dtype: str) -> None:
        self.rng = np.random.default_rng(crc32(seed.encode()))
        self.dtype = np.dtype(dtype)

    def normal(self, shape: Shape, scale: float = 1.0) -> np.ndarray:
        return between_gaps((scale * self.rng.standard_normal(shape)).astype(self.dtype))

    def logits(self, shape: Shape, values: str) -> np.ndarray:
        """values: "", "wide" (hundreds apart) or "special" (NaN, inf and others in about half of the rows)."""
        a = self.normal(shape, 300.0 if values == "wide" else 3.0)
        return self.spoiled(a, shape[0] // 2) if values == "special" else a

    def probabilities(self, shape: Shape) -> np.ndarray:
        """Rows that sum to 1, a fifth of their elements 0."""
        q = self.rng.exponential(size=shape) * (self.rng.random(shape) < 0.8)
        return between_gaps((q / np.maximum(q.sum(axis=1, keepdims=True), 1e-6)).astype(self.dtype))

    def weights(self, size: int) -> np.ndarray:
        """Positive numbers, and a zero now and then."""
        w = self.rng.uniform(0.1, 2.0, size).astype(self.dtype)
        w[size // 2 :: 7] = 0
        return between_gaps(w)

    def spoiled(self, a: np.ndarray, few: int) -> np.ndarray:
        """`a` with special values written over `few` of its elements, over one at least."""
        where = self.rng.choice(a.size, max(few, 1), replace=False)
        a.flat[where] = self.rng.choice(special_values(self.dtype), len(where))
        return a

    def saved(self, act: Activation, params: Params, shape: Shape) -> np.ndarray:
        """What the activation saves: any z, or a y that it can give, its limits included."""
        z = self.normal(shape, 2.0)
        lowest = {"relu": 0.0, "relu6": 0.0, "sigmoid": 0.0, "tanh": -1.0, "softsign": -1.0, "selu": -1.75}
        highest = {"relu6": 6.0, "sigmoid": 1.0, "tanh": 1.0, "softsign": 1.0}
        low = -params[0] if act.name == "elu" else lowest.get(act.name, -np.inf)
        np.clip(z, low, highest.get(act.name, np.inf), out=z)
        return z


# ------------------------------------------------------------------------- builders, one for each family


def _case(kernel: str, shape: Shape, dtype: str, options: dict[str, Any], draw: Any, outputs: Any) -> Case:
    """A case whose id names the kernel, the shape, the dtype and every option that is not empty."""
    words = [kernel, "x".join(map(str, shape)) or "scalar", dtype]
    for name, value in options.items():
        value = "+".join(map(str, value)) if isinstance(value, tuple) else value
        if value not in (None, False, "", 0):
            words.append(name if value is True else str(value))
    return Case(kernel, "-".join(words), dtype, draw, outputs)


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
    return _case("linear_forward", (m, k, n), dtype, options, draw, outputs)


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
    return _case("linear_backward", (m, k, n), dtype, options, draw, outputs)


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
    return _case(kernel, shape, dtype, options, draw, {output: shape})


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
    return _case(kernel, shape, dtype, {"values": values}, draw, {output: shape})


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
    return _case("cross_entropy", (rows, classes), dtype, options, draw, outputs)


def find_bad_label(zeros: int, labels: tuple[int, ...], classes: int, ignore_index: int = -100) -> Case:
    """That many zeros, then `labels`."""

    def draw(random: Draw) -> dict[str, Any]:
        a = np.array((0,) * zeros + labels, np.int64)
        return {"labels": a, "classes": classes, "ignore_index": ignore_index}

    options = {"labels": labels, "classes": f"of{classes}", "ignore_index": f"ignore{ignore_index}"}
    return _case("find_bad_label", (zeros,), "int64", options, draw, {})


# ------------------------------------------------------------------------------- the selection that is tested


def _variants() -> list[tuple[str, Params]]:
    """(activation, params) with the default parameters and with each of the others."""
    return [(name, params) for name in NAMES for params in ((), *OTHER_PARAMS.get(name, ()))]


def _forward_cases() -> Iterator[Case]:
    for dtype, (i, shape) in product(FLOATS, enumerate(SWEEP)):
        yield linear_forward(*shape, dtype, NAMES[i % len(NAMES)], save=i % 2 == 0)
    for dtype, shape in product(FLOATS, LARGE):
        yield linear_forward(*shape, dtype, "relu")
        yield linear_forward(*shape, dtype, "gelu_tanh", save=True)
    for dtype, shape, (act, params) in product(FLOATS, FEW, _variants()):
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
    for dtype, shape, (act, params) in product(FLOATS, FEW, _variants()):
        yield linear_backward(*shape, dtype, act, params)
    for dtype, wanted, accumulate, unused in product(FLOATS, subsets, (False, True), (False, True)):
        for act in ("identity", "relu", "mish"):
            yield linear_backward(15, 18, 33, dtype, act, wanted=wanted, accumulate=accumulate, unused=unused)
    for dtype, shape, layouts in product(FLOATS, FEW_FOR_LAYOUTS, product(LAYOUTS, LAYOUTS)):
        yield linear_backward(*shape, dtype, "tanh", layouts=layouts)
    for dtype, act in product(FLOATS, NAMES):
        yield linear_backward(33, 20, 35, dtype, act, special=True)


def _activation_cases() -> Iterator[Case]:
    shapes = ((), (3, 4, 5), (1000,), *((e,) for e in EDGES))
    for kernel, dtype in product(("activation_forward", "activation_backward"), FLOATS):
        for act, params in _variants():
            yield activation(kernel, (333,), dtype, act, params)
            yield activation(kernel, (7, 37), dtype, act, params, special=True)
        for i, shape in enumerate(shapes):
            yield activation(kernel, shape, dtype, NAMES[i % len(NAMES)])
            yield activation(kernel, shape, dtype, NAMES[(i + 7) % len(NAMES)])
        yield activation(kernel, (70_001,), dtype, "silu")


def _softmax_cases() -> Iterator[Case]:
    kernels = [name for name in KERNELS if "softmax" in name]
    for kernel, dtype in product(kernels, FLOATS):
        for shape in dict.fromkeys(ROWS):
            yield softmax(kernel, *shape, dtype)
        for values, shape in product(("wide", "special"), ((40, 10), (24, 33), (3, 300))):
            yield softmax(kernel, *shape, dtype, values)


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


def all_cases() -> list[Case]:
    """The selection, every id once."""
    groups = (_forward_cases, _backward_cases, _activation_cases, _softmax_cases, _cross_entropy_cases)
    return list({case.id: case for group in (*groups, _label_cases) for case in group()}.values())
