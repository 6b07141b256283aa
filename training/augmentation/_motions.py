"""Where photos are moved to, many at once and each by an amount of its own; one interpolation for all of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from jaxtyping import Float

ASPECT = 4 / 3  # of a crop that is enlarged: so much wider or higher than the photo, at most


class Motion(NamedTuple):
    """What each pixel of a moved photo shows: the place ``turn @ (x, y) + shift``, kept inside a box.

    Places are in pixels from the middle of the photo, x to the right and y down.

    Attributes:
        turn: ``[b, 2, 2]``.
        shift: ``[b, 2]``.
        least: Of the box, ``[b, 2]``; -inf where it is not bounded.
        most: Of the box, ``[b, 2]``.
    """

    turn: Float[Tensor, "b 2 2"]
    shift: Float[Tensor, "b 2"]
    least: Float[Tensor, "b 2"]
    most: Float[Tensor, "b 2"]


Mover: TypeAlias = Callable[[Tensor, Tensor, Tensor], Motion]
"""Amounts ``[b]``, random numbers in [0, 1) ``[b, 3]`` and the photos' size (width, height) ``[2]`` to a motion."""


def still(amounts: Float[Tensor, " b"]) -> Motion:
    """No motion."""
    count = len(amounts)
    zero, endless = amounts.new_zeros(count, 2), amounts.new_full((count, 2), math.inf)
    return Motion(torch.eye(2).to(amounts).repeat(count, 1, 1), zero, -endless, endless)


def sheared(axis: int) -> Mover:
    """Rows (axis 0) or columns (1) slide past each other, by so many pixels a pixel; the middle stays."""

    def motion(amounts: Tensor, noise: Tensor, size: Tensor) -> Motion:  # noqa: ARG001
        found = still(amounts)
        found.turn[:, axis, 1 - axis] = amounts
        return found

    return motion


def shifted(axis: int) -> Mover:
    """To the right (axis 0) or down (1), by a share of the width or height."""

    def motion(amounts: Tensor, noise: Tensor, size: Tensor) -> Motion:  # noqa: ARG001
        found = still(amounts)
        found.shift[:, axis] = -amounts * size[axis]
        return found

    return motion


def turned(amounts: Float[Tensor, " b"], noise: Float[Tensor, "b 3"], size: Float[Tensor, "2"]) -> Motion:  # noqa: ARG001
    """About the middle, by degrees, clockwise."""
    cosines, sines = torch.cos(torch.deg2rad(amounts)), torch.sin(torch.deg2rad(amounts))
    turn = torch.stack([cosines, sines, -sines, cosines], 1).unflatten(1, (2, 2))
    return still(amounts)._replace(turn=turn)


def cropped(amounts: Float[Tensor, " b"], noise: Float[Tensor, "b 3"], size: Float[Tensor, "2"]) -> Motion:
    """A random window of the photo with edges of a share of its sides added: moved by whole pixels."""
    most = (amounts[:, None] * size).round()
    return still(amounts)._replace(shift=(noise[:, :2] * (2 * most + 1)).floor() - most)


def enlarged(amounts: Float[Tensor, " b"], noise: Float[Tensor, "b 3"], size: Float[Tensor, "2"]) -> Motion:
    """A random part as large as the photo (Szegedy et al. 2015): all of its area but the amount.

    The part is wider or higher than the photo, by 4/3 at most and as far as it fits: a square photo's are those that
    drawing aspects until the part fits finds.  Its sides are whole pixels.
    """
    area = 1 - amounts
    widest = torch.minimum(-area.clamp_min(1e-6).log(), torch.full_like(area, math.log(ASPECT)))
    aspect = torch.exp(widest * (2 * noise[:, 2] - 1))
    shares = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], 1)
    sides = torch.minimum((shares * size).round().clamp_min(1), size)
    corner = (noise[:, :2] * (size - sides + 1)).floor()
    scale = sides / size
    # Beyond its edge stands what is at its edge, as where a picture is resized.
    return Motion(
        torch.diag_embed(scale), corner + sides / 2 - size / 2, corner + 0.5 - size / 2, corner + sides - 0.5 - size / 2
    )


def moved(images: Float[Tensor, "b c h w"], motion: Motion, *, nearest: bool = False) -> Float[Tensor, "b c h w"]:
    """Photos after a motion each, 0 where nothing of them is: between pixels linearly, or the nearest one's."""
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device, dtype=images.dtype) + 0.5 - width / 2
    y = torch.arange(height, device=images.device, dtype=images.dtype) + 0.5 - height / 2
    places = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1)
    seen = places @ motion.turn.mT + motion.shift[:, None]
    seen = torch.maximum(torch.minimum(seen, motion.most[:, None]), motion.least[:, None])
    grid = (seen * seen.new_tensor([2 / width, 2 / height])).unflatten(1, (height, width))
    mode = "nearest" if nearest else "bilinear"
    return functional.grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=False)
