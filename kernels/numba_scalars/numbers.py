"""The type that formulas are compiled for.

A `Number` is a float32 or a float64 that stays one: Python's own numbers beside it, which Numba takes for float64 and
int64, become numbers of its precision. A dual Number carries its derivative along (Clifford 1873; as forward-mode
differentiation, Wengert 1964): whatever a formula does with it, it does with both.

Plain numbers are the machine's own instructions, below. Dual ones are made of them: functions.py has a rule for each
operation. A plain Number may also be a vector of several, on which the same formulas work lane by lane, if they choose
instead of branching.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typeconv import Conversion
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, lower_cast, models, register_model

from .coefficients import COEFFICIENTS

MANTISSA, BIAS = {32: 23, 64: 52}, {32: 127, 64: 1023}
PYTHON = (types.Integer, types.Float, types.Boolean)


def bits_of(x: float, size: int) -> int:
    """Those of x as a float or a double."""
    real, whole = {32: (np.float32, np.int32), 64: (np.float64, np.int64)}[size]
    return int(real(x).view(whole))


class Number(types.Type):
    """real: float32 or float64. dual: is its derivative with it? lanes: of a vector; such a one is not dual"""

    def __init__(self, real: types.Float, dual: bool = False, lanes: int = 1) -> None:
        self.real, self.dual, self.lanes = real, dual, lanes
        self.storage = real if lanes == 1 else Lanes(real, lanes)
        self.truth = types.boolean if lanes == 1 else Lanes(types.boolean, lanes)
        super().__init__(f"{'dual ' if dual else ''}number ({self.storage})")

    def can_convert_from(self, typingctx: Any, other: types.Type) -> Conversion | None:
        if isinstance(other, PYTHON) or (isinstance(other, Number) and other.real == self.real and self.dual):
            return Conversion.safe
        return None

    def unify(self, typingctx: Any, other: types.Type) -> types.Type | None:
        if isinstance(other, PYTHON):
            return self
        alike = isinstance(other, Number) and other.real == self.real and self.lanes == other.lanes == 1
        return Number(self.real, True) if alike else None


class Lanes(types.Type):
    """A vector of float32, float64 or boolean."""

    def __init__(self, element: types.Type, lanes: int) -> None:
        self.element, self.lanes = element, lanes
        super().__init__(f"{lanes} {element}")


@register_model(Lanes)
class _Vector(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Lanes) -> None:
        element = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}.get(fe_type.element, ir.IntType(1))
        super().__init__(dmm, fe_type, ir.VectorType(element, fe_type.lanes))


@register_model(Number)
class _Model(models.StructModel):
    def __init__(self, dmm: Any, fe_type: Number) -> None:
        members = [("value", fe_type.storage), *([("slope", fe_type.storage)] if fe_type.dual else [])]
        super().__init__(dmm, fe_type, members)


def filled(kind: Any, value: Any) -> ir.Constant:
    """The constant of that type of LLVM, in all lanes of a vector."""
    return ir.Constant(kind, [value] * kind.count if isinstance(kind, ir.VectorType) else value)


def spread(builder: Any, value: Any, lanes: int) -> Any:
    """A value in all lanes of a vector."""
    if lanes == 1:
        return value
    nothing = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, filled(ir.VectorType(ir.IntType(32), lanes), 0))


def _made(context: Any, builder: Any, number: Number, value: Any, slope: Any = None) -> Any:
    data = builder.insert_value(ir.Constant(context.get_value_type(number), ir.Undefined), value, 0)
    if not number.dual:
        return data
    return builder.insert_value(data, filled(value.type, 0.0) if slope is None else slope, 1)


@lower_cast(types.Integer, Number)
@lower_cast(types.Float, Number)
@lower_cast(types.Boolean, Number)
def _from_python(context: Any, builder: Any, fromty: Any, toty: Number, value: Any) -> Any:
    value = context.cast(builder, value, fromty, toty.real)
    return _made(context, builder, toty, spread(builder, value, toty.lanes))


@lower_cast(Number, Number)
def _to_dual(context: Any, builder: Any, fromty: Number, toty: Number, number: Any) -> Any:
    return number if fromty == toty else _made(context, builder, toty, builder.extract_value(number, 0))


# ------------------------------------------------------------------------------------- operators of plain numbers


def plain_of(args: Any) -> Number | None:
    """The one type of plain number among Python's numbers; None if there is none, or another type."""
    numbers = {a for a in args if isinstance(a, Number)}
    if len(numbers) != 1 or not all(isinstance(a, (Number, *PYTHON)) for a in args):
        return None
    (number,) = numbers
    return None if number.dual else number


