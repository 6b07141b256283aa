"""Where a click lands: the visible surface behind semi-transparent floaters, and the Gaussians that make it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from render.camera import Camera
from render.errors import InputError
from render.gaussians import Gaussians
from render.rasterizer.reference import rotation_matrices
from uplift.attribution import PixelGaussians, as_pixels, gaussians_of_pixels

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Num
    from numpy import ndarray

PIXELS_PER_PASS = 1 << 16  # of which there may be a hundred entries each
HALF = 0.5  # of a pixel's weight lies in front of its median depth
THICKNESS = 0.02  # of the depth: Gaussians this close to the surface belong to it,
EXTENT = 2.0  # and so do those that reach it within so many of their standard deviations along the view


@dataclass(frozen=True)
class Picked:
    """The surface under some clicks.

    Attributes:
        points: On the ray through the click at the median depth, in the world; NaN where nothing is seen;
            ``[m, 3]`` float32.
        depths: Along the camera's z axis, in the scene's unit; NaN where nothing is seen; ``[m]`` float32.
        offsets: Click ``j`` owns entries ``offsets[j]:offsets[j + 1]``; ``[m + 1]`` int64.
        ids: The Gaussians that make that surface, heaviest first; ``[nnz]`` int64.
        weights: Their blending weights, summed over the click's pixels; ``[nnz]`` float32.
    """

    points: Float[Tensor, "m 3"]
    depths: Float[Tensor, " m"]
    offsets: Int[Tensor, " m1"]
    ids: Int[Tensor, " nnz"]
    weights: Float[Tensor, " nnz"]

    def __len__(self) -> int:
        """How many clicks."""
        return len(self.depths)

    def __getitem__(self, index: int) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
        """Ids and weights of one click, heaviest first."""
        first, last = self.offsets[index], self.offsets[index + 1]
        return self.ids[first:last], self.weights[first:last]

    def totals(self, n: int) -> Float[Tensor, " n"]:
        """Weight of each of the scene's ``n`` Gaussians, summed over the clicks."""
        return self.weights.new_zeros(n).index_add_(0, self.ids, self.weights)


@torch.no_grad()
def median_depth(
    gaussians: Gaussians, camera: Camera, pixels: Num[Tensor, "m 2"] | Bool[Tensor, "h w"] | ndarray
) -> Float[Tensor, " m"]:
    """Depth at which half of a pixel's accumulated weight is reached: the surface, not the nearest floater.

    Args:
        gaussians: The scene.
        camera: The view.
        pixels: Positions (x, y) or a mask, as :func:`uplift.attribution.gaussians_of_pixels` takes them.

    Returns:
        Along the camera's z axis in the scene's unit; NaN where nothing is seen; ``[m]`` float32.

    Raises:
        InputError: a position lies outside the image, or a mask is not of the camera's size.
    """
    parts = []
    for some in as_pixels(pixels, camera).split(PIXELS_PER_PASS):
        found = gaussians_of_pixels(gaussians, camera, some)
        parts.append(_median(found, _depths(gaussians, camera, found.ids)))
    return torch.cat(parts)


@torch.no_grad()
def surface_weights(gaussians: Gaussians, camera: Camera, masks: Bool[Tensor, "g h w"]) -> Float[Tensor, "n g"]:
    """Weights ``sum_p w_i(d, p)`` over each mask's pixels, of the Gaussians on their visible surface alone.

    The same as lifting the masks, without floaters in front of the surface and without what shines through it.

    Args:
        gaussians: The scene.
        camera: The view.
        masks: Pixels, each in one mask at most.

    Raises:
        InputError: the masks are not of the camera's size.
    """
    n, count = len(gaussians), len(masks)
    total = gaussians.means.new_zeros(n, count)
    group = masks.to(gaussians.device, torch.uint8).argmax(0)
    for some in as_pixels(masks.any(0), camera).split(PIXELS_PER_PASS):
        found = gaussians_of_pixels(gaussians, camera, some)
        depths = _depths(gaussians, camera, found.ids)
        near = _on_surface(gaussians, camera, found, depths, _median(found, depths)[found.rows])
        owner = group[found.pixels[:, 1], found.pixels[:, 0]][found.rows]
        total.view(-1).index_add_(0, found.ids * count + owner, found.weights * near)
    return total


@torch.no_grad()
def pick(gaussians: Gaussians, camera: Camera, pixels: Num[Tensor, "m 2"] | ndarray, *, radius: float = 0.0) -> Picked:
    """What lies under clicks.

    Args:
        gaussians: The scene.
        camera: The view.
        pixels: Positions (x, y), where whole numbers are the pixels' borders; ``[m, 2]``.
        radius: Look at all pixels whose centres are so near, in pixels, and at the clicked one.  Their median
            decides about the depth, and pixels that show another surface are left out.

    Raises:
        InputError: a position lies outside the image, or the radius is negative.
    """
    if not radius >= 0:
        raise InputError(f"The radius of a click must be at least 0 pixels, found {radius:g}.")
    positions = torch.as_tensor(pixels).to(gaussians.device)
    clicked = as_pixels(positions, camera)
    if not positions.is_floating_point():
        positions = positions + 0.5
    positions = positions.to(torch.float64).reshape(-1, 2)
    around, click = _discs(positions, clicked, camera, radius)
    found = gaussians_of_pixels(gaussians, camera, around)
    entry_depths = _depths(gaussians, camera, found.ids)
    depths = _medians_by_group(_median(found, entry_depths), click, len(clicked))
    owner = click[found.rows]
    near = _on_surface(gaussians, camera, found, entry_depths, depths[owner])
    offsets, ids, weights = _sum_entries(
        owner[near], found.ids[near], found.weights[near], len(clicked), len(gaussians)
    )
    return Picked(_points(camera, positions, depths), depths, offsets, ids, weights)


