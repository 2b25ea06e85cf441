"""Monitor: dead units are those that are 0 everywhere; gradients are compared with what backward left."""

import numpy as np
import pytest

import fastmlp
from fastmlp import nn, optim
from fastmlp.nn import functional as F
from fastmlp.train import Monitor, Trainer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)).astype(np.float32)
Y = RNG.integers(0, 3, 40)


class Functional(nn.Module):
    """relu as a function, which no hook sees; then tanh, whose units are negative but not dead."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(3, 8), nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.fc3(F.tanh(self.fc2(F.relu(self.fc1(x)))))


def sequential(inplace=False):
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(inplace), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))


def kill(bias, units, value=-100.0):
    with fastmlp.no_grad():
        bias[:units] = value


def fitted(model, monitor, epochs=1, lr=0.0, **options):
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=lr))
    trainer.fit(X, Y, epochs=epochs, batch_size=10, callbacks=[monitor], verbose=False, **options)
    return monitor


@pytest.fixture(autouse=True)
def same_weights():
    fastmlp.manual_seed(0)


@pytest.mark.parametrize("model, name", [(Functional, "fc1"), (sequential, "1"), (lambda: sequential(True), "1")])
def test_dead_units_are_found_behind_modules_and_functions(model, name):
    model = model()
    first = next(model.children())
    kill(first.bias, 3)
    with pytest.warns(UserWarning, match=rf"^epoch 1: 38% of the units behind '{name}' are dead: 0 for the whole"):
        monitor = fitted(model, Monitor(dead=0.3), epochs=2)  # and it is said once
    with fastmlp.no_grad():
        zero = (F.relu(first(fastmlp.tensor(X))).numpy() == 0).all(axis=0)
    assert zero.sum() == 3 and monitor.dead[name] == 3 / 8
    assert all(share == 0 for other, share in monitor.dead.items() if other != name)


def test_a_layer_before_a_relu_module_is_not_counted_twice():
    assert set(fitted(sequential(), Monitor(dead=1.0)).dead) == {"1", "2"}


def test_the_layer_of_the_output_has_no_share():
    """Unless something follows that no hook sees."""

    class Last(nn.Linear):
        def forward(self, x):
            return super().forward(x)

    class Relu(Functional):
        def forward(self, x):
            return F.relu(super().forward(x))

    assert "fc3" not in fitted(Functional(), Monitor()).dead
    assert fitted(Last(3, 3), Monitor()).dead == {}
    model = Relu()
    kill(model.fc3.bias, 1)
    assert 1 / 3 <= fitted(model, Monitor(dead=1.0)).dead["fc3"] < 1


def test_what_is_negative_but_learns_is_not_dead():
    model = Functional()
    kill(model.fc2.bias, 6, -2.0)  # before tanh
    kill(model.fc3.bias, 3, -50.0)  # the logits
    assert fitted(model, Monitor()).dead == {"fc1": 0.0, "fc2": 0.0}


def test_a_unit_that_lives_in_one_batch_is_not_dead():
    model = Functional()
    with fastmlp.no_grad():
        model.fc1.weight[0] = 0.0
        model.fc1.weight[0, 0] = 1.0
        model.fc1.bias[0] = -np.sort(X[:, 0])[-2] - 1e-3  # only the largest x passes
    assert fitted(model, Monitor()).dead["fc1"] == 0.0


def test_validation_is_not_looked_at():
    model = Functional()
    kill(model.fc1.bias, 7)
    with pytest.warns(UserWarning, match="88% of the units behind 'fc1'"):
        monitor = fitted(model, Monitor(), validation_data=(1000 * X, Y))
    assert monitor.dead["fc1"] == 7 / 8


def test_watching_changes_nothing():
    a, b = Functional(), Functional()
    b.load_state_dict(a.state_dict())
    fitted(a, Monitor(), epochs=3, lr=0.1, seed=0)
    Trainer(b, nn.CrossEntropyLoss(), optim.SGD(b.parameters(), lr=0.1)).fit(
        X, Y, epochs=3, batch_size=10, seed=0, verbose=False
    )
    for name, t in a.state_dict().items():
        np.testing.assert_allclose(t.numpy(), b.state_dict()[name].numpy(), rtol=1e-5, atol=1e-7)
    assert not any(m._forward_hooks for m in a.modules())


def test_gradients_relative_to_the_last_layers():
    model = Functional()
    monitor = Monitor()
    monitor.attach(model)
    norms = {name: 0.0 for name, _ in model.named_children()}
    for x, y in ((X[:20], Y[:20]), (X[20:], Y[20:])):
        model.zero_grad()
        F.cross_entropy(model(fastmlp.tensor(x)), fastmlp.tensor(y)).backward()
        monitor.after_backward()
        for name, layer in model.named_children():
            norms[name] += np.sqrt(sum((p.grad.numpy() ** 2).sum() for p in layer.parameters()))
    assert monitor.end_epoch() == []
    monitor.detach()
    assert monitor.gradients == pytest.approx({name: norm / norms["fc3"] for name, norm in norms.items()}, rel=1e-5)


@pytest.mark.parametrize("size, bias, message", [(1e-5, True, "vanishing"), (1e5, False, "exploding")])
def test_gradients_that_vanish_or_explode(size, bias, message):
    """The last layer's gradient is made of its inputs, that of the layer before of its weights."""
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3, bias=bias))
    with fastmlp.no_grad():
        model[2].weight.mul_(size)
        if message == "exploding":
            for p in model[0].parameters():
                p.div_(size)
    with pytest.warns(UserWarning, match=f"epoch 1: {message} gradients: the gradient of '0', the first layer, is"):
        fitted(model, Monitor(), epochs=3)


def test_the_table():
    model = Functional()
    kill(model.fc1.bias, 2)
    lines = fitted(model, Monitor()).table().splitlines()
    assert lines[0].split() == ["layer", "dead", "units", "gradient", "/", "last"]
    assert [line.split()[0] for line in lines[1:]] == ["fc1", "fc2", "fc3"]
    assert lines[1].split()[1] == "25.0%" and lines[3].split()[1:] == ["1"]
    assert len({len(line) for line in lines}) == 1


def test_the_table_is_in_the_models_order():
    lines = fitted(sequential(), Monitor()).table().splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["0", "1", "2", "4"]


def test_in_print():
    assert Monitor().table().split() == ["layer", "dead", "units", "gradient", "/", "last"]
    assert repr(Monitor(0.3)) == "Monitor(dead=0.3, vanishing=0.001, exploding=1000.0)"


def test_frozen_layers_cannot_be_judged():
    model = Functional()
    kill(model.fc1.bias, 8)
    for p in model.fc1.parameters():
        p.requires_grad_(False)
    monitor = fitted(model, Monitor())
    assert "fc1" not in monitor.dead and "fc1" not in monitor.gradients


@pytest.mark.parametrize("name", ["dead", "vanishing", "exploding"])
def test_bad_thresholds(name):
    with pytest.raises(ValueError, match=f"{name}: expected a number > 0, got 0"):
        Monitor(**{name: 0})


def test_a_share_above_1():
    with pytest.raises(ValueError, match="dead: expected a share up to 1, got 2"):
        Monitor(dead=2)
