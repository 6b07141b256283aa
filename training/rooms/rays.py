"""Rays against the triangles of a room, by Open3D (Embree)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from render.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Int32, UInt32


class RayCaster:
    """First hits and occlusion of rays.

    Args:
        vertices: Metres.
        faces: Corners of each triangle.
        threads: How many threads may work; None = all cores.

    Raises:
        InputError: Open3D cannot be loaded.
    """

    def __init__(
        self, vertices: Float32[np.ndarray, "v 3"], faces: Int32[np.ndarray, "f 3"], threads: int | None = None
    ) -> None:
        try:
            from open3d import core
            from open3d.t.geometry import RaycastingScene
        except ImportError as error:
            raise InputError(
                f"Rooms are made with Open3D, which could not be loaded ({error}); it needs libusb-1.0, libGL and "
                "libX11 of the system (Debian: apt-get install libegl1 libgl1 libgomp1 libusb-1.0-0 libx11-6)."
            ) from error

        self._threads = threads or 0
        self._scene = RaycastingScene(nthreads=self._threads)
        self._scene.add_triangles(
            core.Tensor.from_numpy(np.ascontiguousarray(vertices, np.float32)),
            core.Tensor.from_numpy(np.ascontiguousarray(faces).astype(np.uint32)),
        )

    def first_hits(
        self, origins: Float32[np.ndarray, "m 3"], directions: Float32[np.ndarray, "m 3"]
    ) -> tuple[Float32[np.ndarray, " m"], UInt32[np.ndarray, " m"], Float32[np.ndarray, "m 2"]]:
        """What rays meet first.

        Args:
            origins: Where rays begin; ``[m, 3]`` or ``[3]`` for all.
            directions: Of any length.

        Returns:
            Distances in lengths of the direction (infinite where a ray hits nothing), triangles
            (``0xFFFFFFFF`` for nothing), and the weights of their second and third corners.
        """
        return self.cast(_rays(origins, directions))

    def cast(
        self, rays: Float32[np.ndarray, "m 6"]
    ) -> tuple[Float32[np.ndarray, " m"], UInt32[np.ndarray, " m"], Float32[np.ndarray, "m 2"]]:
        """As :meth:`first_hits`, for rays that hold origin and direction side by side."""
        from open3d import core

        found = self._scene.cast_rays(core.Tensor.from_numpy(rays), nthreads=self._threads)
        return found["t_hit"].numpy(), found["primitive_ids"].numpy(), found["primitive_uvs"].numpy()

    def blocked(
        self, origins: Float32[np.ndarray, "m 3"], directions: Float32[np.ndarray, "m 3"], reach: float = np.inf
    ) -> Bool[np.ndarray, " m"]:
        """Whether anything lies on rays within ``reach`` lengths of the direction."""
        from open3d import core

        rays = core.Tensor.from_numpy(_rays(origins, directions))
        return self._scene.test_occlusions(rays, tfar=reach, nthreads=self._threads).numpy()


def _rays(origins: np.ndarray, directions: np.ndarray) -> Float32[np.ndarray, "m 6"]:
    rays = np.empty((len(directions), 6), np.float32)
    rays[:, :3] = origins
    rays[:, 3:] = directions
    return rays