def _depths(gaussians: Gaussians, camera: Camera, ids: Int[Tensor, " k"]) -> Float[Tensor, " k"]:
    """Depth of the centres along the camera's z axis."""
    pose = camera.world_to_camera.to(gaussians.means)
    return gaussians.means[ids] @ pose[2, :3] + pose[2, 3]


def _median(found: PixelGaussians, depths: Float[Tensor, " nnz"]) -> Float[Tensor, " m"]:
    """Depth of the entry with which each pixel's weight reaches half; entries come front to back."""
    if len(found.ids) == 0:
        return depths.new_full((len(found),), torch.nan)
    # One running sum over all pixels: in double precision its rounding stays far below any weight.
    sums = found.weights.to(torch.float64).cumsum(0)
    sums = torch.cat([sums.new_zeros(1), sums])
    before, total = sums[found.offsets[:-1]], sums[found.offsets[1:]] - sums[found.offsets[:-1]]
    reached = sums[1:] - before[found.rows] >= HALF * total[found.rows]
    earlier = torch.bincount(found.rows[~reached], minlength=len(found))
    seen = found.offsets.diff() > 0
    entry = (found.offsets[:-1] + earlier).clamp_max(len(depths) - 1)
    return torch.where(seen, depths[entry], torch.nan)


def _on_surface(
    gaussians: Gaussians,
    camera: Camera,
    found: PixelGaussians,
    depths: Float[Tensor, " nnz"],
    surface: Float[Tensor, " nnz"],
) -> Bool[Tensor, " nnz"]:
    """Which entries lie at the depth of their pixel's surface or reach it."""
    ids, inverse = found.ids.unique(return_inverse=True)
    axis = camera.world_to_camera[2, :3].to(gaussians.means)
    along = (rotation_matrices(gaussians.quats[ids]) * gaussians.scales[ids][:, None, :]).mT @ axis
    deviation = along.norm(dim=1)[inverse]
    return (depths - surface).abs() <= torch.maximum(THICKNESS * surface, EXTENT * deviation)


def _discs(
    positions: Float[Tensor, "m 2"], clicked: Int[Tensor, "m 2"], camera: Camera, radius: float
) -> tuple[Int[Tensor, "p 2"], Int[Tensor, " p"]]:
    """The pixels around each click, and to which click each belongs."""
    reach = int(radius) + 1
    steps = torch.arange(-reach, reach + 1, device=positions.device)
    offsets = torch.cartesian_prod(steps, steps)
    around = clicked[:, None] + offsets
    close = (around + 0.5 - positions[:, None]).norm(dim=-1) <= radius
    size = around.new_tensor([camera.width, camera.height])
    kept = (close | (offsets == 0).all(1)) & ((around >= 0) & (around < size)).all(-1)
    return around[kept], kept.nonzero()[:, 0]


def _medians_by_group(values: Float[Tensor, " p"], groups: Int[Tensor, " p"], count: int) -> Float[Tensor, " m"]:
    """Lower median of each group's numbers, NaN left out; NaN for a group without numbers."""
    finite = torch.isfinite(values)
    values, groups = values[finite], groups[finite]
    order = torch.argsort(values, stable=True)
    order = order[torch.argsort(groups[order], stable=True)]
    counts = torch.bincount(groups, minlength=count)
    starts = counts.cumsum(0) - counts
    if len(values) == 0:
        return values.new_full((count,), torch.nan)
    middle = (starts + (counts - 1).clamp_min(0) // 2).clamp_max(len(values) - 1)
    return torch.where(counts > 0, values[order][middle], torch.nan)


def _sum_entries(
    owner: Int[Tensor, " k"], ids: Int[Tensor, " k"], weights: Float[Tensor, " k"], count: int, n: int
) -> tuple[Int[Tensor, " m1"], Int[Tensor, " j"], Float[Tensor, " j"]]:
    """Entries of the same click and Gaussian added up; within each click heaviest first."""
    keys, inverse = (owner * n + ids).unique(return_inverse=True)
    summed = weights.new_zeros(len(keys)).index_add_(0, inverse, weights)
    order = torch.argsort(summed, descending=True, stable=True)
    order = order[torch.argsort(keys[order] // n, stable=True)]
    counts = torch.bincount(keys // n, minlength=count)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)]), keys[order] % n, summed[order]


def _points(camera: Camera, positions: Float[Tensor, "m 2"], depths: Float[Tensor, " m"]) -> Float[Tensor, "m 3"]:
    """Positions in the image at given depths, in the world."""
    K, pose = camera.K.to(positions), camera.world_to_camera.to(positions)
    rays = (positions - K[:2, 2]) / torch.stack([K[0, 0], K[1, 1]])
    local = torch.cat([rays, torch.ones_like(rays[:, :1])], dim=1) * depths.to(positions)[:, None]
    return ((local - pose[:3, 3]) @ pose[:3, :3]).to(depths.dtype)
