"""The gradients of some steps, summed for one update."""

from __future__ import annotations

from ..autograd import Tensor
from ..checks import Array
from ..memory import empty
from ..tape import array_of

#: what a step does with its gradients: it updates; it begins the sums; adds to them; adds to them and updates with them
ONLY, FIRST, MORE, LAST = "only", "first", "more", "last"


class Sums:
    """made: so many steps are summed. gradients: the sums, of the parameters that had a gradient."""

    def __init__(self) -> None:
        self.made = 0
        self.gradients: dict[Tensor, Array] = {}
        self._kept: dict[Tensor, Array] = {}

    def stage(self, steps: int) -> str:
        """Of the next step, if so many make an update."""
        if not self.made:
            return ONLY if steps == 1 else FIRST
        return MORE if self.made + 1 < steps else LAST

    def of(self, p: Tensor) -> Array:
        """Where the parameter's sum goes."""
        a, kept = array_of(p), self._kept.get(p)
        if kept is None or kept.shape != a.shape or kept.dtype != a.dtype:
            kept = self._kept[p] = empty(a.shape, a.dtype)
        return kept

    def add(self, gradients: list[tuple[Tensor, Array]]) -> None:
        """Those of one step."""
        for p, g in gradients:
            if p in self.gradients and self.gradients[p] is self.of(p):  # not another shape meanwhile
                self.gradients[p] += g
            else:
                self.gradients[p] = self.of(p)
                self.gradients[p][...] = g
        self.made += 1

    def fit(self, gradients: list[tuple[Tensor, Array]]) -> bool:
        """Are these the sums of just the parameters that have one so far, if any?"""
        if not self.made:
            return True
        return len(gradients) == len(self.gradients) and all(self.gradients.get(p) is a for p, a in gradients)

    def follow(self, stage: str, gradients: list[tuple[Tensor, Array]]) -> None:
        """A step has put its own into these sums, or added them; the last one has used them."""
        if stage == LAST:
            self.clear()
        elif stage != ONLY:
            self.made += 1
            self.gradients = dict(gradients)

    def clear(self) -> None:
        self.made, self.gradients = 0, {}
