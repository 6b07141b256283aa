"""TrivialAugment as it is published for CIFAR: with the crop and the Cutout that table 3.1 counts as hard-coded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.augmentation.applying import TRIVIAL, Augmentation
from training.augmentation.numbers import item_seeds, uniform_numbers
from training.augmentation.transformations import NOISE, composed
from training.augmentation.trivial import Space

if TYPE_CHECKING:
    from jaxtyping import Float, Int64

CROP = 0.125 / 0.5  # of a side that a photo is shifted by at most, as a part of RandomCrop's range (table A.2)
CUTOUT = 0.5  # of a side
SUFFIX = "-cifar"
NAMED: dict[str, Space] = {name + SUFFIX: space for name, space in TRIVIAL.items()}


class TrivialWithDefaults(Augmentation):
    """A random crop, a mirror half of the time, TrivialAugment, and Cutout."""

    def __init__(self, space: Space, *, flip: bool = True) -> None:
        super().__init__(space, flip=flip)
        self.title += ", crop and cutout"

    def __call__(
        self, images: Float[Tensor, "b 3 h w"], seeds: Sequence[int] | Int64[Tensor, " b"]
    ) -> Float[Tensor, "b 3 h w"]:
        """Photos after all of these."""
        numbers = uniform_numbers(item_seeds(2, 0, seeds), 2 * NOISE).to(images).unflatten(1, (2, 1, NOISE))
        cropped = _always(images, "RandomCrop", CROP, numbers[:, 0])
        return _always(super().__call__(cropped, seeds), "Cutout", CUTOUT, numbers[:, 1])


def _always(images: Tensor, name: str, magnitude: float, noise: Float[Tensor, "b 1 3"]) -> Tensor:
    """One transformation, always equally strong."""
    one = (len(images), 1)
    chosen = torch.zeros(one, dtype=torch.int64, device=images.device)
    return composed(images, (name,), chosen, torch.full(one, magnitude, device=images.device), noise)
