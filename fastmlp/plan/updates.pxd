"""The types of updates.py, for the compiler."""

cimport cython


cdef class Update:
    cdef readonly Py_ssize_t index
    cdef readonly dict group
    cdef readonly list params, grads, states
    cdef readonly object step
    cdef object _options
    cdef readonly bint is_always_new

    cpdef look_at_options(self)
    cpdef bint has_new_options(self) except -1
    @cython.locals(state=dict, first=dict)
    cpdef bint counts_alike(self) except -1
    @cython.locals(first=dict)
    cpdef begin(self)
    @cython.locals(state=dict, first=dict)
    cpdef count(self, long steps=*)
    @cython.locals(first=dict)
    cpdef dict numbers(self)
    cpdef undo(self, dict numbers)
