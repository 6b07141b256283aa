"""A tiny copy of the demo scene for the tests of the command line."""

from __future__ import annotations

import hashlib
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from assets.demo_scene import demo_scene

VIEWS, WIDTH, HEIGHT = 3, 96, 72


@cache
def _original() -> Path:
    """Built once per run of the tests."""
    folder = Path(mkdtemp(prefix="fit3d-tests-"))
    return demo_scene(count=2000, views=VIEWS, width=WIDTH, height=HEIGHT, cache=folder).path


def tiny_scene(folder: Path) -> Path:
    """A scene folder with 2000 Gaussians and three photos that the test may change."""
    return Path(shutil.copytree(_original(), folder / "scene"))


def contents(folder: Path) -> dict[str, str]:
    """A hash of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
