"""The types of watch.py, for the compiler."""

cimport cython
from fastmlp.tape cimport TensorBase

@cython.locals(entry=tuple, d=dict)
cpdef bint unchanged(list entries) except -1

cpdef bint unchanged_sizes(list sizes) except -1

@cython.locals(i=Py_ssize_t)
cpdef bint unchanged_values(d, list values) except -1

@cython.locals(t=TensorBase, learns=bint)
cpdef bint unchanged_tensors(list tensors) except -1
