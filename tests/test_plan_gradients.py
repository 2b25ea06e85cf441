"""Between gradients and update: `backward`, clipping, sums of several steps; and the memory that all this is in."""

import gc
import re

import numpy as np
import pytest
from networks import LABELS, LOSSES, MODELS, OPTIMIZERS, C, K, Residual, Written, X, everything, same, training

import fastmlp as fm
from fastmlp import nn
from fastmlp.memory import LINE
from fastmlp.plan.arena import Arena


@pytest.mark.parametrize("name", ["written", "batch norm", "dropout"])
def test_backward_leaves_gradients_and_updates_nothing(name):
    parts, others = training(MODELS[name]), training(MODELS[name])
    net, x = fm.compile(*parts), X.astype("f")
    model, loss, _ = others
    before = [p.detach().numpy().copy() for p in parts[0].parameters()]
    for seed in range(3):
        fm.manual_seed(seed)
        value, output = net.backward(x, LABELS)
        fm.manual_seed(seed)
        expected = model(fm.tensor(x))
        error = loss(expected, fm.tensor(LABELS))
        model.zero_grad()
        error.backward()
        assert value == error.item()
        np.testing.assert_array_equal(output, expected.detach().numpy())
        for p, q in zip(parts[0].parameters(), model.parameters()):
            np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy())
    assert all(np.array_equal(p.detach().numpy(), b) for p, b in zip(parts[0].parameters(), before))
    same({k: t.numpy() for k, t in parts[0].named_buffers()}, {k: t.numpy() for k, t in model.named_buffers()})


def test_backward_without_a_plan_does_nothing():
    net = fm.compile(*training(Residual))
    assert net.backward(X.astype("f"), LABELS) is None and all(p.grad is None for p in net.model.parameters())
    with pytest.raises(RuntimeError, match="backward: compile"):
        fm.compile(Written()).backward(X.astype("f"), LABELS)


@pytest.mark.parametrize("options", [{"clip_grad_norm": 0.1}, {"clip_grad_value": 0.01}], ids=str)
@pytest.mark.parametrize("name", ["written", "residual"])
def test_gradients_clipped(options, name):
    parts, others = training(MODELS[name]), training(MODELS[name])
    net, x = fm.compile(*parts, **options), X.astype("f")
    for _ in range(12):
        assert net.step(x, LABELS) == by_hand(*others, [(x, LABELS)], **options)[0]
        same(everything(parts[0], parts[2]), everything(others[0], others[2]))
    assert (net.reason is None) is (name == "written")
    if net.reason is None:  # it is part of the program
        assert next(iter(options)).replace("_grad", "") in kernels(net)


# --------------------------------------------------------------------------------------------- sums of several


def by_hand(model, loss, optimizer, batches, clip_grad_norm=None, clip_grad_value=None):
    """One update with the gradients of some batches. -> their losses"""
    values = []
    optimizer.zero_grad()
    for x, y in batches:
        value = loss(model(fm.tensor(x)), fm.tensor(y))
        value.backward()
        values.append(value.item())
    if clip_grad_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip_grad_norm)
    if clip_grad_value is not None:
        nn.utils.clip_grad_value_(model.parameters(), clip_grad_value)
    optimizer.step()
    optimizer.zero_grad()
    return values


def kernels(net, stage="only"):
    return [kernel for kernel, _ in net._last_steps[stage].calls.calls]


def drawn(sizes, dtype="f"):
    rng = np.random.default_rng(4)
    return [(rng.normal(size=(m, K)).astype(dtype), rng.integers(0, C, m)) for m in sizes]


@pytest.mark.parametrize("options", [{}, {"clip_grad_norm": 0.1, "clip_grad_value": 0.01}], ids=str)
@pytest.mark.parametrize("steps", [2, 3, 5])
@pytest.mark.parametrize("name", ["written", "residual", "batch norm", "prelu", "layer norm", "dropout"])
def test_gradients_summed(on_each_backend, name, steps, options):
    parts, others = training(MODELS[name]), training(MODELS[name])
    net, batches = fm.compile(*parts, **options, accumulate=steps), drawn([12, 12, 7, 12, 300] * 3 * steps)
    for begin in range(0, len(batches), steps):
        some = batches[begin : begin + steps]
        before = everything(parts[0], parts[2])
        fm.manual_seed(begin)
        values = []
        for x, y in some:
            if name != "batch norm":  # whose running statistics move in each step
                same(before, everything(parts[0], parts[2]))
            values.append(net.step(x, y))
            assert all(p.grad is None for p in net.model.parameters())
        fm.manual_seed(begin)
        np.testing.assert_allclose(values, by_hand(*others, some, **options), rtol=1e-5)
        for key, a in everything(*others[::2]).items():
            np.testing.assert_allclose(everything(*parts[::2])[key], a, rtol=2e-5, atol=1e-6, err_msg=key)
    assert (net.reason is None) is (name != "residual")
    if net.reason is None:  # the update is part of the program
        stages = ["first", *(["more"] if steps > 2 else []), "last"]
        assert sorted(net._last_steps) == sorted(stages) and {kernels(net, s)[-1] for s in stages[1:-1]} <= {"sgd"}
        assert kernels(net, "last").count("sgd") == kernels(net, "last").count("adam") == 1
        assert re.search("^step that adds to sums and updates, x .* float32$", net.explain(), re.MULTILINE)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_sums_for_each_optimizer_to_the_last_bit(optimizer):
    parts, others = training(Written, OPTIMIZERS[optimizer]), training(Written, OPTIMIZERS[optimizer])
    net, batches = fm.compile(*parts, accumulate=3), drawn([12] * 18)
    for begin in range(0, 18, 3):
        some = batches[begin : begin + 3]
        assert [net.step(x, y) for x, y in some] == by_hand(*others, some)
        same(everything(parts[0], parts[2]), everything(others[0], others[2]))
    assert net.reason is None


