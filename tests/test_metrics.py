"""Metrics against scikit-learn and by hand."""

import doctest

import numpy as np
import pytest

from fastmlp import metrics
from fastmlp.metrics import (
    accuracy,
    binary_accuracy,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    top_k_accuracy,
)

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(200, 7)).astype(np.float32)
CLASSES = np.where(RNG.random(200) < 0.5, SCORES.argmax(axis=1), RNG.integers(0, 7, 200))


def test_the_examples():
    failed, tried = doctest.testmod(metrics)
    assert tried >= 6 and not failed


def test_accuracy_of_classes():
    right = float(np.mean(SCORES.argmax(axis=1) == CLASSES))
    assert accuracy(SCORES, CLASSES) == right
    assert accuracy(SCORES.reshape(20, 10, 7), CLASSES.reshape(20, 10)) == right
    assert accuracy(SCORES, np.eye(7)[CLASSES]) == right  # one-hot
    assert accuracy(SCORES.argmax(axis=1), CLASSES) == right
    assert type(accuracy(SCORES, CLASSES)) is float


def test_accuracy_of_one_column():
    p, t = [0.1, 0.5, 0.7, 0.49], [0, 1, 0, 1]
    assert accuracy(p, t) == 0.5
    column = np.array(p)[:, None]
    for prediction in (p, column):
        for target in (t, np.array(t)[:, None], np.float32(t), np.array(t, bool)):
            assert accuracy(prediction, target) == 0.5
    with pytest.raises(ValueError, match="got values from -1 to 3; for logits take binary_accuracy with threshold=0"):
        accuracy([-1.0, 3.0], [0, 1])
    assert binary_accuracy([-1.0, 3.0], [0, 1], threshold=0) == 1.0


@pytest.mark.parametrize("k", [1, 2, 5, 7])
def test_top_k(k):
    expected = np.mean([c in np.argsort(-row)[:k] for row, c in zip(SCORES, CLASSES)])
    assert top_k_accuracy(SCORES, CLASSES, k) == expected
    if k == 1:
        assert top_k_accuracy(SCORES, CLASSES, k) == accuracy(SCORES, CLASSES)


def test_top_k_of_equals_and_of_nan():
    assert top_k_accuracy([[1.0, 1.0, 1.0]], [0], k=1) == 1.0
    assert top_k_accuracy([[1.0, 1.0, 1.0]], [1], k=1) == 0.0
    assert top_k_accuracy([[np.nan, 0.0, 1.0]], [0], k=2) == 0.0


@pytest.mark.parametrize("shape", [(50,), (50, 3)])
def test_regression_as_scikit_learn(shape):
    sklearn = pytest.importorskip("sklearn.metrics")
    t = RNG.normal(size=shape)
    p = t + RNG.normal(size=shape)
    assert mean_absolute_error(p, t) == pytest.approx(sklearn.mean_absolute_error(t, p), rel=1e-14)
    assert mean_squared_error(p, t) == pytest.approx(sklearn.mean_squared_error(t, p), rel=1e-14)
    assert r2_score(p, t) == pytest.approx(sklearn.r2_score(t, p), rel=1e-12)


def test_r2_of_a_constant():
    assert r2_score([2.0, 2.0], [2.0, 2.0]) == 1.0
    assert r2_score([2.0, 3.0], [2.0, 2.0]) == 0.0
    assert r2_score([[2.0, 1.0], [3.0, 2.0]], [[2.0, 1.0], [2.0, 2.0]]) == 0.5


def test_float32_is_summed_in_float64():
    p = np.full(100_001, 0.1, np.float32)
    assert mean_absolute_error(p, np.zeros_like(p)) == pytest.approx(float(np.float32(0.1)), rel=1e-12)


@pytest.mark.parametrize(
    "f, prediction, target, error, message",
    [
        (accuracy, SCORES, CLASSES[:5], ValueError, r"target: expected shape \(200,\) to fit prediction \(200, 7\)"),
        (accuracy, SCORES, CLASSES / 2, TypeError, "target: expected integer classes of shape .*, got float64"),
        (accuracy, np.empty((0, 3)), np.empty(0, int), ValueError, "prediction: expected at least one sample"),
        (accuracy, ["a"], [1], TypeError, "prediction: expected numbers, got <U1"),
        (accuracy, None, [1], TypeError, "prediction: expected an array, got None"),
        (accuracy, [0.5, np.nan], [1, 1], ValueError, "prediction: expected one column of probabilities, got values"),
        (binary_accuracy, [0.5], [2], ValueError, "target: expected 0s and 1s, got values from 2 to 2"),
        (binary_accuracy, [0.5], [1, 1], ValueError, r"target: expected shape \(1,\) as prediction has, got \(2,\)"),
        (mean_squared_error, np.ones((3, 1)), np.ones(3), ValueError, r"target: expected shape \(3, 1\)"),
        (mean_absolute_error, np.ones(3), np.ones((3, 1)), ValueError, r"target: expected shape \(3,\)"),
        (r2_score, [1.0], [1.0], ValueError, "prediction: expected shape .* with m >= 2, got"),
        (lambda p, t: top_k_accuracy(p, t, 8), SCORES, CLASSES, ValueError, r"k: expected an int within 1\.\.7"),
        (lambda p, t: top_k_accuracy(p, t, 1.5), SCORES, CLASSES, TypeError, "k: expected an int, got float"),
    ],
)
def test_bad_input(f, prediction, target, error, message):
    with pytest.raises(error, match=message):
        f(prediction, target)


def test_finding_a_metric():
    assert metrics.find("accuracy") is accuracy
    assert metrics.find(max) is max
    with pytest.raises(ValueError, match="metrics: unknown 'acuracy'; did you mean 'accuracy'"):
        metrics.find("acuracy")
    with pytest.raises(TypeError, match="metrics: expected names or functions"):
        metrics.find(3)
