"""A co-distillation that takes seconds: photos of squares, two teachers, a student from scratch."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.tiny_models import TINY_VIT
from training.distillation.co.outputs import Outputs
from training.distillation.co.photos import Photos, held_out, open_source
from training.distillation.co.settings import Settings
from training.distillation.co.task import CoDistillation
from training.distillation.co.teachers import Teacher
from training.loop import Schedule
from uplift.encoders import load_encoder
from uplift.encoders.untrained import make_blank
from uplift.encoders.vit import ViTEncoder

STEPS = 6
SCHEDULE = Schedule(
    steps=STEPS, rate=1e-3, save_every=0.0, log_every=2, validate_every=0, picture_every=0, precision="no"
)
SIDE = 32
SOURCES = (("generic", "wide"), ("rgb", "tall"))
CPU = torch.device("cpu")


def photo_folders(folder: Path) -> Path:
    """Folders ``wide`` and ``tall`` with six photos of coloured squares each, of other sizes; the second nested."""
    random = np.random.default_rng(0)
    for name, (rows, columns), inner in (("wide", (3, 4), "."), ("tall", (4, 3), "more")):
        place = folder / name / inner
        place.mkdir(parents=True)
        for number in range(6):
            squares = random.integers(0, 255, (rows, columns, 3), dtype=np.uint8)
            Image.fromarray(np.kron(squares, np.ones((16, 16, 1), np.uint8))).save(place / f"{number}.png")
    return folder


def blank(seed: int) -> ViTEncoder:
    """A ViT with random weights, of 64 channels and patches of 16 pixels."""
    return make_blank(TINY_VIT, CPU, seed=seed)


def two_teachers() -> list[Teacher]:
    """A ViT that sees larger photos than the student, with a global token, and colours, without."""
    return [Teacher(TINY_VIT, blank(1), side=48), Teacher("rgb", load_encoder("rgb", device="cpu"))]


def train_and_held(folder: Path) -> tuple[Photos, Photos]:
    """The photos of :func:`photo_folders`, without those that are held out, and those."""
    parts = [held_out(open_source(owner, folder / name)) for owner, name in SOURCES]
    return Photos([train for train, _ in parts]), Photos([held for _, held in parts])


def settings_of(**changes: Any) -> Settings:
    """Settings in which a step is quick."""
    options: dict[str, Any] = {"stages": (str(SIDE),), "batch": 4}
    return Settings(**(options | changes))


def make_task(folder: Path, **changes: Any) -> CoDistillation:
    """A task on :func:`photo_folders`; ``outputs`` may be a folder."""
    train, held = train_and_held(folder)
    names = {field.name for field in fields(Settings)}
    settings = settings_of(**{name: value for name, value in changes.items() if name in names})
    options: dict[str, Any] = {"steps": STEPS, "validation": held}
    options |= {name: value for name, value in changes.items() if name not in names}
    teachers = options.pop("teachers", None) or two_teachers()
    if isinstance(options.get("outputs"), Path):
        options["outputs"] = Outputs(options["outputs"])
    return CoDistillation(options.pop("student", None) or blank(0), teachers, train, settings=settings, **options)
