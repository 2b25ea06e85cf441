"""One page of a saved run, which needs nothing beside it: `python -m fastmlp.bench.page RUN.json PAGE.html`.

It has what the README has, and the pictures. Wide tables scroll in their own boxes; nothing needs a script.
"""

import re
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path

from . import pictures, tables
from .results import Results, load

STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1c1e21; --dim: #5d646c; --line: #d9dce0; --head: #f3f4f6;
  --lost: #b3261e; --link: #0057a8; }
@media (prefers-color-scheme: dark) {
  :root { --back: #15181c; --text: #e4e6e9; --dim: #a2a9b1; --line: #363b42; --head: #20242a; --lost: #ff8a80;
    --link: #82b7ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.2; }
h2 { font-size: 1.1rem; line-height: 1.3; margin: 2.5rem 0 .7rem; }
h2::first-letter, nav a::first-letter { text-transform: uppercase; }
p { max-width: 48rem; margin: .5rem 0; }
a { color: var(--link); }
nav ul { columns: 19rem; padding-left: 1.2rem; margin: 0; }
nav li { break-inside: avoid; }
nav a { display: block; padding: .15rem 0; }
.pictures { columns: 27rem; column-gap: 1rem; }
figure { margin: 0 0 1rem; padding: .5rem; background: #fff; border: 1px solid var(--line); border-radius: .5rem;
  break-inside: avoid; }
figure svg { display: block; width: 100%; max-width: 36rem; height: auto; margin: auto; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; width: fit-content; max-width: 100%; }
table { border-collapse: separate; border-spacing: 0; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; border-top: 1px solid var(--line); }
td { white-space: nowrap; }
thead th { background: var(--head); border-top: 0; vertical-align: bottom; }
th:first-child { position: sticky; left: 0; min-width: 7.5rem; max-width: 40vw; text-align: left; font-weight: normal;
  background: var(--back); border-right: 1px solid var(--line); }
thead th:first-child { background: var(--head); font-weight: bold; }
td.long { white-space: normal; text-align: left; min-width: 14rem; }
@media (max-width: 40rem) { th, td { padding: .3rem .45rem; } table { font-size: .8125rem; } }
.lost strong { color: var(--lost); }
.loses th { box-shadow: inset 3px 0 var(--lost); }
.notes { font-size: .875rem; color: var(--dim); }
"""


def page(results: Results) -> str:
    """The whole page as HTML."""
    title = f"fastmlp bench: {results.environment['cpu']}, {results.environment['system']}"
    parts = _parts(results)
    links = "\n".join(f'<li><a href="#{part.id}">{escape(part.short)}</a></li>' for part in parts)
    lines = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{escape(title)}</h1>",
        *_paragraphs(tables.environment(results)),
        '</header>\n<nav aria-labelledby="contents">\n<h2 id="contents">Contents</h2>',
        f"<ul>\n{links}\n</ul>\n</nav>\n<main>",
        *map(_section, parts),
        "</main>\n</body>\n</html>\n",
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class Part:
    """What stands below a heading of its own, and in the contents as `short`."""

    id: str
    title: str
    short: str
    html: list[str]


def _parts(results: Results) -> list[Part]:
    """In the order of the page; what the run has nothing for is left out."""
    targets = tables.targets(results)
    found = [
        Part("missing", "What is missing", "What is missing", _paragraphs(tables.missing(results))),
        *([Part("targets", targets.title, targets.short, _table(targets))] if targets else []),
        Part("pictures", "Pictures", "Pictures", _pictures(results)),
        *(Part(f"table-{n}", t.title, t.short, _table(t)) for n, t in enumerate(tables.of(results), 1)),
    ]
    return [part for part in found if part.html]


def _section(part: Part) -> str:
    return "\n".join([f'<section id="{part.id}">\n<h2>{_text(part.title)}</h2>', *part.html, "</section>"])


def _paragraphs(lines: list[str], kind: str = "") -> list[str]:
    return [f"<p{kind}>{_text(line)}</p>" for line in lines]


def _text(line: str) -> str:
    """Nothing in it is HTML; what stands between two stars on each side is bold."""
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(line))


# ------------------------------------------------------------------------------------------------ tables


def _table(table: tables.Table) -> list[str]:
    """In a box that scrolls, by keys too; below it what the rows have to be said of."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in table.head)
    return [
        f'<div class="scroll" role="region" aria-label="{escape(table.short)}" tabindex="0">',
        f"<table>\n<thead>\n<tr>{head}</tr>\n</thead>\n<tbody>",
        *map(_row, table.rows),
        "</tbody>\n</table>\n</div>",
        *_paragraphs(table.notes, ' class="notes"'),
    ]


def _row(cells: list[tables.Cell]) -> str:
    name, *values = cells
    kind = ' class="loses"' if any(cell.losing for cell in cells) else ""
    return f'<tr{kind}><th scope="row">{_shapes(name.text)}</th>{"".join(map(_cell, values))}</tr>'


def _shapes(text: str) -> str:
    """In a long text, a shape such as 128x784x256 may go on in the next line after an x."""
    return re.sub(r"(\d)x(?=\d)", r"\1x<wbr>", escape(text)) if len(text) > 16 else escape(text)


def _cell(cell: tables.Cell) -> str:
    text, behind = escape(cell.text), escape(cell.behind)
    if cell.losing:
        return f'<td class="lost"><strong>{text}</strong>{behind}</td>'
    kind = ' class="long"' if len(text) > 40 else ""
    return f"<td{kind}>{text}{behind}</td>"


# ---------------------------------------------------------------------------------------------- pictures


def _pictures(results: Results) -> list[str]:
    """White cards with a picture each, or a line that says why there are none."""
    try:
        drawn = {name: draw(results) for name, draw in pictures.ALL.items()}
    except RuntimeError as e:
        return _paragraphs([f"No pictures: {e}"])
    cards = [_card(name, pictures.as_svg(figure)) for name, figure in drawn.items() if figure]
    return ['<div class="pictures">', *cards, "</div>"] if cards else []


def _card(name: str, svg: str) -> str:
    """The picture without what makes it a file. Names in it are made its own: all pictures of a page share them."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    label = escape(pictures.ALL[name].title)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return f'<figure id="{name}">\n{svg}\n</figure>'


def main(argv: list[str] | None = None) -> int:
    args = sys.argv[1:] if argv is None else argv
    if len(args) != 2:
        print("usage: python -m fastmlp.bench.page RUN.json PAGE.html", file=sys.stderr)
        return 2
    Path(args[1]).write_text(page(load(args[0])), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
