"""Where Gaussians start: sparse points, and pixels put at the depth of the sparse points around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from render.camera import Camera
from render.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

NEIGHBOURS = 4
FAR_FRACTION = 0.1  # of the image diagonal: pixels farther from any sparse point are background
CELL = 24  # pixels: a point well behind the nearest of its cell is taken to be hidden
HIDDEN = 1.25


@dataclass(frozen=True)
class SeedView:
    """A training photo as seeding needs it.

    Attributes:
        camera: Of the undistorted photo.
        image: The undistorted photo, ``[h, w, 3]`` uint8.
        points: Indices of the sparse points known to be seen in it, ``[m]`` int64; None = not known.
    """

    camera: Camera
    image: UInt8[Tensor, "h w 3"]
    points: Int[Tensor, " m"] | None = None


def pixel_seeds(
    points: Float[Tensor, "p 3"], views: Sequence[SeedView], count: int, *, generator: torch.Generator
) -> tuple[Float[Tensor, "s 3"], UInt8[Tensor, "s 3"]]:
    """Draw random pixels of the photos and put them into space.

    Args:
        points: Sparse points in the frame of the cameras, ``[p, 3]``.
        views: The training photos.
        count: How many seeds; the photos share them equally.
        generator: Source of randomness, on the CPU.

    Returns:
        Positions ``[s, 3]`` float32 and colours ``[s, 3]`` uint8; ``s < count`` where a photo sees
        fewer than four sparse points.

    Raises:
        InputError: there is no photo.
    """
    if not views:
        raise InputError("Seeding needs at least one training photo, found none.")
    share = -(-count // len(views))
    placed = [_seeds_of_view(points, view, share, generator) for view in views]
    positions = torch.cat([p for p, _ in placed])
    colours = torch.cat([c for _, c in placed])
    order = torch.randperm(len(positions), generator=generator)[:count]
    return positions[order], colours[order]


def neighbour_distances(points: Float[Tensor, "n 3"], neighbours: int = 3) -> Float[Tensor, " n"]:
    """Mean distance of each point to its nearest neighbours, never zero: the initial scale of its Gaussian."""
    from scipy.spatial import cKDTree

    array = points.detach().cpu().numpy()
    known = min(neighbours, len(array) - 1)
    if known < 1:
        return points.new_ones(len(array))
    distances = cKDTree(array).query(array, k=known + 1)[0][:, 1:].mean(1)
    floor = 1e-6 * max(float(np.abs(array).max()), 1e-6)
    return torch.from_numpy(np.maximum(distances, floor)).to(points)


def visible_points(points: Float[Tensor, "p 3"], camera: Camera) -> Int[Tensor, " m"]:
    """Sparse points inside the picture and not well behind a nearer one; for data without sightings."""
    pixels, depths = _project(points, camera)
    inside = (depths > 0) & (pixels >= 0).all(1)
    inside &= (pixels[:, 0] < camera.width) & (pixels[:, 1] < camera.height)
    index = inside.nonzero()[:, 0]
    cell = (pixels[index] / CELL).long()
    cell = cell[:, 1] * (camera.width // CELL + 1) + cell[:, 0]
    nearest = torch.full((int(cell.max()) + 1 if len(cell) else 0,), torch.inf)
    nearest = nearest.scatter_reduce(0, cell, depths[index], "amin")
    return index[depths[index] <= HIDDEN * nearest[cell]]


def _seeds_of_view(points: Tensor, view: SeedView, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    from scipy.spatial import cKDTree

    camera = view.camera
    x = torch.randint(camera.width, (count,), generator=generator)
    y = torch.randint(camera.height, (count,), generator=generator)
    spread = torch.rand(count, generator=generator)
    seen = visible_points(points, camera) if view.points is None else view.points
    pixels, depths = _project(points[seen], camera)
    if (depths > 0).sum() < NEIGHBOURS:
        return points.new_zeros(0, 3), view.image.new_zeros(0, 3)
    pixels, depths = pixels[depths > 0], depths[depths > 0]
    at = torch.stack([x, y], 1) + 0.5
    distance, neighbour = cKDTree(pixels.numpy()).query(at.numpy(), k=NEIGHBOURS)
    weights = 1.0 / np.maximum(distance, 0.5) ** 2
    # Perspective interpolates inverse depths linearly on a plane.
    inverse = (weights / depths.numpy()[neighbour]).sum(1) / weights.sum(1)
    depth = torch.from_numpy(1.0 / inverse).float()
    far = torch.from_numpy(distance[:, 0]) > FAR_FRACTION * float(np.hypot(camera.width, camera.height))
    background = torch.quantile(depths, 0.9) * (1.0 + spread)
    depth = torch.where(far, torch.maximum(depth, background), depth)
    rays = torch.cat([at, torch.ones(count, 1)], 1) @ torch.linalg.inv(camera.K).T
    world = (rays * depth[:, None] - camera.world_to_camera[:3, 3]) @ camera.world_to_camera[:3, :3]
    return world, view.image[y, x]


def _project(points: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    local = points @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]
    depths = local[:, 2]
    safe = torch.where(depths.abs() > 1e-9, depths, torch.ones_like(depths))
    return (local @ camera.K.T)[:, :2] / safe[:, None], depths
