"""Every backend has every kernel of the contract, under its name and with its arguments."""

import inspect
from importlib import import_module

import pytest

from fastmlp.kernels import reference
from fastmlp.kernels.cases import all_cases
from fastmlp.kernels.contract import ACTIVATIONS, KERNELS, LOSSES, OUTPUTS
from fastmlp.kernels.reference.activations import DERIVATIVE, FORWARD
from fastmlp.kernels.reference.losses import ELEMENTWISE


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernel_takes_what_the_contract_says(backend, kernel):
    function = getattr(backend, kernel)
    taken = tuple(inspect.signature(function).parameters)
    assert taken in (KERNELS[kernel], (*KERNELS[kernel], "record"))  # record: for its Program


def test_outputs_come_last_and_are_those_of_the_cases():
    assert all(set(names) <= set(KERNELS[kernel][-len(names) - 1 :]) for kernel, names in OUTPUTS.items())
    for case in all_cases():
        if case.start is None:  # else they are read, too
            assert tuple(case.outputs) == OUTPUTS.get(case.kernel, ()), case.id


@pytest.mark.parametrize("table", [ACTIVATIONS, LOSSES], ids=["ACTIVATIONS", "LOSSES"])
def test_codes_count_from_zero_in_order(table):
    assert [entry.code for entry in table.values()] == list(range(len(table)))
    assert [entry.name for entry in table.values()] == list(table)
    assert all(entry.defaults == tuple(entry.params.values()) for entry in table.values())


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


def test_the_reference_has_every_loss_and_no_other():
    assert list(ELEMENTWISE) == list(LOSSES)


def test_the_reference_exports_the_kernels_and_nothing_else():
    assert sorted(reference.__all__) == sorted(KERNELS)


def test_the_c_engine_numbers_activations_and_losses_alike(cython):
    engine = import_module("fastmlp.kernels.cython_cpu.engine")
    assert engine.activation_names() == tuple(ACTIVATIONS)
    assert engine.loss_names() == tuple(LOSSES)
