"""Is a result right? Judged in one place, before anything is timed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .work import Case, expected, inputs

SWITCHED = 1e-3


class Answers:
    """The right answer of each case, computed once in a run and then read from a folder: the largest take seconds."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    def of(self, case: Case) -> list[np.ndarray]:
        place = self._folder / case.name
        if not place.exists():
            arrays = expected(case, inputs(case))
            begun = self._folder / f"{case.name}, begun"
            begun.mkdir(exist_ok=True)
            for number, array in enumerate(arrays):
                np.save(begun / f"{number:03}.npy", array)
            begun.rename(place)
        return [np.load(path, mmap_mode="r") for path in sorted(place.iterdir())]


def case_problem(case: Case, results: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> str | None:
    """What is wrong with the results of a case, or None."""
    return problem(results, expected, case.dtype, case.depth, switches=case.section == "network")


def problem(
    results: Sequence[np.ndarray], expected: Sequence[np.ndarray], dtype: str, depth: int, switches: bool = False
) -> str | None:
    """What is wrong with `results`, or None.

    expected: the float64 reference. depth: how many terms the longest sum has. Rounding errors of such a sum
    grow like its square root; sixteen times that, relative to the element or to the typical element, passes any
    order of summation and catches anything less exact, such as a product in bfloat16 or TF32.
    switches: among millions of relu units some are within rounding of 0, and switch another part of a gradient on or
    off. So an array may be wrong by that much as a whole: ‖got - want‖ is at most SWITCHED · ‖want‖, where 9e-5 was
    seen. A loss hardly changes by that.
    """
    if len(results) != len(expected):
        return f"{len(results)} results where {len(expected)} were expected"
    tolerance = 16 * float(np.finfo(dtype).eps) * max(depth, 1) ** 0.5
    for number, (got, want) in enumerate(zip(results, expected)):
        name = f"result {number}" if len(expected) > 1 else "the result"
        if got.shape != want.shape:
            return f"{name} has shape {got.shape}, expected {want.shape}"
        if got.dtype != dtype:
            return f"{name} is {got.dtype}, expected {dtype}"
        if want.size == 0:
            continue
        if switches and want.ndim:
            error, size, allowed = np.linalg.norm(got - want), np.linalg.norm(want), SWITCHED
        else:
            error, size, allowed = np.abs(got - want), np.maximum(np.abs(want), _typical(want)), tolerance
        if not np.all(error <= allowed * size):  # a NaN is not <= anything
            worst = np.max(error / np.where(size > 0, size, 1))
            return f"{name} is wrong: relative error {worst:.1e}, rounding explains {allowed:.1e}"
    return None


def _typical(want: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(want))))
