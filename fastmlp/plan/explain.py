"""What a compiled network does, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp.kernels.contract import KERNELS

from .. import ops
from ..ops.program import fma_peak
from .plans import Refusal

if TYPE_CHECKING:
    from .network import Network

HEADER = f"{'kernel':<22}{'m x k -> n':>24}{'activation':>14}{'MFLOP':>10}{'KiB':>10}  run as"

#: what kernels are that do the work of several
TOGETHER = {
    "chain": "chain: all layers, loss and gradients, block by block of rows",
    "layer_backward": "with the activation below, or the update of the weight, as it is made",
}


def explain(network: Network) -> str:
    """A table for each plan: its kernels, the multiplications and additions of products, the bytes of all arrays, and
    which of them the backend runs as one. Below it what the products take at least on this machine.
    """
    lines = []
    if network.reason is not None:
        lines += [f"runs layer by layer: {network.reason}", ""]
    if network._updates_later and network.optimizer is not None:
        lines += ["gradients are clipped or summed: the update is a call of the optimizer's own", ""]
    plans = ("step", network._steps), ("backward", network._backwards), ("predict", network._predictions)
    for name, some in plans:
        for key, plan in some.items():
            if isinstance(plan, Refusal):
                continue
            lines += [f"{name}, x {key[0]} {key[1]}", HEADER, *_table(plan.calls.calls, plan.program), ""]
    return "\n".join(lines[:-1] if lines else ["no plan yet: the first prediction, or the second step, makes one"])


def _table(calls: list[ops.Call], program: Any) -> list[str]:
    rows, total, run_as, parts = [], np.zeros(2), "", dict(program.parts())
    for i, (kernel, arguments) in enumerate(calls):
        named = dict(zip(KERNELS[kernel], arguments))
        cost = np.array([_flops(kernel, named) / 1e6, _bytes(arguments) / 1024])
        total += cost
        act = named["act"].name if "act" in named else ""
        run_as = '"' if i not in parts else TOGETHER.get(parts[i], "")  # ": with the one above
        row = f"{kernel:<22}{_shape(kernel, named):>24}{act:>14}{cost[0]:>10.3f}{cost[1]:>10.1f}  {run_as}"
        rows.append(row.rstrip())
    return [*rows, f"{'together':<22}{'':>24}{'':>14}{total[0]:>10.3f}{total[1]:>10.1f}", *_floor(calls, total[0])]


def _floor(calls: list[ops.Call], mflop: float) -> list[str]:
    arrays = (a for _, arguments in calls for a in arguments if isinstance(a, np.ndarray))
    found = fma_peak(next(a.dtype for a in arrays if a.dtype.kind == "f"))
    if found is None:
        return []
    gflops, threads = found
    least = mflop / gflops * 1000
    of_threads = f", {least / threads:.3g} µs of {threads}" if threads > 1 else ""
    return [f"at {gflops:.0f} GFLOP/s, as measured now, the products take {least:.3g} µs of one core{of_threads}"]


def _shape(kernel: str, named: dict[str, Any]) -> str:
    if kernel.startswith("linear"):
        m, k, n = _sizes(named)
        return f"{m} x {k} -> {n}"
    first = next((a for a in named.values() if isinstance(a, np.ndarray)), None)
    if first is None or ("params" in named and isinstance(named["params"], list)):
        return f"{sum(a.size for a in named['params'])} parameters"
    return " x ".join(map(str, first.shape))


def _sizes(named: dict[str, Any]) -> tuple[int, int, int]:
    rows = named["x"] if named.get("dy") is None else named["dy"]
    w = named["w"]
    return len(rows), w.shape[1], w.shape[0]


def _flops(kernel: str, named: dict[str, Any]) -> float:
    """Of matrix products: two for each multiply-add."""
    if not kernel.startswith("linear"):
        return 0.0
    m, k, n = _sizes(named)
    products = 1 if kernel == "linear_forward" else sum(named[name] is not None for name in ("dx", "dw"))
    return 2.0 * m * k * n * products


def _bytes(arguments: tuple[Any, ...]) -> int:
    arrays = [a for item in arguments for a in (item if isinstance(item, list) else [item])]
    return sum(a.nbytes for a in arrays if isinstance(a, np.ndarray))
