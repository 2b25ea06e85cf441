"""How far training is: a bar by rich where that is installed, else one rewritten line; in a log about ten lines."""

from __future__ import annotations

import shutil
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any

from .callbacks import Callback

if TYPE_CHECKING:
    from .history import History
    from .trainer import Trainer

PAUSE = 0.1  # seconds between two drawings
LINES = 10  # of a log


def best_for(stream: Any) -> Callback:
    """What suits where the text goes."""
    if not stream.isatty():
        return Log(stream)
    try:
        return Bar(stream)
    except ImportError:
        return Line(stream)


class Progress(Callback):
    """What all have in common: the text."""

    def __init__(self, stream: Any = None) -> None:
        self.stream = stream or sys.stderr

    def on_fit_begin(self, trainer: Trainer) -> None:
        self.begin = monotonic()
        self.logs: dict[str, float] = {}

    def on_epoch_end(self, trainer: Trainer, logs: dict[str, float]) -> None:
        self.logs = logs

    def numbers(self, trainer: Trainer, loss: float) -> str:
        """loss 0.1234  accuracy 0.95  val_loss 0.2345  125,000 rows/s. What is behind the loss is of the last epoch."""
        spent = max(monotonic() - self.begin, 1e-9)
        shown = {"loss": loss} | {name: value for name, value in self.logs.items() if name not in ("loss", "lr")}
        texts = [f"{name} {value:.4g}" for name, value in shown.items()]
        return "  ".join([*texts, f"{trainer.rows / spent:,.0f} rows/s"])

    def left(self, trainer: Trainer) -> str:
        """How long the epochs that are left will take if they take as long as these."""
        done = self.done(trainer)
        seconds = round((monotonic() - self.begin) * (trainer.epochs * trainer.steps / max(done, 1) - 1))
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"

    def done(self, trainer: Trainer) -> int:
        """Steps so far, of epochs · steps."""
        return (trainer.epoch - 1) * trainer.steps + trainer.step


class Log(Progress):
    """About ten lines: at ends of epochs, or between them where epochs are few."""

    def on_batch_end(self, trainer: Trainer, loss: float) -> None:
        if trainer.step < trainer.steps and trainer.epochs < LINES:
            self._tell(trainer, trainer.loss)

    def on_epoch_end(self, trainer: Trainer, logs: dict[str, float]) -> None:
        super().on_epoch_end(trainer, logs)
        self._tell(trainer, logs["loss"])

    def on_fit_begin(self, trainer: Trainer) -> None:
        super().on_fit_begin(trainer)
        self.told = 0

    def _tell(self, trainer: Trainer, loss: float) -> None:
        part = self.done(trainer) * LINES // (trainer.epochs * trainer.steps)
        if part > self.told:
            self.told = part
            where = f"epoch {trainer.epoch}/{trainer.epochs}"
            print(f"{where}  {self.numbers(trainer, loss)}  {self.left(trainer)}", file=self.stream, flush=True)

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        if history.stopped is not None:
            print(history.stopped, file=self.stream, flush=True)


class Line(Progress):
    """One line, rewritten."""

    def on_fit_begin(self, trainer: Trainer) -> None:
        super().on_fit_begin(trainer)
        self.drawn = -PAUSE

    def on_batch_end(self, trainer: Trainer, loss: float) -> None:
        if monotonic() - self.drawn >= PAUSE:
            self._draw(trainer, trainer.loss)

    def on_epoch_end(self, trainer: Trainer, logs: dict[str, float]) -> None:
        super().on_epoch_end(trainer, logs)
        self._draw(trainer, logs["loss"])

    def _draw(self, trainer: Trainer, loss: float) -> None:
        self.drawn = monotonic()
        text = f"epoch {trainer.epoch}/{trainer.epochs}  {self.numbers(trainer, loss)}  {self.left(trainer)}"
        room = shutil.get_terminal_size().columns - 1
        print("\r" + text[:room].ljust(room), end="", file=self.stream, flush=True)

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        print("" if history.stopped is None else f"\n{history.stopped}", file=self.stream, flush=True)


class Bar(Line):
    """rich's bar. ImportError where rich is not installed."""

    def __init__(self, stream: Any = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        super().__init__(stream)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[text]}", markup=False),
        )
        self.bar = RichProgress(*columns, console=Console(file=self.stream), auto_refresh=False)

    def on_fit_begin(self, trainer: Trainer) -> None:
        super().on_fit_begin(trainer)
        self.bar.start()
        self.task = self.bar.add_task("", total=trainer.epochs * trainer.steps, text="")

    def _draw(self, trainer: Trainer, loss: float) -> None:
        self.drawn = monotonic()
        self.bar.update(
            self.task,
            completed=self.done(trainer),
            description=f"epoch {trainer.epoch}/{trainer.epochs}",
            text=f"{self.numbers(trainer, loss)}  {self.left(trainer)}",
            refresh=True,
        )

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        if history.stopped is not None:
            self.bar.console.print(history.stopped, markup=False, highlight=False)
        self.bar.stop()