def _operator(functions: tuple[Any, ...], operands: int, emit: Callable[..., Any], truth: bool = False) -> None:
    """emit(builder, values): the instruction. truth: does it give a bool?"""

    class Template(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            number = plain_of(args) if len(args) == operands else None
            return None if number is None else signature(number.truth if truth else number, *[number] * operands)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = emit(builder, *(builder.extract_value(a, 0) for a in args))
        return value if truth else _made(context, builder, sig.return_type, value)

    for function in functions:
        infer_global(function)(type("Template", (Template,), {"key": function}))
        lower_builtin(function, *[Number] * operands)(lower)


_operator((operator.add, operator.iadd), 2, lambda builder, a, b: builder.fadd(a, b))
_operator((operator.sub, operator.isub), 2, lambda builder, a, b: builder.fsub(a, b))
_operator((operator.mul, operator.imul), 2, lambda builder, a, b: builder.fmul(a, b))
_operator((operator.truediv, operator.itruediv), 2, lambda builder, a, b: builder.fdiv(a, b))
_operator((operator.neg,), 1, lambda builder, a: builder.fsub(filled(a.type, -0.0), a))  # CUDA has no fneg
_operator((operator.pos,), 1, lambda builder, a: a)
ORDERED = ((operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">="), (operator.eq, "=="))
for function, sign in ORDERED:
    _operator((function,), 2, lambda builder, a, b, sign=sign: builder.fcmp_ordered(sign, a, b), truth=True)
_operator((operator.ne,), 2, lambda builder, a, b: builder.fcmp_unordered("!=", a, b), truth=True)


def _truths(function: Any, emit: Callable[..., Any]) -> None:
    """What `&` and the like are, lane by lane."""

    class Template(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            return signature(args[0], *args) if isinstance(args[0], Lanes) and len(set(args)) == 1 else None

    infer_global(function)(type("Template", (Template,), {"key": function}))
    lower_builtin(function, *[Lanes] * (1 if function is operator.invert else 2))(
        lambda context, builder, sig, args: emit(builder, *args)
    )


_truths(operator.and_, lambda builder, a, b: builder.and_(a, b))
_truths(operator.or_, lambda builder, a, b: builder.or_(a, b))
_truths(operator.invert, lambda builder, a: builder.not_(a))


# ------------------------------------------------------------------------------- what formulas are made of beside them


def call_llvm(builder: Any, name: str, values: list[Any]) -> Any:
    """LLVM's function of that name, for reals or vectors of them; CUDA's on GPUs, where few of LLVM's are known."""
    kind = values[0].type
    real = kind.element if isinstance(kind, ir.VectorType) else kind
    suffix = f"v{kind.count}" if isinstance(kind, ir.VectorType) else ""
    full = f"llvm.{name}.{suffix}f{32 if real == ir.FloatType() else 64}"
    if builder.module.triple.startswith("nvptx") and name not in ("fma", "sqrt"):
        full = f"__nv_{name}{'f' if real == ir.FloatType() else ''}"
    signature = ir.FunctionType(kind, [kind] * len(values))
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, full), values)


def _llvm(name: str, operands: int) -> Any:
    """The same of plain numbers."""

    def typed(*args: Any) -> Any:
        number = plain_of(args)
        if number is None:
            return None

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            values = [builder.extract_value(a, 0) for a in args]
            return _made(context, builder, number, call_llvm(builder, name, values))

        return number(*[number] * operands), emit

    if operands == 1:
        return intrinsic(lambda typingctx, a: typed(a))
    if operands == 2:
        return intrinsic(lambda typingctx, a, b: typed(a, b))
    return intrinsic(lambda typingctx, a, b, c: typed(a, b, c))


absolute, square_root = _llvm("fabs", 1), _llvm("sqrt", 1)
round_down, round_up = _llvm("floor", 1), _llvm("ceil", 1)
round_to_0, round_to_even = _llvm("trunc", 1), _llvm("rint", 1)
with_sign_of, power = _llvm("copysign", 2), _llvm("pow", 2)
sine, cosine = _llvm("sin", 1), _llvm("cos", 1)
fma = _llvm("fma", 3)  # a b + c, rounded once


@intrinsic
def remainder_to_0(typingctx: Any, a: Any, b: Any) -> Any:
    """C's fmod: of the sign of a"""
    number = plain_of((a, b))
    if number is None:
        return None

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _made(context, builder, number, builder.frem(*(builder.extract_value(x, 0) for x in args)))

    return number(number, number), emit


