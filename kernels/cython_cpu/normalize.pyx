"""Layer norm over rows and batch norm over columns, with their gradients. Arguments as in kernels/contract.py."""

cimport numpy as cnp

from api cimport c_normalize, data_or_null, is_double, run, table_t, tables

cnp.import_array()
cdef table_t *table = tables()


cdef inline c_normalize forward(
    cnp.ndarray x, cnp.ndarray weight, cnp.ndarray bias, double eps, cnp.ndarray y, cnp.ndarray mean, cnp.ndarray rstd,
    cnp.ndarray var,
) noexcept:
    return c_normalize(
        cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1), NULL, cnp.PyArray_DATA(x), data_or_null(weight),
        data_or_null(bias), eps, False, cnp.PyArray_DATA(y), cnp.PyArray_DATA(mean), cnp.PyArray_DATA(rstd),
        data_or_null(var), NULL, NULL, NULL,
    )


cdef inline c_normalize backward(
    cnp.ndarray dy, cnp.ndarray x, cnp.ndarray weight, cnp.ndarray mean, cnp.ndarray rstd, bint training,
    cnp.ndarray dx, cnp.ndarray dweight, cnp.ndarray dbias,
) noexcept:
    return c_normalize(
        cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1), cnp.PyArray_DATA(dy), cnp.PyArray_DATA(x), data_or_null(weight),
        NULL, 0, training, NULL, cnp.PyArray_DATA(mean), cnp.PyArray_DATA(rstd), NULL, data_or_null(dx),
        data_or_null(dweight), data_or_null(dbias),
    )


def layer_norm_forward(
    cnp.ndarray x, cnp.ndarray weight, cnp.ndarray bias, double eps, cnp.ndarray y, cnp.ndarray mean, cnp.ndarray rstd, list record=None,
):
    cdef c_normalize c = forward(x, weight, bias, eps, y, mean, rstd, None)
    run(table[is_double(x)].layer_norm_forward, &c, sizeof(c), record)


def layer_norm_backward(
    cnp.ndarray dy, cnp.ndarray x, cnp.ndarray weight, cnp.ndarray mean, cnp.ndarray rstd,
    cnp.ndarray dx, cnp.ndarray dweight, cnp.ndarray dbias, list record=None,
):
    cdef c_normalize c = backward(dy, x, weight, mean, rstd, True, dx, dweight, dbias)
    run(table[is_double(x)].layer_norm_backward, &c, sizeof(c), record)


def batch_norm_forward(
    cnp.ndarray x, cnp.ndarray weight, cnp.ndarray bias, double eps, cnp.ndarray y, cnp.ndarray mean, cnp.ndarray rstd,
    cnp.ndarray var, list record=None,
):
    cdef c_normalize c = forward(x, weight, bias, eps, y, mean, rstd, var)
    run(table[is_double(x)].batch_norm_forward, &c, sizeof(c), record)


def batch_norm_apply(
    cnp.ndarray x, cnp.ndarray weight, cnp.ndarray bias, cnp.ndarray mean, cnp.ndarray rstd, cnp.ndarray y, list record=None,
):
    cdef c_normalize c = forward(x, weight, bias, 0, y, mean, rstd, None)
    run(table[is_double(x)].batch_norm_apply, &c, sizeof(c), record)


def batch_norm_backward(
    cnp.ndarray dy, cnp.ndarray x, cnp.ndarray weight, cnp.ndarray mean, cnp.ndarray rstd, training,
    cnp.ndarray dx, cnp.ndarray dweight, cnp.ndarray dbias, list record=None,
):
    cdef c_normalize c = backward(dy, x, weight, mean, rstd, training, dx, dweight, dbias)
    run(table[is_double(x)].batch_norm_backward, &c, sizeof(c), record)
