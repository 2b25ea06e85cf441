"""Clipping of gradients against torch's."""

import numpy as np
import pytest

from fastmlp import tensor
from fastmlp.autograd import Tensor
from fastmlp.nn.utils import clip_grad_norm_, clip_grad_value_, get_total_norm

SHAPES = ((5, 7), (7,), (), (64, 33))
NORMS = (2.0, 1, 3, 0.5, float("inf"), -float("inf"), 0, -1.0)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def gradients(dtype, seed=0):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(shape), dtype) for shape in SHAPES]


def parameters(grads):
    params = [tensor(np.zeros_like(g), requires_grad=True) for g in grads]
    for p, g in zip(params, grads):
        p.grad = tensor(g.copy())
    return [*params, tensor(np.ones(3), requires_grad=True)]  # the last one without a gradient


def theirs(torch, grads):
    params = [torch.nn.Parameter(torch.zeros(g.shape, dtype=getattr(torch, str(g.dtype)))) for g in grads]
    for p, g in zip(params, grads):
        p.grad = torch.from_numpy(g.copy())
    return params


def assert_same(params, reference, total, their_total, dtype):
    rtol = 1e-5 if dtype == "float32" else 1e-12
    assert isinstance(total, Tensor) and total.shape == () and str(total.dtype).endswith(dtype)
    np.testing.assert_allclose(total.numpy(), their_total.numpy(), rtol=rtol)
    for p, q in zip(params, reference):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=rtol)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("max_norm", [0.5, 1e6])
@pytest.mark.parametrize("norm_type", NORMS)
def test_norm_as_torch(torch, norm_type, max_norm, dtype):
    grads = gradients(dtype)
    params, reference = parameters(grads), theirs(torch, grads)
    total = clip_grad_norm_(params, max_norm, norm_type)
    their_total = torch.nn.utils.clip_grad_norm_(reference, max_norm, norm_type)
    assert_same(params, reference, total, their_total, dtype)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nonfinite_gradients(torch, bad):
    grads = gradients("float32")
    grads[1][3] = bad
    params, reference = parameters(grads), theirs(torch, grads)
    before = [g.copy() for g in grads]
    with pytest.raises(RuntimeError, match="error_if_nonfinite: the total norm"):
        clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    for p, g in zip(params, before):
        np.testing.assert_array_equal(p.grad.numpy(), g)
    total = clip_grad_norm_(params, 1.0)
    assert_same(params, reference, total, torch.nn.utils.clip_grad_norm_(reference, 1.0), "float32")


def test_small_gradients_keep_their_bits():
    grads = gradients("float32")
    params = parameters(grads)
    clip_grad_norm_(iter(params), 1e4)
    assert all((p.grad.numpy() == g).all() for p, g in zip(params, grads))


@pytest.mark.parametrize("value", [0.3, 0, 100])
def test_value_as_torch(torch, value):
    grads = gradients("float64")
    grads[0][0, 0] = np.nan
    params, reference = parameters(grads), theirs(torch, grads)
    clip_grad_value_(params, value)
    torch.nn.utils.clip_grad_value_(reference, value)
    for p, q in zip(params, reference):
        np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy())


def test_one_tensor_and_none():
    (p, *_) = parameters([np.array([3.0, 4.0])])
    assert get_total_norm(p.grad).numpy() == 5
    assert clip_grad_norm_(p, 1.0).numpy() == 5
    np.testing.assert_allclose(p.grad.numpy(), [0.6, 0.8], rtol=1e-6)
    assert get_total_norm([]).numpy() == 0
    assert get_total_norm([tensor(np.ones((0, 3)))], float("inf")).numpy() == 0
    p.grad = None
    assert clip_grad_norm_(p, 1.0).numpy() == 0


def test_refused():
    p = parameters(gradients("float32"))
    for call, error, text in (
        (lambda: clip_grad_norm_(p, "x"), TypeError, "max_norm: expected a number, got str"),
        (lambda: clip_grad_norm_(p, 1, "fro"), TypeError, "norm_type: expected a number, got str"),
        (lambda: clip_grad_value_(p, None), TypeError, "clip_value: expected a number, got NoneType"),
        (lambda: clip_grad_norm_([np.ones(3)], 1), TypeError, "parameters: expected tensors, got ndarray"),
        (lambda: get_total_norm([np.ones(3)]), TypeError, "tensors: expected tensors, got ndarray"),
    ):
        with pytest.raises(error) as raised:
            call()
        assert str(raised.value) == text
