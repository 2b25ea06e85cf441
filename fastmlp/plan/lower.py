"""From a chain of layers to the calls of kernels that are one step, or one prediction.

The functions of `ops` are called as the tape would call them, but under `ops.recording`: what they ask of the backend
is the plan. So the plan computes what the layers compute one by one; to the last bit, but for a wide head (head.py) and
what a backend does as one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastmlp.kernels.contract import KERNELS, Loss

from .. import ops
from ..autograd import Tensor
from ..checks import Array
from ..nn import loss as losses
from ..nn import loss_functions
from ..optim import Optimizer, algorithms
from ..tape import array_of, wrap
from .arena import Arena, Placed
from .head import Share, split_head
from .sums import FIRST, LAST, MORE, ONLY, Sums
from .trace import Layer, NotAChain, NotYet
from .updates import Update

Gradients = list[tuple[Tensor, Array]]
#: (dy, is dx wanted?) -> dx; the gradients of the layer's parameters are appended to plan.gradients
Backward = Callable[[Array, bool], Any]


@dataclass
class Calls:
    """A plan before it is made a program.

    calls: of kernels, in their order. forward: those that give the output. loss: (1,); or (n,), to be added up, of a
    wide head, whose rows get their `share` in each run. seeds: (layers with dropout,), drawn anew for each run. moved:
    (layer, mean, variance) of batch norms whose running statistics follow. gradients: of the parameters, or their sums.
    updates: what changes these.
    """

    calls: list[ops.Call] = field(default_factory=list)
    forward: list[ops.Call] = field(default_factory=list)
    output: Any = None
    loss: Any = None
    share: Share | None = None
    seeds: list[Array] = field(default_factory=list)
    moved: list[tuple[Layer, Array, Array]] = field(default_factory=list)
    gradients: Gradients = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)


@dataclass(frozen=True)
class Training:
    """What a step is to do.

    arena: where everything is that nobody keeps. stage: what is done with the gradients: as in sums.py, or None: they
    are left. clip_norm, clip_value: what they are clipped to before an update. keeps_output: is it looked at then?
    """

    loss: Any
    optimizer: Optimizer
    arena: Arena
    sums: Sums
    stage: str | None = ONLY
    clip_norm: float | None = None
    clip_value: float | None = None
    keeps_output: bool = False


def prediction(layers: Sequence[Layer], x: Array, arena: Arena) -> Calls:
    """The output for x (m, k), which stands for any array of its shape and dtype."""
    plan = Calls()
    with ops.recording() as plan.calls:
        plan.output, _ = _forward(layers, x, plan, frozenset())
    _place(plan, arena)
    _number_the_draws(plan, plan.calls)
    plan.forward = plan.calls
    return plan


def step(layers: Sequence[Layer], x: Array, target: Any, training: Training) -> Calls:
    """A training step on x and target, which stand for any of their shapes and dtypes."""
    loss, optimizer, stage, sums = training.loss, training.optimizer, training.stage, training.sums
    _check_known(loss, optimizer)
    plan = Calls()
    learnt = frozenset(id(p) for g in optimizer.param_groups for p in g["params"] if p.requires_grad)
    with ops.recording() as plan.calls:
        plan.output, backwards = _forward(layers, x, plan, learnt)
        plan.forward = list(plan.calls)
        _backward(backwards, _loss(plan, loss, target))
    if len({id(p) for p, _ in plan.gradients}) < len(plan.gradients):
        raise NotAChain("two of its layers share a parameter")
    wide = None if training.keeps_output else split_head(plan.calls, len(plan.forward) - 1)
    if wide is not None:
        plan.share, plan.loss = wide
    _place(plan, training.arena, [(g, sums.of(p)) for p, g in plan.gradients] if stage == FIRST else [])
    if stage in (MORE, LAST):
        _add(plan, sums)
    if stage in (ONLY, LAST):
        gradients = {id(p): g for p, g in plan.gradients}
        _clip(plan, gradients, training)
        _update(plan, optimizer, gradients)
    _number_the_draws(plan, plan.forward)
    _number_the_draws(plan, plan.calls)
    return plan


def _place(plan: Calls, arena: Arena, moved: Sequence[tuple[Array, Array]] = ()) -> None:
    """What the calls write is put into the arena, but for what is moved elsewhere."""
    placed = Placed(arena, plan.calls, moved)
    plan.calls, plan.forward = placed.calls(plan.calls), placed.calls(plan.forward)
    plan.output, plan.loss = placed.of(plan.output), placed.of(plan.loss)
    plan.moved = [(layer, placed.of(mean), placed.of(var)) for layer, mean, var in plan.moved]
    plan.gradients = [(p, placed.of(g)) for p, g in plan.gradients]


def _check_known(loss: Any, optimizer: Optimizer) -> None:
    """Of other people's losses and optimizers nobody can say what they do beside the kernels."""
    own = type(loss).__module__ == losses.__name__ or getattr(loss, "__module__", "") == loss_functions.__name__
    own = own or type(getattr(loss, "kind", None)) is Loss  # what fastmlp.loss made
    if not own or "forward" in getattr(loss, "__dict__", ()) or getattr(loss, "_forward_hooks", None):
        raise NotAChain("its loss is not one of fastmlp's own")
    if type(optimizer).__module__ != algorithms.__name__ or {"step", "_update"} & set(optimizer.__dict__):
        raise NotAChain("its optimizer is not one of fastmlp's own")
    for group in optimizer.param_groups:
        optimizer._check(group)


