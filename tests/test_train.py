"""Trainer: learns as torch does in the plain loop, and everything around the loop."""

import io
import math
import re

import numpy as np
import pytest

import fastmlp
from fastmlp import metrics, nn, optim
from fastmlp.data import DataLoader, TensorDataset
from fastmlp.nn import functional as F
from fastmlp.train import Callback, EarlyStopping, Monitor, Trainer, progress

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3))
Y = np.sin(X @ RNG.normal(size=(3, 2)))
CLASSES = (X[:, 0] > X[:, 1]).astype(int) + (X[:, 2] > 1)


def regression():
    fastmlp.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))


def trainer(model=None, loss=None, lr=0.1, **options):
    model = model or regression()
    return Trainer(model, loss or nn.MSELoss(), optim.SGD(model.parameters(), lr=lr), **options)


def quiet(t, *arguments, **options):
    return t.fit(*arguments, verbose=False, **options)


def values(model):
    return {name: t.numpy().copy() for name, t in model.state_dict().items()}


class Script(Callback):
    """Runs a function at an event."""

    def __init__(self, **events):
        self.__dict__.update(events)


# ------------------------------------------------------------------------------------------- what is learnt


def test_compiled_and_layer_by_layer_it_learns_the_same(monkeypatch):
    """Metrics, clipping, batch norm and dropout included."""
    layers = nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3)
    found = []
    for compiled in (True, False):
        fastmlp.manual_seed(0)
        model = nn.Sequential(*layers)
        model.apply(lambda m: m.reset_parameters() if hasattr(m, "reset_parameters") else None)
        t = trainer(model, nn.CrossEntropyLoss(), metrics=["accuracy"], clip_grad_norm=0.5)
        if not compiled:
            monkeypatch.setattr("fastmlp.plan.Network.backward", lambda self, x, y: None)
        history = quiet(t, X, CLASSES, epochs=3, batch_size=16, seed=1)
        assert (t._compiled.network._last_backward is not None) is compiled
        found.append((history.history, values(model)))
    assert found[0][0] == found[1][0]
    for name, a in found[0][1].items():
        np.testing.assert_array_equal(a, found[1][1][name])


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, 0.1), lambda p: optim.Adam(p)])
@pytest.mark.parametrize("loss", [nn.MSELoss(), lambda a, b: F.mse_loss(a, b)])
def test_a_forward_of_the_users_is_called_for_every_batch(make, loss):
    """It may do otherwise in each of them."""

    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.calls = regression(), 0

        def forward(self, x):
            self.calls += 1
            return self.layers(x)

    model = Branch()
    quiet(Trainer(model, loss, make(model.parameters())), X, Y, epochs=2, batch_size=10)
    assert model.calls == 10


def test_what_a_callback_exchanges_counts_from_the_next_step_on():
    found = []
    for swapped in (True, False):
        model = regression()
        t = trainer(model, None if swapped else nn.L1Loss())
        script = Script(on_epoch_begin=lambda t: setattr(t, "loss_function", nn.L1Loss()))
        quiet(t, X, Y, epochs=2, seed=0, callbacks=[script])
        found.append(values(model))
    assert all(np.array_equal(a, found[1][name]) for name, a in found[0].items())


def test_losses_and_parameters_as_in_a_loop_of_torch():
    torch = pytest.importorskip("torch")
    model = regression().double()
    t = trainer(model, metrics=["mean_absolute_error"], clip_grad_norm=0.5)
    other = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double()
    other.load_state_dict({name: torch.tensor(a) for name, a in values(model).items()})
    optimizer, loss_function = torch.optim.SGD(other.parameters(), lr=0.1), torch.nn.MSELoss()
    x, y = torch.tensor(X), torch.tensor(Y)
    losses = []
    for _ in range(3):
        total = 0
        for i in range(0, 50, 16):
            optimizer.zero_grad()
            loss = loss_function(other(x[i : i + 16]), y[i : i + 16])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(other.parameters(), 0.5)
            optimizer.step()
            total += loss.item() * len(x[i : i + 16])
        losses.append(total / 50)
    history = quiet(t, X, Y, epochs=3, batch_size=16, shuffle=False, validation_data=(X, Y))
    np.testing.assert_allclose(history.history["loss"], losses, rtol=1e-10)
    for name, a in values(model).items():
        np.testing.assert_allclose(a, other.state_dict()[name].numpy(), rtol=1e-9, atol=1e-12)
    with torch.no_grad():
        assert history.history["val_loss"][-1] == pytest.approx(loss_function(other(x), y).item(), rel=1e-9)
        error = (other(x) - y).abs().mean().item()
    assert history.history["val_mean_absolute_error"][-1] == pytest.approx(error, rel=1e-9)


