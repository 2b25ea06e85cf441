"""What the command lines of the examples have in common: --out, --epochs, --seed."""

import argparse
from pathlib import Path

from matplotlib.figure import Figure


def options(description, out, epochs=None):
    """The arguments of an example, checked; the folder of `out` is made.

    Parameters
    ----------
    description : the example's docstring
    out : where its picture goes unless --out says otherwise
    epochs : so many unless --epochs says otherwise; None: the example has neither --epochs nor --seed
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(out), help="where to save the picture (%(default)s)")
    if epochs is not None:
        parser.add_argument("--epochs", type=int, default=epochs, help="passes over the data (%(default)s)")
        parser.add_argument("--seed", type=int, default=0, help="of the split, the weights, the order (%(default)s)")
    args = parser.parse_args()
    if epochs is not None and args.epochs < 1:
        parser.error(f"--epochs: expected at least 1, got {args.epochs}")
    if epochs is not None and not 0 <= args.seed < 2**31:
        parser.error(f"--seed: expected 0 to 2³¹ - 1, got {args.seed}")
    kinds = Figure().canvas.get_supported_filetypes()
    if args.out.suffix[1:].lower() not in kinds:
        parser.error(f"--out: expected a file that ends in one of {', '.join(kinds)}, got {args.out}")
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        parser.error(f"--out: {e}")
    return args
