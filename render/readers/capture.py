"""What every reader returns, and how nerfstudio's description of a capture becomes views."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from render.conventions import is_rigid, opengl_to_opencv
from render.errors import InputError
from render.ply import Points
from render.undistortion import Lens
from render.views import View, photo_size

if TYPE_CHECKING:
    from jaxtyping import Float

INTRINSICS = ("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_angle_x", "camera_angle_y", "camera_model")
DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
PINHOLE_MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV")
FISHEYE_MODELS = ("OPENCV_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")


@dataclass(frozen=True)
class Capture:
    """Posed photos from any format, in the frame of that format.

    Attributes:
        transforms: The same in nerfstudio's convention: the content of a ``transforms.json``.
        photos: The photo file of every frame; it may be missing on disk.
        views: One per frame, in the order of the frames.
        points: Reads the sparse points; none if the capture has none.
        gaussians: The Gaussians that come with it; none if there are none.
        attachments: Further files that frames name (masks, depths): path in ``transforms`` -> file.
    """

    transforms: dict[str, Any]
    photos: list[Path]
    views: list[View]
    points: Callable[[], Points] | None = None
    gaussians: Path | None = None
    attachments: Mapping[str, Path] = field(default_factory=dict)


def build_views(transforms: Mapping[str, Any], photos: Sequence[Path], *, where: Path) -> list[View]:
    """Views of nerfstudio's frames.

    Args:
        transforms: The content of a ``transforms.json``; what a frame states goes before what the file
            states.
        photos: The photo file of every frame.
        where: The file that is named in errors.

    Raises:
        InputError: a pose is missing, not finite or not rigid (the frames are named), intrinsics are
            missing or of an unknown camera model, or two frames have the same photo.
    """
    frames = transforms["frames"]
    poses = read_poses(frames, where=where)
    names = view_names(photos, where=where)
    world_to_camera = opengl_to_opencv(poses).numpy()
    return [
        View.from_photo_file(name, photo, read_lens({**transforms, **frame}, photo, where=where), pose)
        for name, photo, frame, pose in zip(names, photos, frames, world_to_camera, strict=True)
    ]


def view_names(photos: Sequence[Path], *, where: Path) -> list[str]:
    """File names without extension; photos that share one are told apart by their folders: ``left-0001``.

    Raises:
        InputError: a photo is listed twice, or two photos cannot be told apart.
    """
    twice = [str(path) for path, count in Counter(photos).items() if count > 1]
    if twice:
        raise InputError(f"{where} lists the same photo in several frames: {name_some(twice)}.")
    names = [path.stem for path in photos]
    shared = {name for name, count in Counter(names).items() if count > 1}
    if not shared:
        return names
    root = Path(os.path.commonpath([path.parent for path in photos]))
    names = [
        "-".join(photo.relative_to(root).with_suffix("").parts) if name in shared else name
        for name, photo in zip(names, photos, strict=True)
    ]
    clash = {name for name, count in Counter(names).items() if count > 1}
    if clash:
        which = [str(photo) for name, photo in zip(names, photos, strict=True) if name in clash]
        raise InputError(
            f"{where} lists photos whose names differ in nothing but the extension: {name_some(which)}; "
            "rename them, since a view is named after its photo."
        )
    return names


def read_lens(values: Mapping[str, Any], photo: Path, *, where: Path) -> Lens:
    """Intrinsics in nerfstudio's convention.

    ``k4`` to ``k6`` of a perspective camera are OpenCV's rational coefficients.  Without ``w`` and ``h``
    the photo's own size counts; without ``fl_x`` the horizontal field of view ``camera_angle_x`` (radians)
    counts.

    Raises:
        InputError: a focal length is missing, a value is no number, or the camera model is not supported.
    """
    model = str(values.get("camera_model", "OPENCV")).upper()
    if model not in PINHOLE_MODELS + FISHEYE_MODELS:
        known = ", ".join(PINHOLE_MODELS + FISHEYE_MODELS)
        raise InputError(f"{where}: the camera model {model} is not supported; expected one of {known}.")
    width, height = _number(values, "w", where), _number(values, "h", where)
    if width is None or height is None:
        width, height = photo_size(photo)
    fx, angle_x = _number(values, "fl_x", where), _number(values, "camera_angle_x", where)
    fy, angle_y = _number(values, "fl_y", where), _number(values, "camera_angle_y", where)
    if fx is None and angle_x is not None:
        fx = 0.5 * width / math.tan(0.5 * angle_x)
    if fy is None and angle_y is not None:
        fy = 0.5 * height / math.tan(0.5 * angle_y)
    if fx is None:
        raise InputError(f"{where}: no focal length for {photo.name}; expected fl_x or camera_angle_x.")
    cx, cy = _number(values, "cx", where), _number(values, "cy", where)
    return Lens(
        model="fisheye" if model in FISHEYE_MODELS else "opencv",
        fx=fx,
        fy=fx if fy is None else fy,
        cx=width / 2 if cx is None else cx,
        cy=height / 2 if cy is None else cy,
        width=int(width),
        height=int(height),
        distortion=_distortion(values, model in FISHEYE_MODELS, where),
    )


def scale_to_photo(frame: dict[str, Any], photo: Path) -> dict[str, Any]:
    """Fit a frame's intrinsics to a photo that was stored smaller or larger than the cameras say.

    COLMAP and 3DGS keep the cameras of the full-size photos while ``images_2`` and the like are used.

    Raises:
        InputError: the photo has another shape than the camera.
    """
    if not photo.is_file():
        return frame
    width, height = photo_size(photo)
    if (width, height) == (frame["w"], frame["h"]):
        return frame
    x, y = width / frame["w"], height / frame["h"]
    # Sizes are rounded to whole pixels when photos are scaled.
    if abs(frame["w"] * y - width) > 1 + y and abs(frame["h"] * x - height) > 1 + x:
        raise InputError(
            f"{photo} has {width}x{height} pixels, but its camera {frame['w']}x{frame['h']}: "
            "not the same shape; use the photos that the cameras were computed from."
        )
    scaled = {"fl_x": x, "fl_y": y, "cx": x, "cy": y}
    return {
        **frame,
        **{key: frame[key] * factor for key, factor in scaled.items() if key in frame},
        "w": width,
        "h": height,
    }


def name_some(names: Iterable[object], limit: int = 5) -> str:
    """The first few names and how many there are in all."""
    listed = [str(name) for name in names]
    more = f", ... ({len(listed)} in all)" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more


def inside(path: str) -> bool:
    """Whether a relative path stays in its folder (by its words; links are the folder owner's choice)."""
    normal = PurePosixPath(os.path.normpath(path.replace("\\", "/")))
    return not normal.is_absolute() and ".." not in normal.parts


def read_poses(frames: Sequence[Mapping[str, Any]], *, where: Path) -> Float[Tensor, "v 4 4"]:
    """The ``transform_matrix`` of every frame; float64.

    Raises:
        InputError: one is missing, not finite, or not a rotation and a translation; the frames are named.
    """
    poses = []
    for frame in frames:
        try:
            matrix = np.asarray(frame.get("transform_matrix"), np.float64)
        except (TypeError, ValueError):
            matrix = np.empty(0)
        if matrix.shape == (3, 4):
            matrix = np.concatenate([matrix, [[0.0, 0.0, 0.0, 1.0]]])
        if matrix.shape != (4, 4):
            raise InputError(
                f"{where}: the frame {frame.get('file_path')} has no 4x4 transform_matrix; every photo needs a pose."
            )
        poses.append(matrix)
    stacked = torch.from_numpy(np.stack(poses))
    bad = (~is_rigid(stacked)).tolist()
    if any(bad):
        names = [f.get("file_path") for f, wrong in zip(frames, bad, strict=True) if wrong]
        finite = bool(torch.isfinite(stacked[torch.tensor(bad)]).all())
        what = "are not a rotation and a translation" if finite else "contain NaN or infinity"
        raise InputError(f"{where}: the poses of {name_some(names)} {what}; remove these frames or pose them again.")
    return stacked


def _number(values: Mapping[str, Any], key: str, where: Path) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {key} must be a number, found {value!r}.") from error


def _distortion(values: Mapping[str, Any], fisheye: bool, where: Path) -> tuple[float, ...]:
    listed = values.get("distortion_params")
    if listed is not None:
        names = ("k1", "k2", "k3", "k4", "p1", "p2")
        if not isinstance(listed, Sequence) or len(listed) > len(names):
            raise InputError(f"{where}: distortion_params must be k1, k2, k3, k4, p1, p2, found {listed!r}.")
        values = dict(zip(names, listed, strict=False))
    k = {name: _number(values, name, where) or 0.0 for name in DISTORTION}
    if fisheye:
        return k["k1"], k["k2"], k["k3"], k["k4"]
    return k["k1"], k["k2"], k["p1"], k["p2"], k["k3"], k["k4"], k["k5"], k["k6"]
