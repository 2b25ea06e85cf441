"""Tensors and the tape: values and gradients against torch, and what may go wrong with memory that is changed."""

import copy
import gc
import os
import pickle
import threading
import weakref

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import nn, ops
from fastmlp.nn import functional as F

A = np.random.default_rng(0).normal(size=(3, 4))
B = np.random.default_rng(1).normal(size=(3, 4))
P = np.abs(A) + 0.5
ROW, COLUMN, NUMBER = B[:1], B[:, :1], np.array(0.7)
V4, V3 = B[0], B[:, 0]
CUBE = np.random.default_rng(2).normal(size=(2, 3, 4))
TIES = np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 2.0]])

#: what both libraries understand: expression of t (the library), a, b -> operands
EXPRESSIONS = {
    "a + b": (A, B), "a - b": (A, B), "a * b": (A, B), "a / b": (A, P), "a ** b": (P, B), "a @ b": (A, B.T),
    "a + 2": (A,), "2 + a": (A,), "a - 2": (A,), "2 - a": (A,), "a * 2.5": (A,), "2.5 * a": (A,), "a / 2": (A,),
    "2 / a": (P,), "a ** 2": (A,), "a ** 3": (A,), "a ** 0.5": (P,), "2 ** a": (A,), "a ** 0": (A,), "-a": (A,),
    "abs(a)": (A,), "a.abs()": (A,), "a.add(b)": (A, B), "a.mul(b)": (A, B), "a.pow(2)": (A,),
    "a + b  # row": (A, ROW), "a * b  # column": (A, COLUMN), "a / b  # number": (A, NUMBER),
    "a * b  # cube": (CUBE, A), "a @ b  # vectors": (V4, V4), "a @ b  # matrix, vector": (A, V4),
    "a @ b  # vector, matrix": (V3, A), "a @ b  # batch": (CUBE, CUBE.transpose(0, 2, 1)),
    "a @ b  # batch, matrix": (CUBE, A.T), "t.matmul(a, b)": (A, B.T), "a @ b  # batch, vector": (CUBE, V4),
    "a @ b  # vector, batch": (V3, CUBE), "a.exp()": (A,), "t.exp(a)": (A,), "a.log()": (P,), "a.sqrt()": (P,),
    "a.rsqrt()": (P,), "a.square()": (A,), "a.sin()": (A,), "a.cos()": (A,), "a.expm1()": (A,), "a.log1p()": (P,),
    "a.log2()": (P,), "a.log10()": (P,), "a.reciprocal()": (P,), "t.sigmoid(a)": (A,), "t.tanh(a)": (A,),
    "a.floor() * a": (A,), "t.ceil(a)": (A,), "(a * 3).round()": (A,), "a.sign()": (A,),
    "t.relu(a)": (A,), "a.clamp(-0.5, 0.5)": (A,), "a.clamp(min=0)": (A,), "a.clip(max=0.3)": (A,),
    "t.maximum(a, b)": (A, B), "t.minimum(a, b)": (A, ROW), "t.maximum(a, b)  # ties": (TIES, TIES[:, ::-1].copy()),
    "t.where(a > 0, a, b)": (A, B), "t.where(a > 0, a, 0.0)": (A,), "a.sum()": (A,), "a.sum(0)": (A,),
    "a.sum(dim=1, keepdim=True)": (A,), "a.sum((0, 2))": (CUBE,), "a.mean()": (A,), "a.mean(1)": (A,),
    "a.mean(dim=(0, 1), keepdim=True)": (CUBE,), "a.var()": (A,), "a.var(1)": (A,), "a.var(0, unbiased=False)": (A,),
    "a.std(1, keepdim=True)": (A,), "a.norm()": (A,), "a.norm(dim=1)": (A,), "a.norm(1)": (A,),
    "a.norm(3, dim=0)": (A,), "a.max()": (A,), "a.min()": (A,), "a.amax(1)": (A,), "a.amin(0)": (A,),
    "a.amax(1)  # ties": (TIES,), "a.max()  # ties": (TIES,), "a.max(1)[0]": (A,), "a.max(dim=0)[0]": (A,),
    "a.min(1, keepdim=True)[0]": (A,), "a.prod()": (A,), "a.prod(1)": (A,), "a.reshape(4, 3)": (A,),
    "a.reshape(-1)": (A,), "a.view(2, 6)": (A,), "a.flatten()": (A,), "a.flatten(1)": (CUBE,),
    "a.flatten(0, 1)": (CUBE,), "a.squeeze()": (ROW,), "a.squeeze(0)": (ROW,), "a.unsqueeze(1)": (A,),
    "a.unsqueeze(-1)": (A,), "a.T": (A,), "a.t()": (A,), "a.transpose(0, 2)": (CUBE,), "a.permute(2, 0, 1)": (CUBE,),
    "a.expand(5, 3, 4)": (A,), "a.expand(-1, 4)": (COLUMN,), "a[0]": (A,), "a[1:, ::2]": (A,), "a[..., -1]": (CUBE,),
    "a[[0, 0, 2]]": (A,), "a[a > 0]": (A,), "a[:, None]": (A,), "a[0, 1]": (A,),
    "a.gather(1, t.tensor([[0], [3], [3]]))": (A,), "t.cat([a, b])": (A, B), "t.cat((a, b), dim=1)": (A, B),
    "t.stack([a, b], 1)": (A, B), "a.clone()": (A,), "a * a": (A,), "(a * 2 + a.exp()) * b - a": (A, B),
    "a.float()": (A,), "a.float().double() * a": (A,), "(a - a.mean(0)) / a.std(0)": (A,), "a.sum() * a": (A,),
    "t.softmax(a, 1)": (A,), "t.log_softmax(a, dim=0)": (A,),
}  # fmt: skip


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def outcome(t, expression, arrays):
    """-> value and gradients of the expression, as arrays"""
    a, b = (*(t.tensor(x, dtype=t.float64, requires_grad=True) for x in arrays), None)[:2]
    y = eval(expression, {"t": t, "a": a, "b": b})
    weights = np.cos(np.arange(np.prod(y.shape))).reshape(tuple(y.shape))
    (y * t.tensor(weights, dtype=y.dtype)).sum().backward()
    return [np.asarray(x.detach()) for x in (y, *(x.grad for x in (a, b) if x is not None))]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_values_and_gradients_are_those_of_torch(torch, expression):
    ours, theirs = (outcome(t, expression, EXPRESSIONS[expression]) for t in (fm, torch))
    for got, expected in zip(ours, theirs):
        assert got.shape == expected.shape and got.dtype == expected.dtype
        rtol = 1e-5 if "float()" in expression else 1e-12
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=1e-13)


