"""Every backend has every kernel of the contract, under its name and with its arguments."""

import inspect
from importlib import import_module

import pytest

from fastmlp.kernels import reference
from fastmlp.kernels.contract import ACTIVATIONS, KERNELS
from fastmlp.kernels.reference.activations import DERIVATIVE, FORWARD


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernel_takes_what_the_contract_says(backend, kernel):
    function = getattr(backend, kernel)
    assert tuple(inspect.signature(function).parameters) == KERNELS[kernel]


def test_codes_count_from_zero_in_order():
    assert [a.code for a in ACTIVATIONS.values()] == list(range(len(ACTIVATIONS)))
    assert [a.name for a in ACTIVATIONS.values()] == list(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_complete(name):
    act = ACTIVATIONS[name]
    assert act.saves in ("y", "z")
    assert set(act.nonnegative) <= set(act.params)
    assert set(act.positive) | set(act.increasing) <= set(act.params)
    assert all(act.params[key] >= 0 for key in act.nonnegative)
    assert all(act.params[key] > 0 for key in act.positive)
    assert act.defaults == tuple(act.params.values())


def test_the_reference_has_every_activation_and_no_other():
    assert list(FORWARD) == list(DERIVATIVE) == list(ACTIVATIONS)


def test_the_reference_exports_the_kernels_and_nothing_else():
    assert sorted(reference.__all__) == sorted(KERNELS)


def test_the_c_engine_numbers_the_activations_alike(cython):
    engine = import_module("fastmlp.kernels.cython_cpu.engine")
    assert engine.activation_names() == tuple(ACTIVATIONS)
