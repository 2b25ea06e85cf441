"""Some Python is compiled; setup.py says what. As plain Python it does the same."""

import inspect
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import fastmlp

FOLDER = Path(fastmlp.__file__).parent
TESTS = Path(__file__).parent

COMPILED = sorted(
    path.relative_to(FOLDER).with_suffix("").as_posix().replace("/", ".")
    for path in FOLDER.rglob("*.py")
    if any(path.with_suffix(suffix).exists() for suffix in EXTENSION_SUFFIXES)
)

AS_PYTHON = """
import sys
from importlib.util import spec_from_file_location
from pathlib import Path

class Sources:
    def find_spec(self, name, path=None, target=None):
        if name in NAMES:
            return spec_from_file_location(name, Path(FOLDER, *name.split(".")[1:]).with_suffix(".py"))

sys.meta_path.insert(0, Sources())
import pytest
done = pytest.main(["-p", "no:cacheprovider", *FILES])
assert all(sys.modules[name].__file__.endswith(".py") for name in NAMES)
sys.exit(done)
"""


def test_some_python_is_compiled():
    assert COMPILED == ["gradients", "optim.batches", "plan.plans", "plan.updates", "plan.watch", "tape", "waiting"]
    for name in COMPILED:
        assert not import_module(f"fastmlp.{name}").__file__.endswith(".py")


def test_as_plain_python_it_passes_its_tests(python):
    names = [f"fastmlp.{name}" for name in COMPILED]
    files = [str(TESTS / f"test_{name}.py") for name in ("autograd", "waiting", "optim", "plan")]
    prints = python(f"NAMES, FOLDER, FILES = {names}, {str(FOLDER)!r}, {files}\n{AS_PYTHON}")
    assert " passed" in prints and " failed" not in prints


def test_signatures_and_docstrings_are_those_of_the_source():
    assert str(inspect.signature(import_module("fastmlp.gradients").reads)).startswith("(*per_operand")
    assert import_module("fastmlp.tape").settle.__doc__.startswith("Computes whatever waits")
