"""The bench as an instrument: it shows what is there and says what is missing. How it times: test_bench_timing.py.

Time itself is made up here, so that no test depends on the machine. torch is not needed.
"""

import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from fastmlp.bench import cases, environment, readme, report, results, targets, work
from fastmlp.bench.__main__ import main
from fastmlp.bench.check import Answers
from fastmlp.bench.measure import Effort, measure
from fastmlp.bench.others import TOO_MUCH
from fastmlp.bench.results import BusyRow, Ceiling, Results, Row
from fastmlp.bench.timing import Ratio, Times
from fastmlp.bench.worker import Worker, WorkerError, Workers

# --------------------------------------------------------------------------------------------- measure

CASE = work.Case("linear", "relu", (3, 4, 5))


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    return Answers(tmp_path_factory.mktemp("answers"))


class FakeWorker:
    """What `measure` needs of a worker. `seconds` is what a call takes; `spoil` what it does to the result."""

    def __init__(self, library, seconds=1e-3, spoil=lambda y: y, case=CASE):
        self.library, self.seconds, self.spoil, self.case = library, seconds, spoil, case
        self.timed = 0

    def prepare(self, case, compiled):
        return ["way"], []

    def result(self, name):
        y = work.expected(self.case, work.inputs(self.case))[0].astype(np.float32)
        return [self.spoil(y)]

    def time(self, name, calls):
        self.timed += 1
        return calls * self.seconds

    def cpu_seconds(self):
        return 0.0

    def fma_peak(self, dtype):
        """GFLOP/s."""
        return 0.1

    def memory_mib(self, name):
        return 0.5


@pytest.fixture
def measured(answers):
    def row_of(ours, peer, ceiling=None, before=None, **how):
        workers, ceiling = {"fastmlp": ours, "torch": peer}, ceiling or Ceiling(1, None, 20.0)
        return measure(ours.case, "torch", workers, ceiling, Effort(3, 1e-3, **how), answers, before)

    return row_of


def test_a_row(measured):
    row = measured(FakeWorker("fastmlp", 1e-6), FakeWorker("torch", 3e-6), Ceiling(2, {"float32": 7.0}, 20.0))
    assert row.ratio.median == pytest.approx(3) and not row.losing and not row.problem
    assert row.gflops == pytest.approx(2 * 3 * 4 * 5 / 1e-6 / 1e9)
    assert row.peak_share == pytest.approx(row.gflops / 0.1)  # of what the peak was in the same turns
    assert len(row.times["fastmlp way"].samples) == 3 and row.sessions == [3]


def test_a_row_of_what_only_moves_memory(measured):
    case = work.Case("softmax", "softmax", (30, 40))
    row = measured(FakeWorker("fastmlp", 1e-6, case=case), FakeWorker("torch", 3e-6, case=case))
    assert row.gflops is None and row.gbps == pytest.approx(2 * 4 * 30 * 40 / 1e-6 / 1e9)
    assert row.copy_share == pytest.approx(row.gbps / 20)


def test_sessions_add_up(measured):
    first = measured(FakeWorker("fastmlp", 1e-6), FakeWorker("torch", 3e-6))
    assert first.memory_mib == {"fastmlp way": 0.5, "torch way": 0.5}
    both = measured(FakeWorker("fastmlp", 1e-6), FakeWorker("torch", 1e-6), before=first)
    assert both.sessions == [3, 3] and both.memory_mib == first.memory_mib
    assert both.times["torch way"].samples == pytest.approx([3e-6] * 3 + [1e-6] * 3)
    assert both.ratio.low == pytest.approx(1) and both.ratio.high == pytest.approx(3) and both.noisy


def test_a_peer_without_a_way_in_common_with_its_last_session_says_so(measured):
    first = measured(FakeWorker("fastmlp"), FakeWorker("torch"))
    peer = FakeWorker("torch")
    peer.prepare = lambda case, compiled: (["another"], ["torch way failed: tired"])
    row = measured(FakeWorker("fastmlp"), peer, before=first)
    assert row.problem == "no way of torch ran in every session: torch way failed: tired" and row.ratio is None
    assert "NOT TIMED: no way of torch" in "".join(report.table_lines([row]))


