"""Which calls of a Program are run as one kernel: chosen by their shapes, when the program is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..contract import ACTIVATIONS, KERNELS
from .chain import CHAIN_BYTES, MAX_CHAIN
from .linear import OPTIMIZERS

Call = tuple[str, tuple[Any, ...]]
Named = dict[str, Any]

#: a network is small with so many weights in its largest layer; with fewer rows there is nothing to gain
SMALL_WEIGHTS, MIN_ROWS = 40000, 256
#: a block of so many rows must find room
MIN_BLOCK = 128


@dataclass
class Step:
    """What a program runs: a kernel of the contract, `chain` of chain.pyx, or `layer_backward` of linear.pyx.

    begin: where in the program's calls it begins. options_of: where there is the call of the optimizer whose options it
    takes. left: of the parameters of an optimizer's call, those that are not updated before it; None is all.
    """

    begin: int
    name: str
    arguments: tuple[Any, ...]
    options_of: int | None = None
    left: list[int] | None = None


def fuse(calls: Sequence[Call], results: Sequence[np.ndarray] | None) -> list[Step]:
    """What the program runs instead of the calls.

    results: the arrays that are looked at afterwards. What only the fused calls tell each other is not in memory then.
    None: all arrays are.
    """
    steps = [Step(i, name, arguments) for i, (name, arguments) in enumerate(calls)]
    if results is None:
        return steps
    wanted = {id(a) for a in results}
    chain = _chain(calls, wanted)
    if chain is not None:
        begin, end, arguments = chain
        return [*steps[:begin], Step(begin, "chain", arguments), *steps[end:]]
    _fuse_backwards(steps, wanted)
    return steps


def arrays_of(arguments: Iterable[Any]) -> Iterator[np.ndarray]:
    """The arrays among a call's arguments, and in its lists."""
    for item in arguments:
        yield from (a for a in (item if isinstance(item, list) else (item,)) if isinstance(a, np.ndarray))


def left_of(arguments: tuple[Any, ...], left: list[int] | None) -> tuple[Any, ...]:
    """An optimizer's arguments, for these of its parameters."""
    if left is None:
        return arguments
    return tuple([a[i] for i in left] if isinstance(a, list) else a for a in arguments)


def has_arrays_of(before: tuple[Any, ...], arguments: tuple[Any, ...]) -> bool:
    """Has an optimizer's call the arrays that it had before? They are also known to the steps that take its options."""
    for old, new in zip(before, arguments):
        if isinstance(old, list) != isinstance(new, list):  # a kind of state that is kept or not
            return False
        if isinstance(old, list) and (len(old) != len(new) or any(a is not b for a, b in zip(old, new))):
            return False
    return True


# ------------------------------------------------------------------------------------- the backward of a layer


def _fuse_backwards(steps: list[Step], wanted: set[int]) -> None:
    """The derivative of the activation below is taken where dx is made, and weights are updated where dw is."""
    named = [dict(zip(KERNELS[step.name], step.arguments)) for step in steps]
    updates = _updates(steps, named)
    taken = Counter(id(a) for given in named for a in arrays_of(given.values()))
    for at, step in enumerate(steps):
        if step.name != "linear_backward":
            continue
        below = _below(steps, named, at, wanted)
        dw, update = named[at]["dw"], None
        if id(dw) in updates and id(dw) not in wanted and taken[id(dw)] == 2 and not named[at]["accumulate"]:
            step.options_of, position, arrays = updates[id(dw)]
            optimizer = steps[step.options_of]
            update = optimizer.name, arrays
            left = range(len(named[step.options_of]["params"])) if optimizer.left is None else optimizer.left
            optimizer.left = [i for i in left if i != position]
        if below is not None or update is not None:
            step.name, step.arguments = "layer_backward", (step.arguments, below, update)
    for step in steps:
        step.arguments = left_of(step.arguments, step.left)


def _updates(steps: list[Step], named: list[Named]) -> dict[int, tuple[int, int, tuple[Any, ...]]]:
    """The id of a gradient -> where its update is called, which of that call's it is, and its arrays."""
    found = {}
    for at, step in enumerate(steps):
        if step.name in OPTIMIZERS:
            kinds = KERNELS[step.name][KERNELS[step.name].index("params") :]
            lists = [named[at]["grads"], *(named[at][kind] for kind in kinds)]
            lists += [None] * (5 - len(lists))
            for i, grad in enumerate(named[at]["grads"]):
                found[id(grad)] = at, i, tuple(None if arrays is None else arrays[i] for arrays in lists)
    return found


