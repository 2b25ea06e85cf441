"""Pictures of a run, drawn by matplotlib, which is imported with the first of them.

Each function takes the results and gives a Figure, or None where the run has nothing for it. They are narrow and have
large letters, so that a phone shows them well, and white, whatever is around them.
"""

import functools
import io
import math
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np

from .report import duration, threads_text
from .results import Ceiling, Results, Row, geometric_mean, worst
from .tables import aim_seconds, by_speed, groups, way
from .work import shape_text

#: colours that people who see fewer of them can tell apart (Okabe and Ito), and a mark for each line and point
LOOKS = {
    "fastmlp": ("#d55e00", "o"),
    "torch": ("#0072b2", "s"),
    "jax": ("#009e73", "D"),
    "sklearn": ("#cc79a7", "^"),
    "onnxruntime": ("#56b4e9", "v"),
    "numpy": ("#737373", "X"),
    "cython": ("#000000", "P"),
    "numba": ("#e69f00", "*"),
}
OTHER = ("#a6a6a6", "h")  # of a library that has none
PALE = 0.5  # a bar of fewer threads
WIDTH = 5.2  # inches
STYLE = {
    "font.size": 11,
    "axes.titlesize": "medium",
    "figure.titlesize": "large",
    "figure.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "0.88",
    "legend.frameon": False,
    "svg.fonttype": "none",  # letters stay letters
    "svg.hashsalt": "fastmlp",  # names within the file that do not change from time to time
}


@contextmanager
def _style():
    """Our style, whatever the user's own is. RuntimeError: there is no matplotlib."""
    try:
        import matplotlib.style
    except ImportError as e:
        raise RuntimeError("pictures need matplotlib: pip install matplotlib") from e
    with matplotlib.style.context(["default", STYLE]):
        yield


def _picture(title: str) -> Callable[[Callable], Callable]:
    """A function that draws, in our style and with that title, which is also its attribute."""

    def wrap(draw):
        @functools.wraps(draw)
        def picture(results: Results):
            with _style():
                figure = draw(results)
                if figure:
                    figure.suptitle(title)
                return figure

        picture.title = title
        return picture

    return wrap


# --------------------------------------------------------------------------------------------- speed-ups


@_picture("How many times as fast as others")
def speed_ups(results: Results):
    """For each table and number of threads, a bar from 1 to the geometric mean and a dot at the worst row."""
    timed = groups([row for row in results.rows if row.ratio], lambda r: (r.section, r.dtype, r.peer))
    if not timed:
        return None
    counts = sorted({row.threads for rows in timed for row in rows})
    height = 0.8 / len(counts)
    tints = {count: (LOOKS["fastmlp"][0], PALE ** (len(counts) - n)) for n, count in enumerate(counts, 1)}
    figure, (axes,) = _panels([0.3 * len(timed) * (1 + len(counts)) / 2])
    axes.axvline(1, color="black", linewidth=1)
    for place, rows in enumerate(timed):
        for some in groups(rows, lambda row: row.threads):
            y = place + (counts.index(some[0].threads) - (len(counts) - 1) / 2) * height
            _speed_up(axes, y, height, some, tints[some[0].threads])
    names = [f"{rows[0].section} {rows[0].dtype}, {rows[0].peer}".replace(" float32", "") for rows in timed]
    axes.set_yticks(range(len(timed)), names)
    axes.set_ylim(len(timed) - 0.5, -0.5)
    _log_axis(axes, "x", "the other library's time over fastmlp's")
    bars = {threads_text(count): _mark("s", tint) for count, tint in tints.items()}
    _legend(figure, {**bars, "worst row": _mark("o", "black")})
    return figure


def _speed_up(axes, y: float, height: float, rows: list[Row], color) -> None:
    mean = geometric_mean(rows)
    axes.barh(y, mean - 1, height, left=1, color=color)
    _right_of(axes, max(mean, 1), y, f"{mean:.2f}")
    axes.scatter(worst(rows).ratio.median, y, s=16, color="black", zorder=3)


# ------------------------------------------------------------------------------------ time by batch size


