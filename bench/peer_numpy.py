"""NumPy at its best: in place, and products by its BLAS."""

import itertools
import math

import numpy as np

from .peers import Arrays, Version
from .programs import LR, MOMENTUM, is_probability, layers_of, operation
from .work import Case


def versions(case: Case, a: Arrays, compiled: bool) -> list[Version]:
    """None of what has gradients to be found by the library, an erf, or a loss that is no line of its own."""
    ways = {
        "linear": _linear,
        "backward": _backward,
        "tiny": _tiny,
        "softmax": _softmax,
        "cross_entropy": _cross_entropy,
        "loss": _loss,
        "optim": _optim,
        "predict": _predict,
        "eager": _eager,
    }
    way = ways[case.section](case, a) if case.section in ways else None
    return [way] if way else []


def _optim(case, a):
    """Each parameter in place, with one array to compute in."""
    grads = [a[f"d{name}"] for name in a if f"d{name}" in a]

    def start():
        params = [a[name].copy() for name in a if f"d{name}" in a]
        return params, *([np.zeros_like(p) for p in params] for _ in range(3))

    def sgd(state):
        params, averages, _, room = state
        for p, g, m, r in zip(params, grads, averages, room):
            m *= MOMENTUM
            m += g
            p -= np.multiply(m, LR, out=r)
        return params

    def adam(state, step):
        params, averages, squares, room = state
        c1, c2 = 1 - 0.9**step, 1 - 0.999**step
        for p, g, m, v, r in zip(params, grads, averages, squares, room):
            m *= 0.9
            m += np.multiply(g, 1 - 0.9, out=r)
            v *= 0.999
            np.multiply(g, g, out=r)
            r *= 1 - 0.999
            v += r
            np.sqrt(v, out=r)
            r *= 1 / math.sqrt(c2)
            r += 1e-8
            np.divide(m, r, out=r)
            r *= LR / c1
            p -= r
        return params

    state, steps = start(), itertools.count(1)
    if case.kernel == "SGD":
        return Version("in place", lambda: sgd(state), checked=lambda: tuple(sgd(start())))
    return Version("in place", lambda: adam(state, next(steps)), checked=lambda: tuple(adam(start(), 1)))


def _linear(case, a):
    x, w, b = a["x"], a["w"], a["b"]
    y = np.empty((len(x), len(w)), x.dtype)
    activations = {"relu": lambda: np.maximum(y, 0, out=y), "tanh": lambda: np.tanh(y, out=y)}
    if case.kernel not in activations:
        return None
    activation = activations[case.kernel]

    def call():
        np.matmul(x, w.T, out=y)
        np.add(y, b, out=y)
        return activation()

    return Version("matmul, += b, in place", call)


def _tiny(case, a):
    x, w, b = a["x"], a["w"], a["b"]
    return Version("maximum(x @ w.T + b, 0)", lambda: np.maximum(x @ w.T + b, 0))


def _eager(case, a):
    return Version("arrays", operation(np, case.kernel, a["a"], a["b"]))


def _predict(case, a):
    x, probability, (*hidden, (w, b)) = a["x"], is_probability(case.shape), layers_of(a)

    def call():
        y = x
        for w1, b1 in hidden:
            y = y @ w1.T
            y += b1
            np.maximum(y, 0, out=y)
        y = y @ w.T
        y += b
        return 1 / (1 + np.exp(-y)) if probability else y

    return Version("matmul, += b, in place", call)


def _backward(case, a):
    x, w, dy, y = a["x"], a["w"], a["dy"], a["y"]
    dz, dx, dw, db = np.empty_like(dy), np.empty_like(x), np.empty_like(w), np.empty_like(a["b"])

    def call():
        np.multiply(dy, y > 0, out=dz)
        return np.matmul(dz, w, out=dx), np.matmul(dz.T, x, out=dw), np.sum(dz, axis=0, out=db)

    return Version("matmul, in place", call)


def _softmax(case, a):
    x = a["x"]
    y = np.empty_like(x)

    def softmax():
        np.subtract(x, x.max(axis=1, keepdims=True), out=y)
        np.exp(y, out=y)
        return np.divide(y, y.sum(axis=1, keepdims=True), out=y)

    def log_softmax():
        np.subtract(x, x.max(axis=1, keepdims=True), out=y)
        return np.subtract(y, np.log(np.exp(y).sum(axis=1, keepdims=True)), out=y)

    return Version("in place", {"softmax": softmax, "log_softmax": log_softmax}[case.kernel])


def _loss(case, a):
    x, target = a["x"], a["target"]
    d = np.empty_like(x)

    def mse():
        np.subtract(x, target, out=d)
        loss = d.dot(d) / len(d)
        return loss, np.multiply(d, 2 / len(d), out=d)

    return Version("in place", mse) if case.kernel == "mse_loss" else None


def _cross_entropy(case, a):
    x, labels = a["x"], a["labels"]
    rows = np.arange(len(x))
    p = np.empty_like(x)

    def call():
        np.subtract(x, x.max(axis=1, keepdims=True), out=p)
        picked = p[rows, labels]
        np.exp(p, out=p)
        sums = p.sum(axis=1)
        loss = (np.log(sums) - picked).mean()
        np.divide(p, (sums * len(x))[:, None], out=p)
        p[rows, labels] -= 1 / x.dtype.type(len(x))
        return loss, p

    return Version("in place", call)
