"""What the bench shows of a saved run, as tables, pictures and a page: their numbers, on made-up runs."""

import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fastmlp.bench import page, pictures, readme, results, tables
from fastmlp.bench.results import BusyRow, Ceiling, ColdRow, Results, Row, TrainingRow
from fastmlp.bench.timing import Ratio, Times

ROOT = Path(__file__).parents[1]
NETWORK = (64, 64, 128, 10)


def row_of(shape, ours, theirs, section="linear", peer="torch", threads=1, kernel="relu", **more):
    """A row of two medians in seconds; each has a sample above and one below it."""
    times = {name: Times([0.9 * t, t, 1.1 * t]) for name, t in (("fastmlp f", ours), (f"{peer} p", theirs))}
    ratio = Ratio(theirs / ours, theirs / ours, theirs / ours)
    made = Row(section, kernel, shape, "float32", threads, peer, times, "fastmlp f", f"{peer} p", ratio)
    return replace(made, **more)


def trained(library, seconds, way="way", **more):
    made = TrainingRow(
        library, f"{library} {way}", "digits", NETWORK, 1, seconds, 0.5, 12, 0.0213, 0.9731, 123450.0, 245.0
    )
    return replace(made, **more)


def a_run(**more):
    untimed = row_of((2, 3, 4), 1, 1, "tiny")
    untimed = replace(untimed, ratio=None, times={}, ours="", theirs="", problem="torch: a <b> c")
    made = Results(
        options={"quick": False, "compiled": False, "turns": 3},
        environment={
            "cpu": "A <fast> CPU", "cpus": 2, "system": "Linux", "python": "3.12", "revision": None,
            "load_average": 0.1,
        },
        libraries={"fastmlp": {"version": "1", "backend": "cython"}, "torch": {"version": "2"}},
        missing={"jax": "ImportError: <no> jax"},
        ceilings=[Ceiling(1, {"float32": 100.0, "float64": 50.0}, 20.0), Ceiling(2, {"float32": 90.0}, 30.0)],
        rows=[
            row_of((128, 784, 256), 1e-3, 4e-3),
            row_of((8, 512, 512), 1e-3, 0.5e-3, kernel="gelu"),
            row_of((8, 512, 512), 1e-3, 3e-3, threads=2, others=0.9),
            row_of((3, 4), 1e-3, 2e-3, "softmax", "numpy"),
            untimed,
        ],
        busy=[
            BusyRow("fastmlp", "f", (128, 784, 256), 2, [1e-3], [2e-3]),
            BusyRow("torch", "", (128, 784, 256), 2, problem="gone"),
        ],
        training=[
            trained("torch", [0.3, 0.2, 0.4], "eager"),
            trained("fastmlp", [0.1, 0.1, 0.1], others=0.9),
            trained("jax", [0.08]),
            trained("sklearn", [9.0], accuracy=0.9, problem="90.0 % after 100 epochs"),
        ],
        cold=[
            ColdRow("torch", "training step 1x2", [1.0, 2.0, 3.0], [0.5], 812.0),
            ColdRow("numpy", "training step 1x2", [0.1]),
            ColdRow("fastmlp", "training step 1x2", [0.1], [0.02], 48.2),
        ],
        complete=True,
    )  # fmt: skip
    return replace(made, **more)


# ----------------------------------------------------------------------------------------------- tables


def texts(table):
    return [[cell.text + cell.behind for cell in row] for row in table.rows]


def test_a_table_of_training_is_sorted_and_compared_with_fastmlp():
    table = next(t for t in tables.of(a_run()) if t.short.startswith("training"))
    assert table.short == "training: digits, 64x64x128x10, 1 thread"
    facts = ["12", "0.0213", "97.31 %", "123,450", "500 ms", "245 MiB"]
    assert texts(table) == [
        ["jax", "way", "80 ms", "0.80", *facts],
        ["fastmlp", "way", "100 ms ± 0 %!", "1.00", *facts],
        ["torch", "eager", "300 ms ± 33 %~", "3.00", *facts],
        ["sklearn", "way", "n/a", "n/a", "12", "0.0213", "90.00 %", *facts[3:]],
    ]
    assert [row[3].losing for row in table.rows] == [True, False, False, False]
    assert len(table.head) == len(table.rows[0])
    assert table.notes[1:] == ["Losing to: jax way 0.80.", "Not timed: sklearn way: 90.0 % after 100 epochs."]


