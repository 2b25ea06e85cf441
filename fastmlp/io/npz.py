"""NumPy's format: a zip of .npy members.

`numpy.load` allocates what a member's header asks for; here the header must first agree with the zip's directory, and
the directory with the size of the file.

The formats: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html and PKWARE's APPNOTE.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from ..checks import Array
from .stream import nbytes, read_array, saved, utf8

#: the member that holds the structure of a nested state, as JSON in bytes
STRUCTURE = "fastmlp.structure"
#: no more than this comes out of one byte of a deflate stream (https://zlib.net/zlib_tech.html)
DEFLATE_RATIO = 1032
LONGEST_NAME = 60_000  # bytes; a zip counts them in 16 bits

_HEADER = re.compile(
    r"\{'descr': *'([<>|=][bifu][1248])', *'fortran_order': *(True|False), *'shape': *\(([0-9, ]*)\),? *\} *\n?"
)


def write(f: BinaryIO, arrays: dict[str, Array], structure: str | None) -> None:
    if STRUCTURE in arrays:
        raise ValueError(f"{STRUCTURE!r}: no array of a .npz file can be called so")
    members = {name: saved(name, a) for name, a in arrays.items()}
    for name in members:
        if "\0" in name or len(utf8(name)) > LONGEST_NAME:
            raise ValueError(f"{name[:40]!r}: a name in a .npz file has no NUL and up to {LONGEST_NAME} bytes")
    if structure is not None:
        members[STRUCTURE] = np.frombuffer(structure.encode(), np.uint8)
    with zipfile.ZipFile(f, "w") as z:
        for name, a in members.items():
            with z.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, a, allow_pickle=False)


def read(f: BinaryIO, size: int) -> tuple[dict[str, Array], str | None]:
    """-> the arrays and the structure in a file of `size` bytes"""
    try:
        with zipfile.ZipFile(f) as z:
            _check_directory(z.infolist(), size)
            arrays = dict(_read_member(z, info) for info in z.infolist())
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError) as e:
        raise ValueError(f"is no .npz file, or is damaged: {e}") from None
    structure = arrays.pop(STRUCTURE, None)
    return arrays, None if structure is None else structure.tobytes().decode()


def _check_directory(members: list[zipfile.ZipInfo], size: int) -> None:
    """No member is larger than the file's bytes can make it, no two share bytes or names."""
    names = set()
    for info in members:
        name = info.filename
        if name in names:
            raise ValueError(f"has two members {name!r}")
        names.add(name)
        if not name.endswith(".npy"):
            raise ValueError(f"has a member that is no .npy array: {name!r}")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name!r} is compressed by another method than deflate")
        ratio = DEFLATE_RATIO if info.compress_type == zipfile.ZIP_DEFLATED else 1
        if info.file_size > ratio * info.compress_size:
            raise ValueError(f"{name!r} cannot be {info.file_size} bytes, compressed to {info.compress_size}")
        if not 0 <= info.header_offset < size:
            raise ValueError(f"{name!r} begins outside of the file")
    if sum(info.compress_size for info in members) > size:
        raise ValueError(f"its members are larger than its {size} bytes")


def _read_member(z: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[str, Array]:
    """A .npy stream: magic and version, the length of a header, the header, the elements."""
    name = info.filename.removesuffix(".npy")
    with z.open(info) as member:
        version = npy.read_magic(member)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"{name!r} is of an unknown .npy version {version}")
        prefix = member.read(2 if version == (1, 0) else 4)
        length = int.from_bytes(prefix, "little")
        header = member.read(length) if length <= info.file_size else b""
        said = _HEADER.fullmatch(header.decode("latin1"))
        if said is None:
            raise ValueError(f"{name!r} has no header of an array of bools, integers or floats: {header[:80]!r}")
        dtype = _dtype(name, said[1])
        shape = tuple(int(n) for n in said[3].replace(" ", "").split(",") if n)
        room = info.file_size - npy.MAGIC_LEN - len(prefix) - length
        if nbytes(name, shape, dtype) != room:
            raise ValueError(f"{name!r} says {dtype} of shape {shape}, but has {room} bytes")
        a = read_array(name, member, shape, dtype, "F" if said[2] == "True" else "C")
        if member.read(1):  # this also compares the checksum
            raise ValueError(f"{name!r} goes on after its last element")
    return name, a


def _dtype(name: str, descr: str) -> np.dtype[Any]:
    try:
        return np.dtype(descr)
    except TypeError:  # f1, b2
        raise ValueError(f"{name!r} is of the unknown dtype {descr!r}") from None
