"""What is learnt begins where a cache line does, wherever it comes from."""

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import memory, nn, optim

SHAPES = [(), (0,), (1,), (7,), (3, 0), (5, 3), (128, 784)]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("shape", SHAPES)
def test_arrays_begin_at_a_line(shape, dtype):
    ones = np.ones(shape[::-1], dtype).T
    for a in (memory.empty(shape, dtype), memory.zeros(shape, dtype), memory.copy(ones), memory.copy(ones, "f")):
        assert not a.size or a.ctypes.data % memory.LINE == 0
        assert a.shape == shape and a.flags.carray
    assert not memory.zeros(shape, dtype).any() and (memory.copy(ones) == ones).all()
    assert memory.copy(ones).dtype == dtype and memory.copy(ones, "f").dtype == np.float32


OPTIMIZERS = [optim.Adam, optim.SGD, optim.RMSprop, optim.Adagrad, optim.Adadelta, optim.NAdam, optim.RAdam]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", OPTIMIZERS, ids=lambda kind: kind.__name__)
def test_what_is_learnt_begins_at_a_line(kind, dtype):
    model = nn.Sequential(nn.Linear(13, 7), nn.BatchNorm1d(7), nn.LayerNorm(7), nn.PReLU(), nn.Linear(7, 3)).to(dtype)
    options = {"momentum": 0.9} if kind in (optim.SGD, optim.RMSprop) else {}
    optimizer = kind(model.parameters(), 0.1, **options)
    for _ in range(2):
        model(fm.tensor(np.ones((4, 13), dtype))).sum().backward()
        optimizer.step()
    fresh = kind(model.parameters(), 0.1, **options)
    fresh.load_state_dict(optimizer.state_dict())
    found = [p.detach().numpy() for p in model.parameters()]
    for some in (optimizer, fresh):
        arrays = [a for state in some.state.values() for a in state.values() if isinstance(a, np.ndarray)]
        assert len(arrays) >= 8
        found += arrays
    assert all(a.ctypes.data % memory.LINE == 0 for a in found)
