"""Whole runs of the bench: suites, comparison, training to an accuracy, cold starts. Time is not judged."""

import contextlib
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from fastmlp import use_backend
from fastmlp.bench import busy, cases, cold, compare, environment, peers, race, report, training
from fastmlp.bench.__main__ import main, parse
from fastmlp.bench.results import BusyRow, Results, Row, TrainingRow, load
from fastmlp.bench.timing import Ratio, Times
from fastmlp.bench.worker import WorkerError, environment_of_threads

# ------------------------------------------------------------------------------------------------ what is asked for


def test_a_suite_is_its_tables():
    assert parse(["linear"]).sections == ["linear", "backward", "tiny"]
    assert parse(["softmax", "backward"]).sections == ["backward", "softmax"]  # in the order of the table
    assert parse(["--full", "--threads", "2"]).sections == list(cases.SECTIONS)
    assert set(cases.SECTIONS) - set(parse([]).sections) == {"busy"}
    assert {case.section for case in parse(["losses", "--full"]).cases} == {"cross_entropy", "loss", "classes"}


def test_every_section_belongs_to_one_suite_and_has_cases_or_a_file():
    assert len(set(cases.SECTIONS)) == len(cases.SECTIONS)
    assert {case.section for case in cases.CASES} | {"busy", "training", "cold"} == set(cases.SECTIONS)


def test_shapes_of_ones_own_take_the_place_of_the_tables():
    asked = parse(["linear", "softmax", "--shapes", "7x5x3,20x4", "--dtype", "f32"])
    found = [(case.section, case.kernel, case.shape) for case in asked.cases]
    assert found == [
        *(("linear", act, (7, 5, 3)) for act in ("relu", "gelu", "tanh")),
        ("backward", "relu", (7, 5, 3)),
        ("tiny", "relu", (7, 5, 3)),
        ("softmax", "softmax", (20, 4)),
        ("softmax", "log_softmax", (20, 4)),
    ]
    network = [(case.section, case.shape) for case in parse(["network", "--shapes", "8x6x5x3,8x6x5x3"]).cases]
    assert network == [("network", (8, 6, 5, 3)), ("predict", (8, 6, 5, 3))]


def test_what_is_said_twice_is_measured_once():
    asked = parse(["tiny", "--against", "numpy,torch,numpy", "--threads", "1,1", "--dtype", "f32,f32"])
    assert asked.against == ["numpy", "torch"] and asked.threads == [1] and len(asked.cases) == 1


def test_quick_takes_one_number_of_threads_and_few_cases(monkeypatch):
    monkeypatch.setattr(environment, "usable_cpus", lambda: 2)
    assert parse([]).threads == [1] and parse(["--full"]).threads == [1, 2]
    assert len(parse([]).cases) < len(parse(["--full"]).cases) / 3
    monkeypatch.setattr(environment, "usable_cpus", lambda: 1)
    assert parse([]).threads == parse(["--full"]).threads == [1]


# -------------------------------------------------------------------------------------------------- twice the work


def test_twice_the_work_is_half_as_fast():
    """One side does the same twice. The clock is that of the thread's own work, which neighbours leave alone; the
    interval must hold the truth, and not be so wide that it would hold anything."""
    from fastmlp.bench import timing

    a = np.random.default_rng(0).random(20_000)
    out = np.empty_like(a)

    def batch(times):
        def call():
            for _ in range(times):
                np.sqrt(a, out=out)

        return lambda calls: timing.batch_seconds(call, calls, time.thread_time)

    for _ in range(3):  # a clock that changes its speed within the turns spoils a try
        turns = timing.Turns({"ours": batch(1), "theirs": batch(2)}, seconds=0.005)
        turns.take(41)
        ratio = timing.speed_up(turns.times["ours"], turns.times["theirs"])
        if ratio.low <= 2.05 and ratio.high >= 1.95 and ratio.high - ratio.low < 0.4:
            return
    pytest.fail(f"twice the work looks like {ratio}")


# ------------------------------------------------------------------------------------------------------ comparison


def row_of(ratio, low, high, kernel="relu", seconds=1e-3, **more):
    times = {"fastmlp f": Times([seconds] * 3), "torch t": Times([seconds * ratio] * 3)}
    made = Row("linear", kernel, (3, 4, 5), "float32", 1, "torch", times, "fastmlp f", "torch t")
    return replace(made, ratio=Ratio(ratio, low, high), **more)


