"""The compiled network does what the layers do one by one: same numbers, same errors, same reactions to changes."""

import copy
import pickle
import re
import threading

import numpy as np
import pytest
from networks import (
    EAGER,
    LABELS,
    LOSSES,
    MODELS,
    OPTIMIZERS,
    UNIT,
    C,
    K,
    M,
    Written,
    X,
    compare,
    everything,
    plainly,
    same,
    training,
)

import fastmlp as fm
from fastmlp import nn, optim
from fastmlp.kernels import reference
from fastmlp.nn import functional as F
from fastmlp.optim import lr_scheduler

# ------------------------------------------------------------------------------------------- the same numbers


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", MODELS)
def test_models(on_each_backend, name, dtype):
    net = compare(*(training(MODELS[name], dtype=dtype) for _ in range(2)), X.astype(dtype), LABELS)
    if name in EAGER:
        assert re.search(EAGER[name], net.reason) and EAGER[name].replace("\\", "") in net.explain()
    else:
        assert net.reason is None and net._steps


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(on_each_backend, name):
    net = compare(*(training(Written, OPTIMIZERS[name]) for _ in range(2)), X.astype("f"), LABELS)
    assert net._steps and net.reason is None


@pytest.mark.parametrize("name", LOSSES)
def test_losses(on_each_backend, name):
    loss, last, y = LOSSES[name]
    y = y.astype("f") if y.dtype.kind == "f" else y

    def model():
        return nn.Sequential(Written(), *([last] if last else []))

    net = compare(*(training(model, loss=loss) for _ in range(2)), X.astype("f"), y)
    assert net._steps and net.reason is None


def groups(p):
    first, *rest = p
    return optim.Adam([{"params": [first], "lr": 0.05}, {"params": rest, "weight_decay": 0.1}], 0.01)


def test_groups_of_parameters(on_each_backend):
    compare(training(Written, groups), training(Written, groups), X.astype("f"), LABELS)


def test_any_number_of_threads():
    before = fm.get_num_threads()
    ends = []
    try:
        for threads in (1, 2, 3, 7):
            fm.set_num_threads(threads)
            parts = training(lambda: nn.Sequential(nn.Linear(50, 300), nn.ReLU(), nn.Dropout(0.2), nn.Linear(300, 10)))
            net, rng = fm.compile(*parts), np.random.default_rng(0)
            fm.manual_seed(2)
            for _ in range(3):
                net.step(rng.normal(size=(400, 50)).astype("f"), rng.integers(0, 10, 400))
            ends.append(everything(parts[0], parts[2]))
    finally:
        fm.set_num_threads(before)
    for end in ends[1:]:
        same(ends[0], end)


# -------------------------------------------------------------------------------------------- what changes


def set_lr(model, loss, optimizer):
    optimizer.param_groups[0]["lr"] = 0.5


def scheduled(model, loss, optimizer):
    lr_scheduler.ExponentialLR(optimizer, 0.1).step()


def by_hand(model, loss, optimizer):
    with fm.no_grad():
        model[0].weight.mul_(0.5)


def through_numpy(model, loss, optimizer):
    model[2].bias.detach().numpy()[:] = 1


def loaded(model, loss, optimizer):
    model.load_state_dict({name: t * 0.5 for name, t in model.state_dict().items()})


def optimizer_loaded(model, loss, optimizer):
    state = optimizer.state_dict()
    for kept in state["state"].values():
        kept["exp_avg"] = kept["exp_avg"] * 2
    optimizer.load_state_dict(state)


def in_evaluation(model, loss, optimizer):
    model.eval()


def frozen(model, loss, optimizer):
    model[0].weight.requires_grad_(False)


def all_but_one_frozen(model, loss, optimizer):
    for p in (model[0].weight, model[0].bias, model[2].weight):
        p.requires_grad_(False)


def another_layer(model, loss, optimizer):
    fm.manual_seed(9)
    model[2] = nn.Linear(8, C)
    optimizer.add_param_group({"params": list(model[2].parameters())})


