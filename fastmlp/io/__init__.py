"""Files: the arrays of a network as .npz or .safetensors. Nothing is pickled, and a file is trusted in nothing.

    __init__.py     save and load
    tree.py         nested states as arrays by name, and a structure in JSON
    npz.py  safetensors.py     the two formats
    stream.py       what a file says, checked before anything of that size is allocated
"""

from __future__ import annotations

import os
import secrets
from typing import Any

from . import npz, safetensors, tree

__all__ = ["load", "save"]

FORMATS = {".npz": npz, ".safetensors": safetensors}


def save(state: dict[Any, Any], path: str | os.PathLike[str]) -> None:
    """Writes a state to a file; its suffix, .npz or .safetensors, says how.

    The file is written beside the old one and takes its place when it is complete: if saving fails or is interrupted,
    the old one is still there.

    Parameters
    ----------
    state : name -> array or Tensor, such as `model.state_dict()`; other software can read these files by name.
        Or a nested state, such as `optimizer.state_dict()` or `{"model": ..., "optimizer": ..., "epoch": 3}`, of dicts,
        lists, tuples, strings, numbers, bools and None, which `load` gives back as it was.
    path : where to

    Raises
    ------
    TypeError
        For a value that is none of these, and for an array of objects, strings or complex numbers.
    ValueError
        For another suffix, and for a name that the format cannot hold.
    """
    write = _format(path).write
    arrays, structure = tree.flatten(state)
    target = os.path.realpath(path)  # a link stays a link
    unfinished = f"{target}.{secrets.token_hex(4)}.tmp"
    try:
        with open(unfinished, "xb") as f:
            write(f, arrays, structure)
            f.flush()
            os.fsync(f.fileno())  # else a crash could leave the new name on an empty file
        os.replace(unfinished, target)
    except BaseException:  # a KeyboardInterrupt leaves nothing behind, either
        if os.path.exists(unfinished):
            os.unlink(unfinished)
        raise


def load(path: str | os.PathLike[str]) -> dict[Any, Any]:
    """The state in a file that `save`, `numpy.savez` or the safetensors package wrote.

    It is name -> array, or nested as `save` had it; a Tensor comes back as an array.
    bfloat16, which NumPy lacks, becomes float32; nothing else is converted.

    Raises
    ------
    ValueError
        If the file is damaged or is no such file, naming it and what is wrong. Sizes are checked against the file's own
        before anything is allocated.
    OSError
        If it cannot be read.
    """
    read = _format(path).read
    with open(path, "rb") as f:
        try:
            arrays, structure = read(f, os.fstat(f.fileno()).st_size)
            return arrays if structure is None else tree.rebuild(arrays, structure)
        except ValueError as e:
            raise ValueError(f"{os.fspath(path)}: {e}") from None


def _format(path: Any) -> Any:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path: expected a str or a Path, got {type(path).__name__}")
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix not in FORMATS:
        raise ValueError(f"path: expected a name that ends in {' or '.join(FORMATS)}, got {os.fspath(path)!r}")
    return FORMATS[suffix]
