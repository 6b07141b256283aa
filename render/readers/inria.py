"""Output folders of the original 3D Gaussian splatting code: ``cameras.json`` and
``point_cloud/iteration_*``."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from render.errors import InputError
from render.ply import load_points
from render.readers.capture import Capture, build_views, name_some, scale_to_photo

ITERATION = re.compile(r"iteration_(\d+)")
FIELDS = ("img_name", "width", "height", "position", "rotation", "fx", "fy")


def is_output(folder: Path) -> bool:
    """Whether a folder looks like an output folder."""
    return (folder / "cameras.json").is_file() and (folder / "point_cloud").is_dir()


def read_inria(path: str | Path, *, images: str | Path | None = None) -> Capture:
    """Read an output folder: its cameras, and the Gaussians of the highest iteration.

    The principal point is the centre of the image: that code assumes so, and its cameras do not tell.

    Args:
        path: The folder.
        images: The folder of the photos; by default ``images`` in the folder, or in the source folder that
            its ``cfg_args`` names.

    Raises:
        InputError: no cameras or Gaussians, damaged cameras, or what
            :func:`render.readers.capture.build_views` raises.
    """
    path = Path(path)
    file = path / "cameras.json"
    cameras = _load(file)
    folder = Path(images) if images is not None else find_images(path)
    photos = _photos(folder, [str(camera["img_name"]) for camera in cameras])
    frames = [
        scale_to_photo(_frame(camera, photo.name, file), photo) for camera, photo in zip(cameras, photos, strict=True)
    ]
    transforms = {"camera_model": "PINHOLE", "frames": frames}
    points = path / "input.ply"
    return Capture(
        transforms,
        photos,
        build_views(transforms, photos, where=file),
        partial(load_points, points) if points.is_file() else None,
        find_gaussians(path),
    )


def find_gaussians(folder: Path) -> Path:
    """``point_cloud.ply`` of the highest iteration.

    Raises:
        InputError: there is none.
    """
    found = [
        (int(match[1]), file)
        for file in folder.glob("point_cloud/iteration_*/point_cloud.ply")
        if (match := ITERATION.fullmatch(file.parent.name))
    ]
    if not found:
        raise InputError(f"Expected Gaussians at {folder}/point_cloud/iteration_N/point_cloud.ply, found none.")
    return max(found)[1]


def find_images(folder: Path) -> Path:
    """The folder of the photos: inside the output folder, else where ``cfg_args`` says that they were."""
    if (folder / "images").is_dir() or not (folder / "cfg_args").is_file():
        return folder / "images"
    text = (folder / "cfg_args").read_text(encoding="utf-8", errors="replace")
    source = re.search(r"source_path='([^']*)'", text)
    name = re.search(r"images='([^']*)'", text)
    if source is None:
        return folder / "images"
    return Path(source[1]) / (name[1] if name else "images")


def _load(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        raise InputError(f"Expected the cameras of a 3DGS run at {file}, found nothing.")
    try:
        cameras = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not valid JSON ({error}).") from error
    if not isinstance(cameras, list) or not cameras:
        raise InputError(f"{file} lists no cameras.")
    for i, camera in enumerate(cameras):
        missing = [name for name in FIELDS if not isinstance(camera, dict) or name not in camera]
        if missing:
            raise InputError(f"{file}: camera {i} lacks {', '.join(missing)}.")
    return cameras


def _photos(folder: Path, names: list[str]) -> list[Path]:
    """Files of the names, which older runs wrote without their extension."""
    by_stem: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not file.name.startswith("."):
            by_stem.setdefault(file.stem, []).append(file)
    photos = []
    for name in names:
        exact = folder / name
        found = [exact] if exact.is_file() else by_stem.get(name, [])
        if len(found) > 1:
            raise InputError(f"Several photos could be {name!r}: {name_some(found)}; keep one of them.")
        photos.append(found[0] if found else exact)
    return photos


def _frame(camera: dict[str, Any], photo: str, file: Path) -> dict[str, Any]:
    pose = np.eye(4)
    try:
        pose[:3, :3] = np.asarray(camera["rotation"], np.float64)
        pose[:3, 3] = np.asarray(camera["position"], np.float64)
        width, height, fx, fy = (float(camera[key]) for key in ("width", "height", "fx", "fy"))
    except (TypeError, ValueError) as error:
        raise InputError(f"{file}: the camera of {camera['img_name']} is damaged ({error}).") from error
    return {
        "file_path": f"images/{photo}",
        "fl_x": fx,
        "fl_y": fy,
        "cx": width / 2,
        "cy": height / 2,
        "w": int(width),
        "h": int(height),
        "transform_matrix": (torch.from_numpy(pose) * torch.tensor([1.0, -1.0, -1.0, 1.0])).tolist(),
    }