def test_the_share_of_the_peak_is_taken_turn_by_turn(measured):
    """The core runs at full, half and a quarter of its speed, and something slows the first turn down eightfold."""
    speed, slower = itertools.cycle([1.0, 0.5, 0.25]), itertools.cycle([8, 1, 1])
    now = [1.0]

    class Slowing(FakeWorker):
        def time(self, name, calls):
            now[0] = next(speed)
            return super().time(name, calls) / now[0] * next(slower)

        def fma_peak(self, dtype):
            return 0.1 * now[0]  # a turn of it is one call, which takes long

    row = measured(Slowing("fastmlp", 1e-3), FakeWorker("torch", 3e-3), Ceiling(1, {"float32": 7.0}, 20.0))
    assert row.peak_share == pytest.approx(2 * 3 * 4 * 5 / 1e-3 / 1e9 / 0.1)


@pytest.mark.parametrize("ceiling", [None, Ceiling(1, {"float32": 7.0}, 20.0)])
def test_a_peer_that_dies_between_turns_leaves_no_ratio(ceiling, measured):
    peer = FakeWorker("torch")
    steady = peer.time

    def time(name, calls):
        if peer.timed == 2:
            raise WorkerError("torch: its process has ended")
        return steady(name, calls)

    peer.time = time
    row = measured(FakeWorker("fastmlp"), peer, ceiling)
    assert row.problem == "torch: its process has ended" and row.ratio is None and row.peak_share is None


@pytest.mark.parametrize("wrong", ["fastmlp", "torch"])
def test_a_wrong_kernel_is_refused_before_it_is_timed(wrong, measured):
    workers = {"fastmlp": FakeWorker("fastmlp"), "torch": FakeWorker("torch")}
    workers[wrong].spoil = lambda y: y + 1e-3
    row = measured(*workers.values())
    assert f"{wrong} way refused" in row.problem and row.ratio is None
    assert workers[wrong].timed == 0
    assert f"{wrong} way refused" in "".join(report.table_lines([row]))


def test_a_peer_that_raises_is_a_row_that_says_so(measured):
    peer = FakeWorker("torch")

    def prepare(case, compiled):
        raise WorkerError("torch: out of memory")

    peer.prepare = prepare
    row = measured(FakeWorker("fastmlp"), peer)
    assert row.problem == "torch: out of memory" and "NOT TIMED: torch: out of memory" in "".join(
        report.table_lines([row])
    )


def test_the_fastest_way_stands_for_a_library(measured):
    peer = FakeWorker("torch")
    peer.prepare = lambda case, compiled: (["slow", "fast"], ["torch compile failed: no compiler"])
    peer.time = lambda name, calls: calls * {"slow": 9e-6, "fast": 2e-6}[name]
    row = measured(FakeWorker("fastmlp", 1e-6), peer)
    assert row.theirs == "torch fast" and row.ratio.median == pytest.approx(2)
    assert any("torch compile failed: no compiler" in line for line in report.table_lines([row]))


@pytest.mark.parametrize(("shares", "disturbed"), [([0.5, 0.5, 0.5], True), ([0.5, 0.0], False), ([None], False)])
def test_a_disturbed_row_is_timed_again_and_marked(monkeypatch, measured, shares, disturbed):
    seen = iter(shares)
    monkeypatch.setattr("fastmlp.bench.measure.Watch.share", lambda self: next(seen))
    row = measured(FakeWorker("fastmlp"), FakeWorker("torch"), attempts=3)
    assert row.disturbed is disturbed and ("DISTURBED" in report.table_lines([row])[3]) is disturbed
    assert len(list(seen)) == 0


# ---------------------------------------------------------------------------------------------- worker


def test_two_processes_and_one_row(answers):
    with Worker("fastmlp", 1, "numpy") as ours, Worker("numpy", 1) as peer:
        workers = {"fastmlp": ours, "numpy": peer}
        row = measure(CASE, "numpy", workers, Ceiling(1, None, 20.0), Effort(2, 1e-4), answers)
        assert row.problem is None and row.ratio.median > 0 and row.seconds > 0
        with pytest.raises(WorkerError, match="numpy: KeyError"):
            peer.time("no such version", 1)
        gelu = measure(replace(CASE, kernel="gelu"), "numpy", workers, Ceiling(1, None, 20.0), Effort(2, 1e-4), answers)
        assert gelu.problem == "the bench knows no way for numpy"


