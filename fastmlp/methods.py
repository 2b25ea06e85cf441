"""What one can do with a tensor: operators and methods, by torch's names. The mathematics is in gradients.py.

`Tensor` inherits these and supplies what they stand on: `_apply` records an operation, `_write` and `_replace` change
the tensor in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from . import gradients as g
from .printing import format_tensor

if TYPE_CHECKING:
    from .autograd import Tensor


def _shape(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """reshape(2, 3) or reshape((2, 3))"""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


def plain(where: Any) -> Any:
    """An index with arrays in the place of tensors."""
    if isinstance(where, tuple):
        return tuple(map(plain, where))
    return where._peek() if isinstance(where, Methods) else where


Int: TypeAlias = int  # in the class, int, float and bool are methods
Float: TypeAlias = float
Bool: TypeAlias = bool


class Methods:
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

        def _apply(self, function: Any, *operands: Any, **options: Any) -> Tensor: ...
        def _apply_to(self, function: Any, first: Any) -> Tensor: ...
        def _constant(self, a: Any) -> Tensor: ...
        def _peek(self) -> Any: ...
        def _write(self, value: Any, where: Any = ...) -> Tensor: ...
        def _replace(self, result: Tensor) -> Tensor: ...

    # arithmetic

    def __add__(self, other: Any) -> Tensor:
        return self._apply(g.add, other)

    def __radd__(self, other: Any) -> Tensor:
        return self._apply(g.add, other)

    def __sub__(self, other: Any) -> Tensor:
        return self._apply(g.subtract, other)

    def __rsub__(self, other: Any) -> Tensor:
        return self._apply_to(g.subtract, other)

    def __mul__(self, other: Any) -> Tensor:
        return self._apply(g.multiply, other)

    def __rmul__(self, other: Any) -> Tensor:
        return self._apply(g.multiply, other)

    def __truediv__(self, other: Any) -> Tensor:
        return self._apply(g.divide, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return self._apply_to(g.divide, other)

    def __pow__(self, other: Any) -> Tensor:
        return self._apply(g.power, other)

    def __rpow__(self, other: Any) -> Tensor:
        return self._apply_to(g.power, other)

    def __matmul__(self, other: Tensor) -> Tensor:
        return self._apply(g.matmul, other)

    def __neg__(self) -> Tensor:
        return self._apply(g.negative)

    def __abs__(self) -> Tensor:
        return self._apply(g.absolute)

    def __mod__(self, other: Any) -> Tensor:
        return self._untracked(np.mod, other)

    def __floordiv__(self, other: Any) -> Tensor:
        return self._untracked(np.floor_divide, other)

    add, sub, mul, div, pow, matmul, neg, abs = (
        __add__, __sub__, __mul__, __truediv__, __pow__, __matmul__, __neg__, __abs__,
    )  # fmt: skip

    def maximum(self, other: Tensor) -> Tensor:
        return self._apply(g.maximum, other)

    def minimum(self, other: Tensor) -> Tensor:
        return self._apply(g.minimum, other)

    def exp(self) -> Tensor:
        return self._apply(g.exp)

    def expm1(self) -> Tensor:
        return self._apply(g.expm1)

    def log(self) -> Tensor:
        return self._apply(g.log)

    def log1p(self) -> Tensor:
        return self._apply(g.log1p)

    def log2(self) -> Tensor:
        return self._apply(g.log2)

    def log10(self) -> Tensor:
        return self._apply(g.log10)

    def sqrt(self) -> Tensor:
        return self._apply(g.sqrt)

    def rsqrt(self) -> Tensor:
        return self._apply(g.rsqrt)

    def reciprocal(self) -> Tensor:
        return self._apply(g.reciprocal)

    def square(self) -> Tensor:
        return self._apply(g.square)

    def sin(self) -> Tensor:
        return self._apply(g.sin)

    def cos(self) -> Tensor:
        return self._apply(g.cos)

    def clamp(self, min: Any = None, max: Any = None) -> Tensor:
        return self._apply(g.clamp, min=min, max=max)

    clip = clamp

    # without gradients

    def _untracked(self, function: Any, *others: Any) -> Tensor:
        """A function that is constant almost everywhere; its gradient is zero or does not exist."""
        return self._constant(np.asarray(function(self._peek(), *map(plain, others))))

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return NotImplemented if other is None or isinstance(other, str) else self._untracked(np.equal, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return NotImplemented if other is None or isinstance(other, str) else self._untracked(np.not_equal, other)

    def __lt__(self, other: Any) -> Tensor:
        return self._untracked(np.less, other)

    def __le__(self, other: Any) -> Tensor:
        return self._untracked(np.less_equal, other)

    def __gt__(self, other: Any) -> Tensor:
        return self._untracked(np.greater, other)

    def __ge__(self, other: Any) -> Tensor:
        return self._untracked(np.greater_equal, other)

    __hash__ = object.__hash__  # by identity: a tensor may be a key, whatever == gives
    eq, ne, lt, le, gt, ge = __eq__, __ne__, __lt__, __le__, __gt__, __ge__

    def __and__(self, other: Any) -> Tensor:
        return self._untracked(np.bitwise_and, other)

    def __or__(self, other: Any) -> Tensor:
        return self._untracked(np.bitwise_or, other)

    def __xor__(self, other: Any) -> Tensor:
        return self._untracked(np.bitwise_xor, other)

    def __invert__(self) -> Tensor:
        return self._untracked(np.invert)

    def sign(self) -> Tensor:
        return self._untracked(np.sign)

    def floor(self) -> Tensor:
        return self._untracked(np.floor)

    def ceil(self) -> Tensor:
        return self._untracked(np.ceil)

    def round(self) -> Tensor:
        return self._untracked(np.round)

    def isnan(self) -> Tensor:
        return self._untracked(np.isnan)

    def isinf(self) -> Tensor:
        return self._untracked(np.isinf)

    def isfinite(self) -> Tensor:
        return self._untracked(np.isfinite)

    def argmax(self, dim: Int | None = None, keepdim: Bool = False) -> Tensor:
        return self._untracked(lambda a: np.argmax(a, dim, keepdims=keepdim and dim is not None))

    def argmin(self, dim: Int | None = None, keepdim: Bool = False) -> Tensor:
        return self._untracked(lambda a: np.argmin(a, dim, keepdims=keepdim and dim is not None))

    def argsort(self, dim: Int = -1, descending: Bool = False) -> Tensor:
        def order(a: Any) -> Any:
            if not descending:
                return np.argsort(a, dim, kind="stable")
            return np.flip(a.shape[dim] - 1 - np.argsort(np.flip(a, dim), dim, kind="stable"), dim)

        return self._untracked(order)

    def all(self, dim: Any = None, keepdim: Bool = False) -> Tensor:
        return self._untracked(lambda a: np.all(a, dim, keepdims=keepdim))

    def any(self, dim: Any = None, keepdim: Bool = False) -> Tensor:
        return self._untracked(lambda a: np.any(a, dim, keepdims=keepdim))

    def equal(self, other: Tensor) -> Bool:
        """Same shape, same values."""
        return bool(np.array_equal(self._peek(), other._peek()))

    def allclose(self, other: Tensor, rtol: Float = 1e-5, atol: Float = 1e-8, equal_nan: Bool = False) -> Bool:
        return bool(np.allclose(self._peek(), other._peek(), rtol, atol, equal_nan))

    # reductions

    def sum(self, dim: Any = None, keepdim: Bool = False) -> Tensor:
        return self._apply(g.sum, dim=dim, keepdim=keepdim)

    def mean(self, dim: Any = None, keepdim: Bool = False) -> Tensor:
        return self._apply(g.mean, dim=dim, keepdim=keepdim)

    def prod(self, dim: Any = None, keepdim: Bool = False) -> Tensor:
        return self._apply(g.prod, dim=dim, keepdim=keepdim)

    def var(
        self, dim: Any = None, unbiased: Bool = True, keepdim: Bool = False, *, correction: Float | None = None
    ) -> Tensor:
        return self._apply(g.var, dim=dim, correction=unbiased if correction is None else correction, keepdim=keepdim)

    def std(
        self, dim: Any = None, unbiased: Bool = True, keepdim: Bool = False, *, correction: Float | None = None
    ) -> Tensor:
        return self._apply(g.std, dim=dim, correction=unbiased if correction is None else correction, keepdim=keepdim)

    def norm(self, p: Float = 2, dim: Any = None, keepdim: Bool = False) -> Tensor:
        """(Σ |a|^p)^(1/p)"""
        if p == 2:
            return self._apply(g.norm, dim=dim, keepdim=keepdim)
        if p == float("inf"):
            return abs(self).amax(dim, keepdim)
        return (abs(self) ** p).sum(dim, keepdim) ** (1 / p)

    def amax(self, dim: Any = None, keepdim: Bool = False) -> Tensor:
        return self._apply(g.extreme, np.maximum.reduce, dim=dim, keepdim=keepdim)

    def amin(self, dim: Any = None, keepdim: Bool = False) -> Tensor:
        return self._apply(g.extreme, np.minimum.reduce, dim=dim, keepdim=keepdim)

    def max(self, dim: Int | None = None, keepdim: Bool = False) -> Any:
        """The largest number; along `dim`: (values, indices)."""
        return self.amax() if dim is None else self._best(self.argmax(dim, True), dim, keepdim)

    def min(self, dim: Int | None = None, keepdim: Bool = False) -> Any:
        """The smallest number; along `dim`: (values, indices)."""
        return self.amin() if dim is None else self._best(self.argmin(dim, True), dim, keepdim)

    def _best(self, indices: Tensor, dim: Int, keepdim: Bool) -> tuple[Tensor, Tensor]:
        values = self.gather(dim, indices)
        return (values, indices) if keepdim else (values.squeeze(dim), indices.squeeze(dim))

    def gather(self, dim: Int, index: Tensor) -> Tensor:
        return self._apply(g.gather, index, dim=dim)

    # shapes

    @property
    def ndim(self) -> Int:
        return len(self.shape)

    @property
    def T(self) -> Tensor:
        return self.permute(*range(self.ndim)[::-1])

    def dim(self) -> Int:
        return self.ndim

    def size(self, dim: Int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> Int:
        return int(np.prod(self.shape, dtype=np.intp))

    def reshape(self, *shape: Any) -> Tensor:
        return self._apply(g.reshape, shape=_shape(shape))

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
        return self._apply(g.permute, axes=_shape(dims))

    def transpose(self, dim0: Int, dim1: Int) -> Tensor:
        axes = list(range(self.ndim))
        axes[dim0], axes[dim1] = axes[dim1], axes[dim0]
        return self.permute(*axes)

    def t(self) -> Tensor:
        if self.ndim > 2:
            raise RuntimeError(f"t(): expected at most 2 axes, got shape {self.shape}")
        return self.T

    def expand(self, *shape: Any) -> Tensor:
        return self._apply(g.expand, shape=_shape(shape))

    def __getitem__(self, where: Any) -> Tensor:
        return self._apply(g.index, where=plain(where))

    def __setitem__(self, where: Any, value: Any) -> None:
        self._write(value, plain(where))

    def __len__(self) -> Int:
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    # types and values

    def to(self, dtype: Any) -> Tensor:
        """In another type; a device may be given too, if it is "cpu"."""
        if str(dtype) == "cpu":
            return self  # type: ignore[return-value]
        if isinstance(dtype, str):
            raise ValueError(f"to: expected a dtype or the device 'cpu', got {dtype!r}")
        dtype = np.dtype(dtype)
        return self if dtype == self.dtype else self._apply(g.cast, dtype=dtype)  # type: ignore[return-value]

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

    def contiguous(self) -> Tensor:
        return self if self._peek().flags.c_contiguous else self.clone()  # type: ignore[return-value]

    def clone(self) -> Tensor:
        return self._apply(g.clone)

    def item(self) -> Any:
        """The single number that the tensor holds, as a Python number."""
        a = self._peek()
        if a.size != 1:
            raise RuntimeError(f"item(): expected one element, got a tensor of shape {a.shape}")
        return a.item()

    def tolist(self) -> Any:
        return self._peek().tolist()

    def __float__(self) -> Any:
        return float(self.item())

    def __int__(self) -> Any:
        return int(self.item())

    def __index__(self) -> Any:
        return self.item().__index__()

    def __bool__(self) -> Any:
        if self._peek().size != 1:
            raise RuntimeError(f"the truth of a tensor of shape {self.shape} is ambiguous: use any() or all()")
        return bool(self.item())

    def __repr__(self) -> str:
        return format_tensor(self._peek(), requires_grad=self.requires_grad, grad_fn_name=self._grad_fn_name())

    def _grad_fn_name(self) -> str | None:
        node = self.grad_fn
        return None if node is None else node.name

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and not self.shape else str(self)

    # in place

    def __iadd__(self, other: Any) -> Tensor:
        return self._replace(self + other)

    def __isub__(self, other: Any) -> Tensor:
        return self._replace(self - other)

    def __imul__(self, other: Any) -> Tensor:
        return self._replace(self * other)

    def __itruediv__(self, other: Any) -> Tensor:
        return self._replace(self / other)

    add_, sub_, mul_, div_ = __iadd__, __isub__, __imul__, __itruediv__

    def zero_(self) -> Tensor:
        return self._write(0)

    def fill_(self, value: Any) -> Tensor:
        return self._write(value)

    def copy_(self, other: Any) -> Tensor:
        return self._write(other)

    def clamp_(self, min: Any = None, max: Any = None) -> Tensor:
        return self._replace(self.clamp(min, max))
