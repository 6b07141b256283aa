"""The photos that are measured: those of the rooms, and photographs of other places."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from render.errors import InputError
from training.layouts import Kind
from training.probing.photos import ProbeData, Task
from training.reproduction.fit3d.places import Places

ROOMS = "rooms"
ELSEWHERE: dict[str, tuple[Task, ...]] = {"camvid": ("segmentation",), "rgbd_kitchen": ("depth",)}
LAYOUTS: dict[str, Kind] = {"camvid": "camvid", "rgbd_kitchen": "rgbd"}


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

        return open_data(self.folder, LAYOUTS[self.name])


def elsewhere(root: Path) -> tuple[list[Measured], list[str]]:
    """Data that are not rooms, and a sentence for each that is not there.

    Args:
        root: Folder that holds ``data/camvid`` and ``data/rgbd_kitchen``.

    Raises:
        InputError: neither is there, or files of one are missing or cannot be read.
    """
    from training.probing.data import open_data

    folders = {name: root / "data" / name for name in ELSEWHERE}
    there = {name: folder.resolve() for name, folder in folders.items() if folder.is_dir()}
    if not there:
        raise InputError(f"Expected a folder that holds data/{' or data/'.join(ELSEWHERE)}, found neither in {root}.")
    for name, folder in there.items():
        for task in ELSEWHERE[name]:
            open_data(folder, LAYOUTS[name]).for_task(task)
    missing = [f"{name} is left out: expected {folders[name]}." for name in ELSEWHERE if name not in there]
    return [Measured(name, folder, folder_digest(folder)) for name, folder in there.items()], missing


def folder_digest(folder: Path) -> str:
    """Hash of the names and the bytes of all files in a folder, those in linked ones too."""
    from uplift.evaluation.store import files_digest

    # Linked folders belong to the data; what file managers leave in them does not.
    found = (Path(parent) / name for parent, _, names in os.walk(folder, followlinks=True) for name in names)
    files = sorted(path for path in found if not path.name.startswith(".") and path.is_file())
    names = "\n".join(path.relative_to(folder).as_posix() for path in files)
    return hashlib.sha256(f"{names}\n{files_digest(files)}".encode()).hexdigest()
