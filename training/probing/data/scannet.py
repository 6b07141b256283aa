"""ScanNet (Dai et al. 2017), the frames that it exports for its 2D benchmark."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from render.errors import InputError
from render.views import read_photo
from training.probing.data.files import MILLIMETRES, photos_in, read_classes, read_depth, read_lines, table_of
from training.probing.data.nyu40 import NYU40, SCANNET20
from training.probing.photos import ProbeData, ProbePhoto

INNER = "scannet_frames_25k"
LISTS = ("scannetv2_train.txt", "scannetv2_val.txt")
SIDE = 480  # pixels, the shorter one


def recognised(path: Path) -> bool:
    """Whether a folder has that layout."""
    return all((path / name).is_file() for name in LISTS)


def read_scannet(path: Path) -> ProbeData:
    """Depth, and the twenty classes of the benchmark; groups are scenes.

    Layout of ``scannet_frames_25k``: ``SCENE/color/NAME.jpg``, ``SCENE/depth/NAME.png`` (16 bits, millimetres),
    ``SCENE/label/NAME.png`` (ids of NYU40; those outside the benchmark do not count), below the folder or below
    ``scannet_frames_25k`` in it; beside it ``scannetv2_train.txt`` and ``scannetv2_val.txt`` with a scene in each line.

    Raises:
        InputError: a file is missing, or none of a list's scenes is there.
    """
    root = path / INNER if (path / INNER).is_dir() else path
    table = table_of({label: index for index, label in enumerate(SCANNET20)})

    def photo(scene: Path, file: Path) -> ProbePhoto:
        label, depth = (scene / kind / f"{file.stem}.png" for kind in ("label", "depth"))
        return ProbePhoto(
            file.stem,
            scene.name,
            partial(read_photo, file),
            classes=partial(read_classes, label, table) if label.is_file() else None,
            depth=partial(read_depth, depth, MILLIMETRES) if depth.is_file() else None,
        )

    def photos(names: str) -> list[ProbePhoto]:
        scenes = [root / name for name in read_lines(path / names) if (root / name / "color").is_dir()]
        if not scenes:
            raise InputError(f"Expected scenes of {path / names} in {root}, found none.")
        return [photo(scene, file) for scene in scenes for file in photos_in(scene / "color")]

    train, test = (photos(names) for names in LISTS)
    return ProbeData("ScanNet", train, test, classes=tuple(NYU40[label - 1] for label in SCANNET20), side=SIDE)
