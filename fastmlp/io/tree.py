"""A nested state as arrays by name and a structure in JSON that says where they stand.

Scalars and lists are themselves in the JSON; everything else is an object of one key that tells its type:

    {"dict": [[key, value], ...]}    {"tuple": [value, ...]}    {"array": "name"}
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..checks import Array
from ..tape import array_of

SCALARS = (str, int, float, bool, type(None))


def flatten(state: Any) -> tuple[dict[str, Array], str | None]:
    """-> the arrays, and the structure; None for a state that is flat."""
    if not isinstance(state, dict):
        raise TypeError(f"state: expected a dict, got {type(state).__name__}")
    flat = all(isinstance(name, str) for name in state) and all(map(_is_array, state.values()))
    arrays: dict[str, Array] = {}
    structure = _encoded(state, "", arrays)
    return arrays, None if flat else json.dumps(structure)


def rebuild(tensors: dict[str, Tensor], structure: str) -> dict[Any, Any]:
    """What `flatten` had, of tensors. ValueError if the structure is none of ours, or speaks of other arrays."""
    left = dict(tensors)
    try:
        state = _decoded(json.loads(structure), left)
    except (RecursionError, TypeError, KeyError, ValueError) as e:
        raise ValueError(f"the structure of its nested state is damaged: {type(e).__name__}: {e}") from None
    if left or not isinstance(state, dict):
        raise ValueError(f"the structure of its nested state is damaged: it lacks {', '.join(left) or 'a dict'}")
    return state


def _is_array(value: Any) -> bool:
    """An ndarray, a NumPy scalar, or a tensor, ours or torch's, which has `detach`."""
    if isinstance(value, SCALARS):  # np.float64 is a float
        return False
    return isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "detach")


def _array(value: Any) -> Array:
    if isinstance(value, Tensor):
        return array_of(value)  # numpy() would make it known as an array that may change at any time
    return np.asarray(value.detach() if hasattr(value, "detach") else value)


def _encoded(value: Any, name: str, arrays: dict[str, Array]) -> Any:
    """The value as JSON holds it. `name` is where it stands: its keys, with points between."""
    if _is_array(value):
        if name in arrays:
            raise ValueError(f"state: two arrays would be called {name!r}")
        arrays[name] = _array(value)
        return {"array": name}
    if isinstance(value, SCALARS):
        return value
    if isinstance(value, dict):
        return {"dict": [[_key(key, name), _encoded(v, _inner(name, key), arrays)] for key, v in value.items()]}
    if isinstance(value, (list, tuple)):
        items = [_encoded(v, _inner(name, i), arrays) for i, v in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    raise TypeError(
        f"{name!r}: expected an array, a dict, list, tuple, string, number, bool or None, got {type(value).__name__}"
    )


def _inner(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)


def _key(key: Any, name: str) -> Any:
    if not isinstance(key, SCALARS):
        raise TypeError(f"{name!r}: expected keys that are strings or numbers, got {type(key).__name__}")
    return key


def _decoded(value: Any, left: dict[str, Tensor]) -> Any:
    """Takes what it meets out of `left`."""
    if isinstance(value, list):
        return [_decoded(v, left) for v in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "array":
        return left.pop(inner)
    if kind == "dict":
        return {key: _decoded(v, left) for key, v in inner}
    if kind == "tuple":
        return tuple(_decoded(v, left) for v in inner)
    raise ValueError(f"unknown kind {kind!r}")
