"""When and how often a version runs, and what its times say. Knows nothing of what it times.

Versions take turns, A B A B, so that a machine that drifts hurts all alike. A turn is a batch of calls, long
enough for the clock. Each turn of one version is paired with the same turn of the other: their ratios, not the
ratio of two averages, are what a drift leaves alone.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat

NOISY = 0.15  # a spread above this is called noisy
CONFIDENCE = 0.95
FEW, LONG = 3, 0.5  # turns are enough, where one of all versions takes that many seconds: the clock is exact there

#: runs a version that often and gives the seconds that it took
Batch = Callable[[int], float]


@dataclass
class Times:
    """Seconds per call of one version: one sample for each turn."""

    samples: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """The distance between the quartiles, as a share of the median."""
        if len(self.samples) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return (high - low) / self.median

    @property
    def noisy(self) -> bool:
        return self.spread > NOISY


def batch_seconds(call: Callable[[], object], calls: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that `calls` calls take, one after the other."""
    begin = clock()
    for _ in repeat(None, calls):
        call()
    return clock() - begin


def calls_per_turn(batch: Batch, seconds: float) -> int:
    """How many calls make a turn of about `seconds`; at least one."""
    calls = 1
    while True:
        took = batch(calls)
        if took >= seconds / 4:
            return max(1, round(calls * seconds / took))
        # too short to judge by: grow, but at most tenfold, since the first calls may have been slow or fast
        calls = math.ceil(calls * min(10.0, seconds / max(took, 1e-9)))


class Turns:
    """Times versions in turns of about `seconds` each, in the order A B C A B C ..."""

    def __init__(self, versions: dict[str, Batch], seconds: float) -> None:
        self._versions = versions
        self._calls = {name: calls_per_turn(batch, seconds) for name, batch in versions.items()}
        self.times = {name: Times([]) for name in versions}
        self.seconds = 0.0  # that the last turn took

    def take(self, turns: int) -> None:
        """Add `turns` turns to the times of every version."""
        for _ in range(turns):
            took = {name: batch(self._calls[name]) for name, batch in self._versions.items()}
            for name, seconds in took.items():
                self.times[name].samples.append(seconds / self._calls[name])
            self.seconds = sum(took.values())


@dataclass
class Ratio:
    """How many times faster: median over the paired turns, and the interval that holds the true median."""

    median: float
    low: float
    high: float


def speed_up(ours: Times, theirs: Times, sessions: Sequence[int] = ()) -> Ratio:
    """Above 1: ours is faster.

    sessions: how many of the turns belong to each, in their order. Turns of one session, in one pair of processes, are
    alike in what another pair has otherwise (where its memory lies, how its threads have settled), and say nothing
    about that: so each session has an interval, and theirs reaches from the lowest to the highest.
    """
    ratios = [t / o for o, t in zip(ours.samples, theirs.samples, strict=True)]
    lows, highs, begin = [], [], 0
    for count in sessions or [len(ratios)]:
        some = sorted(ratios[begin : begin + count])
        low, high = median_interval(count)
        lows.append(some[low])
        highs.append(some[high])
        begin += count
    return Ratio(statistics.median(ratios), min(lows), max(highs))


def median_interval(n: int, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """The places, in n sorted samples, of a confidence interval of the median.

    Each sample lies below the true median with probability 1/2, whatever the distribution; so the number that
    do is binomial. The interval from the r-th smallest to the r-th largest misses with probability
    2 P(count < r). Of fewer than nine samples that is the whole range, which for fewer than six misses more often;
    it is what there is, and what several sessions span together misses less often.
    """
    r, below = 1, 1 / 2**n  # below = P(count < r)
    while 2 * (below + math.comb(n, r) / 2**n) <= 1 - confidence:
        below += math.comb(n, r) / 2**n
        r += 1
    return r - 1, n - r
