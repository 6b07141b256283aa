"""W^T U as a sparse matrix, and its products with feature maps."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.camera import Camera
from render.gaussians import Gaussians
from render.ordering import spatial_order
from render.rasterizer import _raster, _tiles
from render.rasterizer._frame import array, tiles_of
from render.rasterizer._types import sparse_csr
from render.rasterizer.threads import for_ranges

if TYPE_CHECKING:
    from jaxtyping import Float

VIEWS_PER_PRODUCT = 8


_kept = threading.local()


def _workspace(name: str, size: int, kind: type) -> NDArray[Any]:
    """An uninitialized array that the thread's next view uses again: fresh pages would cost as much as the sums."""
    kept: NDArray[Any] = getattr(_kept, name, np.empty(0, kind))
    if len(kept) < size:
        kept = np.empty(size, kind)
        setattr(_kept, name, kept)
    return kept[:size]


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
    """W^T U in CSR."""

    starts: NDArray[np.int64]
    columns: NDArray[np.int32]
    weights: NDArray[np.float32]

    @staticmethod
    def empty(n: int) -> SparseRows:
        return SparseRows(np.zeros(n + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))


def _lifting_rows(gaussians: Gaussians, camera: Camera, grid: tuple[int, int], *, spatial: bool = False) -> SparseRows:
    tiles = tiles_of(gaussians, camera, spatial=spatial)
    along_y, along_x = _axis(tiles.height, grid[0]), _axis(tiles.width, grid[1])
    nodes_x = -(-along_x.nodes // 4) * 4  # sums are stored by fours
    weights_x = np.zeros((len(along_x.first) * _raster.TILE, nodes_x), np.float32)
    pixels = np.arange(tiles.width)  # padded columns keep weight 0
    weights_x[pixels, along_x.lower[: tiles.width]] = 1 - along_x.fraction[: tiles.width]
    weights_x[pixels, along_x.lower[: tiles.width] + 1] = along_x.fraction[: tiles.width]
    counts_x = along_x.lower.reshape(-1, _raster.TILE).max(1) + 2
    size = len(tiles.slot_tiles) * along_y.nodes * nodes_x
    slot_nodes = _workspace("nodes", size, np.float32).reshape(-1, along_y.nodes, nodes_x)
    for_ranges(
        _raster.lift_tiles,
        tiles.count,
        *tiles.lists,
        tiles.slots,
        tiles.records,
        weights_x.reshape(-1, _raster.TILE, nodes_x).transpose(0, 2, 1).copy(),
        counts_x,
        along_y.lower,
        along_y.fraction,
        slot_nodes,
    )
    ranges = np.zeros((len(gaussians), 2), np.int64)
    columns = _workspace("columns", size, np.int32)
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
        ranges,
        columns,
    )
    return _compact(ranges, columns, slot_nodes.reshape(-1))


def _compact(ranges: NDArray[np.int64], columns: NDArray[np.int32], weights: NDArray[np.float32]) -> SparseRows:
    """Copy rows out of the workspace, without gaps."""
    starts = np.concatenate([[0], np.cumsum(ranges[:, 1] - ranges[:, 0])])
    rows = SparseRows(starts, np.empty(starts[-1], np.int32), np.empty(starts[-1], np.float32))
    for_ranges(_tiles.gather_rows, len(ranges), ranges, columns, weights, starts, rows.columns, rows.weights)
    return rows


@torch.no_grad()
def lifting_matrix(gaussians: Gaussians, camera: Camera, grid: tuple[int, int]) -> Tensor:
    """See :func:`render.lifting_matrix`."""
    rows = _lifting_rows(gaussians, camera, grid)
    size = len(gaussians), grid[0] * grid[1]
    return sparse_csr(
        torch.from_numpy(rows.starts), torch.from_numpy(rows.columns), torch.from_numpy(rows.weights), size
    )


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
    along = torch.from_numpy(order)
    # Neighbours in space share tiles, nodes and cache lines; colours are not needed.
    near = Gaussians(
        gaussians.means[along],
        gaussians.quats[along],
        gaussians.scales[along],
        gaussians.opacities[along],
        torch.zeros(n, 1, 3),
    )
    for i in range(0, len(cameras), VIEWS_PER_PRODUCT):
        batch = list(zip(cameras[i : i + VIEWS_PER_PRODUCT], maps[i : i + VIEWS_PER_PRODUCT], strict=True))
        rows = [_lifting_rows(near, camera, (grid.shape[0], grid.shape[1]), spatial=True) for camera, grid in batch]
        dense = [array(grid.float()).reshape(-1, grid.shape[-1]) for _, grid in batch]
        # A tuple's length is part of its type: always the same one, or each length would be compiled.
        missing = VIEWS_PER_PRODUCT - len(batch)
        rows += [SparseRows.empty(n)] * missing
        dense += [dense[0]] * missing
        for_ranges(
            _tiles.add_products,
            n,
            order,
            tuple(r.starts for r in rows),
            tuple(r.columns for r in rows),
            tuple(r.weights for r in rows),
            tuple(dense),
            sums.numpy(),
            weights.numpy(),
        )
