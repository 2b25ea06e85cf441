"""The calls of a plan that update parameters, and what is counted. Used in each step, and therefore compiled."""

from __future__ import annotations

from typing import Any

from ..autograd import Tensor
from ..checks import Array
from ..ops.arrays import Entries

CONSTANT = (bool, int, float, str, tuple, type(None))


class Update:
    """The call that updates some parameters.

    index: of the call. group, params, states: of the optimizer. step: (1,), the number of the step, where there is one.
    """

    def __init__(
        self,
        index: int,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Array],
        states: list[dict[str, Any]],
        step: Array | None,
    ) -> None:
        self.index, self.group = index, group
        self.params, self.grads, self.states = params, grads, states
        self.step = step
        self.look_at_options()

    def look_at_options(self) -> None:
        """As they are now. Lists and arrays can change in place, and NAdam's product goes on: they are always new."""
        self._options = Entries([(self.group, ("params",))])
        changeable = [name for name, value in self.group.items() if type(value) not in CONSTANT and name != "params"]
        self.is_always_new = "mu_product" in self.states[0] or bool(changeable)

    def has_new_options(self) -> bool:
        return self.is_always_new or not self._options.hold()

    def counts_alike(self) -> bool:
        """Have all its parameters had equally many steps?"""
        if self.step is None:
            return True
        first = self.states[0]
        count = first["step"]
        for state in self.states:
            if state["step"] != count:
                return False
        return True

    def begin(self) -> None:
        """The next step has its number."""
        if self.step is not None:
            first = self.states[0]
            self.step[0] = first["step"] + 1

    def count(self, steps: int = 1) -> None:
        """So many steps are made."""
        if self.step is not None:
            first = self.states[0]
            number = first["step"] + steps
            for state in self.states:
                state["step"] = number

    def numbers(self) -> dict[str, Any]:
        """What is counted, to be put back by `undo`."""
        first = self.states[0]
        return {name: first[name] for name in ("step", "mu_product") if name in first}

    def undo(self, numbers: dict[str, Any]) -> None:
        for state in self.states:
            state.update(numbers)
