"""Modules against torch's: values, gradients, state, and how they print."""

import copy
import json
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import nn, optim
from fastmlp.kernels.contract import ACTIVATIONS
from fastmlp.nn import functional as F

#: module -> the shapes of inputs that it is tried with
MODULES = {
    "Linear(4, 3)": [(5, 4), (4,), (2, 3, 4), (0, 4)],
    "Linear(4, 3, bias=False)": [(5, 4)],
    "Identity(1, a=2)": [(5, 4)],
    "Flatten()": [(5, 4, 3)],
    "Flatten(0, 1)": [(5, 4, 3)],
    "Dropout(0.0)": [(5, 4)],
    "LayerNorm(4)": [(5, 4), (4,), (2, 3, 4)],
    "LayerNorm((3, 4), eps=0.1)": [(2, 3, 4), (3, 4)],
    "LayerNorm(4, elementwise_affine=False)": [(5, 4)],
    "LayerNorm(4, bias=False)": [(5, 4)],
    "BatchNorm1d(4)": [(5, 4), (5, 4, 3)],
    "BatchNorm1d(4, eps=0.1, momentum=0.3)": [(5, 4)],
    "BatchNorm1d(4, momentum=None)": [(5, 4)],
    "BatchNorm1d(4, affine=False)": [(5, 4)],
    "BatchNorm1d(4, track_running_stats=False)": [(5, 4)],
    "BatchNorm1d(4, bias=False)": [(5, 4)],
    **{
        f"{name}": [(5, 4), (7,)]
        for name in (
            "ReLU() ReLU6() Sigmoid() Tanh() SiLU() Mish() SELU() LogSigmoid() Softsign() Tanhshrink() Hardsigmoid() "
            "Hardswish() LeakyReLU() LeakyReLU(0.2) ELU() ELU(1.5) CELU() CELU(0.5) GELU() GELU('tanh') Softplus() "
            "Softplus(2,1) Hardtanh() Hardtanh(-0.3,0.7) Hardshrink() Hardshrink(0.2) Softshrink() Softshrink(0.2) "
            "Threshold(0.1,2) PReLU() PReLU(init=0.1)"
        ).split()
    },
    "PReLU(4)": [(5, 4), (5, 4, 3)],
    "Softmax(1)": [(5, 4), (5, 4, 3)],
    "Softmax(dim=0)": [(5, 4)],
    "LogSoftmax(-1)": [(5, 4)],
    "Softmin(1)": [(5, 4)],
    "GLU()": [(5, 4), (3, 5, 2)],
    "GLU(0)": [(6, 4)],
    "Sequential(nn.Linear(4, 8), nn.ReLU(True), nn.BatchNorm1d(8), nn.Linear(8, 3), nn.LogSoftmax(1))": [(5, 4)],
    "Sequential(nn.LayerNorm(4), nn.Linear(4, 6), nn.GELU(), nn.Dropout(0.0), nn.Linear(6, 2, bias=False))": [(5, 4)],
}
CASES = [(module, shape) for module, shapes in MODULES.items() for shape in shapes]
SHRINK = {"GELU", "Hardsigmoid"}


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def both(torch, module, dtype="float64"):
    """Our module and torch's, with the same numbers in them."""
    fm.manual_seed(1)
    ours = eval(f"nn.{module}", {"nn": nn}).to(getattr(fm, dtype))
    theirs = eval(f"nn.{module}", {"nn": torch.nn}).to(getattr(torch, dtype))
    with fm.no_grad():
        for p in ours.parameters():
            p += 0.1 * fm.randn(*p.shape, dtype=p.dtype)
    state = {name: torch.tensor(np.array(t)) for name, t in ours.state_dict().items()}
    theirs.load_state_dict(state)
    return ours, theirs


def run(t, module, x, dtype):
    """Two passes -> what they gave, every gradient, every buffer"""
    x = t.tensor(x, dtype=getattr(t, dtype), requires_grad=True)
    results = []
    for scale in (1.0, 0.5):
        y = module(x * scale)
        weights = np.cos(np.arange(np.prod(y.shape))).reshape(tuple(y.shape))
        (y * t.tensor(weights, dtype=y.dtype)).sum().backward()
        results.append(y)
    gradients = [x.grad, *(p.grad for p in module.parameters())]
    return [np.asarray(a.detach()).copy() for a in (*results, *gradients, *module.buffers())]


