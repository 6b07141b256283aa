"""Masked pretraining in miniature, and a program that does it in several processes."""

from __future__ import annotations

import argparse
import os
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.loop import Schedule, train
from training.pretraining.mask3d.frames import Frames
from training.pretraining.mask3d.settings import Masking, Numbers, Shape
from training.pretraining.mask3d.task import MaskedPretraining
from training.probing.photos import ProbePhoto
from uplift.encoders.tiny_dino import build_tiny_dino
from uplift.encoders.vit import ViTEncoder

PATCH, HEIGHT, WIDTH = 8, 32, 48
GRID = (HEIGHT // PATCH, WIDTH // PATCH)
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


def main() -> None:
    """``python -m tests.pretrained OUT``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    task = make_task()
    train(task, SCHEDULE, given.out / "mask3d", device="cpu")
    torch.save(task.state_dict(), given.out / f"mask3d-{os.environ.get('RANK', '0')}.pt")


if __name__ == "__main__":
    main()
