"""Rows, the file that keeps them, and what several rows say together."""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .others import TOO_MUCH
from .timing import Ratio, Times
from .work import shape_text

LOSING = 0.95  # a row below this has lost; between this and 1 lies the noise


@dataclass
class Row:
    """One case, fastmlp against one peer.

    times: by version, "library version", and of "FMA peak" a call of 10¹⁰ operations. ours, theirs: the fastest
    version of each side, which stands for it. ratio: the peer's time over ours. problem: why there is no ratio.
    sessions: how many of the samples belong to each.
    """

    section: str
    kernel: str
    shape: tuple[int, ...]
    dtype: str
    threads: int
    peer: str
    times: dict[str, Times] = field(default_factory=dict)
    ours: str = ""
    theirs: str = ""
    ratio: Ratio | None = None
    gflops: float | None = None
    peak_share: float | None = None  # of the FMA peak of that many cores, measured in the same turns
    gbps: float | None = None
    copy_share: float | None = None  # of copy bandwidth; above 1 where the caches help
    memory_mib: dict[str, float] = field(default_factory=dict)  # by version, beside the inputs: see worker.py
    others: float | None = None  # share of the machine that other processes took meanwhile
    notes: list[str] = field(default_factory=list)
    problem: str | None = None
    sessions: list[int] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return self.times[self.ours].median

    @property
    def peer_seconds(self) -> float:
        return self.times[self.theirs].median

    @property
    def noisy(self) -> bool:
        return any(self.times[v].noisy for v in (self.ours, self.theirs) if v)

    @property
    def disturbed(self) -> bool:
        return self.others is not None and self.others > TOO_MUCH

    @property
    def losing(self) -> bool:
        return self.ratio is not None and self.ratio.median < LOSING

    @property
    def name(self) -> str:
        return f"{self.section} {self.kernel} {shape_text(self.shape)} {self.dtype}"


@dataclass
class BusyRow:
    """One library without and with a neighbour on a core: mean seconds per call, round by round.

    others: the share of the machine that strangers took in the quiet half; they make the neighbour look tame.
    """

    library: str
    version: str
    shape: tuple[int, ...]
    threads: int
    quiet: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    others: float | None = None
    problem: str | None = None
    section: str = "linear"

    @property
    def work(self) -> str:
        return f"{'training step' if self.section == 'network' else 'forward'} {shape_text(self.shape)}"

    @property
    def disturbed(self) -> bool:
        return self.others is not None and self.others > TOO_MUCH

    @property
    def slowdown(self) -> float | None:
        return None if self.problem else sum(self.busy) / sum(self.quiet)


@dataclass
class TrainingRow:
    """One library that trains a network to an accuracy, from the same weights and through the same batches as others.

    seconds: one for each time that it was trained, without the tests between the epochs. first: what the very first
    epoch took, with all that is compiled then. loss: mean of the last epoch. peak_mib: of the whole process.
    """

    library: str
    version: str
    data: str
    shape: tuple[int, ...]  # batch x in x hidden ... x out
    threads: int
    seconds: list[float] = field(default_factory=list)
    first: float | None = None
    epochs: int | None = None
    loss: float | None = None
    accuracy: float | None = None
    rows_per_second: float | None = None
    peak_mib: float | None = None
    others: float | None = None
    problem: str | None = None

    @property
    def times(self) -> Times:
        return Times(self.seconds)

    @property
    def disturbed(self) -> bool:
        return self.others is not None and self.others > TOO_MUCH


@dataclass
class ColdRow:
    """What a library costs before it is warm: its import in a new process, the first training step after that, with
    all that is compiled then, and its packages on disk, with those that they need."""

    library: str
    step: str  # which one
    imports: list[float] = field(default_factory=list)  # seconds, each in a process of its own
    first_steps: list[float] = field(default_factory=list)
    installed_mib: float | None = None
    problem: str | None = None


@dataclass
class Ceiling:
    """What this many cores can do at most, together. None: it could not be measured."""

    threads: int
    fma_gflops: dict[str, float] | None
    copy_gbps: float


@dataclass
class Results:
    """All that one run has found out so far."""

    options: dict = field(default_factory=dict)  # quick, shapes, compiled, sessions, turns
    environment: dict = field(default_factory=dict)
    libraries: dict[str, dict] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)  # peer -> why it could not be measured
    ceilings: list[Ceiling] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    busy: list[BusyRow] = field(default_factory=list)
    training: list[TrainingRow] = field(default_factory=list)
    cold: list[ColdRow] = field(default_factory=list)
    complete: bool = False  # False: interrupted

    @property
    def _everything(self) -> list:
        return [*self.rows, *self.busy, *self.training, *self.cold]

    @property
    def empty(self) -> bool:
        return not self._everything

    @property
    def failed(self) -> bool:
        """Is a result of fastmlp wrong, or is there none without a problem?"""
        problems = [row.problem for row in self._everything]
        return all(problems) or any(problem and problem.startswith("fastmlp") for problem in problems)


def geometric_mean(rows: list[Row]) -> float | None:
    """Of the ratios; rows without one do not count. None if there is none."""
    logs = [math.log(row.ratio.median) for row in rows if row.ratio]
    return math.exp(sum(logs) / len(logs)) if logs else None


def worst(rows: list[Row]) -> Row | None:
    return min((row for row in rows if row.ratio), key=lambda row: row.ratio.median, default=None)


def save(results: Results, path: str | Path) -> None:
    """Write everything as JSON."""
    text = json.dumps(_rounded(asdict(results)), indent=1)
    Path(path).write_text(text + "\n", encoding="utf-8")


def load(path: str | Path) -> Results:
    """What `save` wrote."""
    d = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(d, dict) or "rows" not in d:
        raise ValueError("no rows in it")
    lists = {
        "rows": _row,
        "busy": lambda b: BusyRow(**_with_shape(b)),
        "training": lambda t: TrainingRow(**_with_shape(t)),
        "cold": lambda c: ColdRow(**c),
        "ceilings": lambda c: Ceiling(**c),
    }
    return Results(**(d | {key: [make(item) for item in d.get(key, [])] for key, make in lists.items()}))


def _row(d: dict) -> Row:
    times = {name: Times(**t) for name, t in d["times"].items()}
    ratio = Ratio(**d["ratio"]) if d["ratio"] else None
    return Row(**(_with_shape(d) | {"times": times, "ratio": ratio}))


def _with_shape(d: dict) -> dict:
    return d | {"shape": tuple(d["shape"])}


def _rounded(value):
    """Floats with five digits: what a clock is good for, and a file that can be committed."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(v) for v in value]
    return value
