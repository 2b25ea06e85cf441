"""Trainer: the loop over epochs and batches, and what belongs around it."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .. import checks, metrics
from ..autograd import Tensor
from ..checks import Array
from ..creation import Generator, default_generator
from ..data import DataLoader, Dataset, TensorDataset
from ..grad_mode import no_grad
from ..nn import BCEWithLogitsLoss, Module
from ..nn import functional as F
from ..nn.utils import clip_grad_norm_
from ..optim import Optimizer
from ..optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau
from ..tape import array_of, wrap
from .callbacks import Callback, EarlyStopping
from .compiled import Compiled
from .diagnose import culprit, culprit_gradient, rows_not_finite
from .history import History
from .inference import evaluation, inputs, model_dtype, numbers, predict
from .progress import best_for

#: epochs -> why training ended, where "all ... epochs done" reads badly
DONE = {0: "no epoch to do", 1: "the epoch is done"}


class Trainer:
    """Trains a model.

    Parameters
    ----------
    model : a Module
    loss : (prediction, target) -> Tensor of one number, such as `nn.CrossEntropyLoss()`. That of an epoch is the mean
        of its batches', weighted by their rows.
    optimizer : of fastmlp.optim, of the model's parameters
    metrics : names of `fastmlp.metrics`, or functions (prediction, target) -> float of arrays. Each is called once,
        with all predictions of an epoch. Beside BCEWithLogitsLoss the accuracies take 0 as their threshold.
    scheduler : of `fastmlp.optim.lr_scheduler`; stepped after each epoch, ReduceLROnPlateau with val_loss, else loss;
        OneCycleLR after each batch
    clip_grad_norm : gradients are scaled down to this norm, that of all of them

    Raises
    ------
    TypeError, ValueError
        Naming the argument.

    Examples
    --------
    >>> trainer = Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()), metrics=["accuracy"])
    >>> history = trainer.fit(x, y, epochs=20, batch_size=64, validation_split=0.1, early_stopping=5)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Module,
        loss: Callable[[Any, Any], Tensor],
        optimizer: Optimizer,
        metrics: Iterable[str | metrics.Metric] = (),
        scheduler: Any = None,
        clip_grad_norm: float | None = None,
    ) -> None:
        if not isinstance(model, Module):
            raise TypeError(f"model: expected a Module, got {type(model).__name__}")
        if not callable(loss) or isinstance(loss, type):
            raise TypeError(f"loss: expected a function (prediction, target) -> Tensor, got {checks.kind(loss)}")
        _check_optimizer(optimizer, model)
        if scheduler is not None and (isinstance(scheduler, type) or not hasattr(scheduler, "step")):
            raise TypeError(f"scheduler: expected one of fastmlp.optim.lr_scheduler, got {checks.kind(scheduler)}")
        if clip_grad_norm is not None and not checks.number("clip_grad_norm", clip_grad_norm) > 0:
            raise ValueError(f"clip_grad_norm: expected a number > 0, got {clip_grad_norm}")
        self.model, self.loss_function, self.optimizer = model, loss, optimizer
        self.metrics = _named(metrics, loss)
        self.scheduler, self.clip_grad_norm = scheduler, clip_grad_norm
        self.epoch = self.epochs = self.step = self.steps = self.rows = 0
        self.loss = math.nan  # the mean of the epoch so far
        self.history = History()
        self._compiled = Compiled()

    # training

    def fit(
        self,
        x: Any,
        y: Any = None,
        *,
        epochs: int = 1,
        batch_size: int = 32,
        validation_data: Any = None,
        validation_split: float = 0.0,
        early_stopping: int | EarlyStopping | None = None,
        callbacks: Sequence[Callback] = (),
        shuffle: bool = True,
        seed: int | None = None,
        verbose: bool = True,
    ) -> History:
        """Learns from x and y, for so many epochs more.

        Parameters
        ----------
        x : (m, ...) inputs, made floats of the model's type; or a DataLoader of batches (x, y), which is taken as it is
        y : (m, ...) targets; floats are made the model's type
        epochs : how often all rows are gone through
        batch_size : rows of a step; the last batch may have fewer
        validation_data : (x, y), or a DataLoader: evaluated after each epoch
        validation_split : or this share of the rows, taken out at random, in each call of `fit` anew
        early_stopping : EarlyStopping, or the patience of one
        callbacks : told how it goes
        shuffle : the rows in another order each epoch
        seed : of the orders and of the split; without it they come from the generator that `fastmlp.manual_seed` starts
        verbose : report progress

        Returns
        -------
        History. Ctrl-C ends training early and keeps what has been learnt; the history says so.

        Raises
        ------
        FloatingPointError
            At the first loss or gradient that is NaN or infinite, naming epoch, step and where it arose. Parameters
            and buffers are then as they were before that step.
        ValueError, TypeError
            Naming the argument. For arrays x and y that are not finite, naming the first such row.
        """
        if checks.integer("epochs", epochs) < 0:
            raise ValueError(f"epochs: expected an int >= 0, got {epochs}")
        _check_callbacks(callbacks)
        train, validation = self._loaders(x, y, batch_size, shuffle, seed, validation_data, validation_split)
        stopper = _stopper(early_stopping)
        listeners = [best_for(sys.stderr)] if verbose else []
        listeners += [*callbacks, *([stopper] if stopper else [])]
        self.history = History(stopper.monitor, stopper.mode) if stopper else History()
        self.epochs, self.steps, self.rows = int(epochs), len(train), 0
        self._reason: str | None = None
        self._parameters = list(self.model.named_parameters())
        self._compiled = Compiled()
        with evaluation(self.model):  # afterwards; an epoch has its own mode
            try:
                self._tell(listeners, "on_fit_begin")
                self._epochs(train, validation, listeners)
                self.history.stopped = self._reason or DONE.get(self.epochs, f"all {epochs} epochs done")
            except KeyboardInterrupt:
                self.history.stopped = f"interrupted in epoch {self.epoch} after step {self.step}"
            finally:
                self._tell_all(listeners, "on_fit_end", self.history)
        return self.history

    def stop(self, reason: str) -> None:
        """Called by a callback: end training after this epoch."""
        self._reason = reason

    def _epochs(self, train: Iterable[Any], validation: Any, listeners: list[Callback]) -> None:
        for epoch in range(1, self.epochs + 1):
            self.epoch, self.step = epoch, 0
            self._tell(listeners, "on_epoch_begin")
            logs = self._epoch(train, listeners)
            if validation is not None:
                logs |= {f"val_{name}": value for name, value in self._evaluate(validation).items()}
            logs["lr"] = float(self.optimizer.param_groups[0]["lr"])
            self.history.append(self.epoch, logs)
            self._schedule(logs)
            self._tell(listeners, "on_epoch_end", logs)
            if self._reason is not None:
                break

    def _epoch(self, train: Iterable[Any], listeners: list[Callback]) -> dict[str, float]:
        self.model.train()
        seen = _Seen(self.metrics)
        for batch in train:
            x, y = _pair(batch)
            loss, prediction = self._step(x, y)
            seen.add(loss, prediction, y)
            self.step += 1
            self.rows += _rows(prediction)
            self.loss = seen.loss
            if isinstance(self.scheduler, OneCycleLR):  # the only one that counts batches
                self.scheduler.step()
            self._tell(listeners, "on_batch_end", loss)
        return seen.summary()

    @np.errstate(all="ignore")  # what NumPy would warn of is found below
    def _step(self, x: Any, y: Any) -> tuple[float, Tensor]:
        """One batch. -> its loss, the prediction"""
        buffers = [(m, name, b, b.clone()) for m, name, b in _buffers(self.model)]  # forward may change them
        compiled = self._compiled.backward(self.model, self.loss_function, self.optimizer, x, y)
        if compiled is None:
            self.optimizer.zero_grad()
            prediction = self._prediction(x)
            loss = self.loss_function(prediction, y)
            value = float(loss.item())
        else:
            value, output = compiled
            prediction = wrap(output.copy() if self.metrics else output)
        if not math.isfinite(value):
            self._not_finite(f"the loss is {value}", x, y, buffers)
        if compiled is None:
            loss.backward()
        if where := culprit_gradient(self._parameters):
            self._not_finite(f"the loss is {value:.4g}, but {where}", x, y, buffers)
        if self.clip_grad_norm is not None:
            clip_grad_norm_(self.model.parameters(), self.clip_grad_norm)
        self.optimizer.step()
        return value, prediction

    def _prediction(self, x: Any) -> Tensor:
        prediction = self.model(x)
        if not isinstance(prediction, Tensor):
            raise TypeError(f"model: expected a forward that returns a Tensor, got {checks.kind(prediction)}")
        return prediction

    def _not_finite(self, what: str, x: Any, y: Any, buffers: list[tuple[Module, str, Tensor, Tensor]]) -> None:
        try:
            where = culprit(self.model, x, y)
        finally:
            with no_grad():
                for module, name, buffer, before in buffers:
                    setattr(module, name, buffer.copy_(before))
        raise FloatingPointError(
            f"epoch {self.epoch}, step {self.step + 1}: {what}; {where or 'every output of a layer is finite'}. "
            "Parameters and buffers are as before this step"
        )

    def _schedule(self, logs: dict[str, float]) -> None:
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(logs.get("val_loss", logs["loss"]))
        elif self.scheduler is not None and not isinstance(self.scheduler, OneCycleLR):
            self.scheduler.step()

    def _tell(self, listeners: list[Callback], event: str, *arguments: Any) -> None:
        for listener in listeners:
            getattr(listener, event)(self, *arguments)

    def _tell_all(self, listeners: list[Callback], event: str, *arguments: Any) -> None:
        """Each of them, though one may raise; the first that does is heard at last."""
        if listeners:
            try:
                self._tell(listeners[:1], event, *arguments)
            finally:
                self._tell_all(listeners[1:], event, *arguments)

    # data

    def _loaders(
        self, x: Any, y: Any, batch_size: int, shuffle: bool, seed: int | None, given: Any, split: float
    ) -> tuple[DataLoader, DataLoader | None]:
        if not 0 <= checks.number("validation_split", split) < 1:
            raise ValueError(f"validation_split: expected a share, 0 <= share < 1, got {split}")
        if split and given is not None:
            raise ValueError("validation_split: not beside validation_data")
        validation = None if given is None else self._validation(given)
        _no_dataset(x)
        if isinstance(x, DataLoader):
            if y is not None or split:
                raise ValueError(f"{'y' if y is not None else 'validation_split'}: not beside a DataLoader")
            return _not_empty(x), validation
        generator = default_generator if seed is None else Generator().manual_seed(seed)
        x, y = inputs(self.model, x), self._targets(y)
        _same_length(x, y)
        _finite("x", x)
        _finite("y", y)
        if split:
            order = generator.rng.permutation(len(x))
            held = max(1, round(len(x) * split))
            validation = _loader(np.take(x, order[:held], axis=0), np.take(y, order[:held], axis=0))
            x, y = np.take(x, order[held:], axis=0), np.take(y, order[held:], axis=0)
        return _not_empty(DataLoader(TensorDataset(x, y), batch_size, shuffle, generator=generator)), validation

    def _validation(self, given: Any) -> DataLoader:
        if isinstance(given, DataLoader):
            return _not_empty(given)
        if not isinstance(given, (tuple, list)) or len(given) != 2:
            raise TypeError(f"validation_data: expected (x, y) or a DataLoader, got {type(given).__name__}")
        x, y = inputs(self.model, given[0]), self._targets(given[1])
        _same_length(x, y)
        return _not_empty(_loader(x, y))

    def _targets(self, y: Any) -> Array:
        a = numbers("y", y)
        return a.astype(model_dtype(self.model), copy=False) if a.dtype.kind == "f" else a

    # using the model

    def evaluate(self, x: Any, y: Any = None, batch_size: int = 1024) -> dict[str, float]:
        """The loss and the metrics for given data, in evaluation mode and without gradients.

        Parameters
        ----------
        x, y : inputs and targets as for `fit`; or a DataLoader as x
        batch_size : rows at a time

        Returns
        -------
        name -> number
        """
        _no_dataset(x)
        if isinstance(x, DataLoader):
            return self._evaluate(_not_empty(x))
        x, y = inputs(self.model, x), self._targets(y)
        _same_length(x, y)
        return self._evaluate(_not_empty(_loader(x, y, batch_size)))

    @no_grad()
    def _evaluate(self, loader: Iterable[Any]) -> dict[str, float]:
        seen = _Seen(self.metrics)
        with evaluation(self.model):
            for batch in loader:
                x, y = _pair(batch)
                prediction = self._prediction(x)
                seen.add(float(self.loss_function(prediction, y).item()), prediction, y)
        return seen.summary()

    def predict(self, x: Any, batch_size: int = 1024) -> Array:
        """What the model says to x (m, ...), made floats of the model's type: an array (m, ...). In evaluation mode."""
        return predict(self.model, x, batch_size)


