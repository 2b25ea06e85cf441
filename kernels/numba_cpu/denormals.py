"""Denormal numbers take a hundred times as long; where nobody can see the difference, they are 0 for a while."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

ARCHITECTURE = cpu_target.target_context.codegen().magic_tuple()[0].split("-")[0]
FLUSH = {"x86_64": 0x8040, "aarch64": 1 << 24}.get(ARCHITECTURE)  # bits of MXCSR, of FPCR


def _mxcsr(builder: Any, name: str, value: Any = None) -> Any:
    """Reads the control register of SSE, or writes it."""
    place = cgutils.alloca_once(builder, ir.IntType(32))
    if value is not None:
        builder.store(builder.trunc(value, ir.IntType(32)), place)
    pointer = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [builder.bitcast(place, pointer)])
    return builder.zext(builder.load(place), ir.IntType(64))


def _read(builder: Any) -> Any:
    if ARCHITECTURE == "x86_64":
        return _mxcsr(builder, "llvm.x86.sse.stmxcsr")
    return builder.asm(ir.FunctionType(ir.IntType(64), []), "mrs $0, fpcr", "=r", [], True)


def _write(builder: Any, value: Any) -> None:
    if ARCHITECTURE == "x86_64":
        _mxcsr(builder, "llvm.x86.sse.ldmxcsr", value)
    else:
        builder.asm(ir.FunctionType(ir.VoidType(), [ir.IntType(64)]), "msr fpcr, $0", "r", [value], True)


@intrinsic
def flush_denormals(typingctx: Any) -> Any:
    """From here on, denormal numbers are 0. -> what `unflush` needs. Of a CPU that is not known, nothing happens."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        before = ir.IntType(64)(0)
        if FLUSH is not None:
            before = _read(builder)
            _write(builder, builder.or_(before, ir.IntType(64)(FLUSH)))
        return before

    return types.uint64(), emit


@intrinsic
def unflush(typingctx: Any, before: Any) -> Any:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if FLUSH is not None:
            _write(builder, args[0])
        return context.get_dummy_value()

    return types.none(types.uint64), emit
