"""Plans for arrays of one shape: programs, with what has to be looked after before and after each run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import ops
from ..checks import Array, output
from ..creation import default_generator
from ..grad_mode import no_grad
from ..nn import Module
from ..nn.functional import move_statistics
from ..nn.module import evaluation
from ..ops.arrays import alike, in_context, output_like
from ..optim import Optimizer
from ..tape import array_of, changed, settle, wrap
from .lower import Calls, Update, check_slots, prediction, record_update, step
from .trace import Layer, NotAChain, NotYet, trace
from .watch import Entry, Watch, entries_of, unchanged


class Step:
    """Training on inputs and targets of one shape."""

    def __init__(self, model: Module, loss: Any, optimizer: Optimizer, updates: bool, x: Array, y: Array) -> None:
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.layers, expected = trace(model, x)
        slots = self._slots = np.zeros_like(x), np.zeros_like(y)
        with _numbers_kept(optimizer):
            self.calls = step(self.layers, slots[0].reshape(len(x), -1), slots[1], loss, optimizer, updates)
        check_slots(self.calls.calls, slots)
        self._forward = _checked_forward(self.calls, slots[0], x, expected)
        self.program = ops.program(self.calls.calls, slots, _results(self.calls))
        self._learnt = [p for update in self.calls.updates for p in update.params]
        self._options = [_options(update) for update in self.calls.updates]
        self._watch = Watch(model, True, loss, optimizer)
        self._backend = in_context.get()

    def fits(self, x: Array, y: Array) -> bool:
        """Is it for such arrays?"""
        return alike(x, self._slots[0]) and alike(y, self._slots[1])

    def is_fresh(self) -> bool:
        """Would it be made alike now?"""
        for update in self.calls.updates:
            if update.step is not None:
                count = update.states[0]["step"]
                for state in update.states:
                    if state["step"] != count:
                        return False
        return self._backend is in_context.get() and self._watch.sees_no_change()

    def run(self, x: Array, y: Array) -> float:
        """-> the loss. Where the plan has no updates, calls.gradients hold the gradients.

        NotYet, with nothing changed: the step is the optimizer's own.
        """
        calls = self.calls
        before = [_numbers(update.states[0]) for update in calls.updates]
        try:
            for i, update in enumerate(calls.updates):
                self._prepare(i, update)
            _refresh(calls)
            _draw(calls.seeds)
            settle()
            changed(self._learnt)
            refused = self.program.run(x, y)  # an interrupt comes after it: what it did is counted already
        except Exception:
            self._undo(before)
            raise
        if refused >= 0:
            self._undo(before)
            self._refused(x, y)
        for layer, mean, var in calls.moved:
            follow(layer, mean, var, len(calls.output))
        return calls.loss.item()

    def _prepare(self, i: int, update: Update) -> None:
        """The call gets the options of now, and the number of the step, which counts from here on."""
        first = update.states[0]
        if update.step is not None:
            step = first["step"] + 1
            update.step[0] = step
        if "mu_product" in first or not unchanged(self._options[i]) or _has_lists(self._options[i]):
            self.optimizer._check(update.group)
            try:
                record_update(self.calls, self.optimizer, update)  # NAdam's product goes on
            except (KeyError, NotAChain):
                raise NotYet from None
            self.program.replace(update.index, self.calls.calls[update.index][1])
            self._options[i] = _options(update)
        if update.step is not None:
            for state in update.states:
                state["step"] = step

    def _undo(self, before: list[dict[str, Any]]) -> None:
        for update, numbers in zip(self.calls.updates, before):
            for state in update.states:
                state.update(numbers)

    @no_grad()
    def _refused(self, x: Array, y: Array) -> None:
        self._forward.run(x)
        self.loss(wrap(self.calls.output), wrap(y))  # which says what is wrong with either
        raise RuntimeError("y: changed while the step ran")


def _numbers(state: dict[str, Any]) -> dict[str, Any]:
    return {name: state[name] for name in ("step", "mu_product") if name in state}


def _has_lists(options: list[Entry]) -> bool:
    """Lists can be changed in place."""
    return any(type(value) is list for _, _, value in options)


def _draw(seeds: list[Array]) -> None:
    for seed in seeds:
        seed[0] = default_generator.rng.integers(2**63)


def _refresh(calls: Calls) -> None:
    """What batch norms with given statistics multiply by."""
    for layer, _, rstd in calls.moved:
        if not layer.options["training"]:
            running = array_of(layer.options["running"][1])
            with np.errstate(all="ignore"):
                rstd[...] = 1 / np.sqrt(running + running.dtype.type(layer.options["eps"]))


def _results(calls: Calls) -> list[Array]:
    """The arrays that are looked at after a step."""
    statistics = [a for _, *both in calls.moved for a in both]
    return [calls.loss, *statistics, *(g for _, g in calls.gradients if not calls.updates)]


def _checked_forward(calls: Calls, slot: Array, x: Array, expected: Array) -> Any:
    """The program that gives the output alone, which is what the model gave: NotAChain if not."""
    random = default_generator.rng.bit_generator
    state = random.state
    _draw(calls.seeds)
    random.state = state
    forward = ops.program(calls.calls[: calls.forward_ends], (slot,))
    forward.run(x)
    if calls.output.shape != expected.shape or not np.array_equal(calls.output, expected, equal_nan=True):
        raise NotAChain("its forward does more than call one layer after the other")
    return forward


def follow(layer: Layer, mean: Array, var: Array, rows: int) -> None:
    """The running statistics follow those of the batch, as in the layer itself."""
    running, module = layer.options["running"], layer.options.get("module")
    if not layer.options["training"] or running[0] is None:
        return
    momentum = layer.options["momentum"] if module is None else module.next_momentum()
    move_statistics(running[0], running[1], mean, var, rows, momentum)


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
            self.layers, expected = trace(model, x)
        self.by_rows = not any(layer.options.get("training") or layer.kind == "dropout" for layer in self.layers)
        slot = self._slot = np.zeros_like(x)
        self.calls = prediction(self.layers, slot.reshape(len(x), -1))
        self._like = self.calls.output
        check_slots(self.calls.calls, (slot, self._like))
        _checked_forward(self.calls, slot, x, expected)
        self._backend = in_context.get()
        self.program = ops.program(self.calls.calls, (slot, self._like))
        self._watch = Watch(model, modes=False)

    def fits(self, x: Array) -> bool:
        """Is it for such arrays?"""
        return alike(x, self._slot)

    def is_fresh(self) -> bool:
        """Would it be made alike now?"""
        return self._backend is in_context.get() and self._watch.sees_no_change()

    def run(self, x: Array, out: Array | None) -> Array:
        like = self._like
        y = output_like(out, like)
        if y is None or (out is not None and np.may_share_memory(out, x)):
            y = output(out, like.shape, like.dtype, (x,))
        _refresh(self.calls)
        _draw(self.calls.seeds)
        settle()
        if y.flags.c_contiguous:
            self.program.run(x, y)
        else:
            self.program.run(x, like)
            y[...] = like
        return y


class Refusal:
    """Why there is no plan, as long as nothing changes."""

    def __init__(self, watch: Watch, reason: str) -> None:
        self.watch = watch
        self.reason = reason
