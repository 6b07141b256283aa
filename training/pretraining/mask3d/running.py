"""A masked pretraining from its beginning to its file, for the command and for studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from render.errors import InputError
from render.progress import Progress, silent
from training.augmentation import Augmentation
from training.distillation.specific.reading import PHOTO_MEMORY
from training.loop import check, place, train
from training.loop.schedule import Precision
from training.pretraining.mask3d.export import FILE, export
from training.pretraining.mask3d.frames import Frames
from training.pretraining.mask3d.settings import Masking, Numbers, Scale, Shape, schedule_of
from training.pretraining.mask3d.task import MaskedPretraining
from training.probing.photos import ProbePhoto
from uplift.encoders import load_encoder
from uplift.encoders.finetuned import trainable
from uplift.encoders.mask3d import plain_vit
from uplift.encoders.untrained import make_blank
from uplift.encoders.vit import ViTEncoder


@dataclass(frozen=True, eq=False)
class Start:
    """What a colour encoder begins with.

    Attributes:
        encoder: Of the architecture, with the weights.
        name: What the weights are of; None = random ones.
        licence: Of the weights.
    """

    encoder: ViTEncoder
    name: str | None = None
    licence: str | None = None


def from_nothing(architecture: str, device: torch.device, *, seed: int = 0) -> Start:
    """Random weights, drawn from a seed.

    Raises:
        InputError: that encoder cannot be made without its weights.
    """
    return Start(make_blank(architecture, device, seed=seed))


def from_encoder(name: str, weights: str | Path | None, device: torch.device) -> Start:
    """The weights of an encoder: stage I of the text (MAE's), or of an earlier pretraining (``mask3d:FILE``).

    Raises:
        InputError: it cannot be had, or is no vision transformer of its own.
    """
    loaded = load_encoder(name, weights, device)
    return Start(plain_vit(trainable(loaded)), loaded.name, loaded.licence)


def frames_for(photos: Sequence[ProbePhoto], numbers: Numbers, memory: int = PHOTO_MEMORY) -> Frames:
    """Frames as large as the smallest crops of them need, of which so many bytes are kept."""
    least = numbers.least if numbers.augment == "crops" else 1.0
    return Frames(photos, side=round(max(numbers.size) / least), memory=memory)


def pretrain(
    start: Start,
    photos: Sequence[ProbePhoto],
    out: str | Path,
    *,
    scale: Scale,
    numbers: Numbers,
    masking: Masking,
    shape: Shape,
    validation: Sequence[ProbePhoto] = (),
    augmentation: Augmentation | None = None,
    photo_memory: int = PHOTO_MEMORY,
    seed: int = 0,
    precision: Precision = "auto",
    device: str | torch.device = "auto",
    progress: Progress = silent,
) -> tuple[Path, dict[str, float]]:
    """Train, or go on where a training was interrupted, and write ``OUT/encoder.safetensors``.

    Args:
        start: The colour encoder as it begins.
        photos: With depth.
        out: Folder of the training.
        scale: Which schedule.
        numbers: How long, on what and how fast.
        masking: What is shown and told.
        shape: Of the decoder and of the depth encoder.
        validation: Frames that are not trained on.
        augmentation: What the colours of frames go through.
        photo_memory: Bytes of frames that a process keeps; those of the validation are read whenever they are needed.
        seed: Of batches, crops, masks and of all weights but the encoder's.
        precision: Of the forward pass.
        device: auto, cpu, cuda or cuda:N.
        progress: Told after every step.

    Returns:
        The file, which the main process has written, and the figures of the validation.

    Raises:
        InputError: the frames cannot be read, or a checkpoint is of another training.
    """
    if not masking.colour:
        raise InputError("Without kept colours nothing trains the colour encoder; keep some of them.")
    out = Path(out)
    frames, held = _frames(photos, validation, numbers, masking, photo_memory)
    task = MaskedPretraining(
        start.encoder,
        frames,
        numbers,
        masking,
        shape,
        scratch=start.name is None,
        validation=held,
        augmentation=augmentation,
        seed=seed,
    )
    schedule = schedule_of(scale, numbers, len(photos), seed=seed, precision=precision)
    at = place(device)
    check(task, schedule, at, out)
    figures = train(task, schedule, out, device=device, progress=progress)
    if at.main:
        about = {
            "steps": schedule.steps,
            "rate": schedule.rate,
            "optimizer": schedule.optimizer,
            "seed": seed,
            "init": start.name,
            "figures": figures,
        }
        export(task, out, licence=start.licence, about=about)
    return out / FILE, figures


def _frames(
    photos: Sequence[ProbePhoto], validation: Sequence[ProbePhoto], numbers: Numbers, masking: Masking, memory: int
) -> tuple[Frames, Frames | None]:
    """Frames to train on, and others; refused where depth is to be seen or told, but is nowhere known."""
    frames = frames_for(photos, numbers, memory)
    held = frames_for(validation, numbers, memory=0) if validation else None
    if masking.depth or masking.reconstruct != "colour":
        frames.check_depth()
        if held is not None:
            held.check_depth()
    return frames, held
