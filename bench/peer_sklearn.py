"""scikit-learn's multi-layer perceptron. Imported in its own process only.

Its step is `partial_fit` of one batch. It has no learning rate of 0, and takes one that changes no float32.
"""

import warnings
from functools import partial

import numpy as np
from sklearn.neural_network import MLPClassifier

from .peers import Arrays, Trainer, Version
from .programs import is_probability, layers_of
from .work import Case

NO_STEP = 1e-30
BETA1 = 0.9


def versions(case: Case, a: Arrays, compiled: bool) -> list[Version]:
    make = {"network": _step, "predict": _predict}.get(case.section)
    return [] if make is None else [make(case, a)]


def _model(shape: tuple[int, ...], a: Arrays) -> MLPClassifier:
    """With the weights of a, and no step made yet."""
    batch, inputs, *hidden, outputs = shape
    classes = np.arange(max(outputs, 2))
    model = MLPClassifier(hidden, solver="adam", alpha=0.0, batch_size=batch, learning_rate_init=NO_STEP, shuffle=False)
    y = np.resize(classes, batch)  # each of them, where there is room
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a batch_size larger than the sample
        model.partial_fit(np.zeros((batch, inputs), a["fc1.weight"].dtype), y, classes=classes)
    for place, (w, b) in enumerate(layers_of(a)):
        model.coefs_[place][...], model.intercepts_[place][...] = w.T, b
    adam = model._optimizer
    adam.t = 0
    for average in (*adam.ms, *adam.vs):
        average[...] = 0
    return model


def _step(case: Case, a: Arrays) -> Version:
    model = _model(case.shape, a)
    labels = a["y"].ravel().astype(np.int64)

    def step():
        model.partial_fit(a["x"], labels)
        return model.loss_

    def checked():
        loss, adam = np.asarray(step(), a["x"].dtype), model._optimizer
        grads = [m / m.dtype.type(1 - BETA1**adam.t) for m in adam.ms]  # all weights, then all biases
        count = len(grads) // 2
        return loss, *[g for w, b in zip(grads[:count], grads[count:]) for g in (w.T, b)]

    return Version("partial_fit", step, checked=checked)


def _predict(case: Case, a: Arrays) -> Version:
    """It gives probabilities; `_forward_pass_fast` stops one step before those of classes, as the others do."""
    model = _model(case.shape, a)
    if is_probability(case.shape):
        call = partial(model.predict_proba, a["x"])
        return Version("predict_proba", call, checked=lambda: call()[:, 1:])
    model.out_activation_ = "identity"
    return Version("_forward_pass_fast", lambda: model._forward_pass_fast(a["x"], check_input=False))


def trainer(shape, a: Arrays, x, labels, lr: float) -> Trainer:
    model = _model(shape, a)
    model._optimizer.learning_rate_init = lr

    def epoch(number, order):
        model.partial_fit(x[order], labels[order])  # in batches, one after the other
        return model.loss_

    return Trainer("partial_fit of an epoch", epoch, model.predict_proba)
