"""NYU Depth v2 (Silberman et al. 2012): indoor photos with depth and classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from render.errors import InputError
from render.views import read_photo
from training.probing.data.files import MILLIMETRES, read_depth, read_lines
from training.probing.data.nyu40 import NYU40
from training.probing.photos import VOID, ProbeData, ProbePhoto

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8

LABELED, SPLITS, LABELS40 = "nyu_depth_v2_labeled.mat", "splits.mat", "labels40.mat"
LISTS = ("nyu_train.txt", "nyu_test.txt")
FARTHEST = 10.0  # metres
# Rows and columns of the 480 x 640 photos that are measured (Eigen et al. 2014).
CROP = (slice(45, 471), slice(41, 601))
SIZE = (480, 640)


def recognised(path: Path) -> bool:
    """Whether a folder has one of the layouts."""
    return (path / LABELED).is_file() or (path / LISTS[0]).is_file()


def read_nyu(path: Path) -> ProbeData:
    """Depth up to 10 m, measured in the crop of Eigen et al.; and classes, where the labelled pairs are there.

    Two layouts.  The labelled pairs as published: ``nyu_depth_v2_labeled.mat`` (images, depths, scenes), ``splits.mat``
    (trainNdxs, testNdxs, from 1), and for classes ``labels40.mat`` (Gupta et al. 2013; labels40 ``[480, 640, 1449]``, 0
    = does not count).  Or, for depth, that of the Monocular-Depth-Estimation-Toolbox that DINOv2 was evaluated with:
    ``nyu_train.txt`` and ``nyu_test.txt`` with lines ``PHOTO DEPTH FOCAL`` of files below the folder, depths 16-bit PNG
    in millimetres.  Groups are scenes.

    Raises:
        InputError: a file is missing or damaged, or h5py is not installed.
    """
    if (path / LABELED).is_file():
        return _labelled(path)
    train, test = (_listed(path, name, crop=name == LISTS[1]) for name in LISTS)
    return ProbeData("NYUv2", train, test, farthest=FARTHEST)


def within_reach(read: Callable[[], np.ndarray], *, crop: bool) -> Float32[np.ndarray, "h w"]:
    """Depth up to 10 m, 0 beyond; and outside the crop, if there is to be one.

    Raises:
        InputError: the crop is not defined for maps of this size.
    """
    depth = read()
    if crop and depth.shape != SIZE:
        raise InputError(
            f"NYUv2 is measured in a part of maps of {SIZE[1]} x {SIZE[0]} pixels, found {depth.shape[1]} x "
            f"{depth.shape[0]}; give the maps as they were published."
        )
    kept = np.zeros_like(depth)
    window = CROP if crop else (slice(None), slice(None))
    kept[window] = depth[window]
    kept[kept > FARTHEST] = 0
    return kept


def _listed(path: Path, name: str, *, crop: bool) -> list[ProbePhoto]:
    found = []
    for line in read_lines(path / name):
        parts = line.split()
        if len(parts) < 2:
            raise InputError(f"Expected lines PHOTO DEPTH FOCAL in {path / name}, found {line!r}.")
        photo, depth = (path / part.lstrip("/") for part in parts[:2])
        read = partial(within_reach, partial(read_depth, depth, MILLIMETRES), crop=crop)
        group = photo.parent.name
        found.append(ProbePhoto(f"{group}/{photo.stem}", group, partial(read_photo, photo), depth=read))
    return found


def _labelled(path: Path) -> ProbeData:
    """MATLAB wrote the file by columns: in HDF5 the axes are those of MATLAB in reverse."""
    archive = _Archive(path / LABELED)
    splits = _matlab(path / SPLITS, ("trainNdxs", "testNdxs"))
    labels = _matlab(path / LABELS40, ("labels40",))["labels40"] if (path / LABELS40).is_file() else None

    def photos(key: str, *, crop: bool) -> list[ProbePhoto]:
        return [
            ProbePhoto(
                f"{index + 1:04d}",
                archive.scene(index),
                partial(archive.image, index),
                depth=partial(within_reach, partial(archive.depth, index), crop=crop),
                classes=None if labels is None else partial(_classes, labels, index),
            )
            for index in (splits[key].ravel().astype(int) - 1).tolist()
        ]

    train, test = photos("trainNdxs", crop=False), photos("testNdxs", crop=True)
    return ProbeData("NYUv2", train, test, classes=NYU40 if labels is not None else (), farthest=FARTHEST)


class _Archive:
    """The labelled pairs, read one at a time."""

    def __init__(self, file: Path) -> None:
        try:
            import h5py
        except ImportError as error:
            raise InputError(f"{file} is an HDF5 file; install h5py to read it.") from error
        try:
            self._file = h5py.File(file, "r")
            self._images, self._depths = self._file["images"], self._file["depths"]
            scenes = self._file["scenes"][0] if "scenes" in self._file else []
            self._scenes = ["".join(map(chr, np.ravel(self._file[scene]))) for scene in scenes]
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise InputError(f"{file} is damaged ({type(error).__name__}: {error}).") from error

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        return np.ascontiguousarray(self._images[index].transpose(2, 1, 0))

    def depth(self, index: int) -> Float32[np.ndarray, "h w"]:
        return np.ascontiguousarray(self._depths[index].T.astype(np.float32))

    def scene(self, index: int) -> str:
        return self._scenes[index] if index < len(self._scenes) else f"{index + 1:04d}"


def _classes(labels: np.ndarray, index: int) -> UInt8[np.ndarray, "h w"]:
    values = labels[..., index].astype(np.int64)
    return np.where(values > 0, values - 1, VOID).astype(np.uint8)


def _matlab(file: Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(file)
        return {key: np.asarray(content[key]) for key in keys}
    except (OSError, KeyError, ValueError, NotImplementedError, MatReadError) as error:
        raise InputError(f"Expected {', '.join(keys)} in {file} ({type(error).__name__}: {error}).") from error
