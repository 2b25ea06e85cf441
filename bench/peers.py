"""How each library does each case, at its best.

`versions(library, case, arrays)` gives one or more ways; all of them are checked and timed, and the fastest one
stands for the library. Every library gets the same arrays, layout and number of threads, and may write into an
array that is already there wherever it can (`out=`), except in the sections "tiny", "step", "network", "predict" and
"eager", which are about what people write.

The ways of each peer but NumPy are in a file of its own, peer_torch.py and the like, which is imported when they are
first asked for, in the peer's own process.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from .programs import chain, is_probability, layers_of, network_step, operation, training_step
from .work import AS_WRITTEN, FUSED, Case

Arrays = dict[str, np.ndarray]

#: fastmlp's own backends, which may stand beside the one that is measured
BACKENDS = ("cython", "numba")
#: those with a file of their own -> the package that they are
PEERS = {"torch": "torch", "jax": "jax", "sklearn": "scikit-learn", "onnxruntime": "onnxruntime"}


@dataclass
class Version:
    """One way to do a case. `call()` is what is timed; calls run within `context()`.

    checked: a call that gives the result or results, where `call` does not give them as arrays can be read.
    """

    name: str
    call: Callable[[], object]
    context: Callable[[], AbstractContextManager] = nullcontext
    checked: Callable[[], object] | None = None

    def results(self) -> list[np.ndarray]:
        """Calls once. -> copies of the arrays that it gives"""
        with self.context():
            result = (self.checked or self.call)()
        return [np.asarray(v).copy() for v in (result if isinstance(result, tuple) else (result,))]


def versions(library: str, case: Case, a: Arrays, compiled: bool = False) -> list[Version]:
    """The ways in which `library` does `case`; none where it has no such operation.

    compiled: also torch.compile, which takes seconds for every case.
    """
    if library in PEERS:
        return import_module(f"{__package__}.peer_{library}").versions(case, a, compiled)
    return (_numpy if library == "numpy" else _fastmlp)(case, a)


def use_threads(library: str, threads: int, backend: str | None) -> None:
    """Imports a library and tells it how many threads to use.

    NumPy's BLAS, also beneath scikit-learn and fastmlp's "numpy" backend, has been told by the environment when it was
    loaded. RuntimeError: fastmlp has no compiled backend, though "numpy" was not asked for by name; jax, which uses
    as many threads as the process may use CPUs, would use another number.
    """
    if library in PEERS:
        import_module(f"{__package__}.peer_{library}")
    if library == "torch":
        import torch

        torch.set_num_threads(threads)
    elif library in BACKENDS or (library == "fastmlp" and backend != "numpy"):
        import fastmlp

        fastmlp.set_num_threads(threads)
    elif library == "jax" and threads != (cpus := len(os.sched_getaffinity(0))):
        raise RuntimeError(f"jax uses all CPUs that it may, here {cpus}, not {threads}")
    elif library not in ("fastmlp", "numpy", *PEERS):
        raise ValueError(f"unknown library {library!r}")


def as_people_write_it(library: Any, case: Case, a: Arrays, name: str, **adam: Any) -> list[Version]:
    """The way of fastmlp or torch through tensors and layers. adam: options of a step's optimizer."""
    if case.section in ("step", "network"):
        program = training_step if case.section == "step" else network_step
        step, checked = program(library, case.shape, a, **adam)
        return [Version(name, step, checked=checked)]
    t = {key: library.tensor(v, requires_grad=True) for key, v in a.items()}
    call = operation(library, case.kernel, t["a"], t["b"])
    return [Version(name, call, checked=lambda: call().detach())]


def _fastmlp(case: Case, a: Arrays) -> list[Version]:
    import fastmlp
    from fastmlp import ops

    if case.section in ("step", "network", "eager"):
        return as_people_write_it(fastmlp, case, a, "compiled" if case.section == "network" else "tensors")
    if case.section == "predict":
        return [Version("compiled", partial(fastmlp.compile(chain(fastmlp, case.shape, a)).predict, a["x"]))]
    x, w, b = a.get("x"), a.get("w"), a.get("b")
    if case.section == "classes":
        grads = {f"d{name}": np.empty_like(a[name]) for name in ("x", "w", "b")}
        return [Version("ops.linear_cross_entropy", partial(ops.linear_cross_entropy, x, w, b, a["labels"], **grads))]
    act = case.kernel
    if case.section == "tiny":
        return [Version("ops.linear", lambda: ops.linear(x, w, b, act))]
    if case.section == "linear":
        y = np.empty((len(x), len(w)), x.dtype)
        return [Version("ops.linear", lambda: ops.linear(x, w, b, act, out=y))]
    if case.section == "backward":
        dy, y = a["dy"], a["y"]
        dx, dw, db = np.empty_like(x), np.empty_like(w), np.empty_like(b)
        call = ops.linear_backward
        return [Version("ops.linear_backward", lambda: call(dy, x, w, y, act, dx=dx, dw=dw, db=db))]
    out = np.empty_like(x)
    if case.section == "softmax":
        function = getattr(ops, case.kernel)
        return [Version(f"ops.{case.kernel}", lambda: function(x, out=out))]
    if case.section == "loss":
        function, target = getattr(ops, case.kernel), a["target"]
        return [Version(f"ops.{case.kernel}", lambda: function(x, target, out=out))]
    labels = a["labels"]
    return [Version("ops.cross_entropy", lambda: ops.cross_entropy(x, labels, out=out))]


#: it has no erf, no loss in one function, no gradients; only mse is so short that nobody would look for one
NOT_IN_NUMPY = ("gelu", "binary_cross_entropy", "binary_cross_entropy_with_logits", AS_WRITTEN, FUSED)


def _numpy(case: Case, a: Arrays) -> list[Version]:
    """NumPy at its best, in place."""
    x, w, b = a.get("x"), a.get("w"), a.get("b")
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
