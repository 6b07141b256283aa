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
from render.scene import Scene
from render.views import View

__all__ = [
    "Camera",
    "Contributions",
    "Gaussians",
    "InputError",
    "Rendering",
    "Scene",
    "View",
    "contributions",
    "lift_views_",
    "lifting_matrix",
    "rasterize",
    "rasterize_transposed",
]
