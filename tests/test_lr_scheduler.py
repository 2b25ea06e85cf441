"""The schedules against torch's, over all groups; resumed, saved, changed on the way."""

import numpy as np
import pytest

from fastmlp import optim, tensor
from fastmlp.optim import lr_scheduler

STEPS = 60

#: class -> sets of arguments
OPTIONS = {
    "StepLR": ({"step_size": 7}, {"step_size": 1, "gamma": 0.9}),
    "MultiStepLR": ({"milestones": [3, 10, 10, 40]}, {"milestones": (5,), "gamma": 2.0}, {"milestones": []}),
    "ExponentialLR": ({"gamma": 0.97}, {"gamma": 1.02}),
    "CosineAnnealingLR": ({"T_max": 50}, {"T_max": 13, "eta_min": 0.001}, {"T_max": 1}, {"T_max": 20, "eta_min": 0.2}),
    "LinearLR": (
        {},
        {"start_factor": 0.01, "total_iters": 30},
        {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 20},
    ),
    "LambdaLR": (
        {"lr_lambda": lambda epoch: 0.95**epoch},
        {"lr_lambda": [lambda epoch: 1 / (1 + epoch), lambda epoch: 2]},
    ),
    "OneCycleLR": (
        {"max_lr": 0.5, "total_steps": STEPS},
        {"max_lr": [0.5, 0.1], "epochs": 5, "steps_per_epoch": 12, "anneal_strategy": "linear"},
        {"max_lr": 0.5, "total_steps": 61, "three_phase": True, "pct_start": 0.4},
        {"max_lr": 0.5, "total_steps": 70, "cycle_momentum": False, "div_factor": 10.0, "final_div_factor": 100.0},
        {"max_lr": 0.5, "total_steps": 70, "base_momentum": [0.5, 0.6], "max_momentum": 0.9, "pct_start": 0.0},
    ),
}
CASES = [(name, i) for name, sets in OPTIONS.items() for i in range(len(sets))]
CHAINABLE = ("StepLR", "MultiStepLR", "ExponentialLR", "CosineAnnealingLR", "LinearLR")


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def ours(kind="SGD"):
    p, q = (tensor(np.ones(1), requires_grad=True) for _ in range(2))
    return getattr(optim, kind)([{"params": [p], "lr": 0.3}, {"params": [q]}], lr=0.05)


def theirs(torch, kind="SGD"):
    p, q = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    return getattr(torch.optim, kind)([{"params": [p], "lr": 0.3}, {"params": [q]}], lr=0.05)


def seen(optimizer, scheduler):
    groups = optimizer.param_groups
    assert scheduler.get_last_lr() == [g["lr"] for g in groups]
    return [[g["lr"], g.get("momentum", 0), *g.get("betas", ())] for g in groups]


def sequence(optimizer, scheduler, steps=STEPS, change=None):
    """What the groups have after each step."""
    rows = [seen(optimizer, scheduler)]
    for step in range(steps):
        optimizer.step()
        if step == change:
            optimizer.param_groups[0]["lr"] = 0.123
        scheduler.step()
        rows.append(seen(optimizer, scheduler))
    return np.array(rows)


