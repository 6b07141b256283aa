"""Synthetic scenes that load a rasterizer as a real capture does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from render.camera import Camera
from render.gaussians import Gaussians

if TYPE_CHECKING:
    from jaxtyping import Float

FIELD_OF_VIEW = 1.05  # radians, horizontal
MARGIN = 0.15  # of the image, around it: these Gaussians are projected and culled
MEDIAN_SIZE = 0.75  # pixels, for one Gaussian per pixel: the standard deviation grows with the room each has
SIZE_SPREAD = 0.75  # of the logarithm of the size
SHAPE_SPREAD = 0.5  # of the logarithm of each axis: captures are full of needles
FLATNESS = 0.15
OBJECTS = 14
HIDDEN_SHARE = 0.2  # Gaussians behind the surface that the camera sees
OPAQUE_SHARE = 0.45


def capture_like(
    count: int, width: int, height: int, *, views: int = 1, seed: int = 0
) -> tuple[Gaussians, list[Camera]]:
    """Gaussians on the surfaces of a room full of objects, and cameras that look at them.

    Sizes are log-normal, shapes anisotropic, opacities a mixture of opaque and faint ones, colours of SH
    degree 1.  Every pixel blends some tens of Gaussians, as in fitted captures.

    Args:
        count: Number of Gaussians.
        width: Of the views, in pixels.
        height: Of the views, in pixels.
        views: Number of cameras; the first stands at the origin, the others close by.
        seed: Of the random numbers.
    """
    random = torch.Generator().manual_seed(seed)
    focal = width / 2 / torch.tan(torch.tensor(FIELD_OF_VIEW / 2)).item()
    where = torch.rand(count, 2, generator=random) * (1 + 2 * MARGIN) - MARGIN
    depth = _surface(where, random)
    hidden = torch.rand(count, generator=random) < HIDDEN_SHARE
    depth = depth * torch.where(hidden, 1 + 0.5 * torch.rand(count, generator=random), torch.ones(count))
    depth = depth * (1 + 0.01 * torch.randn(count, generator=random))
    pixels = where * torch.tensor([width, height])
    centred = (pixels - torch.tensor([width / 2, height / 2])) / focal
    means = torch.cat([centred * depth[:, None], depth[:, None]], dim=1)
    room = (width * height * (1 + 2 * MARGIN) ** 2 / count) ** 0.5
    size = MEDIAN_SIZE * room * torch.exp(SIZE_SPREAD * torch.randn(count, 1, generator=random))
    axes = torch.exp(SHAPE_SPREAD * torch.randn(count, 3, generator=random)) * torch.tensor([1, 1, FLATNESS])
    gaussians = Gaussians(
        means=means,
        quats=torch.randn(count, 4, generator=random),
        scales=size * axes * depth[:, None] / focal,
        opacities=_opacities(count, random),
        sh=0.4 * torch.randn(count, 4, 3, generator=random),
    )
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return gaussians, [_camera(K, index, width, height) for index in range(views)]


def _surface(where: Float[torch.Tensor, "n 2"], random: torch.Generator) -> Float[torch.Tensor, " n"]:
    """Depth of the nearest surface: a wavy background with discs in front."""
    x, y = where.unbind(1)
    depth = 6 + torch.sin(5 * x) * torch.cos(4 * y)
    for _ in range(OBJECTS):
        a, b, c, d = torch.rand(4, generator=random).tolist()
        inside = (x - a).square() + (y - b).square() < (0.05 + 0.12 * c) ** 2
        depth = torch.where(inside, depth.clamp_max(2 + 3 * d), depth)
    return depth


def _opacities(count: int, random: torch.Generator) -> Float[torch.Tensor, " n"]:
    draw = torch.rand(count, generator=random)
    opaque = torch.rand(count, generator=random) < OPAQUE_SHARE
    return torch.where(opaque, 1 - 0.35 * draw.square(), 0.02 + 0.5 * draw.square()).clamp(0.01, 0.99)


def _camera(K: torch.Tensor, index: int, width: int, height: int) -> Camera:
    pose = torch.eye(4)
    pose[0, 3], pose[1, 3] = 0.05 * index, 0.03 * (index % 3)
    return Camera(K, pose, width, height)