def test_it_learns_classes():
    fastmlp.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 3))
    t = Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.01), metrics=["accuracy"])
    history = quiet(t, X, CLASSES, epochs=100, batch_size=10, seed=0)
    assert history.history["accuracy"][-1] > 0.9
    assert t.evaluate(X, CLASSES)["accuracy"] > 0.9
    assert list(history.history) == ["loss", "accuracy", "lr"] and history.epochs == list(range(1, 101))
    assert history.stopped == "all 100 epochs done"


def test_a_loader_gives_the_same_as_arrays():
    a, b = trainer(), trainer()
    one = quiet(a, X, Y, epochs=2, batch_size=8, seed=3)
    x, y = X.astype(np.float32), Y.astype(np.float32)
    two = quiet(b, DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True, seed=3), epochs=2)
    assert one.history == two.history
    assert a.evaluate(X, Y) == b.evaluate(DataLoader(TensorDataset(x, y), batch_size=1024))


def test_seeds():
    def run(seed):
        return quiet(trainer(), X, Y, epochs=3, seed=seed, validation_split=0.2, batch_size=8).history

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_means_are_over_rows_not_over_batches():
    """25 rows in batches of 10, 10 and 5, with a model that does not change."""
    t = trainer(lr=0.0, metrics=["mean_squared_error", "r2_score"])
    history = quiet(t, X[:25], Y[:25], batch_size=10, validation_data=(X[25:], Y[25:]))
    for name, x, y in (("", X[:25], Y[:25]), ("val_", X[25:], Y[25:])):
        expected = np.mean((t.predict(x) - y) ** 2)
        r2 = metrics.r2_score(t.predict(x), y)
        assert history.history[f"{name}loss"][0] == pytest.approx(expected, rel=1e-6)
        assert history.history[f"{name}mean_squared_error"][0] == pytest.approx(expected, rel=1e-6)
        assert history.history[f"{name}r2_score"][0] == pytest.approx(r2, rel=1e-5)
    assert t.evaluate(X, Y, batch_size=7)["loss"] == pytest.approx(np.mean((t.predict(X) - Y) ** 2), rel=1e-6)


def test_prediction_is_of_any_batch_size():
    t = trainer()
    with fastmlp.no_grad():
        expected = t.model(fastmlp.tensor(X, dtype=np.float32)).numpy()
    for size in (1, 7, 1024):
        np.testing.assert_allclose(t.predict(X, batch_size=size), expected, rtol=1e-5, atol=1e-7)
    assert t.predict(X).dtype == np.float32
    assert t.predict(X[:0]).shape == (0, 2)
    np.testing.assert_array_equal(t.predict(fastmlp.tensor(X)), t.predict(X))


def test_prediction_leaves_the_data_alone():
    t = trainer(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2)))
    x = X.astype(np.float32)
    t.predict(x)
    np.testing.assert_array_equal(x, X.astype(np.float32))


def test_modes():
    seen = []

    class Peek(nn.Module):
        def forward(self, x):
            seen.append(self.training)
            return x

    model = nn.Sequential(nn.Linear(3, 2), Peek())
    model[0].eval()
    t = trainer(model)
    quiet(t, X, Y, batch_size=25, validation_data=(X, Y))
    assert seen == [True, True, False]
    assert [m.training for m in model.modules()] == [True, False, True]  # as they were
    t.predict(X)
    assert seen[-1] is False


