"""Where a prompt was drawn: a camera as plain numbers, and strokes in its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from app.explorer.commands.base import check_number
from render.camera import Camera
from render.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int32

Point: TypeAlias = tuple[float, float]
Row3: TypeAlias = tuple[float, float, float]
Row4: TypeAlias = tuple[float, float, float, float]

MOST_PIXELS = 8192  # along a side of a viewpoint
MOST_POINTS = 20_000  # of a stroke or a polygon
FARTHEST = 1e5  # pixels; strokes may leave the picture, but not go anywhere
LARGEST = 1e9  # of a focal length or a position
RIGID = 1e-3  # by how much a rotation may miss being one
WORKING_SIDE = 640  # pixels: prompts are evaluated at no more, whatever the window's size
FRACTION = 4  # bits of a pixel that strokes are drawn with


@dataclass(frozen=True)
class Viewpoint:
    """A pinhole camera as plain numbers.

    Attributes:
        K: Rows of the intrinsics in pixels, pixel centres at half-integers.
        world_to_camera: Rows of the rigid transform to OpenCV camera axes.
        width: Pixels.
        height: Pixels.

    Raises:
        InputError: it is no camera that could be, or too large.
    """

    K: tuple[Row3, Row3, Row3]
    world_to_camera: tuple[Row4, Row4, Row4, Row4]
    width: int
    height: int

    def __post_init__(self) -> None:
        for name, side in (("width", self.width), ("height", self.height)):
            check_number(f"{name} of a viewpoint", side, 1, MOST_PIXELS)
        K, pose = np.array(self.K, float), np.array(self.world_to_camera, float)
        if K.shape != (3, 3) or pose.shape != (4, 4) or not (np.abs(K) <= LARGEST).all():
            raise InputError("A viewpoint needs K [3, 3] and world_to_camera [4, 4] of finite numbers.")
        if not (K[0, 0] > 0 and K[1, 1] > 0) or (K[[0, 1, 2, 2], [1, 0, 0, 1]] != 0).any() or K[2, 2] != 1:
            raise InputError("A viewpoint's K must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with fx and fy above 0.")
        rotation = pose[:3, :3]
        rigid = (np.abs(pose) <= LARGEST).all() and (np.abs(rotation @ rotation.T - np.eye(3)) <= RIGID).all()
        if not rigid or np.linalg.det(rotation) < 0 or (pose[3] != (0, 0, 0, 1)).any():
            raise InputError("A viewpoint's world_to_camera must be a rotation and a translation, finite and rigid.")

    @staticmethod
    def of(camera: Camera) -> Viewpoint:
        """The same camera."""
        K = tuple(tuple(row) for row in camera.K.tolist())
        pose = tuple(tuple(row) for row in camera.world_to_camera.tolist())
        return Viewpoint(K, pose, camera.width, camera.height)  # type: ignore[arg-type]

    @cached_property
    def camera(self) -> Camera:
        """The camera in single precision, on the CPU."""
        K = torch.tensor(self.K, dtype=torch.float32)
        return Camera(K, torch.tensor(self.world_to_camera, dtype=torch.float32), self.width, self.height)

    @cached_property
    def working(self) -> Camera:
        """The camera that prompts are evaluated with: the same view, with no more pixels than needed."""
        scale = WORKING_SIDE / max(self.width, self.height)
        if scale >= 1:
            return self.camera
        return self.camera.resized(max(1, round(self.width * scale)), max(1, round(self.height * scale)))

    def to_working(self, points: object) -> Float[np.ndarray, "m 2"]:
        """Points in pixels of the viewpoint as pixels of the working camera."""
        factors = np.array([self.working.width / self.width, self.working.height / self.height])
        return np.array(points, np.float64).reshape(-1, 2) * factors


@dataclass(frozen=True)
class Stroke:
    """A line drawn with a round brush.

    Attributes:
        points: In pixels of the viewpoint, at least one; a single one is a dot.
        radius: Of the brush, in pixels.
        positive: Whether it marks the object; otherwise it marks background.

    Raises:
        InputError: there is no point, too many, or one is far outside.
    """

    points: tuple[Point, ...]
    radius: float
    positive: bool = True

    def __post_init__(self) -> None:
        check_points("stroke", self.points, 1)
        check_number("radius of a stroke", self.radius, 0.1, MOST_PIXELS)


def check_points(what: str, points: tuple[Point, ...], least: int) -> None:
    """Raise InputError unless there are enough points and none is far outside."""
    if not least <= len(points) <= MOST_POINTS:
        raise InputError(f"A {what} has {least} to {MOST_POINTS} points, found {len(points)}.")
    if not (np.abs(np.array(points, float)) <= FARTHEST).all():
        raise InputError(f"A {what} stays within {FARTHEST:g} pixels of the view, found a point farther out.")


def draw_strokes(
    viewpoint: Viewpoint, strokes: tuple[Stroke, ...]
) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Pixels of the working camera that are marked as object and as background; later strokes cover earlier ones."""
    import cv2

    camera = viewpoint.working
    drawn = np.zeros((camera.height, camera.width), np.uint8)
    for stroke in strokes:
        points = _fixed(viewpoint, stroke.points)
        thickness = max(1, round(2 * stroke.radius * camera.width / viewpoint.width))
        # A line of one point draws nothing.
        points = np.concatenate([points, points[-1:]])
        cv2.polylines(drawn, [points], False, 1 if stroke.positive else 2, thickness, cv2.LINE_8, FRACTION)
    return drawn == 1, drawn == 2


def fill_polygon(viewpoint: Viewpoint, polygon: tuple[Point, ...]) -> Bool[np.ndarray, "h w"]:
    """Pixels of the working camera inside a polygon, by the even-odd rule."""
    import cv2

    camera = viewpoint.working
    drawn = np.zeros((camera.height, camera.width), np.uint8)
    cv2.fillPoly(drawn, [_fixed(viewpoint, polygon)], 1, cv2.LINE_8, FRACTION)
    return drawn > 0


def _fixed(viewpoint: Viewpoint, points: tuple[Point, ...]) -> Int32[np.ndarray, "m 2"]:
    """Points in OpenCV's pixels, whose centres are whole numbers, with fixed-point fractions."""
    return np.rint((viewpoint.to_working(points) - 0.5) * (1 << FRACTION)).astype(np.int32)