@pytest.mark.parametrize("module, shape", CASES, ids=str)
@pytest.mark.parametrize("dtype, rtol", [("float32", 2e-4), ("float64", 1e-10)])
@pytest.mark.parametrize("training", [True, False])
def test_values_and_gradients_are_those_of_torch(torch, module, shape, dtype, rtol, training):
    ours, theirs = both(torch, module, dtype)
    ours.train(training), theirs.train(training)
    x = np.random.default_rng(0).normal(size=shape)
    if module.startswith("Hardsigmoid") and dtype == "float64":
        rtol = 1e-7  # torch's slope is 1/6 in float32
    for got, expected in zip(run(fm, ours, x, dtype), run(torch, theirs, x, dtype), strict=True):
        assert got.shape == expected.shape and got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol * 0.1)


@pytest.mark.parametrize("module", MODULES)
def test_it_prints_as_in_torch(torch, module):
    ours, theirs = both(torch, module)
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("module", [m for m, shapes in MODULES.items() if len(shapes[0]) == 2])
def test_gradients_agree_with_central_differences(module):
    fm.manual_seed(0)
    net = eval(f"nn.{module}", {"nn": nn}).double()
    x = fm.tensor(np.random.default_rng(3).normal(size=MODULES[module][0]), requires_grad=True)

    def loss():
        y = net(x)
        return (y * fm.tensor(np.cos(np.arange(y.numel())).reshape(y.shape))).sum()

    loss().backward()
    for t in (x, *net.parameters()):
        numeric = np.empty(t.shape)
        for i in np.ndindex(t.shape):
            values = []
            for step in (1e-6, -1e-6):
                with fm.no_grad():
                    t[i] = t[i].item() + step
                    values.append(loss().item())
                    t[i] = t[i].item() - step
            numeric[i] = (values[0] - values[1]) / 2e-6
        np.testing.assert_allclose(t.grad, numeric, rtol=1e-5, atol=1e-7)


def test_every_activation_of_the_contract_has_a_module_and_a_function():
    modules = {name.lower() for name in nn.__all__}
    for name in ACTIVATIONS:
        if name not in ("identity", "gelu_tanh"):
            assert name.replace("_", "") in modules
            assert callable(getattr(F, name)) and name in F.__all__


def test_every_name_of_torch_that_we_have_takes_its_arguments(torch):
    """Our parameters, in order, are the first of torch's, or all but what it has given up."""
    import inspect

    given_up = {"size_average", "reduce", "device", "dtype", "_stacklevel", "min_value", "max_value", "out"}
    for ours, theirs in ((nn, torch.nn), (F, torch.nn.functional), (nn.init, torch.nn.init)):
        for name in getattr(ours, "__all__", [n for n in dir(ours) if n.endswith("_") and not n.startswith("_")]):
            whole = getattr(theirs, name, None)
            if whole is None or not callable(whole) or name == "Module":
                continue
            try:
                expected = [p for p in inspect.signature(whole).parameters if p not in given_up]
            except ValueError:  # built in
                continue
            got = [p for p in inspect.signature(getattr(ours, name)).parameters if p not in ("dtype", "device")]
            if "args" not in expected:
                assert got == expected, name


# ----------------------------------------------------------------------------------------------- dropout


def test_dropout_drops_and_scales():
    fm.manual_seed(0)
    drop, x = nn.Dropout(0.25), fm.ones(100, 100, requires_grad=True)
    y = drop(x)
    kept = y.detach().numpy() != 0
    assert abs(kept.mean() - 0.75) < 0.02
    np.testing.assert_allclose(y.detach().numpy()[kept], 1 / 0.75, rtol=1e-6)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, y.detach())
    assert not np.array_equal(drop(x).detach(), y.detach())
    fm.manual_seed(0)
    np.testing.assert_array_equal(drop(x).detach(), y.detach())
    drop.eval()
    assert drop(x) is x
    with pytest.raises(ValueError, match="p: expected a probability, 0 to 1, got 2"):
        nn.Dropout(2)
    with pytest.raises(NotImplementedError, match="inplace=True is left out"):
        nn.Dropout(0.5, inplace=True)