def one_layer_more(model, loss, optimizer):
    fm.manual_seed(9)
    model.append(nn.Linear(C, C))


def other_memory(model, loss, optimizer):
    model[0].weight.data = fm.tensor(np.full((8, K), 0.25, np.float32))


def of_the_loss(model, loss, optimizer):
    loss.label_smoothing = 0.2


def weights_of_the_loss(model, loss, optimizer):
    loss.weight.mul_(fm.tensor([3.0, 1.0, 2.0]))


def with_a_hook(model, loss, optimizer):
    model[0].register_forward_hook(lambda module, inputs, output: output * 2)


def a_state_forgotten(model, loss, optimizer):
    del optimizer.state[model[0].weight]


CHANGES = [
    *(set_lr, scheduled, by_hand, through_numpy, loaded, optimizer_loaded, in_evaluation, frozen, all_but_one_frozen),
    *(another_layer, one_layer_more, other_memory, of_the_loss, weights_of_the_loss, with_a_hook, a_state_forgotten),
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_between_steps_is_honoured(change):
    def model():
        return nn.Sequential(nn.Linear(K, 8), nn.Dropout(0.3), nn.Linear(8, C))

    loss = nn.CrossEntropyLoss([1.0, 2.0, 3.0])
    parts, others = training(model, loss=loss), training(model, loss=loss)
    x = X.astype("f")
    net = fm.compile(*parts)
    for which in (0, 1):
        fm.manual_seed(2)
        for step in range(6):
            if step == 3:
                change(*(parts, others)[which])
            if which:
                plainly(*others, x, LABELS)
            else:
                net.step(x, LABELS)
    same(everything(parts[0], parts[2]), everything(others[0], others[2]))


def test_batches_of_other_sizes():
    parts, others = training(Written), training(Written)
    net = fm.compile(*parts)
    for rows in (12, 5, 12, 1, 5, 12):
        x, y = X[:rows].astype("f"), LABELS[:rows]
        assert net.step(x, y) == plainly(*others, x, y)
    same(everything(parts[0], parts[2]), everything(others[0], others[2]))


LAYOUTS = {
    "negative strides": X[:, ::-1].astype("f")[:, ::-1],
    "Fortran": np.asfortranarray(X.astype("f")),
    "more axes": X.astype("f").reshape(M, 1, K),
}


@pytest.mark.parametrize("x", LAYOUTS.values(), ids=LAYOUTS)
def test_inputs_of_other_layouts(x):
    parts, others = training(Written), training(Written)
    net = fm.compile(*parts)
    for _ in range(3):
        assert net.step(x, LABELS.astype(np.int32)) == plainly(*others, x.astype("f4"), LABELS)


def test_tensors_too():
    parts, others = training(Written), training(Written)
    net = fm.compile(*parts)
    x, y = fm.tensor(X.astype("f")), fm.tensor(LABELS)
    assert [net.step(x, y) for _ in range(3)] == [plainly(*others, X.astype("f"), LABELS) for _ in range(3)]


def test_an_input_that_requires_a_gradient_gets_it():
    parts = training(Written)
    net, x = fm.compile(*parts), fm.tensor(X.astype("f"), requires_grad=True)
    for _ in range(3):
        before = None if x.grad is None else x.grad.clone()
        net.step(x, LABELS)
        assert x.grad is not None and (before is None or not np.array_equal(before, x.grad))


def test_parameters_that_the_model_does_not_use():
    def with_others(p):
        return optim.Adam([*p, nn.Parameter(fm.ones(3))], 0.01)

    compare(training(Written, with_others), training(Written, with_others), X.astype("f"), LABELS)


def test_plans_are_not_kept_without_end():
    net = fm.compile(*training(Written))
    for rows in range(1, 100):
        x, y = np.zeros((rows, K), "f"), np.zeros(rows, int)
        net.step(x, y), net.predict(x)
    assert len(net._steps) == len(net._predictions) == 32


def test_what_is_refused_is_tried_again_when_something_has_changed():
    model = nn.Sequential(nn.Linear(K, 4), nn.GLU(), nn.Linear(2, C))
    net, runs = fm.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), 0.1)), []
    model.register_forward_hook(lambda *_: runs.append(0))
    for _ in range(3):
        net.step(X.astype("f"), LABELS)
    assert "forward hooks" in net.reason and len(runs) == 3
    model._forward_hooks.clear()
    net.step(X.astype("f"), LABELS)
    assert "multiply() is not a layer" in net.reason
    model[1] = nn.Linear(4, 2)
    net.step(X.astype("f"), LABELS)
    assert net.reason is None and net._steps


