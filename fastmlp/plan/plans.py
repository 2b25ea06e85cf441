"""Plans for arrays of one shape: programs, with what has to be looked after before and after each run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import ops
from ..autograd import Tensor
from ..checks import Array, output
from ..creation import default_generator
from ..grad_mode import no_grad
from ..nn import Module
from ..nn.module import evaluation
from ..ops.arrays import alike, output_like
from ..optim import Optimizer
from ..tape import array_of, before_write, changed, settle, wrap
from .lower import Update, check_slots, prediction, record_update, step
from .trace import Layer, trace
from .watch import Entry, Watch, entries_of, unchanged


class Step:
    """Training on inputs and targets of one shape."""

    def __init__(self, model: Module, loss: Any, optimizer: Optimizer, updates: bool, x: Array, y: Array) -> None:
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.layers = trace(model, _some(x))
        slots = self._slots = np.zeros_like(x), np.zeros_like(y)
        rows = slots[0].reshape(len(x), -1)
        with _numbers_kept(optimizer):
            self.calls = step(self.layers, rows, slots[1], loss, optimizer, updates)
        check_slots(self.calls.calls, slots)
        self.program = ops.program(self.calls.calls, slots)
        self._learnt = [p for update in self.calls.updates for p in update.params]
        self._options = [_options(update) for update in self.calls.updates]
        self._watch = Watch(model, True, loss, optimizer)

    def fits(self, x: Array, y: Array) -> bool:
        """Is it for such arrays?"""
        return alike(x, self._slots[0]) and alike(y, self._slots[1])

    def is_fresh(self) -> bool:
        """Would it be made alike now?"""
        return self._watch.sees_no_change()

    def run(self, x: Array, y: Array) -> float:
        """-> the loss. Where the plan has no updates, calls.gradients hold the gradients."""
        calls = self.calls
        for seed in calls.seeds:
            seed[0] = default_generator.rng.integers(2**63)
        undo = [self._prepare(i, update) for i, update in enumerate(calls.updates)]
        settle()
        try:
            refused = self.program.run(x, y)
            if refused >= 0:
                self._refused(y)
        except BaseException:
            for update, numbers in zip(calls.updates, undo):
                for state in update.states:
                    state.update(numbers)
            raise
        changed(self._learnt)
        for layer, mean, var in calls.moved:
            follow(layer, mean, var, len(calls.output))
        for update in calls.updates:
            if update.step is not None:
                step = update.states[0]["step"] + 1
                for state in update.states:
                    state["step"] = step
        return calls.loss.item()

    def _prepare(self, i: int, update: Update) -> dict[str, Any]:
        """The call gets the options of now, and the number of the step. -> what to put back if the step fails"""
        first = update.states[0]
        if update.step is not None:
            update.step[0] = first["step"] + 1
        undo = {"mu_product": first["mu_product"]} if "mu_product" in first else {}
        if undo or not unchanged(self._options[i]):  # the product goes into NAdam's numbers
            record_update(self.calls, self.optimizer, update)
            self.program.replace(update.index, self.calls.calls[update.index][1])
            self._options[i] = _options(update)
        return undo

    @no_grad()
    def _refused(self, y: Array) -> None:
        self.loss(wrap(self.calls.output), wrap(y))  # which says what is wrong with either
        raise RuntimeError("y: changed while the step ran")


def follow(layer: Layer, mean: Array, var: Array, rows: int) -> None:
    """running = (1 - momentum) running + momentum batch, as nn.BatchNorm1d and nn.functional.batch_norm have it."""
    running, module = layer.options["running"], layer.options.get("module")
    if not layer.options["training"] or running[0] is None:
        return
    momentum = layer.options["momentum"]
    if module is not None:
        module.num_batches_tracked += 1
        momentum = 1 / module.num_batches_tracked.item() if module.momentum is None else module.momentum
    before_write(running)
    for r, batch in ((running[0], mean), (running[1], var * (rows / max(rows - 1, 1)))):
        a = array_of(r)
        a[...] += momentum * (batch - a)


def _some(x: Array) -> Tensor:
    """Two rows like those of x, to trace with: numbers do not matter."""
    return wrap(np.zeros((min(len(x), 2), *x.shape[1:]), x.dtype))


def _options(update: Update) -> list[Entry]:
    return [entry for entry in entries_of(update.group) if entry[1] != "params"]


@contextmanager
def _numbers_kept(optimizer: Optimizer) -> Iterator[None]:
    """What the optimizer counts does not go on."""
    kept = [(s, {k: v for k, v in s.items() if not isinstance(v, np.ndarray)}) for s in optimizer.state.values()]
    try:
        yield
    finally:
        for state, numbers in kept:
            state.update(numbers)


class Prediction:
    """Output in evaluation mode for inputs of one shape."""

    def __init__(self, model: Module, x: Array) -> None:
        self.model = model
        with evaluation(model):
            self.layers = trace(model, _some(x))
        self.by_rows = not any(layer.options.get("training") for layer in self.layers)
        slot = self._slot = np.zeros_like(x)
        self.calls = prediction(self.layers, slot.reshape(len(x), -1))
        self._like = self.calls.output
        check_slots(self.calls.calls, (slot, self._like))
        self.program = ops.program(self.calls.calls, (slot, self._like))
        self._watch = Watch(model, modes=False)

    def fits(self, x: Array) -> bool:
        """Is it for such arrays?"""
        return alike(x, self._slot)

    def is_fresh(self) -> bool:
        """Would it be made alike now?"""
        return self._watch.sees_no_change()

    def run(self, x: Array, out: Array | None) -> Array:
        like = self._like
        y = output_like(out, like)
        if y is None or (out is not None and np.may_share_memory(out, x)):
            y = output(out, like.shape, like.dtype, (x,))
        for layer, _, rstd in self.calls.moved:
            if layer.options["training"]:
                continue  # it has no running statistics, and takes those of the rows
            running = array_of(layer.options["running"][1])
            with np.errstate(all="ignore"):
                rstd[...] = 1 / np.sqrt(running + running.dtype.type(layer.options["eps"]))
        settle()
        if y.flags.c_contiguous:
            self.program.run(x, y)
        else:
            self.program.run(x, like)
            y[...] = like
        return y
