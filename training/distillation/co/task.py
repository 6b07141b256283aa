"""Co-distillation as a task of the training loop (DUNE, section 4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from render.errors import InputError
from render.progress import Progress, silent
from training.distillation.co.ahead import Ahead, Needs, Pace
from training.distillation.co.held import HeldPhotos
from training.distillation.co.losses import distillation_loss, kept
from training.distillation.co.outputs import TOGETHER, Outputs
from training.distillation.co.photos import Photos
from training.distillation.co.sampling import Item, Sampler
from training.distillation.co.seeing import READERS, Seen, Sight, Stages, alike
from training.distillation.co.settings import Settings
from training.distillation.co.showing import PANELS, panel_rows
from training.distillation.co.statistics import Statistics, TeacherStatistics, summed
from training.distillation.co.student import Student
from training.distillation.co.teachers import Teacher, batch_of, mirrored, moved, on_grid
from training.loop import Task
from training.sheets import sheet
from uplift.encoders.base import Tokens, TrainableEncoder
from uplift.encoders.projectors import hidden_of

if TYPE_CHECKING:
    from jaxtyping import Bool, UInt8
    from numpy.random import Generator


class CoDistillation(Task):
    """A student learns to say what several teachers say, each through a projector of its own (DUNE, equation 1).

    A batch is drawn from all owners of photos alike.  What teachers say is standardized by moving statistics.  Those of
    a step count from the next one on, and the first ones are of 64 photos, so that all processes and parts of a step
    use the same.  Per photo the worst teacher stays, others are dropped by chance, and all pairs of photo and teacher
    that stay weigh the same and together 1: a teacher that is behind stays more often.  The loss is the mean over them.

    Attributes:
        steps: Of the schedule.
        seed: Of the schedule.
        teachers: In order.
        student: What is trained.
        statistics: Of each teacher's tokens.
        sampler: Draws photos.
        sight: Sees them.
        ahead: Knows which are to come.
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
        settings: Settings | None = None,
        validation: Photos | None = None,
        seed: int = 0,
        outputs: Outputs | None = None,
        readers: int = READERS,
        progress: Progress = silent,
    ) -> None:
        """Set up; what teachers say is computed when the training begins or as it goes.

        Args:
            encoder: What the student begins as; it stays as it is.
            teachers: Frozen, with names of their own.
            photos: To train on.
            steps: Of the schedule.
            settings: What is trained; None = the defaults.
            validation: Photos that are not trained on.
            seed: Of the projectors' weights, and that of the schedule, by which the photos of all steps are known.
            outputs: What teachers say of whole photos: those for validation, and with ``flips``, which need it, those
                of the training.
            readers: Threads at most that read and crop photos.
            progress: Told while teachers describe photos before the first step.

        Raises:
            InputError: numbers or names are out of range, two teachers have one name, a teacher or a source is left
                out by the sharing, or outputs are missing.
        """
        super().__init__()
        settings = Settings() if settings is None else settings
        names = [teacher.name for teacher in teachers]
        _check(names, steps, settings, outputs)
        self.teachers, self.settings = list(teachers), settings
        self._photos, self._validation = photos, validation
        self.steps, self.seed, self._progress = steps, seed, progress
        self.sampler = Sampler(photos, names, sharing=settings.sharing, batch=settings.batch, drop=settings.drop)
        self.partly = not bool(self.sampler.allowed.all())  # a projector may get none of a step's photos
        stages = Stages.parse(settings.stages or [str(encoder.window)], encoder.patch)
        self.sight = Sight(photos, encoder, settings, stages, readers=readers)
        self._start = encoder.fingerprint()
        self.student = Student(encoder, teachers, projector=settings.projector, rungs=settings.ladder, seed=seed)
        self.statistics = nn.ModuleList(TeacherStatistics(one.dimension, whole=one.has_whole) for one in teachers)
        self.register_buffer("losses", torch.full((steps, len(teachers)), torch.nan))
        self._sums = np.zeros((2, len(teachers)))  # of the losses of a step, and how many they are
        once = settings.augment == "flips"
        self._outputs = outputs if once else None  # what is said of crops is not kept
        self.ahead = Ahead(teachers, photos, self.sampler, self.sight, outputs, once=once, seed=seed, steps=steps)
        self.held = None
        if validation is not None:
            said = Outputs(None) if outputs is None else outputs
            self.held = HeldPhotos(validation, teachers, said, self.sight, side=stages.sides[-1])
        self.to(encoder.device)

    def batch(self, random: Generator) -> Sequence[Item]:
        """Photos of owners that are all drawn equally often."""
        return self.sampler.batch(random)

    def begin(self, progress: float) -> None:
        """Let teachers describe the whole photos that are to come, if they do so once, and take first statistics."""
        self.describe_ahead(progress)
        if not int(self.all_statistics()[0].seen):
            self._begin_statistics()

    def describe_ahead(self, progress: float = 0.0) -> None:
        """Let teachers describe the whole photos that the steps to come will draw, if that is to be done once.

        Processes share the work, whether they are of one training or of several.

        Args:
            progress: Part of the steps that are done, from 0 to 1.

        Raises:
            InputError: what a teacher says is not finite, or a photo cannot be read.
            OSError: the disk is full, or the folder of the outputs cannot be written.
        """
        self.ahead.describe(round(progress * self.steps), self.held, self._progress)

    def forward(self, items: Sequence[Item], progress: float) -> tuple[Tensor, dict[str, float]]:
        """Equation 1 with teacher dropping, a mean over the items; each teacher's loss before dropping."""
        may = self.sampler.may([item.photo for item in items])
        seen = self.sight.look(items, self.sight.stages.side_at(progress))
        found = torch.zeros(len(items), len(self.teachers), device=self.device)
        for rows in alike(seen):
            self._compare(found, seen, rows, may)
        measured = found.detach().double().cpu().numpy()
        stay = kept(measured, may, [item.seed for item in items], self.settings.drop)
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
        moving = self.all_statistics()
        parts = [one.gathered() for one in moving]
        parts.append(torch.from_numpy(self._sums).flatten().to(self.device))
        self._sums = np.zeros_like(self._sums)
        together = summed(torch.cat([part.to(self.device) for part in parts])).split([len(part) for part in parts])
        for one, sums in zip(moving, together, strict=False):
            one.update(sums)
        total, count = together[-1].reshape(2, -1)
        self.losses[round(progress * self.steps)] = (total / count).to(self.losses)

    def validate(self) -> dict[str, float]:
        """On photos that are not trained on: for each teacher the loss, and the cosine of patches to the teacher's."""
        return {} if self.held is None else self.held.figures(self.student, self.statistics)

    def pictures(self) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
        """Photos beside PCA colours of each teacher, of its projector, and of the student (DUNE, figure 2)."""
        return {} if self.held is None else {"panels": sheet(self.panels())}

    @torch.no_grad()
    def panels(self) -> list[list[UInt8[np.ndarray, "h w 3"]]]:
        """The rows of those pictures; InputError without photos that are not trained on."""
        if self.held is None:
            raise InputError("Panels show photos that are not trained on, found none; keep some back.")
        return panel_rows(list(self.held.compared(self.student, self.statistics, PANELS)))

    def identity(self) -> dict[str, Any]:
        """Student, teachers, photos and what is made of them."""
        teachers = {teacher.name: teacher.fingerprint for teacher in self.teachers}
        photos, stages = (self._photos, self._validation), self.sight.stages
        return {"teachers": teachers, **identity_without_teachers(self._start, *photos, stages, self.settings)}

    def needs(self) -> Needs:
        """What the training takes, as the first photos of all sources tell; reads these."""
        return self.ahead.needs(self.held)

    def pace(self) -> Pace:
        """How long teachers take, as each does for one photo; asks them."""
        return self.ahead.pace(self.held)

    def _compare(self, found: Tensor, seen: Sequence[Seen], rows: list[int], may: Bool[np.ndarray, "b t"]) -> None:
        """Write the losses of photos of one size into ``found``."""
        pixels = torch.stack([seen[row].turned for row in rows])
        layers = self.student(pixels.to(self.device).to(torch.float32) / 255)
        for teacher, statistics in enumerate(self.statistics):
            some = [place for place, row in enumerate(rows) if may[row, teacher]]
            if not some:
                continue
            said = self.said(self.teachers[teacher], [seen[rows[place]] for place in some])
            if self.training:
                statistics.gather(said)
            told = self.student.told(teacher, layers, some if len(some) < len(rows) else None)
            found[[rows[place] for place in some], teacher] = distillation_loss(told, statistics.standardized(said))

    @torch.no_grad()
    def said(self, teacher: Teacher, seen: Sequence[Seen]) -> Tokens:
        """What a teacher says of photos of one size, on the student's grid, mirrored as they are."""
        grid = self.sight.nodes(seen[0])
        if self._outputs is None:
            said = on_grid(teacher.describe(torch.stack([one.turned for one in seen])), grid)
            return moved(said, self.device)
        told = []
        for one in seen:
            tokens = moved(batch_of(self._outputs.get(teacher, one, grid)), self.device)
            told.append(mirrored(tokens) if one.mirrored else tokens)
        whole_tokens = [one.cls for one in told if one.cls is not None]
        return Tokens(torch.cat([one.patches for one in told]), torch.cat(whole_tokens) if whole_tokens else None)

    def all_statistics(self) -> list[Statistics]:
        """Those of every teacher's patches, and of its global token where it has one, in order."""
        return [one for of in self.statistics for one in of.kinds]

    @torch.no_grad()
    def _begin_statistics(self) -> None:
        """The first update, of photos of every source; each process makes the same."""
        side, photos = self.sight.stages.side_at(0.0), self.ahead.first()
        for start in range(0, len(photos), TOGETHER):
            self._progress(start, len(photos), "first statistics of the teachers")
            some = photos[start : start + TOGETHER]
            may, seen = self.sampler.may(some), self.sight.look([Item(photo, photo, 1.0) for photo in some], side)
            for rows in alike(seen):
                for place, (teacher, statistics) in enumerate(zip(self.teachers, self.statistics, strict=True)):
                    asked = [seen[row] for row in rows if may[row, place]]
                    if asked:
                        statistics.gather(self.said(teacher, asked))
        self._progress(len(photos), len(photos), "first statistics of the teachers")
        for one in self.all_statistics():
            one.update(one.gathered())