@_picture("Time of a prediction by batch size")
def time_by_batch(results: Results):
    """A line for each library: how long a prediction takes for how many rows, where three sizes were measured."""
    rows = [row for row in results.rows if row.section == "predict" and row.ratio]
    networks = groups(rows, lambda r: (r.kernel, r.shape[1:], r.dtype, r.threads))
    networks = [rows for rows in networks if len({row.shape[0] for row in rows}) >= 3]
    if not networks:
        return None
    figure, panels = _panels([2.6] * len(networks))
    shown = {}
    for axes, rows in zip(panels, networks):
        axes.set_title(f"{shape_text(rows[0].shape[1:])}, {threads_text(rows[0].threads)}")
        for library in _libraries(rows):
            sizes, seconds = _line(rows, library)
            color, mark = LOOKS.get(library, OTHER)
            (shown[library],) = axes.plot(sizes, seconds, color=color, marker=mark, markersize=5)
        _log_axis(axes, "x", "rows in a batch")
        _log_axis(axes, "y", "time of a call", duration)
    _legend(figure, shown)
    return figure


def _line(rows: list[Row], library: str) -> tuple[list[int], list[float]]:
    """Batch sizes and seconds."""
    sizes = sorted(groups(_rows_of(rows, library), lambda row: row.shape[0]), key=lambda some: some[0].shape[0])
    return [some[0].shape[0] for some in sizes], [_seconds(some, library) for some in sizes]


def _libraries(rows: list[Row]) -> list[str]:
    return ["fastmlp", *dict.fromkeys(row.peer for row in rows)]


def _rows_of(rows: list[Row], library: str) -> list[Row]:
    return [row for row in rows if library in ("fastmlp", row.peer)]


def _seconds(rows: list[Row], library: str) -> float:
    """Of rows of one case. fastmlp was timed beside each peer: the median of these."""
    return median(row.seconds if library == "fastmlp" else row.peer_seconds for row in rows)


# ---------------------------------------------------------------------------------------------- roofline


@_picture("How close linear layers come to the limit")
def roofline(results: Results):
    """Speed of linear layers by how much they compute for each byte, below what the machine can do at most.

    Of the kind of numbers that was measured first. Above the slope is what stays in the caches.
    """
    rows = [row for row in results.rows if row.section == "linear" and row.ratio]
    limits = [(c, [r for r in rows if (r.dtype, r.threads) == (rows[0].dtype, c.threads)]) for c in results.ceilings]
    limits = [(ceiling, some) for ceiling, some in limits if some]
    if not limits:
        return None
    figure, panels = _panels([2.9] * len(limits))
    shown = {}
    for axes, (ceiling, some) in zip(panels, limits):
        axes.set_title(f"{some[0].dtype}, {threads_text(ceiling.threads)}")
        for library in reversed(_libraries(some)):  # fastmlp on top
            color, mark = LOOKS.get(library, OTHER)
            axes.scatter(*_points(some, library), s=20, alpha=0.7, color=color, marker=mark, linewidth=0)
            shown[library] = _mark(mark, color)
        _log_axis(axes, "x", "FLOP per byte of the arrays (above the slope: out of caches)")
        _log_axis(axes, "y", "GFLOP/s")
        _limits(axes, ceiling, some[0].dtype)
    _legend(figure, dict(reversed(shown.items())))
    return figure


def _points(rows: list[Row], library: str) -> tuple[list[float], list[float]]:
    """FLOP per byte of what is read and written at least, and GFLOP/s, of each case."""
    intensities, speeds = [], []
    for some in groups(_rows_of(rows, library), lambda row: (row.shape, row.kernel)):
        m, k, n = some[0].shape
        numbers = m * k + n * k + n + m * n
        intensities.append(2 * m * k * n / (numbers * np.dtype(some[0].dtype).itemsize))
        speeds.append(2 * m * k * n / _seconds(some, library) / 1e9)
    return intensities, speeds


