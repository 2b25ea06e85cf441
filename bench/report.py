"""The results as plain text for a console. Every function gives lines; printing is the caller's."""

from collections.abc import Callable, Sequence
from statistics import median

from .results import LOSING, BusyRow, Ceiling, ColdRow, Results, Row, TrainingRow, geometric_mean, worst
from .targets import verdicts
from .timing import FEW, LONG, NOISY
from .training import AIM
from .work import shape_text

WHAT = {
    "linear": "fused linear forward: act(x wᵀ + b), shape m x k x n",
    "backward": "linear backward: dx, dw, db with relu, shape m x k x n",
    "softmax": "softmax and log_softmax, shape rows x classes",
    "cross_entropy": "cross-entropy, loss and gradient, shape rows x classes",
    "loss": "losses of single elements, loss and gradient, shape elements",
    "optim": "an optimizer's step over all parameters of a network, shape in x hidden ... x out",
    "tiny": "a tiny call as people write it, shape m x k x n",
    "step": "a training step as people write it, torch run eagerly, shape batch x in x hidden x hidden x out",
    "network": "a training step of a compiled network, shape batch x in x hidden ... x out",
    "predict": "a prediction of a network, shape batch x in x hidden ... x out",
    "classes": "a last layer of many classes with its cross-entropy, loss and all gradients, shape m x k x n",
    "eager": "one operation on tensors that require gradients (on arrays: numpy), shape m x n",
}


def duration(seconds: float) -> str:
    for unit, name in ((1e-6, "µs"), (1e-3, "ms")):
        if seconds < 1000 * unit:
            return f"{seconds / unit:.3g} {name}" if seconds < 100 * unit else f"{seconds / unit:.0f} {name}"
    return f"{seconds:.3g} s"


def threads_text(threads: int) -> str:
    return f"{threads} thread{'s' if threads > 1 else ''}"


def environment_lines(results: Results) -> list[str]:
    e = results.environment
    lines = [
        f"cpu         {e['cpu']}, {e['cpus']} CPUs usable"
        + "".join(f", {name} {e[name]}" for name in ("limits", "governor") if e.get(name)),
        f"system      {e['system']}, Python {e['python']}",
        f"revision    {e['revision'] or 'unknown: not run from a git checkout'}",
        f"load        {e['load_average']} at the start" + (" (busy: expect noise)" if _is_busy(e) else ""),
    ]
    for name, facts in results.libraries.items():
        lines.append(f"{name:<11} " + ", ".join(f"{key} {value}" for key, value in facts.items()))
    lines += [f"{name:<11} not measured: {why}" for name, why in results.missing.items()]
    lines.append(f"options     {options_text(results)}")
    return [*lines, "MiB         memory of fastmlp/of the other, at the peak of a call, beside the inputs"]


def options_text(results: Results) -> str:
    o = results.options
    cases = "the quick subset of the cases" if o["quick"] else "all cases"
    compiled = "with torch.compile" if o["compiled"] else "without torch.compile"
    turns = f"{o['turns']} turns of each version ({FEW} where they take over {LONG:g} s)"
    if o.get("sessions", 1) > 1:
        turns = f"{o['sessions']} sessions of {turns}"
    return f"{cases}, {turns}, {compiled}"


def _is_busy(e) -> bool:
    return e["load_average"] is not None and e["load_average"] > 0.25 * e["cpus"]


def ceiling_line(c: Ceiling) -> str:
    fma = "FMA peak not measured (needs the compiled backend)"
    if c.fma_gflops:
        peaks = ", ".join(f"{dtype} {peak:.0f}" for dtype, peak in c.fma_gflops.items())
        fma = f"FMA peak {peaks} GFLOP/s"
    copy = f"copy {c.copy_gbps:.1f} GB/s (bytes read + written)"
    return f"ceilings    {threads_text(c.threads)}: {fma}, {copy}; a row's share of the peak: of the same turns"


