"""jax at its best, on the CPU: the whole step or prediction is one jitted function. Imported in jax's own process only.

A step gives the old parameters away (donated buffers), so that XLA may update them in place; its loss is read as a
number, as everybody's is. XLA takes as many threads as the process may use CPUs.
"""


import jax
import jax.numpy as jnp
import numpy as np

from .peers import Arrays, Version
from .programs import is_probability, layers_of
from .work import Case

LR, BETA1, BETA2, EPS = 0.0, 0.9, 0.999, 1e-8


def versions(case: Case, a: Arrays, compiled: bool) -> list[Version]:
    make = {"network": _step, "predict": _predict, "classes": _classes}.get(case.section)
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


def _step(case: Case, a: Arrays) -> Version:
    probability = is_probability(case.shape)

    def adam(state, x, y):
        params, m, v, t = state
        loss, grads = jax.value_and_grad(_loss)(params, x, y, probability)
        t = t + 1
        m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, grads)
        v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, grads)
        c1, c2 = 1 - BETA1**t, 1 - BETA2**t
        params = jax.tree.map(lambda p, m, v: p - LR * (m / c1) / (jnp.sqrt(v / c2) + EPS), params, m, v)
        return loss, (params, m, v, t)

    jitted = jax.jit(adam, donate_argnums=0)
    params = [(jnp.asarray(w), jnp.asarray(b)) for w, b in layers_of(a)]
    x, y = jnp.asarray(a["x"]), jnp.asarray(a["y"])
    state = [(params, jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params), jnp.float32(0))]

    def step():
        loss, state[0] = jitted(state[0], x, y)
        return float(loss)

    def checked():
        loss = np.asarray(step(), a["x"].dtype)
        _, m, _, t = state[0]
        return loss, *[np.asarray(g) / a["x"].dtype.type(1 - BETA1 ** int(t)) for layer in m for g in layer]

    return Version("jit, donated", step, checked=checked)


def _predict(case: Case, a: Arrays) -> Version:
    params = [(jnp.asarray(w), jnp.asarray(b)) for w, b in layers_of(a)]
    jitted = jax.jit(lambda params, x: _forward(params, x, is_probability(case.shape)))
    return Version("jit", lambda: np.asarray(jitted(params, a["x"])))


def _classes(case: Case, a: Arrays) -> Version:
    def loss(x, w, b, y):
        return _cross_entropy(x @ w.T + b, y)

    jitted = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    args = [jnp.asarray(a[name]) for name in ("x", "w", "b", "labels")]

    def call():
        value, grads = jitted(*args)
        return value, *map(np.asarray, grads)

    return Version("jit", call)
