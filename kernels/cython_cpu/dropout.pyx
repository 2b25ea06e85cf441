"""Dropout. Arguments as in kernels/contract.py."""

cimport numpy as cnp
from libc.stdint cimport uint64_t

from api cimport c_dropout, is_double, table_t, tables

cnp.import_array()
cdef table_t *table = tables()


def dropout(cnp.ndarray x, double p, uint64_t seed, uint64_t offset, cnp.ndarray y):
    cdef c_dropout d = c_dropout(cnp.PyArray_SIZE(x), cnp.PyArray_DATA(x), p, seed, offset, cnp.PyArray_DATA(y))
    cdef table_t t = table[is_double(x)]
    with nogil:
        t.dropout(&d)
