"""What a compiled network does, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp.kernels.contract import KERNELS

from .. import ops
from ..ops.program import fma_peak
from .plans import Refusal
from .sums import FIRST, LAST, MORE

if TYPE_CHECKING:
    from .network import Network

HEADER = f"{'kernel':<22}{'m x k -> n':>24}{'activation':>14}{'MFLOP':>10}{'KiB':>10}{'µs >=':>8}  run as"

#: what a kernel is that does the work of several
TOGETHER = {"chain": "all layers, loss and gradients, block by block of rows"}

#: of a step, where several make an update
STAGES = {FIRST: " that begins sums", MORE: " that adds to sums", LAST: " that adds to sums and updates"}


def explain(network: Network) -> str:
    """A table for each plan: its kernels, the multiplications and additions of products, the bytes of all arrays, what
    the products take at least of a core of this machine, and how the backend makes them: in tiles of so many rows and
    columns, in so many tasks for the threads; and which kernels run as one.
    """
    lines = []
    peaks: dict[Any, tuple[float, int] | None] = {}
    if network.reason is not None:
        lines += [f"runs layer by layer: {network.reason}", ""]
    plans = ("step", network._steps), ("backward", network._backwards), ("predict", network._predictions)
    for name, some in plans:
        for key, plan in some.items():
            if isinstance(plan, Refusal):
                continue
            if key[1] not in peaks:
                peaks[key[1]] = fma_peak(key[1])
            table = _table(plan.calls.calls, plan.program, peaks[key[1]])
            of = STAGES.get(key[-1], "")
            lines += [f"{name}{of}, x {key[0]} {key[1]}", HEADER, *table, ""]
    return "\n".join(lines[:-1] if lines else ["no plan yet: the first prediction, or the second step, makes one"])


def _table(calls: list[ops.Call], program: Any, peak: tuple[float, int] | None) -> list[str]:
    rows, total = [], np.zeros(2)
    parts = {begin: TOGETHER.get(name, how) for begin, name, how in program.parts()}
    for i, (kernel, arguments) in enumerate(calls):
        named = dict(zip(KERNELS[kernel], arguments))
        cost = np.array([_flops(kernel, named) / 1e6, _bytes(arguments) / 1024])
        total += cost
        act = named["act"].name if "act" in named else ""
        run_as = parts.get(i, '"')  # ": with the one above
        row = f"{kernel:<22}{_shape(kernel, named):>24}{act:>14}{cost[0]:>10.3f}{cost[1]:>10.1f}{_least(cost[0], peak)}"
        rows.append(f"{row}  {run_as}".rstrip())
    row = f"{'together':<22}{'':>24}{'':>14}{total[0]:>10.3f}{total[1]:>10.1f}{_least(total[0], peak)}"
    return [row.rstrip() for row in (*rows, row)] + _threads(total[0], peak)


def _least(mflop: float, peak: tuple[float, int] | None) -> str:
    """Microseconds of one core."""
    return f"{mflop / peak[0] * 1000:>8.2f}" if peak and mflop else f"{'':>8}"


def _threads(mflop: float, peak: tuple[float, int] | None) -> list[str]:
    if peak is None:
        return []
    gflops, threads = peak
    least = mflop / gflops * 1000 / threads
    return [f"at {gflops:.0f} GFLOP/s a core, as measured now; {threads} threads: {least:.3g} µs at least"]


def _shape(kernel: str, named: dict[str, Any]) -> str:
    if kernel.startswith("linear"):
        m, k, n = _sizes(named)
        return f"{m} x {k} -> {n}"
    if "grads" in named:
        return f"{sum(a.size for a in named['grads'])} parameters"
    first = next(a for a in named.values() if isinstance(a, np.ndarray))
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
