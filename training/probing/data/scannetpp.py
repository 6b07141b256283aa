"""ScanNet++ (Yeshwanth et al. 2023): photos of a good camera, with depth and classes rendered from the scan."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from render.errors import InputError
from render.views import photo_size, read_photo
from training.probing.data.files import (
    MILLIMETRES,
    VALUES,
    photos_in,
    plain_table,
    read_classes,
    read_depth,
    read_lines,
)
from training.probing.photos import VOID, ProbeData, ProbePhoto

LISTS = ("nvs_sem_train.txt", "nvs_sem_val.txt")
PHOTOS = ("resized_undistorted_images", "undistorted_images")
DEPTHS, LABELS = "undistorted_render_depth", "undistorted_semantics_2d"
FISHEYE = ("render_depth", "semantics_2d")  # what the toolkit renders, with the distortion of the lens
NAMES = "metadata/semantic_benchmark/top100.txt"
SIDE = 480  # pixels, the shorter one
NOTHING = VALUES - 1  # where the toolkit's maps of classes show none


def recognised(path: Path) -> bool:
    """Whether a folder has that layout."""
    return (path / "splits" / LISTS[0]).is_file()


def read_scannetpp(path: Path) -> ProbeData:
    """Depth, and the hundred classes of the benchmark; groups are scenes.

    Layout: ``data/SCENE/dslr/resized_undistorted_images/NAME.JPG`` (or ``undistorted_images``),
    ``splits/nvs_sem_train.txt`` and ``nvs_sem_val.txt`` with a scene in each line, and
    ``metadata/semantic_benchmark/top100.txt`` with the names of the classes.  The data set has meshes; what pixels
    show is rendered from them: ``data/SCENE/dslr/undistorted_render_depth/NAME.png`` (16 bits, millimetres, 0 = not
    known) and ``data/SCENE/dslr/undistorted_semantics_2d/NAME.png`` (value = line in ``top100.txt`` from 0; 255 and
    65535 do not count), as large as the photos.

    These maps are those of the camera without distortion, as the photos are: rendered with the pinhole camera of
    ``dslr/nerfstudio/transforms_undistorted.json``.  The toolkit's ``common.render`` renders with the fisheye camera;
    its maps have to be undistorted first, by ``cv2.fisheye.initUndistortRectifyMap`` from the intrinsics and k1 to k4
    of ``transforms.json`` to the intrinsics of ``transforms_undistorted.json``, and ``cv2.remap`` with INTER_NEAREST
    (the toolkit's ``dslr.undistort`` would mix the values of neighbours).

    Raises:
        InputError: a file is missing, none of a list's scenes is there, or a scene has maps of the fisheye alone.  On
            reading, that a map is not as large as its photo.
    """
    classes = tuple(read_lines(path / NAMES)) if (path / NAMES).is_file() else ()
    table = plain_table()
    table[NOTHING] = VOID

    def photo(scene: str, dslr: Path, file: Path) -> ProbePhoto:
        label, depth = (dslr / kind / f"{file.stem}.png" for kind in (LABELS, DEPTHS))
        classed, metric = partial(read_classes, label, table), partial(read_depth, depth, MILLIMETRES)
        return ProbePhoto(
            file.stem,
            scene,
            partial(read_photo, file),
            classes=partial(_of_photo, classed, label, file) if classes and label.is_file() else None,
            depth=partial(_of_photo, metric, depth, file) if depth.is_file() else None,
        )

    def photos(names: str) -> list[ProbePhoto]:
        found = []
        for scene in read_lines(path / "splits" / names):
            dslr = path / "data" / scene / "dslr"
            folder = next((dslr / name for name in PHOTOS if (dslr / name).is_dir()), None)
            if folder is not None:
                _refuse_fisheye(dslr)
                found += [photo(scene, dslr, file) for file in photos_in(folder)]
        if not found:
            raise InputError(f"Expected photos data/SCENE/dslr/{PHOTOS[0]} of the scenes in {names}, found none.")
        return found

    train, test = (photos(names) for names in LISTS)
    return ProbeData("ScanNet++", train, test, classes=classes, side=SIDE)


def _refuse_fisheye(dslr: Path) -> None:
    there = [name for name in FISHEYE if (dslr / name).is_dir()]
    if there and not any((dslr / name).is_dir() for name in (DEPTHS, LABELS)):
        raise InputError(
            f"Expected maps of the undistorted camera in {dslr / DEPTHS} or {LABELS}, found only {' and '.join(there)} "
            "of the fisheye, which do not lie on the undistorted photos; undistort them into those folders."
        )


def _of_photo(read: Callable[[], np.ndarray], file: Path, photo: Path) -> np.ndarray:
    """A map that is as large as its photo."""
    values = read()
    width, height = photo_size(photo)
    if values.shape != (height, width):
        raise InputError(
            f"Expected {file} to be as large as its photo, {width} x {height} pixels, found {values.shape[1]} x "
            f"{values.shape[0]}; make it with the camera of the undistorted photos."
        )
    return values
