"""Files that several data sets have in common: label pictures, depth pictures, lists of names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from render.errors import InputError
from training.probing.photos import VOID

if TYPE_CHECKING:
    from jaxtyping import Float32, Int16, Shaped, UInt8

PHOTOS = (".jpg", ".jpeg", ".png")
VALUES = 1 << 16  # of a 16-bit picture
REFUSED = -1  # in tables: a label that means nothing
MILLIMETRES = 0.001  # what a value of 1 means in most depth pictures, in metres


def read_values(path: Path) -> Shaped[np.ndarray, "h w"]:
    """The values of a picture with one channel, 8 or 16 bits; of one with a palette the indices.

    Raises:
        InputError: no such file, damaged, or with several channels.
    """
    from PIL import Image

    try:
        with Image.open(path) as opened:
            values = np.array(opened)
    except FileNotFoundError as error:
        raise InputError(f"The map {path} is missing.") from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as an image: {error}.") from error
    if values.ndim != 2 or values.dtype.kind not in "iu":
        raise InputError(f"Expected a picture with one channel of 8 or 16 bits at {path}, found {list(values.shape)}.")
    return values


def read_classes(path: Path, table: Int16[np.ndarray, " v"]) -> UInt8[np.ndarray, "h w"]:
    """The class of every pixel.

    Args:
        path: A picture of labels.
        table: The class of every label that a file may hold, 255 = does not count, REFUSED = no label of this kind of
            data; :func:`table_of` makes one.

    Raises:
        InputError: see :func:`read_values`; or a label is refused.
    """
    values = read_values(path)
    if values.size and not 0 <= int(values.min()) <= int(values.max()) < VALUES:
        raise InputError(f"Expected labels from 0 to {VALUES - 1} at {path}, found {values.min()} to {values.max()}.")
    classes = table[values]
    if (classes == REFUSED).any():
        raise InputError(
            f"Expected classes below {VOID}, or {VOID} where nothing counts, at {path}, found "
            f"{values[classes == REFUSED].max()}; give the map of classes, not of instances."
        )
    return classes.astype(np.uint8)


def table_of(classes: Mapping[int, int]) -> Int16[np.ndarray, " v"]:
    """From the labels in files to classes; labels that are not named do not count."""
    table = np.full(VALUES, VOID, np.int16)
    for label, index in classes.items():
        table[label] = index
    return table


def plain_table() -> Int16[np.ndarray, " v"]:
    """Labels are classes; 255 does not count, classes that have no name are left for the probe to refuse."""
    table = np.full(VALUES, REFUSED, np.int16)
    table[: VOID + 1] = np.arange(VOID + 1)
    return table


def read_depth(path: Path, metres: float) -> Float32[np.ndarray, "h w"]:
    """Depth in metres, 0 = not known.

    Args:
        path: A 16-bit picture.
        metres: What a value of 1 means.

    Raises:
        InputError: see :func:`read_values`; or it has 8 bits, in which depth is a grey without a unit.
    """
    values = read_values(path)
    if values.dtype.itemsize == 1:
        raise InputError(f"Expected depth of 16 bits at {path}, found 8; write it again in whole millimetres, say.")
    return values.astype(np.float32) * np.float32(metres)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that hold something.

    Raises:
        InputError: no such file, or it is no text.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise InputError(f"Expected a list of names at {path}, found none.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
    return [line.strip() for line in lines if line.strip()]


def photos_in(folder: Path) -> list[Path]:
    """The photos in a folder, by name.

    Raises:
        InputError: no such folder, or there are none.
    """
    found = sorted(f for f in folder.glob("*") if f.suffix.lower() in PHOTOS and f.is_file())
    if not found:
        raise InputError(f"Expected photos ({', '.join(PHOTOS)}) in {folder}, found none.")
    return found


def with_suffix(path: Path, suffixes: Sequence[str] = PHOTOS) -> Path | None:
    """The file of that name with one of the suffixes, in either case; None if there is none."""
    for suffix in suffixes:
        for candidate in (suffix, suffix.upper()):
            file = path.with_name(path.name + candidate)
            if file.is_file():
                return file
    return None


def require(paths: Iterable[Path], what: str) -> None:
    """Raise InputError unless every folder or file of a layout is there."""
    for path in paths:
        if not path.exists():
            raise InputError(f"{what} has {path.name} at {path}, found none.")
