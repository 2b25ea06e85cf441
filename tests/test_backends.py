"""Which backend runs: argument > use_backend > set_backend > FASTMLP_BACKEND > the first that there is."""

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

import numpy as np
import pytest

import fastmlp
from fastmlp import backend, ops

NAMES = ("first", "second", "third", "fourth", "fifth")


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    """Five backends that write their own number, and one that cannot be imported; nobody has chosen any yet."""
    for number, name in enumerate(NAMES):
        module = ModuleType(f"fake_{name}")
        module.activation_forward = lambda x, act, params, y, number=number: y.fill(number)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(backend.MODULES, name, module.__name__)
    monkeypatch.setitem(backend.MODULES, "broken", "fake_that_does_not_exist")
    monkeypatch.setitem(backend.REMEDY, "broken", "mend it")
    monkeypatch.setattr(backend, "_loaded", {})
    monkeypatch.setattr(backend, "_default", None)
    monkeypatch.delenv("FASTMLP_BACKEND", raising=False)


def which(**options):
    """The name of the backend that serves a call"""
    return NAMES[int(ops.activation([0.0], "relu", **options)[0])]


def test_precedence(monkeypatch):
    monkeypatch.setattr(backend, "AUTOMATIC", ("broken", "fifth", "numpy"))
    assert which() == fastmlp.get_backend() == "fifth"
    monkeypatch.setattr(backend, "_default", None)
    monkeypatch.setenv("FASTMLP_BACKEND", "fourth")
    assert which() == fastmlp.get_backend() == "fourth"
    fastmlp.set_backend("third")
    assert which() == fastmlp.get_backend() == "third"
    with fastmlp.use_backend("second"):
        assert which() == fastmlp.get_backend() == "second"
        assert which(backend="first") == "first"
        assert which() == "second"
    assert which() == "third"
    fastmlp.set_backend(None)
    assert which() == "fourth"


def test_use_backend_nests_and_survives_exceptions():
    fastmlp.set_backend("first")
    with fastmlp.use_backend("second"):
        with pytest.raises(KeyError), fastmlp.use_backend("third"):
            assert which() == "third"
            raise KeyError
        assert which() == "second"
        fastmlp.set_backend("fourth")
        assert which() == "second"
    assert which() == "fourth"


def test_use_backend_in_one_thread_does_not_affect_another():
    fastmlp.set_backend("first")
    with ThreadPoolExecutor(2) as pool:
        with fastmlp.use_backend("second"):
            assert pool.submit(which).result() == "first"

        def inside():
            with fastmlp.use_backend("third"):
                return which()

        assert pool.submit(inside).result() == "third"
        assert which() == "first"
        assert [f.result() for f in [pool.submit(which) for _ in range(8)]] == ["first"] * 8


def test_a_backend_asked_for_by_name_and_missing():
    text = "backend 'broken' is not available (No module named 'fake_that_does_not_exist'); mend it"
    for ask in (
        lambda: which(backend="broken"),
        lambda: fastmlp.set_backend("broken"),
        lambda: fastmlp.use_backend("broken").__enter__(),
    ):
        with pytest.raises(RuntimeError) as raised:
            ask()
        assert str(raised.value) == text
    assert fastmlp.available_backends()["broken"] == text
    assert fastmlp.available_backends()["first"] == "available"


def test_unknown_names(monkeypatch):
    monkeypatch.setenv("FASTMLP_BACKEND", "nympy")
    known = ", ".join(map(repr, backend.MODULES))
    for ask, what in ((lambda: fastmlp.set_backend("sixth"), "backend: unknown 'sixth'"),
                      (which, "FASTMLP_BACKEND: unknown 'nympy'")):  # fmt: skip
        with pytest.raises(ValueError) as raised:
            ask()
        assert str(raised.value) == f"{what}; known are {known}"


def test_nothing_can_be_imported(monkeypatch):
    monkeypatch.setattr(backend, "AUTOMATIC", ("broken",))
    with pytest.raises(RuntimeError, match=r"^no backend can be imported; reinstall fastmlp$"):
        which()


def test_a_failed_choice_changes_nothing():
    fastmlp.set_backend("first")
    for wrong, error in (("broken", RuntimeError), ("sixth", ValueError)):
        with pytest.raises(error):
            fastmlp.set_backend(wrong)
        with pytest.raises(error), fastmlp.use_backend(wrong):
            pass
    assert which() == "first"


def test_the_environment_is_read_in_a_new_process(python):
    ask = "import fastmlp; print(fastmlp.get_backend())"
    assert python(ask, FASTMLP_BACKEND="numpy") == "numpy\n"
    refused = "import fastmlp\ntry: fastmlp.get_backend()\nexcept ValueError as e: print(e)"
    assert python(refused, FASTMLP_BACKEND="nympy").startswith("FASTMLP_BACKEND: unknown 'nympy'; known are ")


@pytest.mark.parametrize("name", ["FASTMLP_ISA", "FASTMLP_NUM_THREADS", "FASTMLP_BACKEND"])
def test_show_config_says_which_setting_is_wrong(python, name):
    assert f"none: {name}: " in python("import fastmlp; fastmlp.show_config()", **{name: "nonsense"})


WRONG_THREADS = [
    (0, ValueError, "set_num_threads: expected 1 to 1024 threads, got 0"),
    (-1, ValueError, "set_num_threads: expected 1 to 1024 threads, got -1"),
    (1025, ValueError, "set_num_threads: expected 1 to 1024 threads, got 1025"),
    (2**70, ValueError, f"set_num_threads: expected 1 to 1024 threads, got {2**70}"),
    (2.0, TypeError, "set_num_threads: expected an int, got float"),
    ("2", TypeError, "set_num_threads: expected an int, got str"),
    (True, TypeError, "set_num_threads: expected an int, got bool"),
    (None, TypeError, "set_num_threads: expected an int, got NoneType"),
]


@pytest.mark.parametrize("n, error, text", WRONG_THREADS)
def test_set_num_threads_refuses(n, error, text):
    with pytest.raises(error) as raised:
        fastmlp.set_num_threads(n)
    assert str(raised.value) == text


def installed_version():
    try:
        return version("fastmlp")
    except PackageNotFoundError:
        pytest.skip("fastmlp is imported without being installed, so it has no version")


def test_version():
    installed = installed_version()
    assert fastmlp.__version__ == installed


def test_unknown_attribute():
    with pytest.raises(AttributeError, match=r"^module 'fastmlp' has no attribute 'nonsense'$"):
        _ = fastmlp.nonsense


def test_show_config(capsys):
    installed = installed_version()
    fastmlp.set_backend("numpy")
    fastmlp.show_config()
    text = capsys.readouterr().out
    lines = f"fastmlp +{installed}", f"numpy +{np.__version__}", "backend +numpy", " +first +available"
    for line in lines:
        assert re.search(f"^{line}$", text, re.MULTILINE), f"no line like {line!r} in\n{text}"
