"""The one camera model."""

from __future__ import annotations

import pytest
import torch

from render.camera import Camera
from render.conventions import invert_rigid, quats_to_rotmats
from render.errors import InputError


def camera() -> Camera:
    K = torch.tensor([[100.0, 0, 40], [0, 110, 30], [0, 0, 1]])
    pose = torch.eye(4)
    pose[:3, :3] = quats_to_rotmats(torch.tensor([1.0, 0.2, -0.3, 0.4]))
    pose[:3, 3] = torch.tensor([0.5, -1, 2])
    return Camera(K, pose, 80, 60)


def test_the_centre_is_the_origin_of_the_camera() -> None:
    c = camera()
    torch.testing.assert_close(c.centre, invert_rigid(c.world_to_camera)[:3, 3])
    torch.testing.assert_close(c.world_to_camera[:3, :3] @ c.centre + c.world_to_camera[:3, 3], torch.zeros(3))


def test_resizing_moves_projections_with_the_pixels() -> None:
    c = camera()
    point = torch.tensor([0.1, 0.2, 1.0])
    small = c.resized(40, 20)
    before, after = c.K @ point, small.K @ point
    torch.testing.assert_close(after[:2], before[:2] * torch.tensor([0.5, 1 / 3]))
    assert (small.width, small.height) == (40, 20)


@pytest.mark.parametrize(("name", "shape"), [("K", (4, 4)), ("world_to_camera", (3, 4))])
def test_wrong_shapes_are_named(name: str, shape: tuple[int, int]) -> None:
    values = {"K": torch.eye(3), "world_to_camera": torch.eye(4), name: torch.zeros(shape)}
    with pytest.raises(InputError, match=f"Camera.{name} must have shape"):
        Camera(width=4, height=4, **values)


def test_a_camera_without_pixels_is_refused() -> None:
    with pytest.raises(InputError, match="at least one pixel"):
        Camera(torch.eye(3), torch.eye(4), 0, 4)


def test_casting_reaches_both_matrices() -> None:
    c = camera().to(dtype=torch.float64)
    assert c.K.dtype == c.world_to_camera.dtype == torch.float64


@pytest.mark.parametrize("name", ["K", "world_to_camera"])
def test_matrices_that_are_not_finite_are_refused(name: str) -> None:
    matrices = {"K": camera().K.clone(), "world_to_camera": camera().world_to_camera.clone()}
    matrices[name][0, 1] = float("nan")
    with pytest.raises(InputError, match=rf"Camera\.{name} must be finite"):
        Camera(**matrices, width=80, height=60)
