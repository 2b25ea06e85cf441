"""The types of batches.py, for the compiler."""

cimport cython
from fastmlp.tape cimport TensorBase, array_of

@cython.locals(found=dict, p=TensorBase, grad=TensorBase, batch=tuple)
cpdef dict batches(params, state)
