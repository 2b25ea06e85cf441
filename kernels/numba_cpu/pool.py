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

_offered: dict[str, int] = {}
_own = threading.local()
_numbers = itertools.count(1)


def offer(addresses: dict[str, int]) -> None:
    """Where pool_run, pool_is_worth, pool_threads, pool_scratch and pool_new_number of c/pool.h are. To be told before
    the first kernel is compiled; if it is not, kernels run on the thread that calls them."""
    _offered.update(addresses)
    for name, address in addresses.items():
        llvm.add_symbol(f"fastmlp_{name}", address)


def has_threads() -> bool:
    """Was the pool offered? Kernels are compiled for one or the other."""
    return bool(_offered)


def thread_count() -> int:
    """As many threads run a kernel at most."""
    return ctypes.CFUNCTYPE(ctypes.c_int)(_offered["pool_threads"])() if _offered else 1


def _scratch() -> int:
    if not hasattr(_own, "memory"):
        _own.memory = ctypes.create_string_buffer(SCRATCH_BYTES + 64)
    begin = ctypes.addressof(_own.memory)
    return begin + -begin % 64


_alone = {
    "pool_scratch": ctypes.CFUNCTYPE(ctypes.c_void_p)(_scratch),
    "pool_new_number": ctypes.CFUNCTYPE(ctypes.c_uint64)(lambda: next(_numbers)),
}
for name, function in _alone.items():
    llvm.add_symbol(f"fastmlp_{name}", ctypes.cast(function, ctypes.c_void_p).value or 0)


def _function(builder: Any, name: str, gives: Any, takes: list[Any]) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(gives, takes), name)


@intrinsic
def worth(typingctx: Any, steps: Any) -> Any:
    """Is so much work, in multiply-adds of whole vectors, to be shared out? As pool_is_worth says it."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if not has_threads():
            return INT(0)
        ask = _function(builder, "fastmlp_pool_is_worth", INT, [ir.DoubleType(), INT])
        return builder.call(ask, [args[0], INT(1)])

    return types.int32(types.float64), emit


@intrinsic
def threads(typingctx: Any) -> Any:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.call(_function(builder, "fastmlp_pool_threads", INT, []), []) if has_threads() else INT(1)

    return types.int32(), emit


@intrinsic
def scratch(typingctx: Any, like: Any) -> Any:
    """The thread's own SCRATCH_BYTES, as a pointer like this one. It belongs to whoever asked last."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        again, done = builder.append_basic_block(), builder.append_basic_block()
        builder.branch(again)
        builder.position_at_end(again)  # without the pool it is Python, which an interrupt may end
        memory = builder.call(_function(builder, "fastmlp_pool_scratch", POINTER, []), [])
        builder.cbranch(builder.icmp_unsigned("==", memory, ir.Constant(POINTER, None)), again, done)
        builder.position_at_end(done)
        return builder.bitcast(memory, context.get_value_type(like))

    return like(like), emit


def _run(builder: Any, task: Any, job: Any, tasks: Any, share: Any, steps: Any) -> None:
    """Calls pool_run, or one task after the other, without Python's lock if it takes long."""
    task, job = builder.bitcast(task, POINTER), builder.bitcast(job, POINTER)

    def run() -> None:
        if has_threads():
            pool_run = _function(builder, "fastmlp_pool_run", ir.VoidType(), [POINTER, POINTER, INDEX, INT])
            builder.call(pool_run, [task, job, tasks, share])
            return
        kind = ir.FunctionType(ir.VoidType(), [POINTER, INDEX]).as_pointer()
        with cgutils.for_range(builder, tasks) as loop:
            builder.call(builder.bitcast(task, kind), [job, loop.index])

    with builder.if_then(builder.icmp_signed(">", tasks, INDEX(0))):
        takes_long = builder.fcmp_ordered(">", steps, ir.DoubleType()(A_MOMENT))
        with builder.if_else(takes_long) as (long, short):
            with long:
                state = builder.call(_function(builder, "PyEval_SaveThread", POINTER, []), [])
                run()
                builder.call(_function(builder, "PyEval_RestoreThread", ir.VoidType(), [POINTER]), [state])
            with short:
                run()


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
