"""Puts saved runs into a README: `python -m fastmlp.bench.readme bench README.md`, with the folder where they are.

What stands between two markers is replaced by tables that are made from a file alone: the same file gives the same
text. Rows that lose are in bold and named again below their table.
"""

import sys
from pathlib import Path

from .report import WHAT, duration, options_text, shape_text, threads_text
from .results import LOSING, BusyRow, Results, Row, geometric_mean, load
from .targets import verdicts

#: the block of a README, by the name in its markers -> the file that it is made from
BLOCKS = {"bench": "results.json", "training": "training.json", "numba": "numba.json"}


def markers(block: str) -> tuple[str, str]:
    return f"<!-- {block}:start -->", f"<!-- {block}:end -->"


def rewrite(text: str, block: str, results: Results) -> str:
    """`text` with the tables of `results` between the markers of `block`.

    ValueError: it has not one of each, in order.
    """
    start, end = markers(block)
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ValueError(f"expected one {start} and, below it, one {end}")
    before, rest = text.split(start)
    after = rest.split(end)[1]
    return f"{before}{start}\n{markdown(results)}\n{end}{after}"


def markdown(results: Results) -> str:
    """The whole block: what was measured on what, the targets, a table for each section."""
    blocks = [_environment(results), _targets(results)]
    blocks += [_section(results, *key) for key in _sections(results)]
    blocks += _busy(results)
    return "\n\n".join(block for block in blocks if block)


def _environment(results: Results) -> str:
    e = results.environment
    fastmlp = results.libraries["fastmlp"]
    extras = ", ".join(f"{key} {value}" for key, value in fastmlp.items() if key in ("backend", "instructions"))
    peers = ", ".join(
        f"{name} {facts['version']}" for name, facts in results.libraries.items() if name != "fastmlp"
    )
    ceilings = "; ".join(
        f"{threads_text(c.threads)}: {c.fma_gflops['float32'] * c.threads:.0f} GFLOP/s FMA in float32, "
        f"{c.copy_gbps:.0f} GB/s copy"
        for c in results.ceilings
        if c.fma_gflops
    )
    lines = [
        f"Measured on {e['cpu']}, {e['cpus']} CPUs, {e['system']}, Python {e['python']}: fastmlp "
        f"{fastmlp['version']} ({extras}; revision {e['revision'] or 'unknown'}) beside {peers}, all with the "
        f"same number of threads, in turns ({options_text(results)}); every result was checked against the "
        "float64 reference first.",
        f"Ceilings measured in the same run: {ceilings}." if ceilings else "",
        f"A number such as 1.50 is the peer's time over fastmlp's: above 1 fastmlp is faster. **Bold**: it "
        f"loses (below {LOSING}). ~: noisy. !: other processes disturbed it. n/a: not timed.",
        *(f"{peer} was not measured: {why}." for peer, why in results.missing.items()),
        "" if results.complete else "**The run was interrupted; what is missing was not measured.**",
    ]
    return "\n".join(line for line in lines if line)


def _table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown, first column to the left, the others to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *rows])


def _targets(results: Results) -> str:
    rows = []
    for v in verdicts(results):
        value = "n/a" if v.value is None else f"{v.value:.2f}{v.unit}"
        state = "met" if v.met else "**missed**"
        disturbed = f", {v.disturbed} of {v.rows} rows disturbed" if v.disturbed else ""
        rows.append([v.name, threads_text(v.threads), v.bound.replace("<", "&lt;"), value, state + disturbed])
    return _table(["Target", "threads", "aim", "measured", "verdict"], rows) if rows else ""


def _sections(results: Results) -> list[tuple[str, str, str]]:
    """(section, dtype, peer), in the order in which they were measured."""
    return list(dict.fromkeys((row.section, row.dtype, row.peer) for row in results.rows))


