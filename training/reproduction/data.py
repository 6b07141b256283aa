"""The photos that are measured: those of the rooms, and photographs of other places."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from render.errors import InputError
from training.probing.photos import ProbeData, Task
from training.reproduction.places import Places

ROOMS = "rooms"
ELSEWHERE: dict[str, tuple[Task, ...]] = {"camvid": ("segmentation",), "rgbd_kitchen": ("depth",)}
TITLES = {"camvid": "CamVid", "rgbd_kitchen": "a kitchen with a depth camera"}


@dataclass(frozen=True)
class Measured:
    """Data that rows are measured on.

    Attributes:
        name: ``rooms``, or that of a folder.
        folder: Of what is not rooms.
        digest: Of all names and bytes in it: figures of other photos are not mixed with its.
    """

    name: str
    folder: Path | None = None
    digest: str | None = None

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What is known of its photos."""
        return ("segmentation", "depth") if self.folder is None else ELSEWHERE[self.name]

    def read(self, places: Places) -> ProbeData:
        """Its photos.

        Raises:
            InputError: files are missing or damaged.
        """
        if self.folder is None:
            from training.probing.data.rooms import room_photos

            learned, tested = places.room_scenes("train"), places.room_scenes("test")
            return ProbeData(ROOMS, room_photos(learned), room_photos(tested), classes=tested[0].class_names)
        from training.probing.data import open_data

        return open_data(self.folder)


def elsewhere(root: Path) -> tuple[list[Measured], list[str]]:
    """Data that are not rooms, and a sentence for each that is not there.

    Args:
        root: Folder that holds ``data/camvid`` and ``data/rgbd_kitchen``.

    Raises:
        InputError: there is no such folder, or a file cannot be read.
    """
    if not root.is_dir():
        raise InputError(f"Expected a folder with data/{' and data/'.join(ELSEWHERE)} at {root}, found none.")
    found, missing = [], []
    for name in ELSEWHERE:
        folder = root / "data" / name
        if folder.is_dir():
            found.append(Measured(name, folder.resolve(), _digest(folder)))
        else:
            missing.append(f"{TITLES[name]} is left out: expected {folder}; give --elsewhere its folder.")
    return found, missing


def _digest(folder: Path) -> str:
    from uplift.evaluation.store import files_digest

    # Linked folders belong to the data; what file managers leave in them does not.
    found = (Path(parent) / name for parent, _, names in os.walk(folder, followlinks=True) for name in names)
    files = sorted(path for path in found if not path.name.startswith(".") and path.is_file())
    names = "\n".join(path.relative_to(folder).as_posix() for path in files)
    return hashlib.sha256(f"{names}\n{files_digest(files)}".encode()).hexdigest()
