"""Which cases are measured: the table of shapes, and the suites that the command line knows.

A suite is a few sections of the table, each with tables of its own in the report. work.py says what a section does.
"""

from dataclasses import replace

from .programs import OPERATIONS
from .work import AS_WRITTEN, FUSED, Case

#: "busy", "training" and "cold" have no cases; they are in files of these names
SUITES = {
    "linear": ("linear", "backward", "tiny"),
    "softmax": ("softmax",),
    "losses": ("cross_entropy", "loss", "classes"),
    "optim": ("optim",),
    "network": ("step", "network", "predict", "eager", "busy"),
    "end-to-end": ("training", "cold"),
}
SECTIONS = tuple(section for sections in SUITES.values() for section in sections)

# (m, k, n) and whether `--quick` runs it, all with relu
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
    ((100, 10, 64), False),
    ((100, 64, 32), False),
    ((100, 32, 1), False),
    # 784-256-128-10, a batch of 128
    ((128, 784, 256), True),
    ((128, 256, 128), False),
    ((128, 128, 10), False),
    # nothing divides anything
    ((127, 333, 77), False),
    # squares
    ((64, 64, 64), False),
    ((128, 128, 128), False),
    ((256, 256, 256), False),
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
# a shape of each kind with an activation that takes time itself
OTHER_ACTIVATIONS = [
    (1, 10, 64),
    (1, 784, 256),
    (32, 1024, 1024),
    (100, 10, 64),
    (128, 784, 256),
    (127, 333, 77),
    (256, 1024, 1),
    (4096, 2, 64),
    (10000, 32, 16),
    (512, 1024, 1024),
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

# (rows, classes). 16384 x 1024 is 64 MiB in and 64 MiB out: in no second-level cache, and in few of the third.
OUT_OF_CACHE = (16384, 1024)
SOFTMAX = [
    ((128, 10), True),
    ((128, 1000), False),
    ((1024, 1000), True),
    ((8192, 1000), False),
    (OUT_OF_CACHE, False),
]
CROSS_ENTROPY = [((128, 10), True), ((1024, 1000), True), ((256, 50257), False)]

LOSSES = ("mse_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")
LOSS_SIZES = [((100,), False), ((100_000,), True), ((10_000_000,), False)]

ARTICLE = (100, 10, 64, 32, 1)
DIGITS = (64, 64, 128, 64, 10)
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
BATCHES = (1, 16, 128, 1024, 4096)
PREDICTIONS = [(1, *ARTICLE[1:]), *((batch, *MIDDLE[1:]) for batch in BATCHES)]
QUICK_PREDICTIONS = [shape for shape in PREDICTIONS if shape[0] in (1, 128, 1024)]
CLASSES = (1024, 1024, 50257)

# the parameters of networks, in x hidden ... x out
OPTIMIZED = [ARTICLE[1:], MIDDLE[1:], (1024, 1024, 1024, 10)]
OPTIMIZERS = ("SGD", "Adam")

JITTED = ("torch", "jax", "sklearn")

CASES = [
    *(Case("linear", "relu", shape, quick=q) for shape, q in LINEAR),
    *(
        Case("linear", act, shape, quick=(act, shape) == ("gelu", MIDDLE[:3]))
        for act in ("gelu", "tanh")
        for shape in OTHER_ACTIVATIONS
    ),
    *(Case("linear", "relu", shape, "float64", quick=shape == (128, 784, 256)) for shape in LINEAR_F64),
    *(Case("backward", "relu", shape, quick=q) for shape, q in LINEAR),
    Case("tiny", "relu", (1, 10, 64), quick=True, peers=("torch", "numpy")),
    *(
        Case("softmax", kernel, shape, quick=q and kernel == "softmax")
        for kernel in ("softmax", "log_softmax")
        for shape, q in SOFTMAX
    ),
    *(Case("cross_entropy", "labels", shape, quick=q) for shape, q in CROSS_ENTROPY),
    *(Case("loss", kernel, size, quick=q and kernel != "mse_loss") for size, q in LOSS_SIZES for kernel in LOSSES),
    Case("classes", "labels", CLASSES),
    *(
        Case("optim", name, shape, quick=shape == MIDDLE[1:], peers=("torch", "jax", "numpy"))
        for shape in OPTIMIZED
        for name in OPTIMIZERS
    ),
    *(Case("step", kernel, shape, quick=q) for shape, kernel, q in STEPS),
    *(Case("network", "Adam", s, quick=s in (ARTICLE, MIDDLE), peers=JITTED) for s in NETWORKS[:-1]),
    Case("network", "Adam", NETWORKS[-1], peers=("torch", "jax")),  # a second, or more, with scikit-learn
    *(Case("predict", "relu", s, quick=s in QUICK_PREDICTIONS, peers=("onnxruntime", *JITTED)) for s in PREDICTIONS),
    *(Case("eager", k, (3, 4), quick=k == "add", peers=("torch", "numpy")) for k in OPERATIONS),
]

#: how many numbers make a shape of a section, at least and at most
DIMENSIONS = {"softmax": (2, 2), "cross_entropy": (2, 2), "eager": (2, 2), "loss": (1, 1)}
DIMENSIONS |= dict.fromkeys(("linear", "backward", "tiny", "classes"), (3, 3))
DIMENSIONS |= {"step": (5, 5), "network": (3, 99), "predict": (3, 99), "optim": (2, 99)}


def sections_of(names: list[str]) -> list[str]:
    """The sections of these suites, or themselves, in the order of the table. No names: all."""
    wanted = [section for name in names for section in SUITES.get(name, (name,))]
    return [section for section in SECTIONS if section in wanted or not names]


def select(
    sections: list[str], dtypes: list[str], quick: bool = False, shapes: list[tuple[int, ...]] | None = None
) -> list[Case]:
    """The cases of these sections and dtypes, in the order of the table. shapes: those instead of the table's, in each
    section that they fit."""
    found = [c for c in CASES if c.section in sections and c.dtype in dtypes]
    if shapes is None:
        return [c for c in found if c.quick or not quick]
    kinds: dict[tuple[str, str, str], Case] = {}
    for case in found:
        kinds.setdefault((case.section, case.kernel, case.dtype), case)
    return [replace(c, shape=shape) for c in kinds.values() for shape in shapes if _fits(c.section, shape)]


def _fits(section: str, shape: tuple[int, ...]) -> bool:
    low, high = DIMENSIONS[section]
    return low <= len(shape) <= high
