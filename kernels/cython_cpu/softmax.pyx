"""Softmax and log-softmax over rows, forward and backward. Arguments as in kernels/contract.py."""

cimport numpy as cnp

from api cimport c_softmax, data_or_null, is_double, run, table_t, tables

cnp.import_array()
cdef table_t *table = tables()


cdef inline c_softmax rows_of(cnp.ndarray x, cnp.ndarray y, cnp.ndarray out) noexcept:
    return c_softmax(
        cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1), cnp.PyArray_DATA(x), data_or_null(y), cnp.PyArray_DATA(out)
    )


def softmax_forward(cnp.ndarray x, cnp.ndarray y, list record=None):
    cdef c_softmax s = rows_of(x, None, y)
    run(table[is_double(x)].softmax_forward, &s, sizeof(s), record)


def log_softmax_forward(cnp.ndarray x, cnp.ndarray y, list record=None):
    cdef c_softmax s = rows_of(x, None, y)
    run(table[is_double(x)].log_softmax_forward, &s, sizeof(s), record)


def softmax_backward(cnp.ndarray dy, cnp.ndarray y, cnp.ndarray dx, list record=None):
    cdef c_softmax s = rows_of(dy, y, dx)
    run(table[is_double(dy)].softmax_backward, &s, sizeof(s), record)


def log_softmax_backward(cnp.ndarray dy, cnp.ndarray y, cnp.ndarray dx, list record=None):
    cdef c_softmax s = rows_of(dy, y, dx)
    run(table[is_double(dy)].log_softmax_backward, &s, sizeof(s), record)
