"""`fastmlp check`: does this installation compute rightly on this machine? About two seconds, and lines to paste."""

from __future__ import annotations

import argparse
import contextlib
import copy
import platform
import time
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import product, takewhile
from typing import Any

import numpy as np

from . import nn, optim
from .autograd import Tensor
from .backend import AUTOMATIC, MODULES, cpu_name, get_backend, get_num_threads, load, set_num_threads, use_backend
from .creation import as_tensor, manual_seed
from .kernels import selfcheck
from .kernels.cases import all_cases
from .kernels.contract import FLOATS
from .plan import compile

#: of a batch: the compiled backend takes a small network over many rows block by block, through all layers at once
ROWS = (50, 400)
STEPS = 20


def main(arguments: list[str]) -> int:
    """-> the exit status: 1 if something is wrong, else 0. SystemExit: after --help, and with 2 for wrong arguments."""
    begin = time.perf_counter()
    names, missing = _backends(arguments)
    cases = all_cases()
    families = selfcheck.chosen(cases)
    _say("fastmlp", _version())
    _say("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}, NumPy {np.__version__}")
    _say("cpu", cpu_name())
    _say("cases", f"{sum(map(len, families.values()))} of {len(cases)}, in float32 and float64")
    for name, reason in missing.items():
        _say(name, f"not checked: {reason}")
    wrong = sorted({found for name in names for found in _check(name, families)})
    if wrong:
        print(f"{len(wrong)} WRONG here: {', '.join(wrong)}; please report this, and paste all of these lines")
    else:
        print(f"all right in {time.perf_counter() - begin:.1f} s")
    return int(bool(wrong))


