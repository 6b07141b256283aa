"""nerfstudio's ``transforms.json`` (and the files of instant-ngp and Blender that look like it)."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from render.errors import InputError
from render.ply import load_points
from render.readers.capture import Capture, build_views, inside, name_some

PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".JPG", ".PNG")
ATTACHED = ("mask_path", "depth_file_path")


def read_transforms(path: str | Path, *, confined: bool = False) -> Capture:
    """Read a ``transforms.json`` or the folder that contains it; the frame is the file's.

    ``applied_transform`` tells what was done to poses and points alike before they were written: it is left
    alone.

    Args:
        path: The file or its folder.
        confined: Refuse photos outside the folder.

    Raises:
        InputError: no such file, not JSON, no frames, photos outside the folder, or what
            :func:`render.readers.capture.build_views` raises.
    """
    path = Path(path)
    file = path / "transforms.json" if path.is_dir() else path
    transforms = load_transforms(file)
    folder = file.parent
    listed = [frame["file_path"] for frame in transforms["frames"]]
    outside = [name for name in listed if not inside(name)]
    if confined and outside:
        raise InputError(
            f"{file} names photos outside its folder: {name_some(outside)}; "
            "copy them into the folder and name them by relative paths."
        )
    photos = [find_photo(folder, name) for name in listed]
    points = transforms.get("ply_file_path")
    if points is not None and confined and not inside(points):
        raise InputError(f"{file} names points outside its folder: {points}; copy them into the folder.")
    attachments = {
        frame[key]: folder / frame[key]
        for frame in transforms["frames"]
        for key in ATTACHED
        if isinstance(frame.get(key), str) and inside(frame[key])
    }
    gaussians = folder / "gaussians.ply"
    return Capture(
        transforms=transforms,
        photos=photos,
        views=build_views(transforms, photos, where=file),
        points=None if points is None else partial(load_points, folder / points),
        gaussians=gaussians if gaussians.is_file() else None,
        attachments={name: file for name, file in attachments.items() if file.is_file()},
    )


def load_transforms(file: Path) -> dict[str, Any]:
    """The content of a ``transforms.json``, checked to have frames that name photos.

    Raises:
        InputError: no such file, not JSON, or no such frames.
    """
    if not file.is_file():
        raise InputError(f"Expected nerfstudio's transforms.json at {file}, found nothing.")
    try:
        transforms = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not valid JSON ({error}).") from error
    frames = transforms.get("frames") if isinstance(transforms, dict) else None
    if not isinstance(frames, list) or not frames:
        raise InputError(f"{file} lists no frames; expected a list 'frames' of photos with poses.")
    for i, frame in enumerate(frames):
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            raise InputError(f"{file}: frame {i} has no file_path.")
    return transforms


def find_photo(folder: Path, name: str) -> Path:
    """The file of a ``file_path``; Blender's files leave the extension out."""
    path = Path(os.path.normpath(folder / name))
    if path.suffix.lower() in PHOTO_SUFFIXES or path.is_file():
        return path
    candidates = [path.with_name(path.name + suffix) for suffix in PHOTO_SUFFIXES]
    return next((candidate for candidate in candidates if candidate.is_file()), path)
