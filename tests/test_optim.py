"""The optimizers against torch's, step by step; groups, missing gradients, saving; and what is refused."""

import copy
import pickle

import numpy as np
import pytest

from fastmlp import optim, tensor

SHAPES = ((5, 7), (7,), (), (1,), (0,), (64, 33))

#: class -> sets of options
OPTIONS = {
    "SGD": (
        {},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        {"lr": 0.05, "momentum": 0.8, "dampening": 0.3, "maximize": True},
        {"lr": 0.05, "weight_decay": 0.1, "maximize": True},
    ),
    "Adam": (
        {},
        {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1},
        {"lr": 0.01, "amsgrad": True, "maximize": True},
        {"lr": 0.01, "betas": (0.3, 0.9), "eps": 1e-3, "decoupled_weight_decay": True, "weight_decay": 0.2},
        {"lr": 0.01, "betas": (0.0, 0.5)},
    ),
    "AdamW": ({}, {"lr": 0.01, "weight_decay": 0.2, "amsgrad": True}, {"lr": 0.02, "maximize": True}),
    "RMSprop": (
        {},
        {"lr": 0.003, "alpha": 0.9, "weight_decay": 0.1},
        {"lr": 0.003, "momentum": 0.8, "maximize": True},
        {"lr": 0.003, "centered": True},
        {"lr": 0.003, "centered": True, "momentum": 0.9, "eps": 1e-4},
    ),
    "Adagrad": (
        {},
        {"lr": 0.1, "lr_decay": 0.05, "weight_decay": 0.1},
        {"lr": 0.1, "initial_accumulator_value": 0.5, "maximize": True},
    ),
    "Adadelta": ({}, {"lr": 0.5, "rho": 0.8, "weight_decay": 0.1}, {"eps": 1e-3, "maximize": True}),
    "NAdam": (
        {},
        {"lr": 0.01, "momentum_decay": 0.1, "weight_decay": 0.1},
        {"lr": 0.01, "decoupled_weight_decay": True, "weight_decay": 0.1, "maximize": True},
    ),
    "RAdam": (
        {"lr": 0.01},
        {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.1},
        {"lr": 0.01, "betas": (0.9, 0.5), "decoupled_weight_decay": True, "weight_decay": 0.1, "maximize": True},
    ),
}
CASES = [(name, options) for name, sets in OPTIONS.items() for options in sets]
IDS = [f"{name}-{'-'.join(f'{k}={v}' for k, v in options.items())}" for name, options in CASES]
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def arrays(dtype, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return [np.asarray(scale * rng.standard_normal(shape), dtype) for shape in SHAPES]


def parameters(dtype="float32"):
    return [tensor(a, requires_grad=True) for a in arrays(dtype)]


def set_gradients(params, step, missing=lambda i, step: False, of=tensor):
    """The gradients of that step, the same for everybody, of changing size."""
    for i, (p, g) in enumerate(zip(params, arrays(p_dtype(params[0]), 100 + step, 2.0 ** (step % 5 - 2)))):
        p.grad = None if missing(i, step) else of(g)


def p_dtype(p):
    return str(p.dtype).removeprefix("torch.")


def run(optimizer, params, steps, **more):
    for step in steps:
        set_gradients(params, step, **more)
        optimizer.step()


def values(params):
    return [p.detach().numpy().copy() for p in params]


def assert_close(ours, theirs, dtype):
    for a, b in zip(ours, theirs):
        size = np.abs(b).max(initial=0)
        np.testing.assert_allclose(a, b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * size)


def compare(torch, name, dtype, groups_of, options, missing=lambda i, step: False, steps=50):
    """Our optimizer and torch's over the same gradients, from the same parameters."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))  # torch keeps the numbers of its state in it
    try:
        ours = parameters(dtype)
        theirs = [torch.nn.Parameter(torch.from_numpy(a)) for a in arrays(dtype)]
        run(getattr(optim, name)(groups_of(ours), **options), ours, range(steps), missing=missing)
        reference = getattr(torch.optim, name)(groups_of(theirs), **options)
        run(reference, theirs, range(steps), missing=missing, of=torch.from_numpy)
    finally:
        torch.set_default_dtype(before)
    assert_close(values(ours), values(theirs), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name, options", CASES, ids=IDS)
def test_fifty_steps_as_torch(on_each_backend, torch, name, options, dtype):
    compare(torch, name, dtype, list, options)


@pytest.mark.parametrize("name", OPTIONS)
def test_groups_have_options_of_their_own(torch, name):
    def groups(params):
        return [{"params": params[:2], "lr": 0.02}, {"params": params[2:], "weight_decay": 0.05}]

    compare(torch, name, "float64", groups, {"lr": 0.01, "weight_decay": 0.2})


@pytest.mark.parametrize("name, options", CASES, ids=IDS)
def test_a_parameter_without_a_gradient_is_skipped(torch, name, options):
    """They come to have different numbers of steps."""

    def missing(i, step):
        return (i + step) % 3 == 0 or (i == 5 and step < 10)

    compare(torch, name, "float64", list, options, missing)


@pytest.mark.parametrize("name", OPTIONS)
def test_parameters_of_both_dtypes_in_one_group(name):
    """Each as if it were alone."""

    def result(*wanted):
        params = [tensor(arrays(dtype)[0], requires_grad=True) for dtype in wanted]
        optimizer = getattr(optim, name)(params, lr=0.01)
        for step in range(5):
            for p in params:
                p.grad = tensor(arrays(p_dtype(p), step)[0])
            optimizer.step()
        return values(params)

    both = result("float32", "float64")
    assert (both[0] == result("float32")[0]).all() and (both[1] == result("float64")[0]).all()


@pytest.mark.parametrize("name, options", CASES, ids=IDS)
def test_a_run_goes_on_from_a_state_dict(name, options):
    ours = parameters()
    optimizer = getattr(optim, name)(ours, **options)
    run(optimizer, ours, range(7))
    saved, weights = pickle.loads(pickle.dumps(optimizer.state_dict())), values(ours)
    run(optimizer, ours, range(7, 15))
    others = [tensor(a, requires_grad=True) for a in weights]
    again = getattr(optim, name)(others, lr=17.0)
    again.load_state_dict(saved)
    assert again.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    run(again, others, range(7, 15))
    assert all((a == b).all() for a, b in zip(values(ours), values(others)))


def test_a_state_dict_is_a_copy_and_loading_makes_another():
    params = parameters()
    optimizer = optim.Adam(params)
    run(optimizer, params, range(3))
    saved = optimizer.state_dict()
    kept = copy.deepcopy(saved)
    other = optim.Adam(parameters())
    other.load_state_dict(saved)
    run(optimizer, params, range(3, 6))
    run(other, other.param_groups[0]["params"], range(3, 6))
    assert saved["state"].keys() == kept["state"].keys() == set(range(len(SHAPES)))
    for i, state in saved["state"].items():
        assert state["step"] == 3
        assert all(np.array_equal(state[name], kept["state"][i][name]) for name in state)


@pytest.mark.parametrize("name, options", CASES, ids=IDS)
def test_a_state_dict_of_torch_is_taken_over(torch, name, options):
    theirs = [torch.nn.Parameter(torch.from_numpy(a)) for a in arrays("float32")]
    reference = getattr(torch.optim, name)(theirs, **options)
    run(reference, theirs, range(5), of=torch.from_numpy)
    ours = [tensor(a, requires_grad=True) for a in values(theirs)]
    optimizer = getattr(optim, name)(ours)
    optimizer.load_state_dict(reference.state_dict())
    assert repr(optimizer) == repr(reference)
    run(optimizer, ours, range(5, 10))
    run(reference, theirs, range(5, 10), of=torch.from_numpy)
    assert_close(values(ours), values(theirs), "float32")


@pytest.mark.parametrize("name", OPTIONS)
def test_state_dict_has_torchs_layout(torch, name):
    ours, theirs = parameters(), [torch.nn.Parameter(torch.from_numpy(a)) for a in arrays("float32")]
    optimizer, reference = getattr(optim, name)(ours), getattr(torch.optim, name)(theirs)
    run(optimizer, ours, range(2))
    run(reference, theirs, range(2), of=torch.from_numpy)
    a, b = optimizer.state_dict(), reference.state_dict()
    assert a["param_groups"] == b["param_groups"]
    kept = {i: {key for key in s if s[key] is not None} for i, s in b["state"].items()}
    assert {i: set(s) for i, s in a["state"].items()} == {i: keys for i, keys in kept.items() if keys}
    assert repr(optimizer) == repr(reference)
    assert optimizer.defaults == reference.defaults


def test_named_parameters():
    w, b = parameters()[:2]
    optimizer = optim.SGD([("fc.weight", w), ("fc.bias", b)])
    assert optimizer.param_groups[0]["params"] == [w, b]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["fc.weight", "fc.bias"]


def test_options_may_be_changed_between_steps():
    p = tensor(np.ones(3), requires_grad=True)
    p.grad = tensor(np.ones(3))
    optimizer = optim.SGD([p], lr=1.0)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.25
    optimizer.step()
    assert (p.detach().numpy() == -0.25).all()
    optimizer.param_groups[0]["momentum"] = 0.5  # begins with this gradient
    optimizer.step()
    optimizer.step()
    assert (p.detach().numpy() == -0.25 - 0.25 - 0.375).all()


def test_a_parameter_may_get_another_array():
    """As model.double() gives it before the first step."""
    p = tensor(np.ones(3, np.float32), requires_grad=True)
    optimizer = optim.Adam([p], lr=0.5)
    p.data = tensor(np.ones(3))
    p.grad = tensor(np.ones(3))
    optimizer.step()
    np.testing.assert_allclose(p.detach().numpy(), 0.5, rtol=1e-7)


def test_gradients_may_have_any_strides():
    g = np.arange(35.0).reshape(7, 5)
    results = []
    for grad in (g.T, g.T.copy(), np.broadcast_to(g.T[:, :1], (5, 7))):
        p = tensor(np.ones((5, 7)), requires_grad=True)
        p.grad = tensor(grad)
        optim.SGD([p], lr=1.0).step()
        results.append(p.detach().numpy())
    assert (results[0] == 1 - g.T).all() and (results[1] == results[0]).all()
    assert (results[2] == 1 - g.T[:, :1]).all()


def test_step_runs_the_closure_and_returns_its_loss():
    p = tensor(np.array([3.0]), requires_grad=True)
    optimizer = optim.SGD([p], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert optimizer.step() is None
    assert float(optimizer.step(closure).detach().numpy()) == 9
    assert p.detach().numpy() == 0


def test_zero_grad():
    params = parameters()
    set_gradients(params, 0)
    grads = [p.grad for p in params]
    optimizer = optim.SGD(params)
    optimizer.zero_grad(set_to_none=False)
    assert all(p.grad is g and not g.numpy().any() for p, g in zip(params, grads))
    optimizer.zero_grad()
    assert all(p.grad is None for p in params)


def test_what_the_forward_pass_keeps_is_not_changed_unseen():
    """A step between forward and backward is found out."""
    w = tensor(np.ones((2, 2)), requires_grad=True)
    loss = (w * w).sum()
    w.grad = tensor(np.ones((2, 2)))
    optim.SGD([w]).step()
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


P = tensor(np.ones(2), requires_grad=True)
OTHER = tensor(np.ones(2), requires_grad=True)
REFUSED = [
    (lambda: optim.SGD([]), ValueError, "params: expected at least one parameter, got an empty list"),
    (lambda: optim.SGD(P), TypeError, "params: expected an iterable of tensors or of dicts, got one tensor"),
    (lambda: optim.SGD([np.ones(2)]), TypeError, "params: expected tensors, got ndarray"),
    (lambda: optim.SGD([P * 2]), ValueError, "params: expected leaf tensors, got one that an operation made"),
    (lambda: optim.SGD([P, P]), ValueError, "params: the same parameter appears twice"),
    (lambda: optim.SGD([{"params": [P]}, {"params": [P]}]), ValueError, "params: the same parameter appears twice"),
    (lambda: optim.SGD([{"params": {P, OTHER}}]), TypeError,
     "params: expected an ordered collection, got a set, whose order changes from run to run"),
    (lambda: optim.SGD([{"lr": 1.0}]), ValueError, "param_group: expected the parameters under 'params', got ['lr']"),
    (lambda: optim.SGD([("a", P), OTHER]), ValueError,
     "params: expected names for all or none, got 1 for 2 parameters"),
    (lambda: optim.SGD([{"params": [("a", P)]}, {"params": [OTHER]}]), ValueError,
     "params: expected names in every group or in none"),
    (lambda: optim.SGD([P]).add_param_group([OTHER]), TypeError, "param_group: expected a dict, got list"),
    (lambda: optim.SGD([P], lr=-1), ValueError, "lr: expected a number >= 0, got -1"),
    (lambda: optim.SGD([{"params": [P], "lr": -1}]), ValueError, "lr: expected a number >= 0, got -1"),
    (lambda: optim.SGD([P], lr="fast"), TypeError, "lr: expected a number, got str"),
    (lambda: optim.SGD([P], momentum=float("nan")), ValueError, "momentum: expected a number >= 0, got nan"),
    (lambda: optim.SGD([P], nesterov=True), ValueError,
     "nesterov: expected momentum > 0 and dampening 0 with it, got 0 and 0.0"),
    (lambda: optim.SGD([P], capturable=False), TypeError, "SGD: unexpected keyword argument 'capturable'"),
    (lambda: optim.SGD([P], nestorov=True), TypeError, "SGD: unexpected keyword argument 'nestorov'"),
    (lambda: optim.Adam([P], fused=True), ValueError,
     "fused: expected None or False, as there is one implementation here, got True"),
    (lambda: optim.Adam([P], betas=(0.9, 1.0)), ValueError, "betas[1]: expected a number >= 0 and < 1, got 1.0"),
    (lambda: optim.Adam([P], betas=0.9), ValueError, "betas: expected a pair of numbers, got 0.9"),
    (lambda: optim.AdamW([P], eps=-1e-8), ValueError, "eps: expected a number >= 0, got -1e-08"),
    (lambda: optim.RMSprop([P], alpha=-0.1), ValueError, "alpha: expected a number >= 0, got -0.1"),
    (lambda: optim.Adagrad([P], lr_decay=-1), ValueError, "lr_decay: expected a number >= 0, got -1"),
    (lambda: optim.Adadelta([P], rho=1.1), ValueError, "rho: expected a number from 0 to 1, got 1.1"),
    (lambda: optim.NAdam([P], momentum_decay=-1), ValueError, "momentum_decay: expected a number >= 0, got -1"),
    (lambda: optim.RAdam([P], weight_decay=-1), ValueError, "weight_decay: expected a number >= 0, got -1"),
    (lambda: optim.Optimizer([P], {}).load_state_dict({"state": {}, "param_groups": []}), ValueError,
     "state_dict: expected groups of [1] parameters, got groups of []"),
    (lambda: optim.Adam([P]).load_state_dict(
        {"state": {0: {"step": 1, "exp_avg": np.ones(3)}}, "param_groups": [{"params": [0]}]}),
     ValueError, "state_dict: exp_avg of parameter 0: expected shape (2,), got (3,)"),
]  # fmt: skip


@pytest.mark.parametrize("call, error, text", REFUSED, ids=[text[:60] for *_, text in REFUSED])
def test_refused(call, error, text):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == text


@pytest.mark.parametrize("name", OPTIONS)
def test_a_wrong_gradient_changes_nothing(name):
    params = parameters()
    optimizer = getattr(optim, name)(params)
    for step in range(2):
        before, state = values(params), optimizer.state_dict()["state"]
        set_gradients(params, step)
        params[3]._grad = tensor(np.ones(2, np.float32))  # the setter would refuse it
        with pytest.raises(ValueError, match=r"grads\[3\]: expected shape \(1,\), got \(2,\)"):
            optimizer.step()
        assert all((a == b).all() for a, b in zip(before, values(params)))
        np.testing.assert_equal(optimizer.state_dict()["state"], state)
        set_gradients(params, step)
        optimizer.step()


NOT_BUILT = """
import sys
if HIDDEN:
    sys.modules["fastmlp._fast"] = None
import numpy as np
from fastmlp import optim
from fastmlp import tensor
params = [tensor(np.full(3, 1.0 + i, dtype), requires_grad=True) for i, dtype in enumerate(("f4", "f8", "f4"))]
optimizer = optim.Adam(params, lr=0.1)
for step in range(4):
    for i, p in enumerate(params):
        p.grad = None if i == step else tensor(np.cos(np.arange(3.0) + i).astype(p.detach().numpy().dtype))
    optimizer.step()
print([p.detach().numpy().tolist() for p in params], [state["step"] for state in optimizer.state.values()])
"""


def test_steps_where_the_quick_checks_are_not_built(python):
    printed = [python(NOT_BUILT.replace("HIDDEN", hidden)) for hidden in ("True", "False")]
    assert printed[0] == printed[1] and printed[0].endswith("[3, 3, 3]\n")
