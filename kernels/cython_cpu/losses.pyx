"""The losses with their gradients. Arguments as in kernels/contract.py."""

cimport numpy as cnp
from libc.stdint cimport int64_t

from api cimport (
    LOSS_RUN, c_bad_label, c_cross_entropy, c_elementwise_loss, c_outside_unit, data_or_null, is_double, run, set_kind, table_t,
    tables,
)

cnp.import_array()
cdef table_t *table = tables()


cdef int reduction_code(str reduction) except -1:
    return 0 if reduction == "none" else 1 if reduction == "mean" else 2


def cross_entropy(
    cnp.ndarray logits, cnp.ndarray target, cnp.ndarray weight, cnp.ndarray sample_weight, int64_t ignore_index,
    double label_smoothing, str reduction, cnp.ndarray loss, cnp.ndarray dlogits, list record=None,
):
    cdef c_cross_entropy c
    cdef cnp.npy_intp rows = cnp.PyArray_DIM(logits, 0)
    cdef cnp.ndarray row_loss = cnp.PyArray_EMPTY(1, &rows, cnp.NPY_DOUBLE, 0)
    cdef bint soft = cnp.PyArray_NDIM(target) == 2
    c.rows, c.classes = rows, cnp.PyArray_DIM(logits, 1)
    c.logits = cnp.PyArray_DATA(logits)
    c.labels = NULL if soft else <const int64_t *>cnp.PyArray_DATA(target)
    c.probabilities = cnp.PyArray_DATA(target) if soft else NULL
    c.weight, c.sample_weight = data_or_null(weight), data_or_null(sample_weight)
    c.ignore_index, c.label_smoothing = ignore_index, label_smoothing
    c.reduction = reduction_code(reduction)
    c.loss, c.dlogits = cnp.PyArray_DATA(loss), cnp.PyArray_DATA(dlogits)
    c.row_loss = <double *>cnp.PyArray_DATA(row_loss)
    run(table[is_double(logits)].cross_entropy, &c, sizeof(c), record, row_loss)


def nll_loss(
    cnp.ndarray input, cnp.ndarray target, cnp.ndarray weight, int64_t ignore_index, str reduction, cnp.ndarray loss,
    cnp.ndarray dinput, list record=None,
):
    cdef c_cross_entropy c
    cdef cnp.npy_intp rows = cnp.PyArray_DIM(input, 0)
    cdef cnp.ndarray row_loss = cnp.PyArray_EMPTY(1, &rows, cnp.NPY_DOUBLE, 0)
    c.rows, c.classes = rows, cnp.PyArray_DIM(input, 1)
    c.logits, c.labels = cnp.PyArray_DATA(input), <const int64_t *>cnp.PyArray_DATA(target)
    c.probabilities, c.weight, c.sample_weight = NULL, data_or_null(weight), NULL
    c.ignore_index, c.label_smoothing = ignore_index, 0
    c.reduction = reduction_code(reduction)
    c.loss, c.dlogits = cnp.PyArray_DATA(loss), cnp.PyArray_DATA(dinput)
    c.row_loss = <double *>cnp.PyArray_DATA(row_loss)
    run(table[is_double(input)].nll_loss, &c, sizeof(c), record, row_loss)


cdef cnp.ndarray place():
    cdef cnp.npy_intp one = 1
    return cnp.PyArray_EMPTY(1, &one, cnp.NPY_INTP, 0)


def find_bad_label(cnp.ndarray labels, int64_t classes, int64_t ignore_index, list record=None):
    cdef cnp.ndarray found = place()
    cdef c_bad_label b = c_bad_label(
        cnp.PyArray_SIZE(labels), <const int64_t *>cnp.PyArray_DATA(labels), classes, ignore_index,
        <ptrdiff_t *>cnp.PyArray_DATA(found),
    )
    run(table[0].bad_label, &b, sizeof(b), record, found)
    return None if record is not None else (<cnp.npy_intp *>cnp.PyArray_DATA(found))[0]


def elementwise_loss(
    cnp.ndarray input, cnp.ndarray target, cnp.ndarray weight, cnp.ndarray pos_weight, kind, tuple params, str reduction,
    double divisor, cnp.ndarray loss, cnp.ndarray dinput, list record=None,
):
    cdef c_elementwise_loss c
    cdef double whole
    cdef cnp.ndarray scratch = None
    c.count = cnp.PyArray_SIZE(input)
    cdef cnp.npy_intp runs = c.count // LOSS_RUN + 1
    if runs == 1 and record is None:
        c.run_loss = &whole
    else:
        scratch = cnp.PyArray_EMPTY(1, &runs, cnp.NPY_DOUBLE, 0)
        c.run_loss = <double *>cnp.PyArray_DATA(scratch)
    c.input, c.target, c.weight = cnp.PyArray_DATA(input), cnp.PyArray_DATA(target), data_or_null(weight)
    c.pos_weight, c.pos_weights = data_or_null(pos_weight), 0 if pos_weight is None else cnp.PyArray_SIZE(pos_weight)
    set_kind(&c, kind, params)
    c.reduction, c.divisor = reduction_code(reduction), divisor
    c.loss, c.dinput = cnp.PyArray_DATA(loss), cnp.PyArray_DATA(dinput)
    run(table[is_double(input)].elementwise_loss, &c, sizeof(c), record, scratch)


def find_outside_unit(cnp.ndarray a, list record=None):
    cdef cnp.ndarray found = place()
    cdef c_outside_unit o = c_outside_unit(cnp.PyArray_SIZE(a), cnp.PyArray_DATA(a), <ptrdiff_t *>cnp.PyArray_DATA(found))
    run(table[is_double(a)].outside_unit, &o, sizeof(o), record, found)
    return None if record is not None else (<cnp.npy_intp *>cnp.PyArray_DATA(found))[0]
