"""A view of the scene prepared for the tile kernels: projection, depth order, tile lists."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from render.camera import Camera
from render.gaussians import Gaussians
from render.rasterizer import _projection, _raster, _tiles
from render.rasterizer.threads import for_ranges


def array(tensor: Tensor) -> NDArray[Any]:
    """The values as kernels take them: contiguous, outside the autograd graph, not copied if possible."""
    return tensor.detach().contiguous().numpy()


@dataclass(frozen=True)
class Projected:
    """Projected Gaussians as arrays in file order; radii are 0 for culled ones."""

    camera: Camera
    means2d: NDArray[np.float32]
    conics: NDArray[np.float32]
    depths: NDArray[np.float32]
    variances: NDArray[np.float32]
    radii: NDArray[np.int32]


@dataclass(frozen=True)
class Tiles:
    """Records in spatial order, the tiles they meet, and the tiles' entries front to back."""

    width: int
    height: int
    tiles_x: int
    order: NDArray[np.int64]  # file index of each rank
    records: NDArray[np.float32]
    slot_starts: NDArray[np.int64]  # slots of each rank: the first,
    slot_ends: NDArray[np.int64]  # and one past the last
    slot_tiles: NDArray[np.int32]
    slot_rows: NDArray[np.uint8]
    starts: NDArray[np.int64]  # entries of each tile
    ranks: NDArray[np.uint32]
    rows: NDArray[np.uint8]
    slots: NDArray[np.uint32]

    @property
    def count(self) -> int:
        return len(self.starts) - 1

    @property
    def lists(self) -> tuple[Any, ...]:
        return self.tiles_x, self.width, self.height, self.starts, self.ranks, self.rows

    def only(self, pixels: NDArray[np.bool_]) -> Tiles:
        """The same without the entries of tiles that have none of these pixels."""
        height, width = (-(-size // _raster.TILE) * _raster.TILE for size in pixels.shape)
        padded = np.zeros((height, width), dtype=bool)
        padded[: self.height, : self.width] = pixels
        wanted = padded.reshape(height // _raster.TILE, _raster.TILE, -1, _raster.TILE).any((1, 3)).ravel()
        counts = np.diff(self.starts)
        # Lists are allocated for the slots before culling: what lies behind the last entry is not used.
        kept = np.flatnonzero(np.repeat(wanted, counts))
        starts = np.concatenate([[0], np.cumsum(counts * wanted)])
        return replace(self, starts=starts, ranks=self.ranks[kept], rows=self.rows[kept], slots=self.slots[kept])

    def slot_array(self, columns: int) -> NDArray[np.float32]:
        """Zeros for every slot; sums are stored by fours, so there may be more columns than asked for."""
        return np.zeros((len(self.slot_tiles), -(-columns // 4) * 4), np.float32)


def aligned(shape: tuple[int, int]) -> NDArray[np.float32]:
    """An uninitialized array whose rows of 16 floats are one cache line each."""
    raw = np.empty(shape[0] * shape[1] + 16, np.float32)
    start = -(raw.ctypes.data // 4) % 16
    return raw[start : start + shape[0] * shape[1]].reshape(shape)


def camera_arrays(camera: Camera) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """World-to-camera pose ``[3, 4]`` and intrinsics ``[3, 3]``."""
    return array(camera.world_to_camera[:3].float()), array(camera.K.float())


def project(gaussians: Gaussians, camera: Camera) -> Projected:
    """Project all Gaussians; see :func:`render.rasterizer.reference.project`."""
    n = len(gaussians)
    pose, intrinsics = camera_arrays(camera)
    projected = Projected(
        camera,
        means2d=np.empty((n, 2), np.float32),
        conics=np.zeros((n, 3), np.float32),
        depths=np.empty(n, np.float32),
        variances=np.empty((n, 3), np.float32),
        radii=np.empty((n, 2), np.int32),
    )
    for_ranges(
        _projection.project,
        n,
        *(array(a) for a in (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities)),
        pose,
        intrinsics,
        camera.width,
        camera.height,
        projected.means2d,
        projected.conics,
        projected.depths,
        projected.variances,
        projected.radii,
    )
    return projected


def sort_into_tiles(projected: Projected, *, spatial: bool = False) -> Tiles:
    """List the Gaussians of every tile front to back.

    Args:
        projected: From :func:`project`.
        spatial: The Gaussians already lie along a curve in space; else they are ordered by image tile.
    """
    camera = projected.camera
    tiles_x, tiles_y = -(-camera.width // _raster.TILE), -(-camera.height // _raster.TILE)
    visible = np.flatnonzero(projected.radii[:, 0])
    m = len(visible)
    if spatial:
        order, rank_of = visible, np.arange(m)
    else:
        order, rank_of = np.empty_like(visible), np.empty_like(visible)
        _tiles.spatial_order(0, m, visible, projected.means2d, tiles_x, tiles_y, order, rank_of)
    by_depth = np.empty_like(visible)
    _tiles.radix_order(0, m, projected.depths[visible].view(np.uint32), np.arange(m), by_depth)
    depth_ranks = np.empty(m, np.uint32)
    depth_ranks[rank_of[by_depth]] = np.arange(m, dtype=np.uint32)
    records = aligned((m, _raster.RECORD))
    slot_starts = np.zeros(m + 1, np.int64)
    for_ranges(
        _tiles.make_records,
        m,
        order,
        projected.means2d,
        projected.conics,
        projected.variances,
        tiles_x,
        tiles_y,
        records,
        slot_starts,
    )
    np.cumsum(slot_starts, out=slot_starts)
    slot_ends = np.empty(m, np.int64)
    slot_tiles, slot_rows = np.empty(slot_starts[-1], np.int32), np.empty(slot_starts[-1], np.uint8)
    for_ranges(_tiles.list_tiles, m, records, tiles_x, tiles_y, slot_starts, slot_ends, slot_tiles, slot_rows)
    starts = np.zeros(tiles_x * tiles_y + 1, np.int64)
    ranks, slots = np.empty(len(slot_tiles), np.uint32), np.empty(len(slot_tiles), np.uint32)
    rows = np.empty(len(slot_tiles), np.uint8)
    _tiles.bin_slots(0, m, slot_starts, slot_ends, slot_tiles, slot_rows, starts, ranks, rows, slots)
    longest = int(np.diff(starts).max())
    for_ranges(_tiles.sort_tiles, tiles_x * tiles_y, starts, longest, depth_ranks, ranks, rows, slots)
    return Tiles(
        camera.width,
        camera.height,
        tiles_x,
        order,
        records,
        slot_starts,
        slot_ends,
        slot_tiles,
        slot_rows,
        starts,
        ranks,
        rows,
        slots,
    )


def tiles_of(gaussians: Gaussians, camera: Camera, *, spatial: bool = False) -> Tiles:
    """Project and sort in one go; ``spatial`` says that the Gaussians already lie along a curve in space."""
    return sort_into_tiles(project(gaussians, camera), spatial=spatial)
