"""One rasterizer, three implementations: numba (CPU tensors), gsplat (CUDA tensors), torch (the reference).

All follow the numerics of gsplat: 0.3 pixels^2 added to the projected covariance, alpha clamped to 0.999,
contributions below 1/255 skipped, a pixel finished when less than 1e-4 of the light would pass.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from render.camera import Camera
from render.devices import is_accelerated
from render.errors import InputError
from render.gaussians import Gaussians
from render.rasterizer._types import Contributions, Rendering

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

__all__ = [
    "Contributions",
    "Rendering",
    "contributions",
    "lift_views_",
    "lifting_matrix",
    "rasterize",
    "rasterize_transposed",
]


def rasterize(
    gaussians: Gaussians,
    camera: Camera,
    values: Float[Tensor, "n c"] | None = None,
    background: Float[Tensor, "c"] | None = None,
    *,
    absgrad: bool = False,
) -> Rendering:
    """Render Gaussians by alpha blending (LUDVIG eq. 5.1 and 5.4; Kerbl et al. 2023).

    Differentiable with respect to every field of ``gaussians``, ``values``, ``background`` and
    ``camera.world_to_camera``.  Which Gaussians reach a pixel, and in which order, is not differentiated.

    Args:
        gaussians: ``n`` Gaussians, float32.
        camera: The view.
        values: What to blend, any number of channels; ``[n, c]``.  ``None`` blends the SH colours.
        background: Seen where light passes all Gaussians; ``[c]``.  ``None`` is zero.
        absgrad: Leave the sums over pixels of the absolute gradients of ``means2d`` (AbsGS) in
            ``Rendering.means2d.absgrad`` during backward.

    Raises:
        InputError: shapes, dtypes or devices do not fit.
    """
    if values is not None and (values.ndim != 2 or len(values) != len(gaussians)):
        raise InputError(
            f"values must have one row for each of the {len(gaussians)} Gaussians, shape "
            f"[{len(gaussians)}, c], found {list(values.shape)}."
        )
    channels = 3 if values is None else values.shape[1]
    if channels == 0:
        raise InputError(f"values must have at least one channel, found shape [{len(gaussians)}, 0].")
    if background is not None and background.shape != (channels,):
        raise InputError(f"background must have shape [{channels}], found {list(background.shape)}.")
    implementation, camera = _prepare(gaussians, camera)
    if background is not None:
        background = background.to(gaussians.means)
    return implementation.rasterize(gaussians, camera, values, background, absgrad=absgrad)


def contributions(gaussians: Gaussians, camera: Camera, pixels: Bool[Tensor, "h w"] | None = None) -> Contributions:
    """For every pixel the ids and alpha-blending weights ``w_i(d, p)`` of the Gaussians it shows.

    Args:
        gaussians: The scene.
        camera: The view.
        pixels: List these pixels alone, the others as empty; None = all.

    Raises:
        InputError: dtypes or devices do not fit, or ``pixels`` is not a mask of the camera's size.
    """
    if pixels is not None and (pixels.dtype != torch.bool or pixels.shape != (camera.height, camera.width)):
        raise InputError(
            f"pixels must be bool of shape [{camera.height}, {camera.width}], found {pixels.dtype} "
            f"{list(pixels.shape)}."
        )
    implementation, camera = _prepare(gaussians, camera)
    return implementation.contributions(gaussians, camera, None if pixels is None else pixels.to(gaussians.device))


def lifting_matrix(gaussians: Gaussians, camera: Camera, grid: tuple[int, int]) -> Float[Tensor, "n nodes"]:
    """``W^T U``: from a feature map on a ``grid = (gh, gw)`` of patches straight to the Gaussians.

    W renders (LUDVIG eq. 5.4), U interpolates bilinearly from patches to pixels (``align_corners=False``,
    clamped at the borders), so this times a flattened map ``[gh*gw, c]`` is what the upsampled map would give,
    which is never made.  Row sums are ``W^T 1``.

    Returns:
        A sparse CSR tensor ``[n, gh*gw]`` float32.

    Raises:
        InputError: the grid is empty, or dtypes or devices do not fit.
    """
    if min(grid) < 1:
        raise InputError(f"A feature map needs at least one patch each way, found the grid {tuple(grid)}.")
    implementation, camera = _prepare(gaussians, camera)
    return implementation.lifting_matrix(gaussians, camera, (int(grid[0]), int(grid[1])))


def rasterize_transposed(
    gaussians: Gaussians, camera: Camera, values: Float[Tensor, "h w c"]
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n"]]:
    """``W^T F`` and ``W^T 1``: a full-size pixel map gathered by the Gaussians (LUDVIG eq. 5.3 before division).

    Raises:
        InputError: the map is not of the camera's size, or dtypes or devices do not fit.
    """
    if values.ndim != 3 or values.shape[:2] != (camera.height, camera.width) or values.shape[2] == 0:
        raise InputError(
            f"A pixel map for this camera must have shape [{camera.height}, {camera.width}, c] with c > 0, "
            f"found {list(values.shape)}."
        )
    implementation, camera = _prepare(gaussians, camera)
    return implementation.rasterize_transposed(gaussians, camera, values.to(torch.float32))


def lift_views_(
    sums: Float[Tensor, "n c"],
    weights: Float[Tensor, "n"],
    gaussians: Gaussians,
    cameras: Sequence[Camera],
    maps: Sequence[Float[Tensor, "gh gw c"]],
) -> None:
    """Add ``W^T U G`` of some views to ``sums`` and ``W^T 1`` to ``weights``, in place.

    Views are combined a few at a time, so that a row of ``sums`` is touched once for all of them: with many
    channels that memory traffic is most of the cost.

    Raises:
        InputError: the lists differ in length, a map has another number of channels than ``sums``, or dtypes or
            devices do not fit.
    """
    if len(cameras) != len(maps):
        raise InputError(f"Expected one map for each camera, found {len(cameras)} cameras and {len(maps)} maps.")
    n, channels = len(gaussians), sums.shape[-1]
    if sums.shape != (n, channels) or weights.shape != (n,):
        raise InputError(
            f"sums and weights must have shapes [{n}, c] and [{n}], found {list(sums.shape)} and {list(weights.shape)}."
        )
    if sums.dtype != torch.float32 or weights.dtype != torch.float32:
        raise InputError(f"sums and weights must be float32, found {sums.dtype} and {weights.dtype}.")
    for index, grid in enumerate(maps):
        if grid.ndim != 3 or grid.shape[2] != channels or min(grid.shape) < 1:
            raise InputError(
                f"Map {index} must have shape [gh, gw, {channels}] like those before, found {list(grid.shape)}."
            )
    if not cameras:
        return
    implementation, _ = _prepare(gaussians, cameras[0])
    implementation.lift_views_(sums, weights, gaussians, [_prepare(gaussians, c)[1] for c in cameras], maps)


def _prepare(gaussians: Gaussians, camera: Camera) -> tuple[Any, Camera]:
    """The implementation for the Gaussians' device, and the camera moved there."""
    if gaussians.means.dtype != torch.float32:
        raise InputError(
            f"The fast rasterizers take float32 Gaussians, found {gaussians.means.dtype}; cast with "
            ".to(dtype=torch.float32), or call render.rasterizer.reference for other dtypes."
        )
    if not (gaussians.device.type == "cpu" or is_accelerated(gaussians.device)):
        raise InputError(f"Gaussians are rasterized on the CPU or on CUDA, found them on {gaussians.device}.")
    # Imported on use: numba is not needed on CUDA, nor gsplat on the CPU.
    name = gaussians.device.type
    implementation = importlib.import_module(f"render.rasterizer.{name}")
    return implementation, camera.to(gaussians.device, torch.float32)