def _section(results: Results, section: str, dtype: str, peer: str) -> str:
    """Shapes downwards, kernels and numbers of threads across; where there are more kernels, these downwards."""
    rows = [row for row in results.rows if (row.section, row.dtype, row.peer) == (section, dtype, peer)]
    names = ("shape", "kernel")
    labels = [(shape_text(row.shape), row.kernel) for row in rows]
    if len({row.kernel for row in rows}) > len({row.shape for row in rows}):
        names, labels = names[::-1], [label[::-1] for label in labels]
    cells = {(down, row.threads, across): row for (down, across), row in zip(labels, rows)}
    columns = sorted(dict.fromkeys((threads, across) for _, threads, across in cells), key=lambda c: c[0])
    titles = [f"{across}, {threads_text(threads)}" for threads, across in columns]
    body = []
    for down in dict.fromkeys(down for down, _ in labels):
        found = [cells.get((down, *column)) for column in columns]
        body.append([down, _time(found[0]), *map(_ratio, found)])
    means = [geometric_mean([row for (_, *key), row in cells.items() if tuple(key) == c]) for c in columns]
    body.append(["geometric mean", "", *("n/a" if mean is None else f"{mean:.2f}" for mean in means)])
    title = f"**{WHAT[section]}; {dtype}, against {peer}**"
    return "\n\n".join([title, _table([names[0], f"fastmlp, {titles[0]}", *titles], body), *_named(rows)])


def _time(row: Row | None) -> str:
    return duration(row.seconds) if row and row.ratio else "n/a"


def _ratio(row: Row | None) -> str:
    if row is None or row.ratio is None:
        return "n/a"
    marks = "~" * row.noisy + "!" * row.disturbed
    return (f"**{row.ratio.median:.2f}**" if row.losing else f"{row.ratio.median:.2f}") + marks


def _named(rows: list[Row]) -> list[str]:
    """The rows that lose, and those that could not be timed, with their reasons."""
    losing = [
        f"{_name(r)} {r.ratio.median:.2f} [{r.ratio.low:.2f}, {r.ratio.high:.2f}]" for r in rows if r.losing
    ]
    untimed = [f"{_name(r)}: {r.problem}" for r in rows if r.problem]
    found = [f"Losing, with their 95 % intervals: {'; '.join(losing)}."] if losing else []
    memory = [f"{_name(r)}: {version} {mib:.0f}" for r in rows for version, mib in r.extra_mib.items()]
    found += [f"Memory at the peak of a call beside its results, MiB: {'; '.join(memory)}."] if memory else []
    return found + ([f"Not timed: {'; '.join(untimed)}."] if untimed else [])


def _name(row: Row) -> str:
    return f"{shape_text(row.shape)} {row.kernel} ({threads_text(row.threads)})"


def _busy(results: Results) -> list[str]:
    """A table for each of the works that were done beside a neighbour."""
    works = dict.fromkeys((row.section, row.shape, row.threads) for row in results.busy)
    return [_busy_table([r for r in results.busy if (r.section, r.shape, r.threads) == work]) for work in works]


def _busy_table(rows: list[BusyRow]) -> str:
    title = f"**Beside a busy neighbour: {rows[0].work}, {threads_text(rows[0].threads)}, one of two CPUs kept busy**"
    body = []
    for row in rows:
        if row.problem:
            body.append([row.library, "n/a", "n/a", row.problem])
            continue
        quiet, busy = (duration(sum(s) / len(s)) for s in (row.quiet, row.busy))
        body.append([row.library, quiet, busy, f"{row.slowdown:.2f}"])
    return f"{title}\n\n" + _table(["", "quiet, mean", "busy, mean", "times slower"], body)


def main(argv=None):
    """Blocks without a file or without any marker are left out, and named."""
    args = sys.argv[1:] if argv is None else argv
    if len(args) != 2:
        print("usage: python -m fastmlp.bench.readme FOLDER README.md", file=sys.stderr)
        return 2
    folder, readme = map(Path, args)
    text = readme.read_text(encoding="utf-8")
    for block, name in BLOCKS.items():
        saved = folder / name
        if not saved.exists():
            print(f"{saved} is not there: {block} is left as it is")
        elif not any(marker in text for marker in markers(block)):
            print(f"{readme} has no {markers(block)[0]}: {saved} is left out")
        else:
            text = rewrite(text, block, load(saved))
    readme.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
