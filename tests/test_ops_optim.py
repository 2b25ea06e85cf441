"""ops.sgd, ops.adam and the like: what they accept, and what they refuse before anything is written."""

import numpy as np
import pytest

from fastmlp import ops

pytestmark = pytest.mark.usefixtures("on_each_backend")

STATE = {"sgd": 0, "adam": 2, "rmsprop": 1, "adagrad": 1, "adadelta": 2, "nadam": 2, "radam": 2}
STEP = {name: {"step": 1} if name in ("adam", "adagrad", "nadam", "radam") else {} for name in STATE}


def lists(name, dtype=np.float64, shapes=((2, 3), (4,))):
    """params, grads and state of an optimizer"""
    rng = np.random.default_rng(5)
    return [[np.abs(rng.standard_normal(s)).astype(dtype) for s in shapes] for _ in range(2 + STATE[name])]


def step(name, given, **options):
    return getattr(ops, name)(*given, **{**STEP[name], **options})


@pytest.mark.parametrize("name", STATE)
def test_updates_params_and_state_in_place(name):
    given = lists(name)
    before = [[a.copy() for a in arrays] for arrays in given]
    step(name, given)
    assert all((a == b).all() for a, b in zip(given[1], before[1])), "grads are inputs"
    for now, old in zip(given[:1] + given[2:], before[:1] + before[2:]):
        assert all((a != b).any() for a, b in zip(now, old))


@pytest.mark.parametrize("name", STATE)
def test_the_slow_checks_give_the_same_as_the_quick_ones(name):
    """Tuples, NumPy's numbers, and gradients with any strides or in lists."""
    quick, slow = lists(name), lists(name)
    first = step(name, quick, lr=0.25)
    slow[0], slow[1] = tuple(slow[0]), [slow[1][0].T.copy().T, slow[1][1].tolist()]
    second = step(name, slow, lr=np.float32(0.25))
    assert first == second
    for a, b in zip(quick[:1] + quick[2:], slow[:1] + slow[2:]):
        assert all((x == y).all() for x, y in zip(a, b))


@pytest.mark.parametrize("name", STATE)
def test_no_parameters_at_all(name):
    step(name, [[] for _ in lists(name)])


def test_sgd_with_lists_of_one_number():
    p, g, buffer = np.array(1.0), np.array(0.5), np.array(np.nan)
    ops.sgd([p], [g], [buffer], lr=0.1, momentum=0.9, first=True)
    ops.sgd([p], [g], [buffer], lr=0.1, momentum=0.9)
    np.testing.assert_allclose([p, buffer], [1 - 0.1 * 0.5 - 0.1 * 0.95, 0.95], rtol=1e-15)


def test_clipping_gradients_of_any_layout():
    a, b = np.arange(6.0).reshape(2, 3), np.arange(4.0)[::-1]
    norm = np.sqrt((a**2).sum() + (b**2).sum())
    grads = [a.T.copy().T, np.arange(4.0)[::-1]]
    np.testing.assert_allclose(ops.clip_norm(grads, np.inf), norm)
    assert (grads[0] == a).all() and (grads[1] == b).all()
    np.testing.assert_allclose(ops.clip_norm(grads, 0.5), norm)
    np.testing.assert_allclose(grads[0], a * 0.5 / (norm + 1e-6))
    np.testing.assert_allclose(grads[1], b * 0.5 / (norm + 1e-6))
    ops.clip_value(grads, 0.2)
    np.testing.assert_allclose(grads[1], np.minimum(b * 0.5 / (norm + 1e-6), 0.2))
    assert ops.clip_norm([], 1.0) == 0


@pytest.mark.parametrize(("grads", "limit", "error", "text"), [
    (np.ones(3), 1.0, TypeError, "grads: expected a list of arrays, got ndarray"),
    ([[1.0]], 1.0, TypeError, r"grads\[0\]: expected an ndarray, got list"),
    ([np.ones(3), np.ones(3, "f")], 1.0, TypeError, r"grads\[1\]: expected float64 as grads\[0\] is, got float32"),
    ([np.ones(3)], "1", TypeError, "(max_norm|limit): expected a number, got str"),
    ([np.broadcast_to(1.0, 3)], 1.0, ValueError, r"grads\[0\]: "),
])  # fmt: skip
@pytest.mark.parametrize("name", ["clip_norm", "clip_value"])
def test_clipping_refuses(name, grads, limit, error, text):
    with pytest.raises(error, match=text):
        getattr(ops, name)(grads, limit)


@pytest.mark.parametrize("name", ["adam", "nadam", "rmsprop", "adagrad", "radam"])
@pytest.mark.parametrize("eps", [0.0, 1e-30])
def test_gradients_whose_squares_vanish_move_a_parameter_no_further_than_others(name, eps):
    g = np.array([0, 1e-25, -1e-21, 1e-19, 1e-10, 1], np.float32)
    given = [[np.zeros_like(g)], [g], *([np.zeros_like(g)] for _ in range(STATE[name]))]
    step(name, given, lr=0.5, eps=eps, **({"step": 50} if name == "radam" else {}))
    moved = np.abs(given[0][0])
    assert (moved <= 1.001 * moved[-1]).all(), moved
    assert moved[0] == 0


