"""New tensors: of given numbers, regular ones, random ones. Names and defaults are torch's.

Random numbers come from one generator, which `manual_seed` restarts; the numbers are not those of torch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import devices, gradients, memory
from .autograd import Tensor
from .checks import Array, as_array
from .tape import FLOATS, array_of, look_at, wrap

DTYPES = ("float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")

# ------------------------------------------------------------------------------------------ default type


def get_default_dtype() -> np.dtype[Any]:
    """The type of floating-point numbers that come without one: float32 at first."""
    return gradients.default_dtype


def set_default_dtype(dtype: Any) -> None:
    """float32 or float64"""
    dtype = np.dtype(dtype)
    if dtype not in FLOATS:
        raise TypeError(f"set_default_dtype: expected float32 or float64, got {dtype}")
    gradients.default_dtype = dtype


def _dtype(dtype: Any) -> np.dtype[Any]:
    return gradients.default_dtype if dtype is None else np.dtype(dtype)


def _made(a: Array, requires_grad: bool, device: Any) -> Tensor:
    if device is not None:
        devices.device(device)
    t = wrap(a)
    return t.requires_grad_() if requires_grad else t


def _shape(size: tuple[Any, ...]) -> tuple[int, ...]:
    """zeros(2, 3) or zeros((2, 3))"""
    shape = tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else size
    for n in shape:
        if isinstance(n, bool) or not hasattr(n, "__index__"):
            raise TypeError(f"size: expected integers, got {n!r}")
        if n < 0:
            raise ValueError(f"size: expected numbers >= 0, got {n}")
    return tuple(map(int, shape))


# --------------------------------------------------------------------------------------- of given numbers


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """A copy of `data`: a number, lists, an array or a tensor. Python's floats become float32, its ints int64."""
    if isinstance(data, Tensor):
        return _made(np.array(array_of(data), dtype), requires_grad, device)
    if isinstance(data, (list, tuple)):
        data = _without_tensors(data)
    a = np.array(as_array("data", data), dtype)
    if a.dtype.kind not in "biuf":
        raise TypeError(f"data: expected numbers, got {a.dtype}")
    if dtype is None and a.dtype == np.float64 and not isinstance(data, (np.ndarray, np.generic)):
        a = a.astype(gradients.default_dtype)
    return _made(a, requires_grad, device)


