"""`fastmlp check`: right kernels pass, wrong ones are found and named, and nothing of the contract is left out."""

import re
from types import ModuleType

import numpy as np
import pytest

import fastmlp
from fastmlp import backend as backends
from fastmlp import checking
from fastmlp.__main__ import main
from fastmlp.kernels import reference, selfcheck
from fastmlp.kernels.cases import all_cases, widen
from fastmlp.kernels.contract import ACTIVATIONS, FLOATS, KERNELS, LOSSES

ALL = all_cases()
CASES = [case for cases in selfcheck.chosen(ALL).values() for case in cases]
SEARCHES = ("find_bad_label", "find_outside_unit")
WRITERS = [kernel for kernel in KERNELS if kernel not in SEARCHES]
SMALL = [case for case in CASES if selfcheck.work(case) < 30_000]


def of(kernel, cases=SMALL):
    return [case for case in cases if case.kernel == kernel]


def once(case, backend):
    return selfcheck.examine(case, backend, lambda n: None, (1,))


# ------------------------------------------------------------------------------------- what is chosen


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_is_covered(kernel):
    """In both precisions, on several shapes."""
    cases = of(kernel, CASES)
    assert {case.dtype for case in cases} >= ({"int64"} if kernel == "find_bad_label" else set(FLOATS))
    assert len({str(case.outputs) or case.id for case in cases}) >= (1 if kernel in SEARCHES else 3)


@pytest.mark.parametrize("kernel", [kernel for kernel in KERNELS if {"act", "kind"} & set(KERNELS[kernel])])
def test_every_activation_and_loss_is_covered(kernel):
    names, table = ("act", ACTIVATIONS) if "act" in KERNELS[kernel] else ("kind", LOSSES)
    covered = {(case.dtype, case.inputs()[names].name) for case in of(kernel, CASES)}
    assert covered == {(dtype, name) for dtype in FLOATS for name in table}


@pytest.mark.parametrize("kernel", KERNELS)
def test_special_numbers_are_covered(kernel):
    """NaN, infinities and others, where the tests have them."""
    special = [[case for case in of(kernel, cases) if "special" in case.id] for cases in (ALL, CASES)]
    assert bool(special[0]) == bool(special[1])


def test_the_choice_is_a_part_and_the_same_each_time():
    again = [case.id for cases in selfcheck.chosen(all_cases()).values() for case in cases]
    assert again == [case.id for case in CASES]
    assert len(set(again)) == len(again) < len(ALL) / 3


# --------------------------------------------------------------------------------- right and wrong kernels


OUTPUTS = {kernel: tuple(of(kernel)[0].outputs) for kernel in WRITERS}


def spoiled(backend, kernel, spoil):
    """The backend with one kernel, after which `spoil` changes each array that it wrote."""
    module = ModuleType("spoiled")
    module.__dict__.update({name: getattr(backend, name) for name in dir(backend) if not name.startswith("__")})
    right = getattr(backend, kernel)

    def wrong(*arguments):
        returned = right(*arguments)
        given = dict(zip(KERNELS[kernel], arguments))
        for name in OUTPUTS[kernel]:
            for a in given[name] if isinstance(given[name], list) else [given[name]]:
                if a is not None and a.size:
                    spoil(a)
        return returned

    setattr(module, kernel, wrong)
    return module


