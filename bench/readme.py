"""Puts saved runs into documents: `python -m fastmlp.bench.readme bench README.md BENCHMARKS.md`, with the folder where
the runs are.

What stands between two markers is replaced by tables that are made from a file alone: the same file gives the same
text. Rows that lose are in bold and named again below their table. Pictures that lie beside the files come last;
with `--pictures` they are drawn again first.
"""

import sys
from pathlib import Path

from . import pictures, tables
from .results import Results, load

#: the block of a document, by the name in its markers -> the file that it is made from
BLOCKS = {"summary": "results.json", "bench": "results.json", "numba": "numba.json"}
#: the block that is short, and has pictures
SHORT = "summary"


def markers(block: str) -> tuple[str, str]:
    return f"<!-- {block}:start -->", f"<!-- {block}:end -->"


def rewrite(text: str, block: str, results: Results, images: str = "") -> str:
    """`text` with the tables of `results`, and the lines that show its pictures, between the markers of `block`.

    ValueError: it has not one of each, in order.
    """
    start, end = markers(block)
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ValueError(f"expected one {start} and, below it, one {end}")
    before, rest = text.split(start)
    after = rest.split(end)[1]
    inside = "\n\n".join(filter(None, [(short if block == SHORT else markdown)(results), images]))
    return f"{before}{start}\n{inside}\n{end}{after}"


def image_lines(block: str, folder: Path) -> str:
    """Markdown for those pictures of the block that are there. Their places begin with the folder as it was given."""
    paths = {name: folder / "pictures" / f"{block}-{name}.svg" for name in pictures.ALL if block == SHORT}
    there = [(name, path) for name, path in paths.items() if path.exists()]
    return "\n\n".join(f"![{pictures.ALL[name].title}]({path.as_posix()})" for name, path in there)


def markdown(results: Results) -> str:
    """The whole block: what was measured on what, the targets, a table for each section."""
    targets = tables.targets(results)
    return "\n\n".join([_about(results), *([_grid(targets)] if targets else []), *map(_table, tables.of(results))])


def short(results: Results) -> str:
    """What was measured on what, and a line for each section."""
    return "\n\n".join([_about(results), *map(_table, tables.summary(results))])


def _about(results: Results) -> str:
    return "\n".join(map(_escaped, [*tables.environment(results), *tables.missing(results)]))


def _table(table: tables.Table) -> str:
    return "\n\n".join([f"**{_escaped(table.title)}**", _grid(table), *map(_escaped, table.notes)])


def _grid(table: tables.Table) -> str:
    """First column to the left, the others to the right."""
    rule = ["---", *["---:"] * (len(table.head) - 1)]
    rows = [map(_escaped, table.head), rule, *(map(_cell, row) for row in table.rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def _cell(cell: tables.Cell) -> str:
    text = _escaped(cell.text)
    return (f"**{text}**" if cell.losing else text) + _escaped(cell.behind)


def _escaped(text: str) -> str:
    """What GitHub would take for HTML, or for the end of a cell."""
    return text.replace("<", "&lt;").replace("|", "\\|")


def main(argv=None):
    """Blocks without a file, or that are in no document, are left out, and named."""
    args = sys.argv[1:] if argv is None else argv
    draw, places = "--pictures" in args, [Path(arg) for arg in args if arg != "--pictures"]
    if len(places) < 2:
        print("usage: python -m fastmlp.bench.readme [--pictures] FOLDER README.md ...", file=sys.stderr)
        return 2
    folder, *documents = places
    texts = {path: path.read_text(encoding="utf-8") for path in documents}
    for block, name in BLOCKS.items():
        saved, found = folder / name, [path for path in documents if any(m in texts[path] for m in markers(block))]
        if not saved.exists():
            print(f"{saved} is not there: {block} is left as it is")
            continue
        if not found:
            print(f"{' and '.join(map(str, documents))}: no {markers(block)[0]}, {block} is left out")
            continue
        results = load(saved)
        if draw and block == SHORT:
            pictures.save_all(results, folder / "pictures", block)
        for path in found:
            texts[path] = rewrite(texts[path], block, results, image_lines(block, folder))
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
