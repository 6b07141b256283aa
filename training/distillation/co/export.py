"""What a co-distillation leaves: the file of the student, and the losses of all steps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from render.errors import InputError
from render.files import atomic_file
from training.distillation.co.task import CoDistillation
from uplift.encoders.base import TrainableEncoder
from uplift.encoders.distilled import Distilled, Kept, joined_licences
from uplift.encoders.projectors import TeacherSpace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from training.distillation.co.analyses import Analyses
    from training.distillation.co.statistics import Statistics

ENCODER, LOSSES, ANALYSES = "encoder.safetensors", "losses.npz", "analyses.json"


def check_kept(keep: Iterable[str], teachers: Sequence[str]) -> None:
    """Raise InputError unless the projectors to keep are of teachers."""
    for name in keep:
        if name not in teachers:
            raise InputError(f"There is no projector of {name!r} to keep; the teachers are {', '.join(teachers)}.")


def export(
    task: CoDistillation,
    out: str | Path,
    *,
    start: TrainableEncoder | None = None,
    keep: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``OUT/encoder.safetensors``, which ``load_encoder("distilled:OUT/encoder.safetensors")`` takes.

    Args:
        task: When it is trained.
        out: Folder of the training.
        start: The encoder whose weights the student began with, for its licence; None = it began from scratch.
        keep: Teachers whose projectors are kept.
        about: How it was made; JSON values that travel in the file.

    Raises:
        InputError: a name to keep is no teacher's.
    """
    names = [teacher.name for teacher in task.teachers]
    check_kept(keep, names)
    spaces = {}
    for name in keep:
        index = names.index(name)
        statistics = task.statistics[index]
        space = TeacherSpace(
            task.student.projectors[index],
            patches=_moments(statistics.patches),
            whole=None if statistics.whole is None else _moments(statistics.whole),
        )
        spaces[name] = Kept(space, task.student.kind, task.teachers[index].encoder)
    made_from = [*([] if start is None else [start]), *(teacher.encoder for teacher in task.teachers)]
    result = Distilled(
        task.student.network.state_dict(),
        licence=joined_licences(made_from),
        kept=spaces,
        training={**task.identity(), **(about or {})},
    )
    path = Path(out) / ENCODER
    result.save(path, task.student.encoder)
    return path


def save_losses(task: CoDistillation, out: str | Path) -> Path:
    """Write ``OUT/losses.npz``: ``losses`` [steps, teachers] and ``teachers``."""
    path = Path(out) / LOSSES
    with atomic_file(path) as temporary:
        np.savez(temporary, losses=task.losses.cpu().numpy(), teachers=np.array([one.name for one in task.teachers]))
    return path


def save_analyses(found: Analyses, out: str | Path, figures: Mapping[str, float]) -> Path:
    """Write ``OUT/analyses.json``: what was found, and the figures of the validation."""
    path = Path(out) / ANALYSES
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(found.as_json() | {"validation": dict(figures)}, indent=1) + "\n")
    return path


def _moments(statistics: Statistics) -> tuple[Any, Any]:
    return statistics.mean, statistics.deviation
