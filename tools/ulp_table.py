"""The largest error of every float32 activation over all 2³² floats, as a Markdown table.

    python tools/ulp_table.py                        every float: some minutes for each activation
    python tools/ulp_table.py --step 1001 gelu tanh  every 1001st float, these two activations

The truth is the same backend's float64 kernel, because NumPy and mpmath would take hours and years. That kernel
is first compared with mpmath on a few thousand points. Its error there is the table's last column, in ulp of
float64: 2²⁹ times smaller in ulp of float32. If it could touch the second digit, the script stops.

FASTMLP_ISA chooses the instruction set that is measured. Columns: the largest error in ulp, where it occurs,
what came and what is right there, how many floats have an error beyond 1 ulp, and for how many NaN or ±inf came
or was missing (which must be 0).
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastmlp.backend import load
from fastmlp.kernels.contract import ACTIVATIONS

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from ulp import exact_values, forward, points64, quietly, ulp_errors, wrong_kind

CHUNK = 1 << 20  # floats at a time
FLOAT64_LIMIT = 2**20  # in float64 ulp; 1/512 of a float32 ulp


@dataclass
class Result:
    """What was found for one activation so far."""

    ulp: float = 0.0
    x: float = 0.0
    got: float = 0.0
    truth: float = 0.0
    beyond_one: int = 0
    wrong_kind: int = 0

    def add(self, x, got, truth):
        errors = ulp_errors(got, truth)
        worst = errors.argmax()
        if errors[worst] > self.ulp:
            self.ulp, self.x, self.got, self.truth = errors[worst], x[worst], got[worst], truth[worst]
        self.beyond_one += int((errors > 1).sum())
        self.wrong_kind += int(wrong_kind(got, truth).sum())


def float64_error(backend, name):
    """The largest error of the float64 kernel on some thousand points, in float64 ulp, against mpmath."""
    import mpmath

    x = points64()
    return ulp_errors(forward(backend, name, x), *exact_values(mpmath.mp, name, x)).max()


def measure(backend, name, step):
    """One activation over every `step`-th bit pattern of float32."""
    result, started = Result(), time.monotonic()
    for start in range(0, 2**32, CHUNK * step):
        bits = np.arange(start, min(start + CHUNK * step, 2**32), step, np.uint64)
        x = bits.astype(np.uint32).view(np.float32)
        result.add(x, forward(backend, name, x), forward(backend, name, quietly(x, np.float64)))
        done = min(1.0, (start + CHUNK * step) / 2**32)
        print(f"\r{name}: {done:4.0%}, {time.monotonic() - started:.0f} s", end="", file=sys.stderr)
    print(file=sys.stderr)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="activation", help="all, if none is named")
    parser.add_argument("--step", type=int, default=1, help="take every STEP-th float (odd is best)")
    parser.add_argument("--backend", default="cython")
    options = parser.parse_args()
    if options.step < 1:
        parser.error("--step: expected 1 or more")
    if unknown := set(options.names) - set(ACTIVATIONS):
        parser.error(f"unknown activation {min(unknown)!r}; known are {', '.join(ACTIVATIONS)}")
    backend = load(options.backend)
    print("| activation | max ulp | at x | came | right | beyond 1 ulp | wrong NaN or inf | float64 ulp |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.names or ACTIVATIONS:
        own = float64_error(backend, name)
        if own > FLOAT64_LIMIT:
            sys.exit(f"{name}: the float64 kernel is {own:.3g} ulp off, too much to be the truth here")
        r = measure(backend, name, options.step)
        print(
            f"| {name} | {r.ulp:.3f} | {r.x:.9g} | {r.got:.9g} | {r.truth:.12g} "
            f"| {r.beyond_one} | {r.wrong_kind} | {own:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