def one_element(a):
    a.flat[a.size // 2] *= 1.001


def last_element(a):
    a.flat[-1] *= 1.001


def to_bfloat16(a):
    """float32 to the nearest number of 8 bits"""
    if a.dtype == np.float32:
        bits = a.view(np.uint32)
        bits += 0x8000
        bits &= 0xFFFF0000


def without_nan(a):
    a[np.isnan(a)] = 0


def with_nan(a):
    a.flat[0] = np.nan


def without_infinity(a):
    a[a == np.inf] = np.finfo(a.dtype).max


@pytest.mark.parametrize("spoil", [one_element, last_element, to_bfloat16, with_nan])
@pytest.mark.parametrize("kernel", WRITERS)
def test_a_wrong_kernel_is_found(kernel, spoil):
    cases = of(kernel)
    assert not any(once(case, reference).wrong for case in cases)
    found = [once(case, spoiled(reference, kernel, spoil)) for case in cases]
    assert any(finding.wrong and finding.error > 1 for finding in found)


@pytest.mark.parametrize("kernel", ["activation_forward", "linear_backward", "cross_entropy", "adam"])
@pytest.mark.parametrize("spoil", [without_nan, without_infinity])
def test_lost_nan_and_infinity_are_found(kernel, spoil):
    assert any(once(case, spoiled(reference, kernel, spoil)).error == np.inf for case in of(kernel))


def test_a_wrong_search_is_found():
    module = ModuleType("spoiled")
    for kernel in SEARCHES:
        setattr(module, kernel, lambda *arguments: 3)
        finding = once(of(kernel)[0], module)
        assert re.fullmatch(r"got 3, expected -?\d+", finding.wrong)


def test_what_a_kernel_raises_is_a_finding():
    def refuse(a):
        raise ZeroDivisionError("of a kernel")

    assert once(of("dropout")[0], spoiled(reference, "dropout", refuse)).wrong == "ZeroDivisionError: of a kernel"


def test_the_place_and_both_numbers_are_named():
    def spoil(a):
        a[3, 5] = 7

    case = next(case for case in of("linear_forward", CASES) if case.id.startswith("linear_forward-17x33x15-float32"))
    right = case.run(reference, widen(case.inputs()), widen(case.allocate()))["y"][3, 5]
    finding = once(case, spoiled(reference, "linear_forward", spoil))
    assert finding.wrong == f"y at (3, 5): got 7.0, expected {np.float32(right)}"


def test_other_bits_with_more_threads_are_found():
    """One rounding is within what is right, but not the same."""
    running = []

    def nudge(a):
        if running[-1] > 1:
            a.flat[-1] = np.nextafter(a.flat[-1], np.inf)

    case = of("softmax_forward")[0]
    module = spoiled(reference, "softmax_forward", nudge)
    finding = selfcheck.examine(case, module, running.append, (1, 4, 4))
    assert running == [1, 4, 4]
    assert finding.wrong == "y: not the same bits with 1 thread and with 4"
    assert not selfcheck.examine(case, module, running.append, (1, 1)).wrong


def test_where_only_float32_overflows_either_is_right():
    got = np.array([np.inf, 3e38, -np.inf, np.nan], "f")
    same, truth, allowed = np.full(4, np.inf, "f"), np.full(4, 3.4e38), np.full(4, 1e38)
    errors = selfcheck.errors_of(got, same, truth, allowed)
    assert list(errors == np.inf) == [False, False, True, True]


# ------------------------------------------------------------------------------------------- the command


@pytest.fixture
def few(monkeypatch):
    """Only small cases are chosen, and of them only some."""

    def chosen(cases):
        return {"linear": of("linear_forward")[:9], "optim": [*of("adam")[:9], *of("sgd")[:4]]}

    monkeypatch.setattr(selfcheck, "chosen", chosen)


@pytest.fixture
def add(monkeypatch):
    """add(module): from now on it is a backend, called "spoiled"."""

    def add(module):
        monkeypatch.setitem(backends.MODULES, "spoiled", "spoiled")
        monkeypatch.setitem(backends._loaded, "spoiled", module)

    return add


@pytest.fixture
def broken(monkeypatch):
    """A backend that cannot be imported."""
    monkeypatch.setitem(backends.MODULES, "broken", "fastmlp_that_does_not_exist")
    monkeypatch.setitem(backends.REMEDY, "broken", "mend it")
    return "backend 'broken' is not available (No module named 'fastmlp_that_does_not_exist'); mend it"


def lines_of(capsys):
    printed = capsys.readouterr()
    assert not printed.err
    return printed.out.splitlines()


def test_all_is_right(backend_name, capsys):
    assert main(["check", "--backend", backend_name]) == 0
    text = "\n".join(lines_of(capsys))
    for line in (
        *("fastmlp +.+", "python +.+, NumPy .+", "cpu +.+", f"backend +{backend_name}", "threads +.+"),
        rf"cases +{len(CASES)} of {len(ALL)}, in float32 and float64",
        r"  training +4 runs +compiled as layer by layer, and the loss falls",
        r"all right in \d+\.\d s",
    ):
        assert re.search(f"^{line}$", text, re.MULTILINE), f"no line like {line!r} in\n{text}"
    families = re.findall(
        r"^  (\w+) +(\d+) cases   largest error 0\.\d\d of what rounding explains$", text, re.MULTILINE
    )
    assert sum(int(count) for _, count in families) == len(CASES)
    assert ("compiled" in text and "compiled first" in text) == (backend_name == "numba")


def test_the_instruction_set_is_named(cython, few, capsys):
    assert main(["check", "--backend", "cython"]) == 0
    assert any(re.match(f"instructions +{cython.isa()} ", line) for line in lines_of(capsys))


@pytest.mark.usefixtures("few")
def test_wrong_kernels_are_named(backend, add, capsys):
    add(spoiled(spoiled(backend, "adam", last_element), "linear_forward", to_bfloat16))
    assert main(["check", "--backend", "spoiled"]) == 1
    lines = lines_of(capsys)
    linear, optim = (lines.index(f"  {family} cases   WRONG") for family in ("linear          9", "optim          13"))
    assert re.fullmatch(r"WRONG: linear_forward-\S+: [yz] at \(\d+, \d+\): got \S+, expected \S+", lines[linear + 1])
    assert re.fullmatch(r"WRONG: adam-\S+: \w+\[\d\] at \(.*\): got \S+, expected \S+", lines[optim + 1])
    assert linear + 2 == optim and not lines[optim + 2].startswith("WRONG")  # one line for each kernel, the worst
    assert re.fullmatch(r"\d WRONG here: adam, linear_forward(, training)?; please report this, .+", lines[-1])


@pytest.mark.usefixtures("few")
def test_other_bits_with_all_threads_are_named(cython, add, capsys):
    def nudge(a):
        if cython.get_num_threads() > 1:
            a.flat[-1] = np.nextafter(a.flat[-1], np.inf)

    add(spoiled(cython, "sgd", nudge))
    before = cython.get_num_threads()
    try:
        fastmlp.set_num_threads(3)
        assert main(["check", "--backend", "spoiled"]) == 1
        assert cython.get_num_threads() == 3
    finally:
        fastmlp.set_num_threads(before)
    text = "\n".join(lines_of(capsys))
    assert re.search(r"^threads +1 and 3$", text, re.MULTILINE)
    assert re.search(r"^WRONG: sgd-\S+: \S+: not the same bits with 1 thread and with 3$", text, re.MULTILINE)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    "spoil, what",
    [
        (
            lambda expected: [loss * 1.001 for loss in expected],
            r"in step 0 the loss is \S+ compiled and \S+ layer by layer",
        ),
        (lambda expected: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_wrong_training_is_named(monkeypatch, capsys, spoil, what):
    right = checking._losses
    monkeypatch.setattr(checking, "_losses", lambda *given: spoil(right(*given)))
    assert main(["check", "--backend", "numpy"]) == 1
    *_, family, first, _, _, _, last = lines_of(capsys)
    assert re.fullmatch(r"  training +4 runs +WRONG", family)
    assert re.fullmatch(rf"WRONG: training in float32, 50 rows: {what}", first)
    assert last.startswith("1 WRONG here: training; ")


@pytest.mark.usefixtures("few")
def test_a_loss_that_does_not_fall_is_wrong(monkeypatch, capsys):
    monkeypatch.setattr(checking, "STEPS", 1)
    assert main(["check", "--backend", "numpy"]) == 1
    assert any(line.endswith(", expected less than half of it") for line in lines_of(capsys))


@pytest.mark.usefixtures("few")
def test_all_backends_are_those_that_can_run(monkeypatch, broken, capsys):
    monkeypatch.setattr(checking, "MODULES", {"broken": "", "numpy": ""})
    assert main(["check", "--backend", "all"]) == 0
    lines = lines_of(capsys)
    assert f"broken       not checked: {broken}" in lines
    assert [line.split()[1] for line in lines if line.startswith("backend ")] == ["numpy"]


@pytest.mark.usefixtures("few")
def test_without_a_name_it_is_the_one_that_serves(monkeypatch, broken, capsys):
    """And it says why not one that comes first."""
    monkeypatch.setattr(checking, "AUTOMATIC", ("broken", "numpy"))
    with fastmlp.use_backend("numpy"):
        assert main(["check"]) == 0
    lines = lines_of(capsys)
    assert f"broken       not checked: {broken}" in lines
    assert "backend      numpy" in lines


# -------------------------------------------------------------------------------------------- arguments


def refused(capsys, *arguments):
    """What is said on stderr"""
    with pytest.raises(SystemExit) as stop:
        main(["check", *arguments])
    printed = capsys.readouterr()
    assert stop.value.code == 2
    assert not printed.out
    return printed.err


def test_wrong_arguments(capsys):
    said = refused(capsys, "--backend", "sixth")
    assert all(name in said for name in ("'sixth'", *backends.MODULES, "all"))
    assert "unrecognized arguments: quickly" in refused(capsys, "quickly")
    assert "--backend" in refused(capsys, "--backend")


def test_a_backend_that_cannot_run(broken, capsys):
    assert broken in refused(capsys, "--backend", "broken")


def test_a_wrong_setting(monkeypatch, capsys):
    monkeypatch.setattr(backends, "_default", None)
    monkeypatch.setenv("FASTMLP_BACKEND", "nympy")
    assert "FASTMLP_BACKEND: unknown 'nympy'" in refused(capsys)


def test_help(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["check", "--help"])
    assert stop.value.code == 0
    assert "--backend" in capsys.readouterr().out
    assert main(["--help"]) == 0
    assert "fastmlp check" in capsys.readouterr().out
