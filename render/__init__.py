"""Gaussians, cameras, scenes on disk, and the rasterizer: forward, backward, transposed."""

from render.camera import Camera
from render.errors import InputError
from render.gaussians import Gaussians
from render.rasterizer import (
    Contributions,
    Rendering,
    contributions,
    lift_views_,
    lifting_matrix,
    rasterize,
    rasterize_transposed,
)

__all__ = [
    "Camera",
    "Contributions",
    "Gaussians",
    "InputError",
    "Rendering",
    "contributions",
    "lift_views_",
    "lifting_matrix",
    "rasterize",
    "rasterize_transposed",
]
