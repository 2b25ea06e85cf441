"""Calls of kernels, recorded once and run again and again: all of them in one go, without the GIL."""

cimport numpy as cnp
from libc.stdint cimport uintptr_t
from libc.string cimport memcpy

from importlib import import_module

from api cimport NO_MEMORY, c_weight_update, kernel

from .chain import chain
from .fusion import arrays_of, fuse, has_arrays_of, left_of
from .linear import how, layer_backward

cnp.import_array()


cdef struct call:
    kernel *function
    void *arguments


cdef struct place:
    char **at
    uintptr_t within


# Runs the calls until one of them ends it, with a status that is not 0. last: the one that ran last.
cdef int run_all(const call *calls, Py_ssize_t count, Py_ssize_t *last) noexcept nogil:
    cdef int status = 0
    last[0] = -1
    while status == 0 and last[0] + 1 < count:
        last[0] += 1
        status = calls[last[0]].function(calls[last[0]].arguments)
    return status


cdef enum: SHORT_BYTES = 65536  # some microseconds


FUSED = {"chain": chain, "layer_backward": layer_backward}


# A recorded call: the kernel's address, its arguments, memory that these point into, and for each slot the offsets in
# the arguments at which there is an address within the slot, each with how far within. A word that only looks like one is
# a field that is not used.
cdef class Recorded:
    cdef size_t function
    cdef bytearray arguments
    cdef object kept
    cdef list offsets

    def __init__(self, str name, tuple arguments, list slots):
        cdef list record = []
        function = FUSED.get(name) or getattr(import_module(__package__), name)
        function(*arguments, record)
        self.function, memory, self.kept = record[0]
        self.arguments = bytearray(memory)
        self.offsets = [self._find(<cnp.ndarray>slot) for slot in slots]

    cdef list _find(self, cnp.ndarray slot):
        cdef uintptr_t *words = <uintptr_t *><char *>self.arguments
        cdef uintptr_t begin = <uintptr_t>cnp.PyArray_DATA(slot), size = <uintptr_t>cnp.PyArray_NBYTES(slot)
        cdef Py_ssize_t i
        return [(i, words[i] - begin) for i in range(len(self.arguments) // sizeof(uintptr_t)) if words[i] - begin < size]


cdef class Program:
    """As in kernels/contract.py."""

    cdef list calls, slots, results
    cdef list steps, recorded  # what fusion.py makes of the calls
    cdef bytearray table   # of `call`
    cdef bytearray sizes   # of each slot, in bytes
    cdef bint is_short     # is it over before another thread would have got the GIL?
    cdef list places       # of each slot: a bytearray of `place`, where an address within it stands

    def __init__(self, calls, slots, results=None):
        cdef Py_ssize_t slot
        self.calls, self.slots, self.results = list(calls), list(slots), results
        self.sizes = bytearray(len(self.slots) * sizeof(Py_ssize_t))
        for slot in range(len(self.slots)):
            (<Py_ssize_t *><char *>self.sizes)[slot] = self.slots[slot].nbytes
        self.is_short = sum([a.nbytes for _, arguments in self.calls for a in arrays_of(arguments)]) <= SHORT_BYTES
        self._record()

    cdef _record(self):
        self.steps = fuse(self.calls, self.results)
        self.recorded = [Recorded(step.name, step.arguments, self.slots) for step in self.steps]
        self._link()

    def parts(self):
        return [(step.begin, step.name, how(step.name, step.arguments)) for step in self.steps]

    def replace(self, Py_ssize_t index, tuple arguments):
        name, before = self.calls[index]
        self.calls[index] = name, arguments
        for i, step in enumerate(self.steps):
            if step.begin == index and step.name == name and has_arrays_of(before, arguments):  # it stands alone
                self.recorded[i] = Recorded(name, left_of(arguments, step.left), self.slots)
                self._link()
                return
        self._record()

    cdef _link(self):
        cdef Recorded recorded
        cdef Py_ssize_t i, slot
        cdef place here
        self.table = bytearray(len(self.recorded) * sizeof(call))
        self.places = [bytearray() for _ in self.slots]
        cdef call *calls = <call *><char *>self.table
        for i, recorded in enumerate(self.recorded):
            calls[i].function = <kernel *>recorded.function
            calls[i].arguments = <char *>recorded.arguments
            if self.steps[i].options_of is not None:
                (<c_weight_update *><char *>recorded.kept).options = self._options_of(i)
            for slot, offsets in enumerate(recorded.offsets):
                for offset, within in offsets:
                    here.at = <char **>(<char *>recorded.arguments + <uintptr_t>offset * sizeof(uintptr_t))
                    here.within = within
                    self.places[slot] += (<char *>&here)[:sizeof(here)]

    # The arguments of the optimizer's call that a step takes its options from.
    cdef void *_options_of(self, Py_ssize_t step) except NULL:
        cdef Recorded recorded
        for i, other in enumerate(self.steps):
            if other.begin == self.steps[step].options_of:
                recorded = self.recorded[i]
                return <char *>recorded.arguments
        raise RuntimeError("the optimizer's call is gone")

    cdef void _put(self, Py_ssize_t slot, void *address) noexcept:
        cdef bytearray places = self.places[slot]
        cdef place *each = <place *><char *>places
        cdef Py_ssize_t i
        for i in range(len(places) // <Py_ssize_t>sizeof(place)):
            each[i].at[0] = <char *>address + each[i].within

    def repeat(self, cnp.ndarray x, cnp.ndarray y, cnp.ndarray order, list counters, cnp.ndarray loss):
        cdef cnp.ndarray xs = self.slots[0], ys = self.slots[1], counter
        cdef const cnp.npy_intp *rows = <const cnp.npy_intp *>cnp.PyArray_DATA(order)
        cdef Py_ssize_t each = cnp.PyArray_DIM(xs, 0), batches = cnp.PyArray_SIZE(order) // each, done = 0, i, c
        cdef size_t x_bytes = cnp.PyArray_NBYTES(xs) // each, y_bytes = cnp.PyArray_NBYTES(ys) // each
        cdef char *x_to = <char *>cnp.PyArray_DATA(xs)
        cdef char *y_to = <char *>cnp.PyArray_DATA(ys)
        cdef const char *x_from = <const char *>cnp.PyArray_DATA(x)
        cdef const char *y_from = <const char *>cnp.PyArray_DATA(y)
        cdef call *calls = <call *><char *>self.table
        cdef Py_ssize_t count = len(self.recorded), counted = len(counters)
        cdef bytearray places = bytearray(counted * sizeof(double *))
        cdef double **counts = <double **><char *>places
        cdef double total = 0
        cdef bint is_double = cnp.PyArray_ITEMSIZE(loss) == 8
        cdef void *value = cnp.PyArray_DATA(loss)
        cdef int status = 0
        for c in range(counted):
            counter = counters[c]
            counts[c] = <double *>cnp.PyArray_DATA(counter)
        self._put(0, x_to)
        self._put(1, y_to)
        with nogil:
            while done < batches:
                for i in range(each):
                    memcpy(x_to + i * x_bytes, x_from + rows[i] * x_bytes, x_bytes)
                    memcpy(y_to + i * y_bytes, y_from + rows[i] * y_bytes, y_bytes)
                rows += each
                if done > 0:
                    for c in range(counted):
                        counts[c][0] += 1
                status = run_all(calls, count, &i)
                if status != 0:
                    break
                total += (<double *>value)[0] if is_double else (<float *>value)[0]
                done += 1
        if status == NO_MEMORY:
            raise MemoryError("no memory for scratch")
        return done, total

    def run(self, *arrays):
        cdef call *calls = <call *><char *>self.table
        cdef Py_ssize_t i, count = len(self.recorded)
        cdef int status = 0
        cdef Py_ssize_t *sizes = <Py_ssize_t *><char *>self.sizes
        if len(arrays) != len(self.slots):
            raise TypeError(f"run: expected {len(self.slots)} arrays, got {len(arrays)}")
        for i in range(len(arrays)):
            array = arrays[i]
            if not isinstance(array, cnp.ndarray) or cnp.PyArray_NBYTES(<cnp.ndarray>array) != sizes[i]:
                raise TypeError(f"run: expected an array of {sizes[i]} bytes, got {type(array).__name__}")
        for i in range(len(arrays)):
            self._put(i, cnp.PyArray_DATA(<cnp.ndarray>arrays[i]))
        if self.is_short:
            status = run_all(calls, count, &i)
        else:
            with nogil:
                status = run_all(calls, count, &i)
        if status == NO_MEMORY:
            raise MemoryError("no memory for scratch")
        return -1 if status == 0 else self.steps[i].begin
