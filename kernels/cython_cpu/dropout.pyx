"""Dropout. Arguments as in kernels/contract.py."""

cimport numpy as cnp
from libc.stdint cimport uint64_t

from api cimport c_dropout, is_double, run, table_t, tables

cnp.import_array()
cdef table_t *table = tables()


def dropout(cnp.ndarray x, double p, seed, uint64_t offset, cnp.ndarray y, list record=None):
    cdef uint64_t own
    cdef c_dropout d = c_dropout(cnp.PyArray_SIZE(x), cnp.PyArray_DATA(x), p, &own, offset, cnp.PyArray_DATA(y))
    if isinstance(seed, cnp.ndarray):
        d.seed = <const uint64_t *>cnp.PyArray_DATA(<cnp.ndarray>seed)
    else:
        own = seed
    run(table[is_double(x)].dropout, &d, sizeof(d), record)