# ------------------------------------------------------------------------------------------------ modules


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 8)
        self.blocks = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.scale = nn.Parameter(fm.ones(1))
        self.register_buffer("mean", fm.zeros(4))
        self.register_buffer("cache", fm.zeros(2), persistent=False)
        self.nothing = None

    def forward(self, x):
        x = F.relu(self.fc1(x - self.mean))
        for block in self.blocks:
            x = x + F.tanh(block(x))
        return x * self.scale


NAMES = ["scale", "fc1.weight", "fc1.bias", *(f"blocks.{i}.{p}" for i in (0, 1) for p in ("weight", "bias"))]


def test_what_a_module_is_made_of():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [name for name, _ in net.named_modules()] == ["", "fc1", "blocks", "blocks.0", "blocks.1"]
    assert [name for name, _ in net.named_children()] == ["fc1", "blocks"]
    assert [name for name, _ in net.named_buffers()] == ["mean", "cache"]
    assert list(net.state_dict()) == ["scale", "mean", *NAMES[1:]]
    assert len(list(net.parameters(recurse=False))) == 1
    assert net.get_submodule("blocks.1") is net.blocks[1]
    net.fc1, first = net.fc1, net.fc1
    assert net.fc1 is first
    net.tied = net.fc1
    assert [name for name, _ in net.named_parameters()] == NAMES, "each once"
    del net.tied
    assert not hasattr(net, "tied")


def test_attributes_are_registered_and_unregistered():
    net = Net()
    net.fc1 = nn.Identity()
    assert "fc1.weight" not in net.state_dict() and net.fc1 is net._modules["fc1"]
    net.scale = None
    assert "scale" not in dict(net.named_parameters()) and net.scale is None
    with pytest.raises(TypeError, match="scale: expected a Parameter or None"):
        net.scale = fm.ones(1)
    net.scale = nn.Parameter(fm.ones(2))
    assert "scale" in dict(net.named_parameters())
    net.mean = fm.ones(4)
    assert dict(net.named_buffers())["mean"] is net.mean
    net.fc1 = 3
    assert net.fc1 == 3 and "fc1" not in net._modules

    class Early(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"call super\(\).__init__\(\) before assigning 'fc'"):
        Early()
    with pytest.raises(KeyError, match=r"expected a name without dots, got 'a\.b'"):
        net.register_buffer("a.b", None)
    with pytest.raises(KeyError, match="already has an attribute 'forward'"):
        net.register_parameter("forward", None)
    with pytest.raises(TypeError, match="x: expected a Module or None, got int"):
        net.add_module("x", 3)
    with pytest.raises(NotImplementedError, match=r"Module has no forward\(\)"):
        nn.Module()(1)
    with pytest.raises(AttributeError, match=r"fastmlp.nn has no Conv2d; it has .*Linear"):
        nn.Conv2d  # noqa: B018
    with pytest.raises(AttributeError, match=r"fastmlp.nn has no Relu; did you mean ReLU\?"):
        nn.Relu  # noqa: B018


