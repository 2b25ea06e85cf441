"""The optimizers' updates, all parameters in one call. Arguments as in kernels/contract.py."""

cimport numpy as cnp
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t

from api cimport (
    c_adadelta, c_adagrad, c_adam, c_clip, c_nadam, c_rmsprop, c_sgd, is_double, optimized, parameters, run, table_t, tables,
)

cnp.import_array()
cdef table_t *table = tables()


cdef inline void *item(list arrays, Py_ssize_t i) noexcept:
    return NULL if arrays is None else cnp.PyArray_DATA(<cnp.ndarray>arrays[i])


# The pointers in the lists, as bytes. The kinds of state in the order of the contract, or None.
cdef bytes gather(list params, list grads, list first, list second, list third):
    cdef Py_ssize_t i, count = len(params)
    cdef ptrdiff_t begin = 0
    cdef bytes memory = PyBytes_FromStringAndSize(NULL, count * sizeof(optimized))
    cdef optimized *each = <optimized *>PyBytes_AS_STRING(memory)
    for i in range(count):
        each[i].begin, each[i].count = begin, cnp.PyArray_SIZE(<cnp.ndarray>params[i])
        each[i].param, each[i].grad = item(params, i), item(grads, i)
        each[i].state[0], each[i].state[1], each[i].state[2] = item(first, i), item(second, i), item(third, i)
        begin += each[i].count
    return memory


cdef inline parameters listed(bytes memory) noexcept:
    return parameters(<optimized *>PyBytes_AS_STRING(memory), len(memory) // sizeof(optimized))


# Where the number of the step stands: in an array, or else in `own`.
cdef inline const double *step_at(object step, double *own) except NULL:
    if isinstance(step, cnp.ndarray):
        return <const double *>cnp.PyArray_DATA(<cnp.ndarray>step)
    own[0] = step
    return own


cdef inline table_t table_for(list params) noexcept:
    return table[len(params) > 0 and is_double(<cnp.ndarray>params[0])]


def clip_norm(double max_norm, list grads, cnp.ndarray norm, list record=None):
    cdef bytes each = gather(grads, grads, None, None, None)
    cdef c_clip c = c_clip(listed(each), max_norm, cnp.PyArray_DATA(norm))
    run(table[is_double(norm)].clip_norm, &c, sizeof(c), record, each)


def clip_value(double limit, list grads, list record=None):
    cdef bytes each = gather(grads, grads, None, None, None)
    cdef c_clip c = c_clip(listed(each), limit, NULL)
    run(table_for(grads).clip_value, &c, sizeof(c), record, each)


def sgd(
    list grads, double lr, double momentum, double dampening, double weight_decay, bint nesterov, bint maximize, bint first,
    list params, list momentum_buffers, list record=None,
):
    cdef bytes each = gather(params, grads, momentum_buffers, None, None)
    cdef c_sgd o = c_sgd(listed(each), lr, momentum, dampening, weight_decay, nesterov, maximize, first)
    run(table_for(params).sgd, &o, sizeof(o), record, each)


def adam(
    list grads, double lr, double beta1, double beta2, double eps, double weight_decay, bint decoupled_weight_decay,
    bint maximize, step, list params, list exp_avgs, list exp_avg_sqs, list max_exp_avg_sqs, list record=None,
):
    cdef double own
    cdef bytes each = gather(params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs)
    cdef c_adam o = c_adam(
        listed(each), lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, step_at(step, &own)
    )
    run(table_for(params).adam, &o, sizeof(o), record, each)


def rmsprop(
    list grads, double lr, double alpha, double eps, double weight_decay, double momentum, bint maximize,
    list params, list square_avgs, list grad_avgs, list momentum_buffers, list record=None,
):
    cdef bytes each = gather(params, grads, square_avgs, grad_avgs, momentum_buffers)
    cdef c_rmsprop o = c_rmsprop(listed(each), lr, alpha, eps, weight_decay, momentum, maximize)
    run(table_for(params).rmsprop, &o, sizeof(o), record, each)


def adagrad(
    list grads, double lr, double lr_decay, double weight_decay, double eps, bint maximize, step,
    list params, list state_sums, list record=None,
):
    cdef double own
    cdef bytes each = gather(params, grads, state_sums, None, None)
    cdef c_adagrad o = c_adagrad(listed(each), lr, lr_decay, weight_decay, eps, maximize, step_at(step, &own))
    run(table_for(params).adagrad, &o, sizeof(o), record, each)


def adadelta(
    list grads, double lr, double rho, double eps, double weight_decay, bint maximize,
    list params, list square_avgs, list acc_deltas, list record=None,
):
    cdef bytes each = gather(params, grads, square_avgs, acc_deltas, None)
    cdef c_adadelta o = c_adadelta(listed(each), lr, rho, eps, weight_decay, maximize)
    run(table_for(params).adadelta, &o, sizeof(o), record, each)


def nadam(
    list grads, double lr, double beta1, double beta2, double eps, double weight_decay, bint decoupled_weight_decay,
    bint maximize, step, double mu, double mu_next, double mu_product,
    list params, list exp_avgs, list exp_avg_sqs, list record=None,
):
    cdef double own
    cdef bytes each = gather(params, grads, exp_avgs, exp_avg_sqs, None)
    cdef c_adam a = c_adam(
        listed(each), lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, step_at(step, &own)
    )
    cdef c_nadam o = c_nadam(a, mu, mu_next, mu_product)
    run(table_for(params).nadam, &o, sizeof(o), record, each)


def radam(
    list grads, double lr, double beta1, double beta2, double eps, double weight_decay, bint decoupled_weight_decay,
    bint maximize, step, list params, list exp_avgs, list exp_avg_sqs, list record=None,
):
    cdef double own
    cdef bytes each = gather(params, grads, exp_avgs, exp_avg_sqs, None)
    cdef c_adam o = c_adam(
        listed(each), lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, step_at(step, &own)
    )
    run(table_for(params).radam, &o, sizeof(o), record, each)
