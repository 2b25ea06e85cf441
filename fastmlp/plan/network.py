"""fastmlp.compile: a model with its loss and its optimizer, whose step is one native call."""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..checks import Array, kind, number, output, positive
from ..creation import Generator, default_generator
from ..grad_mode import enable_grad, no_grad
from ..io import load, save
from ..nn import Module
from ..nn.module import evaluation, model_dtype
from ..nn.utils import clip_grad_norm_, clip_grad_value_
from ..optim import Optimizer
from ..tape import array_of, look_at, wrap
from .arena import Arena
from .explain import explain
from .lower import Gradients, Training
from .plans import Prediction, Predictor, Refusal, Step
from .saved import Chain, chain_of, tree_of
from .sums import LAST, ONLY, Sums
from .trace import NotAChain, NotYet, input_shape, trace
from .watch import Watch

ROWS = 1024  # of a prediction, at a time
REPEATED = 256  # steps in native code, before an interrupt is heard
MANY = 32  # plans that are kept, for inputs of so many shapes


class Network(Predictor):
    """What `fastmlp.compile` gives.

    The model's parameters, buffers and modes, and the optimizer's options and state are looked at in each call: whoever
    changes them changes what happens next. What a plan cannot do is done layer by layer, with the same result;
    `explain()` says what and why.

    Several threads may use one network; their calls come one after the other.
    """

    def __init__(
        self,
        model: Module,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        optimizer: Optimizer | None = None,
        clip_grad_norm: float | None = None,
        clip_grad_value: float | None = None,
        accumulate: int = 1,
    ) -> None:
        Predictor.__init__(self)
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.clip_grad_norm, self.clip_grad_value, self.accumulate = clip_grad_norm, clip_grad_value, accumulate
        self._forget()
        self._sums = Sums()

    def _forget(self) -> None:
        self._last_prediction = None
        self._steps: dict[Any, Step | Refusal] = {}
        self._backwards: dict[Any, Step | Refusal] = {}  # steps without their update
        self._predictions: dict[Any, Prediction | Refusal] = {}
        self._last_steps: dict[str, Step | None] = {}  # those that ran last: of each stage
        self._last_backward: Step | None = None
        self._lends = False  # are gradients of a plan the parameters' own?
        self._arena, self._prediction_arena = Arena(), Arena()  # gradients outlive a prediction
        self.reason: str | None = None  # why the layers run one by one, if they do

    # ----------------------------------------------------------------------------------------------- training

    def step(self, x: Any, y: Any) -> float:
        """One step of training on inputs x (m, ...) and targets y. -> the loss

        x, y: arrays or tensors, as model and loss take them. Errors are theirs; parameters and the optimizer's state
        are then as they were.
        """
        if self.loss is None or self.optimizer is None:
            raise RuntimeError("step: compile(model, loss, optimizer) gives a network that can be trained")
        with self._lock:
            if self._lends:
                self._take_back()
            stage = self._sums.stage(self.accumulate)
            plan, loss = self._last_steps.get(stage), None
            try:
                if plan is not None and self._sums.fit(plan.calls.gradients):
                    loss = plan.attempt(x, y)
                if loss is None:
                    plan = self._last_steps[stage] = self._plan(self._steps, x, y, stage)
                    if plan is not None and self._sums.fit(plan.calls.gradients):
                        loss = plan.run(_array(x), _labels(_array(y)))
            except NotYet:
                pass
            if plan is None or loss is None:
                return self._eager_step(x, y)
            if stage != ONLY:
                self.optimizer.zero_grad()
                self._sums.follow(stage, plan.calls.gradients)
            return loss

    def backward(self, x: Any, y: Any) -> tuple[float, Array] | None:
        """The loss of a batch and its gradients, and no update: these are the parameters' `.grad`, until the next step.

        -> the loss, and the model's output, until the next step or `backward`; None, with nothing done, where there is
        no plan: call the layers.
        """
        if self.loss is None or self.optimizer is None:
            raise RuntimeError("backward: compile(model, loss, optimizer) gives a network that can be trained")
        with self._lock:
            plan = self._last_backward
            loss = None if plan is None else plan.attempt(x, y)
            if loss is None:
                plan = self._last_backward = self._plan(self._backwards, x, y, None)
                loss = None if plan is None else plan.run(_array(x), _labels(_array(y)))
            if plan is None or loss is None:
                return None
            self.optimizer.zero_grad()
            for p, g in plan.calls.gradients:
                p.grad = wrap(g)
            self._lends = True
            return loss, plan.calls.output

    def _take_back(self) -> None:
        """The gradients that `backward` lent: their memory is used again."""
        assert self.optimizer is not None
        self.optimizer.zero_grad()
        self._lends = False

    def _plan(self, plans: dict[Any, Any], x: Any, y: Any, stage: str | None) -> Step | None:
        """For such inputs and targets, made now if there is none. None: the layers run one by one."""
        if _learns(x) or _learns(y):
            return None
        xa, ya = _array(x), _labels(_array(y))
        key = xa.shape, xa.dtype, ya.shape, ya.dtype, stage
        plan = plans.get(key)
        if isinstance(plan, Step):
            if not plan.fits(xa, ya):
                return None
            if plan.is_fresh():
                return plan
        if not (_is_plain(xa) and _is_plain(ya)):
            return None
        assert self.optimizer is not None
        clip = self.clip_grad_norm, self.clip_grad_value
        training = Training(self.loss, self.optimizer, self._arena, self._sums, stage, *clip, stage is None)
        made = partial(Step, self.model, training, xa, ya)
        return self._made(plans, key, made, (self.model, True, self.loss, self.optimizer))

    def _made(self, plans: dict[Any, Any], key: Any, make: Callable[[], Any], watched: tuple[Any, ...]) -> Any:
        """A new plan, among the others. None if there is none, and the reason is kept until something changes."""
        known = plans.get(key)
        if isinstance(known, Refusal) and known.watch.sees_no_change():
            self.reason = known.reason
            return None
        self.reason = None
        while len(plans) >= MANY:
            del plans[next(iter(plans))]
        try:
            plans[key] = make()
        except NotYet:
            return None
        except (NotAChain, ValueError, TypeError, RuntimeError) as e:  # the layers say it better, if they refuse it too
            self.reason = str(e)
            plans[key] = Refusal(Watch(*watched), self.reason)
            return None
        return plans[key]

    def _eager_step(self, x: Any, y: Any) -> float:
        assert self.optimizer is not None and self.loss is not None
        self.optimizer.zero_grad()
        before = [(b, array_of(b).copy()) for b in self.model.buffers()]
        try:
            with enable_grad():
                loss = self.loss(self.model(_tensor(x)), _tensor(y))
                value = float(loss.item())
                loss.backward()
            learnt = [p for group in self.optimizer.param_groups for p in group["params"]]
            self._update([(p, array_of(p.grad)) for p in learnt if p.grad is not None])
        except BaseException:
            for b, a in before:
                array_of(b)[...] = a
            raise
        finally:
            self.optimizer.zero_grad()
        return value

    def _update(self, gradients: Gradients) -> None:
        """The optimizer's own step, with these gradients, or when it is time with the sums of so many."""
        assert self.optimizer is not None
        stage = self._sums.stage(self.accumulate)
        if stage != ONLY:
            self._sums.add(gradients)
            if stage != LAST:
                return
            gradients = list(self._sums.gradients.items())
            self._sums.clear()
        try:
            for p, g in gradients:
                p.grad = wrap(g)
            params = [p for p, _ in gradients]
            if self.clip_grad_norm is not None:
                clip_grad_norm_(params, self.clip_grad_norm)
            if self.clip_grad_value is not None:
                clip_grad_value_(params, self.clip_grad_value)
            self.optimizer.step()
        finally:
            self.optimizer.zero_grad()

    def fit_epoch(self, x: Any, y: Any, batch_size: int = 32, shuffle: bool = True, seed: int | None = None) -> float:
        """A step for each batch of the rows of x and y, the last one as it comes, those that are alike in native code.
        -> the mean loss of the rows

        shuffle: in another order each time, from the generator that `fastmlp.manual_seed` starts, or from `seed`.
        """
        xa, ya = _array(x), _labels(_array(y))
        rows = _rows(xa, ya)
        positive("batch_size", batch_size)
        generator = default_generator if seed is None else Generator().manual_seed(seed)
        order = generator.rng.permutation(rows) if shuffle else np.arange(rows)
        total, begin = 0.0, 0
        with self._lock:
            while begin < rows:
                some = order[begin : begin + batch_size]
                total += self.step(xa[some], ya[some]) * len(some)
                begin += len(some)
                done, losses = self._repeat(xa, ya, order[begin : begin + REPEATED * batch_size], batch_size)
                total += losses * batch_size
                begin += done * batch_size
        return total / rows

    def _repeat(self, x: Array, y: Array, order: Array, batch_size: int) -> tuple[int, float]:
        """Steps like the last one in native code, for whole batches of rows in `order`. -> how many, their losses"""
        plan, batches = self._last_steps.get(ONLY), len(order) // batch_size
        if plan is None or not batches or not (_is_plain(x) and _is_plain(y)) or not plan.can_repeat():
            return 0, 0.0
        if not plan.fits(x[:batch_size], y[:batch_size]) or not plan.is_fresh():
            return 0, 0.0
        return plan.repeat(x, y, np.ascontiguousarray(order[: batches * batch_size], np.intp))

    # -------------------------------------------------------------------------------------------------- using

    def _predict(self, x: Any, out: Array | None) -> Any:
        xa = _array(x)
        if xa.ndim > 0 and len(xa) > ROWS:
            y = self._predict_in_parts(x, xa, out)
        else:
            plan = self._prediction_plan(xa)
            y = self._eager_prediction(x, out) if plan is None else plan.run(xa, out)
        return y if out is not None or not isinstance(x, Tensor) else wrap(y)

    def _predict_in_parts(self, x: Any, xa: Array, out: Array | None) -> Array:
        """ROWS at a time, which stay in the caches, if what is said of a row does not depend on the others."""
        plan = self._prediction_plan(xa[:ROWS])
        if plan is None or not plan.by_rows:
            return self._eager_prediction(x, out)
        shape, dtype = (len(xa), *plan.calls.output.shape[1:]), plan.calls.output.dtype
        y = np.empty(shape, dtype) if out is None else output(out, shape, dtype, (xa,))
        for begin in range(0, len(xa), ROWS):
            part = xa[begin : begin + ROWS]
            plan = self._prediction_plan(part)
            if plan is None:
                return self._eager_prediction(x, out)
            plan.run(part, y[begin : begin + ROWS])
        return y

    def _prediction_plan(self, x: Array) -> Prediction | None:
        plan = self._last_prediction
        if plan is None or not plan.fits(x):
            plan = self._predictions.get((x.shape, x.dtype))
            if isinstance(plan, Prediction) and not plan.fits(x):
                return None
        if not isinstance(plan, Prediction) or not plan.is_fresh():
            plan = self._new_prediction(x)
        self._last_prediction = plan
        return plan

    def _new_prediction(self, x: Array) -> Prediction | None:
        if not _is_plain(x):
            return None
        made = partial(Prediction, self.model, self._prediction_arena, x)
        return self._made(self._predictions, (x.shape, x.dtype), made, (self.model, False))

    @no_grad()
    def _eager_prediction(self, x: Any, out: Array | None) -> Array:
        with evaluation(self.model):
            y = array_of(self.model(_tensor(x)))
        if out is None:
            return y
        output(out, y.shape, y.dtype, (_array(x),))[...] = y
        return out

    def evaluate(self, x: Any, y: Any, batch_size: int = ROWS) -> float:
        """The mean loss of the rows of x and y, in evaluation mode."""
        if self.loss is None:
            raise RuntimeError("evaluate: compile(model, loss) gives a network that has a loss")
        xa, ya = _array(x), _array(y)
        positive("batch_size", batch_size)
        rows, total = _rows(xa, ya), 0.0
        for begin in range(0, rows, batch_size):
            some = slice(begin, begin + batch_size)
            prediction = self.predict(xa[some])
            with no_grad():
                total += float(self.loss(wrap(prediction), wrap(ya[some])).item()) * len(prediction)
        return total / rows

    # ------------------------------------------------------------------------------------------------- itself

    def explain(self) -> str:
        """The plans as text: the kernels of each layer, what they compute and move, and what that takes at least."""
        with self._lock:
            return explain(self)

    def save(self, path: Any) -> None:
        """What `predict` needs, into a file: .npz or .safetensors. `Network.load` gives a network that predicts alike.

        RuntimeError for a model that is no chain of layers; `fastmlp.save(model.state_dict(), path)` keeps its state.
        """
        with evaluation(self.model):
            try:
                layers, _ = trace(self.model, np.zeros(input_shape(self.model), model_dtype(self.model)))
            except NotAChain as e:
                raise RuntimeError(f"save: the model is no chain of layers: {e}") from None
        if any(layer.kind == "dropout" for layer in layers):
            raise RuntimeError("save: the model has a dropout that is on in evaluation")
        save(tree_of(layers), path)

    @classmethod
    def load(cls, path: Any) -> Network:
        """The network in a file that `save` wrote; of layers like those of its model, and without loss and optimizer.

        ValueError if the file holds anything else.
        """
        return cls(Chain(chain_of(load(path), path)).eval())

    def __setattr__(self, name: str, value: Any) -> None:
        """Another model, loss, optimizer or option: the plans are made anew."""
        if name.startswith("_") or name == "reason":
            object.__setattr__(self, name, value)
            return
        _check_option(name, value)
        with self._lock:
            object.__setattr__(self, name, value)
            if "_sums" in self.__dict__:
                self._forget()
                if name in ("model", "optimizer"):
                    self._sums.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_") and name != "reason"}

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self),), self.__getstate__()  # type: ignore[attr-defined]

    def __setstate__(self, state: dict[str, Any]) -> None:
        Predictor.__init__(self)
        self.__dict__.update(state)
        self._forget()
        self._sums = Sums()

    def __repr__(self) -> str:
        return f"Network({self.model!r}, {self.loss!r}, {type(self.optimizer).__name__})"