def test_train_eval_apply_and_zero_grad():
    net = Net()
    assert all(m.training for m in net.modules())
    assert net.eval() is net and not any(m.training for m in net.modules())
    net.train()
    assert net.blocks[0].training
    seen = []
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert seen == ["Linear", "Linear", "Linear", "ModuleList", "Net"]
    net(fm.randn(3, 4)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad(set_to_none=False)
    assert all((p.grad == 0).all() for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.requires_grad_(False)
    assert not net(fm.randn(3, 4)).requires_grad


def test_state_goes_and_comes_back():
    fm.manual_seed(0)
    net, other = Net(), Net()
    x = fm.randn(3, 4)
    assert repr(other.load_state_dict(net.state_dict())) == "<All keys matched successfully>"
    np.testing.assert_array_equal(net(x).detach(), other(x).detach())
    state = net.state_dict()
    state["scale"].fill_(7)
    assert net.scale.item() == 7, "a state dict shares memory"
    arrays = {name: np.array(t) for name, t in state.items()}
    other.load_state_dict(arrays)
    assert other.scale.item() == 7


def test_state_that_does_not_fit_changes_nothing():
    net = Net()
    before = {name: np.array(t) for name, t in net.state_dict().items()}
    state = {name: np.zeros(t.shape) for name, t in before.items()}
    del state["fc1.bias"]
    state |= {"extra": np.zeros(1), "fc1.weight": np.zeros((2, 2))}
    with pytest.raises(RuntimeError) as e:
        net.load_state_dict(state)
    assert str(e.value) == (
        "state_dict does not fit Net: missing keys: fc1.bias; unexpected keys: extra; "
        "fc1.weight: expected shape (8, 4), got (2, 2)"
    )
    for name, t in net.state_dict().items():
        np.testing.assert_array_equal(t, before[name])
    state["fc1.weight"] = np.zeros((8, 4))
    keys = net.load_state_dict(state, strict=False)
    assert keys.missing_keys == ["fc1.bias"] and keys.unexpected_keys == ["extra"]
    with pytest.raises(TypeError, match="state_dict: expected a dict, got list"):
        net.load_state_dict([1])


def test_types_are_changed_in_place():
    net = Net()
    weight = net.fc1.weight
    net(fm.randn(3, 4)).sum().backward()
    assert net.double() is net and net.fc1.weight is weight
    assert weight.dtype == fm.float64 and weight.grad.dtype == fm.float64 and net.mean.dtype == fm.float64
    assert net(fm.randn(3, 4, dtype=fm.float64)).dtype == fm.float64
    net.float().to("cpu")
    assert weight.dtype == fm.float32
    with pytest.raises(TypeError, match="to: expected float32 or float64, got int64"):
        net.to(fm.int64)


def test_hooks_see_and_may_change_the_output():
    net, seen = nn.Sequential(nn.Linear(4, 3), nn.ReLU()), []
    handle = net[0].register_forward_hook(lambda m, inputs, output: seen.append((m, inputs[0].shape, output.shape)))
    x = fm.randn(5, 4)
    net(x)
    assert seen == [(net[0], (5, 4), (5, 3))]
    handle.remove()
    net(x)
    assert len(seen) == 1
    net[1].register_forward_hook(lambda m, inputs, output: output * 0)
    assert (net(x) == 0).all()


def test_modules_are_copied_and_pickled():
    fm.manual_seed(0)
    net = Net()
    x = fm.randn(3, 4)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(net(x).detach(), other(x).detach())
        assert other.fc1 is other._modules["fc1"] and other.fc1.weight is other.fc1._parameters["weight"]
        other.fc1.weight.data.zero_()
        assert (net.fc1.weight != 0).any()


def test_a_layer_that_does_not_fit_is_named():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(9, 2))
    with pytest.raises(ValueError, match="x: expected shape") as e:
        net(fm.ones(3, 4))
    assert e.value.__notes__ == ["in layer 2 of the Sequential, Linear"]


def test_containers():
    a, b, c = nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1)
    net = nn.Sequential(a, b, c)
    assert len(net) == 3 and net[0] is a and net[-1] is c and list(net) == [a, b, c] and b in net
    assert list(net[:2]) == [a, b] and isinstance(net[:2], nn.Sequential)
    net[1] = nn.Tanh()
    net.append(b).insert(0, c)
    assert [type(m).__name__ for m in net] == ["Linear", "Linear", "Tanh", "Linear", "ReLU"]
    del net[0]
    assert len(net) == 4 and list(net._modules) == ["0", "1", "2", "3"]
    named = nn.Sequential(OrderedDict([("first", a), ("act", b)]))
    assert named.first is a and list(named.state_dict()) == ["first.weight", "first.bias"]
    modules = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    modules.extend([a]).append(b)
    assert len(modules) == 5 and list(modules + net)[-1] is b and isinstance(modules[1:], nn.ModuleList)
    with pytest.raises(TypeError, match="expected a Module, got int"):
        nn.Sequential(1)
    with pytest.raises(IndexError, match="index 9 is out of range for 4 modules"):
        net[9]


def test_summary():
    net = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    net[0].bias.requires_grad_(False)
    assert net.summary(32, 784).splitlines() == [
        "layer  type    parameters  output",
        "---------------------------------",
        "0      Linear     200,960  32x256",
        "1      ReLU             0  32x256",
        "2      Linear       2,570   32x10",
        "---------------------------------",
        "203,530 parameters, 203,274 of them learnt, 795.0 KiB",
    ]
    assert "output" not in net.summary() and net.training


