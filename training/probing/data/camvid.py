"""CamVid (Brostow et al. 2009) in the split of SegNet: street photos with eleven classes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np

from render.errors import InputError
from render.views import read_photo
from training.probing.data.files import VALUES, photos_in, read_classes, read_lines, require, table_of
from training.probing.photos import ProbeData, ProbePhoto

FOLDERS = ("train", "train_labels", "test", "test_labels")
GROUPS = 12  # of consecutive frames, about, in each split
VOID_NAMES = ("unlabelled", "unlabeled", "void")


def recognised(path: Path) -> bool:
    """Whether a folder has that layout."""
    return (path / "classes.txt").is_file() and all((path / name).is_dir() for name in FOLDERS)


def read_camvid(path: Path) -> ProbeData:
    """Classes of street photos; groups are stretches of a drive.

    Layout: ``train/DRIVE_FRAME.jpg``, ``train_labels/DRIVE_FRAME.png`` (value = class), the same for ``test``, and
    ``classes.txt`` with lines ``INDEX NAME R G B``; the class Unlabelled does not count.

    Frames of a drive follow each other by seconds, and neighbours show the same street: taken for independent they
    would make intervals too narrow.  The photos of a split are therefore cut into about twelve stretches of consecutive
    frames, each named after its first: longer ones would resemble each other less, but of few groups a bootstrap
    says little (of thirteen its 95 % interval covers about 91 %).

    Raises:
        InputError: a file is missing or damaged.
    """
    require([path / name for name in (*FOLDERS, "classes.txt")], "CamVid")
    kept = [(index, name) for index, name in _listed(path / "classes.txt") if name.lower() not in VOID_NAMES]
    table = table_of({label: index for index, (label, _) in enumerate(kept)})

    def photos(split: str) -> list[ProbePhoto]:
        files = photos_in(path / split)
        return [
            ProbePhoto(
                file.stem,
                group,
                partial(read_photo, file),
                classes=partial(read_classes, path / f"{split}_labels" / f"{file.stem}.png", table),
            )
            for file, group in zip(files, _stretches([file.stem for file in files]), strict=True)
        ]

    return ProbeData("CamVid", photos("train"), photos("test"), classes=tuple(name for _, name in kept))


def _listed(file: Path) -> list[tuple[int, str]]:
    found = []
    for line in read_lines(file):
        index, *rest = line.split()
        if not (index.isdecimal() and int(index) < VALUES and rest):
            raise InputError(f"Expected lines INDEX NAME R G B in {file}, found {line!r}.")
        found.append((int(index), rest[0]))
    return found


def _stretches(names: Sequence[str]) -> list[str]:
    """The first frame of the stretch that each frame belongs to; names in order, those of a drive cut evenly."""
    longest = max(1, round(len(names) / GROUPS))
    found = []
    for _, frames in groupby(names, lambda name: name.rpartition("_")[0]):
        drive = list(frames)
        for part in np.array_split(drive, -(-len(drive) // longest)):
            found += [str(part[0])] * len(part)
    return found
