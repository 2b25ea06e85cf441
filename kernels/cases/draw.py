"""What a case is, and how its arrays are drawn and laid out in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from zlib import crc32

import numpy as np

from ..contract import KERNELS, Activation

Shape = tuple[int, ...]
Params = tuple[float, ...]

#: 0, 1, primes, and one less and one more than the widths of vectors and of register tiles
EDGES = (0, 1, 2, 3, 5, 7, 13, 14, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65)

#: how x and w of the linear kernels may lie in memory
LAYOUTS = ("C", "transposed", "reversed", "rows", "columns", "repeated")

GAP = 5  # NaNs before and behind every input; odd, so that inputs are aligned to no more than their own element


# ------------------------------------------------------------------------------------------- a case


@dataclass(frozen=True)
class Case:
    """One call of a kernel.

    kernel: its name in contract.KERNELS. id: readable, unique, and the seed of everything drawn.
    draw: makes the inputs. outputs: name -> shape of what the kernel writes, None where it is asked not to; a list of
    shapes where it writes a list of arrays. start: makes the outputs where a kernel needs certain numbers there.
    """

    kernel: str
    id: str
    dtype: str
    draw: Callable[[Draw], dict[str, Any]]
    outputs: dict[str, Shape | list[Shape] | None]
    start: Callable[[Draw], dict[str, Any]] | None = None

    def inputs(self) -> dict[str, Any]:
        """Every argument but the outputs, by name."""
        return self.draw(Draw(self.id, self.dtype))

    def allocate(self) -> dict[str, Any]:
        """The outputs, full of numbers: a kernel overwrites them, or adds to them where it accumulates."""
        random = Draw(self.id + " outputs", self.dtype)
        if self.start is not None:
            return self.start(random)
        return {name: None if shape is None else random.normal(shape) for name, shape in self.outputs.items()}

    def run(
        self,
        backend: ModuleType,
        inputs: dict[str, Any] | None = None,
        outputs: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Call that backend's kernel -> its outputs by name, flat, or {"returned": value} where it has none."""
        inputs = self.inputs() if inputs is None else inputs
        outputs = self.allocate() if outputs is None else outputs
        given = inputs | outputs
        returned = getattr(backend, self.kernel)(*(given[name] for name in KERNELS[self.kernel]))
        if not outputs:
            return {"returned": returned}
        return {name: a for name, a in flatten(outputs).items() if a is not None}


def flatten(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same with the items of a list called name[0], name[1], ..."""
    flat = {}
    for name, value in arguments.items():
        flat |= {f"{name}[{i}]": a for i, a in enumerate(value)} if isinstance(value, list) else {name: value}
    return flat


def widen(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same arguments with every float array in float64."""
    return {name: _widened(value) for name, value in arguments.items()}


def _widened(value: Any) -> Any:
    if isinstance(value, list):
        return [_widened(a) for a in value]
    return value.astype(np.float64) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


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

    def unit(self, size: int) -> np.ndarray:
        """Numbers in 0..1, a few of them 0 and 1."""
        a = self.rng.random(size).astype(self.dtype)
        a[::11], a[5::13] = 0, 1
        return between_gaps(a)

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
        limits = {
            "relu": (0, np.inf), "relu6": (0, 6), "sigmoid": (0, 1), "tanh": (-1, 1), "softsign": (-1, 1),
            "selu": (-1.75, np.inf), "logsigmoid": (-np.inf, 0), "hardsigmoid": (0, 1),
        }  # fmt: skip
        if act.name in ("elu", "celu"):
            limits[act.name] = -params[0], np.inf
        elif act.name == "hardtanh":
            limits[act.name] = params[0], params[1]
        np.clip(z, *limits.get(act.name, (-np.inf, np.inf)), out=z)
        return z


def case_of(
    kernel: str, shape: Shape, dtype: str, options: dict[str, Any], draw: Any, outputs: Any, start: Any = None
) -> Case:
    """A case whose id names the kernel, the shape, the dtype and every option that is not empty."""
    words = [kernel, "x".join(map(str, shape)) or "scalar", dtype]
    for name, value in options.items():
        value = "+".join(map(str, value)) if isinstance(value, tuple) else value
        if value not in (None, False, "", 0):
            words.append(name if value is True else str(value))
    return Case(kernel, "-".join(words), dtype, draw, outputs, start)
