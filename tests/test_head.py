"""A compiled network's last layer of many classes, whose logits never exist all at once."""

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import nn, ops, optim

pytestmark = pytest.mark.usefixtures("on_each_backend")

ROWS, INPUTS, CLASSES = 23, 7, 40
RNG = np.random.default_rng(0)
X = RNG.standard_normal((ROWS, INPUTS)).astype("f")
LABELS = RNG.integers(0, CLASSES, ROWS)
IGNORED = np.where(np.arange(ROWS) % 3, LABELS, -100)


@pytest.fixture
def _five_rows_at_a_time(monkeypatch):
    monkeypatch.setattr("fastmlp.ops.losses.LOGITS_BYTES", 5 * CLASSES * 4)


def training(deep=True, dtype=np.float32, **options):
    """A model, its loss and its optimizer, alike each time."""
    fm.manual_seed(3)
    inner = [nn.Linear(INPUTS, 9), nn.GELU(), nn.Dropout(0.1), nn.LayerNorm(9)] if deep else []
    model = nn.Sequential(*inner, nn.Linear(9 if deep else INPUTS, CLASSES)).to(dtype)
    return model, nn.CrossEntropyLoss(**options), optim.Adam(model.parameters(), 0.01)


def state(model):
    return {k: v.numpy().copy() for k, v in model.state_dict().items()}


def calls_of(net):
    plan = net._last_steps.get("last") or net._last_steps["only"]
    return [name for name, _ in plan.calls.calls]


@pytest.mark.usefixtures("_five_rows_at_a_time")
@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize(("options", "labels"), [
    ({}, LABELS), ({}, IGNORED), ({"reduction": "sum", "ignore_index": 3}, LABELS),
    ({"weight": fm.tensor(np.linspace(0.5, 2, CLASSES).astype("f"))}, IGNORED), ({}, np.full(ROWS, -100)),
    ({"weight": fm.tensor(np.linspace(-2, 1, CLASSES).astype("f"))}, LABELS),
    ({"weight": fm.tensor(np.linspace(0, 2, CLASSES).astype("f")), "reduction": "sum"}, LABELS.astype(np.int32)),
])  # fmt: skip
def test_learns_as_the_layers_do(deep, options, labels):
    net, (model, loss, optimizer) = fm.compile(*training(deep, **options)), training(deep, **options)
    for i in range(6):
        x = X + np.float32(i)
        fm.manual_seed(i)
        got = net.step(x, labels)
        fm.manual_seed(i)
        optimizer.zero_grad()
        value = loss(model(fm.tensor(x)), fm.tensor(labels))
        value.backward()
        optimizer.step()
        np.testing.assert_allclose(got, value.item(), rtol=3e-6)
    assert net.reason is None and calls_of(net).count("cross_entropy") == 5
    for name, expected in state(model).items():
        np.testing.assert_allclose(state(net.model)[name], expected, rtol=1e-5, atol=2e-6, err_msg=name)


@pytest.mark.usefixtures("_five_rows_at_a_time")
@pytest.mark.parametrize("options", [{"clip_grad_norm": 0.5}, {"accumulate": 2}])
def test_gradients_that_are_clipped_or_summed(options):
    parts = training()
    net = fm.compile(*parts, **options)
    other = fm.compile(*training(), **options)
    for i in range(6):
        fm.manual_seed(i)
        got = net.step(X, LABELS)
        fm.manual_seed(i)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fastmlp.ops.losses.LOGITS_BYTES", 1 << 30)
            np.testing.assert_allclose(got, other.step(X, LABELS), rtol=3e-6)
    assert calls_of(net).count("cross_entropy") == 5 and calls_of(other).count("cross_entropy") == 1
    for name, expected in state(other.model).items():
        np.testing.assert_allclose(state(net.model)[name], expected, rtol=1e-5, atol=2e-6, err_msg=name)


@pytest.mark.usefixtures("_five_rows_at_a_time")
@pytest.mark.parametrize("options", [{}, {"weight": fm.tensor(np.ones(CLASSES, "f"))}])
def test_a_label_that_is_no_class_is_refused_before_anything_is_written(options):
    net = fm.compile(*training(**options))
    net.step(X, LABELS), net.step(X, LABELS)
    before, wrong = state(net.model), LABELS.copy()
    wrong[17] = CLASSES
    with pytest.raises(ValueError, match=rf"target\[17\] is {CLASSES}: expected 0 to {CLASSES - 1}"):
        net.step(X, wrong)
    assert all((state(net.model)[name] == a).all() for name, a in before.items())
    net.step(X, LABELS)


@pytest.mark.usefixtures("_five_rows_at_a_time")
def test_epochs_predictions_and_backward():
    net = fm.compile(*training())
    losses = [net.fit_epoch(X, LABELS, batch_size=11, seed=i) for i in range(30)]
    assert losses[-1] < losses[0] and net.reason is None
    logits = net.predict(X)
    assert logits.shape == (ROWS, CLASSES)
    loss, output = net.backward(X, LABELS)  # which gives the logits, and therefore has them
    assert output.shape == logits.shape and np.isfinite(loss)


def test_few_classes_are_taken_at_once():
    net = fm.compile(*training())
    net.step(X, LABELS), net.step(X, LABELS)
    assert calls_of(net).count("cross_entropy") == 1


@pytest.mark.usefixtures("_five_rows_at_a_time")
def test_the_same_bits_for_any_number_of_threads():
    before, ends = fm.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            fm.set_num_threads(threads)
            net = fm.compile(*training())
            for _ in range(4):
                net.step(X, LABELS)
            ends.append(state(net.model))
    finally:
        fm.set_num_threads(before)
    for end in ends[1:]:
        assert all((end[name] == a).all() for name, a in ends[0].items())


def test_rows_at_a_time():
    assert [ops.losses.rows_at_a_time(*sizes) for sizes in ((1024, 50257, 4), (3, 10**9, 4), (0, 5, 4))] == [256, 1, 1]
