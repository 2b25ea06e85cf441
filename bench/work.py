"""The table of work: which cases are measured, what goes in, and what must come out.

A case is small and goes to the workers by value; each of them makes the same inputs from it.

    linear         x (m, k), w (n, k), b (n,) -> y = act(x wᵀ + b) (m, n)                shape (m, k, n)
    backward       dy, y (m, n), x, w -> dx (m, k), dw (n, k), db (n,)                   shape (m, k, n)
    softmax        x (m, n) -> y (m, n): softmax or log_softmax                          shape (m, n)
    cross_entropy  logits (m, n), labels (m,) -> loss (), dlogits (m, n)                 shape (m, n)
    loss           input, target (n,) -> loss (), dinput (n,): a loss of single elements     shape (n,)
    tiny           as linear, written as people write it, without out=                   shape (m, k, n)
    step           x, y, parameters -> loss (), gradients of the parameters: see programs.py    shape (m, k, ..., n)
    network        the same for a compiled network                                       shape (m, k, ..., n)
    predict        x, parameters -> the network's output (m, n)                          shape (m, k, ..., n)
    classes        x (m, k), w (n, k), b, labels (m,) -> loss (), dx, dw, db             shape (m, k, n)
    eager          a, b (m, n) -> the result of one operation on tensors that require gradients    shape (m, n)
"""

import zlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fastmlp import ops

from .programs import OPERATIONS, operation


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
        return f"{self.section} {self.kernel} {'x'.join(map(str, self.shape))} {self.dtype}"

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
        """What must be read and written at least, where that is one array in and one out."""
        if self.section not in ("softmax", "cross_entropy"):
            return None
        return 2 * int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def depth(self) -> int:
        """How many terms the longest sum has."""
        if self.section == "backward":
            return max(self.shape)
        if self.section in ("step", "network", "predict"):
            return sum(self.shape)  # the sums of all layers, one after the other
        if self.section in ("cross_entropy", "loss", "eager", "classes"):
            return int(np.prod(self.shape))
        return self.shape[1]


# "busy" is in busy.py
SECTIONS = (
    *("linear", "backward", "softmax", "cross_entropy", "loss", "tiny"),
    *("step", "network", "predict", "classes", "eager", "busy"),
)

# (m, k, n) and whether `--quick` runs it
LINEAR = [
    # a single row
    ((1, 10, 64), True),
    ((1, 784, 256), True),
    ((1, 1024, 1024), False),
    ((1, 4096, 4096), False),
    # a few rows
    ((8, 512, 512), False),
    ((32, 1024, 1024), False),
    # the article's network, 10-64-32-1, a batch of 100
    ((100, 10, 64), True),
    ((100, 64, 32), True),
    ((100, 32, 1), True),
    # 784-256-128-10, a batch of 128
    ((128, 784, 256), True),
    ((128, 256, 128), True),
    ((128, 128, 10), True),
    # nothing divides anything
    ((127, 333, 77), False),
    # squares
    ((64, 64, 64), False),
    ((128, 128, 128), False),
    ((256, 256, 256), True),
    ((512, 512, 512), False),
    ((1024, 1024, 1024), False),
    # few outputs
    ((256, 1024, 1), False),
    ((1024, 512, 10), False),
    # few inputs
    ((1024, 4, 128), False),
    ((4096, 2, 64), False),
    # many rows, narrow
    ((10000, 32, 16), True),
    ((10000, 4, 32), False),
    # large
    ((512, 1024, 1024), True),
    ((512, 4096, 4096), False),
]

LINEAR_F64 = [
    (1, 784, 256),
    (100, 10, 64),
    (128, 784, 256),
    (128, 128, 10),
    (127, 333, 77),
    (256, 256, 256),
    (10000, 32, 16),
    (512, 1024, 1024),
]

# (rows, classes). 16384 x 1024 is 64 MiB in and 64 MiB out: in no cache of the machines that we know.
OUT_OF_CACHE = (16384, 1024)
SOFTMAX = [
    ((128, 10), True),
    ((128, 1000), True),
    ((1024, 1000), True),
    ((8192, 1000), False),
    (OUT_OF_CACHE, True),
]
CROSS_ENTROPY = [((128, 10), True), ((1024, 1000), True), ((256, 50257), False)]

LOSSES = ("mse_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")
LOSS_SIZES = [((100,), True), ((100_000,), True), ((10_000_000,), False)]

ARTICLE = (100, 10, 64, 32, 1)
DIGITS = (64, 64, 128, 64, 10)
AS_WRITTEN, FUSED = "Adam", "Adam, fused"  # torch's, by default and with fused=True; fastmlp has one Adam
STEPS = [(ARTICLE, AS_WRITTEN, True), (ARTICLE, FUSED, False), (DIGITS, AS_WRITTEN, False), (DIGITS, FUSED, False)]
NETWORKS = [
    ARTICLE,
    (10000, 4, 32, 16, 4),
    (128, 784, 256, 128, 10),
    (128, 784, 512, 256, 10),
    (256, 1024, 1024, 1024, 1024, 10),
    (512, 4096, 4096, 4096, 10),
]
MIDDLE = NETWORKS[2]
PREDICTIONS = [(1, *ARTICLE[1:]), MIDDLE]
CLASSES = (1024, 1024, 50257)
QUICK_OPERATIONS = ("add", "sigmoid")

CASES = [
    *(Case("linear", act, shape, quick=q) for shape, q in LINEAR for act in ("relu", "gelu", "tanh")),
    *(Case("linear", "relu", shape, "float64", quick=shape == (128, 784, 256)) for shape in LINEAR_F64),
    *(Case("backward", "relu", shape, quick=q) for shape, q in LINEAR),
    *(Case("softmax", kernel, shape, quick=q) for kernel in ("softmax", "log_softmax") for shape, q in SOFTMAX),
    *(Case("cross_entropy", "labels", shape, quick=q) for shape, q in CROSS_ENTROPY),
    *(Case("loss", kernel, size, quick=q) for size, q in LOSS_SIZES for kernel in LOSSES),
    Case("tiny", "relu", (1, 10, 64), quick=True, peers=("torch", "numpy")),
    *(Case("step", kernel, shape, quick=q) for shape, kernel, q in STEPS),
    *(Case("network", "Adam", s, quick=s == ARTICLE, peers=("torch", "jax", "sklearn")) for s in NETWORKS),
    *(
        Case("predict", "relu", s, quick=s[0] == 1, peers=("onnxruntime", "torch", "jax", "sklearn"))
        for s in PREDICTIONS
    ),
    Case("classes", "labels", CLASSES, peers=("torch", "jax")),
    *(Case("eager", k, (3, 4), quick=k in QUICK_OPERATIONS, peers=("torch", "numpy")) for k in OPERATIONS),
]


def select(sections: list[str], dtypes: list[str], quick: bool = False) -> list[Case]:
    """The cases of these sections and dtypes, in the order of the table."""
    return [c for c in CASES if c.section in sections and c.dtype in dtypes and (c.quick or not quick)]


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
    a = {"x": rng.standard_normal((m, sizes[0]), case.dtype), "y": y}
    for number, (k, n) in enumerate(pairwise(sizes), 1):
        a[f"fc{number}.weight"], a[f"fc{number}.bias"] = _layer(rng, k, n, case.dtype)
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
