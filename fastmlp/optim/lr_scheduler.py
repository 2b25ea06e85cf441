"""Schedules of learning rates: `step`, called after each epoch, or each batch for OneCycleLR, sets group["lr"].

Those that multiply the learning rate go on from what they find there, so that several can be used together and anybody
may change it meanwhile. The sequences are torch's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import cos, inf, pi
from typing import Any, Literal

from ..checks import integer, number
from .optimizer import Group, Optimizer


def _per_group(name: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """A value for each group: those of a list, or one for all."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * groups
    if len(value) != groups:
        raise ValueError(f"{name}: expected {groups} values, one for each group of parameters, got {len(value)}")
    return list(value)


def _counted(name: str, value: Any) -> int:
    if integer(name, value) < 1:
        raise ValueError(f"{name}: expected 1 or more, got {value}")
    return int(value)


class LRScheduler:
    """What all have. A subclass has `get_lr`, or is a `_Multiplied`.

    last_epoch: how many steps were done before; -1: this is the beginning, and the learning rates are the initial ones.
    To resume at another, group["initial_lr"] must be there, as it is in the optimizer's state_dict.
    """

    #: attributes that `state_dict` leaves out
    _unsaved: tuple[str, ...] = ("optimizer",)

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = _checked(optimizer)
        self.last_epoch = integer("last_epoch", last_epoch)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError(f"last_epoch: {last_epoch} needs 'initial_lr' in param_groups[{i}], which has none")
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self._is_initial = True
        self.step()
        self._is_initial = False

    def get_lr(self) -> list[float]:
        """The learning rates of the epoch `last_epoch`, for `step`."""
        raise NotImplementedError(f"{type(self).__name__}: get_lr() is not defined")

    def step(self) -> None:
        """On to the next epoch."""
        self.last_epoch += 1
        for group, lr in zip(self.optimizer.param_groups, self.get_lr()):
            group["lr"] = lr
        self._last_lr = self._lrs()

    def _lrs(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def get_last_lr(self) -> list[float]:
        """The learning rates that `step` set, one for each group."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer, and functions."""
        return {name: value for name, value in vars(self).items() if name not in self._unsaved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken. The learning rates themselves are in that of the optimizer."""
        vars(self).update(state_dict)


def _checked(optimizer: Any) -> Optimizer:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: expected an Optimizer, got {type(optimizer).__name__}")
    return optimizer


class LambdaLR(LRScheduler):
    """initial lr · lr_lambda(epoch). lr_lambda: a function, or a list, one for each group; functions are not saved."""

    _unsaved = ("optimizer", "lr_lambdas")

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self.lr_lambdas = _per_group("lr_lambda", lr_lambda, _checked(optimizer))
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [lr * function(self.last_epoch) for lr, function in zip(self.base_lrs, self.lr_lambdas)]


# ------------------------------------------------------------------------- what multiplies the learning rate


class _Multiplied(LRScheduler):
    """The learning rate that is there, times `_factor`."""

    def _factor(self) -> float:
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        factor = self._factor()
        return [lr * factor for lr in self._lrs()]


class StepLR(_Multiplied):
    """Times gamma every step_size epochs."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size = _counted("step_size", step_size)
        self.gamma = number("gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float:
        return self.gamma if self.last_epoch > 0 and self.last_epoch % self.step_size == 0 else 1.0


class MultiStepLR(_Multiplied):
    """Times gamma at each of the milestones; one that is there twice counts twice."""

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones = Counter(integer("milestones", epoch) for epoch in milestones)
        self.gamma = number("gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float:
        return self.gamma ** self.milestones.get(self.last_epoch, 0)


class ExponentialLR(_Multiplied):
    """Times gamma every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = number("gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float:
        return 1.0 if self._is_initial else self.gamma


class LinearLR(_Multiplied):
    """From start_factor to end_factor times the initial learning rate, in total_iters epochs."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < number("start_factor", start_factor) <= 1:
            raise ValueError(f"start_factor: expected a number > 0 and <= 1, got {start_factor}")
        if not 0 <= number("end_factor", end_factor) <= 1:
            raise ValueError(f"end_factor: expected a number from 0 to 1, got {end_factor}")
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = _counted("total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float:
        if self.last_epoch == 0:
            return self.start_factor
        if self._is_initial or self.last_epoch > self.total_iters:
            return 1.0
        rise = self.end_factor - self.start_factor
        return 1 + rise / (self.total_iters * self.start_factor + (self.last_epoch - 1) * rise)


class CosineAnnealingLR(LRScheduler):
    """Down to eta_min along half a cosine of T_max epochs, and up again (Loshchilov & Hutter 2017)."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max = _counted("T_max", T_max)
        self.eta_min = number("eta_min", eta_min)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """From the last one in the ratio of the cosines; from the bottom, where there is none, by the first rise."""
        lrs, low = self._lrs(), self.eta_min
        if self._is_initial:
            return lrs
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:
            rise = (1 - cos(pi / self.T_max)) / 2
            return [lr + (base - low) * rise for lr, base in zip(lrs, self.base_lrs)]
        ratio = (1 + cos(pi * self.last_epoch / self.T_max)) / (1 + cos(pi * (self.last_epoch - 1) / self.T_max))
        return [ratio * (lr - low) + low for lr in lrs]


# -------------------------------------------------------------------------------------------------- one cycle


def _along_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (cos(pi * share) + 1)


def _along_line(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


class OneCycleLR(LRScheduler):
    """The learning rate up to max_lr and down to almost nothing, momentum or beta1 the other way (Smith & Topin 2019).

    It begins with max_lr / div_factor, is at its top after pct_start of all steps and ends with
    max_lr / div_factor / final_div_factor. three_phase: first down to where it began, as steeply, then to the end.
    All steps are total_steps, or epochs · steps_per_epoch; `step` is called after each batch. max_lr and the limits of
    momentum may be lists, with one for each group.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        groups = _checked(optimizer).param_groups
        if total_steps is None and (epochs is None or steps_per_epoch is None):
            raise ValueError("total_steps: expected it, or both of epochs and steps_per_epoch, got neither")
        if total_steps is None:
            total_steps = _counted("epochs", epochs) * _counted("steps_per_epoch", steps_per_epoch)
        self.total_steps = _counted("total_steps", total_steps)
        if not 0 <= number("pct_start", pct_start) <= 1:
            raise ValueError(f"pct_start: expected a number from 0 to 1, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy: expected 'cos' or 'linear', got {anneal_strategy!r}")
        self.anneal_strategy = anneal_strategy
        self.phases = _phases(self.total_steps, pct_start, three_phase)
        self.cycle_momentum = cycle_momentum
        max_lrs = _per_group("max_lr", max_lr, optimizer)
        highest = _per_group("max_momentum", max_momentum, optimizer)
        lowest = _per_group("base_momentum", base_momentum, optimizer)
        if cycle_momentum and not {"betas", "momentum"} & set(optimizer.defaults):
            raise ValueError(f"cycle_momentum: {type(optimizer).__name__} has neither momentum nor betas")
        if last_epoch == -1:
            for group, top, high, low in zip(groups, max_lrs, highest, lowest):
                group["initial_lr"], group["max_lr"] = top / div_factor, top
                group["min_lr"] = group["initial_lr"] / final_div_factor
                if cycle_momentum:
                    group["max_momentum"], group["base_momentum"] = high, low
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Sets the momentum as well."""
        if self.last_epoch > self.total_steps:
            raise ValueError(f"step: this is step {self.last_epoch}, and the schedule has {self.total_steps}")
        i = next((i for i, phase in enumerate(self.phases) if self.last_epoch <= phase[0]), len(self.phases) - 1)
        last, lrs, momenta = self.phases[i]
        first = self.phases[i - 1][0] if i else 0.0
        share = (self.last_epoch - first) / (last - first) if last > first else 1.0
        along = _along_cosine if self.anneal_strategy == "cos" else _along_line
        for group in self.optimizer.param_groups if self.cycle_momentum else ():
            _set_momentum(group, along(group[momenta[0]], group[momenta[1]], share))
        return [along(group[lrs[0]], group[lrs[1]], share) for group in self.optimizer.param_groups]


def _phases(total: int, pct_start: float, three: bool) -> list[tuple[float, tuple[str, str], tuple[str, str]]]:
    """(last step, learning rate from and to, momentum from and to) of each phase"""
    up = float(pct_start * total) - 1
    phases = [(up, ("initial_lr", "max_lr"), ("max_momentum", "base_momentum"))]
    if not three:
        return [*phases, (total - 1, ("max_lr", "min_lr"), ("base_momentum", "max_momentum"))]
    phases.append((2 * up, ("max_lr", "initial_lr"), ("base_momentum", "max_momentum")))
    return [*phases, (total - 1, ("initial_lr", "min_lr"), ("max_momentum", "max_momentum"))]


def _set_momentum(group: Group, momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum


# ---------------------------------------------------------------------------------------------------- plateaus


class ReduceLROnPlateau(LRScheduler):
    """Times factor when a metric has not become better for more than `patience` epochs; `step` takes the metric.

    mode: is less better ("min") or more ("max")? Better by threshold, relative ("rel") or absolute ("abs").
    cooldown: epochs after a reduction that do not count. min_lr: no less, for all or a list with one for each group.
    eps: smaller changes are not made.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        self.optimizer = _checked(optimizer)
        if not number("factor", factor) < 1:
            raise ValueError(f"factor: expected a number < 1, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f"mode: expected 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold_mode: expected 'rel' or 'abs', got {threshold_mode!r}")
        self.mode, self.threshold, self.threshold_mode = mode, threshold, threshold_mode
        self.factor, self.patience, self.cooldown, self.eps = factor, patience, cooldown, eps
        self.min_lrs = _per_group("min_lr", min_lr, optimizer)
        self.best = inf if mode == "min" else -inf
        self.last_epoch = self.num_bad_epochs = self.cooldown_counter = 0
        self._last_lr = self._lrs()

    @property
    def in_cooldown(self) -> bool:
        return self.cooldown_counter > 0

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """metrics: this epoch's, a number."""
        current = number("metrics", metrics)
        self.last_epoch += 1
        self.num_bad_epochs += 1
        if self._is_better(current):
            self.best, self.num_bad_epochs = current, 0
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self._lrs()

    def _is_better(self, current: float) -> bool:
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "rel":
            return sign * current > sign * self.best * (1 + sign * self.threshold)
        return sign * current > sign * self.best + self.threshold

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        if len(self.min_lrs) != len(groups):
            raise ValueError(f"min_lrs: expected one for each of {len(groups)} groups, got {len(self.min_lrs)}")
        for group, least in zip(groups, self.min_lrs):
            lr = max(group["lr"] * self.factor, least)
            if group["lr"] - lr > self.eps:
                group["lr"] = lr
