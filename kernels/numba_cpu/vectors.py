"""Vectors from and to memory, and what is done with them beside arithmetic.

A vector is a plain Number (numba_scalars/numbers.py) of as many lanes as the CPU's registers hold. Where fewer elements
are left, `load_some` and `store_some` leave the others alone.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from ..numba_scalars.numbers import Number, filled, spread
from .memory import INDEX, inner


def vector_bytes() -> int:
    """Of a register: what Numba says of the CPU (NUMBA_CPU_NAME and NUMBA_CPU_FEATURES tell it another one)."""
    features = set(cpu_target.target_context.codegen().magic_tuple()[2].split(","))
    return 64 if "+avx512f" in features else 32 if "+avx" in features else 16


BYTES = vector_bytes()


def vector_of(real: types.Float) -> Number:
    """The type of vectors of such reals."""
    return Number(real, lanes=8 * BYTES // real.bitwidth)


def _vector_at(context: Any, builder: Any, pointer: Any, number: Number) -> Any:
    return builder.bitcast(pointer, context.get_value_type(number.storage).as_pointer())


def _number(context: Any, builder: Any, number: Number, value: Any) -> Any:
    return builder.insert_value(ir.Constant(context.get_value_type(number), ir.Undefined), value, 0)


def mask(builder: Any, count: Any, lanes: int) -> Any:
    """The first `count` of the lanes; all of them for any number beyond."""
    each = ir.Constant(ir.VectorType(INDEX, lanes), list(range(lanes)))
    return builder.icmp_signed("<", each, spread(builder, count, lanes))


def _masked(builder: Any, name: str, vector: Any, gives: Any, values: list[Any]) -> Any:
    suffix = f"v{vector.count}f{32 if vector.element == ir.FloatType() else 64}"
    kind = ir.FunctionType(gives, [v.type for v in values])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.{name}.{suffix}.p0"), values)


def masked_load(builder: Any, place: Any, lanes: Any, other: Any, align: int) -> Any:
    """Those lanes of the vector at that pointer, `other` in the rest."""
    return _masked(builder, "load", other.type, other.type, [place, ir.IntType(32)(align), lanes, other])


def masked_store(builder: Any, vector: Any, place: Any, lanes: Any, align: int) -> None:
    _masked(builder, "store", vector.type, ir.VoidType(), [vector, place, ir.IntType(32)(align), lanes])


@intrinsic
def lanes_of(typingctx: Any, pointer: Any) -> Any:
    """Of a vector of what the pointer points to."""
    lanes = vector_of(pointer.dtype).lanes
    return types.intp(pointer), lambda context, builder, sig, args: INDEX(lanes)


@intrinsic
def load(typingctx: Any, pointer: Any) -> Any:
    number = vector_of(pointer.dtype)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = builder.load(_vector_at(context, builder, args[0], number), align=number.real.bitwidth // 8)
        return _number(context, builder, number, value)

    return number(pointer), emit


@intrinsic
def load_some(typingctx: Any, pointer: Any, count: Any, other: Any) -> Any:
    """A vector of the first `count` elements, all if there are more, and `other` in the lanes behind them."""
    number = vector_of(pointer.dtype)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        some = mask(builder, context.cast(builder, args[1], count, types.intp), number.lanes)
        behind = args[2] if isinstance(other, Number) else context.cast(builder, args[2], other, number)
        place, behind = _vector_at(context, builder, args[0], number), builder.extract_value(behind, 0)
        return _number(context, builder, number, masked_load(builder, place, some, behind, number.real.bitwidth // 8))

    return number(pointer, count, other), emit


@intrinsic
def store(typingctx: Any, pointer: Any, vector: Any) -> Any:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _vector_at(context, builder, args[0], vector)
        builder.store(builder.extract_value(args[1], 0), place, align=vector.real.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(pointer, vector), emit


@intrinsic
def stream(typingctx: Any, pointer: Any, vector: Any) -> Any:
    """`store`, past the caches; the pointer is a multiple of a vector."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _vector_at(context, builder, args[0], vector)
        done = builder.store(builder.extract_value(args[1], 0), place, align=BYTES)
        done.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))
        return context.get_dummy_value()

    return types.none(pointer, vector), emit


