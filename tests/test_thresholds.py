"""Thresholds chosen by looking at the scores."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch

from render.errors import InputError
from uplift.thresholds import best_iou_threshold, histogram, iou, li_threshold, otsu_threshold


def two_modes(n: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.concatenate([generator.normal(0.2, 0.03, n), generator.normal(0.7, 0.05, n // 4)]).astype(np.float32)


@pytest.mark.parametrize("threshold", [li_threshold, otsu_threshold])
def test_two_modes_are_separated(threshold: Callable[..., float]) -> None:
    values = two_modes(4000)
    found = threshold(values)
    assert 0.3 < found < 0.6
    assert int((values > found).sum()) == 1000


@pytest.mark.parametrize("threshold", [li_threshold, otsu_threshold])
def test_thresholds_follow_scale_shape_and_kind_of_array(threshold: Callable[..., float]) -> None:
    values = two_modes(4000)
    found = threshold(values)
    assert threshold(torch.from_numpy(values).reshape(50, 100)) == found
    assert threshold(values * 1e-6) == pytest.approx(found * 1e-6, rel=1e-3)


@pytest.mark.parametrize("threshold", [li_threshold, otsu_threshold])
@pytest.mark.parametrize("value", [0.0, -3.5, 7.0])
def test_constant_values_give_their_value(threshold: Callable[..., float], value: float) -> None:
    assert threshold(np.full(10, value)) == value


def test_values_in_many_chunks_give_the_threshold_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    values = two_modes(4000)
    whole = li_threshold(values), otsu_threshold(values)
    monkeypatch.setattr("uplift.thresholds.CHUNK", 64)
    assert (li_threshold(values), otsu_threshold(values)) == whole


def test_otsu_is_the_best_split_of_all() -> None:
    values = np.sort(np.random.default_rng(1).gamma(1.5, 1.0, 300))
    splits = [(a + b) / 2 for a, b in pairwise(values)]

    def between(t: float) -> float:
        low, high = values[values <= t], values[values > t]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2

    best = max(between(t) for t in splits)
    assert between(otsu_threshold(values)) > 0.999 * best


def test_li_is_where_its_iteration_stands_still() -> None:
    values = np.random.default_rng(2).gamma(1.5, 1.0, 20_000)
    t = li_threshold(values) - values.min()
    above, below = values[values - values.min() > t].mean(), values[values - values.min() <= t].mean()
    back, fore = below - values.min(), above - values.min()
    assert (back - fore) / (np.log(back) - np.log(fore)) == pytest.approx(t, rel=1e-3)


def test_no_threshold_does_better_than_the_best_one() -> None:
    generator = np.random.default_rng(3)
    scores = generator.integers(0, 40, 500) / 40
    mask = scores + generator.normal(0, 0.2, 500) > 0.6
    threshold, best = best_iou_threshold(scores, mask)
    tried = [iou((scores > t)[None], mask[None]) for t in np.linspace(-0.01, 1, 1000)]
    assert best == pytest.approx(max(tried))
    assert iou((scores > threshold)[None], mask[None]) == iou((scores >= threshold)[None], mask[None]) == best


def test_the_best_threshold_may_let_everything_in() -> None:
    scores = torch.tensor([3.0, 3.0, 4.0])
    threshold, best = best_iou_threshold(scores, torch.ones(3, dtype=torch.bool))
    assert best == 1
    assert bool((scores > threshold).all())
    constant, overlap = best_iou_threshold(torch.zeros(4), torch.tensor([True, False, False, False]))
    assert constant < 0
    assert overlap == 0.25


def test_overlap_counts_what_lies_farther_from_the_boundary_than_the_tolerance() -> None:
    truth = np.zeros((20, 30), bool)
    truth[:, :15] = True
    shifted = np.roll(truth, 2, axis=1)
    shifted[:, :2] = True
    far = shifted.copy()
    far[:, 20] = True
    assert iou(truth, truth) == 1
    assert iou(shifted, truth) == pytest.approx(15 / 17)
    assert iou(shifted, truth, tolerance=1) == pytest.approx(14 / 15)
    assert iou(shifted, truth, tolerance=2) == 1
    assert iou(far, truth, tolerance=2) == pytest.approx(13 / 14)
    assert iou(~truth, truth) == 0
    assert iou(np.zeros_like(truth), np.zeros_like(truth)) == 1


def test_a_histogram_counts_every_value_once() -> None:
    values = two_modes(4000)
    counts, edges = histogram(values, 16)
    assert counts.sum() == 5000
    assert (edges[0], edges[-1]) == (values.min(), values.max())
    assert histogram(np.zeros(3), 4)[0].sum() == 3


def test_what_cannot_be_thresholded_is_refused() -> None:
    with pytest.raises(InputError, match="at least one value"):
        otsu_threshold(np.zeros(0))
    with pytest.raises(InputError, match="finite"):
        li_threshold(np.array([0.0, np.nan]))
    with pytest.raises(InputError, match="mask is empty"):
        best_iou_threshold(np.arange(3.0), np.zeros(3, bool))
    with pytest.raises(InputError, match="same shape"):
        best_iou_threshold(np.arange(3.0), np.ones(4, bool))
    with pytest.raises(InputError, match="one shape"):
        iou(np.ones((2, 2), bool), np.ones((2, 3), bool))
    with pytest.raises(InputError, match="boolean, found float64"):
        iou(np.ones((2, 2)), np.ones((2, 2)))
