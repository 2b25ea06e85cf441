"""fastmlp, through its public API. Imported in its own process only."""

from functools import partial

import fastmlp
from fastmlp import ops

from .peers import Arrays, Trainer, Version, as_people_write_it
from .programs import chain
from .work import Case


def versions(case: Case, a: Arrays, compiled: bool) -> list[Version]:
    if case.section in ("step", "network", "eager", "optim"):
        return as_people_write_it(fastmlp, case, a, "compiled" if case.section == "network" else "tensors")
    if case.section == "predict":
        return [Version("compiled", partial(fastmlp.compile(chain(fastmlp, case.shape, a)).predict, a["x"]))]
    ways = {
        "linear": _linear,
        "tiny": _tiny,
        "backward": _backward,
        "softmax": _softmax,
        "cross_entropy": _cross_entropy,
        "loss": _loss,
        "classes": _classes,
    }
    return [ways[case.section](case, a)]


def _linear(case, a):
    x, w, b, act = a["x"], a["w"], a["b"], case.kernel
    y = _room((len(x), len(w)), x.dtype)
    return Version("ops.linear", lambda: ops.linear(x, w, b, act, out=y))


def _tiny(case, a):
    x, w, b, act = a["x"], a["w"], a["b"], case.kernel
    return Version("ops.linear", lambda: ops.linear(x, w, b, act))


def _backward(case, a):
    dy, x, w, y, act = a["dy"], a["x"], a["w"], a["y"], case.kernel
    dx, dw, db = _gradients(a)
    return Version("ops.linear_backward", lambda: ops.linear_backward(dy, x, w, y, act, dx=dx, dw=dw, db=db))


def _softmax(case, a):
    x, out, function = a["x"], _room(a["x"].shape, a["x"].dtype), getattr(ops, case.kernel)
    return Version(f"ops.{case.kernel}", lambda: function(x, out=out))


def _cross_entropy(case, a):
    x, labels, out = a["x"], a["labels"], _room(a["x"].shape, a["x"].dtype)
    return Version("ops.cross_entropy", lambda: ops.cross_entropy(x, labels, out=out))


def _loss(case, a):
    x, target, out, function = a["x"], a["target"], _room(a["x"].shape, a["x"].dtype), getattr(ops, case.kernel)
    return Version(f"ops.{case.kernel}", lambda: function(x, target, out=out))


def _classes(case, a):
    x, w, b, labels = a["x"], a["w"], a["b"], a["labels"]
    dx, dw, db = _gradients(a)
    call = ops.linear_cross_entropy
    return Version("ops.linear_cross_entropy", lambda: call(x, w, b, labels, dx=dx, dw=dw, db=db))


def _gradients(a):
    """Room for dx, dw, db."""
    return [_room(a[name].shape, a[name].dtype) for name in ("x", "w", "b")]


def _room(shape, dtype):
    """An array to write into, as the library makes them itself: aligned, as torch's are."""
    return fastmlp.empty(shape, dtype=dtype).numpy()


def trainer(shape, a: Arrays, x, labels, lr: float) -> Trainer:
    model = chain(fastmlp, shape, a)
    net = fastmlp.compile(model, fastmlp.nn.CrossEntropyLoss(), fastmlp.optim.Adam(model.parameters(), lr=lr))
    return Trainer("compiled", lambda number, order: net.fit_epoch(x, labels, shape[0], seed=number), net.predict)
