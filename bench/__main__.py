"""`fastmlp bench`: how fast fastmlp is beside other libraries, with the rows it loses."""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from . import busy, compare, environment, report
from .cases import DIMENSIONS, SECTIONS, SUITES, sections_of, select
from .measure import Effort
from .peers import BACKENDS, PEERS
from .results import Results, load, save
from .suite import run, say
from .worker import WorkerError

DTYPES = {"f32": "float32", "f64": "float64"}
QUICK = Effort(turns=4, seconds=0.008, sessions=2)
FULL = Effort(turns=5, seconds=0.008, sessions=2, attempts=2)
WHOLE = [section for section in SECTIONS if section not in DIMENSIONS]  # those that are no table of cases
AGAINST = (*PEERS, *BACKENDS)
EXAMPLES = f"""suites:  {", ".join(SUITES)}
tables:  {", ".join(s for s in SECTIONS if s not in SUITES)}

  fastmlp bench                                          a first impression, in a minute and a half
  fastmlp bench linear --shapes 64x300x20 --threads 1    a layer of your own: batch x in x out
  fastmlp bench network --against torch,jax --full --json new.json --html new.html
  fastmlp bench network --compare old.json               what changed since"""


def parse(argv):
    p = argparse.ArgumentParser(
        prog="fastmlp bench",
        description="Times fastmlp beside other libraries: checked first, in turns, with the same threads.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("suites", nargs="*", metavar="SUITE", help="what to measure, or a table of one; default: all")
    some = p.add_mutually_exclusive_group()
    some.add_argument("--quick", action="store_true", help="few cases, short turns, one number of threads; the default")
    some.add_argument("--full", action="store_true", help="all cases, which takes up to 20 minutes")
    p.add_argument("--compile", action="store_true", help="torch.compile among torch's ways: seconds for each case")
    p.add_argument("--shapes", type=_shapes, metavar="AxBxC,...", help="these instead of the table's, where they fit")
    p.add_argument("--dtype", type=_choice(DTYPES), default=list(DTYPES), metavar="A,B", help="of f32, f64")
    p.add_argument("--threads", type=_threads, metavar="1,2", help="numbers of threads; default: 1,2; quick: 1")
    p.add_argument(
        "--against",
        type=_choice(AGAINST),
        metavar="A,B",
        help=f"of {', '.join(AGAINST)}; default: those that people use for a case",
    )
    p.add_argument(
        "--backend",
        default=os.environ.get("FASTMLP_BACKEND") or None,
        metavar="NAME",
        help="fastmlp's backend; default: FASTMLP_BACKEND, else the compiled one",
    )
    p.add_argument("--turns", type=_number, metavar="N", help="of each version in a session; default 5, quick 4")
    p.add_argument("--json", type=_new_file, metavar="FILE", help="write everything to FILE")
    p.add_argument("--html", type=_new_file, metavar="FILE", help="write a page with tables and pictures to FILE")
    p.add_argument("--compare", type=_saved, metavar="OLD.json", help="say what is faster or slower than in that run")
    args = p.parse_args(argv)
    for name in args.suites:
        if name not in (*SUITES, *SECTIONS):
            p.error(f"argument SUITE: unknown {name!r}; known are {', '.join(dict.fromkeys((*SUITES, *SECTIONS)))}")
    args.quick = not args.full
    args.sections = sections_of(args.suites)
    for section, why in _left_out(args).items():
        if section in args.suites:
            p.error(why)
        args.sections.remove(section)
    args.threads = args.threads or _default_threads(args.quick)
    effort = QUICK if args.quick else FULL
    args.effort = replace(effort, turns=args.turns or effort.turns, compiled=args.compile)
    args.cases = select(args.sections, [DTYPES[d] for d in args.dtype], args.quick, args.shapes)
    if max(args.threads) > environment.usable_cpus():
        p.error(f"argument --threads: {max(args.threads)}, but this process may use {environment.usable_cpus()} CPUs")
    if not args.cases and not set(WHOLE) & set(args.sections):
        p.error(_why_nothing(args))
    return args


def _left_out(args):
    """{section: why} of what is no table of cases, and not measured with these options; an error if it was named."""
    found = {}
    for section in (section for section in WHOLE if section in args.sections):
        if args.shapes:
            found[section] = f"argument --shapes: {section} has its own"
        elif "f32" not in args.dtype:
            found[section] = f"argument --dtype: {section} is measured in f32"
        elif section == "busy" and args.threads and busy.THREADS not in args.threads:
            found[section] = f"argument --threads: busy takes {busy.THREADS}"
        elif section == "busy" and args.quick and section not in args.suites:
            found[section] = "it takes too long"
    return found


def _why_nothing(args):
    """There are no cases left."""
    if not args.shapes:
        return f"argument --dtype: {', '.join(args.suites)}: nothing in {', '.join(args.dtype)}"
    takes = ", ".join(f"{section} takes {_numbers(*DIMENSIONS[section])}" for section in args.sections)
    return f"argument --shapes: none of them fits, in {', '.join(args.dtype)}: {takes or 'these tables have none'}"


def _numbers(low, high):
    return str(low) if low == high else f"{low} or more"


def _choice(known):
    def split(text):
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"unknown {name!r}; known are {', '.join(known)}")
        return list(dict.fromkeys(names))

    return split


def _number(text):
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return number


def _threads(text):
    return list(dict.fromkeys(_number(n) for n in text.split(",")))


def _shapes(text):
    return list(dict.fromkeys(tuple(_number(n) for n in shape.split("x")) for shape in text.split(",")))


def _new_file(text):
    """Before minutes are spent on what goes into it."""
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file in a folder that exists, got {text!r}")
    return path


def _saved(text):
    try:
        return load(text)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise argparse.ArgumentTypeError(f"{text}: not a run that --json saved ({type(e).__name__}: {e})") from None


def _default_threads(quick):
    return [1] if quick or environment.usable_cpus() == 1 else [1, 2]


def main(argv=None):
    """Exit status: 0; 1 if a result of fastmlp is wrong or nothing could be timed; 2 if fastmlp itself cannot be
    measured; 130 after Ctrl-C."""
    args = parse(argv)
    results = Results()
    try:
        status = _measure(args, results)
        if results.empty:
            print("fastmlp bench: nothing was measured, and nothing is saved", file=sys.stderr)
            return status or 1
        say(report.target_lines(results))
        if args.compare:
            say(compare.lines(args.compare, results))
        return status or int(results.failed)
    finally:  # whatever has happened, minutes were spent on it
        if not results.empty:
            _keep(args, results)


def _measure(args, results):
    """-> exit status"""
    try:
        run(args, results)
    except KeyboardInterrupt:
        say(["", "interrupted; this is what was measured"])
        return 130
    except WorkerError as e:
        print(f"fastmlp bench: {e}", file=sys.stderr)
        print("(the NumPy backend can be measured too: --backend numpy)", file=sys.stderr)
        return 2
    return 0


def _keep(args, results):
    if args.json:
        save(results, args.json)
    if args.html:
        from .page import page

        args.html.write_text(page(results), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
