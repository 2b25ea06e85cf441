"""Models, losses and optimizers to train twice alike: compiled, and layer by layer."""

import copy

import numpy as np

import fastmlp as fm
from fastmlp import nn, optim
from fastmlp.nn import functional as F

RNG = np.random.default_rng(0)
M, K, C = 12, 5, 3
X = RNG.normal(size=(M, K))
LABELS = RNG.integers(0, C, M)


class Written(nn.Module):
    """A forward written by the user."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(K, 7), nn.Linear(7, C)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x.flatten(1))))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(K, K), nn.Linear(K, C)

    def forward(self, x):
        return self.fc2(x + F.relu(self.fc1(x)))


def chain(*layers, out=C):
    return lambda: nn.Sequential(nn.Linear(K, 8), *copy.deepcopy(layers), nn.Linear(8, out))


MODELS = {
    "written": Written,
    "relu": chain(nn.ReLU()),
    "one layer": lambda: nn.Sequential(nn.Linear(K, C)),
    "no bias": lambda: nn.Sequential(nn.Linear(K, 8, bias=False), nn.Tanh(), nn.Linear(8, C, bias=False)),
    "two activations": chain(nn.ELU(), nn.SiLU(), nn.Hardshrink(0.1)),
    "prelu": chain(nn.PReLU()),
    "prelu of channels": chain(nn.PReLU(8)),
    "layer norm": chain(nn.LayerNorm(8), nn.GELU()),
    "layer norm first": lambda: nn.Sequential(nn.LayerNorm(K), nn.Linear(K, C)),
    "batch norm": chain(nn.BatchNorm1d(8), nn.ReLU()),
    "batch norm, average": chain(nn.BatchNorm1d(8, momentum=None), nn.ReLU()),
    "batch norm, untracked": chain(nn.BatchNorm1d(8, affine=False, track_running_stats=False)),
    "inplace": chain(nn.BatchNorm1d(8), nn.ReLU(inplace=True)),
    "dropout": chain(nn.ReLU(), nn.Dropout(0.3)),
    "two dropouts": lambda: nn.Sequential(nn.Dropout(0.2), nn.Linear(K, 8), nn.Dropout(0.5), nn.Linear(8, C)),
    "softmax inside": chain(nn.Softmax(1)),
    "nested": chain(nn.Sequential(nn.LeakyReLU(0.3), nn.Identity(), nn.Linear(8, 8), nn.Sigmoid())),
    "residual": Residual,
    "glu": lambda: nn.Sequential(nn.Linear(K, 8), nn.GLU(), nn.Linear(4, C)),
}

OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, 0.1),
    "momentum": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: optim.Adam(p, 0.01, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, 0.01),
    "rmsprop": lambda p: optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: optim.Adagrad(p, 0.05, lr_decay=0.1),
    "adadelta": lambda p: optim.Adadelta(p),
    "nadam": lambda p: optim.NAdam(p, 0.01),
    "radam": lambda p: optim.RAdam(p, 0.05),
}

UNIT = 1 / (1 + np.exp(-RNG.normal(size=(M, C))))
#: loss -> what stands after the last layer, targets
LOSSES = {
    "cross entropy": (nn.CrossEntropyLoss(), None, LABELS),
    "smoothed": (nn.CrossEntropyLoss(label_smoothing=0.1, reduction="sum"), None, LABELS),
    "weighted": (nn.CrossEntropyLoss([0.5, 1.0, 2.0], ignore_index=2), None, LABELS),
    "probabilities": (nn.CrossEntropyLoss(), None, UNIT / UNIT.sum(1, keepdims=True)),
    "nll": (nn.NLLLoss(), nn.LogSoftmax(1), LABELS),
    "mse": (nn.MSELoss(), None, UNIT),
    "l1": (nn.L1Loss(reduction="sum"), None, UNIT),
    "huber": (nn.HuberLoss(delta=0.3), None, UNIT),
    "smooth l1": (nn.SmoothL1Loss(beta=0.3), None, UNIT),
    "bce": (nn.BCELoss(), nn.Sigmoid(), UNIT),
    "bce, weighted": (nn.BCELoss(np.array([[0.5, 1.0, 2.0]])), nn.Sigmoid(), UNIT),
    "logits": (nn.BCEWithLogitsLoss(pos_weight=[1.0, 2.0, 3.0]), None, UNIT),
    "kl": (nn.KLDivLoss(reduction="batchmean"), nn.LogSoftmax(1), UNIT / UNIT.sum(1, keepdims=True)),
    "a function": (F.mse_loss, None, UNIT),
}

EAGER = {"residual": "add\\(\\) is not a layer", "glu": "multiply\\(\\) is not a layer"}


def training(make_model, make_optimizer=OPTIMIZERS["adam"], loss=None, dtype=np.float32):
    """model, loss, optimizer; twice the same for the same arguments"""
    fm.manual_seed(1)
    model = make_model().to(dtype)
    loss = copy.deepcopy(nn.CrossEntropyLoss() if loss is None else loss)
    if isinstance(loss, nn.Module):
        loss.to(dtype)
    return model, loss, make_optimizer(model.parameters())


def plainly(model, loss, optimizer, x, y):
    optimizer.zero_grad()
    value = loss(model(fm.tensor(x)), fm.tensor(y))
    value.backward()
    optimizer.step()
    optimizer.zero_grad()
    return value.item()


def everything(model, optimizer):
    """All numbers that a step may change."""
    found = {name: t.detach().numpy().copy() for name, t in model.state_dict().items()}
    for i, state in optimizer.state_dict()["state"].items():
        found |= {f"{i} {key}": copy.copy(value) for key, value in state.items()}
    return found


def same(a, b):
    assert list(a) == list(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def compare(parts, others, x, y, steps=20):
    """A compiled and a plain training, from the same state with the same numbers."""
    net = fm.compile(*parts)
    fm.manual_seed(2)
    ours = [net.step(x, y) for _ in range(steps)]
    fm.manual_seed(2)
    theirs = [plainly(*others, x, y) for _ in range(steps)]
    np.testing.assert_array_equal(ours, theirs)
    same(everything(parts[0], parts[2]), everything(others[0], others[2]))
    assert all(p.grad is None for p in parts[0].parameters())
    return net