# ------------------------------------------------------------------------------------------------- layers


def _forward(
    layers: Sequence[Layer], x: Array, plan: Calls, learnt: frozenset[int]
) -> tuple[Array, list[tuple[Backward, bool]]]:
    """The output, and for each layer its way back, with whether it has anything to learn."""
    backwards = []
    for layer in layers:
        x, backward = MAKE[layer.kind](layer, x, plan, learnt)
        backwards.append((backward, any(t is not None and id(t) in learnt for t in (layer.weight, layer.bias))))
    return x, backwards


def _backward(backwards: list[tuple[Backward, bool]], dy: Array) -> None:
    """Back to the first layer that learns."""
    learns = [i for i, (_, any_learnt) in enumerate(backwards) if any_learnt]
    if not learns:
        raise NotAChain("the optimizer has none of its parameters")
    for i in range(len(backwards) - 1, learns[0] - 1, -1):
        dy = backwards[i][0](dy, i > learns[0])


def _array(t: Tensor | None) -> Any:
    return None if t is None else array_of(t)


def _keep(plan: Calls, *pairs: tuple[Tensor | None, Array | None]) -> None:
    plan.gradients += [(t, g) for t, g in pairs if t is not None and g is not None]


def _linear(layer: Layer, x: Array, plan: Calls, learnt: frozenset[int]) -> Any:
    w, b, act = _array(layer.weight), _array(layer.bias), layer.act
    assert act is not None
    if not learnt:
        return ops.linear(x, w, b, act), None
    y, saved = ops.linear(x, w, b, act, save=True)

    def backward(dy: Array, wants_dx: bool) -> Any:
        wants_dw, wants_db = id(layer.weight) in learnt, id(layer.bias) in learnt
        dx, dw, db = ops.linear_backward(dy, x, w, saved, act, dx=wants_dx, dw=wants_dw, db=wants_db)
        _keep(plan, (layer.weight, dw), (layer.bias, db))
        return dx

    return y, backward


def _activation(layer: Layer, x: Array, plan: Calls, learnt: frozenset[int]) -> Any:
    assert layer.act is not None
    y = ops.activation(x, layer.act)
    saved = y if layer.act.act.saves == "y" else x
    return y, lambda dy, wants_dx: ops.activation_backward(dy, saved, layer.act) if wants_dx else None


def _prelu(layer: Layer, x: Array, plan: Calls, learnt: frozenset[int]) -> Any:
    w = _array(layer.weight)

    def backward(dy: Array, wants_dx: bool) -> Any:
        dx, dw = ops.prelu_backward(dy, x, w, dx=wants_dx, dweight=id(layer.weight) in learnt)
        _keep(plan, (layer.weight, dw))
        return dx

    return ops.prelu(x, w), backward


def _rows(layer: Layer, x: Array, plan: Calls, learnt: frozenset[int]) -> Any:
    y = getattr(ops, layer.kind)(x)
    return y, lambda dy, wants_dx: getattr(ops, f"{layer.kind}_backward")(dy, y) if wants_dx else None


def _norm_backward(layer: Layer, back: Callable[..., Any], plan: Calls, learnt: frozenset[int]) -> Backward:
    def backward(dy: Array, wants_dx: bool) -> Any:
        wanted = {"dweight": id(layer.weight) in learnt, "dbias": id(layer.bias) in learnt}
        dx, dw, db = back(dy, dx=wants_dx, **wanted)
        _keep(plan, (layer.weight, dw), (layer.bias, db))
        return dx

    return backward


def _layer_norm(layer: Layer, x: Array, plan: Calls, learnt: frozenset[int]) -> Any:
    w, b = _array(layer.weight), _array(layer.bias)
    y, saved = ops.layer_norm(x, w, b, layer.options["eps"], save=True)

    def back(dy: Array, **wanted: Any) -> Any:
        return ops.layer_norm_backward(dy, x, w, saved, **wanted)

    return y, _norm_backward(layer, back, plan, learnt)


def _batch_norm(layer: Layer, x: Array, plan: Calls, learnt: frozenset[int]) -> Any:
    w, b, running = _array(layer.weight), _array(layer.bias), layer.options["running"]
    training = layer.options["training"]
    given = {} if training else {"running_mean": _array(running[0]), "running_var": _array(running[1])}
    y, saved = ops.batch_norm(x, w, b, layer.options["eps"], **given, save=True)
    plan.moved.append((layer, saved[0], saved[2] if training else saved[1]))

    def back(dy: Array, **wanted: Any) -> Any:
        return ops.batch_norm_backward(dy, x, w, saved, training=training, **wanted)

    return y, _norm_backward(layer, back, plan, learnt)


