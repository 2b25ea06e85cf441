"""What is aimed at, as data, and whether a run reached it. Targets without any row are left out."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .cases import ARTICLE, CLASSES, MIDDLE, NETWORKS, OUT_OF_CACHE, PREDICTIONS
from .results import Results, Row, geometric_mean, worst
from .work import AS_WRITTEN, shape_text


@dataclass(frozen=True)
class Target:
    """`measure(rows)` of the rows that `of` picks is compared with `bound`.

    at_least: the measure must be at least `bound`; else at most. threads: only for this number; None is any.
    """

    name: str
    of: Callable[[Row], bool]
    measure: Callable[[list[Row]], float | None]
    bound: float
    unit: str
    at_least: bool = True
    threads: int | None = None


@dataclass(frozen=True)
class Verdict:
    """value, met: None where every row has a problem. noisy, disturbed: how many of `rows` are."""

    name: str
    threads: int
    value: float | None
    bound: str
    met: bool | None
    unit: str
    rows: int = 1
    noisy: int = 0
    disturbed: int = 0


def _least_ratio(rows):
    row = worst(rows)
    return row.ratio.median if row else None


def _least_peak_share(rows):
    return min((100 * r.peak_share for r in rows if r.peak_share is not None), default=None)


def _most_microseconds(rows):
    return max((1e6 * r.seconds for r in rows if r.ratio), default=None)


def _most_overhead(rows):
    """Microseconds that fastmlp takes longer than the peer."""
    return max((1e6 * (r.seconds - r.peer_seconds) for r in rows if r.ratio), default=None)


def _of(section, dtype="float32", **fields):
    """Picks rows by section, dtype and further fields, against torch unless `peer` is one of these."""
    wanted = {"section": section, "dtype": dtype, "peer": "torch", **fields}
    return lambda row: all(getattr(row, name) == value for name, value in wanted.items())


LARGE = (512, 1024, 1024)
STEP = "the article's training step, as the article writes it"
_of_the_step = _of("step", kernel=AS_WRITTEN, shape=ARTICLE)


def _rows(section, shape):
    """Rows of that shape against any peer."""
    return lambda row: (row.section, row.shape) == (section, shape)


def _over(version):
    """The least time of that version over ours, of the rows that have it."""
    return lambda rows: min((r.times[version].median / r.seconds for r in rows if version in r.times), default=None)


def _most_mib_beside_gradients(rows):
    """Of fastmlp's memory, what is neither dx (m, k), dw (n, k) nor db (n,)."""
    found = []
    for row in rows:
        m, k, n = row.shape
        gradients = (m * k + n * k + n) * np.dtype(row.dtype).itemsize / 2**20
        found += [row.memory_mib[row.ours] - gradients] if row.ours in row.memory_mib else []
    return max(found, default=None)


def _name(what, shape):
    return f"{what} {shape_text(shape)}"


ONE_ROW = PREDICTIONS[0]
STEP_BOUNDS = zip(NETWORKS, (4.0, 5.0, 2.5, 2.2, 1.3, 1.2))

COMPILED = [
    Target(
        f"{_name('compiled step', ARTICLE)}: against torch run eagerly",
        _rows("network", ARTICLE),
        _over("torch eager"),
        20.0,
        "x",
    ),
    *(
        Target(f"{_name('compiled step', s)}: against the best of all", _rows("network", s), _least_ratio, bound, "x")
        for s, bound in STEP_BOUNDS
    ),
    *(
        Target(f"{_name('compiled step', s)}: share of the FMA peak", _rows("network", s), _least_peak_share, 75, " %")
        for s in NETWORKS[2:4]
    ),
    Target(_name("prediction", ONE_ROW), _rows("predict", ONE_ROW), _most_microseconds, 2.0, " µs", at_least=False),
    Target(
        f"{_name('prediction', ONE_ROW)}: against onnxruntime's run",
        _rows("predict", ONE_ROW),
        _over("onnxruntime run"),
        6.0,
        "x",
    ),
    Target(f"{_name('prediction', MIDDLE)}: against the best of all", _rows("predict", MIDDLE), _least_ratio, 1.3, "x"),
    Target(f"{_name('many classes', CLASSES)}: against torch", _of("classes"), _least_ratio, 1.15, "x"),
    Target(
        f"{_name('many classes', CLASSES)}: memory beside the results",
        _rows("classes", CLASSES),
        _most_mib_beside_gradients,
        64,
        " MiB",
        at_least=False,
    ),
]

