"""Rooms that ``fit3d rooms`` made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from render.errors import InputError
from render.spacing import evenly
from training.probing.photos import ProbeData, ProbePhoto, resized
from training.rooms.reading import RoomScene
from training.rooms.writing import ROOM


def recognised(path: Path) -> bool:
    """Whether a folder is a room, holds rooms, or splits with rooms."""
    return any(next(path.glob(f"{inner}{ROOM}"), None) is not None for inner in ("", "*/", "*/*/"))


def read_rooms(path: Path, train: Sequence[Path] = ()) -> ProbeData:
    """Classes and depth of rooms; groups are rooms.

    Layout: ``PATH/train/ROOM/`` is learned from and ``PATH/test/ROOM/`` measured; or, where ``train`` is given,
    the rooms there are learned from and those of ``PATH`` measured.

    Raises:
        InputError: there are no rooms, a room is in both, or one is damaged.
    """
    if train:
        learned, measured = [room for one in train for room in opened(one)], opened(path)
    else:
        if not ((path / "train").is_dir() and (path / "test").is_dir()):
            raise InputError(f"Expected rooms in {path / 'train'} and {path / 'test'}; or give --train with others.")
        learned, measured = opened(path / "train"), opened(path / "test")
    check_apart(learned, measured)
    return ProbeData(path.name, room_photos(learned), room_photos(measured), classes=measured[0].class_names)


def opened(path: Path) -> list[RoomScene]:
    """A room, or the rooms in a folder.

    Raises:
        InputError: there is none, or one is damaged.
    """
    folders = [path] if (path / ROOM).is_file() else sorted(child.parent for child in path.glob(f"*/{ROOM}"))
    if not folders:
        raise InputError(f"Expected rooms at {path}, found none; make some with fit3d rooms, in a new folder.")
    return [RoomScene.open(folder) for folder in folders]


def check_apart(learned: Sequence[RoomScene], measured: Sequence[RoomScene]) -> None:
    """Raise InputError if a room is both learned from and measured."""
    both = {(room.split, room.index) for room in learned} & {(room.split, room.index) for room in measured}
    if both:
        split, index = min(both)
        raise InputError(f"Room {index} of the split {split} is both learned from and measured; give others.")


def room_photos(rooms: Sequence[RoomScene], most: int | None = None, *, width: int | None = None) -> list[ProbePhoto]:
    """Photos of rooms with class maps and depths.

    Args:
        rooms: The group of a photo is the name of its room.
        most: So many photos at most, evenly spaced over all.
        width: Shrink wider photos to it, and their maps, so that things are as large as in other photos; in pixels.

    Raises:
        InputError: there are no photos.
    """
    photos = [_photo(room, view.name, width) for room in rooms for view in room.scene.views]
    if not photos:
        raise InputError("A probe needs photos, found none.")
    return evenly(photos, most)


def _photo(room: RoomScene, name: str, width: int | None) -> ProbePhoto:
    view = room.scene.view(name)
    read = view.image
    classes, depth = (partial(_shrunk_map, kind, name, width) for kind in (room.classes, room.depth))
    if width is not None and view.photo_size[0] > width:
        read = partial(resized, read, round(min(view.photo_size) * width / view.photo_size[0]))
    return ProbePhoto(name, room.path.resolve().name, read, classes, depth)


def _shrunk_map(read: Callable[[str], np.ndarray], name: str, width: int | None) -> np.ndarray:
    import cv2

    values = read(name)
    if width is None or values.shape[1] <= width:
        return values
    size = (width, max(1, round(values.shape[0] * width / values.shape[1])))
    return cv2.resize(values, size, interpolation=cv2.INTER_NEAREST_EXACT)
