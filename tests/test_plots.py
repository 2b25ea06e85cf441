"""Pictures: what stands in them, not how they look."""

import numpy as np
import pytest

import fastmlp
from fastmlp import nn
from fastmlp.train import History

pytest.importorskip("matplotlib")
plots = pytest.importorskip("fastmlp.plots")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 2))
Y = (X[:, 0] > 0).astype(int)


def labels(axes):
    return [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]


@pytest.mark.parametrize(
    "function, name, derivative",
    [
        ("relu", "relu", lambda x: x > 0),
        ("tanh", "tanh", lambda x: 1 - np.tanh(x) ** 2),
        (nn.ReLU(), "ReLU()", lambda x: x > 0),
        (lambda t: t * t, "<lambda>", lambda x: 2 * x),
    ],
)
def test_an_activation_and_its_derivative(function, name, derivative):
    figure = plots.activation(function, -2, 3)
    left, right = figure.axes
    assert labels(left) == [name] and labels(right) == [f"derivative of {name}"]
    x, slope = right.lines[-1].get_data()
    assert (x[0], x[-1]) == (-2, 3)
    np.testing.assert_allclose(slope, derivative(x), atol=1e-12)


def test_an_activation_that_is_constant_has_no_slope():
    figure = plots.activation(lambda t: t.detach() * 0 + t * 0)
    assert not figure.axes[1].lines[-1].get_ydata().any()


def test_the_curves_of_a_training():
    history = History()
    for epoch in (1, 2, 3):
        logs = {"loss": 1 / epoch, "accuracy": 0.5, "val_loss": 2 / epoch, "val_accuracy": 0.4, "lr": 0.1 / epoch}
        history.append(epoch, logs)
    figure = history.plot()
    assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy", "lr"]
    assert [labels(axes) for axes in figure.axes] == [["loss", "val_loss"], ["accuracy", "val_accuracy"], ["lr"]]
    assert [a.get_legend() is not None for a in figure.axes] == [True, True, False]
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_data(), [[1, 2, 3], [2, 1, 2 / 3]])


def test_a_learning_rate_that_stays_is_not_drawn():
    history = History()
    for epoch in (1, 2):
        history.append(epoch, {"loss": 1 / epoch, "lr": 0.1})
    assert [axes.get_title() for axes in history.plot().axes] == ["loss"]


@pytest.mark.parametrize("epochs, marker", [(1, "o"), (2, "o"), (30, "None")])
def test_few_epochs_are_seen_and_counted_in_whole_numbers(epochs, marker):
    history = History()
    for epoch in range(1, epochs + 1):
        history.append(epoch, {"loss": 1 / epoch, "lr": 0.1})
    (axes,) = history.plot().axes
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert axes.lines[0].get_marker() == marker
    assert ticks and all(tick == int(tick) for tick in ticks)


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_a_decision_boundary(outputs):
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, outputs))
    figure = plots.decision_boundary(model, X, Y, points=20)
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["0", "1"]
    drawn = sum(len(c.get_offsets()) for c in axes.collections if hasattr(c, "get_sizes") and len(c.get_sizes()))
    assert drawn == 30
    assert len(figure.axes) == (2 if outputs == 1 else 1)  # one column has a scale beside it
    assert all(m.training for m in model.modules())


@pytest.mark.parametrize("scale, bias, ends", [(0, 0.3, (0, 1)), (0, 3, (-3, 3)), (0, -3, (-3, 3)), (0, 0, (0, 1))])
def test_a_model_that_says_the_same_everywhere_has_no_boundary(scale, bias, ends):
    model = nn.Linear(2, 1)
    nn.init.constant_(model.weight, scale)
    nn.init.constant_(model.bias, bias)
    figure = plots.decision_boundary(model, X, Y, points=5)
    assert figure.axes[1].get_ylim() == pytest.approx(ends)  # the scale: 0..1, or 0 in its middle


def test_a_decision_boundary_in_given_axes(tmp_path):
    from matplotlib.figure import Figure

    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plots.decision_boundary(nn.Linear(2, 2), X, Y, points=5, path=tmp_path / "a.png", axes=right) is figure
    assert right.collections and not left.collections
    assert (tmp_path / "a.png").exists()


def test_histograms():
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
    figure = plots.weights(model)
    assert [axes.get_title() for axes in figure.axes] == ["0.weight", "2.weight"]
    assert [sum(p.get_height() for p in axes.patches) for axes in figure.axes] == [8, 12]
    with pytest.raises(ValueError, match="model: has no gradients; call backward"):
        plots.gradients(model)
    model(fastmlp.tensor(X, dtype=np.float32)).sum().backward()
    assert [axes.get_title() for axes in plots.gradients(model).axes] == ["0.weight", "2.weight"]


def test_more_weights_than_a_row_holds():
    figure = plots.weights(nn.Sequential(*[nn.Linear(2, 2) for _ in range(5)]))
    assert [axes.get_visible() for axes in figure.axes] == [True] * 5 + [False] * 3


@pytest.mark.parametrize("name", ["a.png", "a.svg"])
def test_saving(tmp_path, name):
    plots.activation("gelu", path=tmp_path / name)
    assert (tmp_path / name).stat().st_size > 1000


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: plots.activation("rellu"), ValueError, "function: 'rellu' is no function of fastmlp.nn.functional"),
        (lambda: plots.activation(3), TypeError, "function: expected a name or a function of a Tensor, got int"),
        (lambda: plots.activation("relu", 1, 1), ValueError, "high: expected a number above low = 1, got 1"),
        (lambda: plots.history({}), TypeError, "history: expected a History, got dict"),
        (lambda: plots.history(History()), ValueError, "history: has no finished epoch"),
        (lambda: plots.weights(3), TypeError, "model: expected a Module, got int"),
        (lambda: plots.weights(nn.ReLU()), ValueError, "model: has no weights"),
        (lambda: plots.decision_boundary(nn.Linear(3, 1), np.ones((5, 3)), Y), ValueError, "x: expected shape .m, 2."),
        (lambda: plots.decision_boundary(nn.Linear(2, 1), X, Y[:3]), ValueError, "y: expected 30 classes"),
        (lambda: plots.decision_boundary(nn.Linear(2, 1), X, Y, 1), ValueError, "points: expected an int >= 2, got 1"),
        (lambda: plots.decision_boundary(nn.Flatten(0), X, Y), ValueError, "model: expected outputs of shape"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