def test_a_worker_that_dies_is_a_row_that_says_so(answers):
    with Worker("fastmlp", 1, "numpy") as ours, Worker("numpy", 1) as peer:
        peer._process.kill()
        peer._process.wait()
        workers = {"fastmlp": ours, "numpy": peer}
        row = measure(CASE, "numpy", workers, Ceiling(1, None, 20.0), Effort(2, 1e-4), answers)
        assert "numpy: its process" in row.problem and not peer.alive


def test_what_cannot_be_used_says_so():
    with pytest.raises(WorkerError, match="unknown library"):
        Worker("no such library", 1)
    with pytest.raises(WorkerError, match="no such backend"):
        Worker("fastmlp", 1, "no such backend")


# ------------------------------------------------------------------------------------ results, targets


def row_of(shape=(128, 784, 256), kernel="relu", ratio=1.5, section="linear", threads=1, **more):
    """A row in which fastmlp took 1 ms and torch `ratio` times that."""
    times = {"fastmlp f": Times([1e-3] * 3), "torch t": Times([1e-3 * ratio] * 3)}
    made = Row(
        section,
        kernel,
        shape,
        "float32",
        threads,
        "torch",
        times,
        "fastmlp f",
        "torch t",
        Ratio(ratio, ratio, ratio),
    )
    return replace(made, **more)


def a_run():
    untimed = replace(row_of((2, 3, 4)), ratio=None, times={}, ours="", theirs="", problem="torch: gave up")
    return Results(
        options={"quick": False, "compiled": True, "turns": 3},
        environment={
            "cpu": "A CPU", "cpus": 2, "system": "Linux", "python": "3.12", "revision": None,
            "load_average": 0.1,
        },
        libraries={"fastmlp": {"version": "1", "backend": "cython"}, "torch": {"version": "2"}},
        missing={"numpy": "numpy: not there"},
        ceilings=[Ceiling(1, {"float32": 100.0, "float64": 50.0}, 20.0), Ceiling(2, None, 30.0)],
        rows=[
            row_of(),
            row_of(kernel="gelu", ratio=0.5),
            untimed,
            row_of(threads=2, others=0.9),
            row_of((512, 1024, 1024), ratio=2.0, peak_share=0.9),
            row_of((1, 10, 64), section="tiny"),
        ],
        busy=[
            BusyRow("fastmlp", "f", (128, 784, 256), 2, [1e-3, 1e-3], [2e-3, 2e-3]),
            BusyRow("torch", "", (128, 784, 256), 2, problem="torch: not there"),
        ],
        complete=True,
    )  # fmt: skip


def test_a_run_fails_where_fastmlp_is_wrong_or_nothing_was_timed():
    assert not a_run().failed  # though a peer gave up
    wrong = replace(row_of(), ratio=None, problem="fastmlp ops.linear refused: the result is wrong")
    assert replace(a_run(), rows=[row_of(), wrong]).failed
    untimed = replace(row_of(), ratio=None, problem="torch: gave up")
    assert Results(rows=[untimed]).failed and not Results(rows=[untimed, row_of()]).failed
    assert Results().empty and not a_run().empty


def test_geometric_mean_and_worst_leave_out_what_was_not_timed():
    rows = [row_of(ratio=0.5), row_of(ratio=8.0), replace(row_of(), ratio=None)]
    assert results.geometric_mean(rows) == pytest.approx(2) and results.worst(rows) is rows[0]
    assert results.geometric_mean([]) is None and results.worst([]) is None