@pytest.mark.parametrize("loss", [nn.BCEWithLogitsLoss(), F.binary_cross_entropy_with_logits, nn.BCELoss()])
def test_accuracy_of_logits_and_of_probabilities(loss):
    model = nn.Sequential(nn.Linear(3, 1), *([nn.Sigmoid()] if isinstance(loss, nn.BCELoss) else []))
    y = (X[:, :1] > 0).astype(np.float32)
    t = trainer(model, loss, metrics=["accuracy"])
    p = t.predict(X)
    threshold = 0.5 if isinstance(loss, nn.BCELoss) else 0.0
    assert t.evaluate(X, y)["accuracy"] == np.mean((p >= threshold) == y)


def test_metrics_of_ones_own():
    calls = []

    def worst(prediction, target):
        calls.append(len(prediction))
        return np.abs(prediction - target).max()

    history = quiet(trainer(metrics=[worst]), X, Y, epochs=2, batch_size=16, validation_data=(X[:20], Y[:20]))
    assert set(history.history) == {"loss", "worst", "val_loss", "val_worst", "lr"}
    assert calls == [50, 20, 50, 20]
    assert type(history.history["worst"][0]) is float


def test_schedulers():
    t = trainer()
    t.scheduler = optim.lr_scheduler.StepLR(t.optimizer, step_size=2, gamma=0.5)
    assert quiet(t, X, Y, epochs=5).history["lr"] == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])
    t = trainer(loss=lambda prediction, y: (prediction * 0).sum() + 1)
    t.scheduler = optim.lr_scheduler.ReduceLROnPlateau(t.optimizer, patience=0)
    assert quiet(t, X, Y, epochs=4, validation_split=0.2).history["lr"] == pytest.approx([0.1, 0.1, 0.01, 0.001])
    t = trainer()
    t.scheduler = optim.lr_scheduler.OneCycleLR(t.optimizer, max_lr=1.0, total_steps=2 * 5)
    lrs = []
    each = Script(on_batch_end=lambda trainer, loss: lrs.append(trainer.optimizer.param_groups[0]["lr"]))
    quiet(t, X, Y, epochs=2, batch_size=10, callbacks=[each])
    assert len(set(lrs)) == 10 and max(lrs) == pytest.approx(1.0, rel=0.2)


# -------------------------------------------------------------------------------------------- stopping


def set_lr(**by_epoch):
    def on_epoch_begin(trainer):
        trainer.optimizer.param_groups[0]["lr"] = by_epoch.get(f"e{trainer.epoch}", 0.0)

    return Script(on_epoch_begin=on_epoch_begin)


@pytest.mark.parametrize("restore", [True, False])
def test_early_stopping(restore):
    """The model improves in two epochs, then learning backwards makes it worse."""
    t = trainer()
    states = []
    remember = Script(on_epoch_end=lambda trainer, logs: states.append(values(trainer.model)))
    schedule = set_lr(e1=0.1, e2=0.1, e3=-0.1, e4=-0.1, e5=-0.1, e6=-0.1)
    stopper = EarlyStopping(patience=3, restore_best=restore)
    history = quiet(t, X, Y, epochs=50, validation_data=(X, Y), early_stopping=stopper, callbacks=[schedule, remember])
    assert history.epochs == [1, 2, 3, 4, 5] and stopper.best_epoch == 2
    assert history.stopped == "early stopping: val_loss has not improved since epoch 2"
    assert history.best["epoch"] == 2 and history.best["val_loss"] == stopper.best == min(history.history["val_loss"])
    for name, a in values(t.model).items():
        np.testing.assert_array_equal(a, states[1 if restore else 4][name])


def test_early_stopping_by_number_watches_the_loss_where_nothing_is_validated():
    history = quiet(trainer(lr=0.0), X, Y, epochs=9, batch_size=50, shuffle=False, early_stopping=2)
    assert history.epochs == [1, 2, 3]
    assert history.stopped == "early stopping: loss has not improved since epoch 1"