# ------------------------------------------------------------------------------ what a plan must not overlook


def dropout_changed(model, optimizer):
    model[1].p = 0.9


def slope_changed(model, optimizer):
    model[2].negative_slope = 0.5


def eps_changed(model, optimizer):
    model[3].eps = 1.0


def norm_frozen(model, optimizer):
    model[4].eval()


def norm_frozen_and_moved(model, optimizer):
    model[4].eval()
    model[4].running_var.mul_(3.0)


def class_changed(model, optimizer):
    model[2].__class__ = nn.Tanh


def forward_patched(model, optimizer):
    model[2].forward = lambda x: x * 2


def counts_changed(model, optimizer):
    optimizer.state[model[0].weight]["step"] = 100


def betas_changed(model, optimizer):
    optimizer.param_groups[0]["betas"][0] = 0.1


def momentum_of_the_norm(model, optimizer):
    model[4].momentum = 0.7


OVERLOOKED = [
    *(dropout_changed, slope_changed, eps_changed, norm_frozen, norm_frozen_and_moved, class_changed, forward_patched),
    *(counts_changed, betas_changed, momentum_of_the_norm),
]


@pytest.mark.parametrize("change", OVERLOOKED)
def test_nothing_is_overlooked(change):
    def model():
        layers = nn.Dropout(0.1), nn.LeakyReLU(0.1), nn.LayerNorm(8), nn.BatchNorm1d(8)
        return nn.Sequential(nn.Linear(K, 8), *layers, nn.Linear(8, C))

    def optimizer(p):
        made = optim.Adam(p, 0.01)
        made.param_groups[0]["betas"] = [0.9, 0.99]
        return made

    parts, others = training(model, optimizer), training(model, optimizer)
    net, x = fm.compile(*parts), X.astype("f")
    for which in (0, 1):
        fm.manual_seed(2)
        for step in range(7):
            if step in (3, 5):
                change((parts, others)[which][0], (parts, others)[which][2])
            plainly(*others, x, LABELS) if which else net.step(x, LABELS)
    same(everything(parts[0], parts[2]), everything(others[0], others[2]))
    np.testing.assert_array_equal(net.predict(x), fm.compile(others[0]).predict(x))


class Unusual(nn.Module):
    """forward is given; a and b are layers, c is a constant."""

    def __init__(self, forward):
        super().__init__()
        self.a, self.b = nn.Linear(K, 6), nn.Linear(6, C)
        self.__dict__["how"], self.n, self.scale = forward, 0, 1.0

    def forward(self, x):
        return self.how(self, x)


def counting(m, x):
    m.n += 1
    return m.b(F.relu(m.a(x))) if m.n % 2 else m.b(F.tanh(m.a(x)))


def clamping(m, x):
    with fm.no_grad():
        m.a.weight.clamp_(-0.1, 0.1)
    return m.b(F.relu(m.a(x)))


def doubling_its_input(m, x):
    with fm.no_grad():
        x = x * 2
    return m.b(F.relu(m.a(x)))