def table_lines(rows: list[Row]) -> list[str]:
    """The rows of one section, dtype, number of threads and peer: what they are, a line for each, what they say."""
    first = rows[0]
    what = f"{WHAT[first.section]}; {first.dtype}, {threads_text(first.threads)}, against {first.peer}"
    titles, sides, _ = zip(*_columns(first.peer))
    head, *body = _grid([titles, *map(_texts, rows)], sides)
    lines = ["", what, head]
    for row, line in zip(rows, body):
        lines += [line + _remarks(row), *(f"      note: {note}" for note in row.notes)]
    return lines + _table_summary(rows)


def _grid(rows: list[Sequence[str]], sides: Sequence[str]) -> list[str]:
    """Columns as wide as they need, without those that have nothing below their title. sides: "<" or ">", where the
    texts of a column stand."""
    columns = [column for column in zip(sides, *rows) if any(column[2:])]
    widths = [max(map(len, column)) for column in columns]
    padded = [[f"{text:{side}{width}}" for text in texts] for (side, *texts), width in zip(columns, widths)]
    return ["  " + "  ".join(line).rstrip() for line in zip(*padded)]


def _texts(row: Row) -> list[str]:
    """One for each column; of a row that was not timed, which one it is."""
    columns = _columns(row.peer)
    which = [cell(row) for _, _, cell in columns[:2]]
    return which + [cell(row) if row.ratio else "" for _, _, cell in columns[2:]]


def _columns(peer: str) -> list[tuple[str, str, Callable[[Row], str]]]:
    """Title, side at which the texts stand, text of a row. The first two say which row it is."""
    return [
        ("shape", "<", lambda r: shape_text(r.shape)),
        ("kernel", "<", lambda r: r.kernel),
        ("fastmlp", ">", lambda r: duration(r.seconds)),
        ("± %", ">", lambda r: f"{100 * r.times[r.ours].spread:.0f}"),
        (peer, ">", lambda r: duration(r.peer_seconds)),
        ("± %", ">", lambda r: f"{100 * r.times[r.theirs].spread:.0f}"),
        ("speed-up", ">", lambda r: f"{r.ratio.median:.2f}x"),
        ("interval", "<", lambda r: f"[{r.ratio.low:.2f}, {r.ratio.high:.2f}]"),
        ("rate", "<", _rate),
        ("MiB", ">", lambda r: mib_texts(r, "/")),
        (f"fastest of {peer}", "<", lambda r: r.theirs.split(" ", 1)[1]),
    ]


def _remarks(row: Row) -> str:
    if row.ratio is None:
        return f"  NOT TIMED: {row.problem}"
    marks = ["LOSING"] * row.losing + ["noisy"] * row.noisy
    if row.disturbed:
        marks.append(f"DISTURBED: others took {100 * row.others:.0f} % of the machine")
    return "".join(f"  {mark}" for mark in marks)


def mib_texts(row: Row, between: str) -> str:
    """The memory that fastmlp and the peer take beside the inputs; nothing where the system does not tell."""
    known = [row.memory_mib.get(version) for version in (row.ours, row.theirs)]
    return "" if None in known else between.join(f"{mib:.1f}" if mib < 10 else f"{mib:.0f}" for mib in known)


def _rate(row: Row) -> str:
    if row.gflops is not None:
        share = "" if row.peak_share is None else f" = {100 * row.peak_share:.0f} % of peak"
        return f"{row.gflops:.1f} GFLOP/s{share}"
    if row.gbps is not None:
        return f"{row.gbps:.1f} GB/s = {row.copy_share:.2f} copy"
    return ""


