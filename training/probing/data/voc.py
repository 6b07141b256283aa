"""Pascal VOC 2012 (Everingham et al. 2012): twenty classes of things, and background."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from render.views import read_photo
from training.probing.data.files import read_classes, read_lines, require, table_of
from training.probing.photos import ProbeData, ProbePhoto

INNER = ("VOCdevkit/VOC2012", "VOC2012")
NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv monitor"),
)
AUGMENTED = ("trainaug.txt", "SegmentationClassAug")
SIDE = 512  # pixels, the shorter one, of every photo, as mmsegmentation resizes them


def recognised(path: Path) -> bool:
    """Whether a folder has that layout."""
    return (_root(path) / "ImageSets" / "Segmentation").is_dir()


def read_voc(path: Path) -> ProbeData:
    """Classes of photos; every photo is a group.

    Layout of ``VOCdevkit/VOC2012``: ``JPEGImages/NAME.jpg``, ``SegmentationClass/NAME.png`` (indices of a palette,
    255 = does not count), ``ImageSets/Segmentation/train.txt`` and ``val.txt``.  Where there are ``trainaug.txt`` and
    ``SegmentationClassAug`` (Hariharan et al. 2011), the photos of that list are learned from: by VOC's own masks where
    there are, by the others else, as mmsegmentation takes them; not every photo need have both.

    Raises:
        InputError: a file is missing or damaged.
    """
    root = _root(path)
    lists = root / "ImageSets" / "Segmentation"
    require([root / "JPEGImages", root / "SegmentationClass", lists / "val.txt"], "Pascal VOC")
    augmented = (lists / AUGMENTED[0]).is_file() and (root / AUGMENTED[1]).is_dir()
    table = table_of({label: label for label in range(len(NAMES))})

    def photo(name: str) -> ProbePhoto:
        label, other = (root / folder / f"{name}.png" for folder in ("SegmentationClass", AUGMENTED[1]))
        return ProbePhoto(
            name,
            name,
            partial(read_photo, root / "JPEGImages" / f"{name}.jpg"),
            classes=partial(read_classes, other if other.is_file() and not label.is_file() else label, table),
        )

    train, test = (
        [photo(name) for name in read_lines(lists / names)]
        for names in (AUGMENTED[0] if augmented else "train.txt", "val.txt")
    )
    return ProbeData("Pascal VOC", train, test, classes=NAMES, side=SIDE, enlarge=True)


def _root(path: Path) -> Path:
    return next((path / inner for inner in INNER if (path / inner).is_dir()), path)
