"""A co-distillation from beginning to end: for the command, and for studies of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from render.errors import InputError
from render.progress import Progress, silent
from training.distillation.co.export import ENCODER, LOSSES, check_kept, export, save_losses
from training.distillation.co.outputs import Outputs
from training.distillation.co.photos import Photos
from training.distillation.co.seeing import READERS
from training.distillation.co.settings import Settings
from training.distillation.co.task import CoDistillation
from training.distillation.co.teachers import Teacher
from training.loop import Schedule, place, train
from uplift.encoders.base import TrainableEncoder

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class CoDistilled:
    """What a training left.

    Attributes:
        encoder: The file of the student, for ``load_encoder("distilled:FILE")``.
        losses: The file of its losses.
        figures: Of the last validation: ``loss_TEACHER`` and ``cosine_TEACHER``.
        task: As it was trained, for analyses and pictures.
    """

    encoder: Path
    losses: Path
    figures: Mapping[str, float]
    task: CoDistillation


def co_distil(
    student: TrainableEncoder,
    teachers: Sequence[Teacher],
    photos: Photos,
    out: str | Path,
    schedule: Schedule,
    settings: Settings | None = None,
    *,
    validation: Photos | None = None,
    outputs: Outputs | str | Path | None = None,
    keep: Sequence[str] = (),
    scratch: bool = False,
    about: Mapping[str, Any] | None = None,
    device: str | torch.device = "auto",
    readers: int = READERS,
    progress: Progress = silent,
) -> CoDistilled:
    """Train a student, or go on where a training into ``out`` was interrupted, and write its file.

    A finished training is not trained again: its checkpoint is read and validated.  What teachers say of whole photos
    is described before the first step, for the photos alone that the schedule will draw; processes share a folder of
    outputs without describing a photo twice.  Under ``accelerate launch`` all processes call this with equal
    arguments, the main one writes, and all return when the files are there.

    Args:
        student: What the student begins as, on the device; it stays as it is.
        teachers: Frozen, fitted, on the device, with names of their own.
        photos: To train on; trainings of one process may share them, with what they keep in memory.
        out: Folder for checkpoint, log, pictures and results.
        schedule: Steps, rates, precision; its seed is that of batches, crops, dropping and projectors.
        settings: What is trained; None = the defaults.
        validation: Photos that are not trained on, of which about 64 are looked at, evenly over owners and folders.
        outputs: Folder of what teachers say of whole photos, or an object of it that trainings of one process share;
            ``flips`` need it, crops keep what is said of photos for validation there, if it is given.
        keep: Teachers whose projectors stay in the file.
        scratch: Whether the student's weights were drawn, so that their licence does not count.
        about: JSON values that travel in the file.
        device: auto, cpu, cuda or cuda:N.
        readers: Threads at most that read and crop photos; 1 = none beside this one.
        progress: Told what is done.

    Raises:
        InputError: something cannot be trained, said before the long work but for photos that cannot be read and
            values that are not finite; or ``out`` holds another training.
        OSError: the disk is full, or a folder cannot be written.
        RuntimeError: the loss is no longer finite.
    """
    check_kept(keep, [teacher.name for teacher in teachers])
    task = make_task(
        student,
        teachers,
        photos,
        schedule,
        settings,
        validation=validation,
        outputs=outputs,
        readers=readers,
        progress=progress,
    )
    start = None if scratch else student
    return run_task(task, schedule, out, start=start, keep=keep, about=about, device=device, progress=progress)


def prepare_outputs(
    student: TrainableEncoder,
    teachers: Sequence[Teacher],
    photos: Photos,
    schedule: Schedule,
    settings: Settings | None = None,
    *,
    validation: Photos | None = None,
    outputs: Outputs | str | Path,
    readers: int = READERS,
    progress: Progress = silent,
) -> None:
    """Let teachers describe the whole photos that :func:`co_distil` of the same arguments will ask for.

    Raises:
        InputError: as :func:`co_distil`.
        OSError: as :func:`co_distil`.
    """
    make_task(
        student,
        teachers,
        photos,
        schedule,
        settings,
        validation=validation,
        outputs=outputs,
        readers=readers,
        progress=progress,
    ).describe_ahead()


def make_task(
    student: TrainableEncoder,
    teachers: Sequence[Teacher],
    photos: Photos,
    schedule: Schedule,
    settings: Settings | None = None,
    *,
    validation: Photos | None = None,
    outputs: Outputs | str | Path | None = None,
    readers: int = READERS,
    progress: Progress = silent,
) -> CoDistillation:
    """The task of :func:`co_distil`, for callers that look at it before it is trained."""
    return CoDistillation(
        student,
        teachers,
        photos,
        steps=schedule.steps,
        settings=settings,
        validation=validation,
        seed=schedule.seed,
        outputs=outputs if outputs is None or isinstance(outputs, Outputs) else Outputs(outputs),
        readers=readers,
        progress=progress,
    )


def run_task(
    task: CoDistillation,
    schedule: Schedule,
    out: str | Path,
    *,
    start: TrainableEncoder | None = None,
    keep: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
    device: str | torch.device = "auto",
    progress: Progress = silent,
) -> CoDistilled:
    """Train the task of :func:`make_task` and write what it leaves; all processes return when the files are there.

    Args:
        task: Of this schedule.
        schedule: Steps, rates, precision.
        out: Folder for checkpoint, log, pictures and results.
        start: The encoder whose weights the student began with, for its licence; None = it began from scratch.
        keep: Teachers whose projectors stay in the file.
        about: JSON values that travel in the file.
        device: auto, cpu, cuda or cuda:N.
        progress: Told what is done.

    Raises:
        InputError: as :func:`co_distil`, or the task is of another schedule.
        OSError: as :func:`co_distil`.
        RuntimeError: as :func:`co_distil`.
    """
    from accelerate import PartialState

    if (task.steps, task.seed) != (schedule.steps, schedule.seed):
        raise InputError(
            f"A task knows ahead what its schedule draws: expected {task.steps} steps with the seed {task.seed}, found "
            f"{schedule.steps} with {schedule.seed}; make the task of the same schedule."
        )
    out, at = Path(out), place(device)
    figures = train(task, schedule, out, device=device, progress=progress)
    result = CoDistilled(out / ENCODER, out / LOSSES, figures, task)
    if at.main:
        made = {"steps": schedule.steps, "rate": schedule.rate, "seed": schedule.seed, "scratch": start is None}
        export(task, out, start=start, keep=keep, about={**made, "figures": dict(figures), **(about or {})})
        save_losses(task, out)
    PartialState().wait_for_everyone()
    return result