def runs():
    old = [row_of(2, 1.9, 2.1), row_of(2, 1.9, 2.1, "gelu"), row_of(1, 0.5, 1.5, "tanh"), row_of(1, 1, 1, "silu")]
    new = [
        row_of(4, 3.8, 4.2, seconds=5e-4),
        row_of(1, 0.9, 1.1, "gelu", seconds=2e-3),
        row_of(1.2, 0.9, 1.4, "tanh"),
        replace(row_of(1, 1, 1, "silu"), ratio=None, problem="fastmlp f refused: wrong"),
        row_of(9, 9, 9, "elu"),
    ]
    facts = {"cpu": "A", "revision": "abc"}
    return (
        Results(rows=old, environment=facts, complete=True),
        Results(rows=new, environment=facts | {"cpu": "B"}, complete=True),
    )


def test_what_changed_is_what_the_intervals_say():
    found = compare.changes(*runs())
    assert [(c.new.kernel, c.gain, c.certain) for c in found] == [
        ("gelu", 0.5, True),
        ("tanh", 1.2, False),
        ("relu", 2.0, True),
    ]
    text = compare.lines(*runs())
    assert (
        "1 faster, 1 slower, 1 within their intervals; geometric mean of all changes 1.063x" in text[1]
        and "abc" in text[1]
    )
    assert text[2] == "  that was on another CPU, A"
    assert text[3].startswith("  SLOWER  0.50x  linear gelu 3x4x5 float32, 1 thread: 1 ms -> 2 ms; beside torch 2.00x")
    assert text[4].startswith("  faster  2.00x  linear relu 3x4x5 float32")
    assert text[5] == "  NOT TIMED any more: linear silu 3x4x5 float32 against torch: fastmlp f refused: wrong"


def test_runs_without_a_row_in_common():
    old, new = runs()
    assert compare.lines(replace(old, rows=[]), new) == ["", "compared with the old run: no row is in both"]


def test_a_run_is_compared_with_a_saved_one(tmp_path, capsys):
    saved = tmp_path / "old.json"
    command = ["tiny", "--turns", "2", "--threads", "1", "--backend", "numpy", "--against", "numpy"]
    assert main([*command, "--json", str(saved)]) == 0
    assert main([*command, "--compare", str(saved)]) == 0
    assert "compared with the old run" in capsys.readouterr().out


# -------------------------------------------------------------------------------------- training to an accuracy

TASK = replace(training.TASKS[0], shape=(32, 64, 32, 10), lr=3e-3)


def test_the_data_is_the_same_in_every_run_and_in_whole_batches():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    first, second = training.data(TASK), training.data(TASK)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert first["x"].shape == (1472, 64) and first["x"].dtype == np.float32 and first["x"].max() == 1
    assert len(first["labels_test"]) == 1797 - 1472 and first["fc1.weight"].shape == (32, 64)


def test_the_synthetic_rows_are_as_many_as_it_says():
    a = training.data(next(t for t in training.TASKS if t.name == "synthetic"))
    assert a["x"].shape == (60_000, 784) and len(a["x_test"]) == 12_000
    assert np.bincount(a["labels"]).min() > 5000  # every class is there


@pytest.mark.parametrize("library", ["fastmlp", *race.LIBRARIES])
def test_every_library_learns_the_same(library, tmp_path):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    pytest.importorskip(library, reason=f"{library} is not installed")
    for name, array in training.data(TASK).items():
        np.save(tmp_path / f"{name}.npy", array)
    found = training.train(library, TASK, str(tmp_path), lambda call: (call(), 0.25))
    a = training.data(TASK)
    with use_backend("numpy"):
        reference = peers.trainer("fastmlp", TASK.shape, a, a["x"], a["labels"], TASK.lr)
        expected = [reference.epoch(epoch, peers.shuffled(epoch, len(a["x"]))) for epoch in range(3)]
    for loss, right in zip(found["losses"], expected):
        assert loss == pytest.approx(right, rel=2e-3 if library != "sklearn" else 1e-2)  # its ε stands elsewhere
    assert found["accuracy"] >= training.AIM and found["rows"] == 1472 and set(found["epochs"]) == {0.25}
    assert 3 < len(found["epochs"]) < TASK.most_epochs


