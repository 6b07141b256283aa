"""What can be refused before a co-distillation's teachers are loaded and fitted, which may take long."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from training.distillation.co.photos import Photos
from training.distillation.co.sampling import Item, Sampler
from training.distillation.co.seeing import Stages
from training.distillation.co.settings import Settings
from training.distillation.co.task import CoDistillation, identity_without_teachers
from training.loop import Schedule, Task, check
from training.loop.processes import Place
from uplift.encoders.base import TrainableEncoder

if TYPE_CHECKING:
    from numpy.random import Generator


class Untaught(Task):
    """A co-distillation whose teachers are known by their names alone: it tells batches and identity."""

    name = CoDistillation.name

    def __init__(self, sampler: Sampler, identity: dict[str, Any]) -> None:
        super().__init__()
        self._sampler, self._identity = sampler, identity

    def batch(self, random: Generator) -> Sequence[Item]:
        """Photos of owners that are all drawn equally often."""
        return self._sampler.batch(random)

    def forward(self, items: Sequence[Item], progress: float) -> tuple[Tensor, dict[str, float]]:
        """There is no loss without teachers."""
        raise RuntimeError(
            f"nothing is learned of {len(items)} photos without teachers, at {progress:.0%} of the steps"
        )

    def trained(self) -> Iterable[nn.Parameter]:
        """Nothing."""
        return []

    def identity(self) -> dict[str, Any]:
        """All but the teachers."""
        return self._identity


def check_early(
    student: TrainableEncoder,
    teachers: Sequence[str],
    photos: Photos,
    schedule: Schedule,
    settings: Settings,
    *,
    validation: Photos | None,
    at: Place,
    out: Path,
) -> None:
    """Refuse what cannot be trained, as far as it is known without teachers.

    Args:
        student: What the student begins as.
        teachers: Their names.
        photos: To train on.
        schedule: Steps, rates, precision.
        settings: What is trained.
        validation: Photos that are not trained on.
        at: Where it is trained.
        out: Folder of the training.

    Raises:
        InputError: sides are no multiples of the patch, a ladder has more rungs than the student has blocks, a teacher
            or a source is left out, the precision is not the device's, the batch cannot be shared, or the folder holds
            another training.
    """
    stages = Stages.parse(settings.stages or [str(student.window)], student.patch)
    if settings.projector == "ladder":
        with torch.no_grad():
            student.layers(torch.zeros(1, 3, student.patch, student.patch, device=student.device), settings.ladder)
    sampler = Sampler(photos, teachers, sharing=settings.sharing, batch=settings.batch, drop=settings.drop)
    identity = identity_without_teachers(student.fingerprint(), photos, validation, stages, settings)
    check(Untaught(sampler, identity), schedule, at, out, unknown=["teachers"])