class _Seen:
    """What the batches of an epoch gave."""

    def __init__(self, metrics: dict[str, metrics.Metric]) -> None:
        self.metrics = metrics
        self.rows, self.total = 0, 0.0
        self.predictions: list[Array] = []
        self.targets: list[Array] = []

    def add(self, loss: float, prediction: Tensor, y: Any) -> None:
        rows = _rows(prediction)
        self.rows += rows
        self.total += loss * rows
        if self.metrics:
            self.predictions.append(array_of(prediction))
            self.targets.append(array_of(y) if isinstance(y, Tensor) else np.asarray(y))

    @property
    def loss(self) -> float:
        return self.total / self.rows

    def summary(self) -> dict[str, float]:
        logs = {"loss": self.loss}
        if self.metrics:
            p, t = np.concatenate(self.predictions), np.concatenate(self.targets)
            logs |= {name: float(metric(p, t)) for name, metric in self.metrics.items()}
        return logs


# ------------------------------------------------------------------------------------------------ helpers


def _check_optimizer(optimizer: Any, model: Module) -> None:
    if not isinstance(optimizer, Optimizer):
        such = "expected an optimizer such as optim.SGD(model.parameters(), lr=0.1)"
        raise TypeError(f"optimizer: {such}, got {checks.kind(optimizer)}")
    own = {id(p) for p in model.parameters()}
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise ValueError("optimizer: none of its parameters is one of the model")


