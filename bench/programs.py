"""What people write, once for both libraries: the names are the same, so `library` is fastmlp or torch.

A training step runs with lr = 0. Adam's arithmetic is what it always is, yet the weights stay, so that every call
gives the same loss and the same gradients, and these can be compared with a reference.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

Call = Callable[[], Any]
LR, MOMENTUM = 1e-3, 0.9  # of optimizers that are timed alone


def training_step(library: Any, shape: tuple[int, ...], a: dict[str, np.ndarray], **adam: Any) -> tuple[Call, Call]:
    """One step of a network of three layers, and the same step with its results to be checked.

    shape: (batch, in, hidden, hidden, out). A network with one output gives a probability, as the article's does;
    others give the scores of classes. a: "x" (batch, in), "y", and the parameters by their names in the network.
    adam: options of the optimizer. -> step, which gives the loss as a number; a call of it that gives the loss and
    the gradients of all parameters, in their order.
    """
    nn, F, optim = library.nn, library.nn.functional, library.optim

    class Scores(nn.Module):
        def __init__(self, input_size, hidden1, hidden2, output_size):
            super().__init__()
            self.fc1 = nn.Linear(input_size, hidden1)
            self.fc2 = nn.Linear(hidden1, hidden2)
            self.fc3 = nn.Linear(hidden2, output_size)

        def forward(self, x):
            x = F.relu(self.fc1(x))
            x = F.relu(self.fc2(x))
            return self.fc3(x)

    class Probability(Scores):
        def forward(self, x):
            x = F.relu(self.fc1(x))
            x = F.relu(self.fc2(x))
            return F.sigmoid(self.fc3(x))

    network, criterion = (Probability, nn.BCELoss()) if shape[-1] == 1 else (Scores, nn.CrossEntropyLoss())
    model = network(*shape[1:])
    model.load_state_dict({name: library.tensor(a[name]) for name in model.state_dict()})
    optimizer = optim.Adam(model.parameters(), lr=0.0, **adam)
    x, y = library.tensor(a["x"]), library.tensor(a["y"])

    def step():
        y_pred = model(x)
        loss = criterion(y_pred, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def checked():
        loss = np.asarray(step(), a["x"].dtype)
        return loss, *[parameter.grad for parameter in model.parameters()]

    return step, checked


def is_probability(shape: tuple[int, ...]) -> bool:
    """A network with one output gives a probability; others give the scores of classes. shape (batch, in, ..., out)."""
    return shape[-1] == 1


def layers_of(a: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The weight and bias of each layer."""
    count = sum(name.endswith(".weight") for name in a)
    return [(a[f"fc{number}.weight"], a[f"fc{number}.bias"]) for number in range(1, count + 1)]


def chain(library: Any, shape: tuple[int, ...], a: dict[str, np.ndarray]) -> Any:
    """A model of linear layers with relu between them, with the weights of a."""
    nn, layers = library.nn, []
    for k, n in pairwise(shape[1:]):
        layers += [nn.Linear(k, n), nn.ReLU()]
    for layer, (w, b) in zip(layers[::2], layers_of(a)):
        layer.load_state_dict({"weight": library.tensor(w), "bias": library.tensor(b)})
    return nn.Sequential(*layers[:-1], *([nn.Sigmoid()] if is_probability(shape) else []))


def network_step(
    library: Any, shape: tuple[int, ...], a: dict[str, np.ndarray], compiled: bool = False, **adam: Any
) -> tuple[Call, Call]:
    """One step of such a chain, by Adam; with fastmlp a compiled one, with torch if `compiled`.

    shape, a, adam, and what it gives: as for training_step. The gradients are what Adam's first average says they were.
    """
    model = chain(library, shape, a)
    criterion = library.nn.BCELoss() if is_probability(shape) else library.nn.CrossEntropyLoss()
    optimizer = library.optim.Adam(model.parameters(), lr=0.0, **adam)
    if hasattr(library, "Network"):
        step = partial(library.compile(model, criterion, optimizer).step, a["x"], a["y"])
    else:
        x, y = library.tensor(a["x"]), library.tensor(a["y"])
        loss_of = library.compile(lambda: criterion(model(x), y)) if compiled else lambda: criterion(model(x), y)

        def step():
            optimizer.zero_grad()
            loss = loss_of()
            loss.backward()
            optimizer.step()
            return loss.item()

    def checked():
        loss = np.asarray([step(), step()][1], a["x"].dtype)  # the second is a compiled one
        kept = [optimizer.state[p] for p in model.parameters()]
        return loss, *[np.asarray(s["exp_avg"]) / a["x"].dtype.type(1 - 0.9 ** int(s["step"])) for s in kept]

    return step, checked


def optimizer_step(library: Any, name: str, a: dict[str, np.ndarray], **options: Any) -> tuple[Call, Call]:
    """A step of SGD with momentum, or of Adam, for parameters whose gradients are there; the first step of another such
    optimizer, which gives the parameters. a: each parameter, and "d" and its name: its gradient."""

    def start():
        params = [library.nn.Parameter(library.tensor(v)) for name, v in a.items() if f"d{name}" in a]
        for p, g in zip(params, (v for name, v in a.items() if f"d{name}" not in a)):
            p.grad = library.tensor(g)
        known = {"lr": LR, "momentum": MOMENTUM} if name == "SGD" else {"lr": LR}
        return params, getattr(library.optim, name)(params, **known, **options).step

    def checked():
        params, step = start()
        step()
        return tuple(p.detach() for p in params)

    return start()[1], checked


OPERATIONS = ("add", "mul", "number", "relu", "sigmoid", "exp", "sum", "matmul", "index")


def operation(library: Any, name: str, a: Any, b: Any) -> Call:
    """One of OPERATIONS on a and b (m, n): tensors of `library`, or arrays where that is NumPy."""
    if library is np:
        activations = {"relu": lambda: np.maximum(a, 0), "sigmoid": lambda: 1 / (1 + np.exp(-a))}
    else:
        activations = {"relu": lambda: library.relu(a), "sigmoid": lambda: library.sigmoid(a)}
    turned = b.T
    calls = {
        "add": lambda: a + b,
        "mul": lambda: a * b,
        "number": lambda: a * 2,
        "exp": lambda: library.exp(a),
        "sum": lambda: a.sum(),
        "matmul": lambda: a @ turned,
        "index": lambda: a[0],
    }
    return (calls | activations)[name]
