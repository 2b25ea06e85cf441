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

from ..tape import wrap
from . import npz, safetensors, tree

__all__ = ["load", "save"]

FORMATS = {".npz": npz, ".safetensors": safetensors}


def save(state: dict[Any, Any], path: str | os.PathLike[str]) -> None:
    """Writes a state to a file; its suffix, .npz or .safetensors, says how.

    The file is written beside the old one and takes its place when it is complete: if saving fails or is interrupted,
    the old one is still there.

    Parameters
    ----------
    state : name -> Tensor or array, such as `model.state_dict()`; other software can read these files by name.
        Or a nested state, such as `optimizer.state_dict()` or `{"model": ..., "optimizer": ..., "epoch": 3}`, of dicts,
        lists, tuples, strings, numbers, bools and None, which `load` gives back as it was, but with tensors for arrays.
    path : where to

    Raises
    ------
    TypeError
        For a value that is none of these, and for an array of objects, strings or complex numbers.
    ValueError
        For another suffix, and for a name that the format cannot hold.
    FileNotFoundError
        If the folder is missing.
    """
    write = _format(path, "; how about {}.safetensors?").write
    arrays, structure = tree.flatten(state)
    target = os.path.realpath(path)  # a link stays a link
    if not os.path.isdir(folder := os.path.dirname(target)):
        raise FileNotFoundError(f"path: there is no folder {folder!r}")
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


def load(path: str | os.PathLike[str], weights_only: bool = True, map_location: Any = None) -> dict[Any, Any]:
    """The state in a file that `save`, `numpy.savez` or the safetensors package wrote.

    It is name -> Tensor, or nested as `save` had it, with tensors also where arrays were saved.
    bfloat16, which NumPy lacks, becomes float32; nothing else is converted.

    Parameters
    ----------
    path : where from
    weights_only : torch's; True and False are the same, as nothing but numbers and text is ever read
    map_location : torch's; None or "cpu"

    Raises
    ------
    ValueError
        If the file is damaged or is no such file, naming it and what is wrong. Sizes are checked against the file's own
        before anything is allocated. For another map_location.
    TypeError
        For another weights_only.
    OSError
        If it cannot be read.
    """
    read = _format(path).read
    if not isinstance(weights_only, bool):
        raise TypeError(f"weights_only: expected True or False, got {weights_only!r}")
    if map_location is not None and str(map_location) != "cpu":
        raise ValueError(f"map_location: only None or 'cpu' is possible in fastmlp, got {map_location!r}")
    with open(path, "rb") as f:
        try:
            arrays, structure = read(f, os.fstat(f.fileno()).st_size)
            tensors = {name: wrap(a) for name, a in arrays.items()}
            return tensors if structure is None else tree.rebuild(tensors, structure)
        except ValueError as e:
            raise ValueError(f"{os.fspath(path)}: {e}") from None


def _format(path: Any, hint: str = "") -> Any:
    """The module that the suffix asks for. hint: for another suffix, with {} for the name without it."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path: expected a str or a Path, got {type(path).__name__}")
    stem, suffix = os.path.splitext(os.fspath(path))
    if suffix.lower() not in FORMATS:
        given = f"expected a name that ends in {' or '.join(FORMATS)}, got {os.fspath(path)!r}"
        raise ValueError(f"path: {given}{hint.format(stem)}")
    return FORMATS[suffix.lower()]
