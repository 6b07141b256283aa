"""A tiny scene for the tests of the command line."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from tests.corner import corner

VIEWS, WIDTH, HEIGHT = 3, 96, 72


def tiny_scene(folder: Path) -> Path:
    """A scene folder with about 2000 Gaussians and three photos that the test may change."""
    original = corner(count=2000, views=VIEWS, width=WIDTH, height=HEIGHT).scene.path
    return Path(shutil.copytree(original, folder / "scene"))


def contents(folder: Path) -> dict[str, str]:
    """A hash of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
