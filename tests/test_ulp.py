"""How accurate the compiled activations are, over all floats: the error in units in the last place (ulp).

float32: a sample of 2²⁰, one from each stratum of 4096 consecutive bit patterns, so of both signs, all
exponents, subnormals, infinities and NaNs; the truth is the reference in float64. All 2³² floats are in
`tools/ulp_table.py`.
float64: some thousand points against mpmath.
"""

import numpy as np
import pytest
from ulp import exact_values, forward, points64, quietly, ulp_errors, wrong_kind

from fastmlp.kernels import reference
from fastmlp.kernels.cases import special_values
from fastmlp.kernels.contract import ACTIVATIONS, LOSSES

#: at most so many ulp: for the activations named here, and for all others
FLOAT32_ULP_ELSE = 2
FLOAT32_ULP = {
    "gelu": 4, "mish": 4, "gelu_tanh": 3, "sigmoid": 3, "silu": 3, "softplus": 3, "tanh": 3, "logsigmoid": 3,
    "tanhshrink": 3,
}  # fmt: skip
FLOAT64_ULP, FLOAT64_ULP_ELSE = {}, 4
#: the derivatives' error, as a multiple of eps · max(1, |f'|)
DERIVATIVE_EPS = 4


def sampled_floats():
    """2²⁰ float32, one from each 4096 consecutive bit patterns, and the special ones"""
    strata = np.arange(2**20, dtype=np.uint32) * np.uint32(4096)
    offsets = np.random.default_rng(0).integers(0, 4096, 2**20, dtype=np.uint32)
    return np.concatenate([(strata + offsets).view(np.float32), special_values("float32")])


FLOATS32 = sampled_floats()


def backward(backend, name, dy, saved):
    act, dx = ACTIVATIONS[name], np.empty_like(saved)
    backend.activation_backward(dy, saved, act, act.defaults, dx)
    return dx


def assert_right_kind(got, truth, x):
    wrong = wrong_kind(got, truth)
    assert not wrong.any(), f"f({x[wrong][:5]}) = {got[wrong][:5]}, should be {truth[wrong][:5]}"


def assert_within(errors, limit, x, got, truth):
    worst = errors.argmax()
    assert errors[worst] <= limit, (
        f"{errors[worst]:.2f} ulp at {x[worst]!r}: {got[worst]!r} instead of {truth[worst]!r}; "
        f"{(errors > limit).sum()} of {errors.size} are beyond {limit}"
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_float32(compiled, name):
    x = FLOATS32
    got = forward(compiled, name, x)
    truth = forward(reference, name, quietly(x, np.float64))
    assert_right_kind(got, truth, x)
    assert_within(ulp_errors(got, truth), FLOAT32_ULP.get(name, FLOAT32_ULP_ELSE), x, got, truth)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_float32_derivative(compiled, name):
    """From every z, or from every y that the activation gives."""
    saved = FLOATS32 if ACTIVATIONS[name].saves == "z" else forward(compiled, name, FLOATS32)
    # beyond 1e9 squares and cubes in the formulas overflow float32, not float64; test_kernels.py goes there
    saved = saved[~(np.abs(saved) > 1e9)]
    got = backward(compiled, name, np.ones_like(saved), saved)
    truth = backward(reference, name, np.ones(saved.shape), quietly(saved, np.float64))
    assert_right_kind(got, truth, saved)
    finite = np.isfinite(truth)
    saved, got, truth = saved[finite], got[finite], truth[finite]
    errors = np.abs(got - truth) / np.maximum(1, np.abs(truth)) / np.finfo(np.float32).eps
    assert_within(errors, DERIVATIVE_EPS, saved, got, truth)


# ------------------------------------------------------------------------------------------- float64


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_float64(compiled, name):
    mp = pytest.importorskip("mpmath", reason="mpmath is not installed").mp
    x = points64()
    got = forward(compiled, name, x)
    truth, rest = exact_values(mp, name, x)
    assert_right_kind(got, truth, x)
    assert_within(ulp_errors(got, truth, rest), FLOAT64_ULP.get(name, FLOAT64_ULP_ELSE), x, got, truth)


# ------------------------------------------------------------------------------- the logarithms of bce

LOGARITHM_ULP = 2


def logarithms(backend, x):
    """-log(x) and -log(1 - x), as the losses of bce with targets 1 and 0"""
    bce, both = LOSSES["bce"], []
    for target in (1, 0):
        loss, slope = np.empty_like(x), np.empty_like(x)
        backend.elementwise_loss(x, np.full_like(x, target), None, None, bce, (), "none", 1, loss, slope)
        both.append(loss)
    return both


def test_float32_logarithms(compiled):
    x = FLOATS32[(FLOATS32 >= 0) & (FLOATS32 <= 1)]
    for got, truth in zip(logarithms(compiled, x), logarithms(reference, x.astype(np.float64))):
        assert_right_kind(got, truth, x)
        assert_within(ulp_errors(got, truth), LOGARITHM_ULP, x, got, truth)


def test_float64_logarithms(compiled):
    mp = pytest.importorskip("mpmath").mp
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.random(1000), 10.0 ** rng.uniform(-43, 0, 1000), 1 - 10.0 ** rng.uniform(-15, 0, 1000)])
    with mp.workprec(200):
        for got, one in zip(logarithms(compiled, x), (lambda v: v, lambda v: 1 - v)):
            exact = [-mp.log(one(mp.mpf(v))) for v in x.tolist()]
            nearest = np.array([float(t) for t in exact])
            rest = np.array([float(t - near) for t, near in zip(exact, nearest.tolist())])
            assert_within(ulp_errors(got, nearest, rest), LOGARITHM_ULP, x, got, nearest)