def _limits(axes, ceiling: Ceiling, dtype: str) -> None:
    """The slope that the memory sets, the height that the cores set, and their numbers."""
    low, high = axes.dataLim.intervalx * (0.8, 1.25)
    peak = ceiling.fma_gflops[dtype] if ceiling.fma_gflops else math.inf
    copy = ceiling.copy_gbps
    ridge = min(peak / copy, high)
    near = {"textcoords": "offset points", "ha": "right", "va": "bottom", "fontsize": "small"}
    axes.plot([low, ridge], [copy * low, copy * ridge], color="black", linewidth=1.2)
    axes.annotate(f"copy {copy:.0f} GB/s", (0.7 * ridge, copy * 0.7 * ridge), (-4, 3), **near)
    if peak < math.inf:
        axes.plot([ridge, high], [peak, peak], color="black", linewidth=1.2)
        axes.annotate(f"FMA peak {peak:.0f} GFLOP/s", (high, peak), (0, 3), **near)
        axes.set_ylim(top=2 * peak)


# ---------------------------------------------------------------------------------------------- training


@_picture("Time of training to the same accuracy")
def training(results: Results):
    """How long each library trained to the accuracy that was aimed at: a panel with its own scale for each data set."""
    done = groups([row for row in results.training if aim_seconds(row)], lambda r: (r.data, r.shape, r.threads))
    if not done:
        return None
    figure, panels = _panels([0.32 * len(rows) for rows in done])
    for axes, rows in zip(panels, done):
        axes.set_title(f"{rows[0].data}, {threads_text(rows[0].threads)}\n{shape_text(rows[0].shape)}")
        rows = [row for row, _ in by_speed(rows, aim_seconds)]
        for place, row in enumerate(rows):
            seconds = aim_seconds(row)
            axes.barh(place, seconds, 0.75, color=LOOKS.get(row.library, OTHER)[0])
            _right_of(axes, seconds, place, duration(seconds))
        axes.set_yticks(range(len(rows)), [f"{row.library} {way(row)}".strip() for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, 1.3 * aim_seconds(rows[-1]))
        axes.set_xticks([])  # the bars have their numbers
    return figure


# ----------------------------------------------------------------------------------------- what all share


def _panels(heights: list[float]):
    """-> a figure with panels below each other, and their axes"""
    from matplotlib.figure import Figure

    figure = Figure((WIDTH, sum(heights) + 0.9 * len(heights) + 0.7), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1)
    return figure, list(figure.subplots(len(heights), squeeze=False, height_ratios=heights).flat)


def _mark(mark: str, color):
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="", marker=mark, color=color, markeredgewidth=0)


def _right_of(axes, x: float, y: float, text: str) -> None:
    axes.annotate(text, (x, y), (6, 0), textcoords="offset points", va="center", fontsize="small")


def _legend(figure, shown: dict) -> None:
    """Below everything, where it hides nothing."""
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=min(len(shown), 4))


def _log_axis(axes, which: str, label: str, text: Callable[[float], str] = "{:g}".format) -> None:
    """A logarithmic axis with numbers that people read: 1, 2, 5, 10; of a wide one, 1, 10, 100."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set(**{f"{which}scale": "log", f"{which}label": label})
    axis = getattr(axes, f"{which}axis")
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 50 * low else (1,)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axis.grid(True)


# ------------------------------------------------------------------------------------------------- files

#: by the end of its file's name
ALL = {"speed-ups": speed_ups, "time-by-batch": time_by_batch, "roofline": roofline, "training": training}


def as_svg(figure) -> str:
    """The same figure gives the same text: no date, no version."""
    text = io.StringIO()
    with _style():
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return text.getvalue()


def save_all(results: Results, folder: str | Path, name: str) -> list[Path]:
    """Writes `name-picture.svg` for every picture that the run has something for; removes those that it has not."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = {Path(folder, f"{name}-{end}.svg"): draw(results) for end, draw in ALL.items()}
    for path, figure in paths.items():
        if figure:
            path.write_text(as_svg(figure), encoding="utf-8")
        else:
            path.unlink(missing_ok=True)
    return [path for path, figure in paths.items() if figure]
