"""What a case is: what goes in, and what must come out. Which ones there are: cases.py.

A case is small and goes to the workers by value; each of them makes the same inputs from it.

    linear         x (m, k), w (n, k), b (n,) -> y = act(x wᵀ + b) (m, n)                shape (m, k, n)
    backward       dy, y (m, n), x, w -> dx (m, k), dw (n, k), db (n,)                   shape (m, k, n)
    softmax        x (m, n) -> y (m, n): softmax or log_softmax                          shape (m, n)
    cross_entropy  logits (m, n), labels (m,) -> loss (), dlogits (m, n)                 shape (m, n)
    loss           input, target (n,) -> loss (), dinput (n,): a loss of single elements     shape (n,)
    tiny           as linear, written as people write it, without out=                   shape (m, k, n)
    optim          parameters and gradients of a network -> the parameters after a step      shape (k, ..., n)
    step           x, y, parameters -> loss (), gradients of the parameters: see programs.py    shape (m, k, ..., n)
    network        the same for a compiled network                                       shape (m, k, ..., n)
    predict        x, parameters -> the network's output (m, n)                          shape (m, k, ..., n)
    classes        x (m, k), w (n, k), b, labels (m,) -> loss (), dx, dw, db             shape (m, k, n)
    eager          a, b (m, n) -> the result of one operation on tensors that require gradients    shape (m, n)
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fastmlp import ops

from .programs import LR, MOMENTUM, operation

AS_WRITTEN, FUSED = "Adam", "Adam, fused"  # torch's, by default and with fused=True; fastmlp has one Adam


def shape_text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


@dataclass(frozen=True)
class Case:
    """One row of the table.

    kernel: the activation of a linear case, which softmax, loss or operation; of a step, the peer's optimizer.
    """

    section: str
    kernel: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    quick: bool = False  # part of `--quick`
    peers: tuple[str, ...] = ("torch",)

    @property
    def name(self) -> str:
        return f"{self.section} {self.kernel} {shape_text(self.shape)} {self.dtype}"

    @property
    def flops(self) -> int | None:
        """Multiplications and additions of the matrix products; None where there are none."""
        if self.section in ("network", "predict"):
            first, *rest = (2 * self.shape[0] * k * n for k, n in pairwise(self.shape[1:]))
            forward = first + sum(rest)
            return forward if self.section == "predict" else 3 * forward - first  # the first layer has no dx
        products = {"linear": 1, "tiny": 1, "backward": 2, "classes": 3}.get(self.section)
        return None if products is None else products * 2 * int(np.prod(self.shape))

    @property
    def bytes(self) -> int | None:
        """What must be read and written at least, where that is what a case does: None where it computes more."""
        size = np.dtype(self.dtype).itemsize
        if self.section == "optim":  # parameters, their averages: read and written; gradients: read
            return (5 if self.kernel == "SGD" else 7) * size * sum((k + 1) * n for k, n in pairwise(self.shape))
        return 2 * int(np.prod(self.shape)) * size if self.section in ("softmax", "cross_entropy") else None

    @property
    def depth(self) -> int:
        """How many terms the longest sum has."""
        if self.section == "backward":
            return max(self.shape)
        if self.section == "optim":
            return 4  # terms of an update
        if self.section in ("step", "network", "predict"):
            return sum(self.shape)  # the sums of all layers, one after the other
        if self.section in ("cross_entropy", "loss", "eager", "classes"):
            return int(np.prod(self.shape))
        return self.shape[1]


def inputs(case: Case) -> dict[str, np.ndarray]:
    """The arrays that a case works on: the same in every process, C-contiguous."""
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    if case.section in ("softmax", "cross_entropy"):
        x = 3 * rng.standard_normal(case.shape, case.dtype)
        return {"x": x, "labels": rng.integers(0, case.shape[1], case.shape[0])}
    if case.section == "loss":
        x, target = rng.random(case.shape, case.dtype), rng.random(case.shape, case.dtype)
        return {"x": x / 2 + x.dtype.type(0.25), "target": target}  # away from 0 and 1, where bce's gradient is huge
    if case.section == "eager":
        return {name: rng.standard_normal(case.shape, case.dtype) for name in ("a", "b")}
    if case.section in ("step", "network", "predict"):
        return _step_inputs(rng, case)
    if case.section == "optim":
        a = layers(rng, case.shape, case.dtype)
        return a | {f"d{name}": rng.standard_normal(v.shape, case.dtype) for name, v in a.items()}
    m, k, n = case.shape
    x = rng.standard_normal((m, k), case.dtype)
    w, b = _layer(rng, k, n, case.dtype)
    a = {"x": x, "w": w, "b": b}
    if case.section == "classes":
        a["labels"] = rng.integers(0, n, m)
    if case.section == "backward":
        _make_signs_certain(a)
        a["dy"] = rng.standard_normal((m, n), case.dtype)
        a["y"] = ops.linear(a["x"], a["w"], a["b"], case.kernel, backend="numpy")
    return a


def _layer(rng: np.random.Generator, k: int, n: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """w (n, k) and b (n,) as torch.nn.Linear initialises them."""
    bound = k**-0.5
    return bound * (2 * rng.random((n, k), dtype) - 1), bound * (2 * rng.random(n, dtype) - 1)


def _step_inputs(rng: np.random.Generator, case: Case) -> dict[str, np.ndarray]:
    """x (m, k); y: 0 or 1 (m, 1) for a network with one output, else labels (m,); the layers' weights and biases."""
    m, *sizes = case.shape
    outputs = sizes[-1]
    y = rng.integers(0, 2, (m, 1)).astype(case.dtype) if outputs == 1 else rng.integers(0, outputs, m)
    return {"x": rng.standard_normal((m, sizes[0]), case.dtype), "y": y} | layers(rng, sizes, case.dtype)


