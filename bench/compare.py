"""Two runs: what is faster or slower since. A row counts as changed where the intervals of its ratio to the peer, which
a faster or slower machine leaves alone, do not overlap."""

import statistics
from dataclasses import dataclass

from .report import duration, threads_text
from .results import Results, Row


@dataclass(frozen=True)
class Change:
    """One row in both runs. gain: above 1, fastmlp is that many times faster beside the peer than it was."""

    old: Row
    new: Row

    @property
    def gain(self) -> float:
        return self.new.ratio.median / self.old.ratio.median

    @property
    def certain(self) -> bool:
        return self.new.ratio.low > self.old.ratio.high or self.new.ratio.high < self.old.ratio.low


def changes(old: Results, new: Results) -> list[Change]:
    """Of the rows that both have timed, the slowed first."""
    before = {_key(row): row for row in old.rows if row.ratio}
    found = [Change(before[_key(row)], row) for row in new.rows if row.ratio and _key(row) in before]
    return sorted(found, key=lambda change: change.gain)


def _key(row: Row) -> tuple:
    return row.name, row.threads, row.peer


def lines(old: Results, new: Results) -> list[str]:
    found = changes(old, new)
    if not found:
        return ["", "compared with the old run: no row is in both"]
    changed = [c for c in found if c.certain]
    slower = sum(c.gain < 1 for c in changed)
    mean = statistics.geometric_mean(c.gain for c in found)
    head = [
        "",
        f"compared with the old run (revision {old.environment.get('revision') or 'unknown'}), beside the same peers: "
        f"{len(changed) - slower} faster, {slower} slower, {len(found) - len(changed)} within their intervals; "
        f"geometric mean of all changes {mean:.3f}x",
    ]
    backends = [run.libraries.get("fastmlp", {}).get("backend") for run in (old, new)]
    if backends[0] != backends[1]:
        head.append(f"  that was the backend {backends[0]}, this is {backends[1]}")
    if not old.complete:
        head.append("  that run was interrupted")
    if old.environment.get("cpu") != new.environment.get("cpu"):
        head.append(f"  that was on another CPU, {old.environment.get('cpu')}")
    return head + [_line(c) for c in changed] + _gone(old, new)


def _line(c: Change) -> str:
    return (
        f"  {'faster' if c.gain > 1 else 'SLOWER'} {c.gain:5.2f}x  {c.new.name}, {threads_text(c.new.threads)}: "
        f"{duration(c.old.seconds)} -> {duration(c.new.seconds)}; "
        f"beside {c.new.peer} {_ratio(c.old)} -> {_ratio(c.new)}"
    )


def _ratio(row: Row) -> str:
    return f"{row.ratio.median:.2f}x [{row.ratio.low:.2f}, {row.ratio.high:.2f}]"


def _gone(old: Results, new: Results) -> list[str]:
    """Rows that could be timed then, and cannot now."""
    now = {_key(row): row for row in new.rows}
    lost = [now[_key(row)] for row in old.rows if row.ratio and _key(row) in now and not now[_key(row)].ratio]
    return [f"  NOT TIMED any more: {row.name} against {row.peer}: {row.problem}" for row in lost]
