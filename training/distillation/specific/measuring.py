"""How well a network tells the classes of photos that it did not learn from (appendix B.1.3, at test time)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from render.progress import Progress, silent
from training.distillation.specific.augmentation import plain_samples, window_starts, with_shorter_side
from training.distillation.specific.features import FrozenFeatures
from training.distillation.specific.models import TaskModel, at_pixels
from training.distillation.specific.reading import side_by_side
from training.distillation.specific.samples import TaskPhotos, as_tensor
from training.probing.heads import at_size
from training.probing.photos import ProbePhoto
from training.probing.running import truth_of
from training.probing.scores import ScoreKeeper, Scores, figures_of

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

AT_ONCE = 64  # photos of a classification, and windows of a segmentation, that a network sees at once
CHOSEN_BY = {"segmentation": "miou", "classification": "accuracy"}  # the figure that a search maximizes


@torch.no_grad()
def measure(
    model: TaskModel,
    photos: Sequence[ProbePhoto],
    classes: Sequence[str],
    *,
    features: FrozenFeatures | None = None,
    what: str = "measuring",
    progress: Progress = silent,
) -> Scores:
    """Figures of a network: of photos by their middle square, of pixels by sliding windows.

    Args:
        model: In evaluation mode.
        photos: With what is true of them.
        classes: Their names.
        features: What a frozen encoder said of the photos before; None = it is asked anew.
        what: How progress calls it.
        progress: Told of the photos.
    """
    keeper = ScoreKeeper(model.spec.goal, classes, 1)
    given = TaskPhotos(photos, model.spec.goal, len(classes))
    kept = features if features is not None and model.spec.frozen else FrozenFeatures(0)
    of = (given.fingerprint, model.spec.side) if model.spec.frozen else ()
    if model.spec.goal == "classification":
        for start in range(0, len(photos), AT_ONCE):
            progress(start, len(photos), what)
            some = range(start, min(len(photos), start + AT_ONCE))
            found = kept.measured(model, (*of, start), partial(middle_squares, model, given, some))
            for index, told in zip(some, model.read(found).argmax(1).tolist(), strict=True):
                keeper.add_label(photos[index].group, 0, int(told), int(truth_of(photos[index], "classification")[0]))
    else:
        for index, photo in enumerate(photos):
            progress(index, len(photos), what)
            truth = truth_of(photo, "segmentation")
            said = told_classes(model, photo.image(), truth.shape[:2], kept, (*of, index))
            keeper.add_classes(photo.group, 0, said, truth)
    progress(len(photos), len(photos), what)
    return keeper.scores()


def figures_on(
    model: TaskModel, photos: Sequence[ProbePhoto], classes: Sequence[str], features: FrozenFeatures | None = None
) -> dict[str, float]:
    """Figures by name."""
    found = figures_of(measure(model, photos, classes, features=features))
    return {name: values[0] for name, values in found.items()}


def middle_squares(model: TaskModel, photos: TaskPhotos, indices: Sequence[int]) -> Float[Tensor, "b 3 s s"]:
    """Photos as a network for their classes sees them in a test."""
    unknown, side = photos.unknown(1), model.spec.side

    def square(index: int) -> Tensor:
        return plain_samples(photos.image(index), unknown, "classification", side)[0].pixels

    return torch.stack(side_by_side(square, indices)).to(next(model.parameters()).device)


@torch.no_grad()
def told_classes(
    model: TaskModel,
    image: UInt8[np.ndarray, "h w 3"],
    size: tuple[int, ...],
    kept: FrozenFeatures | None = None,
    key: Hashable = None,
) -> UInt8[np.ndarray, "H W"]:
    """The class of every pixel, at that size: from windows half of one apart, whose logits are averaged (B.1.3).

    Windows are as large as what the network was trained on, of the photo with the shorter side that the training had.

    Args:
        model: In evaluation mode.
        image: The photo.
        size: Rows and columns.
        kept: What a frozen encoder said of the windows before.
        key: Of the photo there.
    """
    side, kept = model.spec.side, kept or FrozenFeatures(0)
    pixels = with_shorter_side(as_tensor(image), side).to(next(model.parameters()).device)
    rows, columns = (window_starts(length, side, max(1, side // 2)) for length in pixels.shape[1:])
    places = [(y, x) for y in rows for x in columns]
    sums = pixels.new_zeros(model.spec.classes, *pixels.shape[1:])
    counts = pixels.new_zeros(pixels.shape[1:])
    for start in range(0, len(places), AT_ONCE):
        some = places[start : start + AT_ONCE]
        windows = [pixels[:, y : y + side, x : x + side] for y, x in some]
        logits = model.read(kept.measured(model, (key, start), partial(torch.stack, windows)))
        for (y, x), said in zip(some, at_pixels(logits, (side, side)), strict=True):
            sums[:, y : y + side, x : x + side] += said
            counts[y : y + side, x : x + side] += 1
    return at_size((sums / counts)[None], (int(size[0]), int(size[1])), classes=True)
