"""ScanNet++ (Yeshwanth et al. 2023): photos of a good camera, with depth and classes rendered from the scan."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from render.errors import InputError
from render.views import read_photo
from training.probing.data.files import photos_in, plain_table, read_classes, read_depth, read_lines
from training.probing.photos import ProbeData, ProbePhoto

LISTS = ("nvs_sem_train.txt", "nvs_sem_val.txt")
PHOTOS = ("resized_undistorted_images", "undistorted_images")
DEPTHS, LABELS = "render_depth", "semantics_2d"
NAMES = "metadata/semantic_benchmark/top100.txt"
MILLIMETRES = 0.001
SIDE = 480  # pixels, the shorter one


def recognised(path: Path) -> bool:
    """Whether a folder has that layout."""
    return (path / "splits" / LISTS[0]).is_file()


def read_scannetpp(path: Path) -> ProbeData:
    """Depth, and the hundred classes of the benchmark; groups are scenes.

    Layout: ``data/SCENE/dslr/resized_undistorted_images/NAME.JPG`` (or ``undistorted_images``),
    ``splits/nvs_sem_train.txt`` and ``nvs_sem_val.txt`` with a scene in each line, and
    ``metadata/semantic_benchmark/top100.txt`` with the names of the classes.  The data set has meshes; what pixels
    show is rendered from them with the same cameras: ``data/SCENE/dslr/render_depth/NAME.png`` (16 bits, millimetres,
    as the toolkit's ``common.render`` writes it) and ``data/SCENE/dslr/semantics_2d/NAME.png`` (value = line in
    ``top100.txt`` from 0, 255 = does not count).

    Raises:
        InputError: a file is missing, or none of a list's scenes is there.
    """
    classes = tuple(read_lines(path / NAMES)) if (path / NAMES).is_file() else ()
    table = plain_table(len(classes))

    def photo(scene: str, dslr: Path, file: Path) -> ProbePhoto:
        label, depth = (dslr / kind / f"{file.stem}.png" for kind in (LABELS, DEPTHS))
        return ProbePhoto(
            file.stem,
            scene,
            partial(read_photo, file),
            classes=partial(read_classes, label, table) if classes and label.is_file() else None,
            depth=partial(read_depth, depth, MILLIMETRES) if depth.is_file() else None,
        )

    def photos(names: str) -> list[ProbePhoto]:
        found = []
        for scene in read_lines(path / "splits" / names):
            dslr = path / "data" / scene / "dslr"
            folder = next((dslr / name for name in PHOTOS if (dslr / name).is_dir()), None)
            found += [photo(scene, dslr, file) for file in photos_in(folder)] if folder else []
        if not found:
            raise InputError(f"Expected photos data/SCENE/dslr/{PHOTOS[0]} of the scenes in {names}, found none.")
        return found

    train, test = (photos(names) for names in LISTS)
    return ProbeData("ScanNet++", train, test, classes=classes, side=SIDE)