def identity_without_teachers(
    student: str, photos: Photos, validation: Photos | None, stages: Stages, settings: Settings
) -> dict[str, Any]:
    """The part of a training's identity that is known before its teachers are loaded; JSON values.

    Args:
        student: Fingerprint of what the student begins as.
        photos: To train on.
        validation: Photos that are not trained on.
        stages: Sides of what is seen.
        settings: What is trained.
    """
    # Trainings from before there was another augmentation go on.
    other = {} if settings.augmentation is None else {"augmentation": settings.augmentation.title}
    return {
        **other,
        "student": student,
        "photos": photos.fingerprint,
        "validation": None if validation is None else validation.fingerprint,
        "sharing": settings.sharing,
        "projector": settings.projector,
        "hidden": list(hidden_of(settings.projector, settings.ladder)),
        "stages": [list(stages.sides), list(stages.shares)],
        "augment": settings.augment,
        "crop_scale": settings.least,
        "colours": settings.recolours,
        "batch": settings.batch,
        "drop": settings.drop,
    }


def _check(names: Sequence[str], steps: int, settings: Settings, outputs: Outputs | None) -> None:
    if not names or len(set(names)) < len(names):
        raise InputError(f"Co-distillation takes one teacher or more, each once; found {', '.join(names) or 'none'}.")
    if steps < 1:
        raise InputError(f"Co-distillation needs steps of 1 or more, found {steps}.")
    if settings.augment == "flips" and outputs is None:
        raise InputError("What teachers say of whole photos (flips) is kept: expected a folder for it, found none.")
