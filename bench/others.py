"""Is the machine ours? How much of it other processes, or a hypervisor, took while something was timed.

A neighbour is worse than noise: where two threads wait for each other and one of them waits for a core too, a call of
8 µs was seen to take 7 ms in turn after turn, steady enough to look like a fact.
"""

import os
import time
from pathlib import Path

TOO_MUCH = 0.10  # of the CPUs in use, on average
STAT = Path("/proc/stat")


class Watch:
    """From its making on, counts what processes other than this one and `workers` do on `cpus`, which the workers keep
    to; None: all that this process may use. Linux only."""

    def __init__(self, workers, cpus=None):
        self._workers = workers
        self._cpus = cpus
        self._begin = self._now()

    def share(self):
        """The share of those CPUs that others took since, 0 to 1; None where the system does not tell."""
        if self._begin is None:
            return None
        wall, machine, own = (now - before for now, before in zip(self._now(), self._begin))
        return max(0.0, machine - own) / (wall * len(self._cpus or os.sched_getaffinity(0)))

    def _now(self):
        machine = _busy_seconds(self._cpus)
        if machine is None:
            return None
        own = time.process_time() + sum(worker.cpu_seconds() for worker in self._workers)
        return time.perf_counter(), machine, own


def most(*shares):
    """The largest of the shares that are known; None if none is."""
    return max((share for share in shares if share is not None), default=None)


def _busy_seconds(cpus):
    """Seconds that these CPUs have not been idle since the machine started, stolen ones included."""
    try:
        lines = STAT.read_text().splitlines()
        usable = {f"cpu{n}" for n in cpus or os.sched_getaffinity(0)}
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
