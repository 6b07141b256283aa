"""What travels beside the weights of a tiny encoder: a model card and the log of the training."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from render.files import atomic_file
from training.loop import LOG, SECONDS_BEFORE, STEPS_BEFORE, Schedule, save_weights
from training.tiny.task import TinyTask
from uplift.encoders.tiny import LICENCE

if TYPE_CHECKING:
    from training.tiny.images import RoomImages


@dataclass(frozen=True)
class About:
    """What a card says in words.

    Attributes:
        title: What the model is, in one line.
        training: How it was trained, in a few sentences.
        limits: What it is not good for, one line each.
    """

    title: str
    training: str
    limits: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """What a training takes where nothing else is asked.

    Attributes:
        about: What the card says in words.
        steps: Optimizer steps, about an hour on two cores.
        batch: Photos, pairs or crops of a step.
        rate: Learning rate.
    """

    about: About
    steps: int
    batch: int
    rate: float


def export(
    task: TinyTask,
    about: About,
    schedule: Schedule,
    images: RoomImages,
    out: str | Path,
    figures: Mapping[str, float],
) -> list[Path]:
    """Write ``NAME.safetensors``, ``NAME.md`` and ``NAME.jsonl`` into the folder of a finished training.

    Args:
        task: What was trained.
        about: What the card says in words.
        schedule: Of the training.
        images: What it was trained on.
        out: Folder of the training, where its log is.
        figures: Of the last validation.

    Returns:
        The files.
    """
    out, name = Path(out), task.name
    model, metadata = task.exported()
    weights, card, log = (out / f"{name}.{suffix}" for suffix in ("safetensors", "md", "jsonl"))
    save_weights(model, weights, metadata)
    lines = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    seconds = max((line["seconds"] for line in lines if "seconds" in line), default=0.0)
    before = [
        f"started from a training of {line[STEPS_BEFORE]:g} steps and {line[SECONDS_BEFORE] / 60:.0f} minutes"
        for line in lines
        if STEPS_BEFORE in line
    ]
    count = sum(p.numel() for p in model.parameters())
    rows = {
        "data": f"{len(images)} photos of {len(images.things)} synthetic rooms (`fit3d rooms`, split train), "
        f"{images.photos.shape[2]}x{images.photos.shape[1]}; validated on rooms of split val",
        "size": f"{count / 1e6:.2f} M parameters, {weights.stat().st_size / 1e6:.1f} MB in half precision",
        "steps": ", ".join([f"{schedule.steps}, learning rate {schedule.rate:g}, seed {schedule.seed}", *before]),
        **({} if task.augmentation is None else {"augmentation": task.augmentation.title}),
        "time": f"{seconds / 60:.0f} minutes with {torch.get_num_threads()} thread(s)",
        "machine": machine(),
        "validation": ", ".join(f"{key} {value:.4g}" for key, value in figures.items()),
        "licence": LICENCE,
        "made by": f"`fit3d tiny {name.removeprefix('tiny-')}`",
    }
    text = [f"# {name}", "", about.title, "", about.training, "", "| | |", "| --- | --- |"]
    text += [f"| {key} | {value} |" for key, value in rows.items()]
    text += ["", "Not good for:", *(f"- {line}" for line in about.limits), ""]
    with atomic_file(card) as temporary:
        temporary.write_text("\n".join(text))
    with atomic_file(log) as temporary:
        temporary.write_text((out / LOG).read_text())
    return [weights, card, log]


def machine() -> str:
    """The processor or the graphics card, in words."""
    import psutil

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.is_file() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{model}, {psutil.cpu_count()} cores"
