"""What can be hung into `Trainer.fit`: Callback, EarlyStopping."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from .. import checks
from ..metrics import NAMED

if TYPE_CHECKING:
    from .history import History
    from .trainer import Trainer

#: what is better when it is larger; losses and errors are better when they are smaller
LARGER_IS_BETTER = ("accuracy", "binary_accuracy", "top_k_accuracy", "r2_score")


class Callback:
    """Base of what `fit` tells how it goes. Every method may be left out.

    The trainer knows `model`, `optimizer`, `epoch` and `epochs`, `step` and `steps` of the epoch, `loss`, which is the
    mean of the epoch so far, `rows` since `fit` began, and `history`; `trainer.stop(reason)` ends it after the epoch.
    """

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Before the first batch of an epoch."""

    def on_batch_end(self, trainer: Trainer, loss: float) -> None:
        """After a step. The gradients that it used are still there."""

    def on_epoch_end(self, trainer: Trainer, logs: dict[str, float]) -> None:
        """After an epoch and its validation. logs: what it adds to the history."""

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """At the very end, after an error and after Ctrl-C as well; `history.stopped` is None after an error."""


def larger_is_better(monitor: str, mode: str | None) -> bool:
    """What `mode` says, or what is known of the name of a number. ValueError where neither helps."""
    if mode is not None:
        return mode == "max"
    name = monitor.removeprefix("val_")
    if name in LARGER_IS_BETTER:
        return True
    if name == "loss" or name.endswith("_error"):
        return False
    known = ["loss", *NAMED]
    wrong = _unknown(monitor, [*known, *(f"val_{name}" for name in known)])
    raise ValueError(f"{wrong}; of a metric of your own say by mode='min' or 'max' what is better")


def _unknown(monitor: str, known: Iterable[str]) -> str:
    near = get_close_matches(monitor, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"monitor: expected one of {', '.join(known)}; got {monitor!r}{hint}"


class EarlyStopping(Callback):
    """Ends training when a number has not improved for a while.

    Parameters
    ----------
    monitor : the name of a number of the history; None: "val_loss", or "loss" where nothing is validated
    patience : epochs without improvement that are borne
    min_delta : a change is an improvement if it is larger
    mode : "min" or "max", is smaller or larger better; None: what is known of the loss and of fastmlp's own metrics
    restore_best : at the end put the parameters and buffers of the best epoch back, also if it was not this that ended
        training. The optimizer's state is not put back.

    Attributes
    ----------
    best, best_epoch : the best value and its epoch
    """

    def __init__(
        self,
        monitor: str | None = None,
        patience: int = 10,
        min_delta: float = 0.0,
        mode: str | None = None,
        restore_best: bool = True,
    ) -> None:
        checks.positive("patience", patience)
        if not checks.number("min_delta", min_delta) >= 0:
            raise ValueError(f"min_delta: expected a number >= 0, got {min_delta}")
        if mode not in (None, "min", "max"):
            raise ValueError(f"mode: expected 'min', 'max' or None, got {mode!r}")
        if monitor is not None:
            larger_is_better(monitor, mode)
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.mode, self.restore_best = mode, restore_best

    def __repr__(self) -> str:
        names = ("monitor", "patience", "min_delta", "mode", "restore_best")
        return f"EarlyStopping({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    def on_fit_begin(self, trainer: Trainer) -> None:
        self.best: float | None = None
        self.best_epoch: int | None = None
        self._state: dict[str, Any] | None = None

    def on_epoch_end(self, trainer: Trainer, logs: dict[str, float]) -> None:
        monitor = self.monitor or ("val_loss" if "val_loss" in logs else "loss")
        if monitor not in logs:
            raise ValueError(_unknown(monitor, logs))
        value = logs[monitor]
        sign = -1 if larger_is_better(monitor, self.mode) else 1
        if self.best is None or sign * (self.best - value) > self.min_delta or self.best != self.best:
            self.best, self.best_epoch = value, trainer.epoch
            if self.restore_best:
                self._state = {name: t.clone() for name, t in trainer.model.state_dict().items()}
        elif trainer.epoch - (self.best_epoch or 0) >= self.patience:
            trainer.stop(f"early stopping: {monitor} has not improved since epoch {self.best_epoch}")

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        if self._state is not None and history.stopped is not None:
            trainer.model.load_state_dict(self._state)
        self._state = None
