"""Is the machine ours? How much of it other processes, or a hypervisor, took while something was timed.

A neighbour is worse than noise: with two OpenMP threads and one of two cores taken, a call of 8 µs was seen to
take 7 ms in turn after turn, steady enough to look like a fact.
"""

import os
import time
from pathlib import Path

TOO_MUCH = 0.10  # of the usable CPUs, on average


class Watch:
    """From its making on, counts what processes other than this one and `workers` do. Linux only."""

    def __init__(self, workers):
        self._workers = workers
        self._begin = self._now()

    def share(self):
        """The share of the usable CPUs that others took since, 0 to 1; None where the system does not tell."""
        if self._begin is None:
            return None
        wall, machine, own = (now - before for now, before in zip(self._now(), self._begin))
        return max(0.0, machine - own) / (wall * len(os.sched_getaffinity(0)))

    def _now(self):
        machine = _busy_seconds()
        if machine is None:
            return None
        own = time.process_time() + sum(worker.cpu_seconds() for worker in self._workers)
        return time.perf_counter(), machine, own


def most(*shares):
    """The largest of the shares that are known; None if none is."""
    return max((share for share in shares if share is not None), default=None)


def _busy_seconds():
    """Seconds that the usable CPUs have not been idle since the machine started, stolen ones included."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
        usable = {f"cpu{n}" for n in os.sched_getaffinity(0)}
        ticks = os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return None
    total = 0
    for line in lines:
        name, *fields = line.split()
        if name in usable:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            total += user + nice + system + irq + softirq + steal
    return total / ticks