@pytest.mark.parametrize("loss", LOSSES)
def test_sums_for_each_loss(loss):
    function, last, y = LOSSES[loss]
    y = y.astype("f") if y.dtype.kind == "f" else y

    def model():
        return nn.Sequential(Written(), *([last] if last else []))

    parts, others = training(model, loss=function), training(model, loss=function)
    net, x = fm.compile(*parts, accumulate=2), X.astype("f")
    for _ in range(5):
        assert [net.step(x, y), net.step(x, y)] == by_hand(*others, [(x, y)] * 2)
        same(everything(parts[0], parts[2]), everything(others[0], others[2]))
    assert net.reason is None


def test_a_step_that_raises_is_not_in_the_sum():
    parts, others = training(Written), training(Written)
    net, batches = fm.compile(*parts, accumulate=3), drawn([12] * 12)
    wrong = LABELS.copy()
    wrong[4] = C
    for begin in range(0, 12, 3):
        some = batches[begin : begin + 3]
        for x, y in some:
            with pytest.raises(ValueError, match=rf"target\[4\] is {C}"):
                net.step(x, wrong)
            net.step(x, y)
        by_hand(*others, some)
        same(everything(parts[0], parts[2]), everything(others[0], others[2]))


@pytest.mark.parametrize("at", [0, 1, 2])
def test_what_changes_between_the_steps_of_a_sum(at):
    """One layer is frozen for a while, then hooked, so that some steps are the layers' own and some are a plan's."""
    parts, others = training(Written), training(Written)
    net, batches = fm.compile(*parts, accumulate=3), drawn([12] * 15)
    model, twin = parts[0], others[0]
    removes = []
    for i, (x, y) in enumerate(batches):
        if i % 3 == at and i > 3:
            learns = i % 2 == 0
            model.fc1.weight.requires_grad = twin.fc1.weight.requires_grad = learns
            removes.append(model.fc2.register_forward_hook(lambda *_: None))
        elif removes:
            removes.pop().remove()
        value = others[1](twin(fm.tensor(x)), fm.tensor(y))
        value.backward()
        assert net.step(x, y) == value.item()
        if i % 3 == 2:
            others[2].step()
            others[2].zero_grad()
        same(everything(parts[0], parts[2]), everything(others[0], others[2]))


def test_another_number_of_steps():
    parts, others = training(Written), training(Written)
    net, batches = fm.compile(*parts, accumulate=4), drawn([12] * 9)
    for steps, begin, end in [(4, 0, 4), (1, 4, 5), (1, 5, 6), (2, 6, 8)]:
        net.accumulate = steps
        for x, y in batches[begin:end]:
            net.step(x, y)
        by_hand(*others, batches[begin:end])
        same(everything(parts[0], parts[2]), everything(others[0], others[2]))


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_sums_with_any_number_of_threads(threads):
    def run(threads):
        fm.set_num_threads(threads)
        parts = training(lambda: nn.Sequential(nn.Linear(K, 300), nn.ReLU(), nn.Linear(300, C)))
        net = fm.compile(*parts, accumulate=2, clip_grad_norm=0.2)
        for x, y in drawn([100, 200, 100, 200, 31, 400]):
            net.step(x, y)
        return everything(parts[0], parts[2])

    before = fm.get_num_threads()
    try:
        same(run(threads), run(1))
    finally:
        fm.set_num_threads(before)


def test_a_parameter_of_another_shape_begins_a_new_sum():
    parts = training(lambda: nn.Sequential(nn.Linear(K, 4), nn.ReLU(), nn.Linear(4, C)))
    net, batches = fm.compile(*parts, accumulate=3), drawn([12] * 9)
    model = parts[0]
    for i, (x, y) in enumerate(batches):
        if i == 4:
            model[2].weight.data, model[2].bias.data = fm.randn(5, 4), fm.randn(5)
            parts[2].state.clear()
        net.step(x, y)
    assert model[2].weight.shape == (5, 4) and {s["step"] for s in parts[2].state.values()} == {2}


