"""How many threads to use where nobody said: what the process may really have, not what the machine has."""

import os
from math import ceil
from pathlib import Path


def default_num_threads() -> int:
    """FASTMLP_NUM_THREADS, else the CPUs of the process's affinity mask, or fewer where a cgroup grants fewer."""
    asked = os.environ.get("FASTMLP_NUM_THREADS")
    if asked:
        if not asked.isdecimal() or not 1 <= int(asked) <= 1024:
            raise ValueError(f"FASTMLP_NUM_THREADS: expected a whole number from 1 to 1024, got {asked!r}")
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        cpus = len(os.sched_getaffinity(0))
    else:
        cpus = os.cpu_count() or 1
    return max(1, min(cpus, cgroup_cpus()))


def cgroup_cpus(root: Path = Path("/sys/fs/cgroup")) -> int:
    """CPUs that the cgroup (v2, then v1) of a container grants; a very large number without a limit."""
    unlimited = 1 << 20
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return unlimited
    if not quota.isdecimal():  # "max", or -1
        return unlimited
    return max(1, ceil(int(quota) / int(period)))