UNUSUAL = {
    "a constant bias": lambda m, x: m.b(F.linear(x, m.a.weight, fm.full((6,), 10.0))),
    "a detached bias": lambda m, x: m.b(F.linear(x, m.a.weight, m.a.bias.detach())),
    "a constant weight": lambda m, x: m.b(F.linear(x, fm.full((6, K), 0.1), m.a.bias)),
    "a computed weight": lambda m, x: m.b(F.linear(x, m.a.weight * 2, m.a.bias)),
    "rows counted": lambda m, x: m.b(F.relu(m.a(x)) if len(x) > 4 else F.tanh(m.a(x))),
    "attributes": counting,
    "parameters changed": clamping,
    "the input": doubling_its_input,
    "squeezed": lambda m, x: m.b(F.relu(m.a(x))).reshape(-1, C),
    "turned": lambda m, x: m.b(F.relu(m.a(x).T.T)),
    "dropout in evaluation": lambda m, x: m.b(F.dropout(m.a(x), 0.5, training=True)),
    "twice the same layer": lambda m, x: m.b(F.relu(m.a(F.relu(m.a(x)[:, :K])))),
    "shared": lambda m, x: F.linear(F.linear(x, m.a.weight), m.a.weight.T)[:, :C],
    "data": lambda m, x: m.b(F.relu(m.a(x)) if x.sum().item() > 0 else F.tanh(m.a(x))),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_forwards_of_all_kinds(name):
    def model():
        return Unusual(UNUSUAL[name])

    parts, others = training(model), training(model)
    net, x = compare(parts, others, X.astype("f"), LABELS, steps=6), X.astype("f")
    fm.manual_seed(5)
    ours = [net.predict(x) for _ in range(2)]
    fm.manual_seed(5)
    others[0].eval()
    with fm.no_grad():
        theirs = [others[0](fm.tensor(x)).numpy() for _ in range(2)]
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("shape", [(M, 2, 5), (M, 5), (5,), (M, 1, 5)])
def test_shapes_are_those_of_the_layers(shape):
    x = np.random.default_rng(0).normal(size=shape).astype("f")
    for model in (nn.Tanh(), nn.Linear(5, 3), nn.Sequential(nn.Flatten(0), nn.Tanh()), nn.Sequential(nn.Tanh())):
        net = fm.compile(model)
        with fm.no_grad():
            np.testing.assert_array_equal(net.predict(x), model(fm.tensor(x)).numpy())


def weighted(p, t):
    return F.mse_loss(p, t, weight=(t > 0.5).float())


def doubled(p, t):
    return F.mse_loss(p, t * 2)


class Smaller(optim.Adam):
    def step(self, closure=None):
        self.param_groups[0]["lr"] *= 0.5
        return super().step(closure)


class Halving(optim.SGD):
    def _update(self, group, params, grads, states, step):
        for p, g in zip(params, grads):
            p -= group["lr"] * 0.5 * g


@pytest.mark.parametrize("loss", [weighted, doubled, lambda p, t: F.mse_loss(p, t) + p.mean()])
@pytest.mark.parametrize("optimizer", [OPTIMIZERS["adam"], lambda p: Smaller(p, 0.1), lambda p: Halving(p, 0.1)])
def test_losses_and_optimizers_of_ones_own(loss, optimizer):
    net = compare(*(training(Written, optimizer, loss) for _ in range(2)), X.astype("f"), UNIT.astype("f"), steps=6)
    assert "not one of fastmlp's own" in net.reason


def test_other_options_are_other_plans():
    parts, others = training(Written), training(Written)
    net, x = fm.compile(*parts), X.astype("f")
    for step in range(6):
        if step == 3:
            net.clip_grad_norm = 1e-3
        model, loss, optimizer = others
        optimizer.zero_grad()
        loss(model(fm.tensor(x)), fm.tensor(LABELS)).backward()
        if step >= 3:
            nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        optimizer.step()
        net.step(x, LABELS)
    same(everything(parts[0], parts[2]), everything(others[0], others[2]))
    net.model = nn.Linear(K, 2)
    assert net.predict(x).shape == (M, 2)


def test_momentum_that_begins_later():
    parts, others = training(Written, OPTIMIZERS["sgd"]), training(Written, OPTIMIZERS["sgd"])
    net, x = fm.compile(*parts), X.astype("f")
    for step in range(6):
        if step == 3:
            parts[2].param_groups[0]["momentum"] = others[2].param_groups[0]["momentum"] = 0.9
        try:
            theirs = plainly(*others, x, LABELS)
        except Exception as e:
            with pytest.raises(type(e)):
                net.step(x, LABELS)
            return
        assert net.step(x, LABELS) == theirs
    same(everything(parts[0], parts[2]), everything(others[0], others[2]))


def test_the_backend_of_the_block(monkeypatch):
    net, x = fm.compile(*training(Written)), X.astype("f")
    for _ in range(3):
        net.step(x, LABELS)
    with fm.use_backend("numpy"):
        net.step(x, LABELS)
        assert net._last_steps["only"].program.kernels is reference


def test_integers_are_the_models_business():
    class Scaled(Written):
        def forward(self, x):
            return super().forward(x.float() / 255.0)

    parts, others, x = training(Scaled), training(Scaled), (X * 20).astype(np.uint8)
    net = fm.compile(*parts)
    assert [net.step(x, LABELS) for _ in range(3)] == [plainly(*others, x, LABELS) for _ in range(3)]
    np.testing.assert_array_equal(net.predict(x), fm.compile(others[0]).predict(x))


def test_a_program_takes_what_it_was_made_for(on_each_backend):
    x, y = np.ones((2, 3), "f"), np.empty((2, 3), "f")
    with fm.ops.recording() as calls:
        fm.ops.softmax(x, out=y)
    program = fm.ops.program(calls, (x, y))
    for wrong in ((), (x,), (x, y, y), (x, None), (x, 1), (x, np.ones(1, "f"))):
        with pytest.raises(TypeError, match="run: expected"):
            program.run(*wrong)
    assert program.run(x, y) == -1


# -------------------------------------------------------------------------------------------------- errors

WRONG = {
    "features": (X[:, :4].astype("f"), LABELS),
    "rows": (X.astype("f"), LABELS[:5]),
    "a label": (X.astype("f"), np.where(np.arange(M) == 7, 3, LABELS)),
    "a negative label": (X.astype("f"), np.where(np.arange(M) == 7, -1, LABELS)),
    "probabilities": (X.astype("f"), UNIT),
    "precision": (X, LABELS),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_errors_are_those_of_the_layers(on_each_backend, wrong):
    parts, others = training(Written), training(Written)
    net = fm.compile(*parts)
    for _ in range(2):
        net.step(X.astype("f"), LABELS), plainly(*others, X.astype("f"), LABELS)
    before = everything(parts[0], parts[2])
    with pytest.raises(Exception) as theirs:
        plainly(*others, *WRONG[wrong])
    for _ in range(2):
        with pytest.raises(theirs.type) as ours:
            net.step(*WRONG[wrong])
        assert str(ours.value) == str(theirs.value)
    same(everything(parts[0], parts[2]), before)
    assert net.step(X.astype("f"), LABELS) == plainly(*others, X.astype("f"), LABELS)


def test_what_is_no_probability(on_each_backend):
    def model():
        return nn.Linear(K, C)

    parts = training(model, loss=nn.BCELoss(), make_optimizer=lambda p: optim.NAdam(p, 0.01))
    with fm.no_grad():
        nn.init.ones_(parts[0].weight), nn.init.constant_(parts[0].bias, 0.5)
    net, x, y = fm.compile(*parts), X.astype("f"), UNIT.astype("f")
    net.step(0 * x, y), net.step(0 * x, y)
    before = everything(parts[0], parts[2])
    with pytest.raises(ValueError, match=r"input\[0, \d\] is .*: expected 0 to 1; for logits"):
        net.step(x * 1000, y)
    with pytest.raises(ValueError, match=r"target\[2, 1\] is nan: expected 0 to 1"):
        net.step(0 * x, np.where(np.arange(M * C).reshape(M, C) == 7, np.nan, y).astype("f"))
    same(everything(parts[0], parts[2]), before)


@pytest.mark.parametrize(
    "make, error, match",
    [
        (lambda m, o: fm.compile(nn.Linear), TypeError, "model: expected a Module, got the class Linear"),
        (lambda m, o: fm.compile(m, nn.MSELoss, o), TypeError, "loss: expected a function .* got the class MSELoss"),
        (lambda m, o: fm.compile(m, nn.MSELoss(), optim.Adam), TypeError, "optimizer: expected one such as .* Adam"),
        (lambda m, o: fm.compile(m, nn.MSELoss(), o, clip_grad_norm=0), ValueError, "clip_grad_norm: expected .* 0"),
        (lambda m, o: fm.compile(m).step(X, UNIT), RuntimeError, r"step: compile\(model, loss, optimizer\)"),
        (lambda m, o: fm.compile(m).evaluate(X, UNIT), RuntimeError, r"evaluate: compile\(model, loss\)"),
        (lambda m, o: fm.compile(m, nn.MSELoss(), o).fit_epoch(X, UNIT[:3]), ValueError, "y: expected as many rows"),
        (lambda m, o: fm.compile(m, nn.MSELoss(), o).fit_epoch(X, UNIT, 0), ValueError, "batch_size: expected .* 0"),
        (lambda m, o: fm.compile(m).predict(X.astype("f"), np.empty((M, 4), "f")), ValueError, "out: expected shape"),
        (lambda m, o: fm.compile(m).predict(X.astype("f"), np.empty((M, C))), TypeError, "out: expected float32"),
    ],
)
def test_what_compile_and_its_methods_refuse(make, error, match):
    model = nn.Linear(K, C)
    with pytest.raises(error, match=match):
        make(model, optim.SGD(model.parameters(), 0.1))


# ---------------------------------------------------------------------------------------------- predictions


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("rows", [1, 5, 12])
def test_predictions(on_each_backend, name, rows):
    if rows == 1 and "untracked" in name:
        pytest.skip("one row has no statistics")
    model, loss, optimizer = training(MODELS[name])
    for _ in range(3):
        plainly(model, loss, optimizer, X.astype("f"), LABELS)  # so that batch norm has seen something
    net, x = fm.compile(model), X[:rows].astype("f")
    modes = [m.training for m in model.modules()]
    for _ in range(2):
        y = net.predict(x)
        assert [m.training for m in model.modules()] == modes
        model.eval()
        with fm.no_grad():
            expected = model(fm.tensor(x)).numpy()
        model.train()
        np.testing.assert_array_equal(y, expected)
        plainly(model, loss, optimizer, X.astype("f"), LABELS)  # the next prediction is another
    again = net.predict(fm.tensor(x))
    assert isinstance(again, fm.Tensor) and not again.requires_grad
    assert y is not again and not np.shares_memory(y, net.predict(x))


def test_predictions_into_an_array():
    model = Written()
    net, x = fm.compile(model), X.astype("f")
    expected = net.predict(x)
    for out in (np.empty((M, C), "f"), np.empty((C, M), "f").T, np.empty((M, 2 * C), "f")[:, ::2]):
        assert net.predict(x, out) is out
        np.testing.assert_array_equal(out, expected)
    with pytest.raises(ValueError, match="out: overlaps another argument"):
        net.predict(x, x[:, :C])


@pytest.mark.parametrize("rows", [1024, 1025, 3000])
def test_predictions_of_many_rows(rows):
    model, x = Written(), np.random.default_rng(0).normal(size=(rows, K)).astype("f")
    net, out = fm.compile(model), np.empty((rows, C), "f")
    with fm.no_grad():
        expected = model(fm.tensor(x)).numpy()
    np.testing.assert_allclose(net.predict(x), expected, rtol=1e-6, atol=1e-6)
    assert net.predict(x, out) is out
    np.testing.assert_array_equal(out, net.predict(x))
    untracked = fm.compile(MODELS["batch norm, untracked"]())
    with fm.no_grad():
        np.testing.assert_allclose(untracked.predict(x), untracked.model(fm.tensor(x)), rtol=1e-5, atol=1e-6)


def test_evaluation_and_epochs_are_the_loops_they_stand_for():
    parts, others = training(MODELS["dropout"]), training(MODELS["dropout"])
    net, x = fm.compile(*parts), X.astype("f")
    fm.manual_seed(3)
    ours = net.fit_epoch(x, LABELS, 5)
    fm.manual_seed(3)
    order = fm.creation.default_generator.rng.permutation(M)
    batches = [order[i : i + 5] for i in range(0, M, 5)]
    theirs = sum(plainly(*others, x[b], LABELS[b]) * len(b) for b in batches) / M
    assert ours == pytest.approx(theirs, rel=1e-12)
    same(everything(parts[0], parts[2]), everything(others[0], others[2]))
    parts[0].eval()
    with fm.no_grad():
        expected = parts[1](parts[0](fm.tensor(x)), fm.tensor(LABELS)).item()
    assert net.evaluate(x, LABELS, 5) == pytest.approx(expected, rel=1e-6)
    assert net.fit_epoch(x, LABELS, 5, seed=1) != net.fit_epoch(x, LABELS, 5, shuffle=False)


# --------------------------------------------------------------------------------------------------- itself


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"])
def test_copies_go_on_alike(twin):
    net = fm.compile(*training(Written))
    x = X.astype("f")
    for _ in range(3):
        net.step(x, LABELS)
    other = twin(net)
    assert [net.step(x, LABELS) for _ in range(3)] == [other.step(x, LABELS) for _ in range(3)]
    np.testing.assert_array_equal(net.predict(x), other.predict(x))
    assert net.model is not other.model


def test_several_threads_take_turns():
    net, x = fm.compile(*training(Written)), X.astype("f")
    raised = []

    def work():
        try:
            for _ in range(200):
                assert np.isfinite(net.step(x, LABELS))
                net.predict(x)
        except BaseException as e:
            raised.append(e)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not raised
    assert {state["step"] for state in net.optimizer.state.values()} == {800}


def test_the_model_waits_for_nobody():
    """What waits to be computed with the old weights is computed before they change."""
    parts = training(lambda: nn.Linear(K, C))
    net, x = fm.compile(*parts), fm.tensor(X.astype("f"))
    for _ in range(3):
        with fm.no_grad():
            expected = parts[0](x).tolist()
            waiting = parts[0](x)
        net.step(x, fm.tensor(LABELS))
        assert waiting.tolist() == expected


def test_a_tape_that_needs_the_old_weights_notices():
    parts = training(Written)
    net, x = fm.compile(*parts), X.astype("f")
    net.step(x, LABELS)
    y = parts[0](fm.tensor(x)).sum()
    net.step(x, LABELS)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


@pytest.mark.parametrize("layer", [lambda: nn.Dropout(0.5), lambda: nn.BatchNorm1d(4)])
def test_what_is_wrong_in_training_alone_is_named_as_the_layers_name_it(layer):
    fm.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Sigmoid(), layer())
    net = fm.compile(model, nn.BCELoss(), optim.SGD(model.parameters(), 0.01))
    x, y = np.random.default_rng(0).standard_normal((6, 4)).astype("f"), np.ones((6, 4), "f")
    for _ in range(3):
        with pytest.raises(ValueError, match=r"input\[\d, \d\] is .*: expected 0 to 1; for logits"):
            net.step(x, y)
    assert net.reason is None


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_of_pickle(protocol):
    net, x = fm.compile(*training(Written)), X.astype("f")
    net.step(x, LABELS)
    other = pickle.loads(pickle.dumps(net, protocol))
    assert other.step(x, LABELS) == net.step(x, LABELS)
    np.testing.assert_array_equal(other.predict(x), net.predict(x))


def test_explain():
    net = fm.compile(*training(Written))
    assert "no plan yet" in net.explain()
    net.step(X.astype("f"), LABELS), net.step(X.astype("f"), LABELS)
    net.predict(X.astype("f"))
    step, prediction = net.explain().split("\n\n")
    lines = step.splitlines()
    assert lines[0] == "step, x (12, 5) float32"
    assert lines[1].split() == "kernel m x k -> n activation MFLOP KiB µs >= run as".split()
    assert lines[2].split()[:9] == "linear_forward 12 x 5 -> 7 gelu 0.001 1.1".split()
    assert [line.split()[0] for line in lines[2:10]] == [
        *("linear_forward", "linear_forward", "find_bad_label", "cross_entropy", "linear_backward", "linear_backward"),
        *("adam", "together"),
    ]
    if fm.get_backend() == "cython":
        assert re.search(r"  (tiles|dots) \d+ x \d+(, turned)?, 1 task$", lines[2])
        assert re.search(r"  dx tiles \d+ x \d+, 1 task; dw tiles ", lines[6])
        assert lines[6].endswith("; with the derivative of the gelu below; with the step of adam")
        assert re.match(r"at \d+ GFLOP/s a core, .* threads: .* µs at least", lines[10])
        x, labels = np.resize(X, (300, K)).astype("f"), np.resize(LABELS, 300)
        net.step(x, labels)
        lines = net.explain().split("\n\n")[1].splitlines()
        assert lines[2].endswith("block by block of rows") and [line[-1] for line in lines[3:8]] == ['"'] * 5
    assert prediction.startswith("predict, x (12, 5) float32") and "adam" not in prediction


def test_a_learning_rate_that_is_an_array_may_change_in_place():
    parts, others = training(Written), training(Written)
    for _, _, optimizer in (parts, others):
        optimizer.param_groups[0]["lr"] = np.array(0.01)
    net, x = fm.compile(*parts), X.astype("f")
    for _ in range(4):
        net.step(x, LABELS), plainly(*others, x, LABELS)
        for _, _, optimizer in (parts, others):
            optimizer.param_groups[0]["lr"] *= 0.5
    same(everything(parts[0], parts[2]), everything(others[0], others[2]))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(("shuffle", "batch_size"), [(True, 4), (False, 5), (True, 100)])
def test_an_epoch_is_its_steps(name, shuffle, batch_size):
    parts, others = (training(Written, OPTIMIZERS[name], dtype=np.float32) for _ in range(2))
    net, other, x = fm.compile(*parts), fm.compile(*others), np.resize(X, (53, K)).astype("f")
    labels = np.resize(LABELS, 53)
    for seed in range(3):
        loss = net.fit_epoch(x, labels, batch_size, shuffle, seed)
        order = fm.Generator().manual_seed(seed).rng.permutation(53) if shuffle else np.arange(53)
        batches = [order[i : i + batch_size] for i in range(0, 53, batch_size)]
        assert loss == pytest.approx(sum(other.step(x[b], labels[b]) * len(b) for b in batches) / 53, rel=1e-12)
        same(everything(parts[0], parts[2]), everything(others[0], others[2]))


def test_an_epoch_that_meets_a_bad_label_has_made_the_steps_before():
    parts, others = training(Written), training(Written)
    net, other, x = fm.compile(*parts), fm.compile(*others), np.resize(X, (40, K)).astype("f")
    labels = np.resize(LABELS, 40)
    labels[33] = 9
    with pytest.raises(ValueError, match=r"\[1\] is 9"):
        net.fit_epoch(x, labels, 4, shuffle=False)
    for i in range(0, 32, 4):
        other.step(x[i : i + 4], labels[i : i + 4])
    same(everything(parts[0], parts[2]), everything(others[0], others[2]))
