"""The types of batches.py, for the compiler."""

cimport cython
from fastmlp.tape cimport TensorBase, array_of

@cython.locals(found=dict, p=TensorBase, grad=TensorBase, kept=dict, batch=tuple)
cpdef dict batches(list params, state)
