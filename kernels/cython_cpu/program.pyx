"""Calls of kernels, recorded once and run again and again: all of them in one go, without the GIL."""

cimport numpy as cnp
from libc.stdint cimport uintptr_t

from importlib import import_module

from api cimport NO_MEMORY, kernel

from .chain import chain
from .fusion import fuse

cnp.import_array()


cdef struct call:
    kernel *function
    void *arguments


# A recorded call: the kernel's address, its arguments, memory that these point into, and for each slot the offsets in
# the arguments at which the address of the slot stands.
cdef class Recorded:
    cdef size_t function
    cdef bytearray arguments
    cdef object kept
    cdef list offsets

    def __init__(self, str name, tuple arguments, list slots):
        cdef list record = []
        function = chain if name == "chain" else getattr(import_module(__package__), name)
        function(*arguments, record)
        self.function, memory, self.kept = record[0]
        self.arguments = bytearray(memory)
        self.offsets = [self._find(<uintptr_t>cnp.PyArray_DATA(<cnp.ndarray>slot)) for slot in slots]

    cdef list _find(self, uintptr_t address):
        cdef uintptr_t *words = <uintptr_t *><char *>self.arguments
        cdef Py_ssize_t i
        return [i for i in range(len(self.arguments) // sizeof(uintptr_t)) if words[i] == address]


cdef class Program:
    """As in kernels/contract.py."""

    cdef list calls, slots, results
    cdef list begins, recorded  # where in `calls` each of the recorded ones begins
    cdef bytearray table   # of `call`
    cdef bytearray sizes   # of each slot, in bytes
    cdef list places       # of each slot: a bytearray of the places where its address stands

    def __init__(self, calls, slots, results=None):
        self.calls, self.slots, self.results = list(calls), list(slots), results
        self._record()

    cdef _record(self):
        fused = fuse(self.calls, self.results)
        self.begins = [begin for begin, _, _ in fused]
        self.recorded = [Recorded(name, arguments, self.slots) for _, name, arguments in fused]
        self._link()

    def replace(self, Py_ssize_t index, tuple arguments):
        name = self.calls[index][0]
        self.calls[index] = name, arguments
        if index in self.begins and index + 1 in (*self.begins, len(self.calls)):  # it stands alone
            self.recorded[self.begins.index(index)] = Recorded(name, arguments, self.slots)
            self._link()
        else:
            self._record()

    cdef _link(self):
        cdef Recorded recorded
        cdef Py_ssize_t i, slot
        cdef uintptr_t place
        self.table = bytearray(len(self.recorded) * sizeof(call))
        self.places = [bytearray() for _ in self.slots]
        self.sizes = bytearray(len(self.slots) * sizeof(Py_ssize_t))
        for slot in range(len(self.slots)):
            (<Py_ssize_t *><char *>self.sizes)[slot] = self.slots[slot].nbytes
        cdef call *calls = <call *><char *>self.table
        for i, recorded in enumerate(self.recorded):
            calls[i].function = <kernel *>recorded.function
            calls[i].arguments = <char *>recorded.arguments
            for slot, offsets in enumerate(recorded.offsets):
                for offset in offsets:
                    place = <uintptr_t><char *>recorded.arguments + <uintptr_t>offset * sizeof(uintptr_t)
                    self.places[slot] += (<char *>&place)[:sizeof(place)]

    cdef void _put(self, Py_ssize_t slot, void *address) noexcept:
        cdef bytearray places = self.places[slot]
        cdef void ***place = <void ***><char *>places
        cdef Py_ssize_t i
        for i in range(len(places) // <Py_ssize_t>sizeof(uintptr_t)):
            place[i][0] = address

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
        i = -1
        with nogil:
            while status == 0 and i + 1 < count:
                i += 1
                status = calls[i].function(calls[i].arguments)
        if status == NO_MEMORY:
            raise MemoryError("no memory for scratch")
        return -1 if status == 0 else self.begins[i]