@pytest.mark.parametrize("expression", [e for e in EXPRESSIONS if "ties" not in e and "float()" not in e])
def test_gradients_agree_with_central_differences(expression):
    def value(*arrays):
        with fm.no_grad():
            a, b = (*(fm.tensor(x) for x in arrays), None)[:2]
            y = eval(expression, {"t": fm, "a": a, "b": b}).numpy()
        return (y * np.cos(np.arange(y.size)).reshape(y.shape)).sum()

    arrays = [np.array(x) for x in EXPRESSIONS[expression]]
    _, *gradients = outcome(fm, expression, arrays)
    for x, gradient in zip(arrays, gradients):
        for i in np.ndindex(x.shape):
            middle, values = x[i], []
            for step in (1e-6, -1e-6):
                x[i] = middle + step
                values.append(value(*arrays))
            x[i] = middle
            assert gradient[i] == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-6, abs=1e-7)


NUMBERS = {
    "bool": [True, False], "int64": [1, -2], "int32": [3, 4], "float32": [0.5, 1.5], "float64": [2.5, -1.0],
}  # fmt: skip
OTHERS = {"True": True, "2": 2, "2.5": 2.5, "0-d float64": "float64", "0-d int64": "int64"}


@pytest.mark.parametrize("operator", ["+", "*", "/", "-"])
@pytest.mark.parametrize("first", NUMBERS)
@pytest.mark.parametrize("second", [*NUMBERS, *OTHERS])
def test_types_are_promoted_as_in_torch(torch, operator, first, second):
    if operator == "-" and "bool" in (first, second, str(second).replace("True", "bool")):
        pytest.skip("torch has no difference of booleans")

    def result(t):
        a = t.tensor(NUMBERS[first], dtype=getattr(t, first))
        if second in NUMBERS:
            b = t.tensor(NUMBERS[second], dtype=getattr(t, second))
        else:
            b = OTHERS[second]
            b = t.tensor(2, dtype=getattr(t, b)) if isinstance(b, str) else b
        y = eval(f"a {operator} b", {"a": a, "b": b})
        return str(y.dtype).removeprefix("torch."), np.asarray(y)

    ours, theirs = result(fm), result(torch)
    assert ours[0] == theirs[0]
    np.testing.assert_allclose(ours[1], theirs[1])


def test_comparisons_and_the_rest_without_gradient(torch):
    for expression in (
        "a > 0.5", "a <= b", "a == a", "a != b", "a.argmax()", "a.argmax(1)", "a.argmin(dim=0, keepdim=True)",
        "a.sign()", "a.round()", "a.floor()", "(a > 0) & (b > 0)", "~(a > 0)", "(a > 0).any()", "(a > 0).all(1)",
        "a.isnan()", "a.argsort(1)", "a.argsort(dim=0, descending=True)", "(a > 0).sum()", "a.long()", "a.bool()",
        "a % 2", "a // 0.3",
    ):  # fmt: skip
        ours, theirs = (eval(expression, {"a": t.tensor(A), "b": t.tensor(B)}) for t in (fm, torch))
        assert str(theirs.dtype).removeprefix("torch.") == str(ours.dtype), expression
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs), err_msg=expression)


# ----------------------------------------------------------------------------------- the tape's own rules


def leaf(a=A):
    return fm.tensor(a, requires_grad=True)


def test_gradients_add_up_until_they_are_cleared():
    a = leaf()
    (a * 2).sum().backward()
    first = a.grad
    (a * 3).sum().backward()
    assert a.grad is first
    np.testing.assert_allclose(a.grad, np.full((3, 4), 5.0))


def test_gradients_do_not_share_memory():
    a, b = leaf(), leaf()
    (a + b).backward(gradient := fm.ones(3, 4, dtype=fm.float64))
    assert not np.shares_memory(a.grad.numpy(), b.grad.numpy())
    assert not np.shares_memory(a.grad.numpy(), gradient.numpy())


def test_a_second_backward_needs_retain_graph():
    a = leaf()
    y = (a * a).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(a.grad, 4 * A)
    with pytest.raises(RuntimeError, match="was freed by an earlier backward"):
        y.backward()


def test_a_loss_kept_for_a_second_backward_gives_its_gradient_again():
    x, target = leaf(), fm.tensor(B)
    loss = F.mse_loss(x, target)
    loss.backward(retain_graph=True)
    once = x.grad.numpy().copy()
    loss.backward()
    np.testing.assert_allclose(x.grad, 2 * once)


