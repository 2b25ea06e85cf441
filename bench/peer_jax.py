"""jax at its best, on the CPU: the whole step or prediction is one jitted function. Imported in jax's own process only.

A step gives the old parameters away (donated buffers), so that XLA may update them in place; its loss is read as a
number, as everybody's is. XLA takes as many threads as the process may use CPUs.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from .peers import Arrays, Trainer, Version
from .programs import LR, MOMENTUM, is_probability, layers_of
from .work import Case

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def versions(case: Case, a: Arrays, compiled: bool) -> list[Version]:
    make = {"network": _step, "predict": _predict, "classes": _classes, "optim": _optim}.get(case.section)
    return [] if make is None else [make(case, a)]


def _forward(params, x, probability):
    *hidden, (w, b) = params
    for w1, b1 in hidden:
        x = jnp.maximum(x @ w1.T + b1, 0)
    z = x @ w.T + b
    return jax.nn.sigmoid(z) if probability else z


def _cross_entropy(z, y):
    return -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1).mean()


def _loss(params, x, y, probability):
    if not probability:
        return _cross_entropy(_forward(params, x, False), y)
    p = _forward(params, x, True)
    return -(y * jnp.maximum(jnp.log(p), -100) + (1 - y) * jnp.maximum(jnp.log1p(-p), -100)).mean()


def started(params):
    """The state of an Adam that has made no step: parameters, two averages, steps."""
    return params, jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params), jnp.float32(0)


def adam(state, grads, lr):
    params, m, v, t = state
    t = t + 1
    m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, grads)
    v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, grads)
    c1, c2 = 1 - BETA1**t, 1 - BETA2**t
    return jax.tree.map(lambda p, m, v: p - lr * (m / c1) / (jnp.sqrt(v / c2) + EPS), params, m, v), m, v, t


def _sgd(state, grads):
    params, m, *rest = state
    m = jax.tree.map(lambda m, g: MOMENTUM * m + g, m, grads)
    return jax.tree.map(lambda p, m: p - LR * m, params, m), m, *rest


def _optim(case: Case, a: Arrays) -> Version:
    names = [name for name in a if f"d{name}" in a]
    jitted = jax.jit(_sgd if case.kernel == "SGD" else lambda s, g: adam(s, g, LR), donate_argnums=0)
    grads = [jnp.asarray(a[f"d{name}"]) for name in names]

    def start():
        return started([jnp.array(a[name]) for name in names])

    state = [start()]

    def step():
        state[0] = jax.block_until_ready(jitted(state[0], grads))

    def checked():
        return tuple(map(np.asarray, jitted(start(), grads)[0]))

    return Version("jit, donated", step, checked=checked, compiles=True)


def _step(case: Case, a: Arrays) -> Version:
    probability = is_probability(case.shape)

    def train(state, x, y):
        loss, grads = jax.value_and_grad(_loss)(state[0], x, y, probability)
        return loss, adam(state, grads, 0.0)

    jitted = jax.jit(train, donate_argnums=0)
    x, y = jnp.asarray(a["x"]), jnp.asarray(a["y"])
    state = [started([(jnp.asarray(w), jnp.asarray(b)) for w, b in layers_of(a)])]

    def step():
        loss, state[0] = jitted(state[0], x, y)
        return float(loss)

    def checked():
        loss = np.asarray(step(), a["x"].dtype)
        _, m, _, t = state[0]
        return loss, *[np.asarray(g) / a["x"].dtype.type(1 - BETA1 ** int(t)) for layer in m for g in layer]

    return Version("jit, donated", step, checked=checked, compiles=True)


def _predict(case: Case, a: Arrays) -> Version:
    params = [(jnp.asarray(w), jnp.asarray(b)) for w, b in layers_of(a)]
    jitted = jax.jit(lambda params, x: _forward(params, x, is_probability(case.shape)))
    x = jnp.asarray(a["x"])  # it is where jax wants it, and the result comes back as an array of NumPy's
    return Version("jit", lambda: np.asarray(jitted(params, x)), compiles=True)


def _classes(case: Case, a: Arrays) -> Version:
    def loss(x, w, b, y):
        return _cross_entropy(x @ w.T + b, y)

    jitted = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    args = [jnp.asarray(a[name]) for name in ("x", "w", "b", "labels")]

    def call():
        value, grads = jitted(*args)
        return value, *map(np.asarray, grads)

    return Version("jit", call, compiles=True)


@partial(jax.jit, donate_argnums=0)
def _epoch(state, x, y, order, lr):
    """A whole epoch is one call. order: (steps, batch)"""

    def step(state, some):
        loss, grads = jax.value_and_grad(_loss)(state[0], x[some], y[some], False)
        return adam(state, grads, lr), loss

    state, losses = jax.lax.scan(step, state, order)
    return state, losses.mean()


def trainer(shape, a: Arrays, x, labels, lr: float) -> Trainer:
    state = [started([(jnp.array(w), jnp.array(b)) for w, b in layers_of(a)])]
    x, labels = jnp.asarray(x), jnp.asarray(labels)

    def epoch(number, order):
        state[0], loss = _epoch(state[0], x, labels, order.reshape(-1, shape[0]), lr)
        return float(loss)

    return Trainer("jit of an epoch, donated", epoch, lambda x: np.asarray(_forward(state[0][0], x, False)))