def _check_callbacks(callbacks: Any) -> None:
    if not isinstance(callbacks, (list, tuple)):
        raise TypeError(f"callbacks: expected a list of Callbacks, got {checks.kind(callbacks)}")
    for one in callbacks:
        if not isinstance(one, Callback):
            raise TypeError(f"callbacks: expected Callbacks such as Monitor(), got {checks.kind(one)} in the list")


def _buffers(model: Module) -> list[tuple[Module, str, Tensor]]:
    return [(m, name, b) for m in model.modules() if m._buffers for name, b in m._buffers.items() if b is not None]


def _named(given: Any, loss: Any) -> dict[str, metrics.Metric]:
    """name -> metric"""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"metrics: expected a list of names or functions, got {given!r}")
    logits = isinstance(loss, BCEWithLogitsLoss) or loss is F.binary_cross_entropy_with_logits
    named: dict[str, metrics.Metric] = {}
    for one in given:
        metric = metrics.find(one)
        name = getattr(metric, "__name__", type(metric).__name__)
        if name in named or name in ("loss", "lr"):
            raise ValueError(f"metrics: the name {name!r} is taken")
        if logits and metric in (metrics.accuracy, metrics.binary_accuracy):
            metric = partial(metrics.binary_accuracy, threshold=0.0)
        named[name] = metric
    return named


