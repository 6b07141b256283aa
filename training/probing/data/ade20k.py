"""ADE20K as SceneParse150 (Zhou et al. 2017): 150 classes of all kinds of photos."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from render.views import read_photo
from training.probing.data.files import photos_in, read_classes, read_lines, require, table_of
from training.probing.photos import ProbeData, ProbePhoto

INNER = "ADEChallengeData2016"
COUNT = 150
SIDE = 512  # pixels, the shorter one, of every photo, as mmsegmentation resizes them
NAMES = "objectInfo150.txt"


def recognised(path: Path) -> bool:
    """Whether a folder has that layout."""
    root = _root(path)
    return (root / "annotations" / "training").is_dir() and (root / "images" / "training").is_dir()


def read_ade20k(path: Path) -> ProbeData:
    """Classes of photos; every photo is a group.

    Layout of ``ADEChallengeData2016.zip``: ``images/training/NAME.jpg``, ``annotations/training/NAME.png`` (0 = other,
    does not count, 1 to 150 = classes), the same for ``validation``, and ``objectInfo150.txt`` (a table of which the
    last column holds the names).

    Raises:
        InputError: a file is missing or damaged.
    """
    root = _root(path)
    splits = ("training", "validation")
    require([root / kind / split for kind in ("images", "annotations") for split in splits], "ADE20K")
    table = table_of({label: label - 1 for label in range(1, COUNT + 1)})

    def photo(file: Path, split: str) -> ProbePhoto:
        label = root / "annotations" / split / f"{file.stem}.png"
        return ProbePhoto(file.stem, file.stem, partial(read_photo, file), classes=partial(read_classes, label, table))

    train, test = ([photo(file, split) for file in photos_in(root / "images" / split)] for split in splits)
    return ProbeData("ADE20K", train, test, classes=_names(root), side=SIDE, enlarge=True)


def _names(root: Path) -> tuple[str, ...]:
    file = root / NAMES
    lines = read_lines(file)[1:] if file.is_file() else []
    named = {index + 1: line.split("\t")[-1].split(",")[0].strip() for index, line in enumerate(lines)}
    return tuple(named.get(label, f"class {label}") for label in range(1, COUNT + 1))


def _root(path: Path) -> Path:
    return path / INNER if (path / INNER).is_dir() else path
