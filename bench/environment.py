"""What was measured on what: machine, versions, revision, and what else the machine was doing."""

import contextlib
import io
import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from fastmlp.backend import cpu_name

from .peers import BACKENDS, PEERS


def describe():
    """The machine and this run, as a dict of strings and numbers."""
    return {
        "cpu": cpu_name(),
        "cpus": usable_cpus(),
        "limits": _limits(),
        "governor": _governor(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "revision": _revision(),
        "load_average": load_average(),
    }


def of_library(library):
    """What a library says about itself, in its own process: its version and, of fastmlp, what runs where."""
    try:
        found = {"version": version("fastmlp" if library in BACKENDS else PEERS.get(library, library))}
    except PackageNotFoundError:
        found = {"version": "not installed as a package"}
    if library in ("fastmlp", *BACKENDS):
        import fastmlp

        found["backend"] = fastmlp.get_backend()
        found |= _shown(fastmlp.show_config)
    if library == "numpy":
        found["blas"] = _blas()
    return found


def _blas():
    """What NumPy was built with."""
    import numpy as np

    found = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()


def installed_mib(library):
    """MiB of the library's packages on disk, with those that they need; None where none is installed as a package."""
    names, wanted, total = set(), [PEERS.get(library, "fastmlp")], 0
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        with contextlib.suppress(PackageNotFoundError):
            if name not in names:
                package = distribution(name)
                names.add(name)
                total += _size(package)
                wanted += [re.match(r"[\w.-]+", r)[0] for r in package.requires or [] if "extra ==" not in r]
    return total / 2**20 if names else None


def _size(package):
    """Bytes. Of fastmlp, which may run from its checkout, where pip knows no files: of what a wheel has of it."""
    if package.metadata["Name"] == "fastmlp":
        import fastmlp
        from fastmlp import kernels

        folders = [Path(module.__file__).parent for module in (fastmlp, kernels)]
        files = {f for folder in folders for f in folder.rglob("*") if f.suffix in (".py", ".pyi", ".so", ".pyd")}
    else:
        files = {Path(f.locate()) for f in package.files or []}
    return sum(f.stat().st_size for f in files if f.is_file())


def _shown(show_config):
    """The instruction set and the number of threads, out of what show_config() prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(PackageNotFoundError):
        show_config()
    lines = (line.split(maxsplit=1) for line in printed.getvalue().splitlines())
    shown = {line[0]: line[1] for line in lines if len(line) == 2}
    return {key: shown[key].split(" (")[0] for key in ("instructions", "threads") if key in shown}


def usable_cpus():
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def common_cpus(threads):
    """The CPUs to which all libraries of a run are bound, as many as they have threads; None for all.

    Of different cores, where there are enough. Libraries that are on other CPUs than the one before would show a
    neighbour that slows a core down for a while, as on a virtual machine, as a difference between them; and jax has as
    many threads as it may use CPUs.
    """
    if not hasattr(os, "sched_getaffinity") or threads >= usable_cpus():
        return None
    usable = os.sched_getaffinity(0)
    return sorted(usable, key=lambda cpu: (len([c for c in _siblings(cpu) & usable if c < cpu]), -cpu))[:threads]


def _siblings(cpu):
    """The CPUs that share its core, as far as the system tells: "0,4" or "0-1"."""
    found = {cpu}
    with contextlib.suppress(OSError, ValueError):
        shown = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
        for part in shown.strip().split(","):
            first, _, last = part.partition("-")
            found |= set(range(int(first), int(last or first) + 1))
    return found


def _limits():
    """What a container allows: CPUs and memory, as cgroups say it; None where there are none."""
    root = Path("/sys/fs/cgroup")
    found = []
    with contextlib.suppress(OSError, ValueError):
        quota, period = (root / "cpu.max").read_text().split()
        if quota != "max":
            found.append(f"{int(quota) / int(period):g} CPUs")
    with contextlib.suppress(OSError, ValueError):
        found.append(f"{int((root / 'memory.max').read_text()) / 2**30:.1f} GiB")
    return ", ".join(found) or None


def _governor():
    """How the clock of the first CPU is set; None where the system does not show it."""
    with contextlib.suppress(OSError):
        return Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    return None


def load_average():
    """The one-minute load, or None where the system has none."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _revision():
    """The git revision that this file belongs to, "-dirty" if it was changed since; None outside a checkout."""
    here = Path(__file__).resolve()
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        _git(here, "ls-files", "--error-unmatch", here.name)  # an installed copy may lie in a stranger's checkout
        return _git(here, "describe", "--always", "--dirty")
    return None


def _git(file, *args):
    done = subprocess.run(["git", *args], cwd=file.parent, capture_output=True, text=True, check=True)
    return done.stdout.strip()
