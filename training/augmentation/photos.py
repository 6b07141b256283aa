"""Labelled photos as networks here see them: squares of one size, in batches (table A.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from render.errors import InputError
from training.distillation.specific.reading import PHOTO_MEMORY, KeptPhotos, side_by_side
from training.distillation.specific.samples import TaskPhotos
from training.probing.photos import MARGIN, ProbeData, ProbePhoto, resized

if TYPE_CHECKING:
    from jaxtyping import Float, Int64, UInt8

USUAL = 224  # pixels of squares of larger photos


class Squares(TaskPhotos):
    """Photos with a class each, of which squares are seen.

    Photos of that size, such as CIFAR's, are seen whole; larger ones were shrunk to a little more, of which a random
    square is taken in training (R(256) + RC(224) in table A.3).

    Args:
        photos: As :func:`squares_of` gives them.
        classes: How many there are.
        side: Pixels of a square.
    """

    def __init__(self, photos: Sequence[ProbePhoto], classes: int, side: int) -> None:
        super().__init__(photos, "classification", classes)
        self.side = side

    def targets(self, indices: Sequence[int]) -> Int64[Tensor, " b"]:
        """Classes of photos."""
        return torch.tensor([self.labels[index] for index in indices])

    def pixels(self, indices: Sequence[int], seeds: Sequence[int] | None = None) -> Float[Tensor, "b 3 s s"]:
        """Squares of photos, in [0, 1].

        Args:
            indices: Of the photos.
            seeds: Of the places of the squares; None = the middle.
        """
        places = [None] * len(indices) if seeds is None else list(seeds)
        return torch.stack(side_by_side(self._square, list(zip(indices, places, strict=True))))

    def _square(self, item: tuple[int, int | None]) -> Float[Tensor, "3 s s"]:
        index, seed = item
        pixels = self.image(index)
        spare = [length - self.side for length in pixels.shape[1:]]
        if seed is None:
            top, left = (length // 2 for length in spare)
        else:
            random = np.random.default_rng(seed)
            top, left = (int(random.integers(length + 1)) for length in spare)
        return pixels[:, top : top + self.side, left : left + self.side].float() / 255


def squares_of(data: ProbeData, side: int | None = None, *, memory: int = PHOTO_MEMORY) -> tuple[ProbeData, int]:
    """Photos with a class each as they are learned from, and the pixels of their squares.

    Args:
        data: Photos of any size; each is read once, as far as the memory goes.
        side: Of the squares; None = that of the first photo, 224 at most.
        memory: Bytes for decoded photos.

    Raises:
        InputError: the photos have no labels, or all that are learned from the same.
    """
    known = replace(data, side=None, enlarge=False, square=False).for_task("classification")
    seen_classes = {photo.label for photo in known.train if photo.label is not None}
    if len(seen_classes) < 2:
        only = ", ".join(known.classes[label] for label in seen_classes)
        raise InputError(f"Expected photos of two classes or more to learn from in {known.name}, found only {only}.")
    if side is None:
        side = min(USUAL, *known.train[0].image().shape[:2])
    if side < 1:
        raise InputError(f"Expected squares of 1 pixel or more, found {side}.")
    kept = KeptPhotos(memory)

    def seen(photos: Sequence[ProbePhoto]) -> list[ProbePhoto]:
        return kept.keeping([replace(photo, image=partial(shrunk, photo.image, side)) for photo in photos])

    return replace(known, train=seen(known.train), test=seen(known.test)), side


def shrunk(image: Callable[[], UInt8[np.ndarray, "h w 3"]], side: int) -> UInt8[np.ndarray, "H W 3"]:
    """A photo whose shorter side has as many pixels as a square, or of a larger one 256 for every 224."""
    photo = image()
    shorter = min(photo.shape[:2])
    if shorter == side:
        return photo
    return resized(lambda: photo, round(side * MARGIN) if shorter > side else side, enlarge=True)