def test_backward_says_what_it_needs():
    a = leaf()
    with pytest.raises(RuntimeError, match=r"a tensor of shape \(3, 4\) needs `gradient`"):
        (a * 2).backward()
    with pytest.raises(RuntimeError, match=r"expected gradient of shape \(3, 4\), got \(4,\)"):
        (a * 2).backward(fm.ones(4))
    with pytest.raises(RuntimeError, match="does not require grad"):
        fm.ones(1).sum().backward()
    with pytest.raises(NotImplementedError, match="create_graph"):
        a.sum().backward(create_graph=True)
    a.sum().backward(fm.tensor(3.0))
    np.testing.assert_allclose(a.grad, np.full((3, 4), 3.0))


def test_no_grad_in_all_its_forms():
    a = leaf()
    with fm.no_grad():
        assert not (a * 2).requires_grad
        with fm.enable_grad():
            assert (a * 2).requires_grad
        assert not fm.is_grad_enabled()

    @fm.no_grad()
    def with_parentheses():
        return (a * 2).requires_grad

    @fm.no_grad
    def without():
        return (a * 2).requires_grad

    assert not with_parentheses() and not without() and fm.is_grad_enabled()
    with fm.set_grad_enabled(False):
        assert not (a * 2).requires_grad
    fm.set_grad_enabled(False)
    assert not (a * 2).requires_grad
    fm.set_grad_enabled(True)
    with pytest.raises(KeyError), fm.no_grad():
        raise KeyError
    assert (a * 2).requires_grad


def test_no_grad_of_a_generator_is_on_while_it_runs():
    @fm.no_grad()
    def generator():
        got = []
        for _ in range(2):
            try:
                got.append((yield fm.is_grad_enabled()))
            except KeyError:
                got.append("thrown")
        return got, fm.is_grad_enabled()

    def whole():
        result.append((yield from generator()))

    result, running = [], whole()
    assert next(running) is False and fm.is_grad_enabled()
    assert running.send("sent") is False and fm.is_grad_enabled()
    with pytest.raises(StopIteration):
        running.throw(KeyError())
    assert result == [(["sent", "thrown"], False)]
    closed = generator()
    next(closed)
    closed.close()
    assert fm.is_grad_enabled()


