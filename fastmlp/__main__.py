"""`fastmlp info` says what runs here and why; `fastmlp check` whether it computes rightly; `fastmlp bench ...` measures
it. Also as `python -m fastmlp`."""

from __future__ import annotations

import os
import sys
from importlib import import_module

from .backend import show_config

USAGE = """usage: fastmlp info           say what runs here: versions, backends, threads, what is kept compiled on disk
       fastmlp check [...]    check in about two seconds that it computes rightly here; fastmlp check --help
       fastmlp bench [...]    measure it; fastmlp bench --help says how"""


def main(arguments: list[str] | None = None) -> int:
    """-> the exit status"""
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    if command == "info" and not rest:
        show_config()
        return 0
    if command == "check":
        return import_module("fastmlp.checking").main(rest)
    if command == "bench":
        return import_module("fastmlp.bench.__main__").main(rest)
    asked = command in ("-h", "--help")
    print(USAGE, file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


def script() -> int:
    """What the command runs: whoever reads its output may stop reading."""
    try:
        status = main()
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more when it ends
        return 1


if __name__ == "__main__":
    sys.exit(script())
