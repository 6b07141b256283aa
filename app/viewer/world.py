"""The scene's frame and the one in which viser shows it: larger, where a scene is small."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from jaxtyping import Float

    from render.camera import Camera
    from render.gaussians import Gaussians
    from render.scene import Scene

EXTENT = 10.0  # of a shown scene: covariances travel in half precision, which small scenes would lose
QUANTILES = (0.05, 0.95)  # of the centres; floaters do not say how large a scene is


@dataclass(frozen=True, eq=False)
class World:
    """How a scene is shown.

    Attributes:
        scale: Shown units for each unit of the scene.
        up: The direction that is up, of length 1; ``[3]`` float64.
        centre: The middle of the scene, in its own frame; ``[3]`` float64.
    """

    scale: float
    up: Float[np.ndarray, " 3"]
    centre: Float[np.ndarray, " 3"]

    @staticmethod
    def of(scene: Scene, gaussians: Gaussians) -> World:
        """Shown so large that nothing is lost, and upright as most photos are."""
        means = gaussians.means.detach().cpu().numpy().astype(np.float64)
        low, high = np.quantile(means, QUANTILES, axis=0)
        extent = float(np.linalg.norm(high - low))
        up = np.array([0.0, 0.0, 1.0])
        if scene.views:
            # OpenCV's y axis points down in the photo.
            downs = torch.stack([view.camera.world_to_camera[1, :3] for view in scene.views]).double().numpy()
            mean = -downs.mean(0)
            up = mean / np.linalg.norm(mean) if np.linalg.norm(mean) > 0.1 else -downs[0]
        return World(EXTENT / extent if extent > 0 else 1.0, up, (low + high) / 2)

    def to_scene(self, camera: Camera) -> Camera:
        """A camera of the shown frame, in the scene's."""
        return self._scaled(camera, 1 / self.scale)

    def to_shown(self, camera: Camera) -> Camera:
        """A camera of the scene, in the shown frame."""
        return self._scaled(camera, self.scale)

    def _scaled(self, camera: Camera, factor: float) -> Camera:
        pose = camera.world_to_camera.clone()
        pose[:3, 3] *= factor
        return replace(camera, world_to_camera=pose)