def test_no_grad_is_of_this_thread_alone():
    seen = []
    with fm.no_grad():
        thread = threading.Thread(target=lambda: seen.append((leaf() * 2).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


def test_detach_shares_memory_and_has_no_gradient():
    a = leaf()
    d = a.detach()
    assert not d.requires_grad and np.shares_memory(d.numpy(), a.detach().numpy())
    with pytest.raises(RuntimeError, match=r"use detach\(\)\.numpy\(\)"):
        a.numpy()
    with pytest.raises(RuntimeError, match=r"use detach\(\)\.numpy\(\)"):
        np.asarray(a)


def test_retain_grad_keeps_the_gradient_of_what_is_no_leaf():
    a = leaf()
    y = a * 2
    y.retain_grad()
    (y * y).sum().backward()
    np.testing.assert_allclose(y.grad, 4 * A)


def test_only_leaves_of_floating_point_can_be_asked_for_a_gradient():
    with pytest.raises(RuntimeError, match="only float32 and float64 tensors"):
        fm.tensor([1, 2], requires_grad=True)
    with pytest.raises(RuntimeError, match="only that of leaf tensors"):
        (leaf() * 2).requires_grad_(False)
    assert leaf().is_leaf and not (leaf() * 2).is_leaf and fm.ones(2).is_leaf


def test_a_gradient_is_right_when_a_tensor_is_used_often():
    a = leaf(np.array(2.0))
    y = a
    for _ in range(20):
        y = y * a + a  # y = a^21 + a^20 + ... + a^2 + a, and as many paths
    y.backward()
    assert a.grad.item() == pytest.approx(sum((k + 1) * 2.0**k for k in range(21)))


def test_a_long_chain_needs_no_recursion():
    a = leaf(np.array(1.0))
    y = a
    for _ in range(20_000):
        y = y + 1
    y.backward()
    assert a.grad.item() == 1


def test_the_graph_is_freed_without_the_garbage_collector():
    import weakref

    gc.disable()
    try:
        fc = nn.Linear(4, 3)
        x = fm.randn(5, 4)
        y = F.relu(fc(x))
        watch = weakref.ref(y)
        loss = y.sum()
        del y
        assert watch() is None
        loss.backward()
    finally:
        gc.enable()


# ------------------------------------------------------------------------------------- changes in place


def test_what_a_gradient_needs_must_not_be_changed():
    a = leaf()
    y = a.exp()
    y.detach().zero_()
    with pytest.raises(RuntimeError, match="exp needs was changed in place"):
        y.sum().backward()
    fc = nn.Linear(4, 3)
    x = fm.randn(5, 4).requires_grad_()
    out = F.relu(fc(x))
    with fm.no_grad():
        fc.weight.mul_(2)
    with pytest.raises(RuntimeError, match="relu needs was changed in place"):
        out.sum().backward()


def test_what_a_gradient_does_not_need_may_be_changed():
    a, b = leaf(), leaf(B)
    y = a + b
    y += 1
    y -= b
    with fm.no_grad():
        b.zero_()
    (y * 2).sum().backward()
    np.testing.assert_allclose(a.grad, np.full((3, 4), 2.0))
    np.testing.assert_allclose(b.grad, np.zeros((3, 4)))


def test_in_place_arithmetic_carries_the_gradient(torch):
    def run(t):
        a, b = t.tensor(A, requires_grad=True), t.tensor(P, requires_grad=True)
        y = a * 2
        same = y
        y += b
        y *= 3
        y -= a
        y /= 4
        assert same is y
        (y * y).sum().backward()
        return [np.asarray(v.detach()) for v in (y, a.grad, b.grad)]

    for got, expected in zip(run(fm), run(torch)):
        np.testing.assert_allclose(got, expected, rtol=1e-13)


def test_leaves_are_changed_without_recording_only():
    a = leaf()
    with pytest.raises(RuntimeError, match="leaf tensor that requires grad"):
        a += 1
    with pytest.raises(RuntimeError, match="in-place change that a gradient would have to flow through"):
        a[0] = 1
    with fm.no_grad():
        before = a._data
        a -= 0.5
        a[0] = 7
        a.clamp_(max=2)
    assert a._data is before and a.requires_grad
    np.testing.assert_allclose(a.detach(), np.vstack([np.full(4, 2.0), np.minimum(A[1:] - 0.5, 2)]))
    with pytest.raises(RuntimeError, match="does not fit"):
        fm.ones(3).add_(fm.ones(2, 3))
    with pytest.raises(RuntimeError, match="does not fit"):
        fm.tensor([1, 2]).add_(0.5)


# --------------------------------------------------------------------------- one kernel for layer and activation


@pytest.fixture
def calls(monkeypatch):
    """The kernels that run, as (name, activation)."""
    from fastmlp import ops

    seen = []
    for name in ("linear", "activation"):
        whole = getattr(ops, name)

        def spy(*args, _name=name, _whole=whole, **kwargs):
            act = args[3 if _name == "linear" else 1]
            seen.append((_name, act if isinstance(act, str) else act.act.name))
            return _whole(*args, **kwargs)

        monkeypatch.setattr(ops, name, spy)
    return seen


@pytest.mark.parametrize("shape", [(5, 4), (4,), (2, 3, 4)])
@pytest.mark.parametrize("record", [True, False])
def test_a_layer_and_its_activation_are_one_kernel(calls, shape, record):
    fc, x = nn.Linear(4, 3), fm.randn(*shape)
    with fm.set_grad_enabled(record):
        y = F.gelu(fc(x))
    assert calls == [("linear", "gelu")]
    assert y.requires_grad is record
    arrays = (t.detach().numpy() for t in (x, fc.weight, fc.bias))
    np.testing.assert_allclose(y.detach(), ops.linear(*arrays, "gelu"))


def test_so_are_modules_and_rebound_names(calls):
    x = fm.randn(5, 4)
    nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.LeakyReLU(0.2), nn.Linear(3, 2), nn.Sigmoid())(x)
    assert calls == [("linear", "relu"), ("linear", "leaky_relu"), ("linear", "sigmoid")]
    calls.clear()
    h = nn.Linear(4, 3)(x)
    h = F.relu(h, inplace=True)
    h.sum()
    assert calls == [("linear", "relu")]


def test_a_layer_without_activation_runs_once(calls):
    y = nn.Linear(4, 3)(fm.randn(5, 4))
    assert calls == [] and y.shape == (5, 3) and y.dtype == fm.float32 and y.requires_grad and not y.is_leaf
    y.sum()
    y.sum()
    y.detach()
    assert calls == [("linear", "identity")]


def test_the_value_before_the_activation_is_there_too(torch):
    fc, x = nn.Linear(4, 3), fm.randn(5, 4)
    theirs = torch.nn.Linear(4, 3)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(fc.weight.detach().numpy()))
        theirs.bias.copy_(torch.tensor(fc.bias.detach().numpy()))
    z = fc(x)
    (F.silu(z) + z * 0.5).sum().backward()
    tz = theirs(torch.tensor(x.numpy()))
    (torch.nn.functional.silu(tz) + tz * 0.5).sum().backward()
    np.testing.assert_allclose(z.detach(), tz.detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fc.weight.grad, theirs.weight.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        lambda fc, x: fc.weight.data.mul_(2),
        lambda fc, x: fc.load_state_dict({"weight": np.zeros((3, 4)), "bias": np.zeros(3)}),
        lambda fc, x: nn.init.zeros_(fc.bias),
        lambda fc, x: x.add_(1),
        lambda fc, x: x.detach()[0].fill_(9),
        lambda fc, x: x.__setitem__(0, 5),
        lambda fc, x: fm.optim.SGD(fc.parameters(), lr=1.0).step(),
        lambda fc, x: fc.double(),
    ],
)
def test_what_waits_sees_the_values_of_its_call(change):
    fc, x = nn.Linear(4, 3), fm.randn(5, 4)
    for p in fc.parameters():
        p.grad = fm.ones(*p.shape)
    expected = np.maximum(x.numpy().copy() @ fc.weight.detach().numpy().T.copy() + fc.bias.detach().numpy().copy(), 0)
    fc, x = copy.deepcopy(fc), copy.deepcopy(x)  # numpy() has shown the others' memory, so they would not wait
    z = fc(x)
    assert z._job is not None
    with fm.no_grad():
        change(fc, x)
        y = F.relu(z)
    np.testing.assert_allclose(y.detach(), expected, rtol=1e-5, atol=1e-6)


