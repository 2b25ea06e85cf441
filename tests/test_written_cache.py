"""Machine code of functions that the user writes, on disk."""

import math
import os
import stat

import numpy as np
import pytest

import fastmlp as fm

pytest.importorskip("numba", reason="Numba is not installed")

from fastmlp.kernels.numba_scalars import cache

PROGRAM = """
import math, sys
import fastmlp as fm, numpy as np
from fastmlp.kernels.numba_scalars import compiled
made = []
plain = compiled.checked
compiled.checked = lambda *arguments: made.append(arguments[1]) or plain(*arguments)
SLOPE = {slope}
def helper(x):
    return {helper}
@fm.activation
def act(x):
    return helper(x) if x > 0 else SLOPE * math.expm1(x)
@fm.loss
def loss(prediction, target):
    return abs(prediction - target) ** 1.5
x = np.float32([-2, -1, 0, 1, 2])
y, error = act(x), loss(x, x[::-1])
dx = fm.ops.activation_backward(np.ones_like(x), x, act)
print(*made, *y.tolist(), *dx.tolist(), error.item())
"""


def numbers(printed):
    return [float(word) for word in printed.split() if word not in ("act", "loss")]


def expected(slope=0.5, twice=1):
    x = np.float32([-2, -1, 0, 1, 2])
    y = np.where(x > 0, twice * x, slope * np.expm1(x))
    dx = np.where(x > 0, twice, slope * np.exp(x))
    return [*y, *dx, (abs(x - x[::-1]) ** 1.5).mean()]


def test_a_second_process_compiles_nothing(python, tmp_path):
    folder = tmp_path / "new" / "cache"
    program = PROGRAM.format(slope=0.5, helper="x")
    where = {"FASTMLP_CACHE_DIR": str(folder), "FASTMLP_BACKEND": "cython"}  # whose kernels are compiled already
    first, second = (python(program, **where) for _ in range(2))
    assert first.split()[:2] == ["act", "loss"] and len(list(folder.iterdir())) == 2
    assert "act" not in second and "loss" not in second
    np.testing.assert_allclose(numbers(first), expected(), rtol=1e-6)
    assert numbers(first) == numbers(second)


@pytest.mark.parametrize(("slope", "helper"), [(0.25, "x"), (0.5, "2 * x")])
def test_what_a_function_reads_and_calls_is_part_of_it(python, tmp_path, slope, helper):
    python(PROGRAM.format(slope=0.5, helper="x"), FASTMLP_CACHE_DIR=str(tmp_path))
    printed = python(PROGRAM.format(slope=slope, helper=helper), FASTMLP_CACHE_DIR=str(tmp_path))
    assert printed.split()[0] == "act" and "loss" not in printed
    np.testing.assert_allclose(numbers(printed), expected(slope, 2 if "2" in helper else 1), rtol=1e-6)


def test_it_can_be_turned_off(python, tmp_path):
    program = PROGRAM.format(slope=0.5, helper="x")
    for _ in range(2):
        printed = python(program, FASTMLP_CACHE_DIR="", XDG_CACHE_HOME=str(tmp_path / "other"))
        assert printed.split()[:2] == ["act", "loss"]
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("where", ["a file", "read-only", "damaged", "cut off"])
def test_where_nothing_can_be_kept_or_read_it_compiles(python, tmp_path, where):
    folder, program = tmp_path / "cache", PROGRAM.format(slope=0.5, helper="x")
    if where == "a file":
        folder.write_text("in the way")
    elif where == "read-only":
        folder.mkdir()
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    else:
        python(program, FASTMLP_CACHE_DIR=str(folder))
        for path in folder.iterdir():
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data if where == "damaged" else data[:20])
    printed = python(program, FASTMLP_CACHE_DIR=str(folder))
    np.testing.assert_allclose(numbers(printed), expected(), rtol=1e-6)
    if where != "read-only" or os.getuid():  # root may write there
        assert printed.split()[:2] == ["act", "loss"]


def key(function):
    return cache.key_of("test", [function])


def test_keys():
    def scaled(factor):
        return lambda x: factor * x

    assert key(scaled(2)) == key(scaled(2)) and len({key(scaled(2)), key(scaled(2.0)), key(scaled(3))}) == 3
    assert key(lambda x: math.exp(x)) != key(lambda x: math.tanh(x)) != key(lambda x: np.tanh(x))
    assert key(lambda x: x + 1) != key(lambda x: x - 1) and key(lambda x: x + 1) != key(lambda x: x + 2)
    assert cache.key_of("one", [abs]) != cache.key_of("two", [abs])
    nobody_knows = object()
    assert key(lambda x: nobody_knows) is None
    assert key(lambda x: os.getpid() * x) is None  # a module that may change


def test_the_same_function_again_is_the_same_code():
    one, two = (fm.activation(lambda x: 0.125 * x * x, name="again") for _ in range(2))
    assert one.chosen.act.custom._runs is two.chosen.act.custom._runs
    x = np.arange(4.0)
    assert list(one(x)) == list(two(x)) == [0, 0.125, 0.5, 1.125]


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTMLP_CACHE_DIR", str(tmp_path))
    assert cache.folder() == tmp_path
    monkeypatch.setenv("FASTMLP_CACHE_DIR", "")
    assert cache.folder() is None
    monkeypatch.delenv("FASTMLP_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache.folder() == tmp_path / "fastmlp"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache.folder().parts[-3:] == ("Library", "Caches", "fastmlp")
