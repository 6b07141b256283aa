"""What teachers will be asked of whole photos: known before the first step, described then, and how large it is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from render.progress import Progress, silent
from training.distillation.co.held import HeldPhotos
from training.distillation.co.outputs import KEPT_BYTES, Outputs
from training.distillation.co.photos import Photos
from training.distillation.co.sampling import Sampler
from training.distillation.co.seeing import Sight
from training.distillation.co.teachers import Teacher
from training.loop.processes import several_processes

if TYPE_CHECKING:
    from jaxtyping import Bool, UInt8
    from torch import Tensor

FIRST = 64  # photos that the first statistics are of


class Needs(NamedTuple):
    """What a training takes beside its networks, in bytes, about.

    Attributes:
        memory: Photos, and what teachers say of them, as far as they are kept.
        disk: What teachers say of all photos that will be drawn; 0 where it is not kept.
        photos: How many these are.
    """

    memory: int
    disk: int
    photos: int


class Pace(NamedTuple):
    """How long teachers take, in seconds, about, in one process.

    Attributes:
        ahead: To describe all photos that are known ahead, of which nothing is kept yet.
        step: For the photos of a step; 0 where all of them are known ahead.
    """

    ahead: float
    step: float


class Ahead:
    """The photos of the steps to come, of which teachers say once what they say."""

    def __init__(
        self,
        teachers: Sequence[Teacher],
        photos: Photos,
        sampler: Sampler,
        sight: Sight,
        outputs: Outputs | None,
        *,
        once: bool,
        seed: int,
        steps: int,
    ) -> None:
        """Set up.

        Args:
            teachers: In order.
            photos: Of the training.
            sampler: Draws them.
            sight: Sees them.
            outputs: What teachers say of whole photos; None = that is not kept.
            once: Whether photos are seen whole; otherwise teachers are asked at every step, and nothing is known ahead.
            seed: Of the schedule.
            steps: Of the schedule.
        """
        self._teachers, self._photos, self._sampler, self._sight = list(teachers), photos, sampler, sight
        self._outputs, self._once, self._seed, self._steps = outputs, once, seed, steps

    def first(self) -> list[int]:
        """The photos that the first statistics are of."""
        return self._sampler.evenly(FIRST)

    def drawn(self, done: int = 0) -> dict[int, list[int]]:
        """The photos that steps after the first ``done`` will draw, by the side at which they are seen.

        Those of the first statistics are among them as long as no step is done.
        """
        if not self._once:
            return {}
        sides = np.array([self._sight.stages.side_at(step / self._steps) for step in range(done, self._steps)])
        found: dict[int, set[int]] = {}
        for side in dict.fromkeys(sides.tolist()):
            steps: list[int] = (np.flatnonzero(sides == side) + done).tolist()
            found[side] = set(self._sampler.upcoming(self._seed, steps))
        if not done:
            found[self._sight.stages.side_at(0.0)].update(self.first())
        return {side: sorted(photos) for side, photos in found.items()}

    def describe(self, done: int, held: HeldPhotos | None, progress: Progress = silent) -> None:
        """Let teachers describe the photos to come, and those for validation; processes share the work.

        Args:
            done: How many steps there were.
            held: Photos for validation.
            progress: Told of every photo and teacher.

        Raises:
            InputError: what a teacher says is not finite, or a photo cannot be read.
            OSError: the disk is full, or the folder of the outputs cannot be written.
        """
        if self._outputs is None:
            return
        many = several_processes()
        first = torch.distributed.get_rank() / torch.distributed.get_world_size() if many else 0.0
        prepare = partial(self._outputs.prepare, nodes=self._sight.nodes, first=first, progress=progress)
        for side, photos in self.drawn(done).items():
            look = partial(self._sight.look_at_whole, side=side)
            view = partial(self._sight.view, side=side)
            prepare(self._listeners(photos), look, view=view, what=f"what teachers say at {side} pixels")
        if held is not None:
            everyone = [(teacher, held.chosen) for teacher in self._teachers]
            prepare(everyone, held.look, view=held.view, what="what teachers say of photos for validation")
        if many:
            torch.distributed.barrier()

    def needs(self, held: HeldPhotos | None) -> Needs:
        """What the training takes, as the first photos of all sources tell; reads these."""
        drawn = self.drawn()
        said = sum(
            self._bytes_of(self._photos, photo, side, may)
            for side, photos in drawn.items()
            for photo, may in zip(photos, self._sampler.may(photos), strict=True)
        )
        memory, everyone = self._photos.memory(), np.ones(len(self._teachers), bool)
        if self._once:  # shrunk ones alone are kept
            small = sum(
                self._pixels_of(self._photos, photo, side) for side, photos in drawn.items() for photo in photos
            )
            memory = min(self._photos.most, small)
        if held is not None:
            memory += sum(self._pixels_of(held.photos, photo, held.side) for photo in held.chosen)
            said += sum(self._bytes_of(held.photos, photo, held.side, everyone) for photo in held.chosen)
        most = KEPT_BYTES if self._outputs is None else self._outputs.most
        count = len({photo for photos in drawn.values() for photo in photos})
        return Needs(memory + min(most, said), 0 if self._outputs is None else said, count)

    def _bytes_of(self, photos: Photos, photo: int, side: int, may: Bool[np.ndarray, " t"]) -> int:
        """What teachers say of a photo, in half precision."""
        rows, columns = self._sight.grid(*photos.sizes[photos.source_of(photo)], side)
        channels = sum(teacher.dimension for teacher, asked in zip(self._teachers, may, strict=True) if asked)
        return 2 * (rows * columns + 1) * channels

    def _pixels_of(self, photos: Photos, photo: int, side: int) -> int:
        """Bytes of what is seen of a whole photo."""
        rows, columns = self._sight.grid(*photos.sizes[photos.source_of(photo)], side)
        return 3 * rows * columns * self._sight.patch**2

    def pace(self, held: HeldPhotos | None) -> Pace:
        """How long teachers take, as each does for one photo; asks them."""
        side = self._sight.stages.side_at(0.0)
        (seen,) = self._sight.look_at_whole([0], side)
        seconds = np.array([_seconds(teacher, seen.pixels[None]) for teacher in self._teachers])
        drawn = [photo for photos in self.drawn().values() for photo in photos]
        ahead = self._sampler.may(drawn).sum(0) if drawn else np.zeros(len(seconds))
        if held is not None:
            ahead = ahead + len(held)
        may = self._sampler.may(self._sampler.photos.evenly(1)).mean(0)
        step = 0.0 if self._once else float(seconds @ may) * self._sampler.batch_size
        return Pace(float(seconds @ ahead), step)

    def _listeners(self, photos: Sequence[int]) -> list[tuple[Teacher, list[int]]]:
        """For each teacher those of the photos that it teaches."""
        may = self._sampler.may(photos)
        return [
            (teacher, [photo for photo, asked in zip(photos, column, strict=True) if asked])
            for teacher, column in zip(self._teachers, may.T.tolist(), strict=True)
        ]


def _seconds(teacher: Teacher, pixels: UInt8[Tensor, "1 3 h w"]) -> float:
    """That a teacher takes to describe a photo."""
    began = time.perf_counter()
    float(teacher.describe(pixels).patches.sum())  # a device has computed when a number is there
    return time.perf_counter() - began
