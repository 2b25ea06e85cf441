"""How far training is: a bar by rich where that is installed, else one rewritten line; in a log up to ten lines."""

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
SILENCE = 5.0  # seconds in a log between two lines within an epoch
BAR = 10  # the bar's width


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

    def numbers(self, trainer: Trainer, logs: dict[str, float], room: int | None = None) -> str:
        """loss 0.1234  val_loss 0.2345  accuracy 0.95  125,000 rows/s. Of them as many as there is room for."""
        spent = max(monotonic() - self.begin, 1e-9)
        shown = sorted(logs.items(), key=lambda item: not item[0].endswith("loss"))  # the losses before the metrics
        texts = [f"{name} {value:.4g}" for name, value in shown if name != "lr"]
        texts.append(f"{trainer.rows / spent:,.0f} rows/s")
        while room is not None and len(texts) > 1 and len("  ".join(texts)) > room:
            texts.pop()
        return "  ".join(texts)

    def left(self, trainer: Trainer) -> str:
        """How long the epochs that are left will take if they take as long as these."""
        done = self.done(trainer)
        seconds = round((monotonic() - self.begin) * (trainer.epochs * trainer.steps / max(done, 1) - 1))
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"

    def done(self, trainer: Trainer) -> int:
        """Steps so far, of epochs · steps."""
        return (trainer.epoch - 1) * trainer.steps + trainer.step


class Log(Progress):
    """A line at the end of each epoch, or of every tenth part of many; within epochs that are few and long as well."""

    def on_fit_begin(self, trainer: Trainer) -> None:
        super().on_fit_begin(trainer)
        self.told, self.spoke = 0, self.begin  # tenths; when

    def on_batch_end(self, trainer: Trainer, loss: float) -> None:
        within = trainer.step < trainer.steps and trainer.epochs < LINES
        if within and monotonic() - self.spoke >= SILENCE and self._tenths(trainer) > self.told:
            self._tell(trainer, {"loss": trainer.loss})

    def on_epoch_end(self, trainer: Trainer, logs: dict[str, float]) -> None:
        if trainer.epochs < LINES or self._tenths(trainer) > self.told:
            self._tell(trainer, logs)

    def _tenths(self, trainer: Trainer) -> int:
        return self.done(trainer) * LINES // (trainer.epochs * trainer.steps)

    def _tell(self, trainer: Trainer, logs: dict[str, float]) -> None:
        self.told, self.spoke = self._tenths(trainer), monotonic()
        where = f"epoch {trainer.epoch}/{trainer.epochs}"
        print(f"{where}  {self.numbers(trainer, logs)}  {self.left(trainer)}", file=self.stream, flush=True)

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        if history.stopped is not None:
            print(history.stopped, file=self.stream, flush=True)


class Line(Progress):
    """One line, rewritten. Within an epoch the numbers of the last one stand behind the loss, and say so."""

    def on_fit_begin(self, trainer: Trainer) -> None:
        super().on_fit_begin(trainer)
        self.drawn = -PAUSE
        self.last: dict[str, float] = {}

    def on_batch_end(self, trainer: Trainer, loss: float) -> None:
        if monotonic() - self.drawn >= PAUSE:
            self._draw(trainer, {"loss": trainer.loss} | self.last)

    def on_epoch_end(self, trainer: Trainer, logs: dict[str, float]) -> None:
        self.last = {f"last {name}": value for name, value in logs.items() if name not in ("loss", "lr")}
        self._draw(trainer, logs)

    def _draw(self, trainer: Trainer, logs: dict[str, float]) -> None:
        self.drawn = monotonic()
        where, left = f"epoch {trainer.epoch}/{trainer.epochs}", self.left(trainer)
        width = shutil.get_terminal_size().columns - 1
        text = f"{where}  {self.numbers(trainer, logs, width - len(where) - len(left) - 4)}  {left}"
        print("\r" + text[:width].ljust(width), end="", file=self.stream, flush=True)

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
            BarColumn(bar_width=BAR),
            TextColumn("{task.fields[text]}", markup=False),
        )
        self.bar = RichProgress(*columns, console=Console(file=self.stream), auto_refresh=False)

    def on_fit_begin(self, trainer: Trainer) -> None:
        super().on_fit_begin(trainer)
        self.bar.start()
        self.task = self.bar.add_task("", total=trainer.epochs * trainer.steps, text="")

    def _draw(self, trainer: Trainer, logs: dict[str, float]) -> None:
        self.drawn = monotonic()
        where, left = f"epoch {trainer.epoch}/{trainer.epochs}", self.left(trainer)
        room = self.bar.console.width - len(where) - BAR - len(left) - 4  # rich would shorten all columns alike
        self.bar.update(
            self.task,
            completed=self.done(trainer),
            description=where,
            text=f"{self.numbers(trainer, logs, room)}  {left}",
            refresh=True,
        )

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        if history.stopped is not None:
            self.bar.console.print(history.stopped, markup=False, highlight=False)
        self.bar.stop()
