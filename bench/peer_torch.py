"""torch at its best, on the CPU. Imported in torch's own process only.

Three families, all timed, the fastest one counts:

- "eager", "autograd": what a program written in torch runs. Forward in inference mode, element-wise steps in
  place where torch has them. Backward over a graph that is already there.
- "out=": the same operators called by hand, each writing into memory that is already there, in inference mode.
- "compile": torch.compile(fullgraph=True, dynamic=False) in inference mode. The weights stay arguments, as they
  are for fastmlp; freezing them into the compiled code would be another task.

The sections "step" and "eager" are about programs as people write them: there torch records gradients and runs
eagerly, and that is its one way.
"""

import torch
import torch.nn.functional as F

from .peers import Arrays, Trainer, Version, as_people_write_it
from .programs import chain
from .work import FUSED, Case

aten = torch.ops.aten
GELU = F.gelu  # 'none': erf
MEAN = 1  # of aten's reductions


def versions(case: Case, a: Arrays, compiled: bool) -> list[Version]:
    if case.section == "network":
        found = as_people_write_it(torch, case, a, "eager")
        found += as_people_write_it(torch, case, a, "fused Adam", fused=True)
        return found + (as_people_write_it(torch, case, a, "compile", compiled=True, fused=True) if compiled else [])
    if case.section == "optim":
        ways = {"for each": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}
        return [way for name, options in ways.items() for way in as_people_write_it(torch, case, a, name, **options)]
    if case.section in ("step", "eager"):
        options = {"fused": True} if case.kernel == FUSED else {}
        return as_people_write_it(torch, case, a, "eager", **options)
    t = {name: torch.from_numpy(v) for name, v in a.items()}
    ways = {
        "linear": _linear,
        "backward": _backward,
        "softmax": _softmax,
        "cross_entropy": _cross_entropy,
        "loss": _loss,
        "tiny": _tiny,
        "predict": _predict,
        "classes": _classes,
    }
    eager, function, args = ways[case.section](case, t)
    if compiled:
        eager.append(_compile(function, args))
    return eager


def _inference(name, call) -> Version:
    return Version(name, call, torch.inference_mode)


def _compile(function, args) -> Version:
    torch.compiler.reset()  # every case starts with an empty cache, so that none falls back for having too many
    fast = torch.compile(function, fullgraph=True, dynamic=False)
    return Version("compile", lambda: fast(*args), torch.inference_mode, compiles=True)


# each of the following gives: the eager versions, a function for torch.compile, and its arguments


def _linear(case, t):
    x, w, b = t["x"], t["w"], t["b"]
    wt = w.t()
    y = torch.empty(len(x), len(w), dtype=x.dtype)
    z = torch.empty_like(y)
    eager = {
        "relu": lambda: F.linear(x, w, b).relu_(),
        "tanh": lambda: F.linear(x, w, b).tanh_(),
        "gelu": lambda: GELU(F.linear(x, w, b)),
    }
    into = {
        "relu": lambda: torch.addmm(b, x, wt, out=y).relu_(),
        "tanh": lambda: torch.addmm(b, x, wt, out=y).tanh_(),
        "gelu": lambda: GELU(torch.addmm(b, x, wt, out=z), out=y),
    }
    act = {"relu": torch.relu, "tanh": torch.tanh, "gelu": GELU}[case.kernel]
    found = [_inference("eager", eager[case.kernel]), _inference("out=", into[case.kernel])]
    return found, lambda x, w, b: act(F.linear(x, w, b)), (x, w, b)


def _tiny(case, t):
    x, w, b = t["x"], t["w"], t["b"]
    found = [
        _inference("relu(linear)", lambda: F.relu(F.linear(x, w, b))),
        _inference("linear.relu_", lambda: F.linear(x, w, b).relu_()),
    ]
    return found, lambda x, w, b: F.relu(F.linear(x, w, b)), (x, w, b)


def _predict(case, t):
    model = chain(torch, case.shape, {name: v.numpy() for name, v in t.items()}).requires_grad_(False)
    return [_inference("eager", lambda: model(t["x"]))], model, (t["x"],)


def _classes(case, t):
    x, w, b, labels = (t[name] for name in ("x", "w", "b", "labels"))
    leaves = [v.detach().requires_grad_() for v in (x, w, b)]

    def autograd():
        loss = F.cross_entropy(F.linear(*leaves), labels)
        return loss.detach(), *torch.autograd.grad(loss, leaves)

    def by_hand(x, w, b, labels):
        log_p = torch.log_softmax(F.linear(x, w, b), 1)
        dz = (log_p.exp() - F.one_hot(labels, len(w))) / len(x)
        return F.nll_loss(log_p, labels), dz.mm(w), dz.t().mm(x), dz.sum(0)

    dx, dw, db, z = torch.empty_like(x), torch.empty_like(w), torch.empty_like(b), torch.empty(len(x), len(w))
    loss_into = _loss_into(z, labels)

    def into():
        torch.addmm(b, x, w.t(), out=z)
        loss, dz = loss_into()
        return loss, torch.mm(dz, w, out=dx), torch.mm(dz.t(), x, out=dw), torch.sum(dz, 0, out=db)

    return [Version("autograd", autograd), _inference("out=", into)], by_hand, (*leaves, labels)


