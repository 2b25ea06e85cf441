"""What one can do with a tensor: operators and methods, by torch's names. The mathematics is in gradients.py.

`Tensor` inherits these and supplies `_write` and `_replace`, which change the tensor in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import gradients as g
from .shapes import Bool, Float, Int, Shapes, plain
from .tape import apply, array_of, wrap

if TYPE_CHECKING:
    from .autograd import Tensor


class Best(NamedTuple):
    """What max(dim) and its like give."""

    values: Tensor
    indices: Tensor


class Methods(Shapes):
    __slots__ = ()

    # arithmetic

    def __add__(self, other: Any) -> Tensor:
        return apply(g.add, (self, other))

    def __radd__(self, other: Any) -> Tensor:
        return apply(g.add, (self, other))

    def __sub__(self, other: Any) -> Tensor:
        return apply(g.subtract, (self, other))

    def __rsub__(self, other: Any) -> Tensor:
        return apply(g.subtract, (other, self))

    def __mul__(self, other: Any) -> Tensor:
        return apply(g.multiply, (self, other))

    def __rmul__(self, other: Any) -> Tensor:
        return apply(g.multiply, (self, other))

    def __truediv__(self, other: Any) -> Tensor:
        return apply(g.divide, (self, other))

    def __rtruediv__(self, other: Any) -> Tensor:
        return apply(g.divide, (other, self))

    def __pow__(self, other: Any) -> Tensor:
        return apply(g.power, (self, other))

    def __rpow__(self, other: Any) -> Tensor:
        return apply(g.power, (other, self))

    def __matmul__(self, other: Tensor) -> Tensor:
        return apply(g.matmul, (self, other))

    def __neg__(self) -> Tensor:
        return apply(g.negative, (self,))

    def __abs__(self) -> Tensor:
        return apply(g.absolute, (self,))

    def __mod__(self, other: Any) -> Tensor:
        return apply(g.remainder, (self, other))

    def __floordiv__(self, other: Any) -> Tensor:
        return self._untracked(np.floor_divide, other)

    def add(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """self + alpha · other"""
        return self + (other if alpha == 1 else other * alpha)

    def sub(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """self - alpha · other"""
        return self - (other if alpha == 1 else other * alpha)

    mul, div, pow, matmul, neg, abs = __mul__, __truediv__, __pow__, __matmul__, __neg__, __abs__
    mm = dot = __matmul__

    def maximum(self, other: Tensor) -> Tensor:
        return apply(g.maximum, (self, other))

    def minimum(self, other: Tensor) -> Tensor:
        return apply(g.minimum, (self, other))

    def exp(self) -> Tensor:
        return apply(g.exp, (self,))

    def expm1(self) -> Tensor:
        return apply(g.expm1, (self,))

    def log(self) -> Tensor:
        return apply(g.log, (self,))

    def log1p(self) -> Tensor:
        return apply(g.log1p, (self,))

    def log2(self) -> Tensor:
        return apply(g.log2, (self,))

    def log10(self) -> Tensor:
        return apply(g.log10, (self,))

    def sqrt(self) -> Tensor:
        return apply(g.sqrt, (self,))

    def rsqrt(self) -> Tensor:
        return apply(g.rsqrt, (self,))

    def reciprocal(self) -> Tensor:
        return apply(g.reciprocal, (self,))

    def square(self) -> Tensor:
        return apply(g.square, (self,))

    def sin(self) -> Tensor:
        return apply(g.sin, (self,))

    def cos(self) -> Tensor:
        return apply(g.cos, (self,))

    def clamp(self, min: Any = None, max: Any = None) -> Tensor:
        return apply(g.clamp, (self, min, max))

    clip = clamp

    # without gradients

    def _untracked(self, function: Any, *others: Any) -> Tensor:
        """A function without gradient."""
        return wrap(np.asarray(function(array_of(self), *map(plain, others))))

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
        return apply(g.sign, (self,))

    def floor(self) -> Tensor:
        return apply(g.floor, (self,))

    def ceil(self) -> Tensor:
        return apply(g.ceil, (self,))

    def round(self) -> Tensor:
        return apply(g.round, (self,))

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
        return bool(np.array_equal(array_of(self), array_of(other)))

    def allclose(self, other: Tensor, rtol: Float = 1e-5, atol: Float = 1e-8, equal_nan: Bool = False) -> Bool:
        return bool(np.allclose(array_of(self), array_of(other), rtol, atol, equal_nan))

    # reductions

    def sum(self, dim: Any = None, keepdim: Bool = False) -> Tensor:
        return apply(g.sum, (self, dim, keepdim))

    def mean(self, dim: Any = None, keepdim: Bool = False) -> Tensor:
        return apply(g.mean, (self, dim, keepdim))

    def prod(self, dim: Any = None, keepdim: Bool = False) -> Tensor:
        return apply(g.prod, (self, dim, keepdim))

    def var(
        self, dim: Any = None, unbiased: Bool = True, keepdim: Bool = False, *, correction: Float | None = None
    ) -> Tensor:
        return apply(g.var, (self, dim, unbiased if correction is None else correction, keepdim))

    def std(
        self, dim: Any = None, unbiased: Bool = True, keepdim: Bool = False, *, correction: Float | None = None
    ) -> Tensor:
        return apply(g.std, (self, dim, unbiased if correction is None else correction, keepdim))

    def norm(self, p: Float = 2, dim: Any = None, keepdim: Bool = False) -> Tensor:
        """(Σ |a|^p)^(1/p)"""
        if p == 2:
            return apply(g.norm, (self, dim, keepdim))
        if p == float("inf"):
            return abs(self).amax(dim, keepdim)
        return (abs(self) ** p).sum(dim, keepdim) ** (1 / p)

    def amax(self, dim: Any = None, keepdim: Bool = False) -> Tensor:
        return apply(g.extreme, (self, np.maximum.reduce, dim, keepdim))

    def amin(self, dim: Any = None, keepdim: Bool = False) -> Tensor:
        return apply(g.extreme, (self, np.minimum.reduce, dim, keepdim))

    def max(self, dim: Int | None = None, keepdim: Bool = False) -> Any:
        """The largest number; along `dim`: (values, indices)."""
        return self.amax() if dim is None else self._best(self.argmax(dim, True), dim, keepdim)

    def min(self, dim: Int | None = None, keepdim: Bool = False) -> Any:
        """The smallest number; along `dim`: (values, indices)."""
        return self.amin() if dim is None else self._best(self.argmin(dim, True), dim, keepdim)

    def _best(self, indices: Tensor, dim: Int, keepdim: Bool) -> Best:
        values = self.gather(dim, indices)
        return Best(values, indices) if keepdim else Best(values.squeeze(dim), indices.squeeze(dim))

    def sort(self, dim: Int = -1, descending: Bool = False) -> Best:
        """(values, indices), from the smallest on or from the largest"""
        indices = self.argsort(dim, descending)
        return Best(self.gather(dim, indices), indices)

    def topk(self, k: Int, dim: Int = -1, largest: Bool = True) -> Best:
        """(values, indices) of the k largest, the largest first; or of the smallest"""
        lead = (slice(None),) * (dim % self.ndim)
        indices = self.argsort(dim, largest)[(*lead, slice(0, k))]
        return Best(self.gather(dim, indices), indices)

    def gather(self, dim: Int, index: Tensor) -> Tensor:
        return apply(g.gather, (self, index, dim))

    # in place

    def __iadd__(self, other: Any) -> Tensor:
        return self._replace(self + other)

    def __isub__(self, other: Any) -> Tensor:
        return self._replace(self - other)

    def __imul__(self, other: Any) -> Tensor:
        return self._replace(self * other)

    def __itruediv__(self, other: Any) -> Tensor:
        return self._replace(self / other)

    def add_(self, other: Any, *, alpha: Any = 1) -> Tensor:
        return self._replace(self.add(other, alpha=alpha))

    def sub_(self, other: Any, *, alpha: Any = 1) -> Tensor:
        return self._replace(self.sub(other, alpha=alpha))

    mul_, div_ = __imul__, __itruediv__

    def masked_fill_(self, mask: Tensor, value: Any) -> Tensor:
        return self._replace(self.masked_fill(mask, value))

    def zero_(self) -> Tensor:
        return self._write(0)

    def fill_(self, value: Any) -> Tensor:
        return self._write(value)

    def copy_(self, other: Any) -> Tensor:
        return self._write(other)

    def clamp_(self, min: Any = None, max: Any = None) -> Tensor:
        return self._replace(self.clamp(min, max))