def assert_same(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name, i", CASES)
def test_sequence_as_torch(torch, name, i, kind):
    options = OPTIONS[name][i]
    a, b = ours(kind), theirs(torch, kind)
    if kind == "SGD":
        for o in (a, b):
            o.param_groups[0]["momentum"] = 0.8
    steps = min(STEPS, options.get("total_steps", STEPS) - 1) if name == "OneCycleLR" else STEPS
    schedulers = getattr(lr_scheduler, name)(a, **options), getattr(torch.optim.lr_scheduler, name)(b, **options)
    assert_same(sequence(a, schedulers[0], steps), sequence(b, schedulers[1], steps))
    assert schedulers[0].last_epoch == schedulers[1].last_epoch == steps
    assert_same(schedulers[0].base_lrs, schedulers[1].base_lrs)


@pytest.mark.parametrize("name, i", [case for case in CASES if case[0] in CHAINABLE])
def test_goes_on_from_a_learning_rate_that_was_changed(torch, name, i):
    a, b = ours(), theirs(torch)
    mine = getattr(lr_scheduler, name)(a, **OPTIONS[name][i])
    reference = getattr(torch.optim.lr_scheduler, name)(b, **OPTIONS[name][i])
    assert_same(sequence(a, mine, change=17), sequence(b, reference, change=17))


def test_two_schedules_at_once(torch):
    rows = []
    for o, module in ((ours(), lr_scheduler), (theirs(torch), torch.optim.lr_scheduler)):
        both = module.LinearLR(o, 0.1, total_iters=10), module.ExponentialLR(o, 0.9)
        rows.append([])
        for _ in range(30):
            o.step()
            for scheduler in both:
                scheduler.step()
            rows[-1].append(both[-1].get_last_lr())
    assert_same(*rows)


@pytest.mark.parametrize("name, i", CASES)
def test_resumed_at_a_later_epoch(torch, name, i):
    """From the groups that a run has left, with last_epoch."""
    options = OPTIONS[name][i]
    a, b = ours(), theirs(torch)
    sequence(a, getattr(lr_scheduler, name)(a, **options), 20)
    sequence(b, getattr(torch.optim.lr_scheduler, name)(b, **options), 20)
    again = getattr(lr_scheduler, name)(a, **options, last_epoch=19)
    reference = getattr(torch.optim.lr_scheduler, name)(b, **options, last_epoch=19)
    assert_same(sequence(a, again, 30), sequence(b, reference, 30))


@pytest.mark.parametrize("name, i", CASES)
def test_goes_on_from_a_state_dict(name, i):
    options = OPTIONS[name][i]
    a, b = ours(), ours()
    first = getattr(lr_scheduler, name)(a, **options)
    sequence(a, first, 20)
    second = getattr(lr_scheduler, name)(b, **options)
    b.load_state_dict(a.state_dict())
    second.load_state_dict(first.state_dict())
    assert "optimizer" not in first.state_dict()
    assert (sequence(a, first, 30) == sequence(b, second, 30)).all()


PLATEAU = (
    {},
    {"patience": 2, "factor": 0.5},
    {"mode": "max", "patience": 1, "cooldown": 3, "threshold": 0.05},
    {"patience": 0, "threshold_mode": "abs", "threshold": 0.1, "min_lr": 0.02},
    {"mode": "max", "threshold_mode": "abs", "patience": 3, "min_lr": [0.1, 0.001], "eps": 0.01},
)


@pytest.mark.parametrize("options", PLATEAU, ids=str)
def test_plateaus_as_torch(torch, options):
    metrics = np.abs(np.random.default_rng(3).standard_normal(STEPS)) + np.linspace(3, 1, STEPS)
    metrics[20] = np.nan
    a, b = ours(), theirs(torch)
    first = lr_scheduler.ReduceLROnPlateau(a, **options)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(b, **options)
    second = lr_scheduler.ReduceLROnPlateau(ours(), **options)
    for i, metric in enumerate(metrics):
        if i == 30:  # another one takes over
            second.load_state_dict(first.state_dict())
            second.optimizer.load_state_dict(a.state_dict())
        scheduler = first if i < 30 else second
        scheduler.step(metric)
        reference.step(metric)
        assert_same(scheduler.get_last_lr(), reference.get_last_lr())
        assert (scheduler.last_epoch, scheduler.num_bad_epochs, scheduler.in_cooldown) == (
            *(reference.last_epoch, reference.num_bad_epochs, reference.in_cooldown),
        )


REFUSED = [
    (lambda o: lr_scheduler.StepLR([o], 3), TypeError, "optimizer: expected an Optimizer, got list"),
    (lambda o: lr_scheduler.StepLR(o, 0), ValueError, "step_size: expected 1 or more, got 0"),
    (lambda o: lr_scheduler.StepLR(o, 1.5), TypeError, "step_size: expected an int, got float"),
    (lambda o: lr_scheduler.StepLR(o, 3, last_epoch=5), ValueError,
     "last_epoch: 5 needs 'initial_lr' in param_groups[0], which has none"),
    (lambda o: lr_scheduler.MultiStepLR(o, [1.5]), TypeError, "milestones: expected an int, got float"),
    (lambda o: lr_scheduler.ExponentialLR(o, "x"), TypeError, "gamma: expected a number, got str"),
    (lambda o: lr_scheduler.LinearLR(o, 0), ValueError, "start_factor: expected a number > 0 and <= 1, got 0"),
    (lambda o: lr_scheduler.LinearLR(o, end_factor=2), ValueError, "end_factor: expected a number from 0 to 1, got 2"),
    (lambda o: lr_scheduler.LambdaLR(o, [abs]), ValueError,
     "lr_lambda: expected 2 values, one for each group of parameters, got 1"),
    (lambda o: lr_scheduler.OneCycleLR(o, 0.1), ValueError,
     "total_steps: expected it, or both of epochs and steps_per_epoch, got neither"),
    (lambda o: lr_scheduler.OneCycleLR(o, 0.1, epochs=-1, steps_per_epoch=3), ValueError,
     "epochs: expected 1 or more, got -1"),
    (lambda o: lr_scheduler.OneCycleLR(o, 0.1, 9, pct_start=2), ValueError,
     "pct_start: expected a number from 0 to 1, got 2"),
    (lambda o: lr_scheduler.OneCycleLR(o, 0.1, 9, anneal_strategy="up"), ValueError,
     "anneal_strategy: expected 'cos' or 'linear', got 'up'"),
    (lambda o: lr_scheduler.OneCycleLR(ours("Adagrad"), 0.1, 9), ValueError,
     "cycle_momentum: Adagrad has neither momentum nor betas"),
    (lambda o: lr_scheduler.ReduceLROnPlateau(o, "less"), ValueError, "mode: expected 'min' or 'max', got 'less'"),
    (lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=1), ValueError, "factor: expected a number < 1, got 1"),
    (lambda o: lr_scheduler.ReduceLROnPlateau(o).step("good"), TypeError, "metrics: expected a number, got str"),
]  # fmt: skip


@pytest.mark.parametrize("call, error, text", REFUSED, ids=[text[:60] for *_, text in REFUSED])
def test_refused(call, error, text):
    with pytest.raises(error) as raised:
        call(ours())
    assert str(raised.value) == text


def test_one_cycle_ends():
    optimizer = ours()
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=5, cycle_momentum=False)
    sequence(optimizer, scheduler, 5)
    with pytest.raises(ValueError, match="this is step 6, and the schedule has 5"):
        scheduler.step()