def _loss_into(x, labels):
    """The cross-entropy of x (m, n) and its gradient, which is written where it always is."""
    rows, log_p = torch.arange(len(x)), torch.empty_like(x)

    def call():
        torch.log_softmax(x, 1, out=log_p)
        loss = F.nll_loss(log_p, labels)
        p = log_p.exp_().mul_(1 / len(x))
        p[rows, labels] -= 1 / len(x)
        return loss, p

    return call


def _backward(case, t):
    x, w, b, dy, y = (t[name] for name in ("x", "w", "b", "dy", "y"))
    leaves = [v.detach().requires_grad_() for v in (x, w, b)]
    own_y = F.relu(F.linear(*leaves))
    dz, dx, dw, db = torch.empty_like(dy), torch.empty_like(x), torch.empty_like(w), torch.empty_like(b)
    mask = aten.threshold_backward.grad_input

    def by_hand(dy, y, x, w):
        dz = aten.threshold_backward.default(dy, y, 0)
        return dz.mm(w), dz.t().mm(x), dz.sum(0)

    def into():
        mask(dy, y, 0, grad_input=dz)
        return torch.mm(dz, w, out=dx), torch.mm(dz.t(), x, out=dw), torch.sum(dz, 0, out=db)

    found = [
        Version("autograd", lambda: torch.autograd.grad(own_y, leaves, dy, retain_graph=True)),
        _inference("out=", into),
    ]
    return found, by_hand, (dy, y, x, w)


def _softmax(case, t):
    x = t["x"]
    y = torch.empty_like(x)
    function = getattr(torch, case.kernel)
    found = [_inference("eager", lambda: function(x, 1)), _inference("out=", lambda: function(x, 1, out=y))]
    return found, lambda x: function(x, 1), (x,)


def _cross_entropy(case, t):
    x, labels = t["x"], t["labels"]
    leaf = x.detach().requires_grad_()

    def autograd():
        loss = F.cross_entropy(leaf, labels)
        return loss.detach(), *torch.autograd.grad(loss, leaf)

    def by_hand(x, labels):
        log_p = torch.log_softmax(x, 1)
        loss = F.nll_loss(log_p, labels)
        one_hot = labels[:, None] == torch.arange(x.shape[1])
        return loss, (log_p.exp() - one_hot) / len(x)

    return [Version("autograd", autograd), _inference("out=", _loss_into(x, labels))], by_hand, (x, labels)


def _loss(case, t):
    x, target = t["x"], t["target"]
    leaf = x.detach().requires_grad_()
    function = getattr(F, case.kernel)
    slope = {
        "mse_loss": lambda x, t: 2 * (x - t),
        "binary_cross_entropy": lambda x, t: (x - t) / ((1 - x) * x).clamp_min(1e-12),
        "binary_cross_entropy_with_logits": lambda x, t: torch.sigmoid(x) - t,
    }[case.kernel]

    def autograd():
        loss = function(leaf, target)
        return loss.detach(), *torch.autograd.grad(loss, leaf)

    def by_hand(x, target):
        return function(x, target), slope(x, target) / len(x)

    dx, one = torch.empty_like(x), torch.ones((), dtype=x.dtype)

    def mse_into():
        torch.sub(x, target, out=dx)
        return torch.dot(dx, dx) / len(x), dx.mul_(2 / len(x))

    def bce_into():
        aten.binary_cross_entropy_backward.grad_input(one, x, target, None, MEAN, grad_input=dx)
        return function(x, target), dx

    def logits_into():
        torch.sigmoid(x, out=dx)
        return function(x, target), dx.sub_(target).mul_(1 / len(x))

    into = {
        "mse_loss": mse_into,
        "binary_cross_entropy": bce_into,
        "binary_cross_entropy_with_logits": logits_into,
    }[case.kernel]
    return [Version("autograd", autograd), _inference("out=", into)], by_hand, (x, target)


def trainer(shape, a: Arrays, x, labels, lr: float) -> Trainer:
    model = chain(torch, shape, a)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    x, labels = torch.from_numpy(x), torch.from_numpy(labels)

    def epoch(number, order):
        total, batches = 0.0, torch.from_numpy(order).split(shape[0])
        for some in batches:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[some]), labels[some])
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total / len(batches)

    def scores(x):
        with torch.inference_mode():
            return model(torch.from_numpy(x)).numpy()

    return Trainer("eager, fused Adam", epoch, scores)
