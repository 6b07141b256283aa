"""Somebody's own data: a folder of photos with label or depth pictures."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from render.errors import InputError
from render.views import read_photo
from training.probing.data.files import MILLIMETRES, photos_in, plain_table, read_classes, read_depth, read_lines
from training.probing.photos import ProbeData, ProbePhoto

SPLITS = ("train", "test")


def recognised(path: Path) -> bool:
    """Whether a folder has that layout."""
    return all((path / split / "images").is_dir() for split in SPLITS)


def read_folder(path: Path) -> ProbeData:
    """Classes or depth, or both; every photo is a group.

    Layout: ``SPLIT/images/NAME.jpg`` or ``.png`` for the splits train and test, ``SPLIT/labels/NAME.png`` (value =
    class, 255 = does not count) with ``classes.txt`` (a name in each line, the first that of class 0), and
    ``SPLIT/depths/NAME.png`` (16 bits, millimetres, 0 = not known).

    Raises:
        InputError: photos are missing, or labels have no ``classes.txt``.
    """
    labelled = any((path / split / "labels").is_dir() for split in SPLITS)
    if labelled and not (path / "classes.txt").is_file():
        raise InputError(f"Labels need names: expected {path / 'classes.txt'} with one in each line, found none.")
    classes = tuple(read_lines(path / "classes.txt")) if labelled else ()
    table = plain_table()

    def photo(file: Path, split: Path) -> ProbePhoto:
        label, depth = (split / kind / f"{file.stem}.png" for kind in ("labels", "depths"))
        return ProbePhoto(
            file.stem,
            file.stem,
            partial(read_photo, file),
            classes=partial(read_classes, label, table) if label.is_file() else None,
            depth=partial(read_depth, depth, MILLIMETRES) if depth.is_file() else None,
        )

    train, test = ([photo(file, path / split) for file in photos_in(path / split / "images")] for split in SPLITS)
    return ProbeData(path.resolve().name, train, test, classes=classes)
