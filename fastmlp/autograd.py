"""Tensor and the tape: arrays that remember how they were made, and gradients by walking back along that memory.

A `Tensor` holds a NumPy array. An operation on tensors that require gradients leaves a `Node` on its result: the
function that turns the gradient of the result into those of the operands, and where these lead. `backward` visits the
nodes, the latest first, and adds up what arrives at the leaves in their `.grad`. Gradients of gradients are left out.

A linear layer is not computed when it is called but when its values are needed, for then the activation is known:
`relu(fc(x))` is one kernel. Two rules make that invisible. Whoever writes into a tensor's array, or shows it to NumPy,
first calls `settle`, which computes whatever waits. And nothing waits for an array that NumPy has been shown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import count, repeat
from typing import Any
from weakref import ref

import numpy as np

from . import gradients, ops
from .checks import Array, Chosen
from .grad_mode import enable_grad, thread
from .methods import Methods
from .ops.arrays import in_context, linear_fits, name_of
from .shapes import plain as _plain

Gradient = Callable[..., tuple[Any, ...]]

# ------------------------------------------------------------------------------------------------ the tape

_order = count(1)


class Node:
    """One recorded operation.

    gradient(dy, *kept): the gradient of each operand, None where there is none. Its arrays are new, or dy itself.
    edges: for each operand the node that made it, the tensor itself if it is a leaf, None if it needs no gradient.
    saved: (storage, version) of the arrays that `gradient` reads, to find out whether they have been changed since.
    """

    __slots__ = ("edges", "gradient", "kept", "name", "order", "retains", "saved")

    def __init__(
        self, name: str, gradient: Gradient, edges: tuple[Any, ...], saved: tuple[Any, ...], kept: tuple[Any, ...] = ()
    ) -> None:
        self.name = name
        self.gradient: Gradient | None = gradient
        self.kept = kept
        self.edges = edges
        self.saved = saved
        self.order = next(_order)
        self.retains: ref[Tensor] | None = None  # to the tensor whose .grad is wanted though it is no leaf

    def run(self, dy: Array, retain_graph: bool) -> tuple[Any, ...]:
        if self.gradient is None:
            raise RuntimeError(
                f"backward: the graph of {self.name} was freed by an earlier backward(); "
                "call that one with retain_graph=True to go through it again"
            )
        for storage, version in self.saved:
            if storage[VERSION] != version:
                raise RuntimeError(
                    f"backward: an array that the gradient of {self.name} needs was changed in place after the forward "
                    f"pass (version {storage[VERSION]}, expected {version}); change it later, or a clone of it"
                )
        found = self.gradient(dy, *self.kept)
        if not retain_graph:
            self.gradient, self.kept = None, ()
        return found


def _edge(t: Tensor) -> Any:
    if not t._requires_grad:
        return None
    return t if t._node is None else t._node


def _walk(root: Node, dy: Array, retain_graph: bool) -> None:
    """Carries dy from `root` back to the leaves. Later nodes come first, so that each has its whole gradient."""
    waiting, heap = {root.order: (root, dy)}, [-root.order]
    while heap:
        node, dy = waiting.pop(-heappop(heap))
        if node.retains is not None and (kept := node.retains()) is not None:
            _accumulate(kept, dy)
        for edge, g in zip(node.edges, node.run(dy, retain_graph)):
            if edge is None or g is None:
                continue
            if type(edge) is not Node:
                if edge.grad is None and type(g) is np.ndarray and g is not dy and g.base is None and not retain_graph:
                    edge.grad = wrap(g)  # nobody else holds it
                else:
                    _accumulate(edge, g)
            elif edge.order in waiting:
                waiting[edge.order] = edge, waiting[edge.order][1] + g
            else:
                waiting[edge.order] = edge, g
                heappush(heap, -edge.order)


def _accumulate(t: Tensor, g: Array) -> None:
    """t.grad += g"""
    if t.grad is None:
        t.grad = wrap(np.array(g))
        return
    if t.grad.shape != t.shape:
        raise RuntimeError(f"backward: expected .grad of shape {t.shape}, as the tensor has, got {t.grad.shape}")
    settle()
    array_of(t.grad)[...] += g
    changed((t.grad,))


def clear_gradients(tensors: Iterable[Tensor], set_to_none: bool) -> None:
    """Forgets .grad of each, or makes it 0."""
    for t in tensors:
        if set_to_none:
            t.grad = None
        elif t.grad is not None:
            t.grad.detach().zero_()


# ------------------------------------------------------------------------------------------- what waits


# Of a piece of memory and all the tensors that look at it: how often it was changed, and may NumPy code change it?
VERSION, EXPOSED = 0, 1

#: a layer still to be computed: x (..., k), w (n, k), b (n,); which want a gradient; the backend of `use_backend`
LinearJob = tuple["Tensor", "Tensor", "Tensor | None", bool, bool, bool, Any]

_waiting: list[ref[Tensor]] = []  # the tensors that such layers will give
_lock = threading.RLock()  # of that list, and of computing what is in it
MANY = 100


def settle() -> None:
    """Computes whatever waits. To be called before an array is written into, or shown to NumPy."""
    if _waiting:
        with _lock:
            while _waiting:
                t = _waiting[0]()
                if t is not None:
                    array_of(t)
                del _waiting[0]


def changed(tensors: Iterable[Tensor]) -> None:
    """To be called when the arrays of `tensors` have been written into."""
    for t in tensors:
        t._storage[VERSION] += 1


def before_write(tensors: Iterable[Tensor]) -> None:
    """settle() and changed(), for what is sure to be written."""
    settle()
    changed(tensors)


def array_of(t: Tensor) -> Array:
    """The array of a tensor, computed now if it has waited until now."""
    a = t._data
    if a is None:
        with _lock:  # another thread may be at it
            job = t._job
            if job is not None:
                with enable_grad():  # whether it is recorded was decided when it was called
                    y = _run(job, IDENTITY)
                t._node, t._data = y._node, y._data
                t._job = None  # at last: who finds no job finds the data
        return t._data
    return a


def linear(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """x wᵀ + b for x (..., k), w (n, k), b (n,) or None -> (..., n). Computed with the activation that follows."""
    if not isinstance(x, Tensor):
        x = look_at(np.asarray(x, None if isinstance(x, np.ndarray) else w.dtype))
    array_of(x)
    if thread.enabled:
        dx, dw, db = x._requires_grad, w._requires_grad, b is not None and b._requires_grad
    else:
        dx = dw = db = False
    job = x, w, b, dx, dw, db, in_context.get()
    exposed = x._storage[EXPOSED] or w._storage[EXPOSED] or (b is not None and b._storage[EXPOSED])
    if exposed or not _fits(x._data, w._data, None if b is None else b._data):  # then `ops` says why
        return _run(job, IDENTITY)
    y: Tensor = _new(Tensor)
    y._job, y._storage = job, [0, False]
    if dx or dw or db:
        y._requires_grad = True
    if len(_waiting) > MANY:
        _forget_the_dead()
    _waiting.append(ref(y))
    return y


def _forget_the_dead() -> None:
    """Most of what has waited is gone, and its memory with it. If not, it waits no longer."""
    with _lock:
        count = len(_waiting)
        _waiting[:count] = [r for r in _waiting[:count] if r() is not None]  # others may append meanwhile
    if len(_waiting) > MANY // 2:
        settle()


def _fits(x: Array, w: Array, b: Array | None) -> bool:
    return linear_fits(x, w, b) or (
        x.ndim > 0
        and w.ndim == 2
        and x.shape[-1] == w.shape[1]
        and x.dtype == w.dtype
        and x.dtype in ONE
        and (b is None or (b.shape == w.shape[:1] and b.dtype == w.dtype))
    )


def _run(job: LinearJob, act: Chosen) -> Tensor:
    """act(x wᵀ + b), now."""
    x, w, b, dx, dw, db, module = job
    backend = module and name_of(module)
    xa, wa, ba = x._data, w._data, None if b is None else b._data
    if not ((dx or dw or db) and thread.enabled):
        return wrap(ops.linear(xa, wa, ba, act, backend=backend))
    ya, saved = ops.linear(xa, wa, ba, act, save=True, backend=backend)
    y = wrap(ya)
    edges = (
        (x._node or x) if dx else None,
        (w._node or w) if dw else None,
        (b._node or b) if db and b is not None else None,
    )
    reads = (x._storage, x._storage[VERSION]), (w._storage, w._storage[VERSION]), (y._storage, 0)
    y._node = Node(act.act.name, _linear_gradient, edges, reads, (xa, wa, saved, act, dx, dw, db))
    y._requires_grad = True
    return y


def _linear_gradient(dy: Array, x: Array, w: Array, saved: Array, act: Chosen, dx: bool, dw: bool, db: bool) -> Any:
    return ops.linear_backward(dy, x, w, saved, act, dx=dx, dw=dw, db=db)


IDENTITY = ops.choose_activation("identity")


def activation(x: Tensor, act: Chosen) -> Tensor:
    """The activation, in one kernel with the linear layer that gave x, if it still waits."""
    if not isinstance(x, Tensor):
        x = look_at(np.asarray(x))
    job = x._job
    if job is not None:
        y = _run(job, act)
        if x._job is not None:  # it still waits, so nobody has written into what it reads
            return y
    xa = array_of(x)
    y = wrap(ops.activation(xa if xa.dtype in ONE else gradients.floating(xa), act))
    if not (x._requires_grad and thread.enabled):
        return y
    source = y if act.act.saves == "y" else x
    return recorded(act.act.name, y, (x,), _activation_gradient, (source,), (source._data, act))


def _activation_gradient(dy: Array, saved: Array, act: Chosen) -> Any:
    return (ops.activation_backward(dy, saved, act),)


# ----------------------------------------------------------------------------------------------- tensors


class Tensor(Methods):
    """An array of numbers and, if `requires_grad`, the memory of how it came about.

    Tensor(data) is a copy of an array or of lists in the default type, float32; Tensor(2, 3) has that shape and
    arbitrary numbers. `tensor()` keeps the type of an array, and `from_numpy()` looks at it without a copy.
    """

    _data: Any = None  # the array; None while it is not computed
    _storage: list[Any]
    _node: Node | None = None
    _job: LinearJob | None = None  # how it will be computed
    _requires_grad = False
    _is_view = False  # of the memory of another tensor
    grad: Tensor | None = None

    __array_priority__ = 1000  # array + tensor is a tensor

    def __init__(self, *data: Any) -> None:
        if all(isinstance(n, int) for n in data):
            self._data = np.empty(data or 0, gradients.default_dtype)
        elif len(data) == 1:
            self._data = np.array(_plain(data[0]), gradients.default_dtype)
        else:
            raise TypeError(f"Tensor: expected an array, lists, or the integers of a shape, got {data}")
        self._storage = [0, False]

    # what it is

    @property
    def requires_grad(self) -> bool:
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        self.requires_grad_(wanted)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        if not isinstance(requires_grad, bool):
            raise TypeError(f"requires_grad: expected True or False, got {requires_grad!r}")
        array_of(self)
        if self._node is not None and not requires_grad:
            raise RuntimeError("requires_grad: only that of leaf tensors can be changed; detach() gives one")
        if requires_grad and self.dtype not in ONE:
            raise RuntimeError(f"requires_grad: only float32 and float64 tensors have gradients, got {self.dtype}")
        self._requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        return self._node is None and not (self._job is not None and self._requires_grad)

    @property
    def grad_fn(self) -> Node | None:
        array_of(self)
        return self._node

    @property
    def shape(self) -> tuple[int, ...]:
        job = self._job
        return self._data.shape if job is None else (*job[0].shape[:-1], job[1].shape[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        job = self._job
        return self._data.dtype if job is None else job[1].dtype

    # to and from other things

    @property
    def data(self) -> Tensor:
        """The same memory without the gradient."""
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"data: expected a Tensor, got {type(value).__name__}")
        settle()
        changed((self,))
        self._data, self._storage = array_of(value), value._storage

    def detach(self) -> Tensor:
        """The same memory, as a leaf without gradient."""
        t = wrap(array_of(self))
        t._storage = self._storage
        return t

    def numpy(self) -> Array:
        """The array itself, not a copy. RuntimeError if the tensor requires grad."""
        if self._requires_grad:
            raise RuntimeError("numpy(): the tensor requires grad; use detach().numpy()")
        return self._shown()

    def _shown(self) -> Array:
        """The array, which NumPy code may change from now on: what waits must not see that."""
        a = array_of(self)
        if not self._storage[EXPOSED]:
            settle()
            self._storage[EXPOSED] = True
        return a

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        a = array_of(self)
        if self._requires_grad:
            raise RuntimeError("numpy(): the tensor requires grad; use detach().numpy()")
        if copy or (dtype is not None and dtype != a.dtype):
            if copy is False:
                raise ValueError(f"__array__: {self.dtype} cannot become {np.dtype(dtype)} without a copy")
            return np.array(a, dtype)
        return self._shown()

    # gradients

    def backward(self, gradient: Tensor | None = None, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Adds to `.grad` of every leaf that this tensor was made of its gradient.

        gradient: that of the final result with respect to this tensor, of its shape; 1 for a tensor of one element.
        """
        if create_graph:
            raise NotImplementedError("backward: create_graph=True (gradients of gradients) is left out of fastmlp")
        if not self._requires_grad:
            raise RuntimeError("backward: the tensor does not require grad, and nothing that it was made of does")
        a = array_of(self)
        if gradient is None:
            if a.size != 1:
                raise RuntimeError(f"backward: a tensor of shape {a.shape} needs `gradient`; a single number does not")
            dy = ONE[a.dtype] if a.ndim == 0 else np.ones(a.shape, a.dtype)
        else:
            dy = np.asarray(gradient.detach() if isinstance(gradient, Tensor) else gradient, a.dtype)
            if dy.shape != a.shape:
                raise RuntimeError(f"backward: expected gradient of shape {a.shape}, got {dy.shape}")
        if self._node is None:
            _accumulate(self, dy)
        else:
            _walk(self._node, dy, retain_graph)

    def retain_grad(self) -> None:
        """Keep `.grad` of this tensor too, though it is no leaf."""
        if not self._requires_grad:
            raise RuntimeError("retain_grad: the tensor does not require grad")
        array_of(self)
        if self._node is not None:
            self._node.retains = ref(self)

    def __getstate__(self) -> dict[str, Any]:
        if not self.is_leaf:
            raise RuntimeError("copy or pickle: expected a leaf tensor, got one with a history; detach() gives a leaf")
        return {"_data": array_of(self), "_requires_grad": self._requires_grad, "grad": self.grad}

    def __copy__(self) -> Tensor:
        array_of(self)
        other: Tensor = _new(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _storage=[0, False])

    # what Methods stands on

    def _apply(self, function: Callable[..., Any], *operands: Any, **options: Any) -> Tensor:
        """function of gradients.py(arrays, **options) -> (array, gradient), recorded."""
        return apply(function, (self, *operands), options)

    def _peek(self) -> Array:
        """The array, to be read only."""
        return array_of(self)

    def _constant(self, a: Array) -> Tensor:
        return wrap(a)

    def _apply_to(self, function: Callable[..., Any], first: Any) -> Tensor:
        """The same with this tensor as the second operand."""
        return apply(function, (first, self), {})

    def _write(self, value: Any, where: Any = ...) -> Tensor:
        """In place; no gradient flows through."""
        if thread.enabled and (self._requires_grad or (isinstance(value, Tensor) and value._requires_grad)):
            raise RuntimeError(
                "in-place change that a gradient would have to flow through: left out of fastmlp; do it within "
                "no_grad(), or make a new tensor with where(), cat() or stack()"
            )
        array_of(self)
        value = array_of(value) if isinstance(value, Tensor) else value
        settle()
        self._data[where] = value
        changed((self,))
        return self

    def _replace(self, result: Tensor) -> Tensor:
        """a += b and the like: the values of `result` into this tensor's memory, its gradient with it."""
        if self._job is not None:  # it has no memory yet
            self._job, self._data, self._storage = None, array_of(result), result._storage
            self._node, self._requires_grad = result._node, result._requires_grad
            return self
        if self._requires_grad and self._node is None and thread.enabled:
            raise RuntimeError("in-place change of a leaf tensor that requires grad; do it within no_grad()")
        if self._is_view and result._requires_grad:
            raise RuntimeError("in-place change of a view, through which a gradient would flow: left out of fastmlp")
        value = array_of(result)
        if value.shape != self.shape or not np.can_cast(value.dtype, self.dtype, "same_kind"):
            raise RuntimeError(
                f"in-place change: {value.dtype} of shape {value.shape} does not fit into {self.dtype} of {self.shape}"
            )
        settle()
        self._data[...] = value
        changed((self,))
        if result._node is not None:
            self._node, self._requires_grad = result._node, True
        return self


