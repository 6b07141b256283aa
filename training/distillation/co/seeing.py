"""What student and teachers see of a photo: crops or the whole, at the side of the stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from render.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from numpy.random import Generator

Augment: TypeAlias = Literal["crops", "flips"]
"""Random resized crops, half of them mirrored; or whole photos, half of them mirrored, which teachers see once."""
AUGMENTS: tuple[Augment, ...] = get_args(Augment)
SCALE = (0.32, 1.0)  # of a photo's area is in a crop, as DINOv2 draws global crops
RATIO = (3 / 4, 4 / 3)  # of a crop's width and height
TRIES = 10  # for a crop that lies inside the photo
FLIPPED = 0.5  # of what is seen is mirrored


@dataclass(frozen=True)
class Stages:
    """Resolutions one after the other (DUNE, section 5.1: 336, in the end 448).

    Attributes:
        sides: Of what the student sees, in pixels.
        shares: Parts of the steps; their sum is 1.
    """

    sides: tuple[int, ...]
    shares: tuple[float, ...]

    @staticmethod
    def parse(texts: Sequence[str], patch: int) -> Stages:
        """Stages that are written ``SIDE:SHARE``, or one as ``SIDE``.

        Args:
            texts: As a person typed them; shares are divided by their sum.
            patch: Of the student, in pixels.

        Raises:
            InputError: one is written otherwise, a share is not above 0, or a side is no multiple of the patch.
        """
        pairs = []
        for text in texts:
            pixels, _, share = text.partition(":")
            try:
                pairs.append((int(pixels), float(share or 1)))
            except ValueError as error:
                raise InputError(f"Stages are given as SIDE:SHARE, such as 336:0.9 448:0.1; found {text!r}.") from error
        for side, part in pairs:
            if side < patch or side % patch:
                below = max(patch, side // patch * patch)
                raise InputError(
                    f"The student sees patches of {patch} pixels, found stages of {side}; choose a multiple, such as "
                    f"{below}."
                )
            if not 0 < part < math.inf:
                raise InputError(f"A stage has a share above 0 of the steps, found {part:g}.")
        if not pairs:
            raise InputError("Expected one stage of resolution or more, found none.")
        total = sum(part for _, part in pairs)
        return Stages(tuple(side for side, _ in pairs), tuple(part / total for _, part in pairs))

    def side_at(self, progress: float) -> int:
        """The side at a part of the steps, from 0 to 1."""
        ends = np.cumsum(self.shares) - 1e-9
        return self.sides[min(int(np.searchsorted(ends, progress, side="right")), len(self.sides) - 1)]


def cropped(
    image: UInt8[np.ndarray, "h w 3"], random: Generator, side: int, scale: tuple[float, float] = SCALE
) -> UInt8[Tensor, "3 side side"]:
    """A random part of a photo, resized, and mirrored half of the time.

    The part's area and the logarithm of its aspect ratio are uniform; after ten parts that do not lie inside the photo
    the largest one of a permitted ratio in its middle is taken.

    Args:
        image: The photo.
        random: Of all choices.
        side: Of the result, in pixels.
        scale: Smallest and largest part of the area.
    """
    from torchvision.transforms.v2 import functional

    top, left, height, width = _part(image.shape[0], image.shape[1], random, scale)
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    found: Tensor = functional.resized_crop(
        pixels, top, left, height, width, [side, side], functional.InterpolationMode.BICUBIC, antialias=True
    )
    return found.flip(-1) if random.random() < FLIPPED else found


def whole(image: UInt8[np.ndarray, "h w 3"], grid: tuple[int, int], patch: int) -> UInt8[Tensor, "3 h w"]:
    """A whole photo, resized to a grid of patches."""
    from torchvision.transforms.v2 import functional

    size = [length * patch for length in grid]
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    if list(pixels.shape[1:]) == size:
        return pixels.contiguous()
    found: Tensor = functional.resize(pixels, size, functional.InterpolationMode.BICUBIC, antialias=True)
    return found.contiguous()


def _part(height: int, width: int, random: Generator, scale: tuple[float, float]) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random part, in pixels."""
    for _ in range(TRIES):
        area = random.uniform(*scale) * height * width
        ratio = math.exp(random.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(random.integers(height - h + 1)), int(random.integers(width - w + 1)), h, w
    ratio = min(max(width / height, RATIO[0]), RATIO[1])
    w, h = min(width, max(1, round(height * ratio))), min(height, max(1, round(width / ratio)))
    return (height - h) // 2, (width - w) // 2, h, w
