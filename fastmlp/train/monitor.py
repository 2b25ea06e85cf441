"""Monitor: units that are dead, gradients that vanish or explode."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from ..autograd import Tensor
from ..checks import Array
from ..grad_mode import is_grad_enabled
from ..nn import Module, ReLU
from ..tape import array_of
from .callbacks import Callback

if TYPE_CHECKING:
    from .history import History
    from .trainer import Trainer


@dataclass
class _Units:
    """Of one layer, since the epoch began: was each unit ever above zero, had its parameters ever a gradient?"""

    alive: Array | None = None  # (units,)
    learning: Array | None = None  # (units,), None for a ReLU module, which has no parameters

    def see(self, y: Array) -> None:
        positive = np.asarray((y > 0).reshape(-1, y.shape[-1]).any(axis=0))
        self.alive = positive if self.alive is None else self.alive | positive

    def dead(self) -> float | None:
        """The share of dead units; None if none were seen."""
        if self.alive is None or self.alive.size == 0:
            return None
        lives = self.alive if self.learning is None else self.alive | self.learning
        return float(np.mean(~lives))


@dataclass
class _Watch:
    """What is known of one epoch."""

    units: dict[str, _Units] = field(default_factory=dict)
    norms: dict[str, float] = field(default_factory=dict)  # Σ over the batches of ‖gradient‖ of a layer
    exempt: set[str] = field(default_factory=set)  # layers whose units a ReLU module tells, and that of the output


class Monitor(Callback):
    """Finds dead ReLUs and vanishing or exploding gradients while a model learns, and warns once of each.

    A unit is dead if it was 0 for every row of the epoch: no gradient passes, and nothing will bring it back.

    - After a module `nn.ReLU` its output is looked at.
    - `F.relu` in a `forward` is no module, so nobody sees its output. But of the layer before it, one that has
      parameters for each unit (Linear, BatchNorm1d, LayerNorm), output and gradient are seen: a unit that was never
      above 0, and for which the gradient of its parameters was exactly 0 in every batch, is dead. With tanh, leaky_relu
      or a loss behind it the gradient would not be 0. Not seen: a relu of something that no module returns.
    - A layer whose output is the model's has no ReLU behind it, and no share of dead units.

    Looking at the outputs of layers costs a pass over them, and computes their activations separately.

    The gradient of a layer is compared with that of the last layer that has parameters: ‖dw, db‖, summed over the
    batches of the epoch.

    Parameters
    ----------
    dead : warn from this share of dead units on, up to 1
    vanishing, exploding : warn when the first layer's gradient is that many times the last one's, or less; or more

    Examples
    --------
    >>> monitor = Monitor()
    >>> trainer.fit(x, y, epochs=10, callbacks=[monitor])  # doctest: +SKIP
    >>> print(monitor.table())  # doctest: +SKIP

    In a loop of one's own: `attach(model)`, `after_backward()` for each batch, `end_epoch()`; `detach()` in the end.
    """

    def __init__(self, dead: float = 0.5, vanishing: float = 1e-3, exploding: float = 1e3) -> None:
        for name, value in (("dead", dead), ("vanishing", vanishing), ("exploding", exploding)):
            if not checks.number(name, value) > 0:
                raise ValueError(f"{name}: expected a number > 0, got {value}")
        if dead > 1:
            raise ValueError(f"dead: expected a share up to 1, got {dead}")
        self.thresholds = dead, vanishing, exploding
        #: of the last whole epoch: layer -> share of dead units; layer -> its gradient / the last layer's
        self.dead: dict[str, float] = {}
        self.gradients: dict[str, float] = {}
        self._handles: list[Any] = []
        self._order: list[str] = []  # of the model's modules

    def __repr__(self) -> str:
        dead, vanishing, exploding = self.thresholds
        return f"Monitor(dead={dead!r}, vanishing={vanishing!r}, exploding={exploding!r})"

    def attach(self, model: Module) -> None:
        """Watch this model from now on."""
        self.detach()
        self._layers = {name: own for name, m in model.named_modules() if (own := _own_parameters(m))}
        self._warned: set[str] = set()
        self._now = _Watch()
        self._source: tuple[Tensor, str] | None = None  # the last output of a layer, and the layer
        for name, module in model.named_modules():
            if isinstance(module, ReLU) or name in self._layers:
                self._handles.append(module.register_forward_hook(self._hook(name, isinstance(module, ReLU))))
        self._handles.append(model.register_forward_hook(self._see_output))
        self._order = [name for name, _ in model.named_modules()]

    def detach(self) -> None:
        """Watch nothing any more. What was found stays."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _hook(self, name: str, relu: bool) -> Any:
        def see(module: Module, inputs: Any, output: Tensor) -> None:
            if not is_grad_enabled():  # validation
                return
            if relu and self._source is not None and inputs[0] is self._source[0]:
                self._now.exempt.add(self._source[1])
            self._now.units.setdefault(name, _Units()).see(array_of(output))
            self._source = None if relu else (output, name)

        return see

    def _see_output(self, module: Module, inputs: Any, output: Any) -> None:
        if self._source is not None and output is self._source[0]:
            self._now.exempt.add(self._source[1])

    def after_backward(self) -> None:
        """Looks at the gradients of this batch."""
        self._source = None
        for name, parameters in self._layers.items():
            gradients = [array_of(p.grad) for p in parameters if p.grad is not None]
            if not gradients:
                continue
            norm = float(np.sqrt(sum(np.square(g, dtype=np.float64).sum() for g in gradients)))
            self._now.norms[name] = self._now.norms.get(name, 0.0) + norm
            units = self._now.units.get(name)
            if units is not None and units.alive is not None:
                moved = np.any([(g != 0).reshape(len(g), -1).any(axis=1) for g in gradients], axis=0)
                units.learning = moved if units.learning is None else units.learning | moved

    def end_epoch(self) -> list[str]:
        """Sums the epoch up, begins the next -> a line for each threshold that is passed for the first time."""
        now, self._now = self._now, _Watch()
        self.dead = {}
        for name, units in now.units.items():
            share = units.dead()
            blind = name in self._layers and units.learning is None  # frozen: its gradient cannot tell
            if share is not None and name not in now.exempt and not blind:
                self.dead[name] = share
        last = next(reversed(now.norms.values()), 0.0)
        self.gradients = {name: norm / last if last else float("nan") for name, norm in now.norms.items()}
        found = self._passed()
        new = [text for key, text in found.items() if key not in self._warned]
        self._warned |= set(found)
        return new

    def _passed(self) -> dict[str, str]:
        dead, vanishing, exploding = self.thresholds
        found = {
            f"dead {name}": f"{share:.0%} of the units behind {name!r} are dead: 0 for the whole epoch"
            for name, share in self.dead.items()
            if share >= dead
        }
        if len(self.gradients) > 1:
            first, ratio = next(iter(self.gradients.items()))
            text = f"the gradient of {first!r}, the first layer, is {ratio:.1e} times the last layer's"
            if ratio <= vanishing:
                found["vanishing"] = f"vanishing gradients: {text}"
            if ratio >= exploding:
                found["exploding"] = f"exploding gradients: {text}"
        return found

    def table(self) -> str:
        """The last whole epoch, one line for each layer, in the model's order."""
        names = sorted({*self.gradients, *self.dead}, key=self._order.index)
        width = max([5, *map(len, names)])
        lines = [f"{'layer':<{width}}  {'dead units':>10}  {'gradient / last':>15}"]
        for name in names:
            share = f"{self.dead[name]:.1%}" if name in self.dead else ""
            ratio = f"{self.gradients[name]:.3g}" if name in self.gradients else ""
            lines.append(f"{name:<{width}}  {share:>10}  {ratio:>15}")
        return "\n".join(lines)

    # as a callback

    def on_fit_begin(self, trainer: Trainer) -> None:
        self.attach(trainer.model)

    def on_batch_end(self, trainer: Trainer, loss: float) -> None:
        self.after_backward()

    def on_epoch_end(self, trainer: Trainer, logs: dict[str, float]) -> None:
        for line in self.end_epoch():
            warnings.warn(f"epoch {trainer.epoch}: {line}", stacklevel=5)

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        self.detach()


def _own_parameters(module: Module) -> list[Any]:
    """The parameters of the module itself, if all have one entry or row for each unit."""
    own = list(module.parameters(recurse=False))
    return own if own and len({p.shape[0] if p.ndim else None for p in own}) == 1 else []