def _below(steps: list[Step], named: list[Named], at: int, wanted: set[int]) -> tuple[Any, ...] | None:
    """The activation of the layer whose backward comes next, if it only wants dx times its derivative."""
    dx, after = named[at]["dx"], named[at + 1] if at + 1 < len(steps) else None
    if dx is None or id(dx) in wanted or after is None or steps[at + 1].name != "linear_backward":
        return None
    if after["dy"] is not dx or after["act"].name == "identity" or after["saved"] is None:
        return None
    below = after["act"], after["params"], after["saved"]
    identity = ACTIVATIONS["identity"]
    after |= {"act": identity, "params": identity.defaults, "saved": None}
    steps[at + 1].arguments = tuple(after.values())
    return below


# ------------------------------------------------------------------------------------------- a small network


def _chain(calls: Sequence[Call], results: set[int]) -> tuple[int, int, tuple[Any, ...]] | None:
    """The first calls, where they are a small network's loss and gradients: -> begin, end, the arguments of `chain`."""
    named = [(name, dict(zip(KERNELS[name], arguments))) for name, arguments in calls]
    forwards = _run_of("linear_forward", named, 0)
    at = len(forwards)
    finds = []
    while at < len(named) and named[at][0].startswith("find_"):
        finds.append(named[at])
        at += 1
    if not forwards or at == len(named) or named[at][0] not in ("cross_entropy", "elementwise_loss"):
        return None
    loss_name, loss = named[at]
    backwards = _run_of("linear_backward", named, at + 1)
    end = at + 1 + len(backwards)
    output, gradient = ("logits", "dlogits") if loss_name == "cross_entropy" else ("input", "dinput")
    if not backwards or not _are_linked(forwards, backwards, loss[output], loss[gradient]):
        return None
    last = forwards[-1]["y"]
    inner = [a for f in forwards for a in (f["y"], f["z"]) if a is not last]
    inner += [loss[gradient], *(b["dx"] for b in backwards)]
    target, read = loss["target"], {id(loss["target"]), id(loss[output])}
    if results & {id(a) for a in inner if a is not None} or loss["reduction"] == "none":
        return None
    looked_at = [next(iter(find.values())) for _, find in finds]
    if any(id(a) not in read for a in looked_at) or not _is_small(forwards):
        return None
    first = len(forwards) - len(backwards)
    gradients = [(None, None)] * first + [(b["dw"], b["db"]) for b in reversed(backwards)]
    layers = [(f["w"], f["b"], f["act"], f["params"], *g) for f, g in zip(forwards, gradients)]
    in_unit = [a for (name, _), a in zip(finds, looked_at) if name == "find_outside_unit"]
    checks = any(a is target for a in in_unit), any(a is loss[output] for a in in_unit)
    return 0, end, (forwards[0]["x"], layers, first, last if id(last) in results else None, loss_name, loss, *checks)


def _run_of(kernel: str, named: list[tuple[str, Named]], begin: int) -> list[Named]:
    found = []
    for name, arguments in named[begin:]:
        if name != kernel:
            break
        found.append(arguments)
    return found


def _are_linked(forwards: list[Named], backwards: list[Named], output: Any, gradient: Any) -> bool:
    """Does each layer take what the one before gives, and each gradient belong to its layer?"""
    if any(after["x"] is not before["y"] for before, after in pairwise(forwards)):
        return False
    if forwards[-1]["y"] is not output or len(backwards) > len(forwards):
        return False
    dy = gradient
    for forward, backward in zip(reversed(forwards), backwards):
        saved = forward["z"] if forward["act"].saves == "z" else forward["y"]
        same = backward["saved"] is saved or forward["act"].name == "identity"
        if backward["dy"] is not dy or not same or backward["accumulate"]:
            return False
        if any(backward[name] is not None and backward[name] is not forward[name] for name in ("x", "w")):
            return False
        dy = backward["dx"]
    return dy is None


def _is_small(forwards: list[Named]) -> bool:
    x, weights = forwards[0]["x"], [f["w"] for f in forwards]
    arrays = [x, *weights, *(f["b"] for f in forwards)]
    if not MIN_ROWS <= len(x) or not all(a is None or a.flags.c_contiguous for a in arrays):
        return False
    widths = [x.shape[1], *(len(w) for w in weights)]
    if not min(widths) or len(forwards) > MAX_CHAIN or max(w.size for w in weights) > SMALL_WEIGHTS:
        return False
    features = sum(widths) + sum(len(w) for w, f in zip(weights, forwards) if f["z"] is not None)
    features += len(widths) + 3 * max(widths) + 2 * widths[-1]  # what a block needs of each row
    return (features * MIN_BLOCK + 2 * max(w.size for w in weights)) * x.itemsize <= CHAIN_BYTES
