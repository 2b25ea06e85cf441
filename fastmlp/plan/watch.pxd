"""The types of watch.py, for the compiler."""

cimport cython
from fastmlp.tape cimport TensorBase

@cython.locals(i=Py_ssize_t)
cpdef bint unchanged_items(some, list items) except -1

@cython.locals(t=TensorBase, learns=bint)
cpdef bint unchanged_tensors(list tensors) except -1


cdef class Watch:
    cdef object _entries
    cdef list _tensors
    cdef list _versions
    cdef list _lists
    cdef list _types

    @cython.locals(t=TensorBase)
    cpdef bint sees_no_change(self) except -1
