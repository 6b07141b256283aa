"""A detector from its beginning to its figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from render.progress import Progress, silent
from training.augmentation import Augmentation
from training.distillation.specific.reading import PHOTO_MEMORY
from training.loop import check, place, train
from training.loop.schedule import Precision
from training.pretraining.detection.data import RoomThings
from training.pretraining.detection.model import ThingDetector
from training.pretraining.detection.task import DetectionNumbers, DetectionTraining
from training.pretraining.mask3d.settings import Scale
from training.randomness import seeded
from training.rooms.reading import RoomScene
from uplift.encoders.base import TrainableEncoder


def detect_things(
    encoder: TrainableEncoder,
    learned: Sequence[RoomScene],
    measured: Sequence[RoomScene],
    out: str | Path,
    *,
    scale: Scale,
    numbers: DetectionNumbers,
    augmentation: Augmentation | None = None,
    photo_memory: int = PHOTO_MEMORY,
    seed: int = 0,
    precision: Precision = "auto",
    device: str | torch.device = "auto",
    progress: Progress = silent,
) -> dict[str, float]:
    """Train a detector, or go on where a training was interrupted, and measure it.

    Args:
        encoder: As it begins.
        learned: Rooms to learn from.
        measured: Other rooms.
        out: Folder of the training.
        scale: Which schedule.
        numbers: How long and how fast.
        augmentation: What the colours of photos go through.
        photo_memory: Bytes of photos that a process keeps; those that are measured are read whenever they are needed.
        seed: Of the heads' weights and batches.
        precision: Of the encoder's forward pass.
        device: auto, cpu, cuda or cuda:N.
        progress: Told of steps and photos.

    Returns:
        See :func:`average_precisions`; in every process.

    Raises:
        InputError: the size does not fit the encoder, or a checkpoint is of another training.
    """
    things, others = RoomThings(learned, numbers.size, photo_memory), RoomThings(measured, numbers.size, memory=0)
    with seeded(seed):
        model = ThingDetector(encoder, len(things.names), numbers.size, width=numbers.width, boxes=numbers.boxes)
    task = DetectionTraining(model, things, batch=numbers.batch, validation=others, augmentation=augmentation)
    schedule = numbers.schedule(scale, len(things), seed=seed, precision=precision)
    check(task, schedule, place(device), Path(out))
    return train(task, schedule, out, device=device, progress=progress)
