"""Functions of one number for Numba, on CPUs and GPUs, and what the user's own are made of.

    numbers.py       the type that formulas are compiled for: a float32 or float64, alone or with its derivative
    functions.py     exp, log, tanh, erf, ... on it, without branches or tables, so that loops over them become vectors
    coefficients.py  of their polynomials; written by tools/fit.py
    cache.py         machine code on disk
    compiled.py      a Python function of one number as machine code over a run of numbers

May import numba, numpy and `contract`; never `fastmlp` above it nor a sibling folder. Imported when it is asked for.
"""

from numba import config

if config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set, and nothing works without compiling")