TARGETS = [
    Target("linear forward, float32: geometric mean", _of("linear"), geometric_mean, 1.3, "x"),
    Target("linear forward, float32: worst shape", _of("linear"), _least_ratio, 0.95, "x"),
    Target(
        "linear forward, float32: share of one core's FMA peak at 512x1024x1024",
        _of("linear", shape=LARGE),
        _least_peak_share,
        85,
        " %",
        threads=1,
    ),
    Target("linear forward, float64: worst shape", _of("linear", "float64"), _least_ratio, 0.95, "x"),
    Target("linear backward: geometric mean", _of("backward"), geometric_mean, 1.3, "x"),
    Target("linear backward: worst shape", _of("backward"), _least_ratio, 0.95, "x"),
    Target("softmax 128x10", _of("softmax", kernel="softmax", shape=(128, 10)), _least_ratio, 5.0, "x"),
    Target("softmax out of cache", _of("softmax", kernel="softmax", shape=OUT_OF_CACHE), _least_ratio, 1.0, "x"),
    Target("cross-entropy with gradient: worst shape", _of("cross_entropy"), _least_ratio, 3.0, "x"),
    Target("a tiny call, 1x10x64 relu", _of("tiny"), _most_microseconds, 3.0, " µs", at_least=False),
    Target(f"{STEP}: against torch", _of_the_step, _least_ratio, 9.0, "x"),
    Target(f"{STEP}: time", _of_the_step, _most_microseconds, 70.0, " µs", at_least=False),
    *COMPILED,
    Target(
        "overhead of an eager operation, over NumPy's: worst operation",
        _of("eager", peer="numpy"),
        _most_overhead,
        3.0,
        " µs",
        at_least=False,
    ),
]

BUSY = 2.2  # times slower beside a busy neighbour, on average


def verdicts(results: Results) -> list[Verdict]:
    """Every target for every number of threads that was measured; of whole runs alone, with the shapes of the table."""
    if results.options.get("quick") or results.options.get("shapes") or not results.complete:
        return []
    found = []
    for target in TARGETS:
        for ceiling in results.ceilings:
            if target.threads not in (None, ceiling.threads):
                continue
            rows = [row for row in results.rows if row.threads == ceiling.threads and target.of(row)]
            if rows:
                found.append(_judge(target, rows, ceiling.threads))
    for row in results.busy:
        if row.library == "fastmlp":
            name = f"{row.work} beside a busy neighbour: mean time over quiet mean time"
            met = None if row.slowdown is None else row.slowdown <= BUSY
            found.append(
                Verdict(name, row.threads, row.slowdown, f"<= {BUSY}x", met, "x", disturbed=int(row.disturbed))
            )
    return found


def _judge(target, rows, threads):
    """A row with a problem was not measured: the worst row is then not known, and the target not met."""
    value = target.measure(rows)
    sign = ">=" if target.at_least else "<="
    met = None
    if value is not None:
        met = value >= target.bound if target.at_least else value <= target.bound
        met = met and not any(row.problem for row in rows)
    bound = f"{sign} {target.bound}{target.unit}"
    noisy, disturbed = sum(row.noisy for row in rows), sum(row.disturbed for row in rows)
    return Verdict(target.name, threads, value, bound, met, target.unit, len(rows), noisy, disturbed)
