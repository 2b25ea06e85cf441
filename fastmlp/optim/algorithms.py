"""The optimizers, a class each. The formulas and their sources are in `kernels/reference/optim.py`."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..checks import Array, number
from ..memory import full, zeros
from .optimizer import Arrays, Group, Optimizer, Params, State, States, check_betas, check_nonnegative


def _of(states: States, name: str) -> Arrays:
    return [state[name] for state in states]


def _zeros(p: Array, *names: str) -> State:
    return {name: zeros(p.shape, p.dtype) for name in names}


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum, dampened or Nesterov's, and weight decay."""

    _left_out = ("foreach", "differentiable", "fused")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        **left_out: Any,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"nesterov": nesterov, "maximize": maximize}, left_out)

    def _check(self, group: Group) -> None:
        check_nonnegative(group, "lr", "momentum", "weight_decay")
        dampening = number("dampening", group["dampening"])
        if group["nesterov"] and (group["momentum"] == 0 or dampening != 0):
            raise ValueError(
                f"nesterov: expected momentum > 0 and dampening 0 with it, got {group['momentum']} and {dampening}"
            )

    def _fresh(self, p: Array, group: Group) -> State:
        return _zeros(p, "momentum_buffer") if group["momentum"] != 0 else {}

    def _update(self, group: Group, params: Arrays, grads: Arrays, states: States, step: int | None) -> None:
        ops.sgd(
            params,
            grads,
            _of(states, "momentum_buffer") if group["momentum"] != 0 else None,
            lr=group["lr"],
            momentum=group["momentum"],
            dampening=group["dampening"],
            weight_decay=group["weight_decay"],
            nesterov=group["nesterov"],
            maximize=group["maximize"],
            first=step == 0,
        )


class Adam(Optimizer):
    """Adam; decoupled_weight_decay makes it AdamW."""

    _left_out = ("foreach", "capturable", "differentiable", "fused")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
        **left_out: Any,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        defaults |= {"maximize": maximize, "decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, defaults, left_out)

    def _check(self, group: Group) -> None:
        check_nonnegative(group, "lr", "eps", "weight_decay")
        check_betas(group)

    def _fresh(self, p: Array, group: Group) -> State:
        more = ("max_exp_avg_sq",) if group["amsgrad"] else ()
        return {"step": 0} | _zeros(p, "exp_avg", "exp_avg_sq", *more)

    def _update(self, group: Group, params: Arrays, grads: Arrays, states: States, step: Any) -> None:
        beta1, beta2 = group["betas"]
        ops.adam(
            params,
            grads,
            _of(states, "exp_avg"),
            _of(states, "exp_avg_sq"),
            _of(states, "max_exp_avg_sq") if group["amsgrad"] else None,
            step=step + 1,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            decoupled_weight_decay=group["decoupled_weight_decay"],
            maximize=group["maximize"],
        )


class AdamW(Adam):
    """Adam with weight decay that does not pass through the averages."""

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        **left_out: Any,
    ) -> None:
        super().__init__(
            *(params, lr, betas, eps, weight_decay, amsgrad),
            maximize=maximize,
            decoupled_weight_decay=True,
            **left_out,
        )


