"""Every case of `kernels/cases.py` on every backend: right to a few roundings, and nothing else written."""

import numpy as np
import pytest
from compare import (
    assert_as_good_as,
    assert_near,
    assert_same_kind,
    plain_formula_scale,
    rounding,
    truth_and_scales,
)

from fastmlp.kernels import reference
from fastmlp.kernels.cases import all_cases, flatten, widen

CASES = all_cases()
FLOAT32 = [case for case in CASES if case.dtype == "float32" and case.outputs]
FENCE = 67  # elements before and behind each output that a kernel must leave alone
MARK = -12345.678


def fenced(a):
    """A copy of `a` with FENCE marks on either side -> the copy, and the whole buffer."""
    buffer = np.full(a.size + 2 * FENCE, MARK, a.dtype)
    copy = buffer[FENCE : FENCE + a.size].reshape(a.shape)
    copy[...] = a
    return copy, buffer


def all_fenced(outputs):
    """Fenced copies of the outputs, and the whole buffer of each by its flat name."""
    buffers = {}

    def copy_of(name, value):
        if isinstance(value, list):
            return [copy_of(f"{name}[{i}]", a) for i, a in enumerate(value)]
        if value is None:
            return None
        copy, buffers[name] = fenced(value)
        return copy

    return {name: copy_of(name, value) for name, value in outputs.items()}, buffers


def owner(a):
    """The array that owns the memory which `a` is a view of."""
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a


def memory(inputs):
    """The bytes of every input array, of the gaps between its elements too."""
    return {name: owner(a).tobytes() for name, a in flatten(inputs).items() if isinstance(a, np.ndarray)}


def assert_zeros_signed_alike(got, same, truth):
    """-0 where the reference has -0, in both precisions."""
    zero = (got == 0) & (same == 0) & (truth == 0) & (np.signbit(same) == np.signbit(truth))
    wrong = zero & (np.signbit(got) != np.signbit(same))
    assert not wrong.any(), f"the sign of zero differs at {np.argwhere(wrong)[:5]}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_result(backend, case):
    """As good as the reference in the same precision.

    For the reference itself only the fences say something: its numbers are checked by
    `test_reference_in_float32` and by test_reference.py.
    """
    inputs = case.inputs()
    before = memory(inputs)
    outputs, fences = all_fenced(case.allocate())

    got = case.run(backend, inputs, outputs)

    assert memory(inputs) == before, "the kernel wrote into an input"
    for name, buffer in fences.items():
        ends = np.concatenate([buffer[:FENCE], buffer[buffer.size - FENCE :]])
        assert (ends == np.array(MARK, buffer.dtype)).all(), f"the kernel wrote outside of {name}"
    same = case.run(reference, inputs)
    if not case.outputs:
        assert got == same
        return
    truth, scales = truth_and_scales(case, inputs)
    for name in got:
        assert_as_good_as(got[name], same[name], truth[name], scales[name])
    if case.kernel == "activation_forward":
        assert_zeros_signed_alike(got["y"], same["y"], truth["y"])


def longest_sum(case, inputs):
    """The number of terms of the longest sum that the kernel computes."""
    return max((max(a.shape, default=0) for a in inputs.values() if isinstance(a, np.ndarray)), default=0)


@pytest.mark.parametrize("case", FLOAT32, ids=lambda case: case.id)
def test_reference_in_float32(case):
    """The reference's own error in float32, the measure of the backends', keeps within the textbook's bound.

    That is as many roundings as the sums have terms, and a handful for the rest.
    """
    inputs = case.inputs()
    same = case.run(reference, inputs)
    truth, scales = truth_and_scales(case, inputs)
    if case.kernel == "activation_forward":
        scales = plain_formula_scale(widen(inputs), truth, "float32")
    few = 8 + (0 if case.kernel.startswith("activation") else longest_sum(case, inputs))
    for name in same:
        assert_same_kind(same[name], same[name], truth[name])
        assert_near(same[name], truth[name], rounding("float32", scales[name], few))