def test_early_stopping_of_what_should_grow():
    class Falls:
        __name__ = "accuracy"
        values = iter([0.5, 0.7, 0.71, 0.6, 0.9])

        def __call__(self, prediction, target):
            return next(self.values)

    stopper = EarlyStopping("accuracy", patience=2, min_delta=0.05)
    history = quiet(trainer(metrics=[Falls()]), X, Y, epochs=9, early_stopping=stopper)
    assert history.epochs == [1, 2, 3, 4] and stopper.best == 0.7
    assert history.best["epoch"] == 3  # the best number, whatever min_delta says


def test_the_best_state_comes_back_when_all_epochs_are_done():
    t = trainer()
    quiet(t, X, Y, epochs=3, validation_data=(X, Y), callbacks=[set_lr(e1=0.1, e2=0.1, e3=-0.3)], early_stopping=5)
    assert t.evaluate(X, Y)["loss"] == min(t.history.history["val_loss"])


def test_early_stopping_in_print():
    assert repr(EarlyStopping("val_loss", 3)) == (
        "EarlyStopping(monitor='val_loss', patience=3, min_delta=0.0, mode=None, restore_best=True)"
    )


def test_nan_is_never_the_best():
    numbers = iter([math.nan, 2.0, math.nan, 3.0, math.nan])
    stopper = EarlyStopping("odd", patience=3, mode="min")

    def odd(prediction, target):
        return next(numbers)

    history = quiet(trainer(metrics=[odd]), X, Y, epochs=5, early_stopping=stopper)
    assert stopper.best == 2.0 and history.best["epoch"] == 2 and history.epochs == [1, 2, 3, 4, 5]


def test_ctrl_c_keeps_what_was_learnt():
    def interrupt(trainer, loss):
        if trainer.epoch == 3 and trainer.step == 2:
            raise KeyboardInterrupt

    ended = []
    t = trainer()
    before = values(t.model)
    callback = Script(on_batch_end=interrupt, on_fit_end=lambda trainer, history: ended.append(history))
    history = quiet(t, X, Y, epochs=10, batch_size=10, callbacks=[callback])
    assert history.stopped == "interrupted in epoch 3 after step 2"
    assert history.epochs == [1, 2] and ended == [history]
    assert any((a != before[name]).any() for name, a in values(t.model).items())
    assert quiet(t, X, Y, epochs=1).stopped == "the epoch is done"  # and one can go on


def test_a_callback_may_stop():
    callback = Script(on_epoch_end=lambda trainer, logs: trainer.stop("enough"))
    history = quiet(trainer(), X, Y, epochs=10, callbacks=[callback])
    assert history.stopped == "enough" and history.epochs == [1]


def test_the_events_and_what_a_callback_sees():
    seen = []

    class Log(Callback):
        def on_fit_begin(self, trainer):
            seen.append(("fit", trainer.epochs, trainer.steps))

        def on_epoch_begin(self, trainer):
            seen.append(("epoch", trainer.epoch))

        def on_batch_end(self, trainer, loss):
            assert all(p.grad is not None for p in trainer.model.parameters())
            seen.append((trainer.step, trainer.rows, type(loss)))

        def on_epoch_end(self, trainer, logs):
            seen.append(sorted(logs))

        def on_fit_end(self, trainer, history):
            seen.append(history.stopped)

    quiet(trainer(), X, Y, epochs=2, batch_size=30, callbacks=[Log()])
    epoch = [("epoch", 1), (1, 30, float), (2, 50, float), ["loss", "lr"]]
    again = [("epoch", 2), (1, 80, float), (2, 100, float), ["loss", "lr"]]
    assert seen == [("fit", 2, 2), *epoch, *again, "all 2 epochs done"]


def test_hooks_come_off_when_another_callback_cannot_begin():
    def fail(trainer):
        raise RuntimeError("cannot begin")

    t = trainer()
    with pytest.raises(RuntimeError, match="cannot begin"):
        quiet(t, X, Y, callbacks=[Monitor(), Script(on_fit_begin=fail)])
    assert not any(m._forward_hooks for m in t.model.modules())


