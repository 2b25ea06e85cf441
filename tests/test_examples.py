"""The examples run as a newcomer runs them: as scripts, in processes of their own."""

import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*arguments):
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def run_digits(*arguments):
    pytest.importorskip("sklearn", reason="examples/digits.py needs scikit-learn: pip install fastmlp[demo]")
    pytest.importorskip("matplotlib", reason="examples/digits.py needs matplotlib: pip install fastmlp[demo]")
    return run(ROOT / "examples" / "digits.py", *arguments)


def test_the_ten_lines_of_the_readme_learn():
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
    done = run("-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr
    loss = float(re.fullmatch(r"loss (\d+\.\d+)\n", done.stdout)[1])
    assert loss < 0.1  # from log 10 = 2.3: random labels are learnt by heart


def test_digits_learns_saves_its_curve_and_times_the_kernels(tmp_path):
    curve = tmp_path / "new" / "digits.png"
    done = run_digits("--out", curve)
    assert done.returncode == 0, done.stderr
    accuracies = [float(a) for a in re.findall(r"accuracy (\d+\.\d+)%", done.stdout)]
    assert len(accuracies) == 10, "one plain line for every tenth of the epochs"
    assert accuracies[-1] >= 97
    png = curve.read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    assert width > 500 and height > 200
    if "backend numpy" in done.stdout:
        assert "timing: skipped" in done.stdout
    else:
        assert re.search(r"^forward, loss, gradients +\d+ µs .* \d+ µs .*\d\.\d+x$", done.stdout, re.MULTILINE)


def test_digits_refuses_a_picture_that_cannot_be_saved_before_it_trains(tmp_path):
    (tmp_path / "file").touch()
    for out, text in (("curve.foo", "expected a file that ends in one of "), ("file/curve.png", "")):
        done = run_digits("--out", tmp_path / out)
        assert done.returncode == 2 and "epoch" not in done.stdout
        assert f"error: --out: {text}" in done.stderr


def test_digits_fails_clearly_when_it_has_not_learnt(tmp_path):
    done = run_digits("--out", tmp_path / "digits.png", "--epochs", 1)
    assert done.returncode == 1
    assert re.fullmatch(r"error: held-out accuracy \d+\.\d+% is below 97% after 1 epochs\n", done.stderr)