@intrinsic
def streamed(typingctx: Any) -> Any:
    """What was stored past the caches is seen by other threads."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.none(), emit


@intrinsic
def store_some(typingctx: Any, pointer: Any, vector: Any, count: Any) -> Any:
    """The first `count` lanes, all if there are fewer."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        some = mask(builder, context.cast(builder, args[2], count, types.intp), vector.lanes)
        place, value = _vector_at(context, builder, args[0], vector), builder.extract_value(args[1], 0)
        masked_store(builder, value, place, some, vector.real.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(pointer, vector, count), emit


@inner
def load_part(pointer, count, other):
    """As `load_some`, without a mask where the vector is whole."""
    if count >= lanes_of(pointer):
        return load(pointer)
    return load_some(pointer, count, other)


@inner
def store_part(pointer, vector, count):
    """As `store_some`, without a mask where the vector is whole."""
    if count >= lanes_of(pointer):
        store(pointer, vector)
    else:
        store_some(pointer, vector, count)


@intrinsic
def every(typingctx: Any, pointer: Any, value: Any) -> Any:
    """A vector, of what the pointer points to, of this number in all lanes."""
    number = vector_of(pointer.dtype)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if isinstance(value, Number):
            one = builder.extract_value(args[1], 0)
        else:
            one = context.cast(builder, args[1], value, number.real)
        return _number(context, builder, number, spread(builder, one, number.lanes))

    return number(pointer, value), emit


def _folded(builder: Any, vector: Any, lanes: int, combine: Any) -> Any:
    """All lanes as one, by halves."""
    while lanes > 1:
        lanes //= 2
        halves = [ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(at, at + lanes))) for at in (0, lanes)]
        low, high = (builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), h) for h in halves)
        vector = combine(low, high)
    return builder.extract_element(vector, ir.IntType(32)(0))


@intrinsic
def total(typingctx: Any, vector: Any) -> Any:
    """The sum of the lanes."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _folded(builder, builder.extract_value(args[0], 0), vector.lanes, builder.fadd)

    return vector.real(vector), emit


@intrinsic
def largest(typingctx: Any, vector: Any) -> Any:
    """The largest of the lanes; NaNs may be passed over."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def combine(a: Any, b: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", a, b), a, b)

        return _folded(builder, builder.extract_value(args[0], 0), vector.lanes, combine)

    return vector.real(vector), emit


@intrinsic
def first(typingctx: Any, vector: Any) -> Any:
    """The first of the lanes."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.extract_element(builder.extract_value(args[0], 0), ir.IntType(32)(0))

    return vector.real(vector), emit


@intrinsic
def lane_numbers(typingctx: Any, pointer: Any) -> Any:
    """The vector 0, 1, 2, ..., of what the pointer points to."""
    number = vector_of(pointer.dtype)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = context.get_value_type(number.storage)
        return _number(context, builder, number, ir.Constant(kind, [float(i) for i in range(number.lanes)]))

    return number(pointer), emit


@intrinsic
def only(typingctx: Any, vector: Any, count: Any) -> Any:
    """The first `count` lanes, all if there are fewer, and 0 in those behind them."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        some = mask(builder, context.cast(builder, args[1], count, types.intp), vector.lanes)
        value = builder.extract_value(args[0], 0)
        return _number(context, builder, vector, builder.select(some, value, filled(value.type, 0.0)))

    return vector(vector, count), emit


@intrinsic
def widened(typingctx: Any, vector: Any) -> Any:
    """The same in float64, with as many lanes."""
    wide = Number(types.float64, lanes=vector.lanes)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = builder.extract_value(args[0], 0)
        if vector.real != types.float64:
            value = builder.fpext(value, context.get_value_type(wide.storage))
        return _number(context, builder, wide, value)

    return wide(vector), emit


@intrinsic
def narrowed(typingctx: Any, pointer: Any, wide: Any) -> Any:
    """The same, rounded to what the pointer points to."""
    number = Number(pointer.dtype, lanes=wide.lanes)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = builder.extract_value(args[1], 0)
        if number.real != types.float64:
            value = builder.fptrunc(value, context.get_value_type(number.storage))
        return _number(context, builder, number, value)

    return number(pointer, wide), emit


@intrinsic
def in_all(typingctx: Any, truths: Any) -> Any:
    """Does it hold in all lanes?"""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = ir.IntType(truths.lanes)
        return builder.icmp_signed("==", builder.bitcast(args[0], bits), bits(-1))

    return types.boolean(truths), emit
