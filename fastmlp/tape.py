"""The tape: results remember how they were made, and gradients flow back along that memory.

A tensor holds a NumPy array. An operation on tensors that require gradients leaves a `Node` on its result: the function
that turns the gradient of the result into those of the operands, and where these lead. `walk` visits the nodes, the
latest first, and adds up what arrives at the leaves in their `.grad`. Gradients of gradients are left out.

A tensor may wait to be computed (waiting.py). Two rules make that invisible. Whoever writes into a tensor's array, or
shows it to NumPy, first calls `settle`, which computes whatever waits. And nothing waits for an array that NumPy has
been shown.

This is plain Python, compiled ahead of time with the types that stand in tape.pxd.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from numpy import ndarray

from .checks import Array
from .grad_mode import thread
from .gradients import Operation

if TYPE_CHECKING:
    from .autograd import Tensor
    from .waiting import LinearJob

Gradient = Callable[..., tuple[Any, ...]]

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
ONE = {dtype: np.ones((), dtype) for dtype in FLOATS}  # the gradient of a loss

# --------------------------------------------------------------------------------------- what a tensor holds


class Memory:
    """Of a piece of memory, shared by all tensors that look at it.

    version: how often it was changed. exposed: may NumPy code change it? views: references to those on the tape.
    """

    __slots__ = ("exposed", "version", "views")
    version: int
    exposed: bool
    views: list[ref[TensorBase]]

    def __init__(self) -> None:
        self.version = 0
        self.exposed = False
        self.views = []


class TensorBase:
    """What the tape knows of a tensor.

    _data: its array; None while it waits to be computed, and then _job says how that is done.
    _memory: of the array. _is_view: it is that of another tensor.
    _node: how it was made, None of a leaf.
    """

    __slots__ = ("__dict__", "__weakref__", "_data", "_grad", "_is_view", "_job", "_memory", "_node", "_requires_grad")
    _data: Any
    _memory: Memory
    _is_view: bool
    _job: LinearJob | None
    _node: Node | None
    _requires_grad: bool
    _grad: Tensor | None


Kind: Any = TensorBase  # the class of new tensors; autograd.py sets it


def set_kind(kind: Any) -> None:
    global Kind
    Kind = kind


def make(t: TensorBase, data: Any, memory: Memory) -> None:
    """A new tensor becomes a leaf that looks at an array."""
    t._data = data
    t._memory = memory
    t._node = None
    t._job = None
    t._requires_grad = False
    t._is_view = False
    t._grad = None


def wrap(a: Array | None) -> Tensor:
    """A tensor without gradient that looks at `a`; None: one that will wait."""
    t: Tensor = TensorBase.__new__(Kind)
    make(t, a, Memory())
    return t


def look_at(a: Array) -> Tensor:
    """A tensor that looks at an array which NumPy code has, too."""
    t = wrap(a if type(a) is ndarray else a.view(ndarray))  # a memmap, say, is no more than its memory here
    t._memory.exposed = True
    return t


# ---------------------------------------------------------------------------------------------- what waits

waiting: list[ref[Tensor]] = []  # the tensors still to be computed
lock = threading.RLock()  # of that list, and of computing what is in it
if hasattr(os, "register_at_fork"):  # a child must not find it held by a thread that it does not have
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


def array_of(t: TensorBase) -> Array:
    """The array of a tensor, computed now if it has waited until now."""
    if not isinstance(t, TensorBase):
        raise TypeError(f"expected a Tensor, got {type(t).__name__}; fastmlp.tensor() makes one")
    return t._data if t._job is None else _computed(t)


def _computed(t: TensorBase) -> Any:
    if t._data is None:
        with lock:  # another thread may be at it
            job = t._job
            if job is not None:
                y = job.finish()
                t._node, t._data = y._node, y._data
                t._job = None  # at last: who finds no job finds the data
    return t._data


def settle() -> None:
    """Computes whatever waits. To be called before an array is written into, or shown to NumPy."""
    if waiting:
        with lock:
            while waiting:
                t = waiting[0]()
                if t is not None:
                    array_of(t)
                del waiting[0]


def changed(tensors: Iterable[TensorBase]) -> None:
    """To be called when the arrays of `tensors` have been written into."""
    for t in tensors:
        if not isinstance(t, TensorBase):
            raise TypeError(f"expected Tensors, got {type(t).__name__}")
        t._memory.version += 1


def before_write(tensors: Iterable[TensorBase]) -> None:
    """settle() and changed(), for what is sure to be written."""
    settle()
    changed(tensors)


# ----------------------------------------------------------------------------------------------- recording

_order = count(1)


class Node:
    """One recorded operation.

    gradient(dy, *kept): the gradient of each operand, None where there is none. Its arrays are new, or dy itself.
    edges: for each operand the node that made it, the tensor itself if it is a leaf, None if it needs no gradient.
    saved: (memory, version) of the arrays that `gradient` reads, to find out whether they have been changed since.
    retains: a reference to the tensor whose .grad is wanted though it is no leaf.
    """

    __slots__ = ("edges", "gradient", "kept", "name", "order", "retains", "saved")
    name: str
    gradient: Gradient | None
    edges: list[Any]
    saved: list[tuple[Memory, int]]
    kept: tuple[Any, ...]
    retains: ref[Tensor] | None
    order: int

    def run(self, dy: Array, retain_graph: bool) -> tuple[Any, ...]:
        if self.gradient is None:
            raise RuntimeError(
                f"backward: the graph of {self.name} was freed by an earlier backward(); "
                "call that one with retain_graph=True to go through it again"
            )
        for memory, version in self.saved:
            if memory.version != version:
                raise RuntimeError(
                    f"backward: an array that the gradient of {self.name} needs was changed in place after the forward "
                    f"pass (version {memory.version}, expected {version}); change it later, or a clone of it"
                )
        found = self.gradient(dy, *self.kept)
        if not retain_graph:
            self.gradient, self.kept = None, ()
        return found


def records(*operands: Tensor) -> bool:
    """Is an operation on them recorded, here and now?"""
    if thread.enabled:
        for t in operands:
            if t._requires_grad:
                return True
    return False


def edge(t: TensorBase) -> Any:
    """Where the gradient of an operand leads."""
    if not t._requires_grad:
        return None
    return t if t._node is None else t._node


def seen(t: TensorBase) -> tuple[Memory, int]:
    """The array of t as it is now, for `Node.saved`."""
    return t._memory, t._memory.version


def leave_node(
    y: TensorBase, name: str, gradient: Gradient, edges: list[Any], saved: list[Any], kept: tuple[Any, ...] = ()
) -> None:
    """On y, the result."""
    node = Node.__new__(Node)
    node.name = name
    node.gradient = gradient
    node.edges = edges
    node.saved = saved
    node.kept = kept
    node.retains = None
    node.order = next(_order)
    y._node = node
    y._requires_grad = True


def recorded(
    name: str,
    y: Tensor,
    operands: tuple[Tensor, ...],
    gradient: Gradient,
    reads: tuple[Tensor, ...] = (),
    kept: tuple[Any, ...] = (),
) -> Tensor:
    """y, with gradient(dy, *kept) on the tape; it reads the arrays of the tensors `reads`."""
    leave_node(y, name, gradient, [edge(t) for t in operands], [seen(t) for t in reads], kept)
    return y


def apply(operation: Operation, operands: tuple[Any, ...]) -> Tensor:
    """A function of gradients.py on the arrays of the operands, recorded; what is no tensor is a constant."""
    arrays, among, record = [], False, False
    for operand in operands:
        if isinstance(operand, TensorBase):
            t, among = operand, True
            arrays.append(t._data if t._job is None else _computed(t))
            record = record or t._requires_grad
        else:
            arrays.append(operand)
    if not among:
        raise TypeError(f"{operation.name}: expected a tensor, got {type(operands[0]).__name__}")
    result, gradient = operation.forward(*arrays)
    a = result if type(result) is ndarray else np.asarray(result)
    y = wrap(a)
    base = a.base
    if base is not None and isinstance(operands[0], TensorBase):
        t = operands[0]
        if base is t._data or base is t._data.base:
            y._memory, y._is_view = t._memory, True
            if record:
                _note_view(y)
    if record and gradient is not None and thread.enabled:
        _record(operation, y, operands, gradient)
    return y


def _note_view(y: TensorBase) -> None:
    """Among those of its memory. Each time that they have doubled, those that are gone are forgotten."""
    views = y._memory.views
    n = len(views)
    if n >= 8 and n & (n - 1) == 0:
        views[:] = [view for view in views if view() is not None]
    views.append(ref(y))


def _record(operation: Operation, y: Tensor, operands: tuple[Any, ...], gradient: Gradient) -> None:
    reads = operation.reads
    edges, saved = [], []
    for i, operand in enumerate(operands):
        to = edge(operand) if isinstance(operand, TensorBase) else None
        edges.append(to)
        if to is not None and reads:
            if i >= len(reads):
                left_out = f"the gradient of argument {i} is left out of fastmlp; detach() it"
                raise RuntimeError(f"{operation.name}: {left_out}")
            for j in reads[i]:
                source = y if j < 0 else operands[j]
                if isinstance(source, TensorBase):
                    saved.append(seen(source))
    leave_node(y, operation.name, gradient, edges, saved)


# ------------------------------------------------------------------------------------------------ backwards


def walk(root: Node, dy: Array, retain_graph: bool) -> None:
    """Carries dy from `root` back to the leaves. Later nodes come first, so that each has its whole gradient."""
    arrived, heap = {root.order: (root, dy)}, [-root.order]
    while heap:
        node, dy = arrived.pop(-heappop(heap))
        if node.retains is not None and (kept := node.retains()) is not None:
            accumulate(kept, dy)
        edges = node.edges
        for i, g in enumerate(node.run(dy, retain_graph)):
            to = edges[i]
            if to is None or g is None:
                continue
            if not isinstance(to, Node):
                if to._grad is None and type(g) is ndarray and g is not dy and g.base is None and not retain_graph:
                    to._grad = wrap(g)  # nobody else holds it
                else:
                    accumulate(to, g)
            elif to.order in arrived:
                arrived[to.order] = to, arrived[to.order][1] + g
            else:
                arrived[to.order] = to, g
                heappush(heap, -to.order)


def accumulate(t: Tensor, g: Array) -> None:
    """t.grad += g"""
    if t._grad is None:
        t._grad = wrap(np.array(g))
        return
    if t._grad.shape != t.shape:
        raise RuntimeError(f"backward: expected .grad of shape {t.shape}, as the tensor has, got {t._grad.shape}")
    settle()
    array_of(t._grad)[...] += g
    changed((t._grad,))


def clear_gradients(tensors: Iterable[Tensor], set_to_none: bool) -> None:
    """Forgets .grad of each, or makes it 0."""
    for t in tensors:
        if set_to_none:
            t._grad = None
        elif t._grad is not None:
            t._grad.detach().zero_()
