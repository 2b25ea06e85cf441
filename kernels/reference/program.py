"""Calls of kernels that are run again and again."""

from importlib import import_module

import numpy as np


def address(a):
    """Where an array begins; None of anything else."""
    return a.__array_interface__["data"][0] if isinstance(a, np.ndarray) else None


class Program:
    """As in kernels/contract.py."""

    def __init__(self, calls, slots, results=None):
        self.calls, self.slots = list(calls), list(slots)

    def run(self, *arrays):
        kernels = import_module(__package__)
        for i, (name, arguments) in enumerate(self.calls):
            now = [self._now(a, arrays) for a in arguments]
            found = getattr(kernels, name)(*now)
            if found is not None and found >= 0:
                return i
        return -1

    def _now(self, a, arrays):
        """The argument, or what is in its place in the array given for the slot that it is, or is a part of."""
        for slot, array in zip(self.slots, arrays):
            if isinstance(a, np.ndarray) and a.size and 0 <= address(a) - address(slot) < slot.nbytes:
                begin = (address(a) - address(slot)) // a.itemsize
                return array.reshape(-1)[begin : begin + a.size].reshape(a.shape)
        return a

    def repeat(self, x, y, order, counters, loss):
        total, rows = 0.0, len(self.slots[0])
        for done, begin in enumerate(range(0, len(order), rows)):
            some = order[begin : begin + rows]
            for counter in counters if begin else ():
                counter += 1
            if self.run(x[some], y[some]) >= 0:
                return done, total
            total += float(loss[0])
        return len(order) // rows, total

    def parts(self):
        return [(i, name, "") for i, (name, _) in enumerate(self.calls)]

    def replace(self, index, arguments):
        self.calls[index] = self.calls[index][0], arguments
