"""Scene folders that trainings read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from render.errors import InputError
from render.scene import TRANSFORMS, Scene

PHOTO_BYTES = 4 << 30  # of photos that are kept in memory; the others are read whenever they are needed


def open_scenes(folders: Sequence[Path], most: int | None = None) -> list[Scene]:
    """Scene folders, and the scenes in folders of scenes, in order.

    Args:
        folders: Each is a scene, or holds scenes.
        most: Only so many; None = all.

    Raises:
        InputError: a folder is neither.
    """
    found: list[Path] = []
    for folder in folders:
        inside = sorted(path.parent for path in folder.glob(f"*/{TRANSFORMS}")) if folder.is_dir() else []
        if not (folder / TRANSFORMS).is_file() and not inside:
            raise InputError(f"Expected a scene, or a folder of scenes, at {folder}; found no {TRANSFORMS}.")
        found += [folder] if (folder / TRANSFORMS).is_file() else inside
    return [Scene.open(path) for path in found[:most]]