def _dropout(layer: Layer, x: Array, plan: Calls, learnt: frozenset[int]) -> Any:
    p, number = layer.options["p"], len(plan.seeds)
    plan.seeds.append(np.zeros(1, np.uint64))
    y = ops.dropout(x, p, seed=number)
    return y, lambda dy, wants_dx: ops.dropout(dy, p, seed=number) if wants_dx else None


MAKE: dict[str, Callable[..., Any]] = {
    "linear": _linear,
    "activation": _activation,
    "prelu": _prelu,
    "softmax": _rows,
    "log_softmax": _rows,
    "layer_norm": _layer_norm,
    "batch_norm": _batch_norm,
    "dropout": _dropout,
}


def check_slots(calls: Sequence[ops.Call], slots: Sequence[Array]) -> None:
    """Each of them is what some kernel reads or writes, not a copy of it."""
    seen = {a.ctypes.data for _, arguments in calls for a in arguments if isinstance(a, np.ndarray)}
    for slot, name in zip(slots, ("inputs", "targets or outputs")):
        if slot.ctypes.data not in seen:
            raise NotAChain(f"its {name}, {slot.dtype} of shape {slot.shape}, are not what a kernel takes")


def _number_the_draws(plan: Calls, calls: list[ops.Call]) -> None:
    """Each dropout has the array of its seed in the place of its number."""
    for i, call in enumerate(calls):
        if call[0] == "dropout":
            calls[i] = _exchanged(call, "seed", lambda number: plan.seeds[number])


def _exchanged(call: ops.Call, argument: str, by: Callable[[Any], Any]) -> ops.Call:
    """The call with by(what it had) as that argument."""
    kernel, arguments = call
    at = KERNELS[kernel].index(argument)
    return kernel, (*arguments[:at], by(arguments[at]), *arguments[at + 1 :])


# --------------------------------------------------------------------------------------- loss and optimizer


def _loss(plan: Calls, loss: Any, target: Any) -> Array:
    """The gradient of the loss with respect to the output."""
    y = wrap(plan.output).requires_grad_()
    value = loss(y, wrap(target))
    node = value.grad_fn if isinstance(value, Tensor) else None
    if node is None or node.gradient is not loss_functions._gradient or node.edges[0] is not y or value.shape != ():
        raise NotAChain("its loss is not one of fastmlp's, with a number as its result")
    name, arguments = plan.calls[-1]
    plan.loss = arguments[KERNELS[name].index("loss")]
    return node.kept[0]


def _add(plan: Calls, sums: Sums) -> None:
    """To the sums, which are the gradients from here on: sum - (-1) g, as one of the optimizers does it."""
    with ops.recording() as calls:
        ops.sgd([sums.of(p) for p, _ in plan.gradients], [g for _, g in plan.gradients], lr=-1.0)
    plan.calls += calls
    plan.gradients = [(p, sums.of(p)) for p, _ in plan.gradients]


def _clip(plan: Calls, gradients: dict[int, Array], training: Training) -> None:
    """In the order of the parameters, as the norm is summed."""
    groups = training.optimizer.param_groups
    grads = [gradients[id(p)] for group in groups for p in group["params"] if id(p) in gradients]
    with ops.recording() as calls:
        if training.clip_norm is not None:
            ops.clip_norm(grads, training.clip_norm)
        if training.clip_value is not None:
            ops.clip_value(grads, training.clip_value)
    plan.calls += calls


def _update(plan: Calls, optimizer: Optimizer, gradients: dict[int, Array]) -> None:
    """One call for each group's parameters that have had equally many steps."""
    for group in optimizer.param_groups:
        alike: dict[Any, list[Tensor]] = {}
        for p in group["params"]:
            if id(p) in gradients:
                if not set(optimizer._fresh(array_of(p), group)) <= set(optimizer.state.get(p, ())):
                    raise NotYet
                alike.setdefault(optimizer.state[p].get("step"), []).append(p)
        for number, params in alike.items():
            states = [optimizer.state[p] for p in params]
            grads = [gradients[id(p)] for p in params]
            step = None if number is None else np.array([number + 1.0])
            plan.updates.append(Update(len(plan.calls), group, params, grads, states, step))
            record_update(plan, optimizer, plan.updates[-1])


def record_update(plan: Calls, optimizer: Optimizer, update: Update) -> None:
    """With the options that the group has now, the call is appended; its step stands in the array."""
    number = None if update.step is None else int(update.step[0]) - 1
    arrays = [array_of(p) for p in update.params]
    with ops.recording() as calls:
        optimizer._update(update.group, arrays, update.grads, update.states, number)
    if len(calls) != 1:
        raise NotAChain("its optimizer needs more than one call for a group")
    call = calls[0]
    if update.step is not None and "step" in KERNELS[call[0]]:
        call = _exchanged(call, "step", lambda number: update.step)
    plan.calls[update.index : update.index + 1] = [call]
