"""Batches: what they hold, how long they are, in which order."""

from collections import namedtuple

import numpy as np
import pytest

import fastmlp
from fastmlp.autograd import Tensor
from fastmlp.data import DataLoader, Dataset, Subset, TensorDataset, random_split

X = np.arange(20, dtype=np.float32).reshape(10, 2)
Y = np.arange(10)


class Squares(Dataset):
    """Samples that are computed."""

    def __len__(self):
        return 7

    def __getitem__(self, i):
        return {"x": np.float32([i, i]), "y": i * i, "name": f"n{i}"}


def rows(loader):
    """The labels of each batch."""
    return [y.tolist() for _, y in loader]


def test_a_tensor_dataset():
    data = TensorDataset(X, fastmlp.tensor(Y))
    assert len(data) == 10
    x, y = data[3]
    assert type(x) is Tensor and x.tolist() == [6, 7] and y.item() == 3
    assert [t.shape for t in data[2:5]] == [(3, 2), (3,)]


@pytest.mark.parametrize(
    "arrays, message",
    [
        ((), "tensors: expected at least one"),
        ((X, Y[:9]), r"tensors: expected equal lengths, got shapes \(10, 2\), \(9,\)"),
        ((X, np.float32(1)), "tensors: expected equal lengths"),
    ],
)
def test_arrays_that_are_no_dataset(arrays, message):
    with pytest.raises(ValueError, match=message):
        TensorDataset(*arrays)


@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_in_order(drop_last):
    loader = DataLoader(TensorDataset(X, Y), batch_size=4, drop_last=drop_last)
    expected = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]][: 3 - drop_last]
    assert rows(loader) == expected and len(loader) == len(expected)
    for batch in loader:
        assert type(batch) is list and all(type(t) is Tensor for t in batch)
        np.testing.assert_array_equal(batch[0].numpy(), X[batch[1].numpy()])


def test_one_sample_is_a_batch_by_default():
    assert rows(DataLoader(TensorDataset(X, Y))) == [[i] for i in range(10)]


def test_batches_are_copies():
    x = X.copy()
    for batch, _ in DataLoader(TensorDataset(x, Y), batch_size=4):
        batch.fill_(-1)
    np.testing.assert_array_equal(x, X)


def test_shuffling():
    def epochs(**options):
        loader = DataLoader(TensorDataset(X, Y), batch_size=3, shuffle=True, **options)
        return [rows(loader) for _ in range(4)]

    first = epochs(seed=5)
    for epoch in first:
        assert sorted(y for batch in epoch for y in batch) == list(range(10))
        assert list(map(len, epoch)) == [3, 3, 3, 1]
    assert len({str(epoch) for epoch in first}) == 4  # another order each epoch
    assert epochs(seed=5) == first
    assert epochs(seed=6) != first
    assert epochs(generator=fastmlp.Generator().manual_seed(5)) == first
    fastmlp.manual_seed(9)
    default = epochs()
    fastmlp.manual_seed(9)
    assert epochs() == default


def test_rows_stay_together_when_shuffled():
    for x, y in DataLoader(TensorDataset(X, Y), batch_size=3, shuffle=True, seed=1):
        np.testing.assert_array_equal(x.numpy(), X[y.numpy()])


def test_computed_samples_are_stacked():
    batches = list(DataLoader(Squares(), batch_size=4))
    assert [sorted(b) for b in batches] == [["name", "x", "y"]] * 2
    assert batches[1]["x"].tolist() == [[4, 4], [5, 5], [6, 6]]
    assert batches[1]["y"].tolist() == [16, 25, 36] and batches[1]["y"].dtype == np.int64
    assert batches[1]["name"] == ["n4", "n5", "n6"]


def test_any_object_with_a_length_and_items():
    pairs = [(fastmlp.tensor([float(i)]), 0.5 * i) for i in range(3)]
    ((x, y),) = DataLoader(pairs, batch_size=3)
    assert x.tolist() == [[0], [1], [2]]
    assert y.tolist() == [0, 0.5, 1] and y.dtype == np.float64  # as in torch
    Point = namedtuple("Point", "x y")
    (batch,) = DataLoader([Point(1, 2), Point(3, 4)], batch_size=2)
    assert type(batch) is Point and batch.y.tolist() == [2, 4]


def test_collating_as_one_likes():
    loader = DataLoader(TensorDataset(X, Y), batch_size=5, collate_fn=len)
    assert list(loader) == [5, 5]


