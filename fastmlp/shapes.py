"""What one can do with the shape and the type of a tensor, and how it becomes numbers, by torch's names.

`Methods` inherits these; the mathematics is in gradients.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from . import gradients as g
from .devices import CPU, conversion, device
from .printing import format_tensor
from .tape import TensorBase, apply, array_of

if TYPE_CHECKING:
    from .autograd import Tensor

Int: TypeAlias = int  # in the class, int, float and bool are methods
Float: TypeAlias = float
Bool: TypeAlias = bool


def _shape(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """reshape(2, 3) or reshape((2, 3))"""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


def plain(where: Any) -> Any:
    """An index, or nested lists, with arrays in the place of tensors."""
    if isinstance(where, (tuple, list)):
        return type(where)(map(plain, where))
    return array_of(where) if isinstance(where, TensorBase) else where


class Shapes(TensorBase):
    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def shape(self) -> tuple[Int, ...]: ...
        @property
        def dtype(self) -> np.dtype[Any]: ...
        @property
        def requires_grad(self) -> Bool: ...
        @property
        def grad_fn(self) -> Any: ...

        def _write(self, value: Any, where: Any = ...) -> Tensor: ...
        def _replace(self, result: Tensor) -> Tensor: ...

    @property
    def ndim(self) -> Int:
        return len(self.shape)

    @property
    def T(self) -> Tensor:
        return self.permute(*range(self.ndim)[::-1])

    def dim(self) -> Int:
        return self.ndim

    @property
    def device(self) -> device:
        return CPU

    def size(self, dim: Int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> Int:
        return int(np.prod(self.shape, dtype=np.intp))

    nelement = numel

    def reshape(self, *shape: Any) -> Tensor:
        return apply(g.reshape, (self, _shape(shape)))

    view = reshape

    def flatten(self, start_dim: Int = 0, end_dim: Int = -1) -> Tensor:
        start, end = start_dim % max(self.ndim, 1), end_dim % max(self.ndim, 1)
        middle = int(np.prod(self.shape[start : end + 1], dtype=np.intp))
        return self.reshape(*self.shape[:start], middle, *self.shape[end + 1 :])

    def squeeze(self, dim: Int | None = None) -> Tensor:
        gone = range(self.ndim) if dim is None else (dim % max(self.ndim, 1),)
        return self.reshape(*(size for i, size in enumerate(self.shape) if size != 1 or i not in gone))

    def unsqueeze(self, dim: Int) -> Tensor:
        at = dim % (self.ndim + 1)
        return self.reshape(*self.shape[:at], 1, *self.shape[at:])

    def permute(self, *dims: Any) -> Tensor:
        return apply(g.permute, (self, _shape(dims)))

    def transpose(self, dim0: Int, dim1: Int) -> Tensor:
        axes = list(range(self.ndim))
        axes[dim0], axes[dim1] = axes[dim1], axes[dim0]
        return self.permute(*axes)

    def t(self) -> Tensor:
        if self.ndim > 2:
            raise RuntimeError(f"t(): expected at most 2 axes, got shape {self.shape}")
        return self.T

    def expand(self, *shape: Any) -> Tensor:
        return apply(g.expand, (self, _shape(shape)))

    def expand_as(self, other: Tensor) -> Tensor:
        return self.expand(*other.shape)

    def view_as(self, other: Tensor) -> Tensor:
        return self.reshape(*other.shape)

    def split(self, split_size: Any, dim: Int = 0) -> tuple[Tensor, ...]:
        """In parts of that size, the last one what is left; or of the sizes in a list."""
        total = self.shape[dim]
        each = split_size if isinstance(split_size, (list, tuple)) else [split_size] * -(-total // split_size)
        ends = np.cumsum(each).tolist()
        lead = (slice(None),) * (dim % self.ndim)
        return tuple(self[(*lead, slice(end - size, min(end, total)))] for end, size in zip(ends, each))

    def chunk(self, chunks: Int, dim: Int = 0) -> tuple[Tensor, ...]:
        """In so many parts, or fewer, of one size but for the last."""
        return self.split(max(-(-self.shape[dim] // chunks), 1), dim)

    def flip(self, *dims: Any) -> Tensor:
        where = [slice(None)] * self.ndim
        for dim in _shape(dims):
            where[dim] = slice(None, None, -1)
        return self[tuple(where)]

    def masked_fill(self, mask: Tensor, value: Any) -> Tensor:
        return apply(g.where, (mask, value, self))

    def __getitem__(self, where: Any) -> Tensor:
        return apply(g.index, (self, plain(where)))

    def __setitem__(self, where: Any, value: Any) -> None:
        self._write(value, plain(where))

    def __len__(self) -> Int:
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    # types and values

    def to(self, *args: Any, dtype: Any = None, device: Any = None) -> Tensor:
        """to(dtype), to(device): in another type; the device "cpu" is where it is."""
        wanted = conversion(args, dtype, device)
        same = wanted is None or np.dtype(wanted) == self.dtype
        return self if same else apply(g.cast, (self, np.dtype(wanted)))  # type: ignore[return-value]

    type = to

    def float(self) -> Tensor:
        return self.to(np.float32)

    def double(self) -> Tensor:
        return self.to(np.float64)

    def long(self) -> Tensor:
        return self.to(np.int64)

    def int(self) -> Tensor:
        return self.to(np.int32)

    def bool(self) -> Tensor:
        return self.to(np.bool_)

    def cpu(self) -> Tensor:
        return self  # type: ignore[return-value]

    def cuda(self, device: Any = None) -> Tensor:
        return self.to("cuda")

    def contiguous(self) -> Tensor:
        return self if array_of(self).flags.c_contiguous else self.clone()  # type: ignore[return-value]

    def clone(self) -> Tensor:
        return apply(g.clone, (self,))

    def item(self) -> Any:
        """The single number that the tensor holds, as a Python number."""
        a = array_of(self)
        if a.size != 1:
            raise RuntimeError(f"item(): expected one element, got a tensor of shape {a.shape}")
        return a.item()

    def tolist(self) -> Any:
        return array_of(self).tolist()

    def __float__(self) -> Any:
        return float(self.item())

    def __int__(self) -> Any:
        return int(self.item())

    def __index__(self) -> Any:
        return self.item().__index__()

    def __bool__(self) -> Any:
        if array_of(self).size != 1:
            raise RuntimeError(f"the truth of a tensor of shape {self.shape} is ambiguous: use any() or all()")
        return bool(self.item())

    def __repr__(self) -> str:
        return format_tensor(array_of(self), requires_grad=self.requires_grad, grad_fn_name=self._grad_fn_name())

    def _grad_fn_name(self) -> str | None:
        node = self.grad_fn
        return None if node is None else node.name

    def __format__(self, spec: str) -> str:
        return str(self) if self.shape else format(self.item(), spec)
