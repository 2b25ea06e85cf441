"""Data in batches: Dataset, TensorDataset, Subset, random_split, DataLoader, by torch's names.

All runs in the calling thread: samples that lie in arrays are gathered faster than worker processes could send them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import checks
from .autograd import Tensor
from .checks import Array
from .creation import Generator, as_tensor, default_generator
from .tape import array_of, wrap


class Dataset:
    """Base of data sets: `len(dataset)` samples `dataset[i]`. Any other object that has both will do, too."""

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__()")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} has no __len__()")


class TensorDataset(Dataset):
    """Sample i is (a[i], b[i], ...) of the tensors or arrays given. A batch is one copy out of each.

    Raises
    ------
    ValueError
        If they are of different lengths.
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise ValueError("tensors: expected at least one")
        self.tensors = tuple(as_tensor(t) for t in tensors)
        lengths = [t.shape[0] if t.ndim else None for t in self.tensors]
        if None in lengths or len(set(lengths)) > 1:
            shapes = ", ".join(str(t.shape) for t in self.tensors)
            raise ValueError(f"tensors: expected equal lengths, got shapes {shapes}")

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return self.tensors[0].shape[0]

    def batch(self, indices: Array | slice) -> list[Tensor]:
        """The samples of those indices, as copies."""
        arrays = [array_of(t) for t in self.tensors]
        if isinstance(indices, slice):
            return [wrap(a[indices].copy()) for a in arrays]
        return [wrap(np.take(a, indices, axis=0)) for a in arrays]


class Subset(Dataset):
    """The samples of `dataset` at `indices`."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(dataset: Any, lengths: Sequence[float], generator: Generator | None = None) -> list[Subset]:
    """Shares the samples out at random.

    Parameters
    ----------
    dataset : anything with a length
    lengths : numbers of samples, whose sum is that length; or shares whose sum is 1: what rounding down leaves goes
        to the first ones, one each
    generator : the source of the random numbers

    Raises
    ------
    ValueError
        If the lengths are negative or of another sum.
    """
    n = len(dataset)
    given = [checks.number("lengths", length) for length in lengths]
    if not given or not min(given) >= 0:
        raise ValueError(f"lengths: expected numbers >= 0, got {list(lengths)}")
    if max(given) <= 1 and math.isclose(sum(given), 1):
        sizes = [math.floor(n * share) for share in given]
        for i in range(n - sum(sizes)):
            sizes[i % len(sizes)] += 1
    else:
        sizes = [checks.integer("lengths", length) for length in lengths]
    if sum(sizes) != n:
        raise ValueError(f"lengths: expected a sum of {n}, the samples there are, or of 1; got {list(lengths)}")
    order = (generator or default_generator).rng.permutation(n).tolist()
    ends = np.cumsum(sizes).tolist()
    return [Subset(dataset, order[end - size : end]) for end, size in zip(ends, sizes)]


def default_collate(samples: list[Any]) -> Any:
    """A batch of samples: numbers and arrays become a tensor, sequences a list of batches, dicts a dict of batches.

    Python's floats become float64 and its ints int64, as in torch; strings stay a list.
    """
    first = samples[0]
    if isinstance(first, Tensor):
        return wrap(np.stack([array_of(s) for s in samples]))
    if isinstance(first, (np.ndarray, np.generic, int, float)):
        return wrap(np.stack([np.asarray(s) for s in samples]))
    if isinstance(first, (str, bytes)):
        return list(samples)
    if isinstance(first, Mapping):
        return {key: default_collate([s[key] for s in samples]) for key in first}
    if isinstance(first, Sequence):
        if any(len(s) != len(first) for s in samples):
            raise ValueError("dataset: its samples are sequences of different lengths; give collate_fn")
        batches = [default_collate(list(members)) for members in zip(*samples)]
        return type(first)(*batches) if hasattr(first, "_fields") else batches  # a named tuple
    raise TypeError(f"dataset: samples of {type(first).__name__} cannot be stacked; give collate_fn")


def _plain(dataset: Any, *kinds: type[Dataset]) -> bool:
    """Is it of one of these kinds, with the samples that this kind gives? A subclass may give others."""
    return any(isinstance(dataset, kind) and type(dataset).__getitem__ is kind.__getitem__ for kind in kinds)


#: options of torch's DataLoader that mean something else here, with the only value they may have
DEFAULTS: dict[str, Any] = {
    "sampler": None, "batch_sampler": None, "num_workers": 0, "pin_memory": False, "timeout": 0, "worker_init_fn": None,
    "multiprocessing_context": None, "prefetch_factor": None, "persistent_workers": False, "pin_memory_device": "",
    "in_order": True,
}  # fmt: skip


class DataLoader:
    """The batches of a data set, again and again: `for x, y in loader`.

    Parameters
    ----------
    dataset : a Dataset, or anything with __len__ and __getitem__
    batch_size : samples of a batch
    shuffle : another random order each time
    drop_last : leave out a last batch that is not full
    collate_fn : list of samples -> batch; `default_collate` stacks them
    generator : the source of the orders; without one it is the one that `fastmlp.manual_seed` starts
    seed : a generator of its own that starts from this number
    **options : torch's other options, at their defaults: there are no worker processes and no pinned memory here

    Raises
    ------
    ValueError, TypeError
        Naming the argument.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        generator: Generator | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        for name, value in options.items():
            if name not in DEFAULTS:
                raise TypeError(f"DataLoader: unexpected keyword argument {name!r}")
            if value != DEFAULTS[name]:
                raise ValueError(f"{name}: only {DEFAULTS[name]!r} is possible in fastmlp, got {value!r}")
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            raise TypeError(f"dataset: expected __len__ and __getitem__, which {type(dataset).__name__} lacks")
        checks.positive("batch_size", batch_size)
        if generator is not None and seed is not None:
            raise ValueError("seed: not beside a generator; seed that one")
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, int(batch_size), shuffle, drop_last
        self.generator = generator if seed is None else Generator().manual_seed(seed)
        self.collate_fn = collate_fn

    def __len__(self) -> int:
        """How many batches there are."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        n, size = len(self.dataset), self.batch_size
        order = (self.generator or default_generator).rng.permutation(n) if self.shuffle else None
        for start in range(0, len(self) * size, size):
            stop = min(start + size, n)
            yield self._batch(slice(start, stop) if order is None else order[start:stop])

    def _batch(self, where: Array | slice) -> Any:
        dataset = self.dataset
        if self.collate_fn is None:
            while _plain(dataset, Subset) and _plain(dataset.dataset, Subset, TensorDataset):
                where, dataset = np.asarray(dataset.indices)[where], dataset.dataset
            if _plain(dataset, TensorDataset):
                return dataset.batch(where)
        indices = range(where.start, where.stop) if isinstance(where, slice) else where.tolist()
        return (self.collate_fn or default_collate)([dataset[i] for i in indices])
