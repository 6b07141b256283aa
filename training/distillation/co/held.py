"""Photos that are not trained on: how close the student is to each teacher there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.distillation.co.losses import distillation_loss
from training.distillation.co.photos import Photos
from training.distillation.co.seeing import whole
from training.distillation.co.statistics import TeacherStatistics
from training.distillation.co.student import Student
from training.distillation.co.teachers import Teacher, on_grid
from uplift.encoders.base import Tokens

if TYPE_CHECKING:
    from jaxtyping import UInt8

MOST = 64  # photos


class Compared(NamedTuple):
    """A photo, and what is said of it.

    Attributes:
        image: ``[h, w, 3]`` uint8.
        student: The student's own patches; ``[gh, gw, c]``.
        wanted: What each teacher says, standardized, on the student's grid, batches of one.
        told: What the projectors say.
    """

    image: UInt8[np.ndarray, "h w 3"]
    student: Tensor
    wanted: list[Tokens]
    told: list[Tokens]


class HeldPhotos:
    """Photos that are not trained on, and what teachers say of them, which is computed once."""

    def __init__(self, photos: Photos, teachers: Sequence[Teacher], *, side: int, most: int = MOST) -> None:
        """Choose photos; nothing is read yet.

        Args:
            photos: To choose from, evenly.
            teachers: Who says what the student should.
            side: Larger photos are shrunk to so many pixels along their longer side.
            most: How many photos.
        """
        chosen = np.linspace(0, len(photos) - 1, min(most, len(photos))).round().astype(int)
        self._photos, self._teachers, self._side = photos, list(teachers), side
        self._chosen: list[int] = chosen.tolist()
        self._said: dict[int, tuple[UInt8[Tensor, "3 h w"], list[Tokens]]] = {}

    def __len__(self) -> int:
        return len(self._chosen)

    @torch.no_grad()
    def compared(
        self, student: Student, spaces: Iterable[TeacherStatistics], most: int | None = None
    ) -> Iterator[Compared]:
        """What student and teachers say of so many of the photos, evenly spaced; None = of all."""
        count = len(self) if most is None else min(most, len(self))
        chosen = [self._chosen[i] for i in np.linspace(0, len(self) - 1, count).round().astype(int)]
        device = student.encoder.device
        for index in chosen:
            pixels, said = self._of(index, student)
            layers = student(pixels[None].to(device).to(torch.float32) / 255)
            wanted = [
                space.standardized(Tokens(*(None if part is None else part.to(device, torch.float32) for part in one)))
                for space, one in zip(spaces, said, strict=True)
            ]
            told = [student.told(teacher, layers) for teacher in range(len(said))]
            yield Compared(pixels.permute(1, 2, 0).numpy(), layers[-1].patches[0], wanted, told)

    def figures(self, student: Student, spaces: Iterable[TeacherStatistics]) -> dict[str, float]:
        """For each teacher the mean loss, and the mean cosine between patches as told and as wanted."""
        sums: dict[str, float] = {}
        for one in self.compared(student, spaces):
            for teacher, told, wanted in zip(self._teachers, one.told, one.wanted, strict=True):
                cosine = functional.cosine_similarity(told.patches, wanted.patches, dim=-1).mean()
                for name, value in (("loss", distillation_loss(told, wanted)[0]), ("cosine", cosine)):
                    key = f"{name}_{teacher.name}"
                    sums[key] = sums.get(key, 0.0) + float(value) / len(self)
        return sums

    def _of(self, index: int, student: Student) -> tuple[UInt8[Tensor, "3 h w"], list[Tokens]]:
        found = self._said.get(index)
        if found is None:
            image = self._photos.image(index)
            grid = student.encoder.grid(image.shape[0], image.shape[1], self._side)
            pixels = whole(image, grid, student.encoder.patch)
            said = [on_grid(teacher.describe(pixels[None]), grid) for teacher in self._teachers]
            halved = [Tokens(*(None if part is None else part.half().cpu() for part in one)) for one in said]
            found = self._said[index] = pixels, halved
        return found
