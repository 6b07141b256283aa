"""CamVid (Brostow et al. 2009) in the split of SegNet: street photos with eleven classes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from render.views import read_photo
from training.probing.data.files import photos_in, read_classes, read_lines, require, table_of
from training.probing.photos import ProbeData, ProbePhoto

FOLDERS = ("train", "train_labels", "test", "test_labels")
VOID_NAMES = ("unlabelled", "unlabeled", "void")


def recognised(path: Path) -> bool:
    """Whether a folder has that layout."""
    return (path / "classes.txt").is_file() and all((path / name).is_dir() for name in FOLDERS)


def read_camvid(path: Path) -> ProbeData:
    """Classes of street photos; every photo is a group.

    Layout: ``train/NAME.jpg``, ``train_labels/NAME.png`` (value = class), the same for ``test``, and ``classes.txt``
    with lines ``INDEX NAME R G B``; the class Unlabelled does not count.

    Raises:
        InputError: a file is missing or damaged.
    """
    require([path / name for name in (*FOLDERS, "classes.txt")], "CamVid")
    listed = [line.split()[:2] for line in read_lines(path / "classes.txt")]
    kept = [(int(index), name) for index, name in listed if name.lower() not in VOID_NAMES]
    table = table_of({label: index for index, (label, _) in enumerate(kept)})
    train, test = (
        [
            ProbePhoto(
                photo.stem,
                photo.stem,
                partial(read_photo, photo),
                classes=partial(read_classes, path / f"{split}_labels" / f"{photo.stem}.png", table),
            )
            for photo in photos_in(path / split)
        ]
        for split in ("train", "test")
    )
    return ProbeData("CamVid", train, test, classes=tuple(name for _, name in kept))
