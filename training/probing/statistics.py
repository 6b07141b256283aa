"""Figures of several seeds and many rooms: how sure they are, and whether one beats another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from render.errors import InputError
from training.probing.comparison import CONFIDENCE, RESAMPLES, Difference, Interval, interval_over_seeds
from training.probing.scores import Scores

if TYPE_CHECKING:
    from jaxtyping import Float

TAIL = 100 * (1 - CONFIDENCE) / 2


def joined(parts: Sequence[Scores]) -> Scores:
    """Scores of several seeds in one.

    Raises:
        InputError: they are of other photos or tasks.
    """
    first = parts[0]
    if any((part.task, part.names, part.groups) != (first.task, first.names, first.groups) for part in parts):
        raise InputError("Only figures of the same task and photos are of the same row; measure them again.")
    return replace(first, sums=np.concatenate([part.sums for part in parts]))


def larger(a: Float[np.ndarray, "s g"], b: Float[np.ndarray, "s g"], *, seed: int = 0) -> Difference:
    """How much larger the mean over rooms is in ``a``: over the rooms by a paired bootstrap, and over the seeds.

    Args:
        a: A figure of every seed and room.
        b: The same of something else, paired.
        seed: Of the resampling.
    """
    gaps = a - b
    return Difference(_resampled(gaps.mean(0), seed), interval_over_seeds(gaps.mean(1).tolist()))


def fallen(now: Float[np.ndarray, "s g"], before: Float[np.ndarray, "s g"], *, seed: int = 0) -> Difference:
    """By which part of itself the mean of a figure fell, over rooms and over seeds as :func:`larger`; 0.2 = by 20 %.

    Args:
        now: A figure of every seed and room.
        before: The same before, paired.
        seed: Of the resampling.
    """
    over_seeds = interval_over_seeds((1 - now.mean(1) / before.mean(1)).tolist())
    pairs = np.stack([now.mean(0), before.mean(0)])
    mean = 1 - float(pairs[0].mean() / pairs[1].mean())
    if pairs.shape[1] < 2:
        return Difference(Interval(mean, None, None), over_seeds)
    drawn = pairs[:, _draws(pairs.shape[1], seed)].mean(2)
    low, high = np.percentile(1 - drawn[0] / drawn[1], [TAIL, 100 - TAIL])
    return Difference(Interval(mean, float(low), float(high)), over_seeds)


def _resampled(values: Float[np.ndarray, " g"], seed: int) -> Interval:
    """The mean of a value of every room, and where it would lie with other rooms."""
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, None, None)
    low, high = np.percentile(values[_draws(len(values), seed)].mean(1), [TAIL, 100 - TAIL])
    return Interval(mean, float(low), float(high))


def _draws(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(count, size=(RESAMPLES, count))