def test_the_best_state_comes_back_though_another_callback_cannot_end():
    def fail(trainer, history):
        raise RuntimeError("cannot end")

    t = trainer()
    with pytest.raises(RuntimeError, match="cannot end"):
        callbacks = [set_lr(e1=0.1, e2=0.1, e3=-0.3), Script(on_fit_end=fail)]
        quiet(t, X, Y, epochs=3, validation_data=(X, Y), callbacks=callbacks, early_stopping=5)
    assert t.evaluate(X, Y)["loss"] == min(t.history.history["val_loss"]) < t.history.history["val_loss"][-1]


# ------------------------------------------------------------------------------------------ not finite


class Counts(nn.Module):
    """Has a buffer that forward changes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("sum", fastmlp.zeros(1))

    def forward(self, x):
        self.sum += x.detach().sum()
        return x


class Reassigns(nn.Module):
    """Puts another tensor into its buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("sum", fastmlp.zeros(1))

    def forward(self, x):
        self.sum = self.sum + x.detach().sum()
        return x


class Log(nn.Module):
    def forward(self, x):
        return x.log()


def with_error(t, x, y=None, **options):
    """-> the message; nothing has changed since the step before the error"""
    states = [values(t.model)]
    callback = Script(on_batch_end=lambda trainer, loss: states.append(values(trainer.model)))
    ended = []
    end = Script(on_fit_end=lambda trainer, history: ended.append(history.stopped))
    with pytest.raises(FloatingPointError) as e:
        quiet(t, x, y, shuffle=False, callbacks=[callback, end], **options)
    for name, a in values(t.model).items():
        np.testing.assert_array_equal(a, states[-1][name])
    assert ended == [None]
    assert all(m.training and not m._forward_hooks for m in t.model.modules())
    return str(e.value)


@pytest.mark.parametrize("first", [Counts, Reassigns])
def test_a_layer_that_gives_nan_is_named(first):
    x = np.abs(X) + 0.1
    x[33, 1] = -1
    model = nn.Sequential(first(), Log(), nn.Linear(3, 2))
    message = with_error(trainer(model), x, Y, batch_size=10)
    assert message == (
        "epoch 1, step 4: the loss is nan; the first output that is not finite is that of '1', Log(). "
        "Parameters and buffers are as before this step"
    )


def test_a_function_in_a_forward_that_gives_nan():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.fc2(self.fc1(x) - 1e6).exp()

    model = Net()
    with fastmlp.no_grad():
        model.fc2.weight.fill_(-1.0)
    assert "the loss is inf; the first output that is not finite is that of 'the model', Net" in with_error(
        trainer(model), X, Y
    )


def test_inputs_targets_and_parameters_that_are_not_finite():
    """Of batches it is seen when they come."""
    x, y = X.astype(np.float32), Y.astype(np.float32)
    x[[20, 22], 1] = np.inf
    message = with_error(trainer(), DataLoader(TensorDataset(x, y), 10), epochs=2)
    assert message.startswith("epoch 1, step 3: the loss is ")
    assert "the inputs x of this batch are not finite, in row 0 and 1 more." in message
    x, y[7] = X.astype(np.float32), np.nan
    message = with_error(trainer(), DataLoader(TensorDataset(x, y), 50))
    assert "the targets y of this batch are not finite, in row 7." in message
    model = regression()
    with fastmlp.no_grad():
        model[2].bias[1] = np.nan
    assert "the parameter '2.bias' is not finite" in with_error(trainer(model), X, Y)


def test_arrays_that_are_not_finite_are_refused_before_the_first_epoch():
    x, y = X.copy(), Y.copy()
    x[[20, 22, 40], 1] = np.nan
    y[7, 0] = -np.inf
    t = trainer()
    with pytest.raises(ValueError, match=r"^x: expected finite numbers, got NaN or infinity in row 20 and 2 more$"):
        quiet(t, x, Y, validation_split=0.2)
    with pytest.raises(ValueError, match=r"^y: expected finite numbers, got NaN or infinity in row 7$"):
        quiet(t, X, y)
    assert t.step == 0 and not t.history.epochs


