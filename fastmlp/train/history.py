"""History: what training was like."""

from __future__ import annotations

from typing import Any

import numpy as np

from .callbacks import larger_is_better


class History:
    """The numbers of each epoch.

    Attributes
    ----------
    history : name -> one number for each epoch: loss, lr, each metric, and val_... where there is validation.
        The loss and metrics of training are those of the epoch's batches, while the model changed.
    epochs : the epochs that were finished, from 1
    best : epoch and numbers of the best epoch, by the number that early stopping watches, else val_loss or loss
    stopped : why training ended; None as long as it runs, and after an error
    """

    def __init__(self, monitor: str | None = None, mode: str | None = None) -> None:
        self.history: dict[str, list[float]] = {}
        self.epochs: list[int] = []
        self.stopped: str | None = None
        self._monitor, self._mode = monitor, mode

    def append(self, epoch: int, logs: dict[str, float]) -> None:
        self.epochs.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    @property
    def best(self) -> dict[str, float]:
        if not self.epochs:
            return {}
        monitor = self._monitor or ("val_loss" if "val_loss" in self.history else "loss")
        values = np.array(self.history[monitor])
        worst = -np.inf if larger_is_better(monitor, self._mode) else np.inf
        values = np.where(np.isnan(values), worst, values)
        i = int(values.argmax() if worst < 0 else values.argmin())
        return {"epoch": self.epochs[i]} | {name: numbers[i] for name, numbers in self.history.items()}

    def plot(self, path: Any = None) -> Any:
        """The curves, as a matplotlib Figure: `fastmlp.plots.history`."""
        from ..plots import history

        return history(self, path=path)

    def __repr__(self) -> str:
        last = "  ".join(f"{name} {values[-1]:.4g}" for name, values in self.history.items())
        count = {0: "no epoch", 1: "1 epoch"}.get(len(self.epochs), f"{len(self.epochs)} epochs")
        return f"History({count}{last and ': '}{last}; {self.stopped})"
