"""Photos that are not trained on: how close the student is to each teacher there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.distillation.co.losses import distillation_loss
from training.distillation.co.outputs import Outputs
from training.distillation.co.photos import Photos
from training.distillation.co.sampling import evenly_over_owners
from training.distillation.co.seeing import Seen, Sight
from training.distillation.co.statistics import TeacherStatistics
from training.distillation.co.student import Student
from training.distillation.co.teachers import Teacher, batch_of, moved
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
    """Photos that are not trained on, seen whole; what teachers say of them is the outputs' to keep.

    Attributes:
        photos: That they are chosen from.
        side: Larger photos are shrunk to so many pixels along their longer side.
        chosen: Numbers of the photos.
    """

    def __init__(
        self,
        photos: Photos,
        teachers: Sequence[Teacher],
        outputs: Outputs,
        sight: Sight,
        *,
        side: int,
        most: int = MOST,
    ) -> None:
        """Choose photos; nothing is read yet.

        Args:
            photos: To choose from, evenly over owners and folders as a training draws them.
            teachers: Who says what the student should.
            outputs: Of the teachers.
            sight: Sees whole photos.
            side: Larger photos are shrunk to so many pixels along their longer side.
            most: About how many photos.
        """
        self.side, self.chosen = side, evenly_over_owners(photos, most)
        self.photos, self._teachers, self._outputs, self._sight = photos, list(teachers), outputs, sight
        self._seen: dict[int, Seen] = {}

    def __len__(self) -> int:
        return len(self.chosen)

    def look(self, photos: Sequence[int]) -> list[Seen]:
        """What is seen of some of the photos, by their numbers; kept, since there are few."""
        for index in photos:
            if index not in self._seen:
                self._seen[index] = self._sight.whole(self.photos.read(index), self.side)
        return [self._seen[index] for index in photos]

    def view(self, photo: int) -> str:
        """Tells the file of a photo, when it changed, and how it is seen; "" where the file is not known."""
        return self._sight.view(photo, self.side, self.photos)

    @torch.no_grad()
    def compared(
        self, student: Student, spaces: Iterable[TeacherStatistics], most: int | None = None
    ) -> Iterator[Compared]:
        """What student and teachers say of about so many of the photos, evenly over their owners; None = of all."""
        spaces, device = list(spaces), student.encoder.device
        for index in self.chosen if most is None else evenly_over_owners(self.photos, most, self.chosen):
            (seen,) = self.look([index])
            grid = self._sight.nodes(seen)
            pixels = seen.pixels[None].to(device).to(torch.float32) / 255
            layers = student(pixels)
            said = [batch_of(self._outputs.get(teacher, seen, grid)) for teacher in self._teachers]
            wanted = [space.standardized(moved(one, device)) for space, one in zip(spaces, said, strict=True)]
            told = [student.told(teacher, layers) for teacher in range(len(said))]
            own = student.described(pixels, layers).patches[0]
            yield Compared(seen.pixels.permute(1, 2, 0).numpy(), own, wanted, told)

    def figures(self, student: Student, spaces: Iterable[TeacherStatistics]) -> dict[str, float]:
        """For each teacher the mean loss, and the mean cosine between patches as told and as wanted.

        All photos count for all teachers, however those for training are shared.
        """
        sums: dict[str, float] = {}
        for one in self.compared(student, spaces):
            for teacher, told, wanted in zip(self._teachers, one.told, one.wanted, strict=True):
                cosine = functional.cosine_similarity(told.patches, wanted.patches, dim=-1).mean()
                for name, value in (("loss", distillation_loss(told, wanted)[0]), ("cosine", cosine)):
                    key = f"{name}_{teacher.name}"
                    sums[key] = sums.get(key, 0.0) + float(value) / len(self)
        return sums
