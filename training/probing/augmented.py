"""Augmented copies of photos, which heads learn from as from photos of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from render.errors import InputError
from training.augmentation import Augmentation, item_seeds
from training.probing.photos import ProbePhoto, Task

if TYPE_CHECKING:
    from jaxtyping import UInt8

BYTE = 255
COPIES = 4  # of each photo


@dataclass(frozen=True, eq=False)
class Augmenting:
    """How training photos of a probe are augmented.

    A head takes hundreds of steps of thousands of rows, so encoding photos anew for each would cost as many passes;
    instead a few copies of each photo are encoded once.

    Attributes:
        augmentation: What each copy goes through.  For depth pixels stay where they are: moved ones would show what no
            camera at their depth sees.
        copies: Of each photo; a probe encodes so many times as many photos, and their features are not kept on disk.
        seed: Of what copies go through, the same for the heads of all seeds.

    Raises:
        InputError: there are no copies.
    """

    augmentation: Augmentation
    copies: int = COPIES
    seed: int = 0

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise InputError(f"Expected at least one augmented copy of each photo, found {self.copies}.")

    def of(self, photos: Sequence[ProbePhoto], task: Task) -> list[ProbePhoto]:
        """Copies of photos: each photo's first, each photo's second, and so on.

        Raises:
            InputError: nothing is left of the augmentation where pixels must stay.
        """
        augmentation = self.augmentation.still() if task == "depth" else self.augmentation
        made = _LastMade(augmentation)
        whole = [photo if task == "segmentation" else replace(photo, classes=None) for photo in photos]
        copies = []
        for copy in range(self.copies):
            seeds = item_seeds(self.seed, copy, range(len(photos))).tolist()
            for photo, seed in zip(whole, seeds, strict=True):
                name, image = f"{photo.name} copy {copy}", partial(made.image, photo, seed)
                classes = None if photo.classes is None else partial(made.classes, photo, seed)
                copies.append(replace(photo, name=name, image=image, classes=classes, lasting=False))
        return copies


class _LastMade:
    """Makes copies, and keeps the last one: its photo and its class map are asked for one after the other."""

    def __init__(self, augmentation: Augmentation) -> None:
        self._augmentation = augmentation
        self._last: tuple[ProbePhoto, int] | None = None
        self._image, self._classes = np.zeros(0, np.uint8), np.zeros(0, np.uint8)

    def image(self, photo: ProbePhoto, seed: int) -> UInt8[np.ndarray, "h w 3"]:
        """The copy's photo."""
        self._make(photo, seed)
        return self._image

    def classes(self, photo: ProbePhoto, seed: int) -> UInt8[np.ndarray, "h w"]:
        """As large as the photo."""
        self._make(photo, seed)
        return self._classes

    def _make(self, photo: ProbePhoto, seed: int) -> None:
        import cv2

        if self._last == (photo, seed):
            return
        image = photo.image()
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / BYTE
        if photo.classes is None:
            changed = self._augmentation(pixels, [seed])
        else:
            size = (image.shape[1], image.shape[0])
            classes = cv2.resize(photo.classes(), size, interpolation=cv2.INTER_NEAREST_EXACT)
            changed, moved = self._augmentation.with_labels(pixels, torch.from_numpy(classes)[None], [seed])
            self._classes = moved[0].numpy()
        self._image = np.ascontiguousarray((changed[0] * BYTE).round().byte().permute(1, 2, 0).numpy())
        self._last = (photo, seed)
