"""The types of plans.py, for the compiler."""

cimport cython
from fastmlp.plan.updates cimport Update


cdef class Step:
    cdef readonly object model, loss, optimizer, layers, calls, program
    cdef readonly tuple _slots
    cdef object _forward, _share, _watch, _backend, _arena, _memory
    cdef list _learnt, _updates
    cdef bint _changes

    @cython.locals(update=Update)
    cpdef bint is_fresh(self) except -1
    cpdef attempt(self, x, y)
    @cython.locals(update=Update)
    cpdef run(self, x, y)
    @cython.locals(update=Update)
    cpdef repeat(self, x, y, order)
    cdef _prepare(self, Update update)


cdef class Prediction:
    cdef readonly object model, layers, calls, program, by_rows
    cdef object _slot, _like, _watch, _backend, _arena, _memory
    cdef bint _changes

    cpdef bint is_fresh(self) except -1
    cpdef attempt(self, x, out)
    cpdef run(self, x, out)


cdef class Predictor:
    cdef public object _lock
    cdef public Prediction _last_prediction
