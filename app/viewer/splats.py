"""A page's splats, drawn by its browser: sent once, then only their colours and opacities."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from jaxtyping import Float

    from app.explorer.looks import Look
    from app.viewer.page import Page
    from render.gaussians import Gaussians

NAME = "/gaussians"


class Splats:
    """The Gaussians as one page's browser draws them."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._lock = threading.Lock()  # what is sent last must be what was asked for last
        self._handle: Any = None
        self._shown: tuple[np.ndarray, np.ndarray] | None = None

    def show(self, look: Look) -> None:
        """Draw them in the colours of a look; what did not change is not sent again."""
        with self._lock:
            self._show(look)

    def hide(self) -> None:
        """Draw none; the server's frames are shown."""
        with self._lock:
            if self._handle is not None and self._handle.visible:
                self._handle.visible = False

    def _show(self, look: Look) -> None:
        from app.explorer.looks import splats

        rgb, opacities = splats(self._page.session, look)
        if self._handle is None:
            self._page.client.scene.set_background_image(None)
            self._handle = self._sent(rgb, opacities)
        elif self._shown is not None:
            with self._page.client.atomic():
                self._handle.visible = True
                self._page.client.scene.set_background_image(None)
                if not np.array_equal(rgb, self._shown[0]):
                    self._handle.rgbs = rgb
                if not np.array_equal(opacities, self._shown[1]):
                    self._handle.opacities = opacities[:, None]
        self._shown = rgb, opacities

    def _sent(self, rgb: np.ndarray, opacities: np.ndarray) -> Any:
        scale = self._page.explorer.world.scale
        gaussians = self._page.session.gaussians
        return self._page.client.scene.add_gaussian_splats(
            NAME,
            centers=(gaussians.means.detach().cpu().numpy() * scale).astype(np.float32),
            covariances=covariances(gaussians) * scale**2,
            rgbs=rgb,
            opacities=opacities[:, None],
        )


@torch.no_grad()
def covariances(gaussians: Gaussians) -> Float[np.ndarray, "n 3 3"]:
    """``R S S^T R^T`` of every Gaussian, float32."""
    from render.rasterizer.reference import rotation_matrices

    factors = rotation_matrices(gaussians.quats) * gaussians.scales[:, None, :]
    return (factors @ factors.mT).float().cpu().numpy()