def test_nadam_returns_the_product_for_the_next_call():
    given = lists("nadam")
    product = step("nadam", given)
    assert product == 0.9 * (1 - 0.5 * 0.96**0.004)
    assert step("nadam", given, step=2, mu_product=product) == product * (0.9 * (1 - 0.5 * 0.96**0.008))


def changed(name, role, change, i=1):
    """The lists with item i of one of them replaced by change(it)."""
    given = lists(name)
    given[role][i] = change(given[role][i])
    return given


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def shared(name, role, other):
    given = lists(name)
    given[role][1] = given[other][1]
    return given


def misaligned(a):
    return np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype)


WRONG = [
    (lambda: step("adam", [np.ones((2, 3)), *lists("adam")[1:]]), TypeError,
     "params: expected a list of arrays, got ndarray"),
    (lambda: step("adam", [lists("adam")[0], None, [], []]), TypeError,
     "grads: expected a list of arrays, got NoneType"),
    (lambda: step("adam", [*lists("adam")[:3], None]), TypeError,
     "exp_avg_sqs: expected a list of arrays, got NoneType"),
    (lambda: step("adam", [*lists("adam")[:3], []]), ValueError,
     "exp_avg_sqs: expected 2 arrays, as params has, got 0"),
    (lambda: step("sgd", [lists("sgd")[0], lists("sgd")[1][:1]]), ValueError,
     "grads: expected 2 arrays, as params has, got 1"),
    (lambda: step("adam", changed("adam", 0, np.ndarray.tolist, 0)), TypeError,
     "params[0]: expected an ndarray, got list"),
    (lambda: step("adam", changed("adam", 0, lambda a: a.astype(int), 0)), TypeError,
     "params[0]: expected float32 or float64, got int64"),
    (lambda: step("adam", changed("adam", 0, lambda a: a.astype(np.float32))), TypeError,
     "params[1]: expected float64, got float32"),
    (lambda: step("adam", changed("adam", 1, lambda a: a.astype(np.float32))), TypeError,
     "grads[1]: expected float64 as params[0] is, got float32"),
    (lambda: step("adam", changed("adam", 2, lambda a: a.astype(np.float32))), TypeError,
     "exp_avgs[1]: expected float64, got float32"),
    (lambda: step("adam", changed("adam", 1, lambda a: None)), TypeError, "grads[1]: expected an array, got None"),
    (lambda: step("adam", changed("adam", 1, lambda a: a[:2])), ValueError, "grads[1]: expected shape (4,), got (2,)"),
    (lambda: step("adam", changed("adam", 3, lambda a: a[:2])), ValueError,
     "exp_avg_sqs[1]: expected shape (4,), got (2,)"),
    (lambda: step("adam", changed("adam", 0, read_only)), ValueError, "params[1]: is read-only"),
    (lambda: step("adam", changed("adam", 0, lambda a: np.repeat(a, 2)[::2])), ValueError,
     "params[1]: expected a C-contiguous, aligned array, got strides (16,)"),
    (lambda: step("adam", changed("adam", 2, misaligned)), ValueError,
     "exp_avgs[1]: expected a C-contiguous, aligned array, got strides (8,)"),
    (lambda: step("adam", shared("adam", 0, 1)), ValueError, "params[1]: overlaps another argument in memory"),
    (lambda: step("adam", shared("adam", 3, 2)), ValueError, "exp_avg_sqs[1]: overlaps another argument in memory"),
    (lambda: step("adam", lists("adam"), lr="x"), TypeError, "lr: expected a number, got str"),
    (lambda: step("adam", lists("adam"), eps=None), TypeError, "eps: expected a number, got NoneType"),
    (lambda: step("adam", lists("adam"), beta1=1), ValueError, "beta1: expected a number >= 0 and < 1, got 1"),
    (lambda: step("radam", lists("radam"), beta2=-0.1), ValueError, "beta2: expected a number >= 0 and < 1, got -0.1"),
    (lambda: step("adam", lists("adam"), step=0), ValueError, "step: expected 1 or more, got 0"),
    (lambda: step("adagrad", lists("adagrad"), step=1.5), TypeError, "step: expected an int, got float"),
    (lambda: step("adagrad", lists("adagrad"), lr_decay=-1), ValueError, "lr_decay: expected a number >= 0, got -1"),
    (lambda: step("nadam", lists("nadam"), mu_product=-1), ValueError, "mu_product: expected a number >= 0, got -1.0"),
    (lambda: step("sgd", lists("sgd"), momentum=0.9), ValueError,
     "momentum_buffers: expected arrays, since momentum is 0.9"),
    (lambda: ops.sgd(*lists("sgd"), []), ValueError, "momentum_buffers: expected 2 arrays, as params has, got 0"),
    (lambda: ops.rmsprop(*lists("adam")[:3], None, lists("adam")[3]), ValueError,
     "momentum_buffers: expected None, since momentum is 0"),
]  # fmt: skip


@pytest.mark.parametrize("call, error, text", WRONG, ids=[text[:60] for *_, text in WRONG])
def test_refused(call, error, text):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == text


@pytest.mark.parametrize("role", range(4))
def test_nothing_is_written_before_it_is_refused(role):
    given = changed("adam", role, lambda a: a[:3])
    before = [[a.copy() for a in arrays] for arrays in given]
    with pytest.raises(ValueError, match="expected shape"):
        step("adam", given)
    assert all((a == b).all() for now, old in zip(given, before) for a, b in zip(now, old))