_new = object.__new__
ONE = {dtype: np.ones((), dtype) for dtype in gradients.FLOATS}  # the gradient of a loss


def wrap(a: Array) -> Tensor:
    """A tensor without gradient that looks at `a`."""
    t: Tensor = _new(Tensor)
    t._data = a
    t._storage = [0, False]
    return t


def records(*operands: Tensor) -> bool:
    """Is an operation on them recorded, here and now?"""
    if thread.enabled:
        for t in operands:
            if t._requires_grad:
                return True
    return False


def look_at(a: Array) -> Tensor:
    """A tensor that looks at an array which NumPy code has, too."""
    t = wrap(a)
    t._storage[EXPOSED] = True
    return t


def recorded(
    name: str,
    y: Tensor,
    operands: tuple[Tensor, ...],
    gradient: Gradient,
    reads: tuple[Tensor, ...] = (),
    kept: tuple[Any, ...] = (),
) -> Tensor:
    """y, with gradient(dy, *kept) on the tape; it reads the arrays of the tensors `reads`."""
    saved = tuple([(t._storage, t._storage[VERSION]) for t in reads])
    y._node, y._requires_grad = Node(name, gradient, tuple([_edge(t) for t in operands]), saved, kept), True
    return y


def apply(function: Callable[..., Any], operands: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
    """A function of gradients.py on the arrays of the operands, recorded; what is no tensor is a constant."""
    arrays, record = [], False
    for t in operands:
        if isinstance(t, Tensor):
            arrays.append(array_of(t))
            record = record or t._requires_grad
        else:
            arrays.append(t)
    result, gradient = function(*arrays, **options)
    y = wrap(np.asarray(result))
    base, first = y._data.base, operands[0]
    if base is not None and isinstance(first, Tensor) and (base is first._data or base is first._data.base):
        y._storage, y._is_view = first._storage, True
    if record and gradient is not None and thread.enabled:
        edges: list[Any] = []
        saved = []
        for t, read in zip(operands, function.reads or repeat(())):  # type: ignore[attr-defined]
            if not isinstance(t, Tensor) or not t._requires_grad:
                edges.append(None)
                continue
            edges.append(t._node or t)
            for i in read:
                source = y if i < 0 else operands[i]
                if isinstance(source, Tensor):
                    saved.append((source._storage, source._storage[VERSION]))
        y._node, y._requires_grad = Node(function.__name__, gradient, tuple(edges), tuple(saved)), True
    return y
