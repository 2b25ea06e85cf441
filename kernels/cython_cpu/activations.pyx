"""The activations and their gradients, element by element, and PReLU. Arguments as in kernels/contract.py."""

cimport numpy as cnp

from api cimport as_activation, c_elementwise, c_prelu, data_or_null, is_double, run, table_t, tables

cnp.import_array()
cdef table_t *table = tables()


def activation_forward(cnp.ndarray x, act, tuple params, cnp.ndarray y, list record=None):
    cdef c_elementwise e
    e.count, e.act = cnp.PyArray_SIZE(x), as_activation(act, params)
    e.dy, e.x, e.y = NULL, cnp.PyArray_DATA(x), cnp.PyArray_DATA(y)
    run(table[is_double(x)].elementwise, &e, sizeof(e), record)


def activation_backward(
    cnp.ndarray dy, cnp.ndarray saved, act, tuple params, cnp.ndarray dx, list record=None,
):
    cdef c_elementwise e
    e.count, e.act = cnp.PyArray_SIZE(dy), as_activation(act, params)
    e.dy, e.x, e.y = cnp.PyArray_DATA(dy), cnp.PyArray_DATA(saved), cnp.PyArray_DATA(dx)
    run(table[is_double(dy)].elementwise, &e, sizeof(e), record)


cdef inline c_prelu channels_of(cnp.ndarray x, cnp.ndarray weight) noexcept:
    cdef c_prelu p
    p.rows, p.channels, p.inner = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1), cnp.PyArray_DIM(x, 2)
    p.weights = cnp.PyArray_SIZE(weight)
    p.x, p.weight = cnp.PyArray_DATA(x), cnp.PyArray_DATA(weight)
    p.dy, p.y, p.dx, p.dweight = NULL, NULL, NULL, NULL
    return p


def prelu_forward(cnp.ndarray x, cnp.ndarray weight, cnp.ndarray y, list record=None):
    cdef c_prelu p = channels_of(x, weight)
    p.y = cnp.PyArray_DATA(y)
    run(table[is_double(x)].prelu, &p, sizeof(p), record)


def prelu_backward(
    cnp.ndarray dy, cnp.ndarray x, cnp.ndarray weight, cnp.ndarray dx, cnp.ndarray dweight, list record=None,
):
    cdef c_prelu p = channels_of(x, weight)
    p.dy, p.dx, p.dweight = cnp.PyArray_DATA(dy), data_or_null(dx), data_or_null(dweight)
    run(table[is_double(x)].prelu, &p, sizeof(p), record)