def test_a_gradient_that_is_not_finite():
    def distance(prediction, y):
        return (prediction - y).square().sum().sqrt()  # whose slope at 0 is not defined

    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    with fastmlp.no_grad():
        for p in model.parameters():
            p.fill_(0.0)
    message = with_error(trainer(model, distance), X, np.zeros_like(Y))
    assert "epoch 1, step 1: the loss is 0, but the gradient of '1.bias' is not finite" in message


@pytest.mark.parametrize("options", [{}, {"clip_grad_norm": 1.0}])
def test_the_gradient_that_is_not_finite_is_named_not_one_that_clipping_makes_so(options):
    """The slope of sqrt at 0 is infinite; the gradients of the layer behind it are finite."""

    class Sqrt(nn.Module):
        def forward(self, x):
            return x.sqrt()

    model = nn.Sequential(nn.Linear(3, 4), Sqrt(), nn.Linear(4, 2))
    with fastmlp.no_grad():
        for p in model[0].parameters():
            p.fill_(0.0)
    assert "but the gradient of '0.bias' is not finite" in with_error(trainer(model, **options), X, Y)


def test_a_loss_that_is_not_finite_itself():
    message = with_error(trainer(loss=lambda prediction, y: prediction.sum() * math.inf), X, Y)
    assert "the loss is inf; every output of a layer is finite." in message


