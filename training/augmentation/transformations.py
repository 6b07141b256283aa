"""The transformations that augmentations are made of, on batches of photos (sections 3.4.1 and A.2.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Int

NOISE = 3  # random numbers of a photo that a transformation may use besides its magnitude: direction, place, aspect


@dataclass(frozen=True)
class Transformation:
    """One elementary transformation.

    Attributes:
        name: As the paper has it.
        adjustable: Whether its magnitude matters.
        symmetric: Whether it goes in a random one of two directions.
        geometric: Whether it moves pixels, so that label maps are moved with them.
        first: Whether it comes before all others of an augmentation that do not.
    """

    name: str
    adjustable: bool = True
    symmetric: bool = False
    geometric: bool = False
    first: bool = False


STANDARD: tuple[str, ...] = (
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "AutoContrast", "Equalize", "Invert",
    "Solarize", "Posterize", "Contrast", "Brightness", "Sharpness", "Color",
)  # fmt: skip
CIFAR = (*STANDARD, "Cutout", "RandomCrop")
IMAGENET = (*STANDARD, "Cutout", "RandomResizedCrop", "Hue")
DOMAINNET = (*IMAGENET, "Grayscale")
POOLS = {"standard": STANDARD, "cifar": CIFAR, "imagenet": IMAGENET, "domainnet": DOMAINNET}
POOL: dict[str, Transformation] = {name: Transformation(name) for name in dict.fromkeys((*CIFAR, *DOMAINNET))}


def composed(
    images: Float[Tensor, "b 3 h w"],
    names: tuple[str, ...],
    chosen: Int[Tensor, "b K"],
    magnitudes: Float[Tensor, "b K"],
    noise: Float[Tensor, "b K 3"],
) -> Float[Tensor, "b 3 h w"]:
    """Photos after an augmentation each."""
    raise NotImplementedError
