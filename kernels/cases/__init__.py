"""Random inputs for every kernel, the same in every run: what the tests check and the benches time.

A `Case` is one call of one kernel. One builder for each family of kernels makes a case of any shape and option;
`all_cases()` is the selection that the tests run. It covers rather than multiplies: every shape with some
activations, every activation on some shapes, every layout with a few shapes, every option on one shape.

Inputs lie between NaNs in memory: before them, behind them and, where a layout has gaps, in the gaps. A kernel
that reads a wrong element cannot hide it.

This module may import numpy and `contract` only.
"""

from .activations import OTHER_PARAMS, activation, activation_cases, prelu
from .draw import LAYOUTS, Case, Draw, between_gaps, flatten, lay_out, special_values, widen
from .linear import linear_backward, linear_cases, linear_forward
from .losses import (
    OTHER_LOSS_PARAMS,
    cross_entropy,
    elementwise_loss,
    find_bad_label,
    find_outside_unit,
    loss_cases,
    nll_loss,
)
from .normalize import dropout, dropout_cases, normalize, normalize_cases
from .optim import clip, optim_cases, update
from .rows import row_cases, softmax

__all__ = [
    "LAYOUTS",
    "OTHER_LOSS_PARAMS",
    "OTHER_PARAMS",
    "Case",
    "Draw",
    "activation",
    "all_cases",
    "between_gaps",
    "clip",
    "cross_entropy",
    "dropout",
    "elementwise_loss",
    "find_bad_label",
    "find_outside_unit",
    "flatten",
    "lay_out",
    "linear_backward",
    "linear_forward",
    "nll_loss",
    "normalize",
    "prelu",
    "softmax",
    "special_values",
    "update",
    "widen",
]


def all_cases() -> list[Case]:
    """The selection, every id once."""
    groups = (
        linear_cases,
        activation_cases,
        row_cases,
        normalize_cases,
        dropout_cases,
        loss_cases,
        optim_cases,
    )
    return list({case.id: case for group in groups for case in group()}.values())
