"""Gaussians, cameras, scenes on disk, and the rasterizer: forward, backward, transposed."""

import os

# torch's OpenMP threads spin after each operation and so take the cores that the rasterizer's threads need.
# Read when torch is loaded: without effect where it was imported before.
os.environ.setdefault("GOMP_SPINCOUNT", "0")

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
