"""Is a result right? Judged in one place, before anything is timed."""

from collections.abc import Sequence

import numpy as np

from .work import Case

SWITCHED = 0.01


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
    off. So it may be wrong by that much as a whole: ‖got - want‖ is at most SWITCHED · ‖want‖.
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
        if switches:
            error, size, tolerance = np.linalg.norm(got - want), np.linalg.norm(want), SWITCHED
        else:
            size = np.maximum(np.abs(want), np.sqrt(np.mean(np.square(want))))
            error = np.abs(got - want)
        if not np.all(error <= tolerance * size):  # a NaN is not <= anything
            worst = np.max(error / np.where(size > 0, size, 1))
            return f"{name} is wrong: relative error {worst:.1e}, rounding explains {tolerance:.1e}"
    return None
