"""What all optimizers share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from itertools import chain
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..checks import Array, number
from ..grad_mode import enable_grad
from ..memory import copy
from ..tape import array_of, changed, clear_gradients, settle
from .batches import batches

Params = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
Group = dict[str, Any]
State = dict[str, Any]
Arrays = list[Array]
States = list[State]

#: arguments of torch's optimizers that choose among its implementations; here they may only have these values
LEFT_OUT: dict[str, Any] = {"foreach": None, "fused": None, "capturable": False, "differentiable": False}
#: what is kept for a parameter beside arrays
NUMBERS: dict[str, Callable[[Any], Any]] = {"step": int, "mu_product": float}


class Optimizer:
    """Groups of parameters, each with its own options, and what the optimizer remembers of each parameter.

    params: tensors, or (name, tensor) pairs, or dicts with such under "params" and, by their names, the options in
    which that group differs from `defaults`. left_out: see LEFT_OUT.

    param_groups: a dict for each group, its tensors under "params"; options may be changed at any time.
    state: tensor -> its arrays, by torch's names; filled in the first step with a gradient.

    A subclass has `_check`, `_fresh` and `_update`, or a `step` of its own.
    """

    #: the names in LEFT_OUT that torch's optimizer of this name takes
    _left_out: tuple[str, ...] = ()

    def __init__(self, params: Params, defaults: dict[str, Any], left_out: dict[str, Any] | None = None) -> None:
        self.defaults = defaults | self._accepted(left_out or {})
        self.state: defaultdict[Tensor, State] = defaultdict(dict)
        self.param_groups: list[Group] = []
        if isinstance(params, Tensor):
            raise TypeError("params: expected an iterable of tensors or of dicts, got one tensor")
        if callable(params):
            raise TypeError("params: expected an iterable of tensors or of dicts, got a function; call it")
        groups = list(params)
        if not groups:
            raise ValueError("params: expected at least one parameter, got an empty list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)  # type: ignore[arg-type]

    def _accepted(self, given: dict[str, Any]) -> dict[str, Any]:
        for name, value in given.items():
            if name not in self._left_out:
                raise TypeError(f"{type(self).__name__}: unexpected keyword argument {name!r}")
            if value is not None and value is not False:
                raise ValueError(f"{name}: expected None or False, as there is one implementation here, got {value!r}")
        return {name: given.get(name, LEFT_OUT[name]) for name in self._left_out}

    # ------------------------------------------------------------------------------------- what subclasses have

    def _check(self, group: Group) -> None:
        """ValueError or TypeError if an option of the group is impossible."""

    def _fresh(self, p: Array, group: Group) -> State:
        """The state of a parameter before its first step; "step" is 0 if it counts."""
        return {}

    def _update(self, group: Group, params: Arrays, grads: Arrays, states: States, step: int | None) -> None:
        """One step of these parameters, in place.

        step: how many each has had; where they are not counted, 0 before the first and None later.
        """
        raise NotImplementedError(f"{type(self).__name__}: neither step() nor _update() is defined")

    # -------------------------------------------------------------------------------------------------- groups

    def add_param_group(self, param_group: Group) -> None:
        """Optimize more parameters: "params", and the options in which they differ from `defaults`."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group: expected a dict, got {type(param_group).__name__}")
        if "params" not in param_group:
            raise ValueError(f"param_group: expected the parameters under 'params', got {sorted(param_group)}")
        given = param_group["params"]
        if isinstance(given, set):
            raise TypeError("params: expected an ordered collection, got a set, whose order changes from run to run")
        listed = [given] if isinstance(given, Tensor) else list(given)
        names = [item[0] for item in listed if isinstance(item, tuple)]
        params = [item[1] if isinstance(item, tuple) else item for item in listed]
        if names and len(names) != len(params):
            raise ValueError(f"params: expected names for all or none, got {len(names)} for {len(params)} parameters")
        group = self.defaults | param_group | {"params": params} | ({"param_names": names} if names else {})
        self._check_params(params)
        if self.param_groups and ("param_names" in group) != ("param_names" in self.param_groups[0]):
            raise ValueError("params: expected names in every group or in none")
        self._check(group)
        self.param_groups.append(group)

    def _check_params(self, params: list[Any]) -> None:
        known = {id(p) for group in self.param_groups for p in group["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"params: expected tensors, got {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError("params: expected leaf tensors, got one that an operation made")
            if id(p) in known:
                raise ValueError("params: the same parameter appears twice")
            if not array_of(p).flags.c_contiguous:
                raise ValueError(f"params: expected C-contiguous tensors, got one of shape {p.shape} that is not")
            known.add(id(p))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or set them to 0. A parameter whose gradient is None is skipped by `step`."""
        for group in self.param_groups:
            clear_gradients(group["params"], set_to_none)

    # ---------------------------------------------------------------------------------------------------- step

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient. closure: computes loss and gradients first; -> the loss."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        work = [(group, batches(group["params"], self.state)) for group in self.param_groups]
        if len(work) > 1 or len(work[0][1]) > 1:  # else `ops` finds what is wrong before it writes
            for group, found in work:
                self._check(group)
                for _, arrays, grads, states in found.values():
                    _check_batch(arrays, grads, states)
        settle()
        for group, found in work:
            for (step, _), batch in found.items():
                self._step(group, step, *batch)
        return loss

    def _step(
        self, group: Group, step: int | None, params: list[Tensor], arrays: Arrays, grads: Arrays, states: States
    ) -> None:
        if step == 0:
            states = [state or self._fresh(a, group) for state, a in zip(states, arrays)]
        self._update(group, arrays, grads, states, step)
        changed(params)
        if step == 0:
            self.state.update((p, state) for p, state in zip(params, states) if state or p not in self.state)
        if step is not None and "step" in states[0]:
            step += 1
            for state in states:
                state["step"] = step

    # -------------------------------------------------------------------------------------------------- saving

    def state_dict(self) -> dict[str, Any]:
        """A copy of state and options in torch's layout, where a parameter is an index, counted through all groups:
        {"state": {index: {...}}, "param_groups": [{..., "params": [index, ...]}, ...]}."""
        params = list(chain.from_iterable(group["params"] for group in self.param_groups))
        index = {id(p): i for i, p in enumerate(params)}
        return {
            "state": {i: deepcopy(self.state[p]) for i, p in enumerate(params) if self.state.get(p)},
            "param_groups": [
                {key: deepcopy(value) for key, value in group.items() if key != "params"}
                | {"params": [index[id(p)] for p in group["params"]]}
                for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a copy of what `state_dict` gave, here or in torch, for the same parameters in the same order."""
        saved = state_dict["param_groups"]
        ours, theirs = ([len(group["params"]) for group in groups] for groups in (self.param_groups, saved))
        if ours != theirs:
            raise ValueError(f"state_dict: expected groups of {ours} parameters, got groups of {theirs}")
        params = dict(zip(*(chain.from_iterable(g["params"] for g in groups) for groups in (saved, self.param_groups))))
        state = {params[i]: _restored(i, kept, params[i]._data) for i, kept in state_dict["state"].items()}
        for group, new in zip(self.param_groups, saved):
            for p in group["params"]:
                missing = set(self._fresh(p._data, group | new)) - set(state[p]) if state.get(p) else ()
                if missing:
                    raise ValueError(f"state_dict: {', '.join(sorted(missing))} missing; is it of another optimizer?")
        options = [{k: deepcopy(v) for k, v in g.items() if k != "params" and k not in LEFT_OUT} for g in saved]
        for group, new in zip(self.param_groups, options):
            self._check(group | new)
        for group, new in zip(self.param_groups, options):
            group.update(new)
        self.state = defaultdict(dict, state)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])


def _restored(index: int, kept: dict[str, Any], p: Array) -> State:
    """A copy of what was kept for parameter p, in its dtype."""
    state: State = {}
    for name, value in kept.items():
        if name in NUMBERS:
            state[name] = NUMBERS[name](value)
        elif value is not None:
            state[name] = copy(np.asarray(value), p.dtype)
            if state[name].shape != p.shape:
                raise ValueError(
                    f"state_dict: {name} of parameter {index}: expected shape {p.shape}, got {state[name].shape}"
                )
    return state


def _check_batch(arrays: Arrays, grads: Arrays, states: States) -> None:
    """Gradient and state of each parameter are of its shape and dtype."""
    for p, grad, kept in zip(arrays, grads, states):
        for name, a in (("grad", grad), *kept.items()):
            if isinstance(a, np.ndarray) and a.dtype != p.dtype:
                raise TypeError(f"{name}: expected {p.dtype} as its parameter is, got {a.dtype}")
            if isinstance(a, np.ndarray) and a.shape != p.shape:
                raise ValueError(f"{name}: expected shape {p.shape}, as its parameter has, got {a.shape}")


# ------------------------------------------------------------------------------------ checks for the subclasses


def check_nonnegative(group: Group, *names: str) -> None:
    for name in names:
        if not number(name, group[name]) >= 0:
            raise ValueError(f"{name}: expected a number >= 0, got {group[name]}")


def check_betas(group: Group) -> None:
    betas = group["betas"]
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise ValueError(f"betas: expected a pair of numbers, got {betas!r}")
    for i, beta in enumerate(betas):
        if not 0 <= number(f"betas[{i}]", beta) < 1:
            raise ValueError(f"betas[{i}]: expected a number >= 0 and < 1, got {beta}")
