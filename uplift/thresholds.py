"""Thresholds that are chosen by looking at the scores, and the overlap that they are judged by.

Every threshold means the same: what lies above it (``>``) is inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from torch import Tensor

from render.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Shaped

LEVELS = 1 << 16  # of Li's method, which then works on a histogram
BINS = 1024  # of Otsu's method
CHUNK = 1 << 20  # values that are widened to float64 at a time

Values: TypeAlias = np.ndarray | Tensor


def li_threshold(values: Shaped[Values, "..."]) -> float:
    """Threshold by minimum cross entropy (Li and Lee 1993), scikit-image's iteration on 65536 levels.

    Args:
        values: Scores of any shape and range; numpy or torch.

    Returns:
        A value above which the scores are foreground; constant scores give their value.

    Raises:
        InputError: there are no values, or they are not all finite.
    """
    flat, low, high = _flat(values, "Li's threshold")
    if low == high:
        return low
    from skimage.filters import threshold_li

    scale = (LEVELS - 1) / (high - low)
    levels = np.empty(flat.size, np.uint16)
    for start in range(0, flat.size, CHUNK):
        part = flat[start : start + CHUNK].astype(np.float64)
        levels[start : start + CHUNK] = ((part - low) * scale + 0.5).clip(0, LEVELS - 1)
    return low + float(threshold_li(levels)) / scale


def otsu_threshold(values: Shaped[Values, "..."]) -> float:
    """Threshold of the largest variance between two classes (Otsu 1979), scikit-image's on 1024 bins.

    Every value of a gap splits the scores alike; its middle is taken.

    Args:
        values: Scores of any shape and range; numpy or torch.

    Returns:
        A value above which the scores are foreground; constant scores give their value.

    Raises:
        InputError: there are no values, or they are not all finite.
    """
    flat, low, high = _flat(values, "Otsu's threshold")
    if low == high:
        return low
    from skimage.filters import threshold_otsu

    counts, centres = _histogram(flat, low, high, BINS)
    split = float(threshold_otsu(hist=(counts, centres)))
    inside = flat > split
    below = float(flat.max(where=~inside, initial=low))
    above = float(flat.min(where=inside, initial=high))
    return (below + above) / 2


def histogram(values: Shaped[Values, "..."], bins: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Counts ``[bins]`` and edges ``[bins + 1]`` of scores, for a person who sets a threshold.

    Raises:
        InputError: there are no values, or they are not all finite.
    """
    flat, low, high = _flat(values, "A histogram")
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts, _ = _histogram(flat, low, high, bins)
    return counts, np.linspace(low, high, bins + 1)


def best_iou_threshold(scores: Shaped[Values, "..."], mask: Bool[Values, "..."]) -> tuple[float, float]:
    """The threshold whose foreground overlaps a mask best, exactly: all thresholds are tried by sorting.

    Args:
        scores: Any shape.
        mask: What should be above the threshold; the shape of ``scores``.

    Returns:
        The threshold, halfway between two scores so that ``>`` and ``>=`` agree, and its IoU.  Of equally
        good ones it is the highest.

    Raises:
        InputError: shapes differ, the mask is empty, or scores are not finite.
    """
    flat, low, _ = _flat(scores, "A threshold of the best IoU")
    truth = _as_bool(mask).reshape(-1)
    if truth.size != flat.size:
        raise InputError(
            f"Scores and mask must have the same shape, found {list(scores.shape)} and {list(mask.shape)}."
        )
    positives = int(truth.sum())
    if positives == 0:
        raise InputError("A threshold is chosen by its overlap with a mask, but the mask is empty; mark some pixels.")
    order = np.argsort(flat, kind="stable")[::-1]
    ordered = flat[order].astype(np.float64)
    hits = np.cumsum(truth[order])
    ends = np.append(np.flatnonzero(np.diff(ordered)), flat.size - 1)  # the last of each run of equal scores
    overlaps = hits[ends] / (positives + ends + 1 - hits[ends])
    best = int(np.argmax(overlaps))
    last = int(ends[best])
    if last == flat.size - 1:
        return low - 1e-6 * max(1.0, abs(low)), float(overlaps[best])
    return float((ordered[last] + ordered[last + 1]) / 2), float(overlaps[best])


def iou(prediction: Bool[Values, "h w"], truth: Bool[Values, "h w"], tolerance: float = 0) -> float:
    """Intersection over union of two masks; 1 if both are empty.

    Args:
        prediction: ``[h, w]``.
        truth: ``[h, w]``.
        tolerance: Pixels this close to the true boundary are not counted, in pixels: a band twice as wide.

    Raises:
        InputError: shapes differ, or the tolerance is negative.
    """
    a, b = _as_bool(prediction), _as_bool(truth)
    if a.shape != b.shape or tolerance < 0:
        raise InputError(
            f"Expected two masks of one shape and a tolerance of at least 0, found {list(a.shape)}, "
            f"{list(b.shape)} and {tolerance}."
        )
    if tolerance > 0 and b.any() and not b.all():
        from scipy.ndimage import distance_transform_edt

        counted = np.where(b, distance_transform_edt(b), distance_transform_edt(~b)) > tolerance
        a, b = a & counted, b & counted
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def _as_bool(mask: Values) -> np.ndarray:
    array = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    if array.dtype != np.bool_:
        raise InputError(f"A mask must be boolean, found {array.dtype}; compare it with a threshold first.")
    return array


def _flat(values: Values, what: str) -> tuple[np.ndarray, float, float]:
    """The values as one row, not copied where that can be, their smallest and their largest."""
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    flat = array.reshape(-1)
    if flat.size == 0:
        raise InputError(f"{what} needs at least one value, found none.")
    low, high = float(flat.min()), float(flat.max())
    if not np.isfinite([low, high]).all():
        raise InputError(f"{what} needs finite values, found NaN or infinity.")
    return flat, low, high


def _histogram(flat: np.ndarray, low: float, high: float, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts and centres of equal bins over ``low .. high``."""
    counts = np.zeros(bins, np.int64)
    for start in range(0, flat.size, CHUNK):
        part = flat[start : start + CHUNK].astype(np.float64)
        counts += np.histogram(part, bins, (low, high))[0]
    edges = np.linspace(low, high, bins + 1)
    return counts, (edges[:-1] + edges[1:]) / 2
