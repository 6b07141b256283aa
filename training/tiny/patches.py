"""What patch features know of rooms, measured quickly while a training runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from training.tiny.images import RoomImages

if TYPE_CHECKING:
    from jaxtyping import Float

PHOTOS = 80  # that are looked at
RIDGE = 1e-2
REACH = 3  # patches from each other, of the pairs that are compared
PAIRS = 200_000
BATCH = 4


def measure_patches(encode: Callable[[np.ndarray], Tensor], images: RoomImages) -> dict[str, float]:
    """Class separability and grouping of patch features.

    Args:
        encode: Photos ``[b, h, w, 3]`` uint8 to features ``[b, gh, gw, c]``.
        images: Photos of rooms that were not trained on.

    Returns:
        ``miou``: of classes predicted by a ridge regression fitted in one half of the rooms, in the other half
        (points).  ``grouping``: how often two near patches of one thing are more alike than two near patches of
        different things (area under the ROC curve of cosine similarities, points; 50 = chance).
    """
    from sklearn.metrics import roc_auc_score

    few = np.linspace(0, len(images) - 1, min(PHOTOS, len(images))).round().astype(int)
    features = torch.cat([encode(images.photos[few[i : i + BATCH]]).cpu() for i in range(0, len(few), BATCH)])
    n, gh, gw = features.shape[:3]
    h, w = images.photos.shape[1:3]
    rows, columns = ((np.arange(g) + 0.5) * size / g for g, size in ((gh, h), (gw, w)))
    at = np.ix_(few, rows.astype(int), columns.astype(int))
    classes, instances = images.classes[at], images.instances[at]
    fitted = images.rooms[few] % 2 == 0
    miou = _ridge_miou(features.numpy(), classes, fitted)
    random = np.random.default_rng(0)
    photo = random.integers(n, size=PAIRS)
    y, x = random.integers(gh, size=PAIRS), random.integers(gw, size=PAIRS)
    y2, x2 = (np.clip(v + random.integers(-REACH, REACH + 1, PAIRS), 0, g - 1) for v, g in ((y, gh), (x, gw)))
    first, second = instances[photo, y, x], instances[photo, y2, x2]
    valid = (first >= 0) & (second >= 0) & ((y != y2) | (x != x2))
    unit = torch.nn.functional.normalize(features - features.mean((0, 1, 2)), dim=-1).numpy()
    photo, y, x, y2, x2 = (values[valid] for values in (photo, y, x, y2, x2))
    alike = np.einsum("mc,mc->m", unit[photo, y, x], unit[photo, y2, x2])
    grouping = float(roc_auc_score((first == second)[valid], alike))
    return {"miou": 100 * miou, "grouping": 100 * grouping}


def _ridge_miou(features: Float[np.ndarray, "n gh gw c"], classes: np.ndarray, fitted: np.ndarray) -> float:
    """Mean IoU over the classes that the other half shows."""
    known = classes < 255
    x, y = features[fitted][known[fitted]], classes[fitted][known[fitted]].astype(int)
    mean, std = x.mean(0), x.std(0) + 1e-6
    count = int(classes[known].max()) + 1
    x = np.concatenate([(x - mean) / std, np.ones((len(x), 1))], 1)
    gram = x.T @ x / len(x) + RIDGE * np.eye(x.shape[1])
    model = np.linalg.solve(gram, x.T @ (np.eye(count)[y] - 1 / count) / len(x))
    other = (features[~fitted][known[~fitted]] - mean) / std
    guess = (np.concatenate([other, np.ones((len(other), 1))], 1) @ model).argmax(1)
    truth = classes[~fitted][known[~fitted]].astype(int)
    confusion = np.bincount(truth * count + guess, minlength=count * count).reshape(count, count)
    union = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    shown = confusion.sum(1) > 0
    return float((confusion.diagonal()[shown] / union[shown]).mean())