def _table_summary(rows: list[Row]) -> list[str]:
    mean, slowest = geometric_mean(rows), worst(rows)
    if mean is None or slowest is None:
        return ["  nothing could be timed"]
    timed = [row for row in rows if row.ratio]
    lines = [
        f"  geometric mean {mean:.2f}x over {len(timed)} rows; worst {slowest.ratio.median:.2f}x at "
        f"{shape_text(slowest.shape)} {slowest.kernel}"
    ]
    losing = [row for row in rows if row.losing]
    if losing:
        names = ", ".join(f"{shape_text(r.shape)} {r.kernel} {r.ratio.median:.2f}x" for r in losing)
        lines.append(f"  losing (below {LOSING}x): {names}")
    noisy = sum(row.noisy for row in timed)
    if noisy:
        lines.append(f"  {noisy} of {len(timed)} rows are noisy (quartiles more than {100 * NOISY:.0f} % apart)")
    disturbed = sum(row.disturbed for row in timed)
    if disturbed:
        lines.append(f"  {disturbed} of {len(timed)} rows were DISTURBED by other processes: repeat on a quiet machine")
    untimed = len(rows) - len(timed)
    return lines + ([f"  {untimed} rows could not be timed; they say why"] if untimed else [])


def busy_lines(rows: list[BusyRow]) -> list[str]:
    threads = threads_text(rows[0].threads)
    lines = [
        "",
        f"busy neighbour: {rows[0].work}, {threads} on two CPUs, one kept busy; mean time per call",
    ]
    for row in rows:
        if row.problem:
            lines.append(f"  {row.library:<10} NOT TIMED: {row.problem}")
            continue
        quiet, busy = (sum(s) / len(s) for s in (row.quiet, row.busy))
        each = [b / q for b, q in zip(row.busy, row.quiet)]
        line = f"  {row.library:<10} quiet {duration(quiet):>8}   busy {duration(busy):>8}   "
        line += f"{row.slowdown:.2f}x slower (rounds {min(each):.2f} to {max(each):.2f}; {row.version})"
        if row.disturbed:
            line += f"  DISTURBED: others took {100 * row.others:.0f} % of the machine while it was quiet"
        lines.append(line)
    return lines


def training_lines(rows: list[TrainingRow]) -> list[str]:
    first = rows[0]
    lines = [
        "",
        f"training {shape_text(first.shape)} on {first.data} until {100 * AIM:.0f} % of the test are right, "
        f"{threads_text(first.threads)}",
        f"  {'':<10}{'time':>9}{'± %':>5}{'epochs':>8}{'loss':>9}{'right':>8}{'rows/s':>10}"
        f"{'first epoch':>13}{'peak memory':>13}  way",
    ]
    for row in rows:
        if row.problem:
            lines.append(f"  {row.library:<10} NOT TIMED: {row.problem}")
            continue
        line = f"  {row.library:<10}{duration(row.times.median):>9}{100 * row.times.spread:>5.0f}{row.epochs:>8}"
        line += f"{row.loss:>9.4f}{100 * row.accuracy:>6.1f} %{row.rows_per_second:>10.3g}"
        memory = "-" if row.peak_mib is None else f"{row.peak_mib:.0f} MiB"
        line += f"{duration(row.first):>13}{memory:>13}  {row.version}"
        lines.append(line + "  DISTURBED" * row.disturbed)
    return lines


def cold_lines(rows: list[ColdRow]) -> list[str]:
    lines = ["", f"cold: import; first {rows[0].step}, with what is compiled for it; size of all packages"]
    for row in rows:
        if row.problem:
            lines.append(f"  {row.library:<12} NOT MEASURED: {row.problem}")
            continue
        step = duration(median(row.first_steps)) if row.first_steps else "-"
        size = "-" if row.installed_mib is None else f"{row.installed_mib:.0f} MiB"
        lines.append(f"  {row.library:<12} import {duration(median(row.imports)):>8}   step {step:>8}   {size:>9}")
    return lines


def target_lines(results: Results) -> list[str]:
    lines = ["", "targets"]
    for v in verdicts(results):
        state = {True: "met", False: "MISSED", None: "not measured"}[v.met]
        value = "-" if v.value is None else f"{v.value:.2f}{v.unit}"
        line = f"  {state:<13}{value:>9}  ({v.bound:<10}) {threads_text(v.threads):<10} {v.name}"
        line += f" ({v.rows} row{'s' if v.rows > 1 else ''})"
        lines.append(line + f"; {v.noisy} noisy" * bool(v.noisy) + f"; {v.disturbed} DISTURBED" * bool(v.disturbed))
    return lines if len(lines) > 2 else []
