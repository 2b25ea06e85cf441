"""What a compiled network does, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .network import Network


def explain(network: Network) -> str:
    lines = []
    if network.reason is not None:
        lines.append(f"runs layer by layer: {network.reason}")
    for name, plans in (("step", network._steps), ("predict", network._predictions)):
        for key, plan in plans.items():
            lines.append(f"{name}, x {key[0]}: {len(plan.calls.calls)} kernels")
            lines += [f"  {kernel:<20} {_shapes(arguments)}" for kernel, arguments in plan.calls.calls]
    return "\n".join(lines or ["no plan yet: the first step or prediction makes one"])


def _shapes(arguments: tuple[Any, ...]) -> str:
    return " ".join(str(a.shape) for a in arguments if hasattr(a, "shape"))
