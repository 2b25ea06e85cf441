"""Errors in units in the last place, and exact values to measure them against.

For test_ulp.py and for tools/ulp_table.py.
"""

import numpy as np

from fastmlp.kernels.contract import ACTIVATIONS
from fastmlp.kernels.reference.activations import SELU_ALPHA, SELU_SCALE


def forward(backend, name, x):
    act, y = ACTIVATIONS[name], np.empty_like(x)
    backend.activation_forward(x, act, act.defaults, y)
    return y


def quietly(values, dtype):
    """Converted; what is too large becomes inf, without a warning"""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(values).astype(dtype)


def ulp_errors(got, truth, rest=0.0):
    """|got - (truth + rest)| in ulp of the nearest number of got's dtype; 0 where that is not finite."""
    nearest = quietly(truth, got.dtype)
    finite = np.isfinite(nearest) & np.isfinite(got)
    with np.errstate(invalid="ignore", over="ignore"):
        unit = np.spacing(np.abs(np.where(finite, nearest, 1)))
        return np.where(finite, np.abs(got.astype(np.float64) - truth - rest), 0) / unit


def wrong_kind(got, truth):
    """Where got is not finite and should be, or should be and is not: NaN for NaN, inf for inf and overflow."""
    expected = quietly(truth, got.dtype)
    with np.errstate(invalid="ignore"):  # comparing a signalling NaN
        alike = (got == expected) | (np.isnan(got) & np.isnan(expected))
    return ~alike & ~(np.isfinite(expected) & np.isfinite(got))


def exact_formulas(mp):
    """Every activation, with its default parameters, as a function of one mpf."""

    def softplus(z):
        return mp.log1p(mp.exp(z))

    def sigmoid(z):
        return 1 / (1 + mp.exp(-z))

    def tanhshrink(z):
        with mp.extraprec(mp.prec + 3 * max(0, -mp.mag(z))):  # they have twice as many leading bits in common
            return z - mp.tanh(z)

    def elu(z, alpha):
        return z if z > 0 else alpha * mp.expm1(z)

    return {
        "identity": lambda z: z,
        "relu": lambda z: max(z, 0),
        "leaky_relu": lambda z: z if z > 0 else mp.mpf(0.01) * z,
        "relu6": lambda z: min(max(z, 0), 6),
        "sigmoid": sigmoid,
        "tanh": mp.tanh,
        "elu": lambda z: elu(z, 1),
        "selu": lambda z: mp.mpf(SELU_SCALE) * elu(z, mp.mpf(SELU_ALPHA)),
        "softsign": lambda z: z / (1 + abs(z)),
        "gelu": lambda z: z * mp.erfc(-z / mp.sqrt(2)) / 2,
        "gelu_tanh": lambda z: z * sigmoid(2 * mp.sqrt(2 / mp.pi) * (z + mp.mpf("0.044715") * z**3)),
        "silu": lambda z: z * sigmoid(z),
        "softplus": lambda z: z if z > 20 else softplus(z),
        "mish": lambda z: z * mp.tanh(softplus(z)),
        "hardswish": lambda z: z * min(max(z + 3, 0), 6) / 6,
        "logsigmoid": lambda z: -softplus(-z),
        "celu": lambda z: elu(z, 1),
        "tanhshrink": tanhshrink,
        "hardsigmoid": lambda z: min(max(z + 3, 0), 6) / 6,
        "hardtanh": lambda z: min(max(z, -1), 1),
        "hardshrink": lambda z: z if abs(z) > 0.5 else mp.mpf(0),
        "softshrink": lambda z: mp.sign(z) * max(abs(z) - 0.5, 0),
        "threshold": lambda z: max(z, 0),
    }


def points64():
    """Where the functions bend, far into their tails, and of every size down to the subnormals."""
    rng = np.random.default_rng(0)
    sizes = 10.0 ** rng.uniform(-320, 3, 800)
    return np.concatenate([rng.uniform(-40, 40, 1500), rng.uniform(-800, 800, 600), sizes, -sizes])


def exact_values(mp, name, x):
    """The activation of every x in 200 bits -> the nearest float64, and what is missing from it."""
    with mp.workprec(200):
        formula = exact_formulas(mp)[name]
        exact = [formula(mp.mpf(v)) for v in x.tolist()]
        nearest = np.array([float(t) for t in exact])
        return nearest, np.array([float(t - near) for t, near in zip(exact, nearest.tolist())])