def test_subsets_of_subsets():
    data = Subset(Subset(TensorDataset(X, Y), [9, 7, 5, 3, 1]), [0, 2, 4])
    assert rows(DataLoader(data, batch_size=2)) == [[9, 5], [1]]
    assert data[1][1].item() == 5
    assert rows(DataLoader(Subset(list(zip(X, Y)), [4, 2]), batch_size=2)) == [[4, 2]]


def test_samples_of_a_subclass_are_its_own():
    class Negative(TensorDataset):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return x, -y

    class Double(Subset):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return x, 2 * y

    assert rows(DataLoader(Negative(X, Y), batch_size=4)) == [[0, -1, -2, -3], [-4, -5, -6, -7], [-8, -9]]
    assert rows(DataLoader(Subset(Negative(X, Y), [9, 5]), batch_size=2)) == [[-9, -5]]
    assert rows(DataLoader(Double(TensorDataset(X, Y), [9, 5]), batch_size=2)) == [[18, 10]]
    assert rows(DataLoader(Subset(Double(Negative(X, Y), [9, 5]), [1]), batch_size=2)) == [[-10]]


@pytest.mark.parametrize(
    "lengths, sizes",
    [([7, 3], [7, 3]), ([10, 0], [10, 0]), ([0.75, 0.25], [8, 2]), ([1.0], [10]), ([1 / 3] * 3, [4, 3, 3])],
)
def test_random_split(lengths, sizes):
    data = TensorDataset(X, Y)
    parts = random_split(data, lengths, fastmlp.Generator().manual_seed(0))
    assert [len(p) for p in parts] == sizes
    drawn = [p[i][1].item() for p in parts for i in range(len(p))]
    assert sorted(drawn) == list(range(10)) and drawn != list(range(10))
    again = random_split(data, lengths, fastmlp.Generator().manual_seed(0))
    assert [list(p.indices) for p in again] == [list(p.indices) for p in parts]


def test_splits_like_torchs():
    torch = pytest.importorskip("torch.utils.data")
    for n, lengths in [(10, [0.33, 0.33, 0.34]), (11, [0.5, 0.5]), (17, [0.9, 0.1]), (100, [0.2] * 5)]:
        sizes = [len(p) for p in torch.random_split(range(n), lengths)]
        assert [len(p) for p in random_split(range(n), lengths)] == sizes


@pytest.mark.parametrize("lengths", [[5, 4], [-1, 11], [], [0.5, 0.2]])
def test_splits_that_do_not_add_up(lengths):
    with pytest.raises((ValueError, TypeError), match="lengths: expected"):
        random_split(TensorDataset(X, Y), lengths)


def test_torchs_other_options_at_their_defaults():
    loader = DataLoader(TensorDataset(X, Y), num_workers=0, pin_memory=False, persistent_workers=False, sampler=None)
    assert len(loader) == 10


@pytest.mark.parametrize(
    "dataset, options, error, message",
    [
        (X, {"num_workers": 4}, ValueError, "num_workers: only 0 is possible in fastmlp, got 4"),
        (X, {"pin_memory": True}, ValueError, "pin_memory: only False is possible"),
        (X, {"workers": 1}, TypeError, "unexpected keyword argument 'workers'"),
        (X, {"batch_size": 0}, ValueError, "batch_size: expected an int >= 1, got 0"),
        (X, {"batch_size": 2.5}, TypeError, "batch_size: expected an int, got float"),
        (iter([1]), {}, TypeError, "dataset: expected __len__ and __getitem__, which list_iterator lacks"),
        (X, {"seed": 1, "generator": fastmlp.Generator()}, ValueError, "seed: not beside a generator"),
    ],
)
def test_bad_options(dataset, options, error, message):
    with pytest.raises(error, match=message):
        DataLoader(dataset, **options)


def test_samples_that_cannot_be_stacked():
    with pytest.raises(TypeError, match="samples of object cannot be stacked"):
        next(iter(DataLoader([object()])))
    with pytest.raises(ValueError, match="sequences of different lengths"):
        next(iter(DataLoader([(1, 2), (1,)], batch_size=2)))


def test_the_names_are_where_torch_has_them_too():
    import fastmlp
    from fastmlp.utils.data import DataLoader as same

    assert same is DataLoader is fastmlp.utils.data.DataLoader
