"""NumPy at its best: in place, and products by its BLAS."""

import itertools
import math

import numpy as np

from .peers import Arrays, Version
from .programs import LR, MOMENTUM, is_probability, layers_of, operation
from .work import AS_WRITTEN, FUSED, Case

#: it has no erf, no loss in one function, no gradients; only mse is so short that nobody would look for one
NOT_IN_NUMPY = ("gelu", "binary_cross_entropy", "binary_cross_entropy_with_logits", AS_WRITTEN, FUSED)


def versions(case: Case, a: Arrays, compiled: bool) -> list[Version]:
    x, w, b = a.get("x"), a.get("w"), a.get("b")
    if case.section == "optim":
        return [_optim(case.kernel, a)]
    if case.kernel in NOT_IN_NUMPY or case.section == "classes":
        return []
    if case.section == "predict":
        return [Version("matmul, += b, in place", _numpy_predict(x, layers_of(a), is_probability(case.shape)))]
    if case.section == "eager":
        return [Version("arrays", operation(np, case.kernel, a["a"], a["b"]))]
    if case.section == "tiny":
        return [Version("maximum(x @ w.T + b, 0)", lambda: np.maximum(x @ w.T + b, 0))]
    if case.section == "linear":
        return [Version("matmul, += b, in place", _numpy_linear(x, w, b, case.kernel))]
    if case.section == "backward":
        return [Version("matmul, in place", _numpy_backward(x, w, b, a["dy"], a["y"]))]
    if case.section == "softmax":
        return [Version("in place", _numpy_softmax(x, case.kernel))]
    if case.section == "loss":
        return [Version("in place", _numpy_mse(x, a["target"]))]
    return [Version("in place", _numpy_cross_entropy(x, a["labels"]))]


def _optim(name, a):
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
    if name == "SGD":
        return Version("in place", lambda: sgd(state), checked=lambda: tuple(sgd(start())))
    return Version("in place", lambda: adam(state, next(steps)), checked=lambda: tuple(adam(start(), 1)))


def _numpy_linear(x, w, b, act):
    y = np.empty((len(x), len(w)), x.dtype)

    def call():
        np.matmul(x, w.T, out=y)
        np.add(y, b, out=y)
        return np.maximum(y, 0, out=y) if act == "relu" else np.tanh(y, out=y)

    return call


def _numpy_predict(x, layers, probability):
    *hidden, (w, b) = layers

    def call():
        y = x
        for w1, b1 in hidden:
            y = y @ w1.T
            y += b1
            np.maximum(y, 0, out=y)
        y = y @ w.T
        y += b
        return 1 / (1 + np.exp(-y)) if probability else y

    return call


def _numpy_backward(x, w, b, dy, y):
    dz, dx, dw, db = np.empty_like(dy), np.empty_like(x), np.empty_like(w), np.empty_like(b)

    def call():
        np.multiply(dy, y > 0, out=dz)
        return np.matmul(dz, w, out=dx), np.matmul(dz.T, x, out=dw), np.sum(dz, axis=0, out=db)

    return call


def _numpy_softmax(x, kernel):
    y = np.empty_like(x)

    def softmax():
        np.subtract(x, x.max(axis=1, keepdims=True), out=y)
        np.exp(y, out=y)
        return np.divide(y, y.sum(axis=1, keepdims=True), out=y)

    def log_softmax():
        np.subtract(x, x.max(axis=1, keepdims=True), out=y)
        return np.subtract(y, np.log(np.exp(y).sum(axis=1, keepdims=True)), out=y)

    return softmax if kernel == "softmax" else log_softmax


def _numpy_mse(x, target):
    d = np.empty_like(x)

    def call():
        np.subtract(x, target, out=d)
        loss = d.dot(d) / len(d)
        return loss, np.multiply(d, 2 / len(d), out=d)

    return call


def _numpy_cross_entropy(x, labels):
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

    return call
