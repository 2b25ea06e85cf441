"""What kernels read and write: arrays as Python gives them, pointers into them, and records of whole numbers."""

from __future__ import annotations

import operator
from types import SimpleNamespace
from typing import Any

from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import (
    NativeValue,
    intrinsic,
    lower_builtin,
    lower_getattr_generic,
    make_attribute_wrapper,
    models,
    register_model,
    type_callable,
    unbox,
)

from ..numba_scalars.compiled import address as address
from ..numba_scalars.functions import OPTIONS

#: what kernels are made of: compiled once, then a part of each
inner = njit(**OPTIONS)
#: the same for what a kernel is cut into to be read: put together again before it is compiled, which is quicker
part = njit(inline="always", **OPTIONS)


INDEX = ir.IntType(64) if types.intp.bitwidth == 64 else ir.IntType(32)

# ------------------------------------------------------------------------------------------------------ arguments


class Array(types.Type):
    """A NumPy array, or None: a pointer to its elements, `data`, which is null for None, and to its `ndim` numbers of
    `shape` and `strides`, in bytes. Nothing is checked: `ops` has."""

    def __init__(self, element: types.Type) -> None:
        self.element = element
        super().__init__(f"array of {element}")


FIELDS = {"data": 0, "ndim": 8, "shape": 16, "strides": 24}  # where they are, behind the head of every object


@register_model(Array)
class _Model(models.StructModel):
    def __init__(self, dmm: Any, fe_type: Array) -> None:
        element, index = types.CPointer(fe_type.element), types.CPointer(types.intp)
        members = [("data", element), ("ndim", types.int32), ("shape", index), ("strides", index)]
        super().__init__(dmm, fe_type, members)


for name in FIELDS:
    make_attribute_wrapper(Array, name, name)


def _read_fields(typ: Any, given: Any, c: Any, offsets: dict[str, int]) -> Any:
    """What stands behind the head of a Python object; of None, zeros."""
    builder, byte = c.builder, ir.IntType(8)
    zeros = ir.Constant(ir.ArrayType(byte, 32), bytearray(32))
    nothing = cgutils.global_constant(builder.module, "fastmlp_nothing", zeros)
    fields = builder.gep(builder.bitcast(given, byte.as_pointer()), [INDEX(object.__basicsize__)])
    is_none = builder.icmp_unsigned("==", given, c.pyapi.get_c_object("_Py_NoneStruct"))
    fields = builder.select(is_none, builder.bitcast(nothing, byte.as_pointer()), fields)
    read = cgutils.create_struct_proxy(typ)(c.context, builder)
    for name, offset in offsets.items():
        place = builder.gep(fields, [INDEX(offset)])
        kind = getattr(read, name).type
        setattr(read, name, builder.load(builder.bitcast(place, kind.as_pointer())))
    return NativeValue(read._getvalue())


@unbox(Array)
def _from_python(typ: Array, given: Any, c: Any) -> Any:
    return _read_fields(typ, given, c, FIELDS)


class Arrays(types.Type):
    """A list of such arrays, or None: `count`, 0 for None, and where Python has them, for `item`."""

    def __init__(self, element: types.Type) -> None:
        self.element = element
        super().__init__(f"list of arrays of {element}")


LIST_FIELDS = {"count": 0, "items": 8}  # where they are, behind the head


@register_model(Arrays)
class _ListModel(models.StructModel):
    def __init__(self, dmm: Any, fe_type: Arrays) -> None:
        super().__init__(dmm, fe_type, [("count", types.intp), ("items", types.CPointer(types.voidptr))])


for name in LIST_FIELDS:
    make_attribute_wrapper(Arrays, name, name)


@unbox(Arrays)
def _from_list(typ: Arrays, given: Any, c: Any) -> Any:
    return _read_fields(typ, given, c, LIST_FIELDS)


@intrinsic
def item(typingctx: Any, arrays: Any, i: Any) -> Any:
    """The Array at i of a list. Only while Python's lock is held: the list may change."""
    array = Array(arrays.element)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        items = builder.extract_value(args[0], 1)
        found = builder.load(builder.gep(items, [context.cast(builder, args[1], i, types.intp)]))
        pyapi = context.get_python_api(builder)
        given = builder.bitcast(found, pyapi.pyobj)
        return _from_python(array, given, SimpleNamespace(context=context, builder=builder, pyapi=pyapi)).value

    return array(arrays, i), emit


