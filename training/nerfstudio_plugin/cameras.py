"""nerfstudio's cameras as ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from render.camera import Camera
from render.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float
    from nerfstudio.cameras.cameras import Cameras


def world_to_camera(camera_to_world: Float[Tensor, "3 4"]) -> Float[Tensor, "4 4"]:
    """Invert an OpenGL camera-to-world pose into OpenCV axes; differentiable."""
    rotation = (camera_to_world[:3, :3] * camera_to_world.new_tensor([1.0, -1.0, -1.0])).T
    translation = -rotation @ camera_to_world[:3, 3:4]
    bottom = camera_to_world.new_tensor([[0.0, 0.0, 0.0, 1.0]])
    return torch.cat([torch.cat([rotation, translation], 1), bottom], 0)


def to_camera(cameras: Cameras, camera_to_world: Float[Tensor, "3 4"] | None = None, divide: int = 1) -> Camera:
    """Convert one nerfstudio camera (a batch of one), leaving it as it is.

    Args:
        cameras: A batch of one camera without distortion.
        camera_to_world: Another pose for it, such as an optimized one; OpenGL axes, ``[3, 4]``.
        divide: The picture is this many times smaller; incomplete rows and columns are dropped.

    Raises:
        InputError: more than one camera.
    """
    if cameras.size != 1:
        raise InputError(f"One camera is rendered at a time, found {cameras.size}.")
    pose = cameras.camera_to_worlds.reshape(3, 4) if camera_to_world is None else camera_to_world.reshape(3, 4)
    fx, fy, cx, cy = (float(v) / divide for v in (cameras.fx, cameras.fy, cameras.cx, cameras.cy))
    return Camera(
        K=pose.new_tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]),
        world_to_camera=world_to_camera(pose),
        width=int(cameras.width) // divide,
        height=int(cameras.height) // divide,
    )
