"""Photos as networks learn from them: read, augmented, with what is true of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from render.errors import InputError
from training.distillation.specific.models import Goal
from training.distillation.specific.reading import side_by_side
from training.probing.photos import VOID, ProbePhoto

if TYPE_CHECKING:
    from jaxtyping import UInt8

LOOKED_AT = 2048  # photos whose pixels are in a fingerprint


class Sample(NamedTuple):
    """A square photo as a network sees it.

    Attributes:
        pixels: ``[3, s, s]`` float32 in [0, 1].
        truth: Of a photo the shares of the classes ``[k]`` float32, of pixels their class ``[s, s]`` uint8 (255 =
            void).
        inside: Where the photo is and no padding, ``[s, s]``; None of photos with a class each.
    """

    pixels: Tensor
    truth: Tensor
    inside: Tensor | None


class TaskPhotos:
    """Photos with their labels.

    Args:
        photos: All of them with what the task needs.
        goal: The task.
        classes: How many there are.
    """

    def __init__(self, photos: Sequence[ProbePhoto], goal: Goal, classes: int) -> None:
        self.photos, self.goal, self.classes = list(photos), goal, classes

    def __len__(self) -> int:
        return len(self.photos)

    @cached_property
    def labels(self) -> list[int]:
        """Of photos with a class each."""
        return [_label(photo) for photo in self.photos]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of what is learned from: names, labels and sizes of files of all photos, in order, and the pixels of
        photos and class maps, of more than 2048 of so many that are evenly spaced.
        """
        digest = hashlib.sha256()
        for photo in self.photos:
            sizes = [*_file_sizes(photo.image), *([] if photo.classes is None else _file_sizes(photo.classes))]
            digest.update(f"{photo.group}/{photo.name}:{photo.label}:{sizes};".encode())
        chosen = np.linspace(0, len(self) - 1, min(len(self), LOOKED_AT)).round().astype(int).tolist()
        for part in side_by_side(self._digest, chosen):
            digest.update(part)
        return digest.hexdigest()

    def image(self, index: int) -> UInt8[Tensor, "3 h w"]:
        """The photo."""
        return as_tensor(self.photos[index].image())

    def truth(self, index: int, size: tuple[int, int]) -> Tensor:
        """Of a photo ``[k]``, the class's share being 1; of pixels ``[h, w]``, at the size of the photo."""
        photo = self.photos[index]
        if self.goal == "classification":
            return functional.one_hot(torch.tensor(_label(photo)), self.classes).float()
        if photo.classes is None:
            raise InputError(f"{photo.name} has no class map; choose other data for segmentation.")
        found = torch.from_numpy(np.ascontiguousarray(photo.classes()))
        return found if tuple(found.shape) == size else at_nearest(found, size)

    def _digest(self, index: int) -> bytes:
        """Of a photo and of what is true of it."""
        photo = self.photos[index]
        digest = hashlib.sha256()
        for values in (photo.image(), *([] if photo.classes is None else [photo.classes()])):
            digest.update(f"{values.shape}".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.digest()

    def unknown(self, side: int) -> Tensor:
        """What is true of a square photo of which nothing is known."""
        if self.goal == "classification":
            return torch.zeros(self.classes)
        return torch.full((side, side), VOID, dtype=torch.uint8)


def as_tensor(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[Tensor, "3 h w"]:
    """A photo as torchvision's transforms take it."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)


def at_nearest(classes: UInt8[Tensor, "h w"], size: tuple[int, int]) -> UInt8[Tensor, "H W"]:
    """A class map of another size."""
    return functional.interpolate(classes[None, None], size, mode="nearest-exact")[0, 0]


def _file_sizes(read: object) -> list[int]:
    """Bytes of the files that a function will read, where they are among its arguments."""
    if isinstance(read, partial):
        return [size for one in read.args for size in _file_sizes(one)]
    return [read.stat().st_size] if isinstance(read, Path) and read.is_file() else []


def _label(photo: ProbePhoto) -> int:
    if photo.label is None:
        raise InputError(f"{photo.name} has no label; choose other data for classification.")
    return photo.label