def test_nothing_waits_for_memory_that_numpy_may_change():
    fc, a = nn.Linear(4, 3), np.ones((5, 4), np.float32)
    z = fc(fm.from_numpy(a))
    expected = z.detach().numpy().copy()
    a[...] = 7
    np.testing.assert_array_equal(z.detach(), expected)
    w = fc.weight.detach().numpy()
    z = fc(fm.ones(5, 4))
    w[...] = 0
    np.testing.assert_array_equal(z.detach(), expected)


def test_a_layer_that_does_not_fit_says_so_when_it_is_called():
    with pytest.raises(ValueError, match=r"x: expected shape \(\.\.\., 4\) to fit w \(3, 4\), got \(5, 2\)"):
        nn.Linear(4, 3)(fm.randn(5, 2))
    with pytest.raises(TypeError, match="expected float64 as x is, got float32"):
        nn.Linear(4, 3)(fm.randn(5, 4, dtype=fm.float64))


def test_arrays_may_be_given_to_layers():
    fc = nn.Linear(4, 3)
    a = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(fc(a).detach(), fc(fm.tensor(a)).detach())
    np.testing.assert_array_equal(F.relu(a - 2), np.zeros((2, 4)))


# --------------------------------------------------------------------------------------- as Python objects


def test_tensors_are_copied_and_pickled():
    p = nn.Parameter(fm.tensor(A))
    p.grad = fm.ones(3, 4, dtype=fm.float64)
    for other in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert isinstance(other, nn.Parameter) and other.requires_grad
        assert not np.shares_memory(other._data, p._data)
        np.testing.assert_array_equal(other.detach(), A)
        np.testing.assert_array_equal(other.grad, np.ones((3, 4)))
    with pytest.raises(RuntimeError, match="expected a leaf tensor"):
        copy.deepcopy(p * 2)


def test_as_numbers_lists_and_keys():
    t = fm.tensor([[1.5, 2.0]])
    assert float(t[0, 0]) == 1.5 and int(t[0, 1]) == 2 and t.tolist() == [[1.5, 2.0]] and t[0, 1].item() == 2.0
    assert len(t) == 1 and [row.tolist() for row in t] == [[1.5, 2.0]]
    assert bool(t[0, 0] > 1) and f"{t[0, 0]:.2f}" == "1.50" and {t: 1}[t] == 1
    assert (t == None) is False and (t != None) is True  # noqa: E711
    assert [10, 20, 30][fm.tensor(1)] == 20
    with pytest.raises(RuntimeError, match="is ambiguous"):
        bool(t)
    with pytest.raises(RuntimeError, match="expected one element"):
        t.item()
    with pytest.raises(TypeError, match="len"):
        len(fm.tensor(1.0))
    assert np.asarray(t).shape == (1, 2) and np.asarray(t, np.float64).dtype == np.float64
    with pytest.raises(TypeError, match="expected a tensor or a number, got str"):
        t + "1"


def test_creation(torch):
    for expression in (
        "zeros(2, 3)", "ones((2, 3))", "full((2,), 7)", "full((2,), 1.5)", "eye(3)", "arange(5)", "arange(1, 2, 0.25)",
        "linspace(-1, 1, 5)", "tensor([1, 2])", "tensor([1.0, 2])", "tensor(True)", "zeros_like(t.ones(2))",
        "tensor([[1], [2]], dtype=t.float64)", "ones_like(t.tensor([1, 2]))", "full_like(t.ones(2), 3)", "tensor([])",
        "as_tensor([1, 2])", "zeros(3, dtype=t.int64)", "linspace(0, 1, 3, dtype=t.float64)",
        "arange(3, dtype=t.float32)",
    ):  # fmt: skip
        ours, theirs = (eval(f"t.{expression}", {"t": t}) for t in (fm, torch))
        assert str(theirs.dtype).removeprefix("torch.") == str(ours.dtype), expression
        np.testing.assert_array_equal(ours, theirs, err_msg=expression)
    assert fm.empty(2, 3).shape == (2, 3)


def test_random_numbers():
    fm.manual_seed(3)
    first = fm.randn(1000), fm.rand(1000), fm.randint(0, 5, (1000,)), fm.randperm(100), fm.normal(2.0, 0.5, (1000,))
    fm.manual_seed(3)
    again = fm.randn(1000), fm.rand(1000), fm.randint(5, (1000,)), fm.randperm(100), fm.normal(2.0, 0.5, (1000,))
    for a, b in zip(first, again):
        np.testing.assert_array_equal(a, b)
    normal, uniform, integers, order, shifted = (t.numpy() for t in first)
    assert abs(normal.mean()) < 0.15 and abs(normal.std() - 1) < 0.1 and normal.dtype == np.float32
    assert 0 <= uniform.min() and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.05
    assert set(integers) == {0, 1, 2, 3, 4} and integers.dtype == np.int64
    assert sorted(order) == list(range(100)) and abs(shifted.mean() - 2) < 0.1
    own = fm.Generator().manual_seed(1)
    before = fm.default_generator.rng.bit_generator.state if hasattr(fm, "default_generator") else None
    assert fm.randn(3, generator=own).tolist() == fm.randn(3, generator=fm.Generator().manual_seed(1)).tolist()
    assert before is None or before == fm.default_generator.rng.bit_generator.state
    assert fm.bernoulli(fm.full((100,), 1.0)).sum().item() == 100


