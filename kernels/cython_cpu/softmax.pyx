"""Softmax and log-softmax over rows, forward and backward. Arguments as in kernels/contract.py."""

cimport numpy as cnp

from api cimport c_softmax, data_or_null, is_double, table_t, tables

cnp.import_array()
cdef table_t *table = tables()


cdef inline c_softmax rows_of(cnp.ndarray x, cnp.ndarray y, cnp.ndarray out) noexcept:
    return c_softmax(
        cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1), cnp.PyArray_DATA(x), data_or_null(y), cnp.PyArray_DATA(out)
    )


def softmax_forward(cnp.ndarray x, cnp.ndarray y):
    cdef c_softmax s = rows_of(x, None, y)
    cdef table_t t = table[is_double(x)]
    with nogil:
        t.softmax_forward(&s)


def log_softmax_forward(cnp.ndarray x, cnp.ndarray y):
    cdef c_softmax s = rows_of(x, None, y)
    cdef table_t t = table[is_double(x)]
    with nogil:
        t.log_softmax_forward(&s)


def softmax_backward(cnp.ndarray dy, cnp.ndarray y, cnp.ndarray dx):
    cdef c_softmax s = rows_of(dy, y, dx)
    cdef table_t t = table[is_double(dy)]
    with nogil:
        t.softmax_backward(&s)


def log_softmax_backward(cnp.ndarray dy, cnp.ndarray y, cnp.ndarray dx):
    cdef c_softmax s = rows_of(dy, y, dx)
    cdef table_t t = table[is_double(dy)]
    with nogil:
        t.log_softmax_backward(&s)
