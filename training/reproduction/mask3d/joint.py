"""What several rows of a table say together, or some classes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from training.probing.comparison import CONFIDENCE, RESAMPLES, Difference, Interval, interval_over_seeds
from training.probing.scores import FALSE_NEGATIVE, TRUE_POSITIVE, Scores

FREQUENT = 0.005  # of the true pixels


def of_first_seeds(*scores: Scores) -> list[Scores]:
    """Those of the seeds that all of them have."""
    count = min(len(one.sums) for one in scores)
    return [replace(one, sums=one.sums[:count]) for one in scores]


def against_mean(one: Scores, others: Sequence[Scores], figure: str, *, seed: int = 0) -> Difference:
    """How much larger a figure is than the mean of those of others, on the same photos with the same seeds.

    A single comparison, where one with each of the others would find some difference by chance.

    Args:
        one: Of the row that is asked for.
        others: Of the rows that it is compared with; as many seeds.
        figure: Such as ``miou``.
        seed: Of the resampling of groups.
    """
    count = len(one.groups)
    random = np.random.default_rng(seed)
    counts = random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(float)
    paired, resampled = (
        one.figures(which)[figure] - np.mean([other.figures(which)[figure] for other in others], 0)
        for which in (None, counts)
    )
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.nanpercentile(resampled.mean(1), [tail, 100 - tail])
    return Difference(Interval(float(paired.mean()), float(low), float(high)), interval_over_seeds(paired[0].tolist()))


def of_frequent_classes(scores: Scores) -> Scores:
    """Scores of the classes that :data:`FREQUENT` of the true pixels have at least: those of a few pixels say little of
    networks that have seen as little as these."""
    true = (scores.sums[:, :, TRUE_POSITIVE] + scores.sums[:, :, FALSE_NEGATIVE]).sum((0, 1))
    kept = np.flatnonzero(true >= FREQUENT * true.sum())
    return replace(scores, names=tuple(scores.names[place] for place in kept), sums=scores.sums[..., kept])