# -------------------------------------------------------------------------------------------------- init


@pytest.mark.parametrize(
    "name, low, high, std",
    [
        ("uniform_(t, -1, 3)", -1, 3, 4 / 12**0.5),
        ("normal_(t, 0, 0.5)", -5, 5, 0.5),
        ("trunc_normal_(t)", -2, 2, 0.8796),
        ("xavier_uniform_(t)", -0.1, 0.1, 0.1 / 3**0.5),
        ("xavier_normal_(t, gain=2)", -1, 1, 2 * (2 / 600) ** 0.5),
        ("kaiming_uniform_(t)", -((6 / 400) ** 0.5), (6 / 400) ** 0.5, (2 / 400) ** 0.5),
        ("kaiming_uniform_(t, a=5**0.5)", -(1 / 20), 1 / 20, 1 / 20 / 3**0.5),
        ("kaiming_normal_(t, mode='fan_out', nonlinearity='relu')", -1, 1, 0.1),
        ("kaiming_normal_(t, nonlinearity='tanh')", -1, 1, 5 / 3 / 20),
    ],
)
def test_init_has_the_range_and_deviation_of_its_formula(name, low, high, std):
    fm.manual_seed(0)
    t = fm.empty(200, 400)
    assert eval(f"init.{name}", {"init": nn.init, "t": t}) is t
    a = t.numpy()
    assert low <= a.min() and a.max() <= high
    assert a.std() == pytest.approx(std, rel=0.02)


def test_init_of_matrices():
    for shape in ((30, 20), (20, 30)):
        q = nn.init.orthogonal_(fm.empty(*shape, dtype=fm.float64), gain=2).numpy()
        small = q.T @ q if shape[0] > shape[1] else q @ q.T
        np.testing.assert_allclose(small, 4 * np.eye(20), atol=1e-12)
    a = nn.init.sparse_(fm.empty(10, 5), 0.3).numpy()
    assert ((a == 0).sum(axis=0) == 3).all()
    np.testing.assert_array_equal(nn.init.eye_(fm.empty(3, 4)), np.eye(3, 4))
    assert (nn.init.constant_(fm.empty(2), 3) == 3).all() and (nn.init.ones_(fm.empty(2)) == 1).all()


def test_gains_are_those_of_torch(torch):
    for name in ("linear", "sigmoid", "tanh", "relu", "selu", "leaky_relu"):
        assert nn.init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert nn.init.calculate_gain("leaky_relu", 0.3) == torch.nn.init.calculate_gain("leaky_relu", 0.3)


@pytest.mark.parametrize(
    "call, text",
    [
        ("xavier_uniform_(t)", r"tensor: expected at least 2 axes, got shape \(3,\)"),
        ("eye_(t)", r"tensor: expected 2 axes, got shape \(3,\)"),
        ("uniform_(t, 2, 1)", "expected a <= b, got a = 2 and b = 1"),
        ("normal_(t, 0, -1)", "std: expected a number >= 0, got -1"),
        ("trunc_normal_(t, a=100, b=101)", "hardly any of"),
        ("kaiming_uniform_(m, mode='fan')", "mode: expected 'fan_in' or 'fan_out', got 'fan'"),
        ("kaiming_uniform_(m, nonlinearity='gelu')", "nonlinearity: expected one of .*, got 'gelu'"),
        ("sparse_(m, 2)", "sparsity: expected 0 to 1, got 2"),
    ],
)
def test_bad_init(call, text):
    with pytest.raises(ValueError, match=text):
        eval(f"init.{call}", {"init": nn.init, "t": fm.ones(3), "m": fm.ones(2, 2)})


# ------------------------------------------------------------------------------------------------ losses