@pytest.mark.parametrize("change", [
    lambda net: setattr(net, "accumulate", 3), lambda net: setattr(net, "clip_grad_value", 1e9), fm.Network.explain,
])  # fmt: skip
def test_options_set_within_a_sum_keep_it(change):
    parts, others = training(Written), training(Written)
    net, batches = fm.compile(*parts, accumulate=3), drawn([12] * 3)
    for x, y in batches:
        net.step(x, y)
        change(net)
    by_hand(*others, batches)
    same(everything(parts[0], parts[2]), everything(others[0], others[2]))


@pytest.mark.parametrize(("name", "value", "error", "match"), [
    ("accumulate", 0, ValueError, "accumulate: expected"), ("accumulate", 1.5, TypeError, "accumulate: expected"),
    ("accumulate", "a", TypeError, "accumulate: expected"), ("clip_grad_norm", -1, ValueError, "clip_grad_norm: "),
    ("model", 3, TypeError, "model: expected a Module, got int"), ("optimizer", "adam", TypeError, "optimizer: "),
])  # fmt: skip
def test_options_are_checked_when_they_are_set(name, value, error, match):
    net = fm.compile(*training(Written))
    before = getattr(net, name)
    with pytest.raises(error, match=match):
        setattr(net, name, value)
    assert getattr(net, name) is before


def test_gradients_that_were_lent_are_gone_with_the_next_step():
    net, x = fm.compile(*training(Written)), X.astype("f")
    net.step(x, LABELS), net.backward(x, LABELS)
    assert all(p.grad is not None for p in net.model.parameters())
    net.step(x, LABELS)
    assert all(p.grad is None for p in net.model.parameters())


@pytest.mark.parametrize("steps", [0, 3])
def test_a_step_that_is_refused_moves_no_statistics(steps):
    model, loss, optimizer = training(MODELS["batch norm"])
    net, x, wrong = fm.compile(model, loss, optimizer), X.astype("f"), LABELS.copy()
    wrong[3] = C
    for _ in range(steps):
        net.step(x, LABELS)
    before = everything(model, optimizer)
    with pytest.raises(ValueError, match=rf"target\[3\] is {C}"):
        net.step(x, wrong)
    same(everything(model, optimizer), before)


# ------------------------------------------------------------------------------------------------------ memory


def homes(net):
    """Where the outputs of the steps' first calls are."""
    return [plan.calls.calls[0][1][5].ctypes.data for plan in net._steps.values()]


def test_plans_compute_in_one_memory_that_grows():
    net = fm.compile(*training(Written))
    for x, y in drawn([9, 9, 5, 12, 1]):
        net.step(x, y)
    small = net._arena.memory
    assert len(net._steps) == 4 and len(set(homes(net)[-2:])) == 1 and all(home % LINE == 0 for home in homes(net))
    for x, y in drawn([900, 9, 12]):
        net.step(x, y)
    assert net._arena.memory is not small and len(net._arena.memory) > 900 * 7 * 4 * 3
    fresh = [plan for plan in net._steps.values() if plan.is_fresh()]
    assert len(fresh) == 3 and len({plan.calls.calls[0][1][5].ctypes.data for plan in fresh}) == 1


@pytest.mark.parametrize("stage", ["only", "first", "last"])
def test_large_arrays_of_a_plan_begin_at_cache_lines(stage):
    """Whose originals begin anywhere in their memory."""
    parts = training(lambda: nn.Sequential(nn.Linear(K, 300), nn.GELU(), nn.LayerNorm(300), nn.Linear(300, C)))
    net = fm.compile(*parts, accumulate=1 if stage == "only" else 2)
    for x, y in drawn([250] * 4):
        net.step(x, y)
    calls = net._last_steps[stage].calls.calls
    arrays = [a for _, arguments in calls[1:] for a in arguments if isinstance(a, np.ndarray) and a.size > 1]
    assert len(arrays) > 20 and all(a.ctypes.data % LINE == 0 for a in arrays)


def test_gradients_outlive_a_prediction():
    net, x = fm.compile(*training(Written)), X.astype("f")
    net.backward(x, LABELS)
    before = [p.grad.numpy().copy() for p in net.model.parameters()]
    net.predict(x), net.predict(np.resize(x, (700, K)))
    assert all(np.array_equal(p.grad.numpy(), b) for p, b in zip(net.model.parameters(), before))


def test_an_arena_keeps_what_it_gave():
    arena = Arena()
    a = arena.take(100)
    a[:] = 7
    arena.take(10**6)[:] = 8
    gc.collect()
    assert (a == 7).all() and arena.take(0).size == 0