@pytest.mark.parametrize(
    "make, error, text",
    [
        (lambda: fm.zeros(-1), ValueError, "size: expected numbers >= 0, got -1"),
        (lambda: fm.zeros(1.5), TypeError, "size: expected integers, got 1.5"),
        (lambda: fm.tensor("a"), TypeError, "data: expected an array, got 'a'"),
        (lambda: fm.tensor([[1], [2, 3]]), ValueError, "data: cannot be made an array"),
        (lambda: fm.tensor([object()]), TypeError, "data: expected numbers, got object"),
        (lambda: fm.from_numpy([1]), TypeError, "from_numpy: expected an ndarray, got list"),
        (lambda: fm.randint(3, 3, (2,)), ValueError, "randint: expected low < high, got 3 and 3"),
        (lambda: fm.manual_seed("1"), TypeError, "seed: expected an int, got str"),
        (lambda: fm.set_default_dtype(np.int32), TypeError, "expected float32 or float64, got int32"),
        (lambda: fm.ones(2, 3) @ fm.ones(2, 3), RuntimeError, r"float32 of shape \(2, 3\) does not fit"),
        (lambda: fm.ones(2, dtype=fm.int64).mean(), RuntimeError, "expected a floating-point tensor, got int64"),
        (lambda: fm.empty(0).max(), RuntimeError, "has no elements"),
    ],
)
def test_bad_input(make, error, text):
    with pytest.raises(error, match=text):
        make()


# ------------------------------------------------------------------------------- where torch is careful, too


def gradient(function, *values):
    leaf = fm.tensor(values, dtype=fm.float64, requires_grad=True)
    function(leaf).sum().backward()
    return leaf.grad.tolist()


@pytest.mark.parametrize(
    "function, values, expected",
    [
        (lambda a: a.norm(), (0.0, 0.0), [0, 0]),
        (lambda a: F.normalize(a[None]), (0.0, 0.0), [1e12, 1e12]),
        (lambda a: a.std(), (1.0, 1.0), [0, 0]),
        (lambda a: fm.where(a > 0.5, a, 0.0).sqrt(), (0.0, 1.0), [0, 0.5]),
        (lambda a: a.clamp(min=0).sqrt(), (-1.0, 1.0), [0, 0.5]),
        (lambda a: a.maximum(fm.zeros(2, dtype=fm.float64)).sqrt(), (-1.0, 1.0), [0, 0.5]),
        (lambda a: a.amax(), (float("nan"), 1.0), [1, 0]),
        (lambda a: a % 0.3 + a, (0.5, 1.0), [2, 2]),
    ],
)
def test_gradients_are_finite_where_they_can_be(function, values, expected):
    np.testing.assert_allclose(gradient(function, *values), expected)


def test_gradients_do_not_flow_where_they_would_be_lost():
    w = leaf(np.ones(3))
    h = w * 2
    view = h[0:1]
    with pytest.raises(RuntimeError, match="in-place change of a view"):
        view *= 3
    buffer = fm.zeros(2, 3, dtype=fm.float64)
    for change in (
        lambda: buffer.__setitem__(0, w * 3),
        lambda: buffer[0].copy_(w),
        lambda: buffer[0].add_(w * 3),
    ):
        with pytest.raises(RuntimeError, match="in-place change"):
            change()
    assert (buffer == 0).all()
    h.sum().backward()
    np.testing.assert_array_equal(w.grad, [2, 2, 2])


def test_an_index_that_changes_later_and_a_change_that_fails():
    w, index = leaf(np.arange(3.0)), fm.tensor([0])
    y = w[index]
    index.fill_(2)
    y.sum().backward()
    np.testing.assert_array_equal(w.grad, [1, 0, 0])
    y = w.gather(0, index)
    index.fill_(1)
    with pytest.raises(RuntimeError, match="gather needs was changed"):
        y.sum().backward()
    x = fm.ones(3, dtype=fm.float64)
    y = w * x
    with pytest.raises(IndexError):
        x[5] = 1
    with pytest.raises(TypeError, match="data: expected a Tensor, got ndarray"):
        w.data = np.ones(3)
    y.sum().backward()
    shallow = copy.copy(x)
    y = w * x
    shallow.fill_(5)
    with pytest.raises(RuntimeError, match="was changed in place"):
        y.sum().backward()


def test_a_matrix_times_a_vector_is_no_view():
    x, w = fm.ones(5, 3, dtype=fm.float64), leaf(np.ones(3))
    y = x @ w
    y += 1
    y.sum().backward()
    np.testing.assert_array_equal(w.grad, [5, 5, 5])


def test_single_elements_are_views():
    x = fm.zeros(3)
    one = x[0]
    one += 1
    for element in x:
        element.add_(1)
    assert x.tolist() == [2, 1, 1]


def test_gradients_of_single_numbers_are_arrays():
    w = fm.tensor(2.0, requires_grad=True)
    (w * 3).backward()
    assert isinstance(w.grad.detach().numpy(), np.ndarray)
    fm.optim.SGD([w], 0.1).zero_grad(set_to_none=False)
    assert w.grad.item() == 0
    w._grad = fm.ones(2)  # the setter would refuse it
    with pytest.raises(RuntimeError, match=r"expected .grad of shape \(\)"):
        (w * 3).backward()
    with pytest.raises(RuntimeError, match="only float32 and float64"):
        fm.tensor([1.0], dtype=np.float16).requires_grad_()


def test_a_gradient_that_cannot_be_had_may_be_tried_again():
    a = leaf(np.array([0.0, 1.0]))
    y = a.prod()
    for _ in range(2):
        with pytest.raises(NotImplementedError, match="at a zero"):
            y.backward()


