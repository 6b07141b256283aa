"""What a difference says of a claim."""

from __future__ import annotations

from typing import Literal, TypeAlias

from training.probing.comparison import Difference

Verdict: TypeAlias = Literal["better", "worse", "not told apart"]
VERDICTS: tuple[Verdict, ...] = ("better", "not told apart", "worse")


def verdict_of(better: Difference) -> Verdict:
    """Better or worse, where other photos and other seeds would both say so.

    Both 95 % intervals, over groups of photos and over the seeds, lie on one side of zero: either alone is right too
    seldom where the other differs more (see :class:`training.reproduction.fit3d.results.Claim`).  Of a single seed
    nothing is known.

    Args:
        better: By how much something is better than what it is compared with.
    """
    lows = [better.over_groups.low, better.over_seeds.low]
    highs = [better.over_groups.high, better.over_seeds.high]
    if all(low is not None and low > 0 for low in lows):
        return "better"
    if all(high is not None and high < 0 for high in highs):
        return "worse"
    return "not told apart"