def _backends(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """-> those to check; those that would have been, and cannot run here, with the reasons"""
    parser = argparse.ArgumentParser(
        prog="fastmlp check",
        description="Checks that this installation computes rightly on this machine: kernels beside the reference in "
        "float64, with one thread and with all, then the training of small networks. Takes about two seconds; the "
        "numba backend compiles first, for a minute or two if nothing is kept on disk. "
        "The exit status is 1 if something is wrong.",
    )
    help = "one of them, or all that can run; default: the one that fastmlp uses"
    parser.add_argument("--backend", choices=(*MODULES, "all"), help=help)
    asked = parser.parse_args(arguments).backend
    if asked == "all":
        missing = _missing(MODULES)
        return [name for name in MODULES if name not in missing], missing
    try:
        name = asked or get_backend()
        load(name)
    except (RuntimeError, ValueError) as e:
        parser.error(str(e))
    return [name], {} if asked else _missing(takewhile(lambda other: other != name, AUTOMATIC))


def _missing(names: Iterable[str]) -> dict[str, str]:
    """Those of the backends that cannot run here -> the reasons"""
    reasons = {}
    for name in names:
        try:
            load(name)
        except (RuntimeError, ValueError) as e:
            reasons[name] = str(e)
    return reasons


def _version() -> str:
    try:
        return version("fastmlp")
    except PackageNotFoundError:
        return "not installed as a package"


def _say(label: str, text: str) -> None:
    """At once: where a kernel ends the process, the last line tells which it can have been."""
    print(f"{label:<13}{text}", flush=True)


def _report(what: str, how_many: str, right: str, wrong: list[str]) -> None:
    print(f"  {what:<13}{how_many:>10}   {'WRONG' if wrong else right}", flush=True)
    for text in wrong:
        print(f"WRONG: {text}", flush=True)


# ------------------------------------------------------------------------------------------- one backend


def _check(name: str, families: dict[str, list[Any]]) -> list[str]:
    """Check that backend, and say what comes of it -> the kernels that are wrong, and "training" if that is"""
    module, (set_threads, threads) = load(name), _threads(name)
    _introduce(name, threads)
    examine = partial(selfcheck.examine, backend=module, set_threads=set_threads, threads=threads)
    wrong = []
    try:
        for family, cases in families.items():
            wrong += _wrong_kernels(family, list(map(examine, cases)))
    finally:
        set_threads(threads[-1])
    if _wrong_training(name):
        wrong.append("training")
    if "compiled" in _described(name):
        _say("compiled", _described(name)["compiled"])
    return wrong


def _introduce(name: str, threads: tuple[int, ...]) -> None:
    _say("backend", name)
    for label, text in _described(name).items():
        if label in ("instructions", "numba"):
            _say(label, text)
    _say("threads", "NumPy's own" if name == "numpy" else " and ".join(map(str, sorted(set(threads)))))
    if "compiled" in _described(name):
        _say("", "kernels that are not on disk are compiled first: a minute or two, if none is")


def _described(name: str) -> dict[str, str]:
    """What the backend says of itself, as `fastmlp info` prints it"""
    return load(name).describe() if hasattr(load(name), "describe") else {}


def _threads(name: str) -> tuple[Callable[[int], Any], tuple[int, ...]]:
    """-> what sets their number, and the numbers to run with, the usual one last

    That one twice: threads that sleep are woken for a job of middle size only where such jobs come thick and fast.
    """
    with contextlib.suppress(RuntimeError, ValueError):  # without the C engine there are none
        usual = get_num_threads()
        if usual > 1 and name != "numpy":
            return set_num_threads, (1, usual, usual)
    return lambda n: None, (1,)


def _wrong_kernels(family: str, findings: list[Any]) -> list[str]:
    """Say what came of a family of kernels -> those that are wrong"""
    wrong = {}
    for finding in sorted(findings, key=lambda finding: finding.error):
        if finding.wrong:
            wrong[finding.case.kernel] = f"{finding.case.id}: {finding.wrong}"  # the worst case of a kernel is its last
    largest = max(finding.error for finding in findings)
    right = f"largest error {largest:.2f} of what rounding explains"
    _report(family, f"{len(findings)} cases", right, list(wrong.values()))
    return list(wrong)


# ---------------------------------------------------------------------------------------------- training


def _wrong_training(name: str) -> bool:
    """Train small networks on that backend, and say what comes of it -> whether something is wrong"""
    runs, wrong = list(product(FLOATS, ROWS)), []
    with use_backend(name):
        for dtype, rows in runs:
            try:
                found = _train(dtype, rows)
            except Exception as e:
                found = f"{type(e).__name__}: {e}"
            if found:
                wrong.append(f"training in {dtype}, {rows} rows: {found}")
    _report("training", f"{len(runs)} runs ", "compiled as layer by layer, and the loss falls", wrong)
    return bool(wrong)


def _train(dtype: str, rows: int) -> str:
    """Train one network compiled, and another that is the same layer by layer -> what is wrong, or "" """
    x = np.random.default_rng(0).normal(size=(rows, 6)).astype(dtype)
    labels = (x[:, 0] > 0) * 1 + (x[:, 1] > 0)
    manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).to(dtype=dtype)
    expected = _losses(copy.deepcopy(model), as_tensor(x), as_tensor(labels))
    network = compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.05))
    got = [network.step(x, labels) for _ in range(STEPS)]
    if network.reason:
        return f"it could not be compiled: {network.reason}"
    for step, (one, other) in enumerate(zip(got, expected)):
        if not abs(one - other) <= float(np.finfo(dtype).eps) ** 0.5 * other:
            return f"in step {step} the loss is {one} compiled and {other} layer by layer"
    if not got[-1] < got[0] / 2:
        return f"in {STEPS} steps the loss went from {got[0]} to {got[-1]}, expected less than half of it"
    return ""


def _losses(model: nn.Module, x: Tensor, labels: Tensor) -> list[float]:
    """Those of each step of training, layer by layer"""
    criterion, optimizer = nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.05)
    losses = []
    for _ in range(STEPS):
        loss = criterion(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