def test_targets_are_judged_by_number_of_threads():
    found = {(v.name, v.threads): v for v in targets.verdicts(a_run())}
    worst = found["linear forward, float32: worst shape", 1]
    assert worst.value == 0.5 and worst.met is False and worst.disturbed == 0
    assert found["linear forward, float32: worst shape", 2].met is True
    assert found["linear forward, float32: worst shape", 2].disturbed == 1
    peak = next(v for (name, _), v in found.items() if "FMA peak" in name)
    assert peak.value == pytest.approx(90) and peak.met is True and peak.threads == 1
    tiny = found["a tiny call, 1x10x64 relu", 1]
    assert tiny.value == pytest.approx(1000) and tiny.met is False
    busy = next(v for (name, _), v in found.items() if "neighbour" in name)
    assert busy.value == pytest.approx(2) and busy.met is True
    assert not any("softmax" in name for name, _ in found)  # not asked for


@pytest.mark.parametrize("options", [{"quick": True}, {"quick": False, "shapes": True}])
def test_targets_are_for_whole_runs_alone(options):
    assert targets.verdicts(replace(a_run(), options=options)) == []
    assert targets.verdicts(replace(a_run(), complete=False)) == []


def test_a_target_with_a_row_that_could_not_be_timed_is_not_met():
    run = a_run()
    run.rows = [r for r in run.rows if not r.losing]
    verdict = next(v for v in targets.verdicts(run) if v.name.endswith("worst shape") and v.threads == 1)
    assert verdict.value == 1.5 and verdict.met is False


def test_the_targets_of_training():
    run = a_run()
    step = {"shape": cases.ARTICLE, "section": "step"}
    eager = {"shape": (3, 4), "section": "eager", "peer": "numpy"}
    run.rows = [
        row_of(kernel="Adam", ratio=10.0, **step),
        row_of(kernel="Adam, fused", ratio=5.0, **step),
        row_of(kernel="add", ratio=0.999, **eager),
        row_of(kernel="mul", ratio=0.998, **eager),
        row_of(kernel="mul", ratio=0.5, **eager | {"peer": "torch"}),
    ]
    ratio, time, overhead = (v for v in targets.verdicts(run) if v.threads == 1)
    assert ratio.value == 10 and ratio.met and ratio.rows == 1  # of Adam as it is written
    assert time.value == pytest.approx(1000) and not time.met
    assert overhead.value == pytest.approx(2) and overhead.met and overhead.rows == 2  # over NumPy alone


@pytest.mark.parametrize("section", ["linear", "loss", "step", "eager"])
def test_the_columns_stand_below_their_titles(section):
    rows = [row_of(case.shape, case.kernel, section=section) for case in cases.select([section], ["float32"])]
    rows += [replace(rows[0], ratio=None, problem="gave up")]
    _, _, titles, *lines = report.table_lines(rows)
    for row, line in zip(rows, lines):
        assert line.index(row.kernel) == titles.index("kernel")
        end = titles.index("fastmlp") + len("fastmlp")
        assert line[end - 7 : end].endswith("1 ms") or "NOT TIMED" in line


def test_memory_stands_in_the_row_where_it_is_known():
    row = row_of((1, 2, 3), "relu")
    assert report.mib_texts(row, "/") == ""
    row.memory_mib = {row.ours: 0.25, row.theirs: 12.6}
    assert report.mib_texts(row, "/") == "0.2/13" and "0.2/13" in report.table_lines([row])[3]


def test_a_saved_run_is_the_same_when_loaded(tmp_path):
    run = a_run()
    results.save(run, tmp_path / "run.json")
    assert results.load(tmp_path / "run.json") == run


def test_the_summary_names_the_losing_rows():
    text = "\n".join(report.table_lines(a_run().rows))
    assert "losing (below 0.95x): 128x784x256 gelu 0.50x" in text
    assert "1 rows could not be timed" in text and "1 of 5 rows were DISTURBED" in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.234e-6, "1.23 µs"), (123.4e-6, "123 µs"), (0.5, "500 ms"), (2.0, "2 s")]
)
def test_durations(seconds, text):
    assert report.duration(seconds) == text


def test_the_environment_holds_what_fastmlp_says_of_itself():
    def show_config():
        print("fastmlp      1.0\nbackend      cython\n  cython     available")
        print("instructions avx2 (built: generic, avx2; FASTMLP_ISA forces one)\nthreads      2")

    assert environment._shown(show_config) == {"instructions": "avx2", "threads": "2"}
    assert environment.of_library("numpy").items() >= {"version": np.__version__}.items()
    assert environment.of_library("numpy")["blas"] != "unknown"
    assert {"cpu", "cpus", "revision", "load_average"} <= set(environment.describe())


