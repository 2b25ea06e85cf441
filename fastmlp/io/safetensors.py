"""The safetensors format: 8 bytes that count the header's, the header in JSON, then the elements of all arrays.

    {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {"key": "text"}}

The arrays must tile the rest of the file, without gap or overlap. https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
from itertools import chain
from typing import Any, BinaryIO

import numpy as np

from ..checks import Array
from .stream import nbytes, read_array, saved, utf8

METADATA = "__metadata__"
#: the key among the metadata of the structure of a nested state, in JSON
STRUCTURE = "fastmlp.structure"
LONGEST_HEADER = 100_000_000  # the format's own limit

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
NAMES = {np.dtype(dtype).newbyteorder("="): name for name, dtype in DTYPES.items() if name != "BF16"}


def write(f: BinaryIO, arrays: dict[str, Array], structure: str | None) -> None:
    header: dict[str, Any] = {}
    if structure is not None:
        header[METADATA] = {STRUCTURE: structure}
    end = 0
    # the widest first: then each begins at a multiple of its item size
    by_width = dict(sorted(arrays.items(), key=lambda item: -saved(*item).itemsize))
    for name, a in by_width.items():
        if name == METADATA:
            raise ValueError(f"{METADATA!r}: no array of a .safetensors file can be called so")
        utf8(name)
        dtype = NAMES[a.dtype.newbyteorder("=")]
        header[name] = {"dtype": dtype, "shape": list(a.shape), "data_offsets": [end, end + a.nbytes]}
        end += a.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > LONGEST_HEADER:
        raise ValueError(f"state: its names need {len(text)} bytes, the format has room for {LONGEST_HEADER}")
    f.write(len(text).to_bytes(8, "little"))
    f.write(text)
    for a in by_width.values():
        f.write(a.astype(a.dtype.newbyteorder("<"), order="C", copy=False).reshape(-1).view(np.uint8).data)


def read(f: BinaryIO, size: int) -> tuple[dict[str, Array], str | None]:
    """-> the arrays and the structure in a file of `size` bytes"""
    header, begin = _header(f, size)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError(f"{METADATA} is no object of strings")
    entries = {name: _entry(name, said) for name, said in header.items()}
    _check_tiles(entries, size - begin)
    arrays = {}
    for name, (dtype, shape, first, _) in entries.items():
        f.seek(begin + first)
        a = read_array(name, f, shape, np.dtype(DTYPES[dtype]))
        arrays[name] = _widened(a) if dtype == "BF16" else a
    return arrays, metadata.get(STRUCTURE)


def _header(f: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """-> the parsed header, and where the elements begin"""
    length = int.from_bytes(f.read(8), "little")
    if size < 8 or length > min(size - 8, LONGEST_HEADER):
        raise ValueError(f"is no .safetensors file, or is cut off: {size} bytes, a header of {length}")
    text = f.read(length)
    try:
        header = json.loads(text.decode(), object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("its header is nested too deep") from None
    except ValueError as e:
        raise ValueError(f"its header is no JSON: {e}") from None
    if not text.startswith(b"{"):
        raise ValueError("its header is no JSON object")
    return header, 8 + length


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key stands there twice")
    return made


def _entry(name: str, said: Any) -> tuple[str, tuple[int, ...], int, int]:
    """-> dtype, shape, begin, end, which agree with each other"""
    if not isinstance(said, dict) or set(said) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name!r}: expected dtype, shape and data_offsets, got {str(said)[:80]}")
    dtype, shape, offsets = said["dtype"], said["shape"], said["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{name!r}: expected one of the dtypes {', '.join(DTYPES)}, got {str(dtype)[:80]}")
    if not (isinstance(shape, list) and isinstance(offsets, list) and len(offsets) == 2):
        raise ValueError(f"{name!r}: expected lists as shape and data_offsets, got {str(said)[:80]}")
    if not all(type(n) is int and n >= 0 for n in chain(shape, offsets)):
        raise ValueError(f"{name!r}: expected integers >= 0 in shape and data_offsets, got {str(said)[:80]}")
    begin, end = offsets
    if end - begin != nbytes(name, tuple(shape), np.dtype(DTYPES[dtype])):
        raise ValueError(f"{name!r}: {dtype} of shape {shape} does not fill bytes {begin} to {end}")
    return dtype, tuple(shape), begin, end


def _check_tiles(entries: dict[str, tuple[str, tuple[int, ...], int, int]], room: int) -> None:
    reached = 0
    for begin, end, name in sorted((begin, end, name) for name, (_, _, begin, end) in entries.items()):
        if begin != reached:
            raise ValueError(f"{name!r} begins at byte {begin}, where {reached} was expected")
        reached = end
    if reached != room:
        raise ValueError(f"its arrays take {reached} bytes, and it has {room}")


def _widened(bfloat16: Array) -> Array:
    """float32 of the same values: bfloat16 is its upper half."""
    return (bfloat16.astype(np.uint32) << 16).view(np.float32)