def _without_tensors(data: Any) -> Any:
    if isinstance(data, (list, tuple)):
        return [_without_tensors(d) for d in data]
    return data.tolist() if isinstance(data, Tensor) else data


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` itself if it is a tensor of that type, a view of it if it is an array of that type, else a copy."""
    if device is not None:
        devices.device(device)
    if isinstance(data, Tensor):
        return data if dtype is None else data.to(dtype)
    if isinstance(data, np.ndarray) and (dtype is None or data.dtype == dtype):
        return from_numpy(data)
    return tensor(data, dtype)


def from_numpy(a: Array) -> Tensor:
    """A tensor that shares the memory of `a`: a change of one is seen in the other."""
    if not isinstance(a, np.ndarray):
        raise TypeError(f"from_numpy: expected an ndarray, got {type(a).__name__}")
    if a.dtype.kind not in "biuf":
        raise TypeError(f"from_numpy: expected numbers, got {a.dtype}")
    return look_at(a)


# ----------------------------------------------------------------------------------------------- regular


def full(size: Any, fill_value: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    if dtype is None and not isinstance(fill_value, float):
        dtype = np.asarray(fill_value).dtype
    shape = _shape(tuple(size) if isinstance(size, (tuple, list)) else (size,))
    return _made(memory.full(shape, fill_value, _dtype(dtype)), requires_grad, device)


def zeros(*size: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    return _made(memory.zeros(_shape(size), _dtype(dtype)), requires_grad, device)


def ones(*size: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    return _made(memory.full(_shape(size), 1, _dtype(dtype)), requires_grad, device)


def empty(*size: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    return _made(memory.empty(_shape(size), _dtype(dtype)), requires_grad, device)


def zeros_like(input: Tensor, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    return _made(memory.zeros(input.shape, dtype or input.dtype), requires_grad, device)


def ones_like(input: Tensor, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    return _made(memory.full(input.shape, 1, dtype or input.dtype), requires_grad, device)


def full_like(
    input: Tensor, fill_value: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None
) -> Tensor:
    return _made(memory.full(input.shape, fill_value, dtype or input.dtype), requires_grad, device)


def empty_like(input: Tensor, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    return _made(memory.empty(input.shape, dtype or input.dtype), requires_grad, device)


def eye(n: int, m: int | None = None, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    return _made(np.eye(n, m, dtype=_dtype(dtype)), requires_grad, device)


def arange(
    start: Any, end: Any = None, step: Any = 1, dtype: Any = None, requires_grad: bool = False, device: Any = None
) -> Tensor:
    """start, start + step, ... below end; arange(end) starts from 0."""
    if end is None:
        start, end = 0, start
    if dtype is None:
        dtype = np.int64 if all(isinstance(v, int) for v in (start, end, step)) else gradients.default_dtype
    return _made(np.arange(start, end, step).astype(dtype), requires_grad, device)


def linspace(
    start: float, end: float, steps: int, dtype: Any = None, requires_grad: bool = False, device: Any = None
) -> Tensor:
    """`steps` numbers from start to end, both included."""
    return _made(np.linspace(start, end, steps).astype(_dtype(dtype)), requires_grad, device)


# ------------------------------------------------------------------------------------------------ random


class Generator:
    """A source of random numbers of its own, for the arguments called `generator`."""

    def __init__(self) -> None:
        self.manual_seed(np.random.SeedSequence().entropy % 2**63)  # type: ignore[operator]

    def manual_seed(self, seed: int) -> Generator:
        """Start again from `seed`. -> the generator itself"""
        if isinstance(seed, bool) or not hasattr(seed, "__index__"):
            raise TypeError(f"seed: expected an int, got {type(seed).__name__}")
        self._seed = int(seed)
        self.rng = np.random.Generator(np.random.SFC64(self._seed % 2**64))
        return self

    def initial_seed(self) -> int:
        return self._seed


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Start the random numbers again from `seed`: the same program draws the same numbers."""
    return default_generator.manual_seed(seed)


def rng_of(generator: Generator | None) -> np.random.Generator:
    """NumPy's generator within it, or within the default one."""
    return (generator or default_generator).rng


def rand(
    *size: Any, generator: Generator | None = None, dtype: Any = None, requires_grad: bool = False, device: Any = None
) -> Tensor:
    """Uniform in [0, 1)."""
    return _made(rng_of(generator).random(_shape(size), _dtype(dtype)), requires_grad, device)


def randn(
    *size: Any, generator: Generator | None = None, dtype: Any = None, requires_grad: bool = False, device: Any = None
) -> Tensor:
    """Normal with mean 0 and standard deviation 1."""
    return _made(rng_of(generator).standard_normal(_shape(size), _dtype(dtype)), requires_grad, device)


def rand_like(input: Tensor, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    return rand(input.shape, dtype=dtype or input.dtype, requires_grad=requires_grad, device=device)


def randn_like(input: Tensor, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    return randn(input.shape, dtype=dtype or input.dtype, requires_grad=requires_grad, device=device)


def randint(
    low: int, high: Any = None, size: Any = None, *, generator: Generator | None = None, dtype: Any = np.int64
) -> Tensor:
    """Integers from low to high - 1: randint(low, high, size) or randint(high, size)."""
    if size is None:
        low, high, size = 0, low, high
    if not isinstance(size, (tuple, list)):
        raise TypeError(f"size: expected a tuple, got {size!r}")
    if not low < high:
        raise ValueError(f"randint: expected low < high, got {low} and {high}")
    return wrap(np.asarray(rng_of(generator).integers(low, high, _shape(tuple(size)))).astype(dtype))


def randperm(n: int, *, generator: Generator | None = None) -> Tensor:
    """0 to n - 1 in random order."""
    return wrap(rng_of(generator).permutation(n))


def normal(
    mean: float = 0.0, std: float = 1.0, size: Any = (), *, generator: Generator | None = None, dtype: Any = None
) -> Tensor:
    if not std >= 0:
        raise ValueError(f"std: expected a number >= 0, got {std}")
    return randn(tuple(size), generator=generator, dtype=dtype) * std + mean


def bernoulli(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that `input` has there, else 0."""
    p = array_of(input)
    return wrap((rng_of(generator).random(p.shape) < p).astype(p.dtype))


def is_tensor(obj: Any) -> bool:
    return isinstance(obj, Tensor)


pi, e, inf, nan = math.pi, math.e, math.inf, math.nan
