"""fastmlp, through its public API. Imported in its own process only."""

from functools import partial

import numpy as np

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
    x, w, b = a.get("x"), a.get("w"), a.get("b")
    if case.section == "classes":
        grads = {f"d{name}": np.empty_like(a[name]) for name in ("x", "w", "b")}
        return [Version("ops.linear_cross_entropy", partial(ops.linear_cross_entropy, x, w, b, a["labels"], **grads))]
    act = case.kernel
    if case.section == "tiny":
        return [Version("ops.linear", lambda: ops.linear(x, w, b, act))]
    if case.section == "linear":
        y = np.empty((len(x), len(w)), x.dtype)
        return [Version("ops.linear", lambda: ops.linear(x, w, b, act, out=y))]
    if case.section == "backward":
        dy, y = a["dy"], a["y"]
        dx, dw, db = np.empty_like(x), np.empty_like(w), np.empty_like(b)
        call = ops.linear_backward
        return [Version("ops.linear_backward", lambda: call(dy, x, w, y, act, dx=dx, dw=dw, db=db))]
    out = np.empty_like(x)
    if case.section == "softmax":
        function = getattr(ops, case.kernel)
        return [Version(f"ops.{case.kernel}", lambda: function(x, out=out))]
    if case.section == "loss":
        function, target = getattr(ops, case.kernel), a["target"]
        return [Version(f"ops.{case.kernel}", lambda: function(x, target, out=out))]
    labels = a["labels"]
    return [Version("ops.cross_entropy", lambda: ops.cross_entropy(x, labels, out=out))]


def trainer(shape, a: Arrays, x, labels, lr: float) -> Trainer:
    model = chain(fastmlp, shape, a)
    net = fastmlp.compile(model, fastmlp.nn.CrossEntropyLoss(), fastmlp.optim.Adam(model.parameters(), lr=lr))
    return Trainer("compiled", lambda number, order: net.fit_epoch(x, labels, shape[0], seed=number), net.predict)
