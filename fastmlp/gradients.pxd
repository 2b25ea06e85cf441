"""The types of gradients.py, for the compiler."""

cimport cython
from numpy cimport ndarray


cdef class Operation:
    cdef public object forward
    cdef public str name
    cdef public tuple reads


@cython.locals(p=ndarray, q=ndarray)
cpdef tuple promote(a, b)
cpdef fit(g, like)
