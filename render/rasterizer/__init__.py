"""One rasterizer, three implementations: torch (reference), numba (CPU tensors), gsplat (CUDA tensors)."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from render.camera import Camera
from render.devices import is_accelerated
from render.errors import InputError
from render.gaussians import Gaussians
from render.rasterizer import reference
from render.rasterizer._types import Contributions, Rendering

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = [
    "Contributions",
    "Rendering",
    "contributions",
    "lift_views_",
    "lifting_matrix",
    "rasterize",
    "rasterize_transposed",
]


def _implementation(gaussians: Gaussians) -> ModuleType:
    return reference


def rasterize(
    gaussians: Gaussians,
    camera: Camera,
    values: Float[Tensor, "n c"] | None = None,
    background: Float[Tensor, "c"] | None = None,
    *,
    absgrad: bool = False,
) -> Rendering:
    """Render."""
    return _implementation(gaussians).rasterize(gaussians, camera, values, background)


def contributions(gaussians: Gaussians, camera: Camera) -> Contributions:
    """Contributions."""
    return _implementation(gaussians).contributions(gaussians, camera)


def lifting_matrix(gaussians: Gaussians, camera: Camera, grid: tuple[int, int]) -> Tensor:
    """Lifting matrix."""
    return _implementation(gaussians).lifting_matrix(gaussians, camera, grid)


def rasterize_transposed(
    gaussians: Gaussians, camera: Camera, values: Float[Tensor, "h w c"]
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n"]]:
    """Transposed rendering."""
    return _implementation(gaussians).rasterize_transposed(gaussians, camera, values)


def lift_views_(
    sums: Float[Tensor, "n c"],
    weights: Float[Tensor, "n"],
    gaussians: Gaussians,
    cameras: Sequence[Camera],
    maps: Sequence[Float[Tensor, "gh gw c"]],
) -> None:
    """Add ``W^T U G`` of several views to ``sums`` and ``W^T 1`` to ``weights``, in place."""
    for camera, grid_map in zip(cameras, maps, strict=True):
        matrix = lifting_matrix(gaussians, camera, grid_map.shape[:2])
        flat = grid_map.reshape(-1, grid_map.shape[-1]).to(sums.dtype)
        sums += matrix @ flat
        weights += (matrix @ flat.new_ones(len(flat), 1))[:, 0]
