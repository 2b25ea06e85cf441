"""A linear layer waits for its activation. Nobody may be able to tell, by NumPy, threads, errors or settings."""

import copy
import threading
import time

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import nn
from fastmlp.nn import functional as F
from fastmlp.tape import waiting
from fastmlp.waiting import MANY


@pytest.fixture
def layer():
    fm.manual_seed(0)
    fc, x = nn.Linear(4, 3), fm.randn(5, 4)
    expected = copy.deepcopy(fc)(copy.deepcopy(x)).detach().numpy().copy()
    return fc, x, expected


SHOWN_AFTERWARDS = {
    "numpy() of the input": lambda fc, x: x.numpy(),
    "asarray of the input": lambda fc, x: np.asarray(x),
    "the weight's": lambda fc, x: fc.weight.detach().numpy(),
    "the weight's data": lambda fc, x: np.asarray(fc.weight.data),
    "the state's": lambda fc, x: fc.state_dict()["bias"].numpy(),
    "a view's": lambda fc, x: x[1:].numpy(),
}


@pytest.mark.parametrize("show", SHOWN_AFTERWARDS.values(), ids=SHOWN_AFTERWARDS)
@pytest.mark.parametrize("use", [lambda z: z, F.relu])
def test_memory_that_numpy_gets_afterwards(layer, show, use):
    fc, x, expected = layer
    z = fc(x)
    show(fc, x)[...] = 100
    np.testing.assert_array_equal(use(z).detach(), use(fm.tensor(expected)))


def test_memory_that_numpy_has_already(layer):
    fc, _, _ = layer
    a = np.ones((1, 4), np.float32)
    for x in (fm.from_numpy(a), a):
        a[...] = 1
        z = fc(x)
        expected = z.detach().numpy().copy()
        a[...] = 100
        np.testing.assert_array_equal(F.relu(z).detach(), np.maximum(expected, 0))
    w = np.ones((3, 4), np.float32)
    fc.weight = nn.Parameter(w)
    z = fc(fm.ones(1, 4))
    w[...] = 100
    assert z.amax().item() < 10
    assert fm.Tensor(a).dtype == fm.float32 and not np.shares_memory(fm.Tensor(a).numpy(), a)


def test_what_required_a_gradient_when_it_was_called(layer):
    fc, x, _ = layer
    with fm.no_grad():
        h = fc(x)
    h.requires_grad_()
    assert h.is_leaf
    (h * 2).sum().backward()
    np.testing.assert_array_equal(h.grad, np.full((5, 3), 2.0))
    assert fc.weight.grad is None
    y = fc(x)
    x.requires_grad_()
    F.relu(y).sum().backward()
    assert x.grad is None and fc.weight.grad is not None
    with pytest.raises(RuntimeError, match="only that of leaf tensors"):
        fc(x).requires_grad_(False)
    with fm.no_grad():
        assert not F.relu(fc(x)).requires_grad
    z = fc(x)
    with fm.no_grad():
        z.shape, z.detach()
    assert z.requires_grad and z.grad_fn is not None


def test_the_backend_of_the_call(layer, monkeypatch):
    fc, x, _ = layer
    seen = []
    from fastmlp import ops

    whole = ops.linear
    monkeypatch.setattr(
        ops, "linear", lambda *args, **kwargs: seen.append(kwargs["backend"]) or whole(*args, **kwargs)
    )
    with fm.use_backend("numpy"):
        y, z = fc(x), fc(x)
    F.relu(y)
    z.detach()
    fc(x).detach()
    assert seen == ["numpy", "numpy", None]


def test_an_error_leaves_all_as_it_was(layer, monkeypatch):
    fc, x, expected = layer
    from fastmlp import ops

    whole = ops.linear

    def fails(*args, **kwargs):
        raise KeyboardInterrupt

    y, z = fc(x), fc(x)
    monkeypatch.setattr(ops, "linear", fails)
    with pytest.raises(KeyboardInterrupt):
        fm.ones(3).fill_(1)
    with pytest.raises(KeyboardInterrupt):
        y.sum()
    monkeypatch.setattr(ops, "linear", whole)
    with fm.no_grad():
        fc.weight.zero_()
    assert y.shape == (5, 3)
    np.testing.assert_array_equal(y.detach(), expected)
    np.testing.assert_array_equal(z.detach(), expected)


def test_many_may_wait_but_not_without_end(layer):
    fc, x, expected = layer
    outputs = [fc(x) for _ in range(1000)]
    assert len(waiting) <= MANY + 1
    with fm.no_grad():
        fc.weight.zero_()
    for y in outputs:
        np.testing.assert_array_equal(y.detach(), expected)


def run(*functions):
    """In threads -> what they raised"""
    raised = []

    def guarded(function):
        try:
            function()
        except BaseException as e:
            raised.append(e)

    threads = [threading.Thread(target=guarded, args=(f,)) for f in functions]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return raised


def test_another_thread_that_writes_elsewhere_does_no_harm(layer):
    fc, x, expected = layer
    done = threading.Event()

    def write():
        own = fm.zeros(3)
        while not done.is_set():
            own.fill_(1)

    def call():
        try:
            for _ in range(1000):
                np.testing.assert_array_equal((fc(x) + 0).detach(), expected)
                np.testing.assert_array_equal(F.relu(fc(x)).detach(), np.maximum(expected, 0))
        finally:
            done.set()

    assert run(write, call) == []


def test_two_threads_may_read_what_waits():
    fc, x = nn.Linear(200, 300), fm.randn(500, 200)
    expected = fc(x).detach().numpy().copy()
    for _ in range(20):
        y = fc(x)

        def read(y=y):
            np.testing.assert_array_equal(y.detach(), expected)

        assert run(read, read, read) == []


def test_a_write_in_another_thread_waits_for_what_reads_it():
    """One thread is at computing what waits, for its own write; another one's write must not overtake it."""
    fc, x = nn.Linear(300, 400, bias=False), fm.ones(300, 300)

    def others():
        own = fm.zeros(3)
        for _ in range(100):
            own.fill_(1)
            time.sleep(1e-4)

    def call():
        for _ in range(40):
            with fm.no_grad():
                fc.weight.fill_(0)
                y = fc(x)
                time.sleep(2e-4)
                fc.weight.fill_(1)
                assert y.amax().item() == 0

    assert run(others, call) == []
