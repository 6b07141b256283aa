"""KITTI (Geiger et al. 2013) in the split of Eigen et al. (2014): streets, with the depth that a laser measured."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from render.errors import InputError
from render.views import read_photo
from training.probing.data.files import read_depth, read_lines
from training.probing.photos import ProbeData, ProbePhoto

if TYPE_CHECKING:
    from jaxtyping import Float32, Shaped, UInt8

LISTS = ("kitti_eigen_train.txt", "kitti_eigen_test.txt")
METRES = 1 / 256  # what a value of 1 means
FARTHEST = 80.0  # metres
HEIGHT, WIDTH = 352, 1216  # pixels of the crop of the benchmark, at the bottom in the middle
# Shares of the crop's rows and columns that are measured (Garg et al. 2016).
ROWS, COLUMNS = (0.40810811, 0.99189189), (0.03594771, 0.96405229)


def recognised(path: Path) -> bool:
    """Whether a folder has that layout."""
    return all((path / name).is_file() for name in LISTS)


def read_kitti(path: Path) -> ProbeData:
    """Depth up to 80 m in the benchmark's crop, measured in the part of it that Garg et al. chose; groups are drives.

    Layout of the Monocular-Depth-Estimation-Toolbox that DINOv2 was evaluated with: ``kitti_eigen_train.txt`` and
    ``kitti_eigen_test.txt`` with lines ``PHOTO DEPTH FOCAL``, photos below ``input`` (``2011_09_26/DRIVE/image_02/data/
    NAME.png``), depths below ``gt_depth`` (``DRIVE/proj_depth/groundtruth/image_02/NAME.png``, 16 bits, metres times
    256, 0 = not known).  Lines with None for the depth are left out.

    Raises:
        InputError: a list is missing or damaged.
    """
    train, test = (_photos(path, name, measured=name == LISTS[1]) for name in LISTS)
    return ProbeData("KITTI", train, test, farthest=FARTHEST)


def cropped(values: Shaped[np.ndarray, "h w *c"]) -> Shaped[np.ndarray, "H W *c"]:
    """The crop of the benchmark; of smaller pictures what there is of it."""
    top, left = max(0, values.shape[0] - HEIGHT), max(0, (values.shape[1] - WIDTH) // 2)
    return np.ascontiguousarray(values[top : top + HEIGHT, left : left + WIDTH])


def _photos(path: Path, name: str, *, measured: bool) -> list[ProbePhoto]:
    found = []
    for line in read_lines(path / name):
        parts = line.split()
        if len(parts) < 2:
            raise InputError(f"Expected lines PHOTO DEPTH FOCAL in {path / name}, found {line!r}.")
        if parts[1] == "None":
            continue
        photo, depth = path / "input" / parts[0], path / "gt_depth" / parts[1]
        drive = Path(parts[1]).parts[0]
        read = partial(_depth, depth, measured)
        found.append(ProbePhoto(f"{drive}/{photo.stem}", drive, partial(_image, photo), depth=read))
    return found


def _image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    return cropped(read_photo(path))


def _depth(path: Path, measured: bool) -> Float32[np.ndarray, "h w"]:
    depth = cropped(read_depth(path, METRES))
    if measured:
        window = tuple(
            slice(int(share[0] * n), int(share[1] * n)) for share, n in zip((ROWS, COLUMNS), depth.shape, strict=True)
        )
        kept = np.zeros_like(depth)
        kept[window] = depth[window]
        depth = kept
    depth[depth > FARTHEST] = 0
    return depth
