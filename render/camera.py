"""The one camera model: pinhole, OpenCV axes, world to camera."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from render.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion.

    Attributes:
        K: Intrinsics in pixels, pixel centres at half-integers; ``[3, 3]`` float.
        world_to_camera: Rigid transform to OpenCV camera axes (+x right, +y down, +z forward); ``[4, 4]`` float.
        width: Image width in pixels.
        height: Image height in pixels.

    Raises:
        InputError: a shape is wrong, or the image is empty.
    """

    K: Float[Tensor, "3 3"]
    world_to_camera: Float[Tensor, "4 4"]
    width: int
    height: int

    def __post_init__(self) -> None:
        for name, shape in (("K", (3, 3)), ("world_to_camera", (4, 4))):
            value = torch.as_tensor(getattr(self, name))
            if not value.is_floating_point():
                value = value.to(torch.float32)
            if value.shape != shape:
                raise InputError(f"Camera.{name} must have shape {list(shape)}, found {list(value.shape)}.")
            object.__setattr__(self, name, value)
            # Elsewhere the check would wait for the device.
            if value.device.type == "cpu" and not bool(torch.isfinite(value).all()):
                raise InputError(f"Camera.{name} must be finite, found NaN or infinite entries; check the pose.")
        if self.width < 1 or self.height < 1:
            raise InputError(f"A camera needs at least one pixel, found {self.width}x{self.height}.")

    @property
    def centre(self) -> Float[Tensor, "3"]:
        """Position of the camera in the world."""
        return -self.world_to_camera[:3, :3].T @ self.world_to_camera[:3, 3]

    @property
    def device(self) -> torch.device:
        """Where the pose lives."""
        return self.world_to_camera.device

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Camera:
        """Move or cast both matrices."""
        return replace(
            self,
            K=self.K.to(device=device, dtype=dtype),
            world_to_camera=self.world_to_camera.to(device=device, dtype=dtype),
        )

    def resized(self, width: int, height: int) -> Camera:
        """The same view with another number of pixels; the intrinsics scale along."""
        factors = self.K.new_tensor([[width / self.width], [height / self.height], [1.0]])
        return replace(self, K=self.K * factors, width=width, height=height)
