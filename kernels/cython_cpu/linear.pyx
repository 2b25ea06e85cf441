"""The fully connected layer, forward and backward. Arguments as in kernels/contract.py."""

cimport numpy as cnp

from api cimport (
    as_activation, as_matrix, c_linear_backward, c_linear_forward, data_or_null, is_double, matrix, run, table_t, tables,
)

cnp.import_array()
cdef table_t *table = tables()


def linear_forward(
    cnp.ndarray x, cnp.ndarray w, cnp.ndarray b, act, tuple params, cnp.ndarray y, cnp.ndarray z, list record=None,
):
    cdef c_linear_forward f
    f.m, f.k, f.n = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1), cnp.PyArray_DIM(w, 0)
    f.x, f.w, f.b = as_matrix(x), as_matrix(w), data_or_null(b)
    f.act = as_activation(act, params)
    f.y, f.z = cnp.PyArray_DATA(y), data_or_null(z)
    run(table[is_double(x)].linear_forward, &f, sizeof(f), record)


def linear_backward(
    cnp.ndarray dy, cnp.ndarray x, cnp.ndarray w, cnp.ndarray saved, act, tuple params,
    cnp.ndarray dx, cnp.ndarray dw, cnp.ndarray db, accumulate, list record=None,
):
    cdef c_linear_backward g
    g.m, g.n = cnp.PyArray_DIM(dy, 0), cnp.PyArray_DIM(dy, 1)
    g.k = cnp.PyArray_DIM(w if x is None else x, 1) if x is not None or w is not None else 0
    g.act = as_activation(act, params)
    cdef matrix nothing = matrix(NULL, 0, 0)
    g.dy, g.saved = cnp.PyArray_DATA(dy), data_or_null(saved)
    g.x = nothing if x is None else as_matrix(x)
    g.w = nothing if w is None else as_matrix(w)
    g.dx, g.dw, g.db = data_or_null(dx), data_or_null(dw), data_or_null(db)
    g.accumulate = accumulate
    run(table[is_double(dy)].linear_backward, &g, sizeof(g), record)
