"""Does a backend compute rightly on the machine at hand? Some of the tests' cases, each compared with the reference.

The truth is the reference in float64 on the same numbers. How far from it rounding may take a result is found without
knowing the kernel: what the reference gives in the case's own precision is off as well, and the truth itself moves when
the last digits of its inputs do.

    |got - truth| <= |same - truth| + FEW · (moved + typical + eps · |truth| + eps · largest / 4)

moved: the most of COPIES tries; typical: its median over the output, since a number may happen to move little; largest:
of the output, but no more than 1, for what is rounded on the way and does not show in the result, such as the sum that
relu makes 0. Where the reference has NaN or an infinity, so must the result.

May import numpy, `contract`, `cases` and `reference` only: it runs where there are no tests.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import inf, prod
from types import ModuleType
from typing import Any

import numpy as np

from . import reference
from .cases import Case, flatten, widen

FEW, COPIES = 16, 3
MORE = {"linear": 64, "activations": 64}  # instead of FEW, by family: an activation takes some steps more
#: multiply-adds of a product, or elements, in the largest cases that are chosen: enough to be shared out among threads
MOST = 500_000

Arguments = dict[str, Any]
Outputs = dict[str, Any]  # by flat name, as Case.run gives them


@dataclass(frozen=True)
class Finding:
    """What came of a case. error: the largest, in what rounding explains. wrong: what is wrong, "" if nothing is."""

    case: Case
    error: float
    wrong: str = ""


# ------------------------------------------------------------------------------------------ which cases


def chosen(cases: Iterable[Case]) -> dict[str, list[Case]]:
    """family -> some of its cases, the same ones in every run.

    Cases are alike in the kernel, the dtype, the first option, which is the activation or loss where there is one, and
    whether there are NaNs among the numbers. Of those that are alike: the largest and the one in the middle.
    """
    alike = defaultdict(list)
    for case in cases:
        if work(case) <= MOST:
            kernel, _, dtype, *options = case.id.split("-")
            alike[kernel, dtype, *options[:1], "special" in options].append(case)
    families = defaultdict(list)
    for group in alike.values():
        group.sort(key=work)
        families[family(group[0].kernel)] += [group[i] for i in sorted({(len(group) - 1) // 2, len(group) - 1})]
    return dict(families)


def work(case: Case) -> int:
    """About as many steps the kernel takes: the multiply-adds of a product, or the elements."""
    sizes = case.id.split("-")[1].split("x")
    written = sum(prod(shape) for shape in flatten(case.outputs).values() if shape is not None)
    return max(prod(int(size) for size in sizes if size != "scalar"), written)


def family(kernel: str) -> str:
    """Where the kernel belongs: the file that it is in, in every backend."""
    return getattr(reference, kernel).__module__.rpartition(".")[2]


# ------------------------------------------------------------------------------------------- one of them


@np.errstate(all="ignore")
def examine(case: Case, backend: ModuleType, set_threads: Callable[[int], Any], threads: Sequence[int]) -> Finding:
    """Run the case with each of these numbers of threads: it must give the truth, and the same bits each time."""
    inputs, start = case.inputs(), case.allocate()
    outputs, results = [deepcopy(start) for _ in threads], []
    try:
        for n, own in zip(threads, outputs):  # nothing else in between, so that calls come as fast as in use
            set_threads(n)
            results.append(case.run(backend, inputs, own))
    except Exception as e:
        return Finding(case, inf, f"{type(e).__name__}: {e}")
    for n, result in zip(threads, results):
        if differing := other_bits(results[0], result):
            return Finding(case, inf, f"{differing}: not the same bits with {threads[0]} thread and with {n}")
    if not case.outputs:
        return _returned(case, inputs, results[0]["returned"])
    return _written(case, results[0], *explained(case, inputs, start))


def other_bits(a: Outputs, b: Outputs) -> str:
    """The name of the first output that is not the same in both, or "" """
    return next((name for name in a if np.asarray(a[name]).tobytes() != np.asarray(b[name]).tobytes()), "")


def _returned(case: Case, inputs: Arguments, got: int) -> Finding:
    expected = case.run(reference, inputs)["returned"]
    return Finding(case, 0.0) if got == expected else Finding(case, inf, f"got {got}, expected {expected}")


def _written(case: Case, got: Outputs, same: Outputs, truth: Outputs, allowed: Outputs) -> Finding:
    """What is worst of all that the kernel wrote."""
    worst = Finding(case, 0.0)
    for name, a in got.items():
        errors = errors_of(a, same[name], truth[name], allowed[name])
        if errors.max(initial=0) > worst.error:
            at = np.unravel_index(int(errors.argmax()), a.shape)
            place = f"{name} at {tuple(map(int, at))}: got {a[at]}, expected {truth[name][at].astype(a.dtype)}"
            worst = Finding(case, float(errors[at]), place if errors[at] > 1 else "")
    return worst


def errors_of(got: np.ndarray, same: np.ndarray, truth: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The errors in what is allowed; infinite where NaN or an infinity is missing, or is where none should be."""
    error = distance(got, truth)
    errors = np.divide(error, allowed, out=np.zeros_like(truth), where=error > 0)
    other = unlike(got, same) & unlike(got, truth.astype(same.dtype))  # where only float32 overflows, either is right
    return np.where(other, inf, errors)


def unlike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where they are not both finite, nor both NaN, nor the same infinity."""
    return ~(np.isfinite(a) & np.isfinite(b) | np.isnan(a) & np.isnan(b) | (a == b))


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b| in float64; 0 where one of them is not finite."""
    d = np.abs(np.subtract(a, b, dtype=np.float64))
    return np.where(np.isfinite(d), d, 0)


# -------------------------------------------------------------------------------- what rounding explains


def explained(case: Case, inputs: Arguments, start: Arguments) -> tuple[Outputs, Outputs, Outputs]:
    """-> what the reference gives in the case's precision, the truth, and how far from that a result may be"""
    same = case.run(reference, inputs, deepcopy(start))
    inputs, start = widen(inputs), widen(start)
    truth = case.run(reference, inputs, deepcopy(start))
    eps, random = float(np.finfo(case.dtype).eps), np.random.default_rng(0)
    moved = {name: np.zeros_like(a) for name, a in truth.items()}
    for _ in range(COPIES):
        other = case.run(reference, shaken(inputs, eps, random), shaken(start, eps, random))
        moved = {name: np.maximum(a, distance(other[name], truth[name])) for name, a in moved.items()}
    allowed, few = {}, MORE.get(family(case.kernel), FEW)
    for name, a in truth.items():
        size = distance(a, np.zeros_like(a))
        rounded = eps * (size + min(size.max(initial=0), 1) / 4)
        allowed[name] = distance(same[name], a) + few * (moved[name] + median(moved[name]) + rounded)
    return same, truth, allowed


def shaken(arguments: Arguments, eps: float, random: np.random.Generator) -> Arguments:
    """The arguments with each number nearer to 0 by up to eps of it, so that none leaves where it must be, as 0 to 1.

    But not what an activation saved: beside a limit, such as 1 of hardtanh, the derivative is another.
    """

    def moved(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [moved(name, a) for a in value]
        if name == "saved" or not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            return value
        return np.asarray(value * (1 - eps * random.random(value.shape)))

    return {name: moved(name, value) for name, value in arguments.items()}


def median(a: np.ndarray) -> float:
    """The upper one; 0 of nothing."""
    middle = a.size // 2
    return float(np.partition(a, middle, axis=None)[middle]) if a.size else 0.0
