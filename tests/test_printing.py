"""A tensor is printed as torch prints it, character by character."""

import numpy as np
import pytest

from fastmlp import printing
from fastmlp.printing import format_tensor, set_printoptions

DTYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
SHAPES = (
    (), (1,), (2,), (7,), (30,), (1001,), (0,), (0, 3), (2, 0), (1, 1), (3, 4), (2, 3, 4), (1, 2, 1, 3), (40, 30),
    (7, 200), (1100, 1), (1, 1001), (12, 11, 10), (3, 2, 5, 40), (2, 130),
)  # fmt: skip
OPTIONS = (
    {},
    {"precision": 2},
    {"precision": 0},
    {"precision": 8, "linewidth": 40},
    {"threshold": 5},
    {"threshold": 0, "edgeitems": 1},
    {"threshold": 10, "edgeitems": 0},
    {"edgeitems": 0},
    {"linewidth": 5},
    {"linewidth": 200, "threshold": 100, "edgeitems": 4},
    {"profile": "short"},
    {"profile": "full"},
    {"profile": "short", "precision": 5},
    {"sci_mode": True},
    {"sci_mode": False},
    {"sci_mode": True, "precision": 1, "threshold": 3},
)


@pytest.fixture(autouse=True)
def default_options():
    yield
    set_printoptions(profile="default")


@pytest.fixture
def torch(monkeypatch):
    """torch, with our dtypes called as its own: a longer name may need a new line."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(printing, "DTYPE_PREFIX", "torch.")
    yield torch
    torch.set_printoptions(profile="default")


def numbers(rng, shape, dtype):
    """Of one magnitude or of many, sometimes whole, sometimes with zeros, infinities and NaN."""
    if dtype == "bool":
        return np.asarray(rng.random(shape) < 0.5)
    if dtype.startswith(("int", "uint")):
        limits = np.iinfo(dtype)
        top = int(rng.choice([5, 100, limits.max]))
        return np.asarray(rng.integers(max(-top, limits.min), top, shape, dtype, endpoint=True))
    a = rng.normal(size=shape) * 10.0 ** rng.integers(-6, 10)
    if rng.random() < 0.3:
        a = a * 10.0 ** rng.uniform(-3, 3, shape)
    if rng.random() < 0.3:
        a = np.round(a)
    for special in (0.0, -0.0, np.nan, np.inf, -np.inf):
        if rng.random() < 0.2:
            a = np.where(rng.random(shape) < rng.choice([0.1, 0.9]), special, a)
    with np.errstate(over="ignore"):
        return np.asarray(a).astype(dtype)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tensor_is_printed_as_torch_prints_it(torch, dtype, options):
    set_printoptions(**options)
    torch.set_printoptions(**options)
    rng = np.random.default_rng(DTYPES.index(dtype))
    for shape in SHAPES:
        if options.get("profile") == "full" and np.prod(shape) > 200:
            continue
        a = numbers(rng, shape, dtype)
        ours, theirs = format_tensor(a), repr(torch.from_numpy(a))
        if options.get("sci_mode") is False:  # columns are as wide as in torch up to 2.6
            ours, theirs = ("".join(text.split()) for text in (ours, theirs))
        assert ours == theirs, (a.shape, a)


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, 0.5, 1e-5, 1e9, 12345.678, np.nan, np.inf, -np.inf, 5e-324, 1e308])
def test_one_number_and_a_pair_of_it_and_one(torch, value):
    for a in (np.array(value), np.array([value, 1.0]), np.array([value, value])):
        assert format_tensor(a) == repr(torch.from_numpy(a))


def test_ways_to_lie_in_memory(torch):
    a = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    assert format_tensor(a.T) == repr(torch.from_numpy(a).T)
    assert format_tensor(a[::-1]) == repr(torch.from_numpy(a).flip(0))


def test_what_the_tape_adds(torch):
    a = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)
    leaf = torch.from_numpy(a.copy()).requires_grad_()
    assert format_tensor(a, requires_grad=True) == repr(leaf)
    assert format_tensor(a * 2, grad_fn_name="MulBackward0", requires_grad=True) == repr(leaf * 2)
    wide = leaf.reshape(1, 6) @ torch.ones(6, 8)
    assert format_tensor(wide.detach().numpy(), grad_fn_name="MmBackward0") == repr(wide)
    double = leaf.double() * 3
    assert format_tensor(double.detach().numpy(), grad_fn_name="MulBackward0") == repr(double)


def test_without_torch():
    """The same, spelt out where torch is not installed."""
    a = np.array([[-1, 2, -3, 4], [-2, 3, -3, 9]], np.float32)
    assert format_tensor(a) == "tensor([[-1.,  2., -3.,  4.],\n        [-2.,  3., -3.,  9.]])"
    assert format_tensor(np.float64([1.5])) == "tensor([1.5000], dtype=fastmlp.float64)"
    assert format_tensor(np.empty((0, 3), np.float32)) == "tensor([], size=(0, 3))"
    assert format_tensor(np.empty(0, np.int64)) == "tensor([], dtype=fastmlp.int64)"
    softmax = np.float32([[0.0059, 0.1184, 0.0008, 0.8749]])
    assert format_tensor(softmax) == "tensor([[5.9000e-03, 1.1840e-01, 8.0000e-04, 8.7490e-01]])"
    set_printoptions(sci_mode=False)
    assert format_tensor(softmax) == "tensor([[    0.0059,     0.1184,     0.0008,     0.8749]])"
    assert format_tensor(np.arange(1001)) == "tensor([   0,    1,    2,  ...,  998,  999, 1000])"


def test_setting_anything_sets_sci_mode_again():
    set_printoptions(sci_mode=True)
    set_printoptions(precision=3)
    assert format_tensor(np.float32([1.5])) == "tensor([1.500])"


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"precision": -1}, ValueError, "precision: expected an int >= 0, got -1"),
        ({"precision": 1.5}, TypeError, "precision: expected an int, got float"),
        ({"threshold": "all"}, TypeError, "threshold: expected a number, got str"),
        ({"edgeitems": -2}, ValueError, "edgeitems: expected an int >= 0, got -2"),
        ({"linewidth": 0}, ValueError, "linewidth: expected an int >= 1, got 0"),
        ({"profile": "long"}, ValueError, "profile: expected one of default, short, full, got 'long'"),
        ({"sci_mode": 1}, TypeError, "sci_mode: expected True, False or None, got 1"),
    ],
)
def test_bad_options_change_nothing(options, error, message):
    with pytest.raises(error) as e:
        set_printoptions(**{"precision": 7, **options})
    assert str(e.value) == message
    assert printing.OPTIONS == printing.PrintOptions()


@pytest.mark.parametrize("a", [[1.0], np.array(["a"]), np.array([1j]), np.array([None])])
def test_what_is_no_tensor(a):
    with pytest.raises(TypeError, match=r"^a: expected"):
        format_tensor(a)
