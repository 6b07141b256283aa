"""A smooth way through some viewpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from render.camera import Camera
from render.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float

MOST_VIEWPOINTS = 100
MOST_FRAMES = 10_000  # five minutes and a half at 30 per second
LEAST_STEP = 0.05  # of the mean step: viewpoints at one place still take some time
TURN = 0.5  # of the viewpoints' extent: how much a turn by one radian counts beside a way of that length


def camera_path(viewpoints: Sequence[Camera], seconds: float, fps: float = 30) -> list[Camera]:
    """Cameras that move smoothly through viewpoints, from standing still to standing still.

    Positions follow a cubic without overshoot, directions a spline of rotations; time is given out by the length of
    the way and by how far the camera turns.

    Args:
        viewpoints: 2 to 100; all frames have the size of the first.
        seconds: How long the way takes.
        fps: Frames per second.

    Raises:
        InputError: there are fewer than two viewpoints or too many, or no, endless or too many frames.
    """
    from scipy.interpolate import PchipInterpolator

    if len(viewpoints) < 2:
        raise InputError(f"A camera path needs at least two viewpoints, found {len(viewpoints)}; add some.")
    if len(viewpoints) > MOST_VIEWPOINTS:
        raise InputError(
            f"A camera path has at most {MOST_VIEWPOINTS} viewpoints, found {len(viewpoints)}; take fewer."
        )
    if not 0 < seconds * fps <= MOST_FRAMES:
        raise InputError(
            f"A camera path has 1 to {MOST_FRAMES} frames, found {seconds:g} s at {fps:g} per second; make it shorter."
        )
    first = viewpoints[0]
    poses = np.stack([camera.world_to_camera.cpu().double().numpy() for camera in viewpoints])
    focals = np.stack([_relative_intrinsics(camera) for camera in viewpoints])
    turns = _rotations(poses)
    centres = -np.einsum("nji,nj->ni", poses[:, :3, :3], poses[:, :3, 3])
    times = _times(centres, turns)
    count = max(2, round(seconds * fps))
    share = np.linspace(0, 1, count)
    moments = share * share * (3 - 2 * share)  # from rest to rest
    positions = PchipInterpolator(times, centres)(moments)
    intrinsics = PchipInterpolator(times, focals)(moments)
    rotations = _between(times, turns, moments)
    translations = -np.einsum("nij,nj->ni", rotations, positions)
    return [_camera(first, *parts) for parts in zip(intrinsics, rotations, translations, strict=True)]


def _relative_intrinsics(camera: Camera) -> Float[np.ndarray, "4"]:
    """Focal lengths and principal point as shares of the picture's height and width."""
    K = camera.K.cpu().double().numpy()
    w, h = camera.width, camera.height
    return np.array([K[0, 0] / h, K[1, 1] / h, K[0, 2] / w, K[1, 2] / h])


def _rotations(poses: Float[np.ndarray, "n 4 4"]) -> Float[np.ndarray, "n 4"]:
    """Quaternions xyzw."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_matrix(poses[:, :3, :3]).as_quat())


def _times(centres: Float[np.ndarray, "n 3"], turns: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """When each viewpoint is passed, 0 to 1."""
    ways = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    angles = 2 * np.arccos(np.clip(np.abs((turns[1:] * turns[:-1]).sum(1)), 0, 1))
    extent = float(np.ptp(centres, axis=0).max())
    steps = ways + TURN * (extent if extent > 0 else 1.0) * angles
    steps = np.maximum(steps, LEAST_STEP * max(steps.mean(), 1e-9))
    return np.concatenate([[0.0], np.cumsum(steps) / steps.sum()])


def _between(
    times: Float[np.ndarray, " n"], turns: Float[np.ndarray, "n 4"], moments: Float[np.ndarray, " m"]
) -> Float[np.ndarray, "m 3 3"]:
    from scipy.spatial.transform import Rotation, RotationSpline, Slerp

    rotations = Rotation.from_quat(turns)
    # A spline of two rotations is the shortest arc.
    spline = RotationSpline(times, rotations) if len(times) > 2 else Slerp(times, rotations)
    return spline(np.clip(moments, 0, times[-1])).as_matrix()


def _camera(
    first: Camera,
    intrinsics: Float[np.ndarray, "4"],
    rotation: Float[np.ndarray, "3 3"],
    translation: Float[np.ndarray, "3"],
) -> Camera:
    w, h = first.width, first.height
    K = torch.eye(3, dtype=torch.float32)
    K[0, 0], K[1, 1], K[0, 2], K[1, 2] = (float(v) for v in intrinsics * np.array([h, h, w, h]))
    pose = torch.eye(4, dtype=torch.float32)
    pose[:3, :3] = torch.from_numpy(rotation).float()
    pose[:3, 3] = torch.from_numpy(translation).float()
    return Camera(K, pose, w, h)
