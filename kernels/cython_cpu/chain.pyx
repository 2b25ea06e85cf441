"""The loss of a small network with all its gradients, as one kernel: what fusion.py makes of several calls of a Program."""

cimport numpy as cnp
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t
from libc.string cimport memset

import numpy as np

from fastmlp.kernels.contract import REDUCTIONS

from api cimport MAX_CHAIN as MOST, CHAIN_BYTES as BYTES
from api cimport as_activation, c_chain, c_chain_layer, data_or_null, is_double, run, set_kind, table_t, tables

cnp.import_array()
cdef table_t *table = tables()

MAX_CHAIN = MOST      # layers
CHAIN_BYTES = BYTES   # that a thread has for all arrays of some rows


# layers: (w, b, act, params, dw, db) of each. first: of them that learns. y: what the last one gives, or None. loss: the
# kernel "cross_entropy" or "elementwise_loss", with its arguments by name. unit_target, unit_output: must be in 0..1.
def chain(
    cnp.ndarray x, list layers, Py_ssize_t first, cnp.ndarray y, str loss, dict arguments, bint unit_target, bint unit_output,
    list record=None,
):
    cdef c_chain c
    cdef cnp.ndarray out = arguments["loss"], numbers = np.empty(len(x))
    cdef bytes memory = PyBytes_FromStringAndSize(NULL, len(layers) * sizeof(c_chain_layer))
    cdef c_chain_layer *each = <c_chain_layer *>PyBytes_AS_STRING(memory)
    memset(&c, 0, sizeof(c))
    for i, (w, b, act, params, dw, db) in enumerate(layers):
        each[i].n = cnp.PyArray_DIM(w, 0)
        each[i].w, each[i].b = cnp.PyArray_DATA(w), data_or_null(b)
        each[i].act, each[i].saves_z = as_activation(act, params), act.saves == "z"
        each[i].dw, each[i].db = data_or_null(dw), data_or_null(db)
    c.m, c.k = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
    c.count, c.first, c.layers, c.x = len(layers), first, each, cnp.PyArray_DATA(x)
    c.y = data_or_null(y)
    c.of_rows, c.unit_target, c.unit_output = loss == "cross_entropy", unit_target, unit_output
    cdef cnp.ndarray target = arguments["target"]
    cdef int reduction = REDUCTIONS.index(arguments["reduction"])
    if c.of_rows:
        c.rows.rows, c.rows.classes = c.m, each[len(layers) - 1].n
        if cnp.PyArray_NDIM(target) == 2:
            c.rows.probabilities = cnp.PyArray_DATA(target)
        else:
            c.rows.labels = <const int64_t *>cnp.PyArray_DATA(target)
        c.rows.weight = data_or_null(arguments["weight"])
        c.rows.sample_weight = data_or_null(arguments["sample_weight"])
        c.rows.ignore_index, c.rows.label_smoothing = arguments["ignore_index"], arguments["label_smoothing"]
        c.rows.reduction, c.rows.loss, c.rows.row_loss = reduction, cnp.PyArray_DATA(out), <double *>cnp.PyArray_DATA(numbers)
    else:
        pos_weight = arguments["pos_weight"]
        c.each.target, c.each.weight = cnp.PyArray_DATA(target), data_or_null(arguments["weight"])
        c.each.pos_weight, c.each.pos_weights = data_or_null(pos_weight), 0 if pos_weight is None else pos_weight.size
        set_kind(&c.each, arguments["kind"], arguments["params"])
        c.each.reduction, c.each.divisor = reduction, arguments["divisor"]
        c.each.loss, c.each.run_loss = cnp.PyArray_DATA(out), <double *>cnp.PyArray_DATA(numbers)
    return run(table[is_double(x)].chain, &c, sizeof(c), record, (memory, numbers))
