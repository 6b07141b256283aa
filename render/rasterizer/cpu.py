"""The rasterizer for CPU tensors: numba kernels behind torch's autograd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from render.camera import Camera
from render.gaussians import Gaussians
from render.rasterizer import _raster
from render.rasterizer._autograd import (
    BlendFunction,
    ColourFunction,
    ProjectFunction,
    passes,
    sum_slots,
    value_sums,
)
from render.rasterizer._frame import project, sort_into_tiles, tiles_of
from render.rasterizer._lifting import lift_views_, lifting_matrix
from render.rasterizer._types import Contributions, Rendering
from render.rasterizer.threads import for_ranges

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

__all__ = ["contributions", "lift_views_", "lifting_matrix", "rasterize", "rasterize_transposed"]


def rasterize(
    gaussians: Gaussians,
    camera: Camera,
    values: Float[Tensor, "n c"] | None = None,
    background: Float[Tensor, "c"] | None = None,
    *,
    absgrad: bool = False,
) -> Rendering:
    """See :func:`render.rasterize`."""
    projected = project(gaussians, camera)
    means2d, conics, depths = ProjectFunction.apply(
        gaussians.means, gaussians.quats, gaussians.scales, camera.world_to_camera, projected
    )
    if values is None:
        values = ColourFunction.apply(gaussians.sh, gaussians.means, camera.centre.float(), projected.radii)
    tiles = sort_into_tiles(projected)
    image, alpha, depth = BlendFunction.apply(means2d, conics, gaussians.opacities, values, depths, tiles, absgrad)
    if background is not None:
        image = image + (1 - alpha)[..., None] * background
    return Rendering(image, alpha, depth / alpha.clamp_min(1e-10), means2d, torch.from_numpy(projected.radii))


@torch.no_grad()
def contributions(gaussians: Gaussians, camera: Camera, pixels: Bool[Tensor, "h w"] | None = None) -> Contributions:
    """See :func:`render.contributions`."""
    tiles = tiles_of(gaussians, camera)
    if pixels is not None:
        tiles = tiles.only(pixels.numpy())
    ids = tiles.order.astype(np.int32)
    offsets = np.zeros(tiles.width * tiles.height + 1, np.int64)
    nothing = np.empty(0, np.int32), np.empty(0, np.float32)
    for_ranges(_raster.list_pixels, tiles.count, *tiles.lists, tiles.records, ids, offsets, *nothing)
    np.cumsum(offsets, out=offsets)
    cursors = np.concatenate([offsets[:1], offsets[:-1]])
    out_ids, out_weights = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.float32)
    if len(out_ids):
        for_ranges(_raster.list_pixels, tiles.count, *tiles.lists, tiles.records, ids, cursors, out_ids, out_weights)
    listed = Contributions(
        torch.from_numpy(offsets),
        torch.from_numpy(out_ids),
        torch.from_numpy(out_weights),
        camera.width,
        camera.height,
    )
    return listed if pixels is None else listed.only(pixels)


@torch.no_grad()
def rasterize_transposed(
    gaussians: Gaussians, camera: Camera, values: Float[Tensor, "h w c"]
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n"]]:
    """See :func:`render.rasterize_transposed`."""
    tiles = tiles_of(gaussians, camera)
    sums, weights = torch.zeros(len(gaussians), values.shape[-1]), torch.zeros(len(gaussians), 1)
    for part in passes(values.shape[-1]):
        slots = value_sums(tiles, values, part, sums)
    column = part.stop - part.start
    sum_slots(tiles, np.ascontiguousarray(slots[:, column : column + 1]), weights, slice(0, 1))
    return sums, weights[:, 0]