def layers(rng: np.random.Generator, sizes: Sequence[int], dtype: str) -> dict[str, np.ndarray]:
    """fc1.weight, fc1.bias, fc2.weight, ... of a network of these sizes."""
    a = {}
    for number, (k, n) in enumerate(pairwise(sizes), 1):
        a[f"fc{number}.weight"], a[f"fc{number}.bias"] = _layer(rng, k, n, dtype)
    return a


def _make_signs_certain(a: dict[str, np.ndarray]) -> None:
    """Rounds x, w and b so that every library finds the same units of a relu switched on.

    A peer that differentiates its own forward pass would otherwise disagree, with every right, wherever z is
    within rounding of 0. With x on a grid of 1/8 and w on one of 1/1024, x wᵀ is a multiple of 2⁻¹³ that
    float32 holds exactly in any order of summation; b lies between those multiples, so z is never 0. dy stays.
    """
    a["x"][...] = np.round(a["x"] * 2**3) / 2**3
    a["w"][...] = np.round(a["w"] * 2**10) / 2**10
    a["b"][...] = (np.floor(a["b"] * 2**13) + 0.5) / 2**13


def expected(case: Case, a: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The right answer: the NumPy reference in float64."""
    d = {name: v.astype(np.float64) if v.dtype.kind == "f" else v for name, v in a.items()}
    with_numpy = {"backend": "numpy"}
    if case.section == "eager":
        return [np.asarray(operation(np, case.kernel, d["a"], d["b"])())]
    if case.section == "optim":
        return _optimized(case.kernel, d)
    if case.section in ("step", "network"):
        return _step_expected(d, len(case.shape) - 2)
    if case.section == "predict":
        return [_forward(d, len(case.shape) - 2)[0]]
    if case.section == "classes":
        loss, *gradients = ops.linear_cross_entropy(d["x"], d["w"], d["b"], d["labels"], **with_numpy)
        return [np.asarray(loss), *gradients]
    if case.section in ("linear", "tiny"):
        return [ops.linear(d["x"], d["w"], d["b"], case.kernel, **with_numpy)]
    if case.section == "backward":
        return list(ops.linear_backward(d["dy"], d["x"], d["w"], d["y"], case.kernel, **with_numpy))
    if case.section == "softmax":
        return [getattr(ops, case.kernel)(d["x"], **with_numpy)]
    if case.section == "loss":
        loss, gradient = getattr(ops, case.kernel)(d["x"], d["target"], **with_numpy)
    else:
        loss, gradient = ops.cross_entropy(d["x"], d["labels"], **with_numpy)
    return [np.asarray(loss), gradient]


def _optimized(name: str, d: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The parameters after the first step."""
    params, grads = ([v for key, v in d.items() if key.startswith("d") is gradient] for gradient in (False, True))
    averages = [[np.zeros_like(p) for p in params] for _ in range(2)]
    if name == "SGD":
        ops.sgd(params, grads, averages[0], lr=LR, momentum=MOMENTUM, first=True, backend="numpy")
    else:
        ops.adam(params, grads, *averages, step=1, lr=LR, backend="numpy")
    return params


def _forward(d: dict[str, np.ndarray], layers: int) -> tuple[np.ndarray, list[tuple]]:
    """What the network gives, and of each layer what its gradient needs."""
    acts = ["relu"] * (layers - 1) + ["sigmoid" if d["y"].ndim == 2 else "identity"]
    x, kept = d["x"], []
    for number, act in enumerate(acts, 1):
        w, b = d[f"fc{number}.weight"], d[f"fc{number}.bias"]
        y, saved = ops.linear(x, w, b, act, save=True, backend="numpy")
        kept.append((x, w, saved, act))
        x = y
    return x, kept


def _step_expected(d: dict[str, np.ndarray], layers: int) -> list[np.ndarray]:
    """The loss and the gradients of the parameters: forward layer by layer, and back."""
    y, kept = _forward(d, layers)
    loss_of = ops.binary_cross_entropy if d["y"].ndim == 2 else ops.cross_entropy
    loss, dy = loss_of(y, d["y"], backend="numpy")
    gradients = []
    for layer in reversed(kept):
        dy, dw, db = ops.linear_backward(dy, *layer, backend="numpy")
        gradients = [dw, db, *gradients]
    return [np.asarray(loss), *gradients]
