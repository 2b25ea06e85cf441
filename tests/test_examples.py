"""The examples run as a newcomer runs them: as scripts, in processes of their own."""

import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*arguments):
    command = [sys.executable, "-W", "error", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def run_example(name, *arguments):
    for library in ("sklearn", "matplotlib"):
        pytest.importorskip(library, reason=f"the examples need {library}: pip install fastmlp[demo]")
    return run(ROOT / "examples" / f"{name}.py", *arguments)


def learn(name, out, *arguments):
    """What the example prints; it has saved a picture as `out`."""
    done = run_example(name, "--out", out, *arguments)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert_picture(out)
    return done.stdout


def assert_picture(path):
    png = path.read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    assert 600 <= width <= 2000 and 300 <= height <= 2000
    assert len(png) > 10_000  # no empty axes


README = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)


@pytest.mark.parametrize("code", README, ids=lambda code: code.splitlines()[0])
def test_the_programs_of_the_readme_learn(code):
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    loss = float(re.fullmatch(r"loss (\d+\.\d+)", done.stdout.splitlines()[-1])[1])
    assert loss < 0.25


def test_article_prints_what_its_programs_print(tmp_path):
    lines = learn("article", tmp_path / "new" / "article.png").splitlines()
    assert lines[:2] == ["MyFcnn(", "  (fc1): Linear(in_features=10, out_features=64, bias=True)"]
    losses = [re.fullmatch(r"Epoch \[\d+/10\], Loss: (\d\.\d{4})", line) for line in lines[5:15]]
    assert float(losses[-1][1]) < 0.7 * float(losses[0][1])
    assert re.fullmatch(r"Test Accuracy: [01]\.\d\d[05]0", lines[15])
    assert lines[16:20] == [
        "Input tensor: tensor([[-1.,  2., -3.,  4.],",
        "        [-2.,  3., -3.,  9.]])",
        "Output tensor: tensor([[    0.0059,     0.1184,     0.0008,     0.8749],",
        "        [    0.0000,     0.0025,     0.0000,     0.9975]])",
    ]


def test_digits_learns_and_saves_its_pictures(tmp_path):
    done = run_example("digits", "--out", tmp_path / "new" / "digits.png")
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^epoch \d+/30 .* val_accuracy ", done.stderr, re.M)) == 10, "a line for every tenth"
    assert float(re.search(r"held-out accuracy (\d+\.\d+)%", done.stdout)[1]) >= 97
    assert_picture(tmp_path / "new" / "digits.png")
    assert_picture(tmp_path / "new" / "digits_weights.png")


def test_digits_fails_clearly_when_it_has_not_learnt(tmp_path):
    done = run_example("digits", "--out", tmp_path / "digits.png", "--epochs", 1)
    assert done.returncode == 1
    assert re.search(r"^error: held-out accuracy \d+\.\d+% is below 97%\n\Z", done.stderr, re.M)


@pytest.mark.parametrize("seed", [0, 1])
def test_xor_needs_two_layers(tmp_path, seed):
    printed = learn("xor", tmp_path / "xor.png", "--seed", seed)
    one, two = (int(accuracy) for accuracy in re.findall(r"layers? +loss .* accuracy (\d+)%", printed))
    assert one <= 75 and two == 100


def test_regression_is_as_good_as_a_line_and_better_than_the_mean(tmp_path):
    printed = learn("regression", tmp_path / "regression.png")
    r2 = {name: float(r) for name, r in re.findall(r"^(mean|linear regression|network) +(-?\d\.\d+)", printed, re.M)}
    assert -0.1 < r2["mean"] < 0.02
    assert r2["linear regression"] > 0.45  # else the split is not what it should be
    assert r2["network"] > 0.35


def test_binary_stops_early_and_is_right(tmp_path):
    printed = learn("binary", tmp_path / "binary.png")
    best, last = map(int, re.search(r"best epoch (\d+) of (\d+)", printed).groups())
    assert last - best == 10 and last < 100
    assert float(re.search(r"held-out accuracy (\d+\.\d+)%", printed)[1]) > 95


def test_the_advice_on_activations_is_put_to_the_test(tmp_path):
    printed = learn("choosing_activation", tmp_path / "choosing.png", "--epochs", 6)
    rows = re.findall(r"^(\w+) +([\d.]+)% +([\d.e-]+) +([\d.]+)% +([\d.]+)%$", printed, re.M)
    accuracy, gradient, dead, high = ({row[0]: float(row[i]) for row in rows} for i in (1, 2, 3, 4))
    assert list(accuracy) == ["relu", "leaky_relu", "tanh", "sigmoid", "gelu"]
    assert accuracy.pop("sigmoid") < 50 and min(accuracy.values()) > 80
    assert gradient.pop("sigmoid") < 1e-3 and min(gradient.values()) > 0.1
    assert dead["relu"] > 10 and dead["leaky_relu"] == 0
    said = {advice: shows for shows, advice in re.findall(r"^(yes|NOT HERE) +(.*?):", printed, re.M)}
    assert said["not sigmoid, rather tanh"] == said["ReLU's units can die"] == "yes"
    better = high["leaky_relu"] > high["relu"] + 1
    assert said["so leaky ReLU learns better there"] == ("yes" if better else "NOT HERE")


def test_an_activation_of_ones_own_learns_as_a_built_in_one():
    pytest.importorskip("numba", reason="Numba is not installed")
    done = run(ROOT / "examples" / "custom_activation.py")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[4] == "0.000" and lines[1].split()[4] == "0.000" and lines[2].split()[4] == "0.500"
    losses = [float(loss) for loss in re.findall(r"loss (\d\.\d{4}) after 20 steps, \d+ µs each", done.stdout)]
    assert len(losses) == 2 and 0 < min(losses) and max(losses) < 0.1


@pytest.mark.parametrize(
    "name, option, value, message",
    [
        ("xor", "--epochs", "0", "expected at least 1, got 0"),
        ("xor", "--seed", "-1", "expected 0 to 2³¹ - 1, got -1"),
        ("digits", "--out", "curve.foo", "expected a file that ends in one of "),
        ("digits", "--out", "file/curve.png", ""),
        ("article", "--out", "curve.foo", "expected a file that ends in one of "),
    ],
)
def test_bad_options_are_refused_before_anything_is_trained(tmp_path, name, option, value, message):
    (tmp_path / "file").touch()
    done = run_example(name, option, tmp_path / value if option == "--out" else value)
    assert done.returncode == 2 and "loss" not in done.stdout.lower()
    assert f"error: {option}: {message}" in done.stderr
