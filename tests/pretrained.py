"""Masked pretraining in miniature, and a program that does it in several processes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.ops import masks_to_boxes

from tests.taught import CLASSES, small_data
from training.distillation.specific.augmentation import Recipe
from training.distillation.specific.models import ModelSpec
from training.distillation.specific.samples import TaskPhotos
from training.distillation.specific.task import TaskTraining
from training.loop import Schedule, Task, train
from training.pretraining.detection.data import RoomThings, Scene
from training.pretraining.detection.model import ThingDetector
from training.pretraining.detection.task import DetectionTraining
from training.pretraining.mask3d.frames import Frames
from training.pretraining.mask3d.settings import MAE, Masking, Numbers, Shape
from training.pretraining.mask3d.task import MaskedPretraining
from training.pretraining.segmentation import DecodedModel
from training.probing.photos import ProbePhoto
from training.randomness import seeded
from uplift.encoders.masked import PatchDecoder
from uplift.encoders.tiny_dino import build_tiny_dino
from uplift.encoders.vit import ViTEncoder

PATCH, HEIGHT, WIDTH = 8, 32, 48
GRID = (HEIGHT // PATCH, WIDTH // PATCH)
SIDE = 48  # pixels of what a detector sees
PLACES = GRID[0] * GRID[1]
SHAPE = Shape(depth_blocks=1, width=32, blocks=1)
NUMBERS = Numbers(size=(HEIGHT, WIDTH), augment="crops", batch=4, epochs=3, rate=1e-3, weight_decay=0.01)
SCHEDULE = Schedule(
    steps=4,
    rate=2e-3,
    warmup=0.0,
    decay="staircase",
    stair=(0.5, 2),
    save_every=0.0,
    log_every=1,
    validate_every=2,
    picture_every=0,
    precision="no",
)


@cache
def tiny_encoder(seed: int = 0) -> ViTEncoder:
    """A network like tiny-dino's, of two narrow blocks: 32 channels, patches of 8 pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_tiny_dino(width=32, depth=2, heads=2)
    return ViTEncoder("tiny-dino", model, device=torch.device("cpu"))


def slope(seed: int, *, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Depth in metres of a slope and a step, with a hole; ``[h, w]``."""
    random = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    depth = 2 + random.uniform(-1, 1) * x + random.uniform(-1, 1) * y + (x > random.uniform(0.2, 0.8))
    depth[: PATCH // 2, : 2 * PATCH] = 0
    return depth.astype(np.float32)


def photo_of(seed: int, *, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """The redder the farther."""
    depth = slope(seed, height=height, width=width)
    noise = np.random.default_rng(seed).integers(0, 40, (height, width, 3))
    noise[..., 0] += (40 * depth).astype(int)
    return noise.astype(np.uint8)


def frames(count: int = 6, first: int = 0, **size: int) -> Frames:
    """Frames in memory."""
    seeds = range(first, first + count)
    return Frames(
        [ProbePhoto(f"{i:03d}", "slopes", partial(photo_of, i, **size), depth=partial(slope, i, **size)) for i in seeds]
    )


def make_task(masking: Masking | None = None, **changes: Any) -> MaskedPretraining:
    """A pretraining that has not begun."""
    return MaskedPretraining(
        changes.pop("encoder", tiny_encoder()),
        changes.pop("frames", None) or frames(),
        changes.pop("numbers", NUMBERS),
        masking or Masking(),
        SHAPE,
        validation=frames(3, 100),
        **changes,
    )


def segmented(decoder: PatchDecoder | None = None, **changes: Any) -> TaskTraining:
    """A fine-tuning for the classes of pixels that has not begun."""
    data = small_data("segmentation")
    spec = ModelSpec(name="tiny-dino", goal="segmentation", classes=len(CLASSES), side=32)
    with seeded(3):
        model = DecodedModel(tiny_encoder(), spec, decoder, finer=2)
    photos = TaskPhotos(data.train, "segmentation", len(CLASSES))
    return TaskTraining(model, photos, Recipe(side=32), batch=4, classes=CLASSES, **changes)


class Blocks(RoomThings):
    """Two things in every photo, which no room has."""

    @property
    def names(self) -> tuple[str, ...]:
        return ("red", "green")

    def __init__(self, count: int = 4) -> None:
        self.size, self.index = (SIDE, SIDE), [(0, str(i)) for i in range(count)]

    @property
    def fingerprint(self) -> str:
        return "blocks"

    def scene(self, index: int, *, flipped: bool = False) -> Scene:
        """A square of each class on a grey wall."""
        random = np.random.default_rng(index)
        pixels, masks = torch.full((3, SIDE, SIDE), 0.4), torch.zeros(2, SIDE, SIDE, dtype=torch.uint8)
        for label, (top, left) in enumerate(random.integers(0, SIDE // 2, (2, 2))):
            masks[label, top : top + SIDE // 3, left : left + SIDE // 3] = 1
        masks[0] &= 1 - masks[1]
        masks = masks.flip(-1) if flipped else masks
        for label in range(2):
            pixels[label][masks[label] > 0] = 1.0
        kept = masks.flatten(1).sum(1) > 0
        boxes = masks_to_boxes(masks[kept]) + torch.tensor([0.0, 0.0, 1.0, 1.0])
        return Scene(pixels, boxes, torch.arange(1, 3)[kept], masks[kept])


def detecting(**changes: Any) -> DetectionTraining:
    """A detector that has not begun."""
    with seeded(4):
        model = ThingDetector(tiny_encoder(), 2, (SIDE, SIDE), width=8, boxes=16)
    return DetectionTraining(model, Blocks(), batch=4, **changes)


TASKS: dict[str, Callable[[], Task]] = {
    "mask3d": make_task,
    "mae": partial(make_task, MAE),
    "segment": segmented,
    "detect": detecting,
}


def main() -> None:
    """``python -m tests.pretrained OUT``: one after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for kind, make in TASKS.items():
        task = make()
        train(task, SCHEDULE, given.out / kind, device="cpu")
        torch.save(task.state_dict(), given.out / f"{kind}-{os.environ.get('RANK', '0')}.pt")


if __name__ == "__main__":
    main()
