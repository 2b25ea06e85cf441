"""Copies of operands in the order in which the tile reads them, each compiled when a product needs it."""

from __future__ import annotations

from numba.core import types

from .entry import Address
from .turn import turn_block
from .vectors import lanes_of, load_some, store, store_some


def _turned(src, row, col, dst, dst_row, count, k, stored):
    """dst[p*dst_row + c] = src[p + c*col] for c < count, p < k; 0 for count <= c < stored"""
    step = lanes_of(src)
    for c in range(0, stored, step):
        some = max(0, min(step, count - c))
        first = src + (c if some else 0) * col
        for p in range(0, k, step):
            to = dst + (p * dst_row + c)
            turn_block(first + p, col, to, dst_row, some, min(step, k - p), min(step, stored - c))


def _rows(src, row, col, dst, dst_row, count, k, stored):
    """dst[p*dst_row + c] = src[p*row + c] for c < count, p < k; 0 for count <= c < stored, which are whole vectors"""
    for p in range(k):
        for c in range(0, stored, lanes_of(src)):
            store(dst + (p * dst_row + c), load_some(src + (p * row + c), count - c, 0))


def _one_by_one(src, row, col, dst, dst_row, count, k, stored):
    """dst[p*dst_row + c] = src[p*row + c*col] for c < count, p < k; 0 for count <= c < stored"""
    for p in range(k):
        for c in range(stored):
            dst[p * dst_row + c] = src[p * row + c * col] if c < count else 0


def _long_rows(src, row, col, dst, dst_row, count, k, stored):
    """dst[c*dst_row + p] = src[c*col + p] for c < count, p < k"""
    for c in range(count):
        for p in range(0, k, lanes_of(src)):
            store_some(dst + (c * dst_row + p), load_some(src + (c * col + p), k - p, 0), k - p)


def _takes(real):
    pointer, index = types.CPointer(real), types.intp
    return pointer, index, index, pointer, index, index, index, index


turned = Address(_turned, _takes, "to pack")
rows = Address(_rows, _takes, "to pack")
one_by_one = Address(_one_by_one, _takes, "to pack")
long_rows = Address(_long_rows, _takes, "to pack")
