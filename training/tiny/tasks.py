"""The trainings of the tiny encoders by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from training.tiny.card import Recipe
from training.tiny.task import TinyTask

if TYPE_CHECKING:
    import torch

    from training.augmentation import Augmentation
    from training.tiny.images import RoomImages

Name = Literal["dino", "clip", "sam", "depth"]


def recipe_of(name: Name) -> Recipe:
    """Steps, batch, rate and words of a training."""
    if name == "dino":
        from training.tiny.dino import RECIPE
    elif name == "clip":
        from training.tiny.clip import RECIPE
    elif name == "depth":
        from training.tiny.depth import RECIPE
    else:
        from training.tiny.sam import RECIPE
    return RECIPE


def make_task(
    name: Name,
    images: RoomImages,
    validation: RoomImages,
    *,
    batch: int,
    seed: int,
    device: torch.device,
    augmentation: Augmentation | None = None,
) -> TinyTask:
    """A training that has not begun.

    Args:
        name: Of the encoder.
        images: Photos of the rooms to train on.
        validation: Photos of other rooms.
        batch: Photos, pairs or crops of a step.
        seed: Of the weights.
        device: Where it computes.
        augmentation: What the colours of crops go through in the place of jitter.

    Raises:
        InputError: the augmentation does nothing else than to move and hide pixels.
    """
    if name == "dino":
        from training.tiny.dino import DinoTask

        return DinoTask(images, validation, batch=batch, seed=seed, device=device, augmentation=augmentation)
    if name == "clip":
        from training.tiny.clip import ClipTask

        return ClipTask(images, validation, batch=batch, seed=seed, device=device, augmentation=augmentation)
    if name == "depth":
        from training.tiny.depth import DepthTask

        return DepthTask(images, validation, batch=batch, seed=seed, device=device, augmentation=augmentation)
    from training.tiny.sam import SamTask

    return SamTask(images, validation, batch=batch, seed=seed, device=device, augmentation=augmentation)