def _check_option(name: str, value: Any) -> None:
    if name == "model" and not isinstance(value, Module):
        raise TypeError(f"model: expected a Module, got {kind(value)}")
    if name == "loss" and value is not None and (not callable(value) or isinstance(value, type)):
        raise TypeError(f"loss: expected a function (prediction, target) -> Tensor, got {kind(value)}")
    if name == "optimizer" and value is not None and not isinstance(value, Optimizer):
        raise TypeError(f"optimizer: expected one such as optim.Adam(model.parameters()), got {kind(value)}")
    if name in ("clip_grad_norm", "clip_grad_value") and value is not None and not number(name, value) > 0:
        raise ValueError(f"{name}: expected a number > 0, got {value}")
    if name == "accumulate":
        positive(name, value)


def _array(x: Any) -> Array:
    if type(x) is np.ndarray:
        return x
    return array_of(x) if isinstance(x, Tensor) else np.asarray(x)


def _labels(y: Array) -> Array:
    """Integers as kernels take them."""
    return y.astype(np.int64) if y.dtype.kind in "iu" and y.dtype != np.int64 and y.dtype != np.uint64 else y


def _learns(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


def _is_plain(a: Array) -> bool:
    """May a kernel read it as it is?"""
    as_it_is = a.flags.c_contiguous and a.flags.aligned and a.dtype.isnative
    return type(a) is np.ndarray and a.size > 0 and a.ndim > 0 and as_it_is


def _tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else look_at(np.asarray(x))


def _rows(x: Array, y: Array) -> int:
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        raise ValueError(f"y: expected as many rows as x, of shape {x.shape}, has, got shape {y.shape}")
    if not len(x):
        raise ValueError(f"x: expected at least one row, got shape {x.shape}")
    return len(x)


def compile(
    model: Module,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    optimizer: Optimizer | None = None,
    *,
    clip_grad_norm: float | None = None,
    clip_grad_value: float | None = None,
    accumulate: int = 1,
) -> Network:
    """The model, with loss and optimizer for training, so that a step or a prediction is one call into native code.

    Parameters
    ----------
    model : a Module in which one layer follows the other; any other runs layer by layer
    loss, optimizer : for training; a loss of fastmlp.nn, an optimizer of the model's parameters
    clip_grad_norm, clip_grad_value : the gradients' total norm, or each of their numbers, is made no larger than this
    accumulate : the gradients of so many steps are summed for an update, whatever epoch they are of; for their mean,
        divide the loss. A copy of the network begins a new sum.

    Raises
    ------
    TypeError, ValueError
        Naming the argument.
    """
    return Network(model, loss, optimizer, clip_grad_norm, clip_grad_value, accumulate)
