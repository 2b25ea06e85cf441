"""The thread pool of the C engine, where it is built, and what does its work where it is not: the caller's own thread.

Kernels know its functions by name; `offer` says where they are, before the first kernel is compiled.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .memory import INDEX

POINTER = ir.IntType(8).as_pointer()
INT = ir.IntType(32)
SCRATCH_BYTES = 1280 * 1024  # as c/pool.h has it
A_MOMENT = 10_000  # steps: about 2 us

_kept: list[Any] = []  # functions whose addresses are in use
_own = threading.local()
_numbers = itertools.count(1)


def offer(addresses: dict[str, int]) -> None:
    """Where pool_run, pool_is_worth, pool_threads, pool_scratch and pool_new_number of c/pool.h are."""
    for name, address in addresses.items():
        llvm.add_symbol(f"fastmlp_{name}", address)


def alone() -> dict[str, int]:
    """The same for one thread."""
    task = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_ssize_t)

    def run(address: int, job: int, tasks: int, share: int) -> None:
        call = task(address)
        for index in range(tasks):
            call(job, index)

    def scratch() -> int:
        if not hasattr(_own, "memory"):
            _own.memory = ctypes.create_string_buffer(SCRATCH_BYTES + 64)
        begin = ctypes.addressof(_own.memory)
        return begin + -begin % 64

    pointer, size, whole = ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int
    functions = {
        "pool_run": ctypes.CFUNCTYPE(None, pointer, pointer, size, whole)(run),
        "pool_is_worth": ctypes.CFUNCTYPE(whole, ctypes.c_double, whole)(lambda work, lanes: 0),
        "pool_threads": ctypes.CFUNCTYPE(whole)(lambda: 1),
        "pool_scratch": ctypes.CFUNCTYPE(pointer)(scratch),
        "pool_new_number": ctypes.CFUNCTYPE(ctypes.c_uint64)(lambda: next(_numbers)),
    }
    _kept.extend(functions.values())
    return {name: ctypes.cast(f, pointer).value or 0 for name, f in functions.items()}


def _function(builder: Any, name: str, gives: Any, takes: list[Any]) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(gives, takes), name)


@intrinsic
def worth(typingctx: Any, steps: Any) -> Any:
    """Is so much work, in multiply-adds of whole vectors, to be shared out? As pool_is_worth says it."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        ask = _function(builder, "fastmlp_pool_is_worth", INT, [ir.DoubleType(), INT])
        return builder.call(ask, [args[0], INT(1)])

    return types.int32(types.float64), emit


@intrinsic
def threads(typingctx: Any) -> Any:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.call(_function(builder, "fastmlp_pool_threads", INT, []), [])

    return types.int32(), emit


@intrinsic
def scratch(typingctx: Any, like: Any) -> Any:
    """The thread's own SCRATCH_BYTES, as a pointer like this one. It belongs to whoever asked last."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        memory = builder.call(_function(builder, "fastmlp_pool_scratch", POINTER, []), [])
        return builder.bitcast(memory, context.get_value_type(like))

    return like(like), emit


def _run(builder: Any, task: Any, job: Any, tasks: Any, share: Any, steps: Any) -> None:
    """Calls pool_run, without Python's lock if it takes long."""
    run = _function(builder, "fastmlp_pool_run", ir.VoidType(), [POINTER, POINTER, INDEX, INT])
    values = [builder.bitcast(task, POINTER), builder.bitcast(job, POINTER), tasks, share]
    with builder.if_then(builder.icmp_signed(">", tasks, INDEX(0))):
        takes_long = builder.fcmp_ordered(">", steps, ir.DoubleType()(A_MOMENT))
        with builder.if_else(takes_long) as (long, short):
            with long:
                state = builder.call(_function(builder, "PyEval_SaveThread", POINTER, []), [])
                builder.call(run, values)
                builder.call(_function(builder, "PyEval_RestoreThread", ir.VoidType(), [POINTER]), [state])
            with short:
                builder.call(run, values)


@intrinsic
def run_code(typingctx: Any, code: Any, job: Any, tasks: Any, share: Any, steps: Any) -> Any:
    """As `run_tasks`, of machine code at that address and a pointer to its job."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        task = builder.inttoptr(args[0], POINTER)
        _run(builder, task, *args[1:])
        return context.get_dummy_value()

    return types.none(types.intp, job, types.intp, types.int32, types.float64), emit


@intrinsic
def new_number(typingctx: Any) -> Any:
    """Numbers jobs, from 1."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.call(_function(builder, "fastmlp_pool_new_number", INDEX, []), [])

    return types.intp(), emit


@intrinsic
def run_tasks(typingctx: Any, task: Any, job: Any, tasks: Any, share: Any, steps: Any) -> Any:
    """task(job, index) for every index below `tasks`; job: a tuple of plain values. share: what `worth` said of all the
    steps. Python's lock is not held meanwhile, unless it is over in a moment."""
    called = typingctx.resolve_function_type(task, (job, types.intp), {})

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        compiled = task.dispatcher.overloads[called.args]
        context.active_code_library.add_linking_library(compiled.library)
        kind = context.get_value_type(job)
        name = f"{builder.function.name}.task{len(builder.module.functions)}"
        wrapper = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), [POINTER, INDEX]), name)
        wrapper.linkage = "internal"
        inside = ir.IRBuilder(wrapper.append_basic_block("entry"))
        given = inside.load(inside.bitcast(wrapper.args[0], kind.as_pointer()))
        function = context.declare_function(builder.module, compiled.fndesc)
        values = [given, wrapper.args[1]]
        context.call_conv.call_function(inside, function, called.return_type, called.args, values)
        inside.ret_void()

        memory = cgutils.alloca_once(builder, kind)
        builder.store(args[1], memory)
        _run(builder, wrapper, memory, *args[2:])
        return context.get_dummy_value()

    return types.none(task, job, types.intp, types.int32, types.float64), emit
