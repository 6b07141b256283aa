"""Checks of a capture before training, and the sightings of its sparse points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from render.errors import InputError
from render.readers import read_transforms
from render.readers.capture import name_some
from render.readers.transforms import load_transforms

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor

TRANSFORMS = "transforms.json"
OBSERVATIONS = "observations.npz"


def transforms_file(data: Path) -> Path | None:
    """The ``transforms.json`` of a data folder (or the ``.json`` itself), None for other kinds of data."""
    path = data if data.suffix == ".json" else data / TRANSFORMS
    return path if path.is_file() else None


def check_capture(data: Path) -> None:
    """Check that all photos are there and all poses are rigid; other kinds of data are left to nerfstudio.

    Raises:
        InputError: the folder is missing, photos are listed but absent, or a pose is NaN or not rigid.
    """
    if not data.exists():
        raise InputError(f"There is no data at {data}; give --data a folder with transforms.json and photos.")
    path = transforms_file(data)
    if path is None:
        return
    photos = read_transforms(path).photos
    absent = [photo.relative_to(path.parent) if photo.is_relative_to(path.parent) else photo for photo in photos
              if not photo.is_file()]  # fmt: skip
    if absent:
        raise InputError(
            f"{len(absent)} of {len(photos)} photos that {path} lists are missing: {name_some(absent)}; "
            "copy them there, or remove their frames."
        )


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
    stored = None if path is None else _read_observations(path.parent / OBSERVATIONS)
    if path is None or stored is None:
        return [None] * len(photos)
    image, point = stored
    frames = load_transforms(path)["frames"]
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


def _read_observations(path: Path) -> tuple[Int[np.ndarray, " s"], Int[np.ndarray, " s"]] | None:
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as stored:
        if not {"image", "point"} <= set(stored.files):
            return None
        return stored["image"].astype(np.int64), stored["point"].astype(np.int64)