# ---------------------------------------------------------------------------------------------- readme

START, END = readme.markers("bench")
README = f"# Title\n\n{START}\nyesterday\n{END}\n\nThe rest.\n"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot bind a process to a CPU")
@pytest.mark.parametrize("threads, cpus", [(1, 1), (2, environment.usable_cpus())])
def test_libraries_of_one_thread_take_turns_on_one_cpu(threads, cpus):
    with Workers(threads, "numpy") as workers:
        where = [os.sched_getaffinity(workers[library]._process.pid) for library in ("fastmlp", "numpy")]
    assert where[0] == where[1] and len(where[0]) == cpus


def test_the_readme_is_made_from_the_file_alone(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(README, encoding="utf-8")
    results.save(a_run(), tmp_path / "results.json")
    assert readme.main([str(tmp_path), str(path)]) == 0
    once = path.read_text(encoding="utf-8")
    assert readme.main([str(tmp_path), str(path)]) == 0
    assert path.read_text(encoding="utf-8") == once  # the same again
    assert once.startswith(f"# Title\n\n{START}\n") and once.endswith(f"{END}\n\nThe rest.\n")
    assert "yesterday" not in once


def test_each_block_of_the_readme_has_its_own_file(tmp_path, capsys):
    path, (start, end) = tmp_path / "README.md", readme.markers("numba")
    trained = replace(a_run(), rows=[row_of((100, 10, 64, 32, 1), "Adam", 9.5, "step")], busy=[])
    results.save(trained, tmp_path / "numba.json")
    path.write_text(README, encoding="utf-8")
    assert readme.main([str(tmp_path), str(path)]) == 0
    assert path.read_text(encoding="utf-8") == README  # no results.json, no markers for numba.json
    said = capsys.readouterr().out
    assert "results.json is not there: bench" in said and f"no {start}, numba is left out" in said
    path.write_text(f"{README}{start}\n{end}\n", encoding="utf-8")
    assert readme.main([str(tmp_path), str(path)]) == 0
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"{README}{start}\n") and text.endswith(f"{end}\n")
    assert "| 100x10x64x32x1 | 1 ms | 9.50 |" in text


def test_many_kernels_of_one_shape_stand_below_each_other():
    rows = [row_of((3, 4), name, 2.0, "eager", n) for n in (1, 2) for name in ("add", "mul")]
    text = readme.markdown(replace(a_run(), rows=rows))
    assert "| kernel | fastmlp, 3x4, 1 thread | 3x4, 1 thread | 3x4, 2 threads |" in text
    assert "| mul | 1 ms | 2.00 | 2.00 |" in text and "| geometric mean |  | 2.00 | 2.00 |" in text


def test_the_readme_shows_what_lost_and_what_is_missing():
    text = readme.rewrite(README, "bench", a_run())
    assert "| 128x784x256 | 1 ms | 1.50 | **0.50** | 1.50! |" in text
    assert "Losing, with their intervals: 128x784x256 gelu (1 thread) 0.50 [0.50, 0.50]." in text
    assert "Not timed: 2x3x4 relu (1 thread): torch: gave up." in text
    assert "numpy was not measured: numpy: not there." in text
    assert "linear forward, float32: worst shape | 1 thread | >= 0.95x | 0.50x | **missed**" in text
    assert "all cases, 3 turns of each version (3 where they take over 0.5 s), with torch.compile" in text
    assert "interrupted" not in text and "interrupted" in readme.rewrite(
        README, "bench", replace(a_run(), complete=False)
    )


@pytest.mark.parametrize("text", ["no markers", START, END + START, README + README])
def test_a_readme_without_its_two_markers_is_left_alone(text):
    with pytest.raises(ValueError, match="expected one"):
        readme.rewrite(text, "bench", a_run())


# ------------------------------------------------------------------------------------------ command line

TINY = ["tiny", "--threads", "1", "--quick", "--turns", "2", "--backend", "numpy"]


