"""The activations and their gradients, element by element. Arguments as in kernels/contract.py.

A run is machine code over a run of numbers, of one activation: `linear` calls it as well, between its products.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types

from ..numba_scalars.activations import DERIVATIVE, FORWARD
from .entry import REALS, Address, Entry
from .memory import Array, call, inner, size
from .pool import run_tasks, worth
from .vectors import every, lanes_of, load, load_some, store, store_some

RUN = 8192  # elements to a task
CHEAP = {"identity", "relu", "leaky_relu", "relu6", "hardsigmoid", "hardtanh", "hardshrink", "softshrink", "threshold"}
CHEAP_COST, COST = 6, 24  # of an element, in multiply-adds: with the first, memory counts most

# ------------------------------------------------------------------------------------------------------------- runs


def _forward_run(formula: Any) -> Any:
    def forward(z, y, count, params):
        """y[i] = act(z[i]) for i < count; y may be z"""
        a, b = every(z, params[0]), every(z, params[1])
        at, step = 0, lanes_of(z)
        while at + step <= count:
            store(y + at, formula(load(z + at), a, b))
            at += step
        if at < count:
            store_some(y + at, formula(load_some(z + at, count - at, 0), a, b), count - at)

    return forward


def _backward_run(formula: Any) -> Any:
    def backward(dy, saved, dz, count, params):
        """dz[i] = dy[i] act'(saved[i]) for i < count; dz may be dy"""
        a, b = every(dy, params[0]), every(dy, params[1])
        at, step = 0, lanes_of(dy)
        while at + step <= count:
            store(dz + at, load(dy + at) * formula(load(saved + at), a, b))
            at += step
        if at < count:
            slope = formula(load_some(saved + at, count - at, 0), a, b)
            store_some(dz + at, load_some(dy + at, count - at, 0) * slope, count - at)

    return backward


def _takes(pointers: int) -> Any:
    return lambda real: (*[types.CPointer(real)] * pointers, types.intp, types.CPointer(real))


FORWARD_RUNS = {name: Address(_forward_run(f), _takes(2), name) for name, f in FORWARD.items()}
BACKWARD_RUNS = {name: Address(_backward_run(f), _takes(3), name) for name, f in DERIVATIVE.items()}

IDENTITY, RELU, OTHER = range(3)
KINDS = {"identity": IDENTITY, "relu": RELU}


class Run:
    """A direction of an activation with its parameters, for numbers of one size.

    code: an array of the address of its run, whether the user wrote that, what an element costs, which of KINDS it is,
    and, of the forward direction, what runs it over rows. params: reals.
    """

    def __init__(self, act: Any, params: tuple[float, ...], size: int, backward: bool) -> None:
        if act.custom is None:
            address = (BACKWARD_RUNS if backward else FORWARD_RUNS)[act.name][size]
        else:
            address = act.custom.table[2 * backward + (size == 8)]
        cost = CHEAP_COST if act.name in CHEAP and act.custom is None else COST
        kind = KINDS.get(act.name, OTHER) if act.custom is None else OTHER
        over_rows = forward_rows[size] if kind == OTHER and not backward else 0
        self.code = np.array([address, act.custom is not None, cost, kind, over_rows], np.intp)
        self.params = np.array([*params, 0, 0][:2], REALS[size].name)


class Runs(dict[Any, Run]):
    """Of one direction and one size, by the activation's code, or the user's function, and the parameters."""

    MOST = 1000  # parameters that change from call to call must not fill the memory

    def __init__(self, size: int, backward: bool) -> None:
        self.size, self.backward = size, backward

    def of(self, act: Any, params: tuple[float, ...]) -> Run:
        key = act.custom or act.code, params
        run = self.get(key)
        if run is None:
            if len(self) >= self.MOST:
                self.clear()
            run = self[key] = Run(act, params, self.size, self.backward)
        return run


forward_runs = {size: Runs(size, False) for size in REALS}
backward_runs = {size: Runs(size, True) for size in REALS}


@inner
def forward(run, is_custom, params, z, y, count):
    """y[i] = act(z[i]) for i < count; y may be z. run, is_custom, params: of a Run"""
    if is_custom:
        call(run, z, y, count)
    else:
        call(run, z, y, count, params)


def _forward_rows(run, is_custom, params, z, y, apart, rows, count):
    """y[i][j] = act(z[i][j]) for `rows` rows of `count`, `apart`; y may be z"""
    if count == apart:
        rows, count = 1, rows * count
    for i in range(rows):
        forward(run, is_custom, params, z + i * apart, y + i * apart, count)


def _rows_takes(real):
    pointer, index = types.CPointer(real), types.intp
    return index, index, pointer, pointer, pointer, index, index, index


forward_rows = Address(_forward_rows, _rows_takes)


@inner
def backward(run, is_custom, params, dy, saved, dz, count):
    """dz[i] = dy[i] act'(saved[i]) for i < count; dz may be dy"""
    if is_custom:
        call(run, dy, saved, dz, count)
    else:
        call(run, dy, saved, dz, count, params)


# ---------------------------------------------------------------------------------------------------- whole arrays


@inner
def _forward_task(job, index):
    x, y, count, code, params = job
    at = index * RUN
    forward(code[0], code[1], params, x + at, y + at, min(RUN, count - at))


def _forward(x, y, code, params):
    count = size(x)
    steps = count * code.data[2] / lanes_of(x.data)
    job = x.data, y.data, count, code.data, params.data
    run_tasks(_forward_task, job, (count + RUN - 1) // RUN, worth(steps), steps)


@inner
def _backward_task(job, index):
    dy, saved, dx, count, code, params = job
    at = index * RUN
    backward(code[0], code[1], params, dy + at, saved + at, dx + at, min(RUN, count - at))


def _backward(dy, saved, dx, code, params):
    count = size(dy)
    steps = count * code.data[2] / lanes_of(dy.data)
    job = dy.data, saved.data, dx.data, count, code.data, params.data
    run_tasks(_backward_task, job, (count + RUN - 1) // RUN, worth(steps), steps)


def _with_run(count):
    return lambda real: (*(Array(real),) * count, Array(types.intp), Array(real))


_forward_kernel = Entry(_forward, _with_run(2), "activations")
_backward_kernel = Entry(_backward, _with_run(3), "activations")


def activation_forward(x, act, params, y):
    run = forward_runs[x.itemsize].of(act, params)
    _forward_kernel[x.itemsize](x, y, run.code, run.params)


def activation_backward(dy, saved, act, params, dx):
    run = backward_runs[dy.itemsize].of(act, params)
    _backward_kernel[dy.itemsize](dy, saved, dx, run.code, run.params)
