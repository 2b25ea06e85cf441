"""Plans for arrays of one shape: programs, with what has to be looked after before and after each run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import ops
from ..checks import Array, output
from ..creation import default_generator
from ..grad_mode import no_grad
from ..memory import zeros
from ..nn import Module
from ..nn.functional import move_statistics
from ..nn.module import evaluation
from ..ops.arrays import alike, apart, output_like
from ..ops.program import active
from ..optim import Optimizer
from ..tape import array_of, changed, settle, wrap
from .arena import Arena
from .lower import Calls, Training, check_slots, prediction, record_update, step
from .trace import Layer, NotAChain, NotYet, trace
from .updates import Update
from .watch import Watch

SOME = 256  # rows that are compared at a time


class Step:
    """Training on inputs and targets of one shape."""

    def __init__(self, model: Module, training: Training, x: Array, y: Array) -> None:
        loss, optimizer = training.loss, training.optimizer
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.layers, expected = trace(model, x)
        slots = self._slots = zeros(x.shape, x.dtype), zeros(y.shape, y.dtype)
        with _numbers_kept(optimizer):
            self.calls = step(self.layers, slots[0].reshape(len(x), -1), slots[1], training)
        check_slots(self.calls.calls, slots)
        forward = _checked_forward(self.calls, slots[0], x, expected)
        self._share = self.calls.share
        self._forward: Any = forward if self._share is None else None
        if self._share is not None:  # what it gave is not needed any more
            self.calls.output, self.calls.forward = None, []
        self.program = ops.program(self.calls.calls, slots, _results(self.calls, training.keeps_output))
        self._changes = bool(self.calls.moved or self.calls.seeds)  # is there anything else to be done around a run?
        self._updates = self.calls.updates
        self._learnt = [p for update in self._updates for p in update.params]
        self._watch = Watch(model, True, loss, optimizer)
        self._backend = active()
        self._arena, self._memory = training.arena, training.arena.memory

    def fits(self, x: Array, y: Array) -> bool:
        """Is it for such arrays?"""
        return alike(x, self._slots[0]) and alike(y, self._slots[1])

    def is_fresh(self) -> bool:
        """Would it be made alike now?"""
        for update in self._updates:
            if not update.counts_alike():
                return False
        same = self._backend is active() and self._arena.memory is self._memory
        return same and self._watch.sees_no_change()

    def attempt(self, x: Any, y: Any) -> float | None:
        """A step, if the plan is for such arrays and would be made alike now; else None. -> as `run`"""
        return self.run(x, y) if self.fits(x, y) and self.is_fresh() else None

    def run(self, x: Array, y: Array) -> float:
        """-> the loss. Where the plan has no updates, calls.gradients hold the gradients, or their sums.

        NotYet, with nothing changed: the step is the optimizer's own.
        """
        calls = self.calls
        before = [update.numbers() for update in self._updates]
        try:
            for update in self._updates:
                self._prepare(update)
            if self._changes:
                _refresh(calls)
                _draw(calls.seeds)
            divisor = 1.0 if self._share is None else self._share.prepare(y)
            settle()
            changed(self._learnt)
            refused = self.program.run(x, y)  # an interrupt comes after it: what it did is counted already
        except Exception:
            self._undo(before)
            raise
        if refused >= 0:
            self._undo(before)
            self._refused(x, y)
        if self._changes:
            for layer, mean, var in calls.moved:
                follow(layer, mean, var, len(x))
        if self._share is None:
            return calls.loss.item()
        return calls.loss.dtype.type(calls.loss.sum(dtype=np.float64)).item() if divisor else np.nan

    def can_repeat(self) -> bool:
        """May one step follow the other without a look at anything but the number of the step?"""
        if self._share is not None:
            return False
        return bool(self._updates) and not self._changes and not any(u.is_always_new for u in self._updates)

    def repeat(self, x: Array, y: Array, order: Array) -> tuple[int, float]:
        """A step for each batch of the rows in `order`, which fill them. -> how many, the sum of their losses

        Errors are those of the step that raises; those before it are made.
        """
        for update in self._updates:
            self._prepare(update)
        settle()
        counters = [update.step for update in self._updates if update.step is not None]
        begin = [update.numbers() for update in self._updates]
        done, total = self.program.repeat(x, y, order, counters, self.calls.loss)
        changed(self._learnt)
        for update, numbers in zip(self._updates, begin):  # which count the first one already
            update.undo(numbers)
            update.count(done - 1)
        rows = len(self._slots[0])
        if done * rows < len(order):
            some = order[done * rows : (done + 1) * rows]
            self._refused(x[some], y[some])
        return done, total

    def _prepare(self, update: Update) -> None:
        """The call gets the options of now, and the number of the step, which counts from here on."""
        update.begin()
        if update.has_new_options():
            self.optimizer._check(update.group)
            try:
                record_update(self.calls, self.optimizer, update)
            except (KeyError, NotAChain):
                raise NotYet from None
            self.program.replace(update.index, self.calls.calls[update.index][1])
            update.look_at_options()
        update.count()

    def _undo(self, before: list[dict[str, Any]]) -> None:
        for update, numbers in zip(self._updates, before):
            update.undo(numbers)

    @no_grad()
    def _refused(self, x: Array, y: Array) -> None:
        if self._share is not None:  # it is the labels: logits are not looked at
            output = np.zeros((len(x), self._share.classes), x.dtype)
        else:
            output = self.calls.output
            self._forward.run(x)
        self.loss(wrap(output), wrap(y))  # which says what is wrong with either
        raise RuntimeError("y: changed while the step ran")


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


def _results(calls: Calls, keeps_output: bool) -> list[Array]:
    """The arrays that are looked at after a step."""
    statistics = [a for _, *both in calls.moved for a in both]
    output = [calls.output] if keeps_output else []
    return [calls.loss, *output, *statistics, *(g for _, g in calls.gradients if not calls.updates)]


def _checked_forward(calls: Calls, slot: Array, x: Array, expected: Array) -> Any:
    """The program that gives the output alone, which is what the model gave: NotAChain if not."""
    random = default_generator.rng.bit_generator
    state = random.state
    _draw(calls.seeds)
    random.state = state
    forward = ops.program(calls.forward, (slot,))
    forward.run(x)
    same = calls.output.shape == expected.shape
    for row in range(0, len(expected) if same else 0, SOME):  # the comparison needs memory of its own
        some = slice(row, row + SOME)
        same = same and np.array_equal(calls.output[some], expected[some], equal_nan=True)
    if not same:
        raise NotAChain("its forward does more than call one layer after the other")
    return forward


def follow(layer: Layer, mean: Array, var: Array, rows: int) -> None:
    """The running statistics follow those of the batch, as in the layer itself."""
    running, module = layer.options["running"], layer.options.get("module")
    if not layer.options["training"] or running[0] is None:
        return
    momentum = layer.options["momentum"] if module is None else module.next_momentum()
    move_statistics(running[0], running[1], mean, var, rows, momentum)


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

    def __init__(self, model: Module, arena: Arena, x: Array) -> None:
        self.model = model
        with evaluation(model):
            self.layers, expected = trace(model, x)
        self.by_rows = not any(layer.options.get("training") or layer.kind == "dropout" for layer in self.layers)
        slot = self._slot = zeros(x.shape, x.dtype)
        self.calls = prediction(self.layers, slot.reshape(len(x), -1), arena)
        self._like = self.calls.output
        self._changes = bool(self.calls.moved or self.calls.seeds)  # is there anything to be done before a run?
        check_slots(self.calls.calls, (slot, self._like))
        _checked_forward(self.calls, slot, x, expected)
        self._backend = active()
        self.program = ops.program(self.calls.calls, (slot, self._like))
        self._watch = Watch(model, modes=False)
        self._arena, self._memory = arena, arena.memory

    def fits(self, x: Array) -> bool:
        """Is it for such arrays?"""
        return alike(x, self._slot)

    def is_fresh(self) -> bool:
        """Would it be made alike now?"""
        same = self._backend is active() and self._arena.memory is self._memory
        return same and self._watch.sees_no_change()

    def attempt(self, x: Any, out: Any) -> Any:
        """A prediction, if the plan is for such an array and would be made alike now; else None."""
        return self.run(x, out) if self.fits(x) and self.is_fresh() else None

    def run(self, x: Array, out: Array | None) -> Array:
        y = output_like(out, self._like)
        if y is None or (out is not None and not apart(out, x)):
            return self._run_into(x, out)
        if self._changes:
            _refresh(self.calls)
            _draw(self.calls.seeds)
        settle()
        self.program.run(x, y)
        return y

    def _run_into(self, x: Array, out: Any) -> Array:
        """Where the kernels cannot write into out, or it is wrong: it gets a copy."""
        like = self._like
        y = output(out, like.shape, like.dtype, (x,))
        y[...] = self.run(x, None)
        return y


class Predictor:
    """What predicts, as fast as it can: the first thing that `Network.predict` does."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._last_prediction: Prediction | None = None  # the one that ran last

    def predict(self, x: Any, out: Array | None = None) -> Any:
        """What the model says to x (m, ...), in evaluation mode: (m, ...), an array for an array, else a Tensor.

        out: an array to write it into, and to return. More than 1024 rows are taken in parts: this rounds otherwise.
        """
        with self._lock:
            plan = self._last_prediction
            y = None if plan is None else plan.attempt(x, out)
            return self._predict(x, out) if y is None else y

    def _predict(self, x: Any, out: Array | None) -> Any:
        """The same, where the plan that ran last does not serve."""
        raise NotImplementedError


class Refusal:
    """Why there is no plan, as long as nothing changes."""

    def __init__(self, watch: Watch, reason: str) -> None:
        self.watch = watch
        self.reason = reason
