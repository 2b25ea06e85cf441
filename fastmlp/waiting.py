"""Linear layers that wait: one is not computed when it is called but when its values are needed, for then the
activation is known, and `relu(fc(x))` is one kernel. tape.py says how that stays invisible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np

from . import gradients, ops
from .checks import Array, Chosen
from .grad_mode import thread
from .ops.arrays import in_context, linear_fits, name_of
from .tape import FLOATS, TensorBase, array_of, edge, leave_node, lock, look_at, seen, settle, waiting, wrap

if TYPE_CHECKING:
    from .autograd import Tensor

IDENTITY = ops.choose_activation("identity")
IDENTITY_CODE = IDENTITY.act.code
MANY = 100


class LinearJob:
    """A layer still to be computed.

    x (..., k), w (n, k), b (n,) or None, tensors; dx, dw, db: which of them want a gradient; backend: of `use_backend`.
    """

    __slots__ = ("b", "backend", "db", "dw", "dx", "w", "x")

    def __init__(self, x: Tensor, w: Tensor, b: Tensor | None, record: bool) -> None:
        self.x = x
        self.w = w
        self.b = b
        self.dx: bool = record and x._requires_grad
        self.dw: bool = record and w._requires_grad
        self.db: bool = record and b is not None and b._requires_grad
        self.backend = in_context.get()

    def finish(self) -> Tensor:
        """Without an activation. Whether it is recorded was decided when the layer was called."""
        return self.compute(IDENTITY, True)

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.x.shape[:-1], self.w.shape[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.w.dtype

    def can_wait(self) -> bool:
        """It fits, and no NumPy code can change what it reads."""
        x, w, b = self.x, self.w, self.b
        if x._memory.exposed or w._memory.exposed or (b is not None and b._memory.exposed):
            return False
        return _fits(x._data, w._data, None if b is None else b._data)

    def compute(self, act: Chosen, record: bool) -> Tensor:
        """act(x wᵀ + b), now; recorded if that was wanted when the layer was called, and is now."""
        x, w, b = self.x, self.w, self.b
        backend = None if self.backend is None else name_of(self.backend)
        xa, wa, ba = x._data, w._data, None if b is None else b._data
        if not (record and (self.dx or self.dw or self.db)):
            return wrap(ops.linear(xa, wa, ba, act, backend=backend))
        ya, saved = ops.linear(xa, wa, ba, act, save=True, backend=backend)
        y = wrap(ya)
        edges = [edge(x) if self.dx else None, edge(w) if self.dw else None, edge(b) if self.db else None]  # type: ignore
        kept = xa, wa, saved, act, self.dx, self.dw, self.db, b is not None
        reads = [seen(x)] if self.dw else []
        if self.dx:
            reads.append(seen(w))
        if act.act.saves == "y" and act.act.code != IDENTITY_CODE:
            reads.append(seen(y))
        leave_node(y, act.act.name, _linear_gradient, edges, reads, kept)
        return y


def _linear_gradient(
    dy: Array, x: Array, w: Array, saved: Array, act: Chosen, dx: bool, dw: bool, db: bool, biased: bool
) -> Any:
    return ops.linear_backward(dy, x, w, saved, act, dx=dx, dw=dw, db=db)


def _fits(x: Array, w: Array, b: Array | None) -> bool:
    return linear_fits(x, w, b) or (
        x.ndim > 0
        and w.ndim == 2
        and x.shape[-1] == w.shape[1]
        and x.dtype == w.dtype
        and x.dtype in FLOATS
        and (b is None or (b.shape == w.shape[:1] and b.dtype == w.dtype))
    )


def _tensor(x: Any, like: Tensor | None = None) -> Tensor:
    """x itself, or one that looks at the caller's array; what is no array is made one of the type of `like`."""
    if isinstance(x, TensorBase):
        return x  # type: ignore[return-value]
    if x is None or isinstance(x, str):
        raise TypeError(f"input: expected a Tensor, got {type(x).__name__}")
    return look_at(np.asarray(x, None if like is None or isinstance(x, np.ndarray) else like.dtype))


def linear(x: Any, w: Tensor, b: Tensor | None = None) -> Tensor:
    """x wᵀ + b for x (..., k), w (n, k), b (n,) or None -> (..., n). Computed with the activation that follows."""
    for name, p in (("weight", w), ("bias", b)):
        if not isinstance(p, TensorBase) and (p is not None or name == "weight"):
            raise TypeError(f"{name}: expected a Tensor, got {type(p).__name__}")
    t = _tensor(x, w)
    array_of(t)
    array_of(w)
    if b is not None:
        array_of(b)
    job = LinearJob(t, w, b, thread.enabled)
    if not job.can_wait():
        return job.finish()  # if it does not fit, `ops` says why
    y = wrap(None)
    y._job = job
    y._requires_grad = job.dx or job.dw or job.db
    if len(waiting) > MANY:
        _forget_the_dead()
    waiting.append(ref(y))
    return y


def _forget_the_dead() -> None:
    """Most of what has waited is gone, and its memory with it. If not, it waits no longer."""
    with lock:
        count = len(waiting)
        waiting[:count] = [r for r in waiting[:count] if r() is not None]  # others may append meanwhile
    if len(waiting) > MANY // 2:
        settle()


def activation(x: Any, act: Chosen) -> Tensor:
    """The activation, in one kernel with the linear layer that gave x, if it still waits."""
    t = _tensor(x)
    job = t._job
    if job is not None:
        y = job.compute(act, thread.enabled)
        if t._job is not None:  # it still waits, so nobody has written into what it reads
            return y
    a = array_of(t)
    y = wrap(ops.activation(a if a.dtype in FLOATS else gradients.floating(a), act))
    if not (t._requires_grad and thread.enabled):
        return y
    source = y if act.act.saves == "y" else t
    leave_node(y, act.act.name, _activation_gradient, [edge(t)], [seen(source)], (source._data, act))
    return y


def _activation_gradient(dy: Array, saved: Array, act: Chosen) -> Any:
    return (ops.activation_backward(dy, saved, act),)