class FakeWorkers(dict):
    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class FakeReference(FakeWorkers):
    def train(self, task, folder):
        assert task.most_epochs == 1
        return lesson(1)


class Learner:
    """What race.py needs of a worker. It answers with each of `answers` in turn."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def train(self, task, folder):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def peak_mib(self):
        return 100.0

    def cpu_seconds(self):
        return 0.0


def lesson(*seconds, loss=0.5, accuracy=0.98):
    return {"version": "way", "epochs": list(seconds), "losses": [loss, 0.1], "accuracy": accuracy, "rows": 1000}


def raced(monkeypatch, **learners):
    monkeypatch.setattr(race, "Workers", lambda threads, backend: FakeWorkers(learners))
    monkeypatch.setattr(race, "Worker", lambda library, threads, backend: FakeReference())
    monkeypatch.setattr(race, "data", lambda task: {"x": np.zeros(3)})
    rows = race.rows(TASK, list(learners), 1)
    race.measure(rows, TASK, 1, None, rounds=2)
    return rows


def test_a_race(monkeypatch):
    (row,) = raced(monkeypatch, fastmlp=Learner(lesson(9, 1), lesson(1, 1), lesson(2, 2)))
    assert row.problem is None and row.first == 9 and row.seconds == [2, 4] and row.epochs == 2
    assert row.rows_per_second == pytest.approx(2 * 1000 / 3) and row.peak_mib == 100 and row.loss == 0.1


def test_who_learns_otherwise_is_refused(monkeypatch):
    def steady(loss):
        return Learner(*[lesson(1, 1, loss=loss)] * 3)

    rows = raced(monkeypatch, fastmlp=steady(0.5), torch=steady(0.52), jax=steady(0.501))
    assert rows[1].problem == "torch refused: its first epoch's mean loss is 0.52, the reference's 0.5"
    assert not rows[0].problem and not rows[2].problem and not rows[1].seconds


def test_who_dies_or_never_arrives_says_so(monkeypatch):
    rows = raced(
        monkeypatch,
        fastmlp=Learner(*[lesson(1, 1)] * 3),
        torch=Learner(WorkerError("torch: its process has ended")),
        jax=Learner(*[lesson(1, 1, accuracy=0.9)] * 3),
    )
    assert rows[1].problem == "torch: its process has ended" and rows[2].problem == "90.0 % after 2 epochs"
    text = report.training_lines(rows)
    assert "  torch      NOT TIMED: torch: its process has ended" in text and "2 s" in text[3]


def test_who_cannot_train_says_so():
    with pytest.raises(ValueError, match="the bench trains nothing with numpy"):
        peers.trainer("numpy", (1, 2, 3), {}, np.zeros(2), np.zeros(2), 0.1)


# ------------------------------------------------------------------------------------------------- a busy neighbour


class Neighbour:
    """What busy.py needs of a worker, and the core that it shares: twice as slow while that is busy."""

    def __init__(self):
        self.busy = False

    def time(self, version, calls):
        return calls * (2e-3 if self.busy else 1e-3)

    def cpu_seconds(self):
        return 0.0

    def kept_busy(self, cpu):
        @contextlib.contextmanager
        def within():
            self.busy = True
            yield
            self.busy = False

        return within()


def test_the_neighbour_is_there_in_the_busy_half_alone(monkeypatch):
    worker, row = Neighbour(), BusyRow("fastmlp", "way", (3, 4, 5), 2)
    monkeypatch.setattr(busy, "busy_core", worker.kept_busy)
    busy._time([row], {"fastmlp": worker, "dead": None}, [0], rounds=2, seconds=0.01)
    assert row.quiet == pytest.approx([1e-3] * 2) and row.busy == pytest.approx([2e-3] * 2)
    assert row.slowdown == pytest.approx(2) and row.problem is None


def test_the_fastest_right_way_stands_beside_the_neighbour(monkeypatch):
    case = busy.CASES[0]
    want = [np.zeros(3)]
    seconds = {"slow": 3.0, "fast": 1.0, "wrong": 0.1}
    worker = SimpleNamespace(
        library="torch",
        prepare=lambda case, compiled: (list(seconds), []),
        result=lambda name: [np.full(3, float(name == "wrong"), np.float32)],
        time=lambda name, calls: seconds[name],
    )
    monkeypatch.setattr(busy, "Worker", lambda *args, **options: worker)
    row = BusyRow("torch", "", case.shape, 2)
    busy._start(case, row, {}, None, [0, 1], want)
    assert row.version == "fast" and row.problem is None
    del seconds["slow"], seconds["fast"]
    busy._start(case, row, {}, None, [0, 1], want)
    assert row.problem.startswith("torch wrong refused: the result is wrong")


# ----------------------------------------------------------------------------------------------------- cold starts


def test_a_cold_start():
    (row,) = rows = cold.rows(["fastmlp"])
    cold.measure(rows, 1, "numpy", rounds=2)
    assert row.problem is None and len(row.imports) == len(row.first_steps) == 2
    assert all(0 < seconds < 60 for seconds in row.imports + row.first_steps)
    if row.installed_mib is not None:
        assert row.installed_mib > 20  # NumPy is in it
    assert "import" in report.cold_lines([row])[2]


def test_what_cannot_be_imported_says_so():
    (row,) = rows = cold.rows(["no_such_module"])
    cold.measure(rows, 1, None, rounds=2)
    assert row.problem == "ModuleNotFoundError: No module named 'no_such_module'"
    assert "NOT MEASURED: ModuleNotFoundError" in report.cold_lines([row])[2]


def test_the_size_of_an_installation_counts_what_it_needs():
    numpy, sklearn = environment.installed_mib("numpy"), environment.installed_mib("sklearn")
    assert numpy > 10 and (sklearn is None or sklearn > numpy + 10)  # NumPy, SciPy and more are in it


# --------------------------------------------------------------------------------------------- pytest-benchmark


def benchmarked(folder, *more):
    pytest.importorskip("pytest_benchmark", reason="pytest-benchmark is not installed")
    command = "-m pytest --pyargs fastmlp.bench.test_cases -k tiny --benchmark-disable -p no:cacheprovider".split()
    env = environment_of_threads(1)
    env["PYTHONPATH"] = f"{folder}:{env['PYTHONPATH']}"
    done = subprocess.run([sys.executable, *command, *more], cwd=folder, env=env, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_the_cases_run_under_pytest_benchmark(tmp_path):
    assert "1 passed" in benchmarked(tmp_path)


def test_a_wrong_kernel_is_no_benchmark(tmp_path):
    """A plugin says that another result is right."""
    spoil = "from fastmlp.bench import work\nright = work.expected\nwork.expected = lambda *a: [1.001 * right(*a)[0]]\n"
    (tmp_path / "spoil.py").write_text(spoil)
    said = benchmarked(tmp_path, "-p", "spoil")
    assert "1 failed" in said and "the result is wrong" in said


def test_a_saved_run_holds_training_and_cold_starts(tmp_path):
    from fastmlp.bench.results import ColdRow, save

    run = Results(
        training=[TrainingRow("jax", "jit", "digits", (64, 64, 10), 2, [0.5, 0.25], 1.5, 3, 0.125, 0.975, 1000.0)],
        cold=[ColdRow("jax", "step", [0.5], [1.0], 600.0)],
    )
    save(run, tmp_path / "run.json")
    assert load(tmp_path / "run.json") == run


# ---------------------------------------------------------------------------------- what cannot be measured


def test_shapes_that_no_memory_holds_are_rows_that_say_so(capsys):
    shapes = "1000000x1000000x1000000,9999999999999999999x3x4"
    assert main(["tiny", "--shapes", shapes, *"--threads 1 --against numpy --backend numpy".split()]) == 1
    said = capsys.readouterr().out
    assert "MemoryError: Unable to allocate" in said and "NOT TIMED: ValueError" in said


@pytest.mark.parametrize("text", ["[]", "null", "{}", '"x"', "nonsense"])
def test_what_is_no_saved_run_is_refused_before_anything_is_measured(text, tmp_path, capsys):
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(SystemExit):
        main(["tiny", "--compare", str(path)])
    assert "not a run that --json saved" in capsys.readouterr().err


def test_who_stops_reading_gets_no_traceback():
    command = f"{sys.executable} -m fastmlp info | head -1"
    done = subprocess.run(command, shell=True, env=environment_of_threads(1), capture_output=True, text=True)
    assert done.stdout.startswith("fastmlp") and "Error" not in done.stderr
