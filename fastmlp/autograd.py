"""Tensor: a NumPy array and, where that is wanted, the memory of how it came about.

What can be done with one is in methods.py and shapes.py, how gradients flow in tape.py.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

import numpy as np

from . import gradients
from .checks import Array, as_array
from .grad_mode import thread
from .methods import Methods
from .shapes import plain
from .tape import (
    FLOATS,
    ONE,
    Memory,
    Node,
    accumulate,
    array_of,
    changed,
    make,
    set_kind,
    settle,
    walk,
    wrap,
)


class Tensor(Methods):
    """An array of numbers and, if `requires_grad`, the memory of how it came about.

    Tensor(data) is a copy of an array or of lists in the default type, float32; Tensor(2, 3) has that shape and
    arbitrary numbers. `tensor()` keeps the type of an array, and `from_numpy()` looks at it without a copy.
    """

    __array_priority__ = 1000  # array + tensor is a tensor

    def __init__(self, *data: Any) -> None:
        if all(isinstance(n, int) for n in data):
            array = np.empty(data or 0, gradients.default_dtype)
        elif len(data) == 1:
            array = np.array(as_array("data", plain(data[0])), gradients.default_dtype)
        else:
            raise TypeError(f"Tensor: expected an array, lists, or the integers of a shape, got {data}")
        make(self, array, Memory())

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
        if requires_grad and self.dtype not in FLOATS:
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
        return self._data.shape if job is None else job.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        job = self._job
        return self._data.dtype if job is None else job.dtype

    @property
    def grad(self) -> Tensor | None:
        """What backward() has added up for a leaf; None before. May be set to a Tensor of this shape and dtype."""
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor) or value is self:
                raise TypeError(f"grad: expected another Tensor or None, got {type(value).__name__}")
            if value.shape != self.shape or value.dtype != self.dtype:
                raise RuntimeError(
                    f"grad: expected {self.dtype} of shape {self.shape}, as the tensor is, got {value.dtype} of "
                    f"shape {value.shape}"
                )
        self._grad = value

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
        self._data, self._memory = array_of(value), value._memory

    def detach(self) -> Tensor:
        """The same memory, as a leaf without gradient."""
        t = wrap(array_of(self))
        t._memory = self._memory
        return t

    def numpy(self) -> Array:
        """The array itself, not a copy. RuntimeError if the tensor requires grad."""
        if self._requires_grad:
            raise RuntimeError("numpy(): the tensor requires grad; use detach().numpy()")
        return self._shown()

    def _shown(self) -> Array:
        """The array, which NumPy code may change from now on: what waits must not see that."""
        a = array_of(self)
        if not self._memory.exposed:
            settle()
            self._memory.exposed = True
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
            accumulate(self, dy)
        else:
            walk(self._node, dy, retain_graph)

    def retain_grad(self) -> None:
        """Keep `.grad` of this tensor too, though it is no leaf."""
        if not self._requires_grad:
            raise RuntimeError("retain_grad: the tensor does not require grad")
        array_of(self)
        if self._node is not None:
            self._node.retains = ref(self)

    # copies

    def __getstate__(self) -> dict[str, Any]:
        if not self.is_leaf:
            raise RuntimeError("copy or pickle: expected a leaf tensor, got one with a history; detach() gives a leaf")
        return self.__dict__ | {"_data": array_of(self), "_requires_grad": self._requires_grad, "_grad": self._grad}

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _blank, (type(self),), self.__getstate__()

    def __setstate__(self, state: dict[str, Any]) -> None:
        make(self, None, Memory())
        for name, value in state.items():
            setattr(self, name, value)

    def __copy__(self) -> Tensor:
        other = _blank(type(self))
        make(other, array_of(self), self._memory)
        other._node, other._requires_grad, other._is_view = self._node, self._requires_grad, self._is_view
        other._grad = self._grad
        other.__dict__.update(self.__dict__)
        return other

    # in place

    def _write(self, value: Any, where: Any = ...) -> Tensor:
        """In place; no gradient flows through."""
        if thread.enabled and (self._requires_grad or (isinstance(value, Tensor) and value._requires_grad)):
            raise RuntimeError(
                "in-place change that a gradient would have to flow through: left out of fastmlp; do it within "
                "no_grad(), or make a new tensor with where(), cat() or stack()"
            )
        array_of(self)
        value = array_of(value) if isinstance(value, Tensor) else as_array("value", value)
        self._check_writeable()
        settle()
        self._data[where] = value
        changed((self,))
        return self

    def _check_writeable(self) -> None:
        if not self._data.flags.writeable:
            raise RuntimeError("in-place change: the tensor is read-only; a clone() is not")

    def _replace(self, result: Tensor) -> Tensor:
        """a += b and the like: the values of `result` into this tensor's memory, its gradient with it."""
        if self._job is not None:  # it has no memory yet
            self._job, self._data, self._memory = None, array_of(result), result._memory
            self._node, self._requires_grad = result._node, result._requires_grad
            return self
        if self._requires_grad and self._node is None and thread.enabled:
            raise RuntimeError("in-place change of a leaf tensor that requires grad; do it within no_grad()")
        if self._is_view and result._requires_grad:
            raise RuntimeError("in-place change of a view, through which a gradient would flow: left out of fastmlp")
        if result._requires_grad and any(view() is not None for view in self._memory.views):
            raise RuntimeError("in-place change, with a gradient, of what has views on the tape: left out of fastmlp")
        value = array_of(result)
        if value.shape != self.shape or not np.can_cast(value.dtype, self.dtype, "same_kind"):
            raise RuntimeError(
                f"in-place change: {value.dtype} of shape {value.shape} does not fit into {self.dtype} of {self.shape}"
            )
        self._check_writeable()
        settle()
        self._data[...] = value
        changed((self,))
        if result._node is not None:
            if self._node is not None:
                result._node.retains, self._node.retains = self._node.retains, None
            self._node, self._requires_grad = result._node, True
        return self


def _blank(kind: type[Tensor]) -> Any:
    """One to be filled."""
    return kind.__new__(kind)


set_kind(Tensor)
