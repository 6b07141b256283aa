"""Photos with one label each: arrays in npz files, or a folder for each class."""

from __future__ import annotations

import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from render.errors import InputError
from render.views import read_photo
from training.probing.data.files import photos_in
from training.probing.photos import ProbeData, ProbePhoto

if TYPE_CHECKING:
    from jaxtyping import UInt8

SIDE = 224  # pixels of the squares that folders of photos are cut to, those of ImageNet
TESTS = ("test", "val", "validation")


def arrays_recognised(path: Path) -> bool:
    """Whether a folder holds ``train.npz`` or ``test.npz``."""
    return (path / "train.npz").is_file() or (path / "test.npz").is_file()


def folders_recognised(path: Path) -> bool:
    """Whether a folder has classes in ``train`` and in one of ``test``, ``val``, ``validation``."""
    test = _test(path)
    return test is not None and any(child.is_dir() for child in (path / "train").glob("*"))


def read_arrays(path: Path) -> ProbeData:
    """Small photos, such as CIFAR-10's; every photo is a group.

    Layout: ``train.npz`` and ``test.npz`` with ``images`` ``[n, h, w, 3]`` uint8, ``labels`` ``[n]`` and ``classes``,
    the names.

    Raises:
        InputError: a file is missing or damaged.
    """
    (train, classes), (test, others) = (_read(path / f"{split}.npz") for split in ("train", "test"))
    if classes != others:
        raise InputError(
            f"Expected the same classes in the same order in {path / 'train.npz'} and test.npz, found "
            f"{', '.join(classes)} and {', '.join(others)}; write both with one list of classes."
        )
    return ProbeData(path.resolve().name, train, test, classes=classes)


def read_folders(path: Path) -> ProbeData:
    """Photos of any size, such as ImageNet's, cut to their middle square; every photo is a group.

    Layout: ``train/CLASS/NAME.jpg`` and the same in ``test``, ``val`` or ``validation``.

    Raises:
        InputError: there are no photos, or a class is in the test alone.
    """
    test = _test(path)
    if test is None:
        raise InputError(f"Expected {path}/train/CLASS and one of {', '.join(TESTS)} beside it, found none.")
    classes = sorted(child.name for child in (path / "train").iterdir() if child.is_dir())
    unknown = sorted({child.name for child in test.iterdir() if child.is_dir()} - set(classes))
    if unknown:
        raise InputError(f"{test} has the class {unknown[0]}, which {path / 'train'} has not.")

    def photos(folder: Path) -> list[ProbePhoto]:
        return [
            ProbePhoto(file.stem, f"{name}/{file.stem}", partial(read_photo, file), label=label)
            for label, name in enumerate(classes)
            if (folder / name).is_dir()
            for file in photos_in(folder / name)
        ]

    name = path.resolve().name
    return ProbeData(name, photos(path / "train"), photos(test), classes=tuple(classes), side=SIDE, square=True)


def _read(file: Path) -> tuple[list[ProbePhoto], tuple[str, ...]]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            images, labels, classes = archive["images"], archive["labels"], archive["classes"]
    except FileNotFoundError as error:
        raise InputError(f"Expected photos with labels at {file}, found none.") from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{file} is truncated or damaged ({error}); copy it again.") from error
    except (KeyError, ValueError) as error:
        raise InputError(f"Expected images, labels and classes in {file} ({type(error).__name__}: {error}).") from error
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or labels.shape != (len(images),):
        raise InputError(f"Expected images [n, h, w, 3] uint8 and labels [n] in {file}, found {list(images.shape)}.")
    if labels.dtype.kind not in "iu" or (labels.size and not 0 <= labels.min() <= labels.max() < len(classes)):
        found = f"{labels.min()} to {labels.max()}" if labels.dtype.kind in "iu" else f"values of type {labels.dtype}"
        raise InputError(f"Expected labels from 0 to {len(classes) - 1}, one for each class, in {file}, found {found}.")
    names = [f"{index:06d}" for index in range(len(images))]
    photos = [
        ProbePhoto(name, name, partial(_one, images, index), label=int(labels[index]))
        for index, name in enumerate(names)
    ]
    return photos, tuple(str(name) for name in classes)


def _one(images: np.ndarray, index: int) -> UInt8[np.ndarray, "h w 3"]:
    image: np.ndarray = images[index]
    return image


def _test(path: Path) -> Path | None:
    return next((path / name for name in TESTS if (path / name).is_dir()), None)
