"""The rasterizer for CUDA tensors: gsplat's kernels.

.. warning::
    The kernels themselves have not been run by the project's tests, which had no GPU: what surrounds them is
    tested with each kernel replaced by its meaning in torch, and ``tests/test_rasterizer_gpu.py`` compares
    the whole with the reference where there is a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gsplat
import torch
from torch import Tensor

from render.camera import Camera
from render.gaussians import Gaussians
from render.rasterizer._types import (
    EPS2D,
    FAR,
    MAX_ALPHA,
    NEAR,
    Contributions,
    Rendering,
    sparse_csr,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Bool, Float, Int

TILE = 16
CHANNELS_PER_PASS = 32
PAIRS_PER_PASS = 1 << 22
ALL = 1 << 30  # more batches of Gaussians than any tile has


@dataclass(frozen=True)
class _Frame:
    """A projected view; the leading axis of one is gsplat's batch of cameras."""

    camera: Camera
    centres: Float[Tensor, "1 n 2"]
    conics: Float[Tensor, "1 n 3"]
    depths: Float[Tensor, "1 n"]
    radii: Int[Tensor, "1 n 2"]
    tile_offsets: Int[Tensor, "1 th tw"]
    flatten_ids: Int[Tensor, "m"]


def _project(gaussians: Gaussians, camera: Camera) -> tuple[_Frame, Float[Tensor, "n 2"]]:
    """The frame, and the centres that its gradients flow through."""
    radii, centres, depths, conics, _ = gsplat.fully_fused_projection(
        means=gaussians.means,
        covars=None,
        quats=gaussians.quats,
        scales=gaussians.scales,
        viewmats=camera.world_to_camera[None],
        Ks=camera.K[None],
        width=camera.width,
        height=camera.height,
        eps2d=EPS2D,
        near_plane=NEAR,
        far_plane=FAR,
        packed=False,
        opacities=gaussians.opacities,
    )
    if radii.ndim == 2:  # one radius for both axes before gsplat 1.5
        radii = radii[..., None].expand(-1, -1, 2)
    tiles_x, tiles_y = -(-camera.width // TILE), -(-camera.height // TILE)
    with torch.no_grad():
        _, tile_ids, flatten_ids = gsplat.isect_tiles(centres, radii, depths, TILE, tiles_x, tiles_y)
        tile_offsets = gsplat.isect_offset_encode(tile_ids, 1, tiles_x, tiles_y)
    means2d = centres[0]
    return _Frame(camera, means2d[None], conics, depths, radii, tile_offsets, flatten_ids), means2d


def _blend(
    frame: _Frame, opacities: Float[Tensor, "n"], columns: Float[Tensor, "n c"], *, absgrad: bool
) -> tuple[Float[Tensor, "h w c"], Float[Tensor, "h w"]]:
    """Blended columns and alpha, some channels at a time."""
    images, alphas = [], []
    # Magnitudes of gradients do not add up over portions of channels: gsplat takes 512 at once.
    for part in columns.split(512 if absgrad else CHANNELS_PER_PASS, dim=1):
        image, covered = gsplat.rasterize_to_pixels(
            means2d=frame.centres,
            conics=frame.conics,
            colors=part[None],
            opacities=opacities[None],
            image_width=frame.camera.width,
            image_height=frame.camera.height,
            tile_size=TILE,
            isect_offsets=frame.tile_offsets,
            flatten_ids=frame.flatten_ids,
            absgrad=absgrad,
        )
        images.append(image[0])
        alphas.append(covered[0, ..., 0])
    return torch.cat(images, dim=-1), alphas[0]


def rasterize(
    gaussians: Gaussians,
    camera: Camera,
    values: Float[Tensor, "n c"] | None = None,
    background: Float[Tensor, "c"] | None = None,
    *,
    absgrad: bool = False,
) -> Rendering:
    """See :func:`render.rasterize`."""
    frame, means2d = _project(gaussians, camera)
    if values is None:
        directions = gaussians.means - camera.centre
        visible = (frame.radii[0] > 0).all(-1)
        values = gsplat.spherical_harmonics(gaussians.sh_degree, directions, gaussians.sh, masks=visible)
        values = (values + 0.5).clamp_min(0)
    image, alpha = _blend(frame, gaussians.opacities, torch.cat([values, frame.depths[0, :, None]], 1), absgrad=absgrad)
    image, depth = image[..., :-1], image[..., -1] / alpha.clamp_min(1e-10)
    if background is not None:
        image = image + (1 - alpha)[..., None] * background
    if absgrad and means2d.requires_grad:
        # gsplat leaves them on the tensor that it was given, before the gradient reaches ours.
        def copy_absolute(gradient: Tensor) -> None:  # noqa: ARG001  a hook's signature
            means2d.absgrad = frame.centres.absgrad[0]

        means2d.register_hook(copy_absolute)
    return Rendering(image, alpha, depth, means2d, frame.radii[0].to(torch.int32))


@torch.no_grad()
def contributions(gaussians: Gaussians, camera: Camera, pixels: Bool[Tensor, "h w"] | None = None) -> Contributions:
    """See :func:`render.contributions`.

    gsplat lists which Gaussians a pixel blends, front to back; the weights follow from their alphas.
    """
    frame, means2d = _project(gaussians, camera)
    ids, places, _ = gsplat.rasterize_to_indices_in_range(
        range_start=0,
        range_end=ALL,
        transmittances=torch.ones(1, camera.height, camera.width, device=gaussians.device),
        means2d=frame.centres,
        conics=frame.conics,
        opacities=gaussians.opacities[None],
        image_width=camera.width,
        image_height=camera.height,
        tile_size=TILE,
        isect_offsets=frame.tile_offsets,
        flatten_ids=frame.flatten_ids,
    )
    if pixels is not None:
        kept = pixels.flatten()[places]
        ids, places = ids[kept], places[kept]
    # Pixel by pixel; the order within a pixel, front to back, is kept.
    places, order = torch.sort(places, stable=True)
    ids = ids[order]
    counts = torch.bincount(places, minlength=camera.width * camera.height)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    weights = torch.empty(len(ids), device=gaussians.device)
    before = torch.zeros((), dtype=torch.float64, device=gaussians.device)
    starts = torch.zeros(len(counts), dtype=torch.float64, device=gaussians.device)
    # log T runs through all pixels in double precision; each pixel subtracts where it began.
    for part in torch.arange(len(ids), device=gaussians.device).split(PAIRS_PER_PASS):
        here, pixel = ids[part], places[part]
        centre = torch.stack([pixel % camera.width, pixel // camera.width], -1) + 0.5
        dx, dy = (centre - means2d[here]).unbind(-1)
        a, b, c = frame.conics[0, here].unbind(-1)
        sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
        alpha = (gaussians.opacities[here] * torch.exp(-sigma)).clamp_max(MAX_ALPHA).double()
        after = before + torch.log1p(-alpha).cumsum(0)
        passed = torch.cat([before[None], after[:-1]])
        begins = offsets[pixel] == part
        starts[pixel[begins]] = passed[begins]
        weights[part] = (alpha * torch.exp(passed - starts[pixel])).float()
        before = after[-1]
    return Contributions(offsets, ids.to(torch.int32), weights, camera.width, camera.height)


def _nodes(size: int, nodes: int, positions: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The two grid nodes of an axis that a pixel lies between, each with its interpolation weight."""
    place = ((positions + 0.5) * nodes / size - 0.5).clamp(0, nodes - 1)
    lower = place.floor().clamp_max(max(nodes - 2, 0))
    yield lower.to(torch.int64), 1 - (place - lower)
    yield (lower.to(torch.int64) + 1).clamp_max(nodes - 1), place - lower


@torch.no_grad()
def lifting_matrix(gaussians: Gaussians, camera: Camera, grid: tuple[int, int]) -> Tensor:
    """See :func:`render.lifting_matrix`: every contribution goes to the four nodes around its pixel."""
    size = (len(gaussians), grid[0] * grid[1])
    listed = contributions(gaussians, camera)
    pixels = torch.repeat_interleave(listed.offsets.diff())
    total = torch.sparse_coo_tensor(
        torch.zeros(2, 0, dtype=torch.int64, device=gaussians.device), listed.weights[:0], size
    )
    for part in torch.arange(len(pixels), device=gaussians.device).split(PAIRS_PER_PASS):
        pixel, rows = pixels[part], listed.ids[part].to(torch.int64)
        for node_y, weight_y in _nodes(camera.height, grid[0], pixel // camera.width):
            for node_x, weight_x in _nodes(camera.width, grid[1], pixel % camera.width):
                entries = torch.stack([rows, node_y * grid[1] + node_x])
                weights = listed.weights[part] * weight_y * weight_x
                total = (total + torch.sparse_coo_tensor(entries, weights, size).coalesce()).coalesce()
    keep = total.values() > 0
    rows, columns = total.indices()[:, keep]
    starts = torch.cat([rows.new_zeros(1), torch.bincount(rows, minlength=size[0]).cumsum(0)])
    return sparse_csr(starts, columns, total.values()[keep], size)


def rasterize_transposed(
    gaussians: Gaussians, camera: Camera, values: Float[Tensor, "h w c"]
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n"]]:
    """See :func:`render.rasterize_transposed`: the backward pass of blending is the transposed rendering."""
    with torch.no_grad():
        frame, _ = _project(gaussians, camera)
    maps = torch.cat([values, values.new_ones(*values.shape[:2], 1)], dim=-1)
    sums = []
    for part in maps.split(CHANNELS_PER_PASS, dim=-1):
        with torch.enable_grad():
            columns = values.new_zeros(len(gaussians), part.shape[-1], requires_grad=True)
            image, _ = _blend(frame, gaussians.opacities.detach(), columns, absgrad=False)
        sums.append(torch.autograd.grad(image, columns, part.contiguous())[0])
    total = torch.cat(sums, dim=1)
    return total[:, :-1], total[:, -1]


@torch.no_grad()
def lift_views_(
    sums: Float[Tensor, "n c"],
    weights: Float[Tensor, "n"],
    gaussians: Gaussians,
    cameras: Sequence[Camera],
    maps: Sequence[Float[Tensor, "gh gw c"]],
) -> None:
    """See :func:`render.lift_views_`."""
    for camera, grid in zip(cameras, maps, strict=True):
        matrix = lifting_matrix(gaussians, camera, (grid.shape[0], grid.shape[1]))
        dense = grid.to(sums).reshape(-1, grid.shape[2])
        sums += matrix @ dense
        weights += (matrix @ dense.new_ones(len(dense), 1))[:, 0]
