"""How many threads to use where nobody said: what the process may really have, not what the machine has."""

import os
from math import ceil
from pathlib import Path

UNLIMITED = 1 << 20


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


def cgroup_cpus(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """CPUs that the process's cgroup and those around it grant, v2 or v1; a very large number without a limit.

    root: where the cgroups are mounted. own: the file of lines `number:controllers:/path` that names the process's.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text(errors="surrogateescape").splitlines()]
    except OSError:
        lines = []
    grants = [UNLIMITED]
    for controllers, path in ((line[1], line[2]) for line in lines if len(line) == 3):
        if controllers == "":
            grants += [_granted(group, "cpu.max") for group in _upwards(root, path)]
        elif "cpu" in controllers.split(","):
            files = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            grants += [_granted(group, *files) for group in _upwards(root / "cpu", path)]
    return max(1, ceil(min(grants)))


def _upwards(root: Path, path: str) -> list[Path]:
    """The cgroup and all around it. In a container, whose own is mounted as the root, the inner ones may not exist."""
    group = root / path.strip("/")
    return [group, *(parent for parent in group.parents if parent.is_relative_to(root))]


def _granted(group: Path, *files: str) -> float:
    """Quota over period, in one file or in two."""
    try:
        quota, period = " ".join((group / name).read_text().strip() for name in files).split()
    except (OSError, ValueError):
        return UNLIMITED
    if not quota.isdecimal():  # "max", or -1
        return UNLIMITED
    return int(quota) / int(period)
