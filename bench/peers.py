"""How each library does each case, at its best.

`versions(library, case, arrays)` gives one or more ways; all of them are checked and timed, and the fastest one
stands for the library. Every library gets the same arrays, layout and number of threads, and may write into an
array that is already there wherever it can (`out=`), except in the sections "tiny", "step", "network", "predict" and
"eager", which are about what people write.

The ways of each are in a file of its own, peer_torch.py and the like, which is imported when they are first asked for,
in the library's own process.
"""

import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from fastmlp import Generator

from .programs import network_step, operation, optimizer_step, training_step
from .work import Case

Arrays = dict[str, np.ndarray]

#: fastmlp's own backends, which may stand beside the one that is measured
BACKENDS = ("cython", "numba")
#: other people's libraries -> the packages that they are
PEERS = {"numpy": "numpy", "torch": "torch", "jax": "jax", "sklearn": "scikit-learn", "onnxruntime": "onnxruntime"}


@dataclass
class Version:
    """One way to do a case. `call()` is what is timed; calls run within `context()`.

    checked: a call that gives the result or results, where `call` does not give them as arrays can be read.
    compiles: does its first call compile something? seconds: that a call took when it was last timed
    """

    name: str
    call: Callable[[], object]
    context: Callable[[], AbstractContextManager] = nullcontext
    checked: Callable[[], object] | None = None
    compiles: bool = False
    seconds: float = math.inf

    def results(self) -> list[np.ndarray]:
        """Calls once. -> copies of the arrays that it gives"""
        with self.context():
            result = (self.checked or self.call)()
        return [np.asarray(v).copy() for v in (result if isinstance(result, tuple) else (result,))]


def versions(library: str, case: Case, a: Arrays, compiled: bool = False) -> list[Version]:
    """The ways in which `library` does `case`; none where it has no such operation.

    compiled: also torch.compile, which takes seconds for every case.
    """
    return _module(library).versions(case, a, compiled)


@dataclass
class Trainer:
    """A network that is trained.

    epoch(number, order): one pass over the rows in that order, -> their mean loss. number: the seed of the order.
    scores(x): (rows, classes)
    """

    name: str
    epoch: Callable[[int, np.ndarray], float]
    scores: Callable[[np.ndarray], Any]


def trainer(library: str, shape: tuple[int, ...], a: Arrays, x: np.ndarray, labels: np.ndarray, lr: float) -> Trainer:
    """A network with the weights of a, at the start of its training by Adam. shape: batch x in x hidden ... x out"""
    module = _module(library)
    if not hasattr(module, "trainer"):
        raise ValueError(f"the bench trains nothing with {library}")
    return module.trainer(shape, a, x, labels, lr)


def shuffled(seed: int, rows: int) -> np.ndarray:
    """The order in which fastmlp's `fit_epoch(seed=seed)` takes the rows."""
    return Generator().manual_seed(seed).rng.permutation(rows)


def _module(library: str) -> Any:
    if library not in ("fastmlp", *BACKENDS, *PEERS):
        raise ValueError(f"unknown library {library!r}")
    return import_module(f"{__package__}.peer_{library if library in PEERS else 'fastmlp'}")


def use_threads(library: str, threads: int, backend: str | None) -> None:
    """Imports a library and tells it how many threads to use.

    NumPy's BLAS, also beneath scikit-learn and fastmlp's "numpy" backend, has been told by the environment when it was
    loaded. RuntimeError: fastmlp has no compiled backend, though "numpy" was not asked for by name; jax, which uses
    as many threads as the process may use CPUs, would use another number.
    """
    _module(library)
    if library == "torch":
        import torch

        torch.set_num_threads(threads)
    elif library in BACKENDS or (library == "fastmlp" and backend != "numpy"):
        import fastmlp

        fastmlp.set_num_threads(threads)
    elif library == "jax" and threads != (cpus := len(os.sched_getaffinity(0))):
        raise RuntimeError(f"jax uses all CPUs that it may, here {cpus}, not {threads}")


def as_people_write_it(library: Any, case: Case, a: Arrays, name: str, **adam: Any) -> list[Version]:
    """The way of fastmlp or torch through tensors and layers. adam: options of a step's optimizer."""
    if case.section == "optim":
        step, checked = optimizer_step(library, case.kernel, a, **adam)
        return [Version(name, step, checked=checked)]
    if case.section in ("step", "network"):
        program = training_step if case.section == "step" else network_step
        step, checked = program(library, case.shape, a, **adam)
        return [Version(name, step, checked=checked, compiles=bool(adam.get("compiled")))]
    t = {key: library.tensor(v, requires_grad=True) for key, v in a.items()}
    call = operation(library, case.kernel, t["a"], t["b"])
    return [Version(name, call, checked=lambda: call().detach())]
