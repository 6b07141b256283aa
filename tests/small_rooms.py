"""Small rooms on disk that several tests read: rendered once in a process."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from training.rooms.reading import RoomScene
from training.rooms.writing import ROOM, RoomFormat, room_name, write_room

VIEWS, SIDE = 3, 64


@cache
def small_room(split: str, *, width: int = SIDE) -> RoomScene:
    """The first room of a split: three photos, 64 pixels high, without Gaussians."""
    path = _folder() / str(width) / split / room_name(split, 0)
    write_room(path, split, 0, RoomFormat(VIEWS, width, SIDE, "none"), threads=1)
    return RoomScene.open(path)


def renamed(room: RoomScene, split: str, index: int, folder: Path) -> RoomScene:
    """A copy of a room that calls itself another one."""
    path = Path(shutil.copytree(room.path, folder / room_name(split, index)))
    description = json.loads((path / ROOM).read_text())
    (path / ROOM).write_text(json.dumps({**description, "split": split, "index": index}))
    return RoomScene.open(path)


@cache
def _folder() -> Path:
    return Path(mkdtemp(prefix="fit3d-tests-"))