class RMSprop(Optimizer):
    """RMSprop, centered or not, with or without momentum."""

    _left_out = ("capturable", "foreach", "differentiable")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
        **left_out: Any,
    ) -> None:
        defaults = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, defaults | {"centered": centered, "maximize": maximize}, left_out)

    def _check(self, group: Group) -> None:
        check_nonnegative(group, "lr", "alpha", "eps", "weight_decay", "momentum")

    def _fresh(self, p: Array, group: Group) -> State:
        more = ("momentum_buffer",) * (group["momentum"] > 0) + ("grad_avg",) * bool(group["centered"])
        return {"step": 0} | _zeros(p, "square_avg", *more)

    def _update(self, group: Group, params: Arrays, grads: Arrays, states: States, step: Any) -> None:
        ops.rmsprop(
            params,
            grads,
            _of(states, "square_avg"),
            _of(states, "grad_avg") if group["centered"] else None,
            _of(states, "momentum_buffer") if group["momentum"] > 0 else None,
            lr=group["lr"],
            alpha=group["alpha"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            maximize=group["maximize"],
        )


class Adagrad(Optimizer):
    """Adagrad."""

    _left_out = ("foreach", "differentiable", "fused")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        **left_out: Any,
    ) -> None:
        defaults = {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps}
        defaults |= {"initial_accumulator_value": initial_accumulator_value, "maximize": maximize}
        super().__init__(params, defaults, left_out)

    def _check(self, group: Group) -> None:
        check_nonnegative(group, "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    def _fresh(self, p: Array, group: Group) -> State:
        return {"step": 0, "sum": full(p.shape, group["initial_accumulator_value"], p.dtype)}

    def _update(self, group: Group, params: Arrays, grads: Arrays, states: States, step: Any) -> None:
        ops.adagrad(
            params,
            grads,
            _of(states, "sum"),
            step=step + 1,
            lr=group["lr"],
            lr_decay=group["lr_decay"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=group["maximize"],
        )


class Adadelta(Optimizer):
    """Adadelta."""

    _left_out = ("foreach", "capturable", "differentiable")

    def __init__(
        self,
        params: Params,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
        **left_out: Any,
    ) -> None:
        defaults = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults, left_out)

    def _check(self, group: Group) -> None:
        check_nonnegative(group, "lr", "eps", "weight_decay")
        if not 0 <= number("rho", group["rho"]) <= 1:
            raise ValueError(f"rho: expected a number from 0 to 1, got {group['rho']}")

    def _fresh(self, p: Array, group: Group) -> State:
        return {"step": 0} | _zeros(p, "square_avg", "acc_delta")

    def _update(self, group: Group, params: Arrays, grads: Arrays, states: States, step: Any) -> None:
        ops.adadelta(
            params,
            grads,
            _of(states, "square_avg"),
            _of(states, "acc_delta"),
            lr=group["lr"],
            rho=group["rho"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            maximize=group["maximize"],
        )


class NAdam(Optimizer):
    """Adam with Nesterov's momentum."""

    _left_out = ("foreach", "capturable", "differentiable")

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **left_out: Any,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        defaults |= {"momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, defaults, left_out)

    def _check(self, group: Group) -> None:
        check_nonnegative(group, "lr", "eps", "weight_decay", "momentum_decay")
        check_betas(group)

    def _fresh(self, p: Array, group: Group) -> State:
        return {"step": 0, "mu_product": 1.0} | _zeros(p, "exp_avg", "exp_avg_sq")

    def _update(self, group: Group, params: Arrays, grads: Arrays, states: States, step: Any) -> None:
        beta1, beta2 = group["betas"]
        # one product for all, unless betas were changed while some of them skipped steps
        for product in {state["mu_product"] for state in states}:
            alike = [i for i, state in enumerate(states) if state["mu_product"] == product]
            some = [states[i] for i in alike]
            next_product = ops.nadam(
                [params[i] for i in alike],
                [grads[i] for i in alike],
                _of(some, "exp_avg"),
                _of(some, "exp_avg_sq"),
                step=step + 1,
                mu_product=product,
                beta1=beta1,
                beta2=beta2,
                lr=group["lr"],
                eps=group["eps"],
                weight_decay=group["weight_decay"],
                momentum_decay=group["momentum_decay"],
                decoupled_weight_decay=group["decoupled_weight_decay"],
                maximize=group["maximize"],
            )
            for state in some:
                state["mu_product"] = next_product


class RAdam(Optimizer):
    """Adam that waits until it knows the variance of its steps."""

    _left_out = ("foreach", "capturable", "differentiable")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **left_out: Any,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        defaults |= {"decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, defaults, left_out)

    def _check(self, group: Group) -> None:
        check_nonnegative(group, "lr", "eps", "weight_decay")
        check_betas(group)

    def _fresh(self, p: Array, group: Group) -> State:
        return {"step": 0} | _zeros(p, "exp_avg", "exp_avg_sq")

    def _update(self, group: Group, params: Arrays, grads: Arrays, states: States, step: Any) -> None:
        beta1, beta2 = group["betas"]
        ops.radam(
            params,
            grads,
            _of(states, "exp_avg"),
            _of(states, "exp_avg_sq"),
            step=step + 1,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            decoupled_weight_decay=group["decoupled_weight_decay"],
            maximize=group["maximize"],
        )
