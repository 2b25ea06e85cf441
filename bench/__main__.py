"""`python -m fastmlp.bench`: the table of how fast fastmlp is, with the rows it loses."""

import argparse
import os
import sys
from pathlib import Path

from . import environment, report, work
from .peers import BACKENDS, PEERS
from .results import Results, save
from .suite import run, say
from .worker import WorkerError

DTYPES = {"f32": "float32", "f64": "float64"}
AGAINST = ("numpy", *PEERS, *BACKENDS)


def parse(argv):
    p = argparse.ArgumentParser(
        prog="python -m fastmlp.bench",
        description="Times fastmlp beside other libraries: checked first, in turns, with the same threads.",
    )
    some = p.add_mutually_exclusive_group()
    some.add_argument("--quick", action="store_true", help="fewer cases, shorter turns")
    some.add_argument("--full", action="store_true", help="everything, with torch.compile")
    p.add_argument(
        "--compile", action="store_true", help="torch.compile among the peer's ways; seconds for each case"
    )
    p.add_argument(
        "--section",
        type=_choice(work.SECTIONS),
        default=list(work.SECTIONS),
        metavar="A,B",
        help=f"of {', '.join(work.SECTIONS)}; default: all",
    )
    p.add_argument("--dtype", type=_choice(DTYPES), default=list(DTYPES), metavar="A,B", help="of f32, f64")
    p.add_argument(
        "--threads",
        type=_threads,
        default=_default_threads(),
        metavar="1,2",
        help="numbers of threads, one table each; default: 1 and, where there are two CPUs, 2",
    )
    p.add_argument(
        "--against",
        type=_choice(AGAINST),
        metavar="A,B",
        help=f"of {', '.join(AGAINST)}; default: those that people use for a case",
    )
    p.add_argument(
        "--backend",
        default=os.environ.get("FASTMLP_BACKEND"),
        metavar="NAME",
        help="fastmlp's backend; default: FASTMLP_BACKEND, else the compiled one",
    )
    p.add_argument(
        "--turns",
        type=int,
        help="turns of each version, more where the ratio is not precise; default: 9, with --quick 7",
    )
    p.add_argument("--json", metavar="FILE", help="write everything to FILE")
    args = p.parse_args(argv)
    args.compile = args.compile or args.full
    args.turns = args.turns or (7 if args.quick else 9)
    args.seconds = 0.010 if args.quick else 0.020  # the length of a turn
    args.dtype = [DTYPES[d] for d in args.dtype]
    return args


def _choice(known):
    def split(text):
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"unknown {name!r}; known are {', '.join(known)}")
        return names

    return split


def _threads(text):
    numbers = [int(n) for n in text.split(",")]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError("expected numbers from 1")
    return numbers


def _default_threads():
    return [1, 2] if environment.usable_cpus() > 1 else [1]


def main(argv=None):
    """Exit status: 0, 2 if fastmlp itself cannot be measured, 130 after Ctrl-C."""
    args = parse(argv)
    results = Results()
    status = 0
    try:
        run(args, results)
    except KeyboardInterrupt:
        say(["", "interrupted; this is what was measured"])
        status = 130
    except WorkerError as e:
        print(f"fastmlp.bench: {e}", file=sys.stderr)
        print("(the NumPy backend can be measured too: --backend numpy)", file=sys.stderr)
        status = 2
    say(report.target_lines(results))
    if args.json and results.ceilings:
        save(results, Path(args.json))
    return status


if __name__ == "__main__":
    sys.exit(main())
