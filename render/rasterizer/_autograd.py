"""The numba kernels as differentiable torch functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.rasterizer import _harmonics, _projection, _raster, _tiles
from render.rasterizer._frame import Tiles, array, camera_arrays
from render.rasterizer.threads import for_ranges

CHANNELS_PER_PASS = 32  # a tile of that many channels stays in the first-level cache


def passes(channels: int) -> list[slice]:
    """Channels in portions that the cache holds."""
    return [slice(i, min(i + CHANNELS_PER_PASS, channels)) for i in range(0, channels, CHANNELS_PER_PASS)]


class ProjectFunction(torch.autograd.Function):
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
        grad_poses = np.zeros((-(-n // _projection.BLOCK), 3, 4))
        for_ranges(
            _projection.project_backward,
            n,
            *(array(a) for a in (means, quats, scales)),
            *camera_arrays(camera),
            camera.width,
            camera.height,
            projected.conics,
            projected.radii,
            *(array(g) for g in grads),
            *(g.numpy() for g in (grad_means, grad_quats, grad_scales)),
            grad_poses,
            block=_projection.BLOCK,
        )
        grad_pose = torch.zeros_like(pose)
        grad_pose[:3] = torch.from_numpy(grad_poses.sum(0)).to(pose.dtype)
        return grad_means, grad_quats, grad_scales, grad_pose, None


class ColourFunction(torch.autograd.Function):
    """sh, means, camera centre -> colours of visible Gaussians."""

    @staticmethod
    def forward(ctx: Any, sh: Tensor, means: Tensor, centre: Tensor, radii: Any) -> Tensor:
        colours = torch.zeros(len(sh), 3)
        for_ranges(_harmonics.colour, len(sh), array(means), array(sh), array(centre), radii, colours.numpy())
        ctx.save_for_backward(sh, means, centre, colours)
        ctx.radii = radii
        return colours

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        sh, means, centre, colours = ctx.saved_tensors
        grad_sh, grad_means = torch.zeros_like(sh), torch.zeros_like(means)
        for_ranges(
            _harmonics.colour_backward,
            len(sh),
            array(means),
            array(sh),
            array(centre),
            ctx.radii,
            array(colours),
            array(grads[0]),
            grad_sh.numpy(),
            grad_means.numpy(),
        )
        return grad_sh, grad_means, -grad_means.sum(0), None


class BlendFunction(torch.autograd.Function):
    """means2d, conics, opacities, values, depths -> image, alpha, blended depth."""

    @staticmethod
    def forward(
        ctx: Any,
        means2d: Tensor,
        conics: Tensor,
        opacities: Tensor,
        values: Tensor,
        depths: Tensor,
        tiles: Tiles,
        absgrad: bool,
    ) -> Any:
        image = torch.empty(tiles.height, tiles.width, values.shape[1])
        depth, alpha, remaining = (torch.empty(tiles.height, tiles.width) for _ in range(3))
        newest = torch.empty(tiles.height, tiles.width, dtype=torch.int32)
        parts = passes(values.shape[1])
        for part in parts:
            columns = array(values)[:, part]
            if part is parts[-1]:
                columns = np.concatenate([columns, array(depths)[:, None]], axis=1)
            whole = len(parts) == 1
            out = image if whole else torch.empty(tiles.height, tiles.width, part.stop - part.start)
            for_ranges(
                _raster.forward,
                tiles.count,
                *tiles.lists,
                tiles.records,
                np.ascontiguousarray(columns[tiles.order]),
                out.numpy(),
                depth.numpy(),
                alpha.numpy(),
                remaining.numpy(),
                newest.numpy(),
            )
            if not whole:
                image[..., part] = out
        ctx.save_for_backward(means2d, conics, opacities, values, depths, remaining, newest)
        ctx.tiles, ctx.absgrad = tiles, absgrad
        ctx.set_materialize_grads(False)
        return image, alpha, depth

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        means2d, conics, opacities, values, depths, remaining, newest = ctx.saved_tensors
        tiles: Tiles = ctx.tiles
        grad_image, grad_alpha, grad_depth = grads
        if grad_image is None:
            grad_image = remaining.new_zeros(*remaining.shape, values.shape[1])
        if grad_depth is not None:
            grad_image = torch.cat([grad_image, grad_depth[..., None]], dim=-1)
            values = torch.cat([values, depths[:, None]], dim=1)
        grad_values = torch.zeros_like(values)
        shapes = None
        if any(ctx.needs_input_grad[:3]):
            slot_shapes = tiles.slot_array(8)
            # Magnitudes do not add up over portions of channels.
            parts = [slice(0, values.shape[1])] if ctx.absgrad else passes(values.shape[1])
            for number, part in enumerate(parts):
                alpha = grad_alpha if number == 0 and grad_alpha is not None else torch.zeros_like(remaining)
                slot_values = tiles.slot_array(part.stop - part.start)
                part_shapes = slot_shapes if number == 0 else np.zeros_like(slot_shapes)
                for_ranges(
                    _raster.backward,
                    tiles.count,
                    tiles.tiles_x,
                    *tiles.lists[3:],
                    tiles.slots,
                    tiles.records,
                    np.ascontiguousarray(array(values)[tiles.order, part]),
                    array(remaining),
                    array(newest),
                    array(grad_image[..., part]),
                    array(alpha),
                    ctx.absgrad,
                    part_shapes,
                    slot_values,
                )
                if number:
                    slot_shapes += part_shapes
                sum_slots(tiles, slot_values, grad_values, part)
            shapes = _shape_gradients(tiles, slot_shapes, conics, opacities, ctx.absgrad)
            if ctx.absgrad:
                means2d.absgrad = shapes[3]
        elif ctx.needs_input_grad[3] or grad_depth is not None:
            for part in passes(values.shape[1]):
                value_sums(tiles, grad_image, part, grad_values)
        grad_depths = grad_values[:, -1] if grad_depth is not None else None
        if grad_depth is not None:
            grad_values = grad_values[:, :-1]
        return *(shapes[:3] if shapes else (None,) * 3), grad_values, grad_depths, None, None


def _shape_gradients(
    tiles: Tiles, slot_shapes: NDArray[np.float32], conics: Tensor, opacities: Tensor, absgrad: bool
) -> tuple[Tensor, ...]:
    """Gradients of centres, conics and opacities, and the centres' absolute ones."""
    n = len(opacities)
    out = torch.zeros(n, 2), torch.zeros(n, 3), torch.zeros(n), torch.zeros(n if absgrad else 0, 2)
    for_ranges(
        _tiles.shape_gradients,
        len(tiles.order),
        tiles.order,
        tiles.slot_starts,
        tiles.slot_ends,
        slot_shapes,
        array(conics),
        array(opacities),
        out[0].numpy(),
        out[1].numpy(),
        out[2].numpy(),
        out[3].numpy(),
    )
    return out


def sum_slots(tiles: Tiles, slot_values: NDArray[np.float32], out: Tensor, part: slice) -> None:
    """Add each Gaussian's slots to its row of ``out[:, part]``."""
    for_ranges(
        _tiles.sum_slots,
        len(tiles.order),
        tiles.order,
        tiles.slot_starts,
        tiles.slot_ends,
        slot_values,
        out.numpy()[:, part],
    )


def value_sums(tiles: Tiles, maps: Tensor, part: slice, out: Tensor) -> NDArray[np.float32]:
    """Add ``W^T F`` to ``out[:, part]``; returns the slots, whose column after the channels holds the weights."""
    slot_values = tiles.slot_array(part.stop - part.start + 1)
    for_ranges(
        _raster.transposed,
        tiles.count,
        *tiles.lists,
        tiles.slots,
        tiles.records,
        array(maps[..., part]),
        slot_values,
    )
    sum_slots(tiles, slot_values, out, part)
    return slot_values
