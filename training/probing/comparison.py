"""Intervals: how far figures would lie elsewhere with other seeds, or other photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from render.errors import InputError
from training.probing.scores import FIGURES, Scores

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval; the ends are None where there is a single value.

    Attributes:
        mean: Of the values.
        low: Where the interval begins.
        high: Where it ends.
    """

    mean: float
    low: float | None
    high: float | None

    def json(self) -> dict[str, float | None]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Difference:
    """How much larger a figure is than another one.

    Attributes:
        over_groups: The mean over the seeds, and its paired bootstrap interval over groups of photos.
        over_seeds: The same mean, and the t interval of the seeds' paired differences.
    """

    over_groups: Interval
    over_seeds: Interval

    def json(self) -> dict[str, dict[str, float | None]]:
        """As JSON values."""
        return {"over_groups": self.over_groups.json(), "over_seeds": self.over_seeds.json()}


def interval_over_seeds(values: Sequence[float]) -> Interval:
    """Mean and Student's t interval of the figures of several seeds."""
    from scipy.stats import t

    found = np.asarray(values, float)
    mean = float(found.mean())
    if found.size < 2:
        return Interval(mean, None, None)
    reach = float(t.ppf((1 + CONFIDENCE) / 2, found.size - 1) * found.std(ddof=1) / np.sqrt(found.size))
    return Interval(mean, mean - reach, mean + reach)


def compare(a: Scores, b: Scores, figure: str, *, resamples: int = RESAMPLES, seed: int = 0) -> Difference:
    """How much larger a figure of ``a`` is than that of ``b``, on the same photos with the same seeds.

    Args:
        a: Of one source.
        b: Of the other one.
        figure: Such as ``miou`` or ``rmse``.
        resamples: Of the groups, drawn with replacement.
        seed: Of the resampling.

    Raises:
        InputError: they are of other photos, tasks or numbers of seeds, or there is no such figure.
    """
    if (a.task, a.groups, a.sums.shape) != (b.task, b.groups, b.sums.shape):
        raise InputError("Only figures of the same task, photos and number of seeds can be compared.")
    if figure not in FIGURES[a.task]:
        raise InputError(f"The figures of {a.task} are {', '.join(FIGURES[a.task])}; found {figure!r}.")
    paired = a.figures()[figure][0] - b.figures()[figure][0]
    mean = float(paired.mean())
    count = len(a.groups)
    if count < 2:
        return Difference(Interval(mean, None, None), interval_over_seeds(paired))
    random = np.random.default_rng(seed)
    counts = random.multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)
    differences = (a.figures(counts)[figure] - b.figures(counts)[figure]).mean(1)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.nanpercentile(differences, [tail, 100 - tail])
    return Difference(Interval(mean, float(low), float(high)), interval_over_seeds(paired))