# -------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"epochs": -1}, ValueError, "epochs: expected an int >= 0, got -1"),
        ({"epochs": 1.5}, TypeError, "epochs: expected an int, got float"),
        ({"batch_size": 0}, ValueError, "batch_size: expected an int >= 1, got 0"),
        ({"validation_split": 1.0}, ValueError, "validation_split: expected a share, 0 <= share < 1, got 1.0"),
        ({"validation_split": 0.1, "validation_data": (X, Y)}, ValueError, "validation_split: not beside"),
        ({"validation_data": X}, TypeError, "validation_data: expected .x, y. or a DataLoader, got ndarray"),
        ({"validation_data": (X, Y[:3])}, ValueError, "y: expected 50 rows as x has, got shape .3, 2."),
        ({"early_stopping": 0}, ValueError, "patience: expected an int >= 1, got 0"),
        ({"early_stopping": "val_loss"}, TypeError, "early_stopping: expected an int, got str"),
        (
            {"early_stopping": EarlyStopping("val_loss")},
            ValueError,
            "monitor: expected one of loss, lr; got 'val_loss'",
        ),
        (
            {"early_stopping": EarlyStopping("val_los", mode="min"), "validation_split": 0.2},
            ValueError,
            "monitor: expected one of loss, val_loss, lr; got 'val_los'; did you mean 'val_loss'.$",
        ),
        ({"x": None}, TypeError, "x: expected an array, got None"),
        ({"x": np.array(["a"])}, TypeError, "x: expected numbers, got <U1"),
        ({"y": None}, TypeError, "y: expected an array, got None"),
        ({"y": Y[:7]}, ValueError, "y: expected 50 rows as x has, got shape .7, 2."),
        ({"x": X[:0], "y": Y[:0]}, ValueError, "x: expected at least one batch, got none"),
        ({"x": X[:1], "y": Y[:1], "validation_split": 0.5}, ValueError, "x: expected at least one batch, got none"),
        ({"x": DataLoader(TensorDataset(X, Y))}, ValueError, "y: not beside a DataLoader"),
        ({"x": DataLoader(TensorDataset(X)), "y": None}, TypeError, "x: expected a DataLoader of batches .x, y."),
        ({"x": TensorDataset(X, Y), "y": None}, TypeError, "x: .*, got TensorDataset; wrap it in a DataLoader"),
        ({"callbacks": Callback()}, TypeError, "callbacks: expected a list of Callbacks, got Callback"),
        ({"callbacks": [EarlyStopping]}, TypeError, "callbacks: expected Callbacks .*, got the class EarlyStopping in"),
        ({"callbacks": [len]}, TypeError, "callbacks: expected Callbacks .*, got builtin_function_or_method in the"),
    ],
)
def test_bad_arguments_of_fit(options, error, message):
    with pytest.raises(error, match=message):
        quiet(trainer(), **{"x": X, "y": Y, **options})


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda m, o: Trainer(F.relu, nn.MSELoss(), o), TypeError, "model: expected a Module, got function"),
        (lambda m, o: Trainer(m, "mse", o), TypeError, "loss: expected a function .*, got str"),
        (lambda m, o: Trainer(m, nn.MSELoss(), "sgd"), TypeError, "optimizer: expected an optimizer .*, got str"),
        (
            lambda m, o: Trainer(m, nn.MSELoss(), optim.SGD),
            TypeError,
            r"optimizer: expected an optimizer such as optim.SGD\(model.parameters\(\), lr=0.1\), got the class SGD",
        ),
        (lambda m, o: Trainer(regression(), nn.MSELoss(), o), ValueError, "optimizer: none of its parameters is"),
        (lambda m, o: Trainer(m, nn.CrossEntropyLoss, o), TypeError, "loss: .*, got the class CrossEntropyLoss"),
        (
            lambda m, o: Trainer(m, nn.MSELoss(), o, scheduler=optim.lr_scheduler.StepLR),
            TypeError,
            "scheduler: .*, got the class StepLR",
        ),
        (lambda m, o: Trainer(m, nn.MSELoss(), o, scheduler=3), TypeError, "scheduler: expected .*, got int"),
        (lambda m, o: Trainer(m, nn.MSELoss(), o, metrics="accuracy"), TypeError, "metrics: expected a list"),
        (lambda m, o: Trainer(m, nn.MSELoss(), o, metrics=["mse"]), ValueError, "metrics: unknown 'mse'"),
        (lambda m, o: Trainer(m, nn.MSELoss(), o, metrics=["r2_score"] * 2), ValueError, "'r2_score' is taken"),
        (lambda m, o: Trainer(m, nn.MSELoss(), o, clip_grad_norm=0), ValueError, "clip_grad_norm: expected a number"),
        (
            lambda m, o: EarlyStopping("odd"),
            ValueError,
            "monitor: .*'odd'; of a metric of your own say by mode='min' or 'm",
        ),
        (
            lambda m, o: EarlyStopping("val_los"),
            ValueError,
            "monitor: expected one of loss, .*, val_loss, .*; got 'val_los'; did you mean 'val_loss'.;",
        ),
        (lambda m, o: EarlyStopping(mode="least"), ValueError, "mode: expected 'min', 'max' or None, got 'least'"),
        (lambda m, o: EarlyStopping(min_delta=-1), ValueError, "min_delta: expected a number >= 0, got -1"),
    ],
)
def test_bad_arguments_of_the_makers(make, error, message):
    model = regression()
    with pytest.raises(error, match=message):
        make(model, optim.SGD(model.parameters(), lr=0.1))


def test_a_model_that_returns_no_tensor():
    class Pair(nn.Linear):
        def forward(self, x):
            return super().forward(x), x

    with pytest.raises(TypeError, match="model: expected a forward that returns a Tensor, got tuple"):
        quiet(trainer(Pair(3, 2)), X, Y)
    with pytest.raises(TypeError, match="model: expected a forward that returns a Tensor, got tuple"):
        trainer(Pair(3, 2)).evaluate(X, Y)


def test_a_last_batch_of_one_row_that_batch_norm_refuses():
    with pytest.raises(ValueError, match=r"expected more than 1 row in training, got shape \(1, 4\)"):
        quiet(trainer(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))), X, Y, batch_size=49)


