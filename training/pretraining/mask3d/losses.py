"""How far what is told of patches is from what is true (Mask3D, section 3.1).

Depth of real sensors has holes.  They are out of everything: mean and deviation of a patch are those of its known
pixels, the loss is the mean over them, and patches with less than :data:`LEAST` known pixels have no loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.pretraining.mask3d.settings import Normalize

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Shaped

LEAST = 0.25  # of the pixels of a patch, for its mean and deviation to be worth the name
DEPTH_FLOOR = 0.005  # metres: what a sensor makes of a wall that is seen straight on; not to be blown up to a relief
COLOUR_FLOOR = 1e-3  # MAE's, the square root of 1e-6
TOLD_FLOOR = 0.1  # of what is told: lets it say "flat", which a deviation that is always 1 could not


def in_patches(values: Shaped[Tensor, "b h w"], patch: int) -> Shaped[Tensor, "b n p"]:
    """Pixels of patches, both row by row."""
    b, h, w = values.shape
    grid = values.reshape(b, h // patch, patch, w // patch, patch)
    return grid.permute(0, 1, 3, 2, 4).reshape(b, -1, patch * patch)


def in_photos(values: Shaped[Tensor, "b n p"], grid: tuple[int, int], patch: int) -> Shaped[Tensor, "b h w"]:
    """The reverse of :func:`in_patches`."""
    b = len(values)
    squares = values.reshape(b, *grid, patch, patch).permute(0, 1, 3, 2, 4)
    return squares.reshape(b, grid[0] * patch, grid[1] * patch)


def moments(
    values: Float[Tensor, "b n p"], known: Bool[Tensor, "b n p"], floor: float
) -> tuple[Float[Tensor, "b n 1"], Float[Tensor, "b n 1"]]:
    """Mean and deviation of the known values of patches, the latter with a floor under it."""
    count = known.sum(-1, keepdim=True).clamp_min(1)
    mean = (values * known).sum(-1, keepdim=True) / count
    variance = ((values - mean).square() * known).sum(-1, keepdim=True) / count
    return mean, (variance + floor**2).sqrt()


def patch_losses(
    told: Float[Tensor, "b n p"],
    true: Float[Tensor, "b n p"],
    known: Bool[Tensor, "b n p"],
    counted: Bool[Tensor, "b n"] | None = None,
    *,
    normalize: Normalize = "both",
    floor: float = DEPTH_FLOOR,
) -> Float[Tensor, " b"]:
    """The mean squared difference of each frame, over its patches, and in them over the known pixels.

    Args:
        told: Of every pixel.
        true: The same.
        known: Where it is known.
        counted: Patches that have a loss if enough of them is known; None = all.
        normalize: See :data:`Normalize`; none = patches are as they are.
        floor: Under the deviations of the truth.

    Returns:
        Of frames that no patch counts of 0.
    """
    told = told.float()
    enough = known.float().mean(-1) >= LEAST
    wanted = enough if counted is None else enough & counted
    if normalize != "none":
        mean, deviation = moments(true, known, floor)
        true = (true - mean) / deviation
    if normalize == "both":
        mean, deviation = moments(told, known, TOLD_FLOOR)
        told = (told - mean) / deviation
    apart = ((told - true).square() * known).sum(-1) / known.sum(-1).clamp_min(1)
    return (apart * wanted).sum(1) / wanted.sum(1).clamp_min(1)


def standardized(depth: Float[Tensor, "b h w"], known: Bool[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Depth without the frame's mean and deviation, 0 where it is not known: what networks are shown."""
    count = known.sum((1, 2), keepdim=True).clamp_min(1)
    mean = (depth * known).sum((1, 2), keepdim=True) / count
    deviation = (((depth - mean) * known).square().sum((1, 2), keepdim=True) / count).sqrt()
    return torch.where(known, (depth - mean) / deviation.clamp_min(DEPTH_FLOOR), 0.0)
