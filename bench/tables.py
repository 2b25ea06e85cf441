"""What a run says, as text and tables, before anybody has chosen how they look: the README and the page show the same.

In a line of text, **two stars** on each side mean bold. That is all there is of a format.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TypeVar

from .report import WHAT, duration, mib_texts, options_text, threads_text
from .results import LOSING, BusyRow, ColdRow, Results, Row, TrainingRow, geometric_mean, worst
from .targets import Verdict, verdicts
from .timing import CONFIDENCE, Times
from .training import AIM
from .work import shape_text

NONE = "n/a"
NUMBERS = (
    "A number such as 1.50 is the peer's time over fastmlp's: above 1 fastmlp is faster. **Bold**: it loses (below "
    f"{LOSING}). ~: noisy. !: other processes disturbed it. {NONE}: not timed. An interval reaches over those of the "
    f"sessions: in each, where the true median is by {100 * CONFIDENCE:.0f} %, or all of its turns if these are fewer "
    "than nine."
)
MEMORY = "MiB: the memory of fastmlp, then of the other, at the peak of a call, beside the inputs."
T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """losing: bold. noisy, disturbed: a sign behind it. more: further text, never bold."""

    text: str
    losing: bool = False
    noisy: bool = False
    disturbed: bool = False
    more: str = ""

    @property
    def behind(self) -> str:
        return "~" * self.noisy + "!" * self.disturbed + self.more


@dataclass(frozen=True)
class Table:
    """The first cell of a row says what the row is. notes: lines below. short: the title in a list of tables."""

    title: str
    short: str
    head: list[str]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)


def groups(rows: list[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    """The rows that have the same key, in the order in which the keys were first met."""
    found: dict[Hashable, list[T]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return list(found.values())


def of(results: Results) -> list[Table]:
    """Every table but that of the targets, in the order in which they were measured."""
    return [
        *map(_section, groups(results.rows, lambda r: (r.section, r.dtype, r.peer))),
        *map(_busy, groups(results.busy, lambda r: (r.section, r.shape, r.threads))),
        *map(_training, groups(results.training, lambda r: (r.data, r.shape, r.threads))),
        *map(_cold, groups(results.cold, lambda r: r.step)),
    ]


def summary(results: Results) -> list[Table]:
    """In short: a line for each section, dtype and peer; whole trainings and cold starts as they are."""
    whole = [table for table in of(replace(results, rows=[], busy=[]))]
    return [_summary(results.rows), *whole] if results.rows else whole


def _summary(rows: list[Row]) -> Table:
    """The geometric mean and the worst row, for each number of threads; how many rows lose, how many are noisy."""
    threads = sorted({row.threads for row in rows})
    head = ["", "against", *(title for n in threads for title in (threads_text(n), "worst")), "losing", "noisy"]
    body = []
    for group in groups(rows, lambda r: (r.section, r.dtype, r.peer)):
        first, cells = group[0], []
        for n in threads:
            some = [row for row in group if row.threads == n]
            slowest = worst(some)
            cells += [Cell(_shown(geometric_mean(some), ".2f")), _ratio(slowest)]
        timed = [row for row in group if row.ratio]
        counts = [f"{sum(some)} of {len(timed)}" for some in zip(*((row.losing, row.noisy) for row in timed))]
        what = WHAT[first.section].split(", shape")[0]
        body.append([Cell(f"{what}; {first.dtype}"), Cell(first.peer), *cells, *map(Cell, counts or [NONE, NONE])])
    return Table("How many times as fast as others", "summary", head, body)


# ------------------------------------------------------------------------------------------ environment


def environment(results: Results) -> list[str]:
    """What was measured on what, what the machine can do at most, and how to read a number."""
    e = results.environment
    fastmlp = results.libraries["fastmlp"]
    extras = ", ".join(f"{key} {value}" for key, value in fastmlp.items() if key in ("backend", "instructions"))
    peers = ", ".join(f"{name} {facts['version']}" for name, facts in results.libraries.items() if name != "fastmlp")
    ceilings = "; ".join(
        f"{threads_text(c.threads)}: {c.fma_gflops['float32']:.0f} GFLOP/s FMA in float32, {c.copy_gbps:.0f} GB/s copy"
        for c in results.ceilings
        if c.fma_gflops
    )
    lines = [
        f"Measured on {e['cpu']}, {e['cpus']} CPUs, {e['system']}, Python {e['python']}: fastmlp "
        f"{fastmlp['version']} ({extras}; revision {e['revision'] or 'unknown'}) beside {peers}, all with the "
        f"same number of threads, OpenMP's bound to cores, in turns ({options_text(results)}); every result of a "
        "table of cases was checked against the float64 reference first, and the first epoch of a training against "
        "the reference's.",
        f"Ceilings measured in the same run: {ceilings}; a share of the peak is of what that was in the same turns."
        if ceilings
        else "",
        NUMBERS,
        MEMORY if any(row.memory_mib for row in results.rows) else "",
    ]
    return [line for line in lines if line]


def missing(results: Results) -> list[str]:
    """What the run should have measured and has not."""
    lines = [f"{peer} was not measured: {why}." for peer, why in results.missing.items()]
    return lines + ["**The run was interrupted; what is missing was not measured.**"] * (not results.complete)


# ---------------------------------------------------------------------------------------------- targets


def targets(results: Results) -> Table | None:
    """None: the run has no row of any target."""
    rows = [_target(v) for v in verdicts(results)]
    head = ["Target", "threads", "aim", "measured", "verdict"]
    return Table("Targets", "Targets", head, rows) if rows else None


def _target(v: Verdict) -> list[Cell]:
    value = NONE if v.value is None else f"{v.value:.2f}{v.unit}"
    doubts = [
        f", {count} of {v.rows} {what}" for count, what in ((v.noisy, "noisy"), (v.disturbed, "disturbed")) if count
    ]
    verdict = Cell("met" if v.met else "missed", losing=not v.met, more="".join(doubts))
    return [*map(Cell, (v.name, threads_text(v.threads), v.bound, value)), verdict]


# -------------------------------------------------------------------------------------- a section's rows


def _section(rows: list[Row]) -> Table:
    """Shapes downwards, kernels and numbers of threads across; where there are more kernels, these downwards."""
    names = ("shape", "kernel")
    labels = [(shape_text(row.shape), row.kernel) for row in rows]
    if len({row.kernel for row in rows}) > len({row.shape for row in rows}):
        names, labels = names[::-1], [label[::-1] for label in labels]
    cells = {(down, row.threads, across): row for (down, across), row in zip(labels, rows)}
    columns = sorted(dict.fromkeys((threads, across) for _, threads, across in cells), key=lambda c: c[0])
    across = [f"{across}, {threads_text(threads)}" for threads, across in columns]
    of_first: dict[str, Callable[[Row | None], Cell]] = {f"fastmlp, {across[0]}": _time}
    if any(row.memory_mib for row in rows):
        of_first["MiB"] = _mib
    body = []
    for down in dict.fromkeys(down for down, _ in labels):
        found = [cells.get((down, *column)) for column in columns]
        body.append([Cell(down), *(cell(found[0]) for cell in of_first.values()), *map(_ratio, found)])
    means = [geometric_mean([row for (_, *key), row in cells.items() if tuple(key) == c]) for c in columns]
    body.append([Cell("geometric mean"), *(Cell("") for _ in of_first), *(Cell(_shown(mean, ".2f")) for mean in means)])
    what = f"{rows[0].dtype}, against {rows[0].peer}"
    return Table(
        f"{WHAT[rows[0].section]}; {what}",
        f"{rows[0].section}, {what}",
        [names[0], *of_first, *across],
        body,
        _named(rows),
    )


def _time(row: Row | None) -> Cell:
    return Cell(duration(row.seconds) if row and row.ratio else NONE)


def _mib(row: Row | None) -> Cell:
    return Cell((row and row.ratio and mib_texts(row, ", ")) or NONE)


def _ratio(row: Row | None) -> Cell:
    if row is None or row.ratio is None:
        return Cell(NONE)
    return Cell(f"{row.ratio.median:.2f}", row.losing, row.noisy, row.disturbed)


def _named(rows: list[Row]) -> list[str]:
    """The rows that lose, and those that could not be timed, with their reasons."""
    losing = [f"{_name(r)} {r.ratio.median:.2f} [{r.ratio.low:.2f}, {r.ratio.high:.2f}]" for r in rows if r.losing]
    return [
        *_note("Losing, with their intervals", losing),
        *_untimed((_name(r), r.problem) for r in rows),
    ]


def _name(row: Row) -> str:
    return f"{shape_text(row.shape)} {row.kernel} ({threads_text(row.threads)})"


def _note(what: str, items: list[str]) -> list[str]:
    return [f"{what}: {'; '.join(items)}."] if items else []


def _untimed(problems) -> list[str]:
    return _note("Not timed", [f"{name}: {problem}" for name, problem in problems if problem])


def _shown(value: float | None, how: str, unit: str = "") -> str:
    return NONE if value is None else format(value, how) + unit


# -------------------------------------------------------------------------------- beside a busy neighbour


def _busy(rows: list[BusyRow]) -> Table:
    what = f"{rows[0].work}, {threads_text(rows[0].threads)}"
    title = f"Beside a busy neighbour: {what}, one of two CPUs kept busy"
    head = ["", "quiet, mean", "busy, mean", "times slower"]
    return Table(title, f"busy neighbour: {what}", head, [_busy_cells(row) for row in rows])


def _busy_cells(row: BusyRow) -> list[Cell]:
    if row.problem:
        return [*map(Cell, (row.library, NONE, NONE, row.problem))]
    quiet, busy = (Cell(duration(sum(s) / len(s))) for s in (row.quiet, row.busy))
    return [Cell(row.library), quiet, busy, Cell(f"{row.slowdown:.2f}", disturbed=row.disturbed)]


# ------------------------------------------------------------------------------------- training, cold starts


def _training(rows: list[TrainingRow]) -> Table:
    what = f"{rows[0].data}, {shape_text(rows[0].shape)}, {threads_text(rows[0].threads)}"
    ranked = by_speed(rows, aim_seconds)
    head = ["library", "way", "time to the aim", "over fastmlp's", "epochs", "loss", "accuracy", "rows/s"]
    return Table(
        f"training until {100 * AIM:.0f} % of the test are right, shape batch x in x hidden ... x out: {what}",
        f"training: {what}",
        [*head, "first epoch", "peak memory"],
        [_training_cells(row, over) for row, over in ranked],
        [
            "±: how far the quartiles are apart. The first epoch includes what is compiled then.",
            *_lost([(f"{r.library} {way(r)}".strip(), over) for r, over in ranked]),
            *_untimed((f"{r.library} {way(r)}".strip(), r.problem) for r in rows),
        ],
    )


def _cold(rows: list[ColdRow]) -> Table:
    ranked = by_speed(rows, _cold_seconds)
    return Table(
        f"a cold start: import in a new process, then the first {rows[0].step}",
        f"cold start: {rows[0].step}",
        ["library", "import", "first step", "together", "over fastmlp's", "installed"],
        [_cold_cells(row, over) for row, over in ranked],
        [*_lost([(r.library, over) for r, over in ranked]), *_untimed((r.library, r.problem) for r in rows)],
    )


def by_speed(rows: list[T], seconds: Callable[[T], float | None]) -> list[tuple[T, float | None]]:
    """The fastest first, those without a time last; each with its time over the best one of fastmlp."""
    timed = sorted((row for row in rows if seconds(row)), key=seconds)
    ours = next((seconds(row) for row in timed if row.library == "fastmlp"), None)
    return [
        *((row, seconds(row) / ours if ours else None) for row in timed),
        *((r, None) for r in rows if not seconds(r)),
    ]


def aim_seconds(row: TrainingRow) -> float | None:
    return None if row.problem or not row.seconds else row.times.median


def way(row: TrainingRow) -> str:
    """How the library did it: its version without its name."""
    return row.version.removeprefix(row.library).strip()


def _cold_seconds(row: ColdRow) -> float | None:
    timed = row.imports and row.first_steps and not row.problem
    return median(row.imports) + median(row.first_steps) if timed else None


def _training_cells(row: TrainingRow, over: float | None) -> list[Cell]:
    timed = aim_seconds(row) is not None
    time = _spread(row.seconds if timed else [])
    return [
        Cell(row.library),
        Cell(way(row)),
        Cell(time, noisy=timed and row.times.noisy, disturbed=row.disturbed),
        _over(over),
        Cell(_shown(row.epochs, "d")),
        Cell(_shown(row.loss, ".4g")),
        Cell(_shown(row.accuracy, ".2%").replace("%", " %")),
        Cell(_shown(row.rows_per_second, ",.0f")),
        Cell(NONE if row.first is None else duration(row.first)),
        Cell(_shown(row.peak_mib, ",.0f", " MiB")),
    ]


def _cold_cells(row: ColdRow, over: float | None) -> list[Cell]:
    together = _cold_seconds(row)
    times = (_spread(row.imports), _spread(row.first_steps), duration(together) if together else NONE)
    return [*map(Cell, (row.library, *times)), _over(over), Cell(_shown(row.installed_mib, ",.0f", " MiB"))]


def _spread(seconds: list[float]) -> str:
    """The median, and how far the quartiles are apart."""
    if not seconds:
        return NONE
    times = Times(seconds)
    return duration(times.median) + (f" ± {100 * times.spread:.0f} %" if len(seconds) > 1 else "")


def _over(ratio: float | None) -> Cell:
    return Cell(_shown(ratio, ".2f"), losing=ratio is not None and ratio < LOSING)


def _lost(ratios: list[tuple[str, float | None]]) -> list[str]:
    return _note("Losing to", [f"{name} {over:.2f}" for name, over in ratios if over is not None and over < LOSING])
