"""The rasterizer for CPU tensors: numba kernels behind torch's autograd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from render.camera import Camera
from render.gaussians import Gaussians
from render.rasterizer import _projection, _raster, _tiles
from render.rasterizer._parallel import for_ranges
from render.rasterizer._types import Contributions, Rendering

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray

CHANNELS_PER_PASS = 32  # a tile of that many channels stays in the first-level cache
VIEWS_PER_PRODUCT = 8


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().contiguous().numpy()


@dataclass(frozen=True)
class _Projected:
    """Projected Gaussians as arrays in file order; radii are 0 for culled ones."""

    camera: Camera
    means2d: NDArray[np.float32]
    conics: NDArray[np.float32]
    depths: NDArray[np.float32]
    variances: NDArray[np.float32]
    radii: NDArray[np.int32]


@dataclass(frozen=True)
class _Tiles:
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

    def slot_array(self, columns: int) -> NDArray[np.float32]:
        return np.zeros((len(self.slot_tiles), columns), np.float32)


def _aligned(shape: tuple[int, int]) -> NDArray[np.float32]:
    """An uninitialized array whose rows of 16 floats are one cache line each."""
    raw = np.empty(shape[0] * shape[1] + 16, np.float32)
    start = -(raw.ctypes.data // 4) % 16
    return raw[start : start + shape[0] * shape[1]].reshape(shape)


def _camera_arrays(camera: Camera) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return _array(camera.world_to_camera[:3].float()), _array(camera.K.float())


def _project(gaussians: Gaussians, camera: Camera) -> _Projected:
    n = len(gaussians)
    pose, intrinsics = _camera_arrays(camera)
    projected = _Projected(
        camera,
        means2d=np.empty((n, 2), np.float32),
        conics=np.zeros((n, 3), np.float32),
        depths=np.empty(n, np.float32),
        variances=np.empty((n, 2), np.float32),
        radii=np.empty((n, 2), np.int32),
    )
    for_ranges(
        _projection.project,
        n,
        *(_array(a) for a in (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities)),
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


def _sort_into_tiles(projected: _Projected, opacities: NDArray[np.float32]) -> _Tiles:
    camera = projected.camera
    tiles_x, tiles_y = -(-camera.width // _raster.TILE), -(-camera.height // _raster.TILE)
    visible = np.flatnonzero(projected.radii[:, 0])
    m = len(visible)
    order, rank_of = np.empty_like(visible), np.empty_like(visible)
    _tiles.spatial_order(0, m, visible, projected.means2d, tiles_x, tiles_y, order, rank_of)
    by_depth = np.empty_like(visible)
    _tiles.depth_order(0, m, projected.depths[visible].view(np.uint32), np.arange(m), by_depth)
    depth_ranks = np.empty(m, np.uint32)
    depth_ranks[rank_of[by_depth]] = np.arange(m, dtype=np.uint32)
    records = _aligned((m, _raster.RECORD))
    slot_starts = np.zeros(m + 1, np.int64)
    for_ranges(
        _tiles.make_records,
        m,
        order,
        projected.means2d,
        projected.conics,
        opacities,
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
    ranks, slots, rows = (np.empty(len(slot_tiles), kind) for kind in (np.uint32, np.uint32, np.uint8))
    _tiles.bin_slots(0, m, slot_starts, slot_ends, slot_tiles, slot_rows, starts, ranks, rows, slots)
    longest = int(np.diff(starts).max())
    for_ranges(_tiles.sort_tiles, tiles_x * tiles_y, starts, longest, depth_ranks, ranks, rows, slots)
    return _Tiles(
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


class _ProjectFunction(torch.autograd.Function):
    """means, quats, scales, pose -> means2d, conics, depths."""

    @staticmethod
    def forward(ctx: Any, means: Tensor, quats: Tensor, scales: Tensor, pose: Tensor, projected: Any) -> Any:
        ctx.save_for_backward(means, quats, scales, pose)
        ctx.projected = projected
        return tuple(torch.from_numpy(a) for a in (projected.means2d, projected.conics, projected.depths))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        projected = ctx.projected
        means, quats, scales, pose = ctx.saved_tensors
        camera = projected.camera
        n = len(means)
        grad_means, grad_quats = torch.zeros(n, 3), torch.zeros(n, 4)
        grad_scales = torch.zeros(n, 3)
        grad_poses = np.zeros((-(-n // _projection.BLOCK), 3, 4), np.float32)
        for_ranges(
            _projection.project_backward,
            n,
            *(_array(a) for a in (means, quats, scales)),
            *_camera_arrays(camera),
            camera.width,
            camera.height,
            projected.conics,
            projected.radii,
            *(_array(g) for g in grads),
            *(g.numpy() for g in (grad_means, grad_quats, grad_scales)),
            grad_poses,
            block=_projection.BLOCK,
        )
        grad_pose = torch.zeros_like(pose)
        grad_pose[:3] = torch.from_numpy(grad_poses.sum(0, dtype=np.float64)).to(pose.dtype)
        return grad_means, grad_quats, grad_scales, grad_pose, None


class _ColourFunction(torch.autograd.Function):
    """sh, means, camera centre -> colours of visible Gaussians."""

    @staticmethod
    def forward(ctx: Any, sh: Tensor, means: Tensor, centre: Tensor, radii: Any) -> Tensor:
        colours = torch.zeros(len(sh), 3)
        for_ranges(_projection.colour, len(sh), _array(means), _array(sh), _array(centre), radii, colours.numpy())
        ctx.save_for_backward(sh, means, centre, colours)
        ctx.radii = radii
        return colours

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        sh, means, centre, colours = ctx.saved_tensors
        grad_sh, grad_means = torch.zeros_like(sh), torch.zeros_like(means)
        for_ranges(
            _projection.colour_backward,
            len(sh),
            _array(means),
            _array(sh),
            _array(centre),
            ctx.radii,
            _array(colours),
            _array(grads[0]),
            grad_sh.numpy(),
            grad_means.numpy(),
        )
        return grad_sh, grad_means, -grad_means.sum(0), None


class _BlendFunction(torch.autograd.Function):
    """means2d, conics, opacities, values, depths -> image, alpha, blended depth."""

    @staticmethod
    def forward(
        ctx: Any,
        means2d: Tensor,
        conics: Tensor,
        opacities: Tensor,
        values: Tensor,
        depths: Tensor,
        tiles: _Tiles,
        absgrad: bool,
    ) -> Any:
        columns = torch.cat([values.detach(), depths.detach()[:, None]], dim=1)
        image = torch.empty(tiles.height, tiles.width, columns.shape[1])
        remaining = torch.empty(tiles.height, tiles.width)
        for part in _passes(columns.shape[1]):
            out = np.empty((tiles.height, tiles.width, part.stop - part.start), np.float32)
            ranked = _array(columns)[tiles.order, part]
            for_ranges(
                _raster.forward,
                tiles.count,
                *tiles.lists,
                tiles.records,
                np.ascontiguousarray(ranked),
                out,
                remaining.numpy(),
            )
            image[..., part] = torch.from_numpy(out)
        ctx.save_for_backward(means2d, conics, opacities, columns, image, remaining)
        ctx.tiles, ctx.absgrad = tiles, absgrad
        ctx.set_materialize_grads(False)
        return image[..., :-1].contiguous(), 1 - remaining, image[..., -1].contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        means2d, conics, opacities, columns, image, remaining = ctx.saved_tensors
        tiles: _Tiles = ctx.tiles
        n, channels = columns.shape
        grad_image, grad_alpha, grad_depth = grads
        if grad_image is None:
            grad_image = torch.zeros(*remaining.shape, channels - 1)
        if grad_depth is not None:
            grad_image = torch.cat([grad_image, grad_depth[..., None]], dim=-1)
        if grad_alpha is None:
            grad_alpha = torch.zeros_like(remaining)
        shapes = any(ctx.needs_input_grad[:3])
        grad_columns = torch.zeros(n, channels)
        slot_shapes = tiles.slot_array(8 if ctx.absgrad else 6)
        for part in _passes(grad_image.shape[-1]):
            self_args = (tiles, columns, image, remaining, grad_image, grad_alpha, part)
            if shapes:
                slot_shapes += _blend_backward(*self_args, ctx.absgrad, grad_columns)
            else:
                _value_gradients(tiles, grad_image, part, grad_columns)
            grad_alpha = torch.zeros_like(remaining)  # counted in the first pass
        grad_means2d = grad_conics = grad_opacities = None
        if shapes:
            grad_means2d, grad_conics = torch.zeros(n, 2), torch.zeros(n, 3)
            grad_opacities = torch.zeros(n)
            absolute = torch.zeros(n if ctx.absgrad else 0, 2)
            for_ranges(
                _tiles.shape_gradients,
                len(tiles.order),
                tiles.order,
                tiles.slot_starts,
                tiles.slot_ends,
                slot_shapes,
                _array(conics),
                _array(opacities),
                grad_means2d.numpy(),
                grad_conics.numpy(),
                grad_opacities.numpy(),
                absolute.numpy(),
            )
            if ctx.absgrad:
                means2d.absgrad = absolute
        return (
            grad_means2d,
            grad_conics,
            grad_opacities,
            grad_columns[:, :-1],
            grad_columns[:, -1],
            None,
            None,
        )


def _passes(channels: int) -> list[slice]:
    return [slice(i, min(i + CHANNELS_PER_PASS, channels)) for i in range(0, channels, CHANNELS_PER_PASS)]


def _blend_backward(
    tiles: _Tiles,
    columns: Tensor,
    image: Tensor,
    remaining: Tensor,
    grad_image: Tensor,
    grad_alpha: Tensor,
    part: slice,
    absgrad: bool,
    grad_columns: Tensor,
) -> NDArray[np.float32]:
    slot_shapes = tiles.slot_array(8 if absgrad else 6)
    slot_values = tiles.slot_array(part.stop - part.start)
    for_ranges(
        _raster.backward,
        tiles.count,
        *tiles.lists,
        tiles.slots,
        tiles.records,
        np.ascontiguousarray(_array(columns)[tiles.order, part]),
        _array(image[..., part]),
        _array(remaining),
        _array(grad_image[..., part]),
        _array(grad_alpha),
        absgrad,
        slot_shapes,
        slot_values,
    )
    _sum_slots(tiles, slot_values, grad_columns, part)
    return slot_shapes


def _sum_slots(tiles: _Tiles, slot_values: NDArray[np.float32], out: Tensor, part: slice) -> None:
    for_ranges(
        _tiles.sum_slots,
        len(tiles.order),
        tiles.order,
        tiles.slot_starts,
        tiles.slot_ends,
        slot_values,
        out.numpy()[:, part],
    )


def _value_gradients(tiles: _Tiles, maps: Tensor, part: slice, out: Tensor) -> NDArray[np.float32]:
    """Add ``W^T F`` to ``out[:, part]``; returns the slots, the last column holding the weights."""
    slot_values = tiles.slot_array(part.stop - part.start + 1)
    for_ranges(
        _raster.transposed,
        tiles.count,
        *tiles.lists,
        tiles.slots,
        tiles.records,
        _array(maps[..., part]),
        slot_values,
    )
    _sum_slots(tiles, slot_values, out, part)
    return slot_values


def rasterize(
    gaussians: Gaussians,
    camera: Camera,
    values: Float[Tensor, "n c"] | None = None,
    background: Float[Tensor, "c"] | None = None,
    *,
    absgrad: bool = False,
) -> Rendering:
    """See :func:`render.rasterize`."""
    projected = _project(gaussians, camera)
    means2d, conics, depths = _ProjectFunction.apply(
        gaussians.means, gaussians.quats, gaussians.scales, camera.world_to_camera, projected
    )
    if values is None:
        values = _ColourFunction.apply(gaussians.sh, gaussians.means, camera.centre.float(), projected.radii)
    tiles = _sort_into_tiles(projected, _array(gaussians.opacities))
    image, alpha, depth = _BlendFunction.apply(means2d, conics, gaussians.opacities, values, depths, tiles, absgrad)
    if background is not None:
        image = image + (1 - alpha)[..., None] * background
    return Rendering(image, alpha, depth / alpha.clamp_min(1e-10), means2d, torch.from_numpy(projected.radii))


def _tiles_of(gaussians: Gaussians, camera: Camera) -> _Tiles:
    return _sort_into_tiles(_project(gaussians, camera), _array(gaussians.opacities))


@torch.no_grad()
def contributions(gaussians: Gaussians, camera: Camera) -> Contributions:
    """See :func:`render.contributions`."""
    tiles = _tiles_of(gaussians, camera)
    ids = tiles.order.astype(np.int32)
    offsets = np.zeros(tiles.width * tiles.height + 1, np.int64)
    nothing = np.empty(0, np.int32), np.empty(0, np.float32)
    for_ranges(_raster.list_pixels, tiles.count, *tiles.lists, tiles.records, ids, offsets, *nothing)
    np.cumsum(offsets, out=offsets)
    cursors = np.concatenate([offsets[:1], offsets[:-1]])
    out_ids, out_weights = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.float32)
    if len(out_ids):
        for_ranges(_raster.list_pixels, tiles.count, *tiles.lists, tiles.records, ids, cursors, out_ids, out_weights)
    return Contributions(
        torch.from_numpy(offsets),
        torch.from_numpy(out_ids),
        torch.from_numpy(out_weights),
        camera.width,
        camera.height,
    )


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
class _SparseRows:
    """W^T U: row ``i`` has ``columns`` and ``weights`` from ``ranges[i, 0]`` to ``ranges[i, 1]``; rows leave gaps."""

    ranges: NDArray[np.int64]
    columns: NDArray[np.int32]
    weights: NDArray[np.float32]

    @staticmethod
    def empty(n: int) -> _SparseRows:
        return _SparseRows(np.zeros((n, 2), np.int64), np.empty(0, np.int32), np.empty(0, np.float32))


def _lifting_rows(gaussians: Gaussians, camera: Camera, grid: tuple[int, int]) -> _SparseRows:
    tiles = _tiles_of(gaussians, camera)
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
    rows = _SparseRows(np.zeros((n, 2), np.int64), np.empty(slot_nodes.size, np.int32), slot_nodes.reshape(-1))
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
    return torch.sparse_csr_tensor(
        torch.from_numpy(starts),
        torch.from_numpy(columns),
        torch.from_numpy(weights),
        size=(len(gaussians), grid[0] * grid[1]),
        check_invariants=False,
    )


@torch.no_grad()
def rasterize_transposed(
    gaussians: Gaussians, camera: Camera, values: Float[Tensor, "h w c"]
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n"]]:
    """See :func:`render.rasterize_transposed`."""
    tiles = _tiles_of(gaussians, camera)
    sums, weights = torch.zeros(len(gaussians), values.shape[-1]), torch.zeros(len(gaussians), 1)
    for part in _passes(values.shape[-1]):
        slots = _value_gradients(tiles, values, part, sums)
    _sum_slots(tiles, np.ascontiguousarray(slots[:, -1:]), weights, slice(0, 1))
    return sums, weights[:, 0]


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
        dense = [_array(grid.float()).reshape(-1, grid.shape[-1]) for _, grid in batch]
        # A tuple's length is part of its type: always the same one, or each length would be compiled.
        missing = VIEWS_PER_PRODUCT - len(batch)
        rows += [_SparseRows.empty(n)] * missing
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
    points = _array(means)
    low, high = points.min(0), points.max(0)
    cells = ((points - low) * (1023 / np.maximum(high - low, 1e-12))).astype(np.uint32)
    code = np.zeros(len(points), np.uint32)
    for bit in range(10):
        for axis in range(3):
            code |= ((cells[:, axis] >> np.uint32(bit)) & np.uint32(1)) << np.uint32(3 * bit + axis)
    return np.argsort(code, kind="stable")
