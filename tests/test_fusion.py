"""Calls of a program that are run as one kernel give what they give one by one, but for rounding."""

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import nn, ops, optim
from fastmlp.kernels import reference
from fastmlp.ops.one_by_one import OneByOne

pytest.importorskip("fastmlp.kernels.cython_cpu.fusion", reason="the compiled backend is not built")

from fastmlp.kernels.cython_cpu.fusion import MIN_ROWS, SMALL_WEIGHTS, fuse


@pytest.fixture(autouse=True)
def on_the_c_engine():
    """The backend that does several calls as one."""
    with fm.use_backend("cython"):
        yield


RNG = np.random.default_rng(0)
K, C = 6, 3
PROBABILITIES = RNG.dirichlet(np.ones(C), 2000)
UNIT = RNG.random((2000, C))
LABELS = RNG.integers(0, C, 2000)


def net(*layers):
    """Layers of 9 and 17 between K and C."""
    return nn.Sequential(nn.Linear(K, 9), layers[0], nn.Linear(9, 17), layers[-1], nn.Linear(17, C))


#: name -> model, loss, targets for 2000 rows
CASES = {
    "relu": (lambda: net(nn.ReLU()), nn.CrossEntropyLoss(), LABELS),
    "tanh": (lambda: net(nn.Tanh()), nn.CrossEntropyLoss(reduction="sum"), LABELS),
    "of z": (lambda: net(nn.GELU(), nn.Softplus(2.0)), nn.CrossEntropyLoss(), LABELS),
    "slopes": (lambda: net(nn.LeakyReLU(0.3), nn.ELU(0.5)), nn.MSELoss(), UNIT),
    "no bias": (
        lambda: nn.Sequential(nn.Linear(K, 8, bias=False), nn.SiLU(), nn.Linear(8, C, bias=False)), nn.L1Loss(), UNIT
    ),
    "one layer": (lambda: nn.Sequential(nn.Linear(K, C)), nn.CrossEntropyLoss(), LABELS),
    "activation last": (lambda: nn.Sequential(nn.Linear(K, C), nn.Mish()), nn.SmoothL1Loss(), UNIT),
    "probabilities": (lambda: net(nn.ReLU()), nn.CrossEntropyLoss(), PROBABILITIES),
    "weighted": (lambda: net(nn.ReLU()), nn.CrossEntropyLoss([0.5, 1.0, 2.0], ignore_index=2), LABELS),
    "smoothed": (lambda: net(nn.ReLU()), nn.CrossEntropyLoss(label_smoothing=0.1), LABELS),
    "bce": (lambda: nn.Sequential(net(nn.ReLU()), nn.Sigmoid()), nn.BCELoss(), UNIT),
    "bce of one": (lambda: nn.Sequential(nn.Linear(K, 1), nn.Sigmoid()), nn.BCELoss(), UNIT[:, :1]),
    "logits": (lambda: net(nn.ReLU()), nn.BCEWithLogitsLoss(pos_weight=[1.0, 2.0, 3.0]), UNIT),
    "many classes": (lambda: nn.Sequential(nn.Linear(K, 70)), nn.CrossEntropyLoss(), LABELS),
    "wide": (lambda: nn.Sequential(nn.Linear(K, 60), nn.ReLU(), nn.Linear(60, 50), nn.ReLU(), nn.Linear(50, C)),
             nn.CrossEntropyLoss(), LABELS),
    "deep": (lambda: nn.Sequential(*[m for _ in range(12) for m in (nn.Linear(K, K), nn.Tanh())], nn.Linear(K, C)),
             nn.CrossEntropyLoss(), LABELS),
}  # fmt: skip
ROWS = (MIN_ROWS, 511, 513, 1999)


def a_plan(name, rows, dtype, x=None, freeze=()):
    """The plan of a step, on x of that many rows, and its inputs."""
    make, loss, targets = CASES[name]
    fm.manual_seed(0)
    model = make().to(dtype)
    if isinstance(loss, nn.Module):
        loss.to(dtype)
    for i, p in enumerate(model.parameters()):
        p.requires_grad_(i not in freeze)
    x = RNG.normal(size=(rows, K)).astype(dtype) if x is None else x
    y = targets[:rows] if targets.dtype.kind == "i" else targets[:rows].astype(dtype)
    network = fm.compile(model, loss, optim.Adam([p for p in model.parameters() if p.requires_grad]))
    network.step(x, y)
    network.step(x, y)
    plan = network._last_steps["only"]
    assert plan is not None, network.reason
    return plan, x, y


def gradients(plan, x, y, program):
    """All calls but the update's, with every array spoilt before. -> loss and gradients"""
    outputs = [plan.calls.loss, *(g for _, g in plan.calls.gradients)]
    for a in outputs:
        a[...] = np.nan
    assert program.run(x, y) == -1
    return [a.copy() for a in outputs]


def without_update(plan):
    return [call for call in plan.calls.calls if call[0] != "adam"]


def kernels(calls, results):
    return [step.name for step in fuse(calls, results)]


def errors(found, truth):
    return np.array([np.linalg.norm(a - t) / max(np.linalg.norm(t), 1e-30) for a, t in zip(found, truth)])


