"""Blocks of a matrix turned, in registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from ..numba_scalars.numbers import filled, spread
from .memory import INDEX
from .vectors import mask, masked_load, masked_store, vector_of


def exchanged(builder: Any, a: Any, b: Any, apart: int) -> tuple[Any, Any]:
    """Two vectors, of which the groups of `apart` lanes with an odd number of a have changed places with the even ones
    of b."""
    count = a.type.count
    low = [lane if not lane & apart else count + lane - apart for lane in range(count)]
    high = [lane + apart if not lane & apart else count + lane for lane in range(count)]
    word = ir.VectorType(ir.IntType(32), count)
    return builder.shuffle_vector(a, b, ir.Constant(word, low)), builder.shuffle_vector(a, b, ir.Constant(word, high))


def turned(builder: Any, rows: list[Any]) -> list[Any]:
    """As many vectors as they have lanes: lane j of vector i becomes lane i of vector j."""
    rows = list(rows)
    apart = len(rows) // 2
    while apart:
        for i in range(len(rows)):
            if not i & apart:
                rows[i], rows[i + apart] = exchanged(builder, rows[i], rows[i + apart], apart)
        apart //= 2
    return rows


@intrinsic
def turn_block(
    typingctx: Any, src: Any, src_row: Any, dst: Any, dst_row: Any, rows: Any, cols: Any, stored: Any
) -> Any:
    """dst[j*dst_row + i] = src[i*src_row + j] for i < rows, j < cols; 0 for rows <= i < stored. Up to as many rows,
    columns and stored elements as a vector has lanes."""
    number = vector_of(src.dtype)
    lanes, size = number.lanes, number.real.bitwidth // 8

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        src, src_row, dst, dst_row, rows, cols, stored = args
        vector = context.get_value_type(number.storage)
        none = filled(vector, 0.0)

        def place(base: Any, row: Any, i: Any) -> Any:
            return builder.bitcast(builder.gep(base, [builder.mul(row, i)]), vector.as_pointer())

        def less(a: Any, b: Any) -> Any:
            return builder.icmp_signed("<", a, b)

        whole = builder.icmp_signed(">=", builder.add(rows, cols), INDEX(2 * lanes))  # neither can be more than lanes
        with builder.if_else(whole) as (all_of_it, part):
            with all_of_it:
                block = [builder.load(place(src, src_row, INDEX(i)), align=size) for i in range(lanes)]
                for j, value in enumerate(turned(builder, block)):
                    builder.store(value, place(dst, dst_row, INDEX(j)), align=size)
            with part:
                some, block = mask(builder, cols, lanes), []
                for i in range(lanes):
                    is_row = spread(builder, less(INDEX(i), rows), lanes)
                    at = builder.select(less(INDEX(i), rows), INDEX(i), INDEX(0))
                    block.append(masked_load(builder, place(src, src_row, at), builder.and_(some, is_row), none, size))
                to_store = mask(builder, stored, lanes)
                for j, value in enumerate(turned(builder, block)):
                    is_col = less(INDEX(j), cols)
                    at = builder.select(is_col, INDEX(j), INDEX(0))
                    lanes_of_it = builder.and_(to_store, spread(builder, is_col, lanes))
                    masked_store(builder, value, place(dst, dst_row, at), lanes_of_it, size)
        return context.get_dummy_value()

    index = types.intp
    return types.none(src, index, dst, index, index, index, index), emit
