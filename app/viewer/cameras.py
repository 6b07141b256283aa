"""Cameras between viser and the rest of the project."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from app.viewer import _internals
from render.camera import Camera
from render.errors import InputError

if TYPE_CHECKING:
    import viser

    from app.explorer.session import Session
    from app.viewer.world import World

WIDEST = 8192  # pixels
ASPECTS = (0.05, 20.0)  # width by height of a window


def camera_of(client: viser.ClientHandle, height: int) -> Camera:
    """What a client looks at, as a camera of any resolution.

    The picture covers the same view as the page's canvas: a pixel ``(x, y)`` of a canvas of ``w * h`` pixels is the
    pixel ``(x * camera.width / w, y * camera.height / h)``.

    Args:
        client: A connected client of viser.
        height: Of the picture in pixels; its width follows from the page's.

    Raises:
        InputError: the page has reported no camera yet, or one that is none, of an odd shape, or too wide.
    """
    state = _internals.camera_state(client)
    if state is None or min(state.image_width, state.image_height) < 1:
        raise InputError("The page has not reported its camera yet; try again in a moment.")
    wxyz, position, fov = np.asarray(state.wxyz), np.asarray(state.position), float(state.fov)
    aspect = state.image_width / state.image_height
    size = np.linalg.norm(wxyz)
    if not (np.isfinite(size) and size > 1e-6 and np.isfinite(position).all() and 0 < fov < math.pi):
        raise InputError("The page's camera cannot be used: it may look along the up axis; turn it.")
    if not ASPECTS[0] <= aspect <= ASPECTS[1] or height * aspect > WIDEST:
        raise InputError(
            f"The page's window must be {ASPECTS[0]:g} to {ASPECTS[1]:g} times as wide as high and its picture at most "
            f"{WIDEST} pixels wide, found {state.image_width:g}x{state.image_height:g} for a height of {height}; "
            "change the window's shape."
        )
    width = max(1, round(height * aspect))
    focal = 0.5 * height / math.tan(0.5 * fov)
    # Rounding the width must not change what is seen: the pixels become a little oblong instead.
    K = torch.tensor(
        [[focal * width / (height * aspect), 0.0, 0.5 * width], [0.0, focal, 0.5 * height], [0.0, 0.0, 1.0]]
    )
    return Camera(K, _world_to_camera(wxyz / size, position), width, height)


def look_from(client: viser.ClientHandle, camera: Camera) -> None:
    """Have a client look from a camera of the shown frame; its window keeps its shape and shows the full height."""
    from viser.transforms import SO3

    from render.conventions import invert_rigid

    pose = invert_rigid(camera.world_to_camera.double()).numpy()
    with client.atomic():
        client.camera.wxyz = SO3.from_matrix(pose[:3, :3]).wxyz
        client.camera.position = pose[:3, 3]
        client.camera.fov = 2 * float(np.arctan(0.5 * camera.height / float(camera.K[1, 1])))


def look_at_selection(client: viser.ClientHandle, session: Session, world: World) -> None:
    """Turn a client's camera to the middle of the selection, which it turns around from now on.

    Raises:
        InputError: nothing visible is selected.
    """
    document = session.document
    inside = document.selection.mask & document.visible
    if not bool(inside.any()):
        raise InputError("Nothing is selected that could be looked at; select something first.")
    middle = session.gaussians.means[inside.to(session.device)].median(dim=0).values
    client.camera.look_at = middle.double().cpu().numpy() * world.scale


def _world_to_camera(wxyz: np.ndarray, position: np.ndarray) -> torch.Tensor:
    from viser.transforms import SE3, SO3

    # viser's cameras are OpenCV cameras, given as camera to world.
    matrix = SE3.from_rotation_and_translation(SO3(wxyz), position).inverse().as_matrix()
    return torch.from_numpy(matrix).to(torch.float32)