def test_the_command_line_measures_and_writes(tmp_path, capsys):
    saved = tmp_path / "run.json"
    assert main([*TINY, "--against", "numpy", "--json", str(saved)]) == 0
    printed = capsys.readouterr().out
    assert "1x10x64" in printed and "geometric mean" in printed and "copy" in printed
    run = results.load(saved)
    assert run.complete and run.ceilings[0].copy_gbps > 0 and len(run.rows) == 1 and run.rows[0].peer == "numpy"
    assert json.loads(saved.read_text(encoding="utf-8"))["environment"]["cpus"] >= 1


def test_a_missing_peer_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch today')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert main([*TINY, "--against", "torch"]) == 1  # nothing is left to measure
    assert "torch       not measured: torch: ImportError: no torch today" in capsys.readouterr().out


def test_ctrl_c_keeps_what_there_is(tmp_path, monkeypatch, capsys):
    saved = tmp_path / "run.json"
    rows = iter([row_of()])

    def interrupted(*_):
        for row in rows:
            return row
        raise KeyboardInterrupt

    monkeypatch.setattr("fastmlp.bench.suite.measure", interrupted)
    monkeypatch.setattr("fastmlp.bench.ceilings.copy_bandwidth", lambda threads: 20.0)
    assert main(["linear", *TINY[1:], "--against", "numpy", "--json", str(saved)]) == 130
    printed = capsys.readouterr().out
    assert "interrupted" in printed and "geometric mean 1.50x over 1 rows" in printed
    assert len(results.load(saved).rows) == 1 and not results.load(saved).complete


def test_without_a_usable_backend_it_says_so(capsys):
    assert main([*TINY[:-1], "no such backend"]) == 2
    assert "no such backend" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            ["nonsense"],
            "argument SUITE: unknown 'nonsense'; known are linear, softmax, losses, optim, network, end-to-end",
        ),
        (["--threads", "0"], "argument --threads: expected a whole number from 1, got '0'"),
        (["--dtype", "f16"], "argument --dtype: unknown 'f16'; known are f32, f64"),
        (["--against", "tensorflow"], "argument --against: unknown 'tensorflow'; known are numpy, torch, jax"),
        (["--shapes", "3x"], "argument --shapes: expected a whole number from 1, got ''"),
        (["softmax", "--shapes", "3x4x5"], "argument --shapes: none of them fits, in f32, f64: softmax takes 2"),
        (["--turns", "many"], "argument --turns: expected a whole number from 1, got 'many'"),
        (["--json", "no such folder/run.json"], "argument --json: expected a file in a folder that exists"),
        (["--html", "."], "argument --html: expected a file in a folder that exists, got '.'"),
        (["--compare", "no such run.json"], "argument --compare: no such run.json: not a run that --json saved"),
        (["--quick", "--full"], "not allowed with argument --quick"),
        (["--threads", "4096"], "argument --threads: 4096, but this process may use"),
        (["softmax", "--dtype", "f64"], "argument --dtype: softmax: nothing in f64"),
        (["cold", "--shapes", "3x3"], "argument --shapes: cold has its own"),
        (["training", "--dtype", "f64"], "argument --dtype: training is measured in f32"),
        (["busy", "--threads", "1"], "argument --threads: busy takes 2"),
        (["end-to-end", "--dtype", "f64"], "argument --dtype: end-to-end: nothing in f64"),
    ],
)
def test_wrong_arguments(wrong, says, capsys):
    with pytest.raises(SystemExit) as stop:
        main(wrong)
    assert stop.value.code == 2 and says in capsys.readouterr().err


def test_importing_the_bench_imports_no_peer():
    program = "import sys, fastmlp.bench.__main__, fastmlp.bench.readme, fastmlp.bench.peers as p\n"
    program += 'sys.exit(bool(set(p.PEERS) - {"numpy"} & set(sys.modules)))'
    done = subprocess.run([sys.executable, "-c", program], env=_path(), check=False)
    assert done.returncode == 0


def _path():
    from fastmlp.bench.worker import environment_of_threads

    return environment_of_threads(1)


def test_a_tenth_of_the_machine_is_too_much():
    assert not row_of(others=TOO_MUCH).disturbed and row_of(others=TOO_MUCH + 0.01).disturbed
