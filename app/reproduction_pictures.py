"""The figure of ``fit3d reproduce fit3d``: features in colours, and what heads say of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from app.pictures import colour_depth, depth_range, row_sheet
from app.probe_pictures import class_colours

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from training.reproduction.fit3d.showing import Shown
    from uplift.pca import PCAColours

CELL = 240  # pixels, the width of a picture
FEATURES = {
    "original": "original",
    "fine-tuned": "fine-tuned",
    "blurred": "blurred targets",
    "lifted": "rendered lifted",
}
TOLD = {"twice": "original twice", "fine-tuned": "+ fine-tuned"}


def figure(shown: Sequence[Shown]) -> UInt8[np.ndarray, "h w 3"]:
    """A row for each photo: photo, features as PCA colours of the originals', classes and depth of heads, truth."""
    from uplift.pca import PCAColours

    basis = PCAColours.fit(torch.cat([one.maps["original"].flatten(0, 1) for one in shown]))
    titles = ["photo", *FEATURES.values()]
    titles += [f"classes, {name}" for name in TOLD.values()] + ["classes, truth"]
    titles += [f"depth, {name}" for name in TOLD.values()] + ["depth, truth"]
    return row_sheet(titles, [_pictures(one, basis) for one in shown], cell_width=CELL)


def _pictures(one: Shown, basis: PCAColours) -> list[UInt8[np.ndarray, "h w 3"]]:
    photo = one.photo.image()
    pictures = [photo]
    pictures += [(basis.colours(one.maps[name]) * 255).round().to(torch.uint8).numpy() for name in FEATURES]
    if one.photo.classes is not None:
        classes = [one.told["segmentation"].get(name) for name in TOLD]
        pictures += [_empty(photo) if told is None else class_colours(told) for told in classes]
        pictures.append(class_colours(one.photo.classes()))
    if one.photo.depth is not None:
        truth = one.photo.depth()
        limits, depths = depth_range([truth]), [one.told["depth"].get(name) for name in TOLD]
        pictures += [_empty(photo) if told is None else colour_depth(told, limits) for told in depths]
        pictures.append(colour_depth(truth, limits))
    return pictures


def _empty(photo: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    return np.full_like(photo, 255)