def in_float64(plan, x, y):
    """The truth: the same calls with all their arrays in float64, by the reference."""
    wide = {}

    def widened(a):
        if isinstance(a, list):
            return [widened(item) for item in a]
        if not isinstance(a, np.ndarray) or a.dtype != np.float32:
            return a
        key = a.__array_interface__["data"][0], a.shape
        return wide.setdefault(key, a.astype(np.float64))

    calls = [(name, tuple(map(widened, arguments))) for name, arguments in without_update(plan)]
    program = OneByOne(reference, calls, [widened(slot) for slot in plan._slots])
    program.run(x.astype(np.float64), y.astype(np.float64) if y.dtype == np.float32 else y)
    return [widened(a) for a in (plan.calls.loss, *(g for _, g in plan.calls.gradients))]


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_one_kernel_is_as_exact_as_many(name, dtype, rows):
    plan, x, y = a_plan(name, rows, dtype)
    calls, loss = without_update(plan), [plan.calls.loss]
    assert kernels(calls, loss) == kernels(calls, [*loss, plan.calls.output]) == ["chain"]
    together = gradients(plan, x, y, ops.program(calls, plan._slots, [*loss, plan.calls.output]))
    output = plan.calls.output.copy()
    apart = gradients(plan, x, y, ops.program(calls, plan._slots))
    eps = np.finfo(dtype).eps
    assert errors([output], [plan.calls.output])[0] < 8 * eps
    truth = in_float64(plan, x, y)
    assert (errors(together, truth) <= 2 * errors(apart, truth) + 8 * eps).all()


@pytest.mark.parametrize("freeze", [(0,), (1,), (0, 1), (0, 1, 2, 3), (2, 3), (4, 5)])
def test_what_is_frozen_gets_no_gradient(freeze):
    plan, x, y = a_plan("relu", 700, np.float64, freeze=freeze)
    calls, loss = without_update(plan), [plan.calls.loss]
    assert len(plan.calls.gradients) == 6 - len(freeze) and kernels(calls, loss) == ["chain"]
    together = gradients(plan, x, y, ops.program(calls, plan._slots, loss))
    assert (errors(together, gradients(plan, x, y, ops.program(calls, plan._slots))) < 1e-13).all()


@pytest.mark.parametrize("name", ["relu", "bce", "of z"])
def test_the_threads_change_nothing(name):
    plan, x, y = a_plan(name, 1999, np.float32)
    program = ops.program(without_update(plan), plan._slots, [plan.calls.loss])
    before = fm.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3, 7, 1):
            fm.set_num_threads(threads)
            found.append(gradients(plan, x, y, program))
    finally:
        fm.set_num_threads(before)
    for other in found[1:]:
        assert all(a.tobytes() == b.tobytes() for a, b in zip(found[0], other))


@pytest.mark.parametrize("make_optimizer", [
    lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    lambda p: optim.Adam(p, 0.01, amsgrad=True, weight_decay=0.1),
    lambda p: optim.AdamW(p, 0.01, maximize=True),
    lambda p: optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
    lambda p: optim.Adagrad(p, 0.05, lr_decay=0.1),
    lambda p: optim.Adadelta(p),
    lambda p: optim.NAdam(p, 0.01),
    lambda p: optim.RAdam(p, 0.05),
])  # fmt: skip
@pytest.mark.parametrize("rows", [1, 3, 130, 600, 1100])  # a column of C, few, one block of k, several; tall layers
def test_weights_updated_on_the_way_are_those_of_the_layers(make_optimizer, rows):
    """To the last bit, for any number of threads, and with another learning rate in between."""
    x, y = RNG.normal(size=(rows, 150)).astype(np.float32), RNG.integers(0, 10, rows)
    found, before = [], fm.get_num_threads()
    try:
        for threads in (None, 1, 2, 3, 7):
            fm.set_num_threads(threads or 1)
            fm.manual_seed(0)
            model = nn.Sequential(
                nn.Linear(150, 131), nn.GELU(), nn.Linear(131, 97, bias=False), nn.Tanh(), nn.Linear(97, 10)
            )
            optimizer = make_optimizer(model.parameters())
            network = fm.compile(model, nn.CrossEntropyLoss(), optimizer)
            for i in range(4):
                optimizer.param_groups[0]["lr"] *= 1 if i < 2 else 0.5
                (network._eager_step if threads is None else network.step)(x, y)
            states = [a for s in optimizer.state_dict()["state"].values() for a in s.values() if hasattr(a, "shape")]
            found.append([np.asarray(a).tobytes() for a in (*(p.detach() for p in model.parameters()), *states)])
            plan = network._last_steps.get("only")
            assert threads is None or "layer_backward" in [name for _, name, _ in plan.program.parts()]
    finally:
        fm.set_num_threads(before)
    assert all(other == found[0] for other in found[1:])


