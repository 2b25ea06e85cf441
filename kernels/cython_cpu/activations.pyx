"""The activations and their gradients, element by element. Arguments as in kernels/contract.py."""

cimport numpy as cnp

from api cimport activation, as_activation, is_double, table_t, tables

cnp.import_array()
cdef table_t *table = tables()


def activation_forward(cnp.ndarray x, act, tuple params, cnp.ndarray y):
    cdef activation a = as_activation(act, params)
    cdef const void *source = cnp.PyArray_DATA(x)
    cdef void *target = cnp.PyArray_DATA(y)
    cdef ptrdiff_t count = cnp.PyArray_SIZE(x)
    cdef table_t t = table[is_double(x)]
    with nogil:
        t.activation_forward(source, a, target, count)


def activation_backward(cnp.ndarray dy, cnp.ndarray saved, act, tuple params, cnp.ndarray dx):
    cdef activation a = as_activation(act, params)
    cdef const void *gradient = cnp.PyArray_DATA(dy)
    cdef const void *source = cnp.PyArray_DATA(saved)
    cdef void *target = cnp.PyArray_DATA(dx)
    cdef ptrdiff_t count = cnp.PyArray_SIZE(dy)
    cdef table_t t = table[is_double(dy)]
    with nogil:
        t.activation_backward(gradient, source, a, target, count)