# ---------------------------------------------------------------------------------------------- progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_silence(capsys):
    quiet(trainer(), X, Y)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("epochs, batch_size, count", [(100, 10, 10), (10, 50, 10), (3, 5, 3), (1, 1, 1)])
def test_a_log_has_up_to_ten_lines(capsys, epochs, batch_size, count):
    trainer(metrics=["mean_absolute_error"]).fit(X, Y, epochs=epochs, batch_size=batch_size, validation_split=0.1)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and len(lines) == count + 1
    assert lines[-2].startswith(f"epoch {epochs}/{epochs}  loss 0.") and lines[-2].endswith("0:00:00 left")
    for text in ("  mean_absolute_error 0.", "  val_loss 0.", " rows/s  "):
        assert text in lines[-2]
    assert lines[-1] == ("the epoch is done" if epochs == 1 else f"all {epochs} epochs done")


def test_within_long_epochs_a_log_has_the_loss_alone(monkeypatch):
    monkeypatch.setattr(progress, "SILENCE", 0.0)
    stream = io.StringIO()
    t = trainer(metrics=["mean_absolute_error"])
    quiet(t, X, Y, epochs=2, batch_size=10, validation_data=(X, Y), callbacks=[progress.Log(stream)])
    *lines, end = stream.getvalue().splitlines()
    assert len(lines) == 10 and end == "all 2 epochs done"
    for i, line in enumerate(lines):
        assert (" val_loss " in line) == (" mean_absolute_error " in line) == (i in (4, 9)), line


@pytest.mark.parametrize("kind", [progress.Line, progress.Bar])
def test_a_narrow_terminal_keeps_the_epoch_and_the_time(monkeypatch, kind):
    if kind is progress.Bar:
        pytest.importorskip("rich")
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    t = trainer(metrics=["mean_absolute_error", "r2_score"])
    quiet(t, X, Y, epochs=20, batch_size=10, validation_data=(X, Y), callbacks=[kind(stream)])
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())  # colours, and where the cursor goes
    lines = [line for line in re.split(r"[\r\n]+", text) if line.startswith("epoch ")]
    assert len(lines) >= 20 * 6
    for line in lines:
        assert len(line) <= 80 and re.match(r"epoch \d+/20 .* loss \S+ .*\d:\d\d:\d\d left *$", line), line
    ends = [line for line in lines if "  val_loss " in line]
    assert len(ends) >= 20
    assert all(" last val_loss " in line for line in lines[6:] if line not in ends)


def test_a_terminal_has_one_line_that_is_rewritten(monkeypatch):
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    stream = Terminal()
    quiet(trainer(), X, Y, epochs=3, batch_size=10, callbacks=[progress.Line(stream)])
    text = stream.getvalue()
    assert text.count("\r") == 3 * (5 + 1) and text.count("\n") == 2
    assert text.endswith("\nall 3 epochs done\n")
    widths = {len(line) for line in text.split("\n")[0].split("\r")[1:]}
    assert len(widths) == 1  # each covers the one before


def test_rich_draws_a_bar_where_it_is_installed():
    pytest.importorskip("rich")
    stream = Terminal()
    bar = progress.best_for(stream)
    assert type(bar) is progress.Bar
    quiet(trainer(), X, Y, epochs=3, batch_size=10, callbacks=[bar])
    assert "epoch 3/3" in stream.getvalue() and "all 3 epochs done" in stream.getvalue()


def test_without_rich_it_is_a_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rich.console", None)
    assert type(progress.best_for(Terminal())) is progress.Line
    assert type(progress.best_for(io.StringIO())) is progress.Log


def test_the_history_in_print():
    history = quiet(trainer(lr=0.0), X, Y, epochs=2)
    assert repr(history).startswith("History(2 epochs: loss 0.") and repr(history).endswith("; all 2 epochs done)")
    assert repr(quiet(trainer(), X, Y)).startswith("History(1 epoch: loss 0.")
    history = quiet(trainer(), X, Y, epochs=0)
    assert history.best == {} and repr(history) == "History(no epoch; no epoch to do)"