@pytest.mark.parametrize(("make_optimizer", "options"), [
    (lambda p: optim.RMSprop(p, 0.01, momentum=0.9), [("momentum", 0), ("momentum", 0.9)]),
    (lambda p: optim.SGD(p, 0.1, momentum=0.9), [("momentum", 0), ("momentum", 0.9)]),
    (lambda p: optim.RMSprop(p, 0.01, centered=True), [("centered", False), ("centered", True)]),
    (lambda p: optim.Adam(p, 0.01, amsgrad=True), [("amsgrad", False), ("amsgrad", True)]),
])  # fmt: skip
def test_options_that_want_other_state_are_seen(make_optimizer, options):
    x, y = RNG.normal(size=(50, K)).astype(np.float32), LABELS[:50]
    models, networks = [], []
    for _ in range(2):
        fm.manual_seed(0)
        models.append(nn.Sequential(nn.Linear(K, 16), nn.ReLU(), nn.Linear(16, C)))
        networks.append(fm.compile(models[-1], nn.CrossEntropyLoss(), make_optimizer(models[-1].parameters())))
    for name, value in [(None, None), *options, (None, None), *options]:
        for network, step in zip(networks, (networks[0].step, networks[1]._eager_step)):
            if name is not None:
                network.optimizer.param_groups[0][name] = value
            for _ in range(2):
                step(x, y)
        for p, q in zip(*(m.parameters() for m in models)):
            np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())


@pytest.mark.parametrize(
    ("rows", "results", "wanted"),
    [
        (MIN_ROWS - 1, "loss", "layer_backward"),  # too few rows
        (MIN_ROWS, "all", None),
        (MIN_ROWS, "output", "chain"),
        (MIN_ROWS, "gradient of the output", "layer_backward"),
        (MIN_ROWS, "loss", "chain"),
        (MIN_ROWS, "gradients", "chain"),
    ],
)
def test_when_calls_are_done_together(rows, results, wanted):
    plan, *_ = a_plan("relu", rows, np.float32)
    some = {
        "loss": [plan.calls.loss],
        "all": None,
        "output": [plan.calls.loss, plan.calls.output],
        "gradient of the output": [next(a[-1] for name, a in plan.calls.calls if name == "cross_entropy")],
        "gradients": [plan.calls.loss, *(g for _, g in plan.calls.gradients)],
    }[results]
    calls = plan.calls.calls
    plain, found = [name for name, _ in calls], kernels(calls, some)
    expected = [name.replace("linear_backward", wanted or "linear_backward") for name in plain]
    assert found == (["chain", "adam"] if wanted == "chain" else expected)


def test_a_large_layer_is_done_alone():
    size = int(SMALL_WEIGHTS**0.5) + 1
    model = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, C))
    network = fm.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters()))
    x = RNG.normal(size=(MIN_ROWS, size)).astype(np.float32)
    network.step(x, LABELS[:MIN_ROWS])
    network.step(x, LABELS[:MIN_ROWS])
    plan = network._last_steps["only"]
    assert "chain" not in kernels(plan.calls.calls, [plan.calls.loss])


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("relu", lambda x, y: y.__setitem__(600, 3), r"\[600\] is 3"),
        ("relu", lambda x, y: y.__setitem__(600, -1), r"\[600\] is -1"),
        ("bce", lambda x, y: y.__setitem__((600, 1), 1.5), "1.5"),
        ("bce", lambda x, y: x.__setitem__((600, 1), np.nan), "nan"),
    ],
)
def test_what_is_refused_leaves_everything_as_it_was(name, spoil, message):
    make, loss, targets = CASES[name]
    model = make()
    optimizer = optim.Adam(model.parameters())
    network = fm.compile(model, loss, optimizer)
    x, y = RNG.normal(size=(700, K)).astype(np.float32), targets[:700].copy()
    y = y if y.dtype.kind == "i" else y.astype(np.float32)
    network.step(x, y)
    network.step(x, y)
    spoil(x, y)
    before = [p.detach().numpy().copy() for p in model.parameters()], optimizer.state_dict()
    with pytest.raises(ValueError) as eager:
        loss(model(fm.tensor(x)), fm.tensor(y))
    with pytest.raises(ValueError, match=message) as compiled:
        network.step(x, y)
    assert str(compiled.value) == str(eager.value)
    assert all(np.array_equal(p.detach().numpy(), q) for p, q in zip(model.parameters(), before[0]))
    for state, old in zip(optimizer.state_dict()["state"].values(), before[1]["state"].values()):
        assert all(np.array_equal(state[key], old[key]) for key in old)


@pytest.mark.parametrize("name", CASES)
def test_twenty_steps_are_those_of_the_layers(name):
    make, loss, targets = CASES[name]
    x = RNG.normal(size=(600, K))
    y = targets[:600]
    runs = []
    for compiled in (True, False):
        fm.manual_seed(0)
        model = make().to(np.float64)
        loss = loss.to(np.float64)
        optimizer = optim.AdamW(model.parameters(), 0.01)
        network = fm.compile(model, loss, optimizer)
        step = network.step if compiled else network._eager_step
        losses = [step(x, y) for _ in range(20)]
        runs.append((losses, [p.detach().numpy().copy() for p in model.parameters()]))
    np.testing.assert_allclose(runs[0][0], runs[1][0], rtol=1e-12)
    for a, b in zip(runs[0][1], runs[1][1]):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