LOSSES = {
    "MSELoss": ({}, {"reduction": "sum"}, {"reduction": "none"}),
    "L1Loss": ({}, {"reduction": "none"}),
    "SmoothL1Loss": ({}, {"beta": 0.3}, {"reduction": "sum"}),
    "HuberLoss": ({}, {"delta": 0.3}, {"reduction": "none"}),
    "BCELoss": ({}, {"reduction": "sum"}, {"weight": [1.0, 2.0, 0.5]}),
    "BCEWithLogitsLoss": ({}, {"pos_weight": [1.0, 2.0, 0.5]}, {"weight": [1.0, 2.0, 0.5], "reduction": "none"}),
    "KLDivLoss": ({}, {"reduction": "batchmean"}, {"log_target": True}, {"reduction": "none"}),
    "CrossEntropyLoss": (
        {}, {"label_smoothing": 0.1}, {"weight": [1.0, 2.0, 0.5], "reduction": "sum"}, {"ignore_index": 1},
        {"reduction": "none"},
    ),
    "NLLLoss": ({}, {"weight": [1.0, 2.0, 0.5]}, {"ignore_index": 1, "reduction": "sum"}, {"reduction": "none"}),
}  # fmt: skip


def inputs_of(loss, rng, rows=6):
    """-> input (rows, 3), target, as the loss wants them"""
    x = rng.normal(size=(rows, 3))
    if loss == "BCELoss":
        x = 1 / (1 + np.exp(-x))
    if loss in ("KLDivLoss", "NLLLoss"):
        x = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
    if loss in ("CrossEntropyLoss", "NLLLoss"):
        return x, rng.integers(0, 3, rows)
    if loss == "KLDivLoss":
        return x, rng.dirichlet(np.ones(3), rows)
    return x, rng.integers(0, 2, (rows, 3)).astype(float) if loss.startswith("BCE") else rng.normal(size=(rows, 3))


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("loss, options", [(loss, o) for loss, several in LOSSES.items() for o in several], ids=str)
def test_losses_are_those_of_torch(torch, loss, options):
    x, target = inputs_of(loss, np.random.default_rng(0))
    if options.get("log_target"):
        target = np.log(target)
    results = []
    for t in (fm, torch):
        given = {k: t.tensor(v, dtype=t.float64) if isinstance(v, list) else v for k, v in options.items()}
        criterion = getattr(t.nn, loss)(**given)
        a = t.tensor(x, requires_grad=True)
        value = criterion(a, t.tensor(target))
        (value * 1.5 if value.ndim == 0 else value * t.arange(value.numel()).reshape(value.shape)).sum().backward()
        results.append((np.asarray(value.detach()), np.asarray(a.grad)))
        assert list(criterion.state_dict()) == [k for k in ("weight", "pos_weight") if isinstance(options.get(k), list)]
    for got, expected in zip(*results):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)


def test_classes_of_more_than_two_axes_are_the_second(torch):
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(4, 3, 5)), rng.integers(0, 3, (4, 5))
    soft = rng.dirichlet(np.ones(3), (4, 5)).transpose(0, 2, 1)
    for loss, target in (("cross_entropy", labels), ("cross_entropy", soft), ("nll_loss", labels)):
        got = []
        for t in (fm, torch):
            a = t.tensor(x, requires_grad=True)
            value = getattr(t.nn.functional, loss)(a, t.tensor(target))
            value.backward()
            got.append((value.item(), np.asarray(a.grad)))
        assert got[0][0] == pytest.approx(got[1][0], rel=1e-12)
        np.testing.assert_allclose(got[0][1], got[1][1], rtol=1e-11, atol=1e-14)


def test_losses_refuse_what_they_cannot_do():
    x = fm.randn(4, 3).requires_grad_()
    with pytest.raises(RuntimeError, match=r"target: its gradient is left out of fastmlp; use target.detach\(\)"):
        F.binary_cross_entropy_with_logits(x, fm.rand(4, 3).requires_grad_())
    target = fm.randn(4, 3).requires_grad_()
    F.mse_loss(x, target).backward()
    np.testing.assert_allclose(target.grad, -x.grad.numpy())
    F.l1_loss(fm.ones(4, 3), target).backward()
    with pytest.raises(ValueError, match=r"\(4, 1\)"):
        F.mse_loss(x, fm.ones(4, 1))
    with pytest.raises(TypeError, match="ignore_index: expected an int, got a Tensor; input and target"):
        nn.CrossEntropyLoss(x.detach(), fm.tensor([0, 1, 2, 0]))
    with pytest.raises(TypeError, match="reduction: expected a name, got Tensor; input and target"):
        nn.MSELoss(x)
    with pytest.raises(ValueError, match="reduction: expected one of"):
        nn.MSELoss("average")(x, x.detach())
    with pytest.raises(ValueError, match=r"target.* is 3: expected 0 to 2"):
        nn.CrossEntropyLoss()(x, fm.tensor([0, 1, 2, 3]))