def test_a_table_of_cold_starts():
    table = tables.of(a_run())[-1]
    assert table.short == "cold start: training step 1x2"
    assert texts(table) == [
        ["fastmlp", "100 ms", "20 ms", "120 ms", "1.00", "48 MiB"],
        ["torch", "2 s ± 50 %", "500 ms", "2.5 s", "20.83", "812 MiB"],
        ["numpy", "100 ms", "n/a", "n/a", "n/a", "n/a"],
    ]
    assert len(table.head) == 6 and table.notes == []


def test_without_fastmlp_there_is_nothing_to_compare_with():
    rows = [trained("torch", [0.3]), trained("fastmlp", [], problem="gone")]
    (table,) = tables.of(a_run(rows=[], busy=[], cold=[], training=rows))
    assert [row[3].text for row in table.rows] == ["n/a", "n/a"]


def test_the_tables_of_a_saved_run_are_the_same_when_loaded(tmp_path):
    run = a_run()
    results.save(run, tmp_path / "run.json")
    loaded = results.load(tmp_path / "run.json")
    assert loaded.training == run.training and loaded.cold == run.cold
    assert tables.of(loaded) == tables.of(run) and tables.targets(loaded) == tables.targets(run)


def test_a_run_of_nothing_else_has_no_other_tables():
    run = a_run(rows=[], busy=[], training=[], cold=[])
    assert tables.of(run) == [] and tables.targets(run) is None
    assert tables.missing(run) == ["jax was not measured: ImportError: <no> jax."]
    assert "interrupted" in tables.missing(replace(run, complete=False))[-1]


# ----------------------------------------------------------------------------------------------- markdown


@pytest.mark.parametrize("block", readme.BLOCKS)
def test_the_committed_runs_give_what_the_readme_has(block):
    saved = ROOT / "bench" / readme.BLOCKS[block]
    start, end = readme.markers(block)
    if not saved.exists():
        pytest.skip("the saved runs are in the repository alone")
    document = "README.md" if block == readme.SHORT else "BENCHMARKS.md"
    inside = (ROOT / document).read_text(encoding="utf-8").split(f"{start}\n")[1].split(f"\n{end}")[0]
    made = (readme.short if block == readme.SHORT else readme.markdown)(results.load(saved))
    assert inside.split("\n\n![")[0] == made


