"""Checks of a capture before training, and the sightings of its sparse points."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from render.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor

TRANSFORMS = "transforms.json"
OBSERVATIONS = "observations.npz"
NAMED = 5
RIGID_TOLERANCE = 1e-3


def transforms_file(data: Path) -> Path | None:
    """The ``transforms.json`` of a data folder (or the ``.json`` itself), None for other kinds of data."""
    path = data if data.suffix == ".json" else data / TRANSFORMS
    return path if path.is_file() else None


def read_transforms(path: Path) -> dict[str, Any]:
    """Parse a ``transforms.json``.

    Raises:
        InputError: it is not JSON, or it lists no frames.
    """
    try:
        meta = json.loads(path.read_text("utf8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(meta, dict) or not meta.get("frames"):
        raise InputError(f"{path} lists no frames; expected the transforms.json of nerfstudio.")
    return meta


def check_capture(data: Path) -> None:
    """Check that all photos are there and all poses are rigid; other kinds of data are left to nerfstudio.

    Raises:
        InputError: the folder is missing, photos are listed but absent, or a pose is NaN or not rigid.
    """
    if not data.exists():
        raise InputError(f"There is no data at {data}.")
    path = transforms_file(data)
    if path is None:
        return
    frames = read_transforms(path)["frames"]
    absent = [f["file_path"] for f in frames if not (path.parent / f["file_path"]).is_file()]
    if absent:
        named = ", ".join(absent[:NAMED]) + (", ..." if len(absent) > NAMED else "")
        raise InputError(
            f"{path} lists {len(frames)} photos, but {len(absent)} of them are absent ({named}); "
            "add them or remove their frames."
        )
    for frame in frames:
        problem = pose_problem(np.asarray(frame.get("transform_matrix"), dtype=object))
        if problem:
            raise InputError(f"{path}: the pose of {frame['file_path']} {problem}; correct or remove it.")


def pose_problem(pose: np.ndarray) -> str | None:
    """What is wrong with a camera-to-world matrix, or None."""
    if pose.shape not in ((3, 4), (4, 4)):
        return f"must be a 4x4 matrix, found the shape {list(pose.shape)}"
    try:
        matrix = pose.astype(np.float64)
    except (TypeError, ValueError):
        return "holds something that is not a number"
    if not np.isfinite(matrix).all():
        return "holds NaN or infinite values"
    rotation = matrix[:3, :3]
    off = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if off > RIGID_TOLERANCE or np.linalg.det(rotation) < 0:
        return f"is not rigid (R R^T differs from the identity by {off:.3g}, det {np.linalg.det(rotation):.3g})"
    return None


def sightings(data: Path, photos: Sequence[Path], points: int) -> list[Int[Tensor, " m"] | None]:
    """Which sparse points each photo sees, from an ``observations.npz`` beside ``transforms.json``.

    The file holds, per sighting, ``image`` (index into frames) and ``point`` (index into the sparse points).

    Args:
        data: The data folder or its ``transforms.json``.
        photos: The photos to answer for.
        points: Number of sparse points.

    Returns:
        Indices ``[m]`` int64 per photo; None where nothing is known.

    Raises:
        InputError: the file's indices do not fit the frames and points.
    """
    path = transforms_file(data)
    if path is None or not (path.parent / OBSERVATIONS).is_file():
        return [None] * len(photos)
    frames = read_transforms(path)["frames"]
    with np.load(path.parent / OBSERVATIONS, allow_pickle=False) as stored:
        if not {"image", "point"} <= set(stored.files):
            return [None] * len(photos)
        image, point = stored["image"].astype(np.int64), stored["point"].astype(np.int64)
    if len(image) and (image.max() >= len(frames) or point.max() >= points):
        raise InputError(
            f"{path.parent / OBSERVATIONS} names photo {image.max()} and point {point.max()}, but there are "
            f"{len(frames)} frames and {points} sparse points; remove the file or make it again."
        )
    index = {Path(frame["file_path"]).name: i for i, frame in enumerate(frames)}
    if len(index) != len(frames):
        return [None] * len(photos)
    return [
        torch.from_numpy(np.unique(point[image == index[photo.name]])) if photo.name in index else None
        for photo in photos
    ]