# ------------------------------------------------------------------------------------------ trajectories

OPTIMIZERS = {
    "SGD": ({"lr": 0.1}, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}),
    "Adam": ({"lr": 0.01}, {"lr": 0.01, "amsgrad": True}),
    "AdamW": ({"lr": 0.01},),
    "RMSprop": ({"lr": 0.003}, {"lr": 0.003, "momentum": 0.5, "centered": True}),
    "Adagrad": ({"lr": 0.05},),
    "Adadelta": ({},),
    "NAdam": ({},),
    "RAdam": ({"lr": 0.01},),
}


def train(t, loss, optimizer, options, dtype, weights):
    """50 steps of a 3-16-3 network on 5 batches -> the losses"""
    dtype = getattr(t, dtype)
    heads = {"BCELoss": t.nn.Sigmoid(), "KLDivLoss": t.nn.LogSoftmax(1), "NLLLoss": t.nn.LogSoftmax(1)}
    head = heads.get(loss, t.nn.Identity())
    net = t.nn.Sequential(t.nn.Linear(3, 16), t.nn.Tanh(), t.nn.Linear(16, 3), head).to(dtype)
    with t.no_grad():
        for p, w in zip(net.parameters(), weights):
            p.copy_(t.tensor(w, dtype=dtype))
    criterion, opt = getattr(t.nn, loss)(), getattr(t.optim, optimizer)(net.parameters(), **options)
    losses = []
    for step in range(50):
        rng = np.random.default_rng(step % 5)
        x, target = rng.normal(size=(8, 3)), inputs_of(loss, rng, 8)[1]
        target = t.tensor(target) if target.dtype == np.int64 else t.tensor(target, dtype=dtype)
        value = criterion(net(t.tensor(x, dtype=dtype)), target)
        opt.zero_grad()
        value.backward()
        opt.step()
        losses.append(value.item())
    return np.array(losses)


RUNS = [(loss, name, o) for loss in LOSSES for name, several in OPTIMIZERS.items() for o in several]
STEPS = [0, 4, 9, 24, 49]  # of which losses are recorded
RECORDED = json.loads((Path(__file__).parent / "torch_losses.json").read_text())


def run_name(loss, optimizer, options):
    return " ".join([loss, optimizer, *(f"{key}={value}" for key, value in options.items())])


def losses(t, loss, optimizer, options, dtype):
    """Those of STEPS, from weights that are always the same."""
    rng = np.random.default_rng(7)
    weights = [rng.normal(size=shape) * 0.5 for shape in ((16, 3), (16,), (3, 16), (3,))]
    return train(t, loss, optimizer, options, dtype, weights)[STEPS]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run_name(*run))
@pytest.mark.parametrize("dtype, rtol", [("float32", 1e-4), ("float64", 1e-10)])
def test_training_goes_the_way_that_it_went_in_torch(run, dtype, rtol):
    """What tools/record_torch.py has written down."""
    assert RECORDED["steps"] == STEPS
    ours = losses(fm, *run, dtype)
    np.testing.assert_allclose(ours, RECORDED["runs"][run_name(*run)], rtol=rtol)


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("run", RUNS, ids=lambda run: run_name(*run))
@pytest.mark.parametrize("dtype, rtol", [("float32", 1e-4), ("float64", 1e-10)])
def test_training_goes_the_way_that_it_goes_in_torch(torch, run, dtype, rtol):
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))  # of what NAdam keeps
    try:
        ours, theirs = (losses(t, *run, dtype) for t in (fm, torch))
    finally:
        torch.set_default_dtype(before)
    np.testing.assert_allclose(ours, theirs, rtol=rtol)


def test_the_modules_of_optim_are_all_tried():
    assert set(OPTIMIZERS) == {name for name in dir(optim) if name[0].isupper()} - {"Optimizer"}
