"""The results as plain text for a console. Every function gives lines; printing is the caller's."""

from statistics import median

from .cases import CASES
from .results import LOSING, BusyRow, Ceiling, ColdRow, Results, Row, TrainingRow, geometric_mean, worst
from .targets import verdicts
from .timing import NOISY, PRECISE
from .training import AIM

LONGEST = max(len("x".join(map(str, case.shape))) for case in CASES)

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


def shape_text(shape) -> str:
    return "x".join(map(str, shape))


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
    return [*lines, f"options     {options_text(results)}"]


def options_text(results: Results) -> str:
    o = results.options
    cases = "the quick subset of the cases" if o["quick"] else "all cases"
    compiled = "with torch.compile" if o["compiled"] else "without torch.compile"
    turns = f"{o['turns']} turns of each version"
    if o.get("sessions", 1) > 1:
        turns = f"{o['sessions']} sessions of {turns}"
    if o.get("most", 1) > 1:
        turns += f", {o['most']} times as many where the interval of the ratio is wider than {100 * PRECISE:.0f} %"
    return f"{cases}, {turns}, {compiled}"


def _is_busy(e) -> bool:
    return e["load_average"] is not None and e["load_average"] > 0.25 * e["cpus"]


def ceiling_line(c: Ceiling) -> str:
    fma = "FMA peak not measured (needs the compiled backend)"
    if c.fma_gflops:
        peaks = ", ".join(f"{dtype} {peak * c.threads:.0f}" for dtype, peak in c.fma_gflops.items())
        fma = f"FMA peak {peaks} GFLOP/s"
    copy = f"copy {c.copy_gbps:.1f} GB/s (bytes read + written)"
    return f"ceilings    {threads_text(c.threads)}: {fma}, {copy}; shares of it: of the same turns"


def table_heading(row: Row) -> list[str]:
    columns = f"{_first_columns(row.section, 'shape', 'kernel')}{'fastmlp':>9}{'± %':>5}{row.peer:>12}{'± %':>5}"
    columns += f"{'speed-up':>10} {'[95 % interval]':<18}{'rate':<30}fastest of {row.peer}"
    return ["", f"{WHAT[row.section]}; {row.dtype}, {threads_text(row.threads)}, against {row.peer}", columns]


def _first_columns(section: str, shape: str, kernel: str) -> str:
    """As wide as the longest kernel of the section needs."""
    width = max((len(case.kernel) for case in CASES if case.section == section), default=0)
    return f"  {shape:<{LONGEST + 2}}{kernel:<{width + 2}}"


def row_lines(row: Row) -> list[str]:
    head = _first_columns(row.section, shape_text(row.shape), row.kernel)
    if row.problem or row.ratio is None:
        return [f"{head}NOT TIMED: {row.problem}"]
    ours, theirs, r = row.times[row.ours], row.times[row.theirs], row.ratio
    line = f"{head}{duration(ours.median):>9}{100 * ours.spread:>5.0f}{duration(theirs.median):>12}"
    line += f"{100 * theirs.spread:>5.0f}{r.median:>9.2f}x " + f"[{r.low:.2f}, {r.high:.2f}]".ljust(18)
    line = f"{line}{_rate(row):<30}{row.theirs.split(' ', 1)[1]}"
    marks = ["LOSING"] * row.losing + ["noisy"] * row.noisy
    if row.disturbed:
        marks.append(f"DISTURBED: others took {100 * row.others:.0f} % of the machine")
    memory = [f"{version} takes {mib:.0f} MiB beside its results" for version, mib in row.extra_mib.items()]
    return [line + "".join(f"  {mark}" for mark in marks), *(f"      note: {note}" for note in (*row.notes, *memory))]


def _rate(row: Row) -> str:
    if row.gflops is not None:
        share = "" if row.peak_share is None else f" = {100 * row.peak_share:.0f} % of peak"
        return f"{row.gflops:.1f} GFLOP/s{share}"
    if row.gbps is not None:
        return f"{row.gbps:.1f} GB/s = {row.copy_share:.2f} copy"
    return ""


def table_summary(rows: list[Row]) -> list[str]:
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
        lines.append(line + f"; {v.disturbed} DISTURBED" * bool(v.disturbed))
    return lines if len(lines) > 2 else []
