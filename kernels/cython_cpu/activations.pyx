"""The activations and their gradients, element by element, and PReLU. Arguments as in kernels/contract.py."""

cimport numpy as cnp

from api cimport activation, as_activation, c_prelu, data_or_null, is_double, table_t, tables

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


cdef inline c_prelu channels_of(cnp.ndarray x, cnp.ndarray weight) noexcept:
    cdef c_prelu p
    p.rows, p.channels, p.inner = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1), cnp.PyArray_DIM(x, 2)
    p.weights = cnp.PyArray_SIZE(weight)
    p.x, p.weight = cnp.PyArray_DATA(x), cnp.PyArray_DATA(weight)
    p.dy, p.y, p.dx, p.dweight = NULL, NULL, NULL, NULL
    return p


def prelu_forward(cnp.ndarray x, cnp.ndarray weight, cnp.ndarray y):
    cdef c_prelu p = channels_of(x, weight)
    p.y = cnp.PyArray_DATA(y)
    cdef table_t t = table[is_double(x)]
    with nogil:
        t.prelu(&p)


def prelu_backward(cnp.ndarray dy, cnp.ndarray x, cnp.ndarray weight, cnp.ndarray dx, cnp.ndarray dweight):
    cdef c_prelu p = channels_of(x, weight)
    p.dy, p.dx, p.dweight = cnp.PyArray_DATA(dy), data_or_null(dx), data_or_null(dweight)
    cdef table_t t = table[is_double(x)]
    cdef int status
    with nogil:
        status = t.prelu(&p)
    if status != 0:
        raise MemoryError("prelu_backward: no memory for scratch")