@inner
def size(array):
    """The number of its elements."""
    count = 1
    for i in range(array.ndim):
        count *= array.shape[i]
    return count


# -------------------------------------------------------------------------------------------------------- pointers


@intrinsic
def given(typingctx: Any, pointer: Any) -> Any:
    """Is it one that is not null?"""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.icmp_unsigned("!=", args[0], ir.Constant(args[0].type, None))

    return types.boolean(pointer), emit


@type_callable(operator.add)
def _type_of_moved(context: Any) -> Any:
    def typer(pointer: Any, by: Any) -> Any:
        if isinstance(pointer, types.CPointer) and isinstance(by, types.Integer):
            return pointer
        return None

    return typer


@lower_builtin(operator.add, types.CPointer, types.Integer)
def _moved(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """The pointer to an element further on."""
    return builder.gep(args[0], [context.cast(builder, args[1], sig.args[1], types.intp)])


@intrinsic
def retyped(typingctx: Any, pointer: Any, like: Any) -> Any:
    """The pointer, to elements as `like` points to."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(like))

    return like(pointer, like), emit


@intrinsic
def whole_numbers(typingctx: Any, pointer: Any) -> Any:
    """The same pointer, to whole numbers."""
    made = types.CPointer(types.intp)
    return made(pointer), lambda context, builder, sig, args: builder.bitcast(args[0], context.get_value_type(made))


@intrinsic
def item_size(typingctx: Any, pointer: Any) -> Any:
    """Bytes of an element."""
    return types.intp(pointer), lambda context, builder, sig, args: INDEX(pointer.dtype.bitwidth // 8)


@intrinsic
def one_of(typingctx: Any, value: Any, like: Any) -> Any:
    """The number, of that precision."""
    return like(like, like), lambda context, builder, sig, args: args[0]


class Record(types.Type):
    """A pointer to whole numbers, which are its attributes, with the names of a NamedTuple's."""

    def __init__(self, kind: Any) -> None:
        self.fields = kind._fields
        super().__init__(f"record of {kind.__module__}.{kind.__name__}")


@register_model(Record)
class _RecordModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Record) -> None:
        super().__init__(dmm, fe_type, INDEX.as_pointer())


@infer_getattr
class _RecordFields(AttributeTemplate):
    key = Record

    def generic_resolve(self, record: Record, name: str) -> Any:
        return types.intp if name in record.fields else None


@lower_getattr_generic(Record)
def _field(context: Any, builder: Any, record: Record, value: Any, name: str) -> Any:
    return builder.load(builder.gep(value, [INDEX(record.fields.index(name))]))


@intrinsic
def record(typingctx: Any, pointer: Any, kind: Any) -> Any:
    """What a NamedTuple of that class was stored as."""
    made = Record(kind.instance_class)
    return made(pointer, kind), lambda context, builder, sig, args: builder.bitcast(args[0], INDEX.as_pointer())


@intrinsic
def pointer(typingctx: Any, address: Any, like: Any) -> Any:
    """The address as a pointer like this one, or to what this type says: np.float64, np.uint32."""
    kind = like if isinstance(like, types.CPointer) else types.CPointer(like.instance_type)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(kind))

    return kind(types.intp, like), emit


@intrinsic
def call(typingctx: Any, address: Any, *values: Any) -> Any:
    """The machine code there, with these pointers and numbers; it gives nothing back."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kinds = [context.get_value_type(v) for v in values]
        function = ir.FunctionType(ir.VoidType(), kinds).as_pointer()
        given = [builder.extract_value(args[1], i) for i in range(len(values))]
        builder.call(builder.inttoptr(args[0], function), given)
        return context.get_dummy_value()

    return types.none(address, types.StarArgTuple(values)), emit


@intrinsic
def room(typingctx: Any, like: Any, count: Any) -> Any:
    """So many elements (a constant) as `like` points to, on the stack, at a line of the cache."""
    if not isinstance(count, types.IntegerLiteral):
        return None

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        element = context.get_value_type(like.dtype)
        with builder.goto_entry_block():
            memory = builder.alloca(element, size=INDEX(count.literal_value))
            memory.align = 64
        return memory

    return like(like, count), emit


room.prefer_literal = True
