"""Backends as fixtures. One that cannot run here is skipped with the reason.

FASTMLP_REQUIRE=cython,numba makes that a failure for the backends named.
"""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import fastmlp
from fastmlp import checks
from fastmlp.backend import MODULES, available_backends, load, use_backend

# What users' functions are compiled to is forgotten, so that each run compiles them; unless it says where that goes.
if "FASTMLP_CACHE_DIR" not in os.environ:
    os.environ["FASTMLP_CACHE_DIR"] = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, os.environ["FASTMLP_CACHE_DIR"], ignore_errors=True)


def pytest_configure():
    """In a working tree, compiled Python must not be older than its source: Python would import the old one."""
    folder = Path(fastmlp.__file__).parent
    for source in (p for suffix in ("py", "pxd", "pyx") for p in folder.rglob(f"*.{suffix}")):
        if not source.with_suffix(".c").exists():
            continue
        for built in (p for suffix in ("so", "pyd") for p in source.parent.glob(f"{source.stem}.*.{suffix}")):
            if built.stat().st_mtime < source.stat().st_mtime:
                raise pytest.UsageError(f"{built.name} is older than {source}: build it again, with `make test`")


REQUIRED = tuple(name for name in os.environ.get("FASTMLP_REQUIRE", "").split(",") if name)
BACKENDS = tuple(dict.fromkeys((*MODULES, *REQUIRED)))


def load_or_skip(name):
    try:
        return load(name)
    except (RuntimeError, ValueError) as e:
        if name in REQUIRED:
            pytest.fail(f"FASTMLP_REQUIRE={','.join(REQUIRED)}, but: {e}")
        pytest.skip(str(e))


@pytest.fixture(scope="session", params=BACKENDS)
def backend_name(request):
    """Each backend's name in turn."""
    load_or_skip(request.param)
    return request.param


@pytest.fixture(scope="session")
def backend(backend_name):
    """Each backend's module in turn."""
    return load(backend_name)


@pytest.fixture(scope="session", params=[name for name in BACKENDS if name != "numpy"])
def compiled(request):
    """Each backend's module but the reference."""
    return load_or_skip(request.param)


@pytest.fixture(scope="session")
def cython():
    """The module of the Cython backend, the owner of the thread pool."""
    return load_or_skip("cython")


@pytest.fixture(scope="module")
def names_are_forgotten():
    """Activations that the module's tests write are known by name until its end."""
    before = dict(checks.written)
    yield
    checks.written.clear()
    checks.written.update(before)


@pytest.fixture
def on_each_backend(backend_name):
    """The test runs once on every backend: it is the one that `fastmlp.ops` uses."""
    with use_backend(backend_name):
        yield


@pytest.fixture
def python(tmp_path):
    """python(source, **environment) runs the source in a new interpreter, away from here -> what it printed."""

    def run(source, **environment):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", source],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def pytest_terminal_summary(terminalreporter):
    for state in available_backends().values():
        if state != "available":
            terminalreporter.write_line(f"not tested: {state}")
