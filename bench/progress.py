"""How far a run is, on a terminal: rich's line where rich is installed, else nothing beside the rows."""

import sys
from contextlib import contextmanager


@contextmanager
def progress(total: int):
    """Within the block, the function that it gives says what is measured next, of so many."""
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        yield lambda what: None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, transient=True, disable=not sys.stdout.isatty()) as shown:
        task = shown.add_task("", total=total + 1)

        def step(what: str) -> None:
            shown.update(task, advance=1, description=what)

        yield step  # lines that are printed meanwhile appear above it