def test_numbers_of_numpy_are_numbers(torch):
    t32 = fm.ones(2)
    for number in (np.float64(2), np.sqrt(2), np.int64(2)):
        for y in (t32 * number, number * t32, t32 + number, number - t32, t32 / number, number / t32, t32**number):
            assert isinstance(y, fm.Tensor) and y.dtype == fm.float32
    assert t32.clamp(max=np.float64(0.5)).dtype == fm.float32
    assert isinstance(np.ones(2, np.float32) * t32, fm.Tensor)
    loss = leaf().abs().sum() * 1
    assert (np.mean([0.1, 0.2]) * loss).requires_grad
    assert (2.5 ** fm.arange(3)).tolist() == [1.0, 2.5, 6.25]
    assert (2 ** fm.tensor([False, True])).tolist() == [1, 2]
    ints = fm.tensor([-1, 2])
    assert fm.sigmoid(ints).dtype == fm.float32 and fm.where(ints > 0, 1.0, 0.0).tolist() == [0, 1]


def test_tensors_of_a_shape_and_of_arrays():
    assert fm.Tensor(2, 3).shape == (2, 3) and fm.Tensor(5).shape == (5,)
    assert fm.Tensor(np.ones((2, 2))).dtype == fm.float32 and fm.Tensor([[1, 2]]).tolist() == [[1, 2]]
    assert f"{fm.tensor(1.5)} {fm.tensor(3)} {fm.tensor(0.5):.2f}" == "1.5 3 0.50"
    for n in (41, 47, 49, 98):
        assert fm.ones(n).mean().item() == 1 and fm.ones(n, dtype=fm.float64).mean().item() == 1


def test_devices():
    device = fm.device("cuda" if fm.cuda.is_available() else "cpu")
    x = fm.randn(3, 4, device=device).to(device)
    model = nn.Linear(4, 2, device="cpu").to(device)
    assert str(model(x).device) == "cpu" and x.device == device and x.to(device, fm.float64).dtype == fm.float64
    for move in (lambda: x.to("cuda"), lambda: x.cuda(), lambda: model.to("mps"), lambda: fm.zeros(2, device="cuda:0")):
        with pytest.raises(RuntimeError, match="device: fastmlp computes on the CPU; expected 'cpu', got"):
            move()


def test_more_methods(torch):
    for expression in (
        "a.sigmoid()", "a.tanh()", "a.relu()", "a.softmax(1)", "a.log_softmax(1)", "a.add(b, alpha=0.5)",
        "a.flip(0, 1)",
        "a.sub(b, alpha=2)", "a.max(1).values", "a.max(dim=0).indices", "a.sort(1).values", "a.sort(0, True).indices",
        "a.topk(2).values", "a.topk(2, 0, False).indices", "a.masked_fill(a > 0, -9.0)", "a.split(2)[1]",
        "a.split([1, 3], dim=1)[1]", "a.chunk(2, 1)[1]", "a[:1].expand_as(b)", "a.view_as(b.T)",
        "t.cat([a, b]).mm(b.T)",
        "a[0].dot(b[0])",
    ):  # fmt: skip
        ours, theirs = (eval(expression, {"t": t, "a": t.tensor(A), "b": t.tensor(B)}) for t in (fm, torch))
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, err_msg=expression)
    fm.manual_seed(0)
    w = nn.Linear(100, 100).weight
    assert abs(w.data.normal_(0, 0.02).std().item() - 0.02) < 0.001 and w.data.uniform_(-1, 1).amin().item() < -0.9
    with pytest.raises(TypeError, match="tensors: expected a list of one tensor or more"):
        fm.cat(fm.ones(1), fm.ones(1))


# ------------------------------------------------------------------------------------------ changed too early


@pytest.mark.parametrize("expression", [e for e in EXPRESSIONS if "float()" not in e])
@pytest.mark.parametrize("what", ["the result", "a", "b"])
def test_what_a_gradient_reads_is_watched(torch, expression, what):
    """Changed in place after the forward pass, it gives torch's gradient, or an error."""

    def gradients(t):
        leaves = [t.tensor(x, dtype=t.float64, requires_grad=True) for x in EXPRESSIONS[expression]]
        a, b = (*(leaf * 1 for leaf in leaves), None)[:2]
        y = eval(expression, {"t": t, "a": a, "b": b})
        changed = {"the result": y, "a": a, "b": b}[what]
        if changed is None:
            pytest.skip("there is no b")
        with t.no_grad():
            changed.add_(10)
        y.sum().backward()
        return [np.asarray(leaf.grad) for leaf in leaves]

    try:
        ours = gradients(fm)
    except RuntimeError as e:
        assert "changed in place" in str(e) or "left out" in str(e) or "read-only" in str(e)
        return
    try:
        expected = gradients(torch)
    except RuntimeError as e:
        assert "inplace operation" in str(e)  # ours does not read what torch's reads
        return
    for mine, theirs in zip(ours, expected):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-12)


def test_a_result_changed_with_a_gradient():
    a, b = fm.tensor([1.0, 5.0], requires_grad=True), fm.tensor([2.0, 2.0], requires_grad=True)
    y = a / b
    y += 10
    y.sum().backward()
    np.testing.assert_allclose(b.grad, [-0.25, -1.25])
    a.grad = None
    y = a.clamp(0, 2)
    y *= 3
    y.sum().backward()
    np.testing.assert_allclose(a.grad, [3, 0])


def test_what_has_views_on_the_tape_is_not_changed_with_a_gradient():
    w = fm.ones(2, 2, requires_grad=True)
    y = w * 1
    v = y[0]
    with pytest.raises(RuntimeError, match="views on the tape: left out"):
        y *= 5
    del v
    y *= 5
    y.sum().backward()
    np.testing.assert_allclose(w.grad, np.full((2, 2), 5.0))


