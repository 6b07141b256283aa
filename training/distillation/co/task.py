"""Co-distillation as a task of the training loop (DUNE, section 4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from render.errors import InputError
from render.machine import cores
from render.progress import Progress, silent
from training.distillation.co.held import HeldPhotos
from training.distillation.co.losses import DROP, distillation_loss, kept, scale_of
from training.distillation.co.outputs import Outputs
from training.distillation.co.photos import Photos, Sharing, allowed
from training.distillation.co.seeing import AUGMENTS, FLIPPED, SCALE, Augment, Stages, cropped, whole
from training.distillation.co.showing import PANELS, panel_rows
from training.distillation.co.statistics import Statistics, TeacherStatistics, summed
from training.distillation.co.student import Student
from training.distillation.co.teachers import Teacher, mirrored, on_grid
from training.loop import Task
from training.sheets import sheet
from uplift.encoders._projectors import RUNGS, ProjectorKind
from uplift.encoders.base import Tokens, TrainableEncoder

if TYPE_CHECKING:
    from jaxtyping import Bool, UInt8
    from numpy.random import Generator

BATCH, RATE, WEIGHT_DECAY = 16, 5e-4, 0.03
FIRST = 64  # photos that the first statistics are of
TOGETHER = 8  # photos that a teacher sees at once where no step asks for them
READERS = 8  # threads that read and crop photos
CROP = 0  # the draws of an item's seed that decide what is seen; dropping has others


class Item(NamedTuple):
    """One photo of a batch.

    Attributes:
        photo: Its number among all.
        seed: Of crop, mirroring and dropping.
        scale: Of its coefficients, the same for a whole batch.
    """

    photo: int
    seed: int
    scale: float


class Seen(NamedTuple):
    """What is seen of a photo.

    Attributes:
        pixels: ``[3, h, w]`` uint8; crops are mirrored already.
        mirrored: Whether the student sees it mirrored, and maps are mirrored with it.
    """

    pixels: Tensor
    mirrored: bool


class CoDistillation(Task):
    """A student learns to say what several teachers say, each through a projector of its own (DUNE, equation 1).

    A batch is drawn from all sources alike, and evenly within each.  What teachers say is standardized by moving
    statistics.  Those of a step count from the next one on, and the first ones are of 64 photos, so that all processes
    and parts of a step use the same.  Per photo the worst teacher stays, others are dropped by chance; coefficients
    are normalized so that their sum over the batch is that without dropping, hence a teacher that is behind weighs
    more.  The loss is a sum over teachers and a mean over photos.

    Attributes:
        teachers: In order.
        student: What is trained.
        statistics: Of each teacher's tokens.
        held: Photos that are not trained on; None without.
        losses: Of every step and teacher, means over the photos that the teacher's projector got; NaN where it got
            none, or the step is to come; ``[steps, t]``.
    """

    name = "distill-co"
    losses: Tensor

    def __init__(
        self,
        encoder: TrainableEncoder,
        teachers: Sequence[Teacher],
        photos: Photos,
        *,
        steps: int,
        validation: Photos | None = None,
        sharing: Sharing = "full",
        projector: ProjectorKind = "transformer",
        rungs: int = RUNGS,
        stages: Stages | None = None,
        augment: Augment = "crops",
        scale: tuple[float, float] = SCALE,
        batch: int = BATCH,
        drop: float = DROP,
        seed: int = 0,
        cache: str | Path | None = None,
        progress: Progress = silent,
    ) -> None:
        """Set up; what teachers say is computed when the training begins or as it goes.

        Args:
            encoder: What the student begins as; it stays as it is.
            teachers: Frozen, with names of their own.
            photos: To train on.
            steps: Of the training.
            validation: Photos that are not trained on.
            sharing: Which photos projectors learn from.
            projector: Of which kind.
            rungs: Of a ladder.
            stages: Resolutions; None = the student's window.
            augment: Crops, or whole photos, of which teachers' outputs are computed once and kept in ``cache``.
            scale: Smallest and largest part of a photo's area in a crop.
            batch: Photos of a step.
            drop: How often a teacher that is not the worst is dropped.
            seed: Of the projectors' weights.
            cache: Folder of what teachers say of whole photos.
            progress: Told while that is computed.

        Raises:
            InputError: numbers or names are out of range, two teachers have one name, or a teacher or a source is left
                out by the sharing.
        """
        super().__init__()
        names = [teacher.name for teacher in teachers]
        _check(names, steps=steps, batch=batch, drop=drop, scale=scale, augment=augment, cache=cache)
        self.teachers, self.photos = list(teachers), photos
        self._allowed = allowed([source.owner for source in photos.sources], names, sharing)
        self.partly = not bool(self._allowed.all())  # a projector may get none of a step's photos
        self._sharing, self._augment, self._scale, self._batch = sharing, augment, scale, batch
        self._drop, self._steps, self._progress = drop, steps, progress
        self._stages = Stages.parse([str(encoder.window)], encoder.patch) if stages is None else stages
        self._start = encoder.fingerprint()
        self.student = Student(encoder, teachers, projector=projector, rungs=rungs, seed=seed)
        self.statistics = nn.ModuleList(TeacherStatistics(one.dimension, whole=one.has_whole) for one in teachers)
        self.register_buffer("losses", torch.full((steps, len(teachers)), torch.nan))
        self._sums = np.zeros((2, len(teachers)))  # of the losses of a step, and how many they are
        self._validation = validation
        self.held = None if validation is None else HeldPhotos(validation, teachers, side=self._stages.sides[-1])
        self._outputs = None if cache is None or augment == "crops" else Outputs(cache, teachers)
        self._readers = ThreadPoolExecutor(min(READERS, cores()))
        self.to(encoder.device)

    def batch(self, random: Generator) -> Sequence[Item]:
        """Photos of sources that are all drawn equally often."""
        sources = random.integers(len(self.photos.sources), size=self._batch)
        within = random.random(self._batch)
        seeds = random.integers(2**31, size=self._batch).tolist()
        starts = np.asarray(self.photos.starts)
        first, counts = starts[sources], np.diff(starts)[sources]
        chosen = first + np.minimum((within * counts).astype(int), counts - 1)
        scale = scale_of(self._allowed[sources], seeds, self._drop)
        return [Item(photo, seed, scale) for photo, seed in zip(chosen.tolist(), seeds, strict=True)]

    def begin(self, progress: float) -> None:
        """Let teachers describe whole photos, if that is to be done once, and take the first statistics."""
        if self._outputs is not None:
            self._fill(progress)
        if not int(self._all_statistics()[0].updates):
            self._begin_statistics()

    def forward(self, items: Sequence[Item], progress: float) -> tuple[Tensor, dict[str, float]]:
        """Equation 1 with teacher dropping, a mean over the items; each teacher's loss before dropping."""
        may = self._may(items)
        seen = self._see(items, self._stages.side_at(progress))
        found = torch.zeros(len(items), len(self.teachers), device=self.device)
        for rows in _alike(seen):
            self._compare(found, seen, rows, may)
        measured = found.detach().double().cpu().numpy()
        stay = kept(measured, may, [item.seed for item in items], self._drop)
        coefficients = stay * np.array([item.scale for item in items])[:, None]
        loss = (found * torch.from_numpy(coefficients).to(found)).sum() / len(items)
        sums = np.stack([(measured * may).sum(0), may.sum(0)])
        if self.training:
            self._sums += sums
        figures = {
            f"loss_{teacher.name}": total / count
            for teacher, total, count in zip(self.teachers, *sums.tolist(), strict=True)
            if count
        }
        return loss, figures

    def trained(self) -> Iterable[nn.Parameter]:
        """The student's parameters and the projectors', as far as teachers' tokens depend on them."""
        return [parameter for parameter in self.student.parameters() if parameter.requires_grad]

    def after_step(self, progress: float) -> None:
        """Let the step's photos, of all processes, count in the statistics, and write down its losses."""
        moving = self._all_statistics()
        parts = [one.gathered() for one in moving]
        parts.append(torch.from_numpy(self._sums).flatten().to(self.device))
        self._sums = np.zeros_like(self._sums)
        together = summed(torch.cat([part.to(self.device) for part in parts])).split([len(part) for part in parts])
        for one, sums in zip(moving, together, strict=False):
            one.update(sums)
        total, count = together[-1].reshape(2, -1)
        self.losses[round(progress * self._steps)] = (total / count).to(self.losses)

    def validate(self) -> dict[str, float]:
        """On photos that are not trained on: for each teacher the loss, and the cosine of patches to the teacher's."""
        return {} if self.held is None else self.held.figures(self.student, self.statistics)

    def pictures(self) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
        """Photos beside PCA colours of each teacher, of its projector, and of the student (DUNE, figure 2)."""
        if self.held is None:
            return {}
        return {"panels": sheet(panel_rows(list(self.held.compared(self.student, self.statistics, PANELS))))}

    def identity(self) -> dict[str, Any]:
        """Student, teachers, photos and what is made of them."""
        return {
            "student": self._start,
            "teachers": {teacher.name: teacher.fingerprint() for teacher in self.teachers},
            "photos": self.photos.fingerprint,
            "validation": None if self._validation is None else self._validation.fingerprint,
            "sharing": self._sharing,
            "projector": self.student.kind,
            "rungs": max(one.rungs for one in self.student.projectors),
            "stages": [list(self._stages.sides), list(self._stages.shares)],
            "augment": self._augment,
            "scale": list(self._scale),
            "batch": self._batch,
            "drop": self._drop,
        }

    def _may(self, items: Sequence[Item]) -> Bool[np.ndarray, "b t"]:
        """Which teachers each item may listen to."""
        found: np.ndarray = self._allowed[[self.photos.source_of(item.photo) for item in items]]
        return found

    def _see(self, items: Sequence[Item], side: int) -> list[Seen]:
        return list(self._readers.map(lambda item: self._seen(item, side), items))

    def _seen(self, item: Item, side: int) -> Seen:
        image = self.photos.image(item.photo)
        random = np.random.default_rng([CROP, item.seed])
        if self._augment == "crops":
            return Seen(cropped(image, random, side, self._scale), mirrored=False)
        return Seen(self._whole_photo(image, side), mirrored=bool(random.random() < FLIPPED))

    def _whole_photo(self, image: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[Tensor, "3 h w"]:
        encoder = self.student.encoder
        return whole(image, encoder.grid(image.shape[0], image.shape[1], side), encoder.patch)

    def _grid(self, pixels: UInt8[Tensor, "... h w"]) -> tuple[int, int]:
        patch = self.student.encoder.patch
        return pixels.shape[-2] // patch, pixels.shape[-1] // patch

    def _compare(self, found: Tensor, seen: Sequence[Seen], rows: list[int], may: Bool[np.ndarray, "b t"]) -> None:
        """Write the losses of photos of one size into ``found``."""
        pixels = torch.stack([seen[i].pixels.flip(-1) if seen[i].mirrored else seen[i].pixels for i in rows])
        layers = self.student(pixels.to(self.device).to(torch.float32) / 255)
        for teacher, statistics in enumerate(self.statistics):
            some = [place for place, row in enumerate(rows) if may[row, teacher]]
            if not some:
                continue
            said = self._said(teacher, [seen[rows[place]] for place in some])
            if self.training:
                statistics.gather(said)
            told = self.student.told(teacher, layers, some)
            found[[rows[place] for place in some], teacher] = distillation_loss(told, statistics.standardized(said))

    @torch.no_grad()
    def _said(self, teacher: int, seen: Sequence[Seen]) -> Tokens:
        """What a teacher says of photos of one size, on the student's grid."""
        grid = self._grid(seen[0].pixels)
        if self._outputs is None:
            pixels = torch.stack([one.pixels.flip(-1) if one.mirrored else one.pixels for one in seen])
            said = on_grid(self.teachers[teacher].describe(pixels), grid)
            return Tokens(*(None if part is None else part.to(self.device) for part in said))
        told = []
        for one in seen:
            single = self._outputs.get(teacher, one.pixels, grid)
            tokens = Tokens(*(None if part is None else part[None].to(self.device, torch.float32) for part in single))
            told.append(mirrored(tokens) if one.mirrored else tokens)
        whole_tokens = [one.cls for one in told if one.cls is not None]
        return Tokens(torch.cat([one.patches for one in told]), torch.cat(whole_tokens) if whole_tokens else None)

    def _all_statistics(self) -> list[Statistics]:
        return [one for of in self.statistics for one in of.kinds]

    @torch.no_grad()
    def _begin_statistics(self) -> None:
        """The first update, of evenly spaced photos of every source; each process makes the same."""
        side = self._stages.side_at(0.0)
        photos = self.photos.evenly(max(1, FIRST // len(self.photos.sources)))
        for start in range(0, len(photos), TOGETHER):
            self._progress(start, len(photos), "first statistics of the teachers")
            items = [Item(photo, photo, 1.0) for photo in photos[start : start + TOGETHER]]
            may, seen = self._may(items), self._see(items, side)
            for rows in _alike(seen):
                for teacher, statistics in enumerate(self.statistics):
                    some = [seen[row] for row in rows if may[row, teacher]]
                    if some:
                        statistics.gather(self._said(teacher, some))
        self._progress(len(photos), len(photos), "first statistics of the teachers")
        for one in self._all_statistics():
            one.update(one.gathered())

    @torch.no_grad()
    def _fill(self, progress: float) -> None:
        """Let teachers describe all photos at the sides that are to come; processes share the work."""
        assert self._outputs is not None  # noqa: S101  for the type checker
        many = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank, count = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if many else (0, 1)
        now = self._stages.sides.index(self._stages.side_at(progress))
        starts = range(rank * TOGETHER, len(self.photos), count * TOGETHER)
        for side in dict.fromkeys(self._stages.sides[now:]):
            what = f"what teachers say at {side} pixels"
            for start in starts:
                self._progress(start, len(self.photos), what)
                indices = range(start, min(start + TOGETHER, len(self.photos)))
                read = self._readers.map(lambda i, s=side: self._whole_photo(self.photos.image(i), s), indices)
                seen = [Seen(pixels, mirrored=False) for pixels in read]
                may = self._may([Item(index, 0, 1.0) for index in indices])
                for rows in _alike(seen):
                    for teacher in range(len(self.teachers)):
                        some = [seen[row].pixels for row in rows if may[row, teacher]]
                        if some:
                            self._outputs.prepare(teacher, torch.stack(some), self._grid(some[0]))
            self._progress(len(self.photos), len(self.photos), what)
        if many:
            torch.distributed.barrier()


def _alike(seen: Sequence[Seen]) -> list[list[int]]:
    """The places of photos of one size, together."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, one in enumerate(seen):
        groups.setdefault(tuple(one.pixels.shape), []).append(place)
    return list(groups.values())


def _check(
    names: Sequence[str],
    *,
    steps: int,
    batch: int,
    drop: float,
    scale: tuple[float, float],
    augment: Augment,
    cache: str | Path | None,
) -> None:
    if not names or len(set(names)) < len(names):
        raise InputError(f"Co-distillation takes one teacher or more, each once; found {', '.join(names) or 'none'}.")
    if steps < 1 or batch < 1:
        raise InputError(f"Co-distillation needs steps and a batch of 1 or more, found {steps} and {batch}.")
    if not 0 <= drop <= 1:
        raise InputError(f"A teacher is dropped with a probability from 0 to 1, found {drop:g}.")
    if not 0 < scale[0] <= scale[1] <= 1:
        raise InputError(f"Crops take parts from above 0 to 1 of a photo, found {scale[0]:g} to {scale[1]:g}.")
    if augment not in AUGMENTS:
        raise InputError(f"Photos are seen as {' or '.join(AUGMENTS)}; found {augment!r}.")
    if augment == "flips" and cache is None:
        raise InputError("What teachers say of whole photos is kept: expected a folder for it, found none.")
