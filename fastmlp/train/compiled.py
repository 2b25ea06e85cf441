"""Gradients by a compiled network, where that does what the layers would do."""

from __future__ import annotations

from typing import Any

from ..checks import Array
from ..nn import Module
from ..optim import Optimizer
from ..plan import Network

OWN = f"{Module.__module__.rpartition('.')[0]}."  # where fastmlp's own modules are defined


class Compiled:
    """network: of the model, loss and optimizer that came last."""

    def __init__(self) -> None:
        self.network: Network | None = None
        self._serves = False

    def backward(self, model: Module, loss: Any, optimizer: Optimizer, x: Any, y: Any) -> tuple[float, Array] | None:
        """The loss, the prediction, and gradients as `loss.backward()` leaves them; None: the layers must be called."""
        network = self.network
        if network is None or (network.model, network.loss, network.optimizer) != (model, loss, optimizer):
            network = self.network = Network(model, loss, optimizer)
            self._serves = _does_what_its_layers_do(model, optimizer)
        return network.backward(x, y) if self._serves else None


def _does_what_its_layers_do(model: Module, optimizer: Optimizer) -> bool:
    """Is the model made of fastmlp's own modules alone, with all that it learns in the optimizer?

    A forward of the user's may do otherwise in each call, and expects to be called; and other parameters have
    gradients, too, that count where gradients are clipped.
    """
    if any(not type(m).__module__.startswith(OWN) or "forward" in m.__dict__ for m in model.modules()):
        return False
    learnt = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return all(id(p) in learnt for p in model.parameters() if p.requires_grad)