def _stopper(given: Any) -> EarlyStopping | None:
    if given is None or isinstance(given, EarlyStopping):
        return given
    return EarlyStopping(patience=checks.integer("early_stopping", given))


def _same_length(x: Array, y: Array) -> None:
    if y.ndim == 0 or len(y) != len(x):
        raise ValueError(f"y: expected {len(x)} rows as x has, got shape {y.shape}")


@np.errstate(all="ignore")  # what NumPy would warn of is the error
def _finite(name: str, a: Array) -> None:
    if rows := rows_not_finite(a):
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity in {rows}")


def _no_dataset(x: Any) -> None:
    if isinstance(x, Dataset):
        raise TypeError(f"x: expected an array or a DataLoader, got {checks.kind(x)}; wrap it in a DataLoader")


def _loader(x: Array, y: Array, batch_size: int = 1024) -> DataLoader:
    return DataLoader(TensorDataset(x, y), batch_size)


def _not_empty(loader: DataLoader) -> DataLoader:
    if len(loader) == 0:
        raise ValueError("x: expected at least one batch, got none")
    return loader


def _pair(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise TypeError(f"x: expected a DataLoader of batches (x, y), got one of {type(batch).__name__}")
    return batch[0], batch[1]


def _rows(prediction: Tensor) -> int:
    return prediction.shape[0] if prediction.shape else 1
