"""Where tensors are: in the memory of the CPU. Programs that ask for another device hear so."""

from __future__ import annotations

from typing import Any


class device:
    """device("cpu"), the only one. RuntimeError for others."""

    type = "cpu"
    index = None

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        if isinstance(type, device):
            return
        if not isinstance(type, str):
            raise TypeError(f"device: expected a name such as 'cpu', got {type.__class__.__name__}")
        if type.partition(":")[0] != "cpu":
            raise RuntimeError(f"device: fastmlp computes on the CPU; expected 'cpu', got {type!r}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) or other == "cpu"

    def __hash__(self) -> int:
        return hash("cpu")

    def __str__(self) -> str:
        return "cpu"

    def __repr__(self) -> str:
        return "device(type='cpu')"


CPU = device()


def conversion(args: tuple[Any, ...], dtype: Any, where: Any) -> Any:
    """What `to(*args, dtype=, device=)` means -> the dtype, or None; devices are checked."""
    for arg in args:
        if isinstance(arg, (str, device)):
            where = arg
        elif arg is not None:
            dtype = arg
    if where is not None:
        device(where)
    return dtype