@intrinsic
def choose(typingctx: Any, condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b; both are computed."""
    number = plain_of((a, b))
    if number is None:
        return None

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        values = [builder.extract_value(x, 0) for x in args[1:]]
        return _made(context, builder, number, builder.select(args[0], *values))

    return number(number.truth, number, number), emit


def _whole(number: Number) -> Any:
    """LLVM's integers of as many bits and lanes."""
    size = ir.IntType(number.real.bitwidth)
    return size if number.lanes == 1 else ir.VectorType(size, number.lanes)


@intrinsic
def exponent_field(typingctx: Any, a: Any) -> Any:
    """The number whose exponent is in the last bits of a: 2^(n - bias) for 1.5 · 2^mantissa + n, 0 for n = 0."""
    if plain_of((a,)) is None:
        return None

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = builder.extract_value(args[0], 0)
        whole = _whole(a)
        shifted = builder.shl(builder.bitcast(value, whole), filled(whole, MANTISSA[a.real.bitwidth]))
        return _made(context, builder, a, builder.bitcast(shifted, value.type))

    return a(a), emit


@intrinsic
def parts(typingctx: Any, a: Any) -> Any:
    """(k, e) with a = 2^k (1 + e), k whole and √½ <= 1 + e < √2, for a normal a > 0. To the bits is added the distance
    from √½ to 1: it takes them over to the next k where they should be."""
    if plain_of((a,)) is None:
        return None
    size = a.real.bitwidth

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = builder.extract_value(args[0], 0)
        whole = _whole(a)
        mantissa = filled(whole, MANTISSA[size])
        low, one, magic = (filled(whole, bits_of(x, size)) for x in (math.sqrt(0.5), 1.0, 1.5 * 2 ** MANTISSA[size]))
        moved = builder.add(builder.bitcast(value, whole), builder.sub(one, low))
        field = builder.sub(builder.ashr(moved, mantissa), filled(whole, BIAS[size]))
        k = builder.bitcast(builder.add(field, magic), value.type)
        k = builder.fsub(k, filled(value.type, 1.5 * 2 ** MANTISSA[size]))
        fraction = builder.and_(moved, filled(whole, 2 ** MANTISSA[size] - 1))
        e = builder.fsub(builder.bitcast(builder.add(fraction, low), value.type), filled(value.type, 1.0))
        made = (_made(context, builder, a, k), _made(context, builder, a, e))
        return context.make_tuple(builder, sig.return_type, made)

    return types.UniTuple(a, 2)(a), emit


@intrinsic(prefer_literal=True)
def constant(typingctx: Any, name: Any, like: Any) -> Any:
    """The number of that name in coefficients.py, of the type of `like`."""
    found = COEFFICIENTS[like.real.bitwidth][name.literal_value]

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _made(context, builder, like, filled(context.get_value_type(like.storage), found))

    return like(name, like), emit


@intrinsic(prefer_literal=True)
def polynomial(typingctx: Any, name: Any, x: Any) -> Any:
    """c[0] x^(n-1) + ... + c[n-1] with the coefficients of that name."""
    found = COEFFICIENTS[x.real.bitwidth][name.literal_value]

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = builder.extract_value(args[1], 0)
        total = filled(at.type, found[0])
        for c in found[1:]:
            total = call_llvm(builder, "fma", [total, at, filled(at.type, c)])
        return _made(context, builder, x, total)

    return x(name, x), emit


def _precision(real: Any) -> types.Float:
    """Of what Python has: whole numbers count as float64."""
    return real if isinstance(real, types.Float) else types.float64


@intrinsic
def number(typingctx: Any, real: Any) -> Any:
    """A float32 or float64 as a plain number."""
    made = Number(_precision(real))

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _made(context, builder, made, context.cast(builder, args[0], real, made.real))

    return made(real), emit


@intrinsic
def real_of(typingctx: Any, a: Any) -> Any:
    """The float32 or float64 that a number is."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.extract_value(args[0], 0)

    return a.real(a), emit


@intrinsic
def plain(typingctx: Any, a: Any, like: Any) -> Any:
    """A number without its derivative, or one of Python's, as a plain number of the precision and lanes of `like`."""
    made = Number(like.real, lanes=like.lanes)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if isinstance(a, Number):
            return _made(context, builder, made, builder.extract_value(args[0], 0))
        return context.cast(builder, args[0], a, made)

    return made(a, like), emit


@intrinsic
def slope(typingctx: Any, a: Any, like: Any) -> Any:
    """The derivative of a number, of the precision of `like`: 0 of a plain one, or of one of Python's."""
    made = Number(like.real)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        is_dual = isinstance(a, Number) and a.dual
        zero = ir.Constant(context.get_value_type(made.real), 0.0)
        return _made(context, builder, made, builder.extract_value(args[0], 1) if is_dual else zero)

    return made(a, like), emit


@intrinsic
def variable(typingctx: Any, real: Any) -> Any:
    """A float32 or float64 as the number by which is differentiated: its slope is 1."""
    made = Number(_precision(real), True)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = context.cast(builder, args[0], real, made.real)
        return _made(context, builder, made, value, ir.Constant(value.type, 1.0))

    return made(real), emit


@intrinsic
def dual(typingctx: Any, value: Any, slope: Any) -> Any:
    """A number with its derivative, of two plain ones."""
    made, part = Number(value.real, True), Number(value.real)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _made(context, builder, made, *(builder.extract_value(a, 0) for a in args))

    return made(part, part), emit
