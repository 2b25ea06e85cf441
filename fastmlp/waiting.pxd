"""The types of waiting.py, for the compiler."""

cimport cython
from .tape cimport TensorBase, array_of, edge, leave_node, seen, settle, wrap


cdef class LinearJob:
    cdef public TensorBase x
    cdef public TensorBase w
    cdef public TensorBase b
    cdef public bint dx
    cdef public bint dw
    cdef public bint db
    cdef public object backend

    cpdef bint can_wait(self)
    cpdef TensorBase compute(self, act, bint record)
    cpdef TensorBase finish(self)


@cython.locals(y=TensorBase, job=LinearJob, t=TensorBase)
cpdef TensorBase linear(x, w, b=*)

@cython.locals(t=TensorBase, y=TensorBase, source=TensorBase, job=LinearJob)
cpdef TensorBase activation(x, act)
