"""The C engine in Python's hands: which instruction set runs, how many threads, how fast a core can be."""

import os
import time

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport uint64_t

from api cimport engine_activations, engine_built, engine_isas, engine_kernels, engine_losses, table_t

cdef extern from "pool.h" nogil:
    int pool_threads()
    void pool_set_threads(int threads)
    int pool_is_worth(double multiply_adds, int lanes)
    void pool_run()  # by its address alone
    void *pool_scratch()
    uint64_t pool_new_number()

cdef table_t chosen[2]


cdef tuple _names(const char *const *list):
    names = []
    while list[len(names)] != NULL:
        names.append(list[len(names)].decode())
    return tuple(names)


def available_isas():
    """The instruction sets that are built and that this CPU has, best first."""
    return _names(engine_isas())


def built_isas():
    """The instruction sets that are built."""
    return _names(engine_built())


def activation_names():
    """The activations of the C engine, by their number."""
    return _names(engine_activations())


def loss_names():
    """The element-wise losses of the C engine, by their number."""
    return _names(engine_losses())


def _choose():
    """FASTMLP_ISA, or the best there is."""
    name = os.environ.get("FASTMLP_ISA") or available_isas()[0]
    if name not in available_isas():
        raise ValueError(f"FASTMLP_ISA: this CPU and build have {', '.join(available_isas())}; got {name!r}")
    chosen[0] = engine_kernels(name.encode(), 32)
    chosen[1] = engine_kernels(name.encode(), 64)


_choose()
tables = PyCapsule_New(<void *>chosen, "fastmlp.tables", NULL)


def isa():
    """The instruction set that runs: FASTMLP_ISA, or the best of `available_isas()`."""
    return chosen[0].isa.decode()


def get_num_threads():
    return pool_threads()


def set_num_threads(int n):
    with nogil:
        pool_set_threads(n)


def pool_addresses():
    """Where functions of c/pool.h are, for kernels that are compiled later."""
    return {
        "pool_run": <size_t>&pool_run, "pool_is_worth": <size_t>&pool_is_worth, "pool_threads": <size_t>&pool_threads,
        "pool_scratch": <size_t>&pool_scratch, "pool_new_number": <size_t>&pool_new_number,
    }


def fma_peak(int bits=32, double seconds=0.02):
    """The multiply-add rate of one core in GFLOP/s, in registers: the best of ten runs of seconds/10 each."""
    if bits not in (32, 64):
        raise ValueError(f"bits: expected 32 or 64, got {bits}")
    cdef table_t table = chosen[bits == 64]
    cdef ptrdiff_t rounds = 1000
    cdef double flops
    best, spent = 0.0, 0.0
    while spent < seconds:
        start = time.perf_counter()
        with nogil:
            flops = table.fma_peak(rounds)
        took = time.perf_counter() - start
        if took < seconds / 10:
            rounds *= 2
        else:
            best = max(best, flops / took / 1e9)
            spent += took
    return best
