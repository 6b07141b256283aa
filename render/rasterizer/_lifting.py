"""W^T U as a sparse matrix, and its products with feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.camera import Camera
from render.gaussians import Gaussians
from render.rasterizer import _raster, _tiles
from render.rasterizer._frame import array, tiles_of
from render.rasterizer._parallel import for_ranges
from render.rasterizer._types import sparse_csr

if TYPE_CHECKING:
    from jaxtyping import Float

VIEWS_PER_PRODUCT = 8


@dataclass(frozen=True)
class _Axis:
    """Linear interpolation from the nodes of one grid axis to its pixels, tile by tile.

    ``first [tiles]`` is the first node that a tile needs, ``nodes`` the most that any tile needs; ``lower`` and
    ``fraction`` give for each pixel (padded to whole tiles) the tile's own node below it and the way to the next.
    """

    nodes: int
    first: NDArray[np.int64]
    lower: NDArray[np.int64]
    fraction: NDArray[np.float32]


def _axis(size: int, nodes: int) -> _Axis:
    tiles = -(-size // _raster.TILE)
    pixels = np.minimum(np.arange(tiles * _raster.TILE), size - 1)
    position = np.clip((pixels + 0.5) * nodes / size - 0.5, 0, nodes - 1)
    lower = np.minimum(np.floor(position), max(nodes - 2, 0)).astype(np.int64)
    first = lower[:: _raster.TILE]
    own = lower - np.repeat(first, _raster.TILE)
    return _Axis(int(own.max()) + 2, first.copy(), own, (position - lower).astype(np.float32))


@dataclass(frozen=True)
class SparseRows:
    """W^T U: row ``i`` has ``columns`` and ``weights`` from ``ranges[i, 0]`` to ``ranges[i, 1]``; rows leave gaps."""

    ranges: NDArray[np.int64]
    columns: NDArray[np.int32]
    weights: NDArray[np.float32]

    @staticmethod
    def empty(n: int) -> SparseRows:
        return SparseRows(np.zeros((n, 2), np.int64), np.empty(0, np.int32), np.empty(0, np.float32))


def _lifting_rows(gaussians: Gaussians, camera: Camera, grid: tuple[int, int]) -> SparseRows:
    tiles = tiles_of(gaussians, camera)
    along_y, along_x = _axis(tiles.height, grid[0]), _axis(tiles.width, grid[1])
    weights_x = np.zeros((len(along_x.first) * _raster.TILE, along_x.nodes), np.float32)
    columns = np.arange(tiles.width)  # padded columns keep weight 0
    weights_x[columns, along_x.lower[: tiles.width]] = 1 - along_x.fraction[: tiles.width]
    weights_x[columns, along_x.lower[: tiles.width] + 1] = along_x.fraction[: tiles.width]
    counts_x = along_x.lower.reshape(-1, _raster.TILE).max(1) + 2
    slot_nodes = np.empty((len(tiles.slot_tiles), along_y.nodes, along_x.nodes), np.float32)
    for_ranges(
        _raster.lift_tiles,
        tiles.count,
        *tiles.lists,
        tiles.slots,
        tiles.records,
        weights_x.reshape(-1, _raster.TILE, along_x.nodes).transpose(0, 2, 1).copy(),
        counts_x,
        along_y.lower,
        along_y.fraction,
        slot_nodes,
    )
    n = len(gaussians)
    rows = SparseRows(np.zeros((n, 2), np.int64), np.empty(slot_nodes.size, np.int32), slot_nodes.reshape(-1))
    for_ranges(
        _tiles.merge_nodes,
        len(tiles.order),
        tiles.order,
        tiles.slot_starts,
        tiles.slot_ends,
        tiles.slot_tiles,
        tiles.slot_rows,
        slot_nodes,
        tiles.tiles_x,
        along_x.first,
        along_y.first,
        counts_x,
        along_y.lower,
        grid[1],
        grid[0],
        rows.ranges,
        rows.columns,
    )
    return rows


@torch.no_grad()
def lifting_matrix(gaussians: Gaussians, camera: Camera, grid: tuple[int, int]) -> Tensor:
    """See :func:`render.lifting_matrix`."""
    rows = _lifting_rows(gaussians, camera, grid)
    starts = np.concatenate([[0], np.cumsum(rows.ranges[:, 1] - rows.ranges[:, 0])])
    columns, weights = np.empty(starts[-1], np.int64), np.empty(starts[-1], np.float32)
    for_ranges(
        _tiles.gather_rows,
        len(gaussians),
        rows.ranges,
        rows.columns,
        rows.weights,
        starts,
        columns,
        weights,
    )
    size = len(gaussians), grid[0] * grid[1]
    return sparse_csr(torch.from_numpy(starts), torch.from_numpy(columns), torch.from_numpy(weights), size)


@torch.no_grad()
def lift_views_(
    sums: Float[Tensor, "n c"],
    weights: Float[Tensor, "n"],
    gaussians: Gaussians,
    cameras: Sequence[Camera],
    maps: Sequence[Float[Tensor, "gh gw c"]],
) -> None:
    """See :func:`render.lift_views_`."""
    order = spatial_order(gaussians.means)
    n = len(order)
    for i in range(0, len(cameras), VIEWS_PER_PRODUCT):
        batch = list(zip(cameras[i : i + VIEWS_PER_PRODUCT], maps[i : i + VIEWS_PER_PRODUCT], strict=True))
        rows = [_lifting_rows(gaussians, camera, (grid.shape[0], grid.shape[1])) for camera, grid in batch]
        dense = [array(grid.float()).reshape(-1, grid.shape[-1]) for _, grid in batch]
        # A tuple's length is part of its type: always the same one, or each length would be compiled.
        missing = VIEWS_PER_PRODUCT - len(batch)
        rows += [SparseRows.empty(n)] * missing
        dense += [dense[0]] * missing
        for_ranges(
            _tiles.add_products,
            n,
            order,
            tuple(r.ranges for r in rows),
            tuple(r.columns for r in rows),
            tuple(r.weights for r in rows),
            tuple(dense),
            sums.numpy(),
            weights.numpy(),
        )


def spatial_order(means: Float[Tensor, "n 3"]) -> NDArray[np.int64]:
    """Indices along a Morton curve: neighbours in the order are neighbours in space."""
    points = array(means)
    low, high = points.min(0), points.max(0)
    cells = ((points - low) * (1023 / np.maximum(high - low, 1e-12))).astype(np.uint32)
    code = np.zeros(len(points), np.uint32)
    for bit in range(10):
        for axis in range(3):
            code |= ((cells[:, axis] >> np.uint32(bit)) & np.uint32(1)) << np.uint32(3 * bit + axis)
    return np.argsort(code, kind="stable")