def test_views_that_are_gone_are_forgotten():
    w = fm.ones(3, requires_grad=True)
    for _ in range(1000):
        w[0]
    assert len(w._memory.views) <= 8


def test_retain_grad_stays_with_the_tensor():
    w = fm.ones(2, requires_grad=True)
    a = w * 2
    a.retain_grad()
    a.mul_(5)
    (a * 3).sum().backward()
    np.testing.assert_allclose(a.grad, [3, 3])
    np.testing.assert_allclose(w.grad, [30, 30])


def test_a_layer_watches_only_what_its_gradient_reads():
    layer, x = nn.Linear(3, 2), fm.ones(1, 3)
    y = layer(x)
    y.shape, y.sum()
    with fm.no_grad():
        layer.weight.mul_(2)  # dx is not wanted
    y.sum().backward()
    np.testing.assert_allclose(layer.weight.grad, np.ones((2, 3)))
    layer.weight.requires_grad_(False)
    x = fm.ones(1, 3, requires_grad=True) * 1
    y = layer(x) * 1
    with fm.no_grad():
        x.mul_(2)  # dw is not wanted
    y.sum().backward()


# ------------------------------------------------------------------------------------------ what is no tensor


NO_TENSORS = {
    "softmax": lambda: F.softmax(None, 0),
    "dropout": lambda: F.dropout(None),
    "one_hot": lambda: F.one_hot(None),
    "an array": lambda: F.softmax(np.ones(3), 0),
    "weight: expected a Tensor, got NoneType": lambda: F.linear(fm.ones(2, 3), None),
    "bias: expected a Tensor, got ndarray": lambda: F.linear(fm.ones(2, 3), fm.ones(2, 3), np.ones(2)),
    "prelu": lambda: F.prelu(fm.ones(2, 3), None),
    "relu": lambda: fm.relu(None),
    "equal": lambda: fm.ones(3).equal(None),
    "init": lambda: nn.init.zeros_(None),
    "init of an array": lambda: nn.init.zeros_(np.ones(3)),
    "array_of": lambda: fm.tape.array_of(None),
    "changed": lambda: fm.tape.changed([None]),
    "exp: expected a tensor, got int": lambda: fm.exp(3),
    "matmul: expected tensors, got NoneType": lambda: fm.ones(2, 2) @ None,
    "condition": lambda: fm.where(None, fm.ones(2), 0),
    "data": lambda: fm.Tensor(None),
    "value": lambda: fm.ones(2).fill_(None),
    "grad: expected another Tensor or None, got int": lambda: setattr(fm.ones(2), "grad", 3),
}


@pytest.mark.parametrize("name", NO_TENSORS)
def test_no_tensor(name):
    with pytest.raises(TypeError, match=name if ":" in name else "(?i)expected"):
        NO_TENSORS[name]()


def test_a_subclass_that_was_not_made():
    class Bare(fm.Tensor):
        def __init__(self):
            pass

    with pytest.raises(AttributeError):
        Bare().data = fm.ones(2)


def test_an_operand_whose_gradient_is_left_out():
    with pytest.raises(RuntimeError, match=r"clamp: the gradient of argument 1 is left out of fastmlp; detach\(\) it"):
        fm.ones(2, requires_grad=True).clamp(min=fm.ones(2, requires_grad=True))


def test_gradients_that_do_not_fit_are_refused():
    w = fm.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"grad: expected float32 of shape \(2,\), .* got float32 of shape \(3,\)"):
        w.grad = fm.ones(3)
    with pytest.raises(TypeError, match="grad: expected another Tensor"):
        w.grad = w
    assert w.grad is None


def test_an_array_of_a_subclass_is_but_memory(tmp_path):
    m = np.memmap(tmp_path / "x", dtype="f4", mode="w+", shape=(6, 3))
    m[:] = 1
    layer = nn.Linear(3, 2)
    nn.init.ones_(layer.weight), nn.init.zeros_(layer.bias)
    y = layer(fm.from_numpy(m)[:4])
    m[:] = 100
    np.testing.assert_array_equal(y.detach(), np.full((4, 2), 3.0))
    t = fm.from_numpy(m)
    y = t[:2] * fm.ones(3, requires_grad=True)
    t.zero_()
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


def test_every_protocol_of_pickle():
    t = fm.tensor([1.0, 2.0], requires_grad=True)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(t, protocol))
        assert again.requires_grad and again.tolist() == [1.0, 2.0]


def test_nothing_is_kept_alive():
    @fm.no_grad()
    def some(big):
        while True:
            yield big.shape

    module, big = nn.Sequential(nn.Linear(2, 2)), fm.ones(1000)
    gone = [weakref.ref(module[0].weight), weakref.ref(big)]
    gc.collect()
    gc.disable()
    try:
        list(module.parameters()), module.state_dict(), module.zero_grad(), module.eval()
        for _ in some(big):
            break
        del module, big
        assert [r() for r in gone] == [None, None]
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_may_compute_while_its_parent_did(python):
    python("""
import os, threading, warnings
import fastmlp as fm
warnings.simplefilter("ignore")  # of Python: that a process with threads forks
m, x = fm.nn.Linear(64, 64), fm.ones(64, 64)
def compute():
    while True:
        m(x).detach()
threading.Thread(target=compute, daemon=True).start()
for _ in range(20):
    child = os.fork()
    if not child:
        m(x).detach()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
os._exit(0)
""")
