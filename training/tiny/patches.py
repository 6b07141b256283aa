"""What patch features know of rooms, measured quickly while a training runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from render.spacing import evenly_spaced
from training.tiny.images import RoomImages

if TYPE_CHECKING:
    from jaxtyping import Float

PHOTOS = 80  # that are looked at
REGULARIZATION = 0.01  # C of the logistic regression
REACH = 3  # patches from each other, of the pairs that are compared
PAIRS = 200_000
BATCH = 4


def measure_patches(encode: Callable[[np.ndarray], Tensor], images: RoomImages) -> dict[str, float]:
    """Class separability and grouping of patch features.

    Args:
        encode: Photos ``[b, h, w, 3]`` uint8 to features ``[b, gh, gw, c]``.
        images: Photos of rooms that were not trained on.

    Returns:
        ``accuracy``: of classes predicted by a logistic regression fitted in one half of the rooms, in the other
        half, every class weighing the same; mean over both halves (points; NaN where a half shows no class).
        ``grouping``: how often two near patches of one thing are more alike than two near patches of different
        things (area under the ROC curve of cosine similarities of centred features, points; 50 = chance).
    """
    from sklearn.metrics import roc_auc_score

    few = evenly_spaced(len(images), PHOTOS)
    features = torch.cat([encode(images.photos[few[i : i + BATCH]]).cpu() for i in range(0, len(few), BATCH)])
    n, gh, gw = features.shape[:3]
    h, w = images.photos.shape[1:3]
    rows, columns = ((np.arange(g) + 0.5) * size / g for g, size in ((gh, h), (gw, w)))
    at = np.ix_(few, rows.astype(int), columns.astype(int))
    classes, instances = images.classes[at], images.instances[at]
    even = images.rooms[few] % 2 == 0
    accuracy = float(np.mean([_accuracy(features.numpy(), classes, fitted) for fitted in (even, ~even)]))
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
    return {"accuracy": 100 * accuracy, "grouping": 100 * grouping}


def _accuracy(features: Float[np.ndarray, "n gh gw c"], classes: np.ndarray, fitted: np.ndarray) -> float:
    """Balanced accuracy in the photos that are not fitted, over the classes that the fitted ones show."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import recall_score
    from sklearn.preprocessing import StandardScaler

    known = classes < 255
    shown = np.unique(classes[fitted][known[fitted]])
    known &= np.isin(classes, shown)
    (x, y), (other, truth) = ((features[half][known[half]], classes[half][known[half]]) for half in (fitted, ~fitted))
    if len(shown) < 2 or not len(truth):
        return float("nan")
    scaler = StandardScaler().fit(x)
    model = LogisticRegression(C=REGULARIZATION, class_weight="balanced", tol=1e-3, max_iter=500)
    guess = model.fit(scaler.transform(x), y).predict(scaler.transform(other))
    return float(recall_score(truth, guess, labels=np.unique(truth), average="macro", zero_division=0))
