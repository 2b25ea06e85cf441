"""The optimizers' updates, all parameters in one call. Arguments as in kernels/contract.py."""

cimport numpy as cnp
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t

from api cimport (
    c_adadelta, c_adagrad, c_adam, c_nadam, c_rmsprop, c_sgd, is_double, optimized, table_t, tables,
)

cnp.import_array()
cdef table_t *table = tables()


cdef inline void *item(list arrays, Py_ssize_t i) noexcept:
    return NULL if arrays is None else cnp.PyArray_DATA(<cnp.ndarray>arrays[i])


cdef optimized *gather(list params, list grads, list first, list second, list third) except NULL:
    """The pointers in the lists, for the caller to free. The kinds of state in the order of the contract, or None."""
    cdef Py_ssize_t i, count = len(params)
    cdef ptrdiff_t begin = 0
    cdef optimized *each = <optimized *>PyMem_Malloc(count * sizeof(optimized))
    if each == NULL:
        raise MemoryError("no memory for the list of parameters")
    for i in range(count):
        each[i].begin, each[i].count = begin, cnp.PyArray_SIZE(<cnp.ndarray>params[i])
        each[i].param, each[i].grad = item(params, i), item(grads, i)
        each[i].state[0], each[i].state[1], each[i].state[2] = item(first, i), item(second, i), item(third, i)
        begin += each[i].count
    return each


cdef inline table_t table_for(list params) noexcept:
    return table[len(params) > 0 and is_double(<cnp.ndarray>params[0])]


def sgd(
    list grads, double lr, double momentum, double dampening, double weight_decay, bint nesterov, bint maximize, bint first,
    list params, list momentum_buffers,
):
    cdef c_sgd o = c_sgd(lr, momentum, dampening, weight_decay, nesterov, maximize, first)
    cdef optimized *each = gather(params, grads, momentum_buffers, None, None)
    cdef table_t t = table_for(params)
    cdef ptrdiff_t count = len(params)
    with nogil:
        t.sgd(each, count, &o)
    PyMem_Free(each)


def adam(
    list grads, double lr, double beta1, double beta2, double eps, double weight_decay, bint decoupled_weight_decay,
    bint maximize, int64_t step, list params, list exp_avgs, list exp_avg_sqs, list max_exp_avg_sqs,
):
    cdef c_adam o = c_adam(lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, step)
    cdef optimized *each = gather(params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs)
    cdef table_t t = table_for(params)
    cdef ptrdiff_t count = len(params)
    with nogil:
        t.adam(each, count, &o)
    PyMem_Free(each)


def rmsprop(
    list grads, double lr, double alpha, double eps, double weight_decay, double momentum, bint maximize,
    list params, list square_avgs, list grad_avgs, list momentum_buffers,
):
    cdef c_rmsprop o = c_rmsprop(lr, alpha, eps, weight_decay, momentum, maximize)
    cdef optimized *each = gather(params, grads, square_avgs, grad_avgs, momentum_buffers)
    cdef table_t t = table_for(params)
    cdef ptrdiff_t count = len(params)
    with nogil:
        t.rmsprop(each, count, &o)
    PyMem_Free(each)


def adagrad(
    list grads, double lr, double lr_decay, double weight_decay, double eps, bint maximize, int64_t step,
    list params, list state_sums,
):
    cdef c_adagrad o = c_adagrad(lr, lr_decay, weight_decay, eps, maximize, step)
    cdef optimized *each = gather(params, grads, state_sums, None, None)
    cdef table_t t = table_for(params)
    cdef ptrdiff_t count = len(params)
    with nogil:
        t.adagrad(each, count, &o)
    PyMem_Free(each)


def adadelta(
    list grads, double lr, double rho, double eps, double weight_decay, bint maximize,
    list params, list square_avgs, list acc_deltas,
):
    cdef c_adadelta o = c_adadelta(lr, rho, eps, weight_decay, maximize)
    cdef optimized *each = gather(params, grads, square_avgs, acc_deltas, None)
    cdef table_t t = table_for(params)
    cdef ptrdiff_t count = len(params)
    with nogil:
        t.adadelta(each, count, &o)
    PyMem_Free(each)


def nadam(
    list grads, double lr, double beta1, double beta2, double eps, double weight_decay, bint decoupled_weight_decay,
    bint maximize, int64_t step, double mu, double mu_next, double mu_product,
    list params, list exp_avgs, list exp_avg_sqs,
):
    cdef c_adam a = c_adam(lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, step)
    cdef c_nadam o = c_nadam(a, mu, mu_next, mu_product)
    cdef optimized *each = gather(params, grads, exp_avgs, exp_avg_sqs, None)
    cdef table_t t = table_for(params)
    cdef ptrdiff_t count = len(params)
    with nogil:
        t.nadam(each, count, &o)
    PyMem_Free(each)


def radam(
    list grads, double lr, double beta1, double beta2, double eps, double weight_decay, bint decoupled_weight_decay,
    bint maximize, int64_t step, list params, list exp_avgs, list exp_avg_sqs,
):
    cdef c_adam o = c_adam(lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, step)
    cdef optimized *each = gather(params, grads, exp_avgs, exp_avg_sqs, None)
    cdef table_t t = table_for(params)
    cdef ptrdiff_t count = len(params)
    with nogil:
        t.radam(each, count, &o)
    PyMem_Free(each)