def test_the_summary_has_a_line_for_each_section():
    run = a_run()
    text = readme.short(run)
    first = next(r for r in run.rows)
    some = [r for r in run.rows if (r.section, r.dtype, r.peer) == (first.section, first.dtype, first.peer)]
    mean = results.geometric_mean([r for r in some if r.threads == 1])
    losing, timed = sum(r.losing for r in some), sum(r.ratio is not None for r in some)
    line = next(line for line in text.splitlines() if line.startswith("| fused linear forward: act(x wᵀ + b); float32"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1] == first.peer and cells[2] == f"{mean:.2f}" and cells[-2] == f"{losing} of {timed}"
    assert cells[-1] == f"{sum(r.noisy for r in some)} of {timed}"
    assert "training until 97 %" in text and "a cold start" in text and "busy" not in text


def test_markdown_of_cells_and_of_what_github_would_take_for_html():
    text = readme.markdown(a_run())
    assert "| jax | way | 80 ms | **0.80** | 12 |" in text and "Losing to: jax way 0.80." in text
    assert "ImportError: &lt;no> jax" in text and "<no>" not in text


def test_the_readme_shows_the_pictures_that_are_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start, end = readme.markers("summary")
    Path("README.md").write_text(f"{start}\n{end}\n", encoding="utf-8")
    Path("bench/pictures").mkdir(parents=True)
    results.save(a_run(), "bench/results.json")
    assert readme.main(["bench", "README.md"]) == 0
    assert "![" not in Path("README.md").read_text(encoding="utf-8")
    for name in ("summary-roofline.svg", "summary-speed-ups.svg", "numba-roofline.svg"):
        Path("bench/pictures", name).write_text("<svg/>")
    assert readme.main(["bench", "README.md"]) == 0
    shown = [line for line in Path("README.md").read_text(encoding="utf-8").splitlines() if line.startswith("![")]
    assert shown == [
        "![How many times as fast as others](bench/pictures/summary-speed-ups.svg)",
        "![How close linear layers come to the limit](bench/pictures/summary-roofline.svg)",
    ]
    assert readme.image_lines("numba", Path("bench")) == ""


def test_the_readme_has_its_pictures_drawn(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    start, end = readme.markers("summary")
    Path("README.md").write_text(f"{start}\n{end}\n", encoding="utf-8")
    results.save(a_run(), "results.json")
    assert readme.main(["--pictures", ".", "README.md"]) == 0
    assert Path("pictures/summary-training.svg").read_text(encoding="utf-8") == pictures.as_svg(
        pictures.training(a_run())
    )
    assert Path("README.md").read_text(encoding="utf-8").count("](pictures/summary-") == 3


# ----------------------------------------------------------------------------------------------- pictures


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib")


def labels(figure):
    return [text.get_text() for text in figure.legends[0].texts]


def test_speed_ups_are_bars_to_the_mean_and_dots_at_the_worst_row(matplotlib):
    (axes,) = pictures.speed_ups(a_run(rows=[
        row_of((1, 2, 3), 1e-3, 8e-3), row_of((2, 2, 3), 1e-3, 2e-3),
        row_of((1, 2, 3), 1e-3, 3e-3, threads=2), row_of((3, 4), 1e-3, 0.25e-3, "softmax"),
    ])).axes  # fmt: skip
    assert [bar.get_x() for bar in axes.patches] == [1, 1, 1]
    assert [bar.get_x() + bar.get_width() for bar in axes.patches] == pytest.approx([4, 3, 0.25])
    middles = [bar.get_y() + bar.get_height() / 2 for bar in axes.patches]
    dots = [dot.get_offsets()[0].tolist() for dot in axes.collections]
    assert [x for x, _ in dots] == pytest.approx([2, 3, 0.25]) and [y for _, y in dots] == pytest.approx(middles)
    assert [text.get_text() for text in axes.texts] == ["4.00", "3.00", "0.25"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["linear, torch", "softmax, torch"]
    assert axes.get_xscale() == "log" and axes.lines[0].get_xdata() == [1, 1]
    assert labels(axes.figure) == ["1 thread", "2 threads", "worst row"]


def test_speed_ups_name_other_types_of_numbers(matplotlib):
    (axes,) = pictures.speed_ups(a_run(rows=[row_of((1, 2, 3), 1e-3, 2e-3, dtype="float64")])).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["linear float64, torch"]


def test_time_by_batch_is_lines_at_the_medians(matplotlib):
    shapes = [(batch, 10, 5) for batch in (100, 1, 10)]
    rows = [row_of(s, 1e-6 * s[0], 5e-6 * s[0], "predict", "torch") for s in shapes]
    rows += [row_of(s, 3e-6 * s[0], 7e-6 * s[0], "predict", "jax") for s in shapes]
    figure = pictures.time_by_batch(a_run(rows=[*rows, row_of((1, 3, 5), 1, 1, "predict")]))
    (axes,) = figure.axes
    lines = dict(zip(labels(figure), axes.lines))
    assert list(lines) == ["fastmlp", "torch", "jax"] and axes.get_title() == "10x5, 1 thread"
    for library, first in (("fastmlp", 2e-6), ("torch", 5e-6), ("jax", 7e-6)):
        assert list(lines[library].get_xdata()) == [1, 10, 100]
        assert list(lines[library].get_ydata()) == pytest.approx([first, 10 * first, 100 * first])
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_two_batch_sizes_are_no_line(matplotlib):
    rows = [row_of((batch, 10, 5), 1e-6, 2e-6, "predict", threads=n) for batch, n in ((1, 1), (10, 1), (100, 2))]
    assert pictures.time_by_batch(a_run(rows=rows)) is None


def test_roofline_has_its_points_and_ceilings_in_their_places(matplotlib):
    rows = [row_of((2, 3, 4), 1e-9, 2e-9), row_of((200, 300, 400), 1e-3, 4e-3)]
    rows += [row_of((2, 3, 4), 3e-9, 6e-9, peer="numpy"), row_of((2, 3, 4), 1e-9, 1e-9, threads=2)]
    figure = pictures.roofline(a_run(rows=rows))
    one, two = figure.axes
    small, large = 48 / (4 * (6 + 12 + 4 + 8)), 48e6 / (4 * (60_000 + 120_000 + 400 + 80_000))
    points = {
        name: dots.get_offsets().tolist() for name, dots in zip(reversed(labels(figure)), one.collections, strict=True)
    }
    assert points["torch"] == [pytest.approx([small, 24]), pytest.approx([large, 12])]
    assert points["fastmlp"] == [pytest.approx([small, 24]), pytest.approx([large, 48])]  # the median of 1 and 3 ns
    assert points["numpy"] == [pytest.approx([small, 8])]
    assert one.get_xscale() == one.get_yscale() == "log"
    for axes, copy, peak in ((one, 20, 100), (two, 30, 90)):
        slope, plateau = axes.lines
        assert list(slope.get_ydata()) == pytest.approx([copy * x for x in slope.get_xdata()])
        assert list(plateau.get_ydata()) == [peak, peak]
        assert [text.get_text() for text in axes.texts] == [f"copy {copy} GB/s", f"FMA peak {peak} GFLOP/s"]
    assert one.lines[0].get_xdata()[1] == one.lines[1].get_xdata()[0] == pytest.approx(100 / 20)


def test_a_roofline_without_a_peak_is_a_slope(matplotlib):
    run = a_run(rows=[row_of((2, 3, 4), 1e-9, 2e-9)], ceilings=[Ceiling(1, None, 20.0)])
    (axes,) = pictures.roofline(run).axes
    (slope,) = axes.lines
    assert list(slope.get_ydata()) == pytest.approx([20 * x for x in slope.get_xdata()])


def test_training_is_bars_as_long_as_it_took(matplotlib):
    (axes,) = pictures.training(a_run()).axes
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.08, 0.1, 0.3])
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["jax way", "fastmlp way", "torch eager"]
    assert axes.get_title() == "digits, 1 thread\n64x64x128x10" and axes.get_xscale() == "linear"
    assert axes.get_xlim()[0] == 0


def test_a_library_has_one_colour_everywhere(matplotlib):
    from matplotlib.colors import to_hex

    assert len({color for color, _ in pictures.LOOKS.values()}) == len(pictures.LOOKS)
    run = a_run(rows=[row_of((batch, 5, 5), 1e-6, 2e-6, "predict") for batch in (1, 2, 3)])
    lines = pictures.time_by_batch(run).axes[0].lines
    bars = pictures.training(run).axes[0].patches
    dots = pictures.roofline(a_run()).axes[0].collections
    ours, torch = (pictures.LOOKS[library][0] for library in ("fastmlp", "torch"))
    assert [to_hex(line.get_color()) for line in lines] == [ours, torch]
    assert [to_hex(bar.get_facecolor()) for bar in bars][1:] == [ours, torch]
    assert [to_hex(dot.get_facecolor()[0]) for dot in dots] == [torch, ours]


def test_a_run_without_rows_has_no_pictures(matplotlib, tmp_path):
    run = a_run(rows=[], training=[])
    assert all(draw(run) is None for draw in pictures.ALL.values())
    (tmp_path / "run-roofline.svg").write_text("yesterday")
    assert pictures.save_all(run, tmp_path, "run") == [] and list(tmp_path.iterdir()) == []


def test_the_same_run_gives_the_same_bytes(matplotlib, tmp_path):
    first, again = (pictures.save_all(a_run(), tmp_path / name, "run") for name in ("first", "again"))
    assert [path.name for path in first] == ["run-speed-ups.svg", "run-roofline.svg", "run-training.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    svg = first[1].read_text(encoding="utf-8")
    assert ">FMA peak 100 GFLOP/s</text>" in svg and "<dc:date>" not in svg and "Matplotlib v" not in svg


def test_the_users_own_style_changes_nothing(matplotlib):
    usual = pictures.as_svg(pictures.speed_ups(a_run()))
    with matplotlib.rc_context({"figure.facecolor": "black", "font.size": 30, "svg.fonttype": "path"}):
        assert pictures.as_svg(pictures.speed_ups(a_run())) == usual


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RuntimeError, match="pip install matplotlib"):
        pictures.speed_ups(a_run())


# ------------------------------------------------------------------------------------------------- page

EMPTY = {"meta", "wbr", "br", "img"}


class Reader(HTMLParser):
    """Reads a page and keeps its ids, its text, its cells, and what it refers to. AssertionError: tags do not match."""

    def __init__(self, html):
        super().__init__()
        self.open, self.ids, self.links, self.text, self.cells, self.tags = [], [], [], [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("href", "src", "xlink:href")]
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data


def test_the_page_has_every_table_and_every_line():
    run = a_run()
    read = Reader(page.page(run))
    text = "".join(read.text)
    shown = [tables.targets(run), *tables.of(run)]
    assert read.cells == [text for t in shown for row in [t.head, *texts(t)] for text in row]
    notes = [note for table in shown for note in table.notes]
    for line in [*tables.environment(run), *tables.missing(run), *notes]:
        assert line.replace("**", "") in text
    assert "Losing, with their intervals: 8x512x512 gelu (1 thread) 0.50 [0.50, 0.50]." in notes
    assert "Not timed: 2x3x4 relu (1 thread): torch: a <b> c." in notes


def test_what_loses_is_bold_on_the_page():
    html = page.page(a_run())
    assert '<tr class="loses"><th scope="row">8x512x512</th>' in html
    assert '<td class="lost"><strong>0.50</strong></td>' in html
    assert '<td class="lost"><strong>missed</strong>' in html


def test_the_page_stands_alone():
    html = page.page(a_run())
    read = Reader(html)
    assert not {"script", "link", "img", "iframe"} & set(read.tags) and "@import" not in html
    assert all(link.startswith("#") for link in read.links) and "url(http" not in html
    assert {link.removeprefix("#") for link in read.links} <= set(read.ids) and len(set(read.ids)) == len(read.ids)
    assert "A &lt;fast&gt; CPU" in html and "<fast>" not in html and "<no>" not in html and "a <b> c" not in html
    assert '<meta name="viewport"' in html and "prefers-color-scheme: dark" in html and read.tags.count("title") == 1


def test_the_page_has_the_pictures(matplotlib):
    read = Reader(page.page(a_run()))
    assert read.tags.count("svg") == 3 and {"speed-ups", "roofline", "training"} <= set(read.ids)
    assert "FMA peak 100 GFLOP/s" in read.text
    assert page.page(a_run()) == page.page(a_run())


def test_a_page_without_pictures_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    read = Reader(page.page(a_run()))
    assert "svg" not in read.tags and "No pictures: pictures need matplotlib: pip install matplotlib" in read.text


def test_the_page_of_an_interrupted_run_says_so():
    assert "The run was interrupted" in page.page(a_run(complete=False))
    nothing = Reader(page.page(a_run(rows=[], busy=[], training=[], cold=[], missing={})))
    assert "table" not in nothing.tags and "What is missing" not in nothing.text


def test_the_page_from_the_command_line(tmp_path, capsys):
    results.save(a_run(), tmp_path / "run.json")
    assert page.main([str(tmp_path / "run.json"), str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page.page(a_run())
    assert page.main([]) == 2 and "usage" in capsys.readouterr().err
