"""Pictures in rows, as trainings draw them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import UInt8

GAP = 4  # pixels between pictures
HEIGHT = 240  # pixels, of a photo in a row
TITLE = 16  # pixels, of letters


def sheet(
    rows: Sequence[Sequence[UInt8[np.ndarray, "h w 3"]]], titles: Sequence[str] = ()
) -> UInt8[np.ndarray, "H W 3"]:
    """Pictures in rows, those of a row as large as its first; titles stand over the first row's."""
    lines = []
    if titles:
        height, width = rows[0][0].shape[:2]
        lines.append(np.concatenate([_title(title, round(width * HEIGHT / height) + GAP) for title in titles], 1))
    for row in rows:
        height, width = row[0].shape[:2]
        size = (round(width * HEIGHT / height), HEIGHT)
        lines.append(np.concatenate([_framed(picture, size) for picture in row], 1))
    widest = max(line.shape[1] for line in lines)
    padded = [np.pad(line, ((0, 0), (0, widest - line.shape[1]), (0, 0)), constant_values=255) for line in lines]
    return np.concatenate(padded)


def _title(text: str, width: int) -> UInt8[np.ndarray, "H W 3"]:
    from PIL import Image, ImageDraw, ImageFont

    strip = Image.new("RGB", (width, TITLE + 2 * GAP), "white")
    ImageDraw.Draw(strip).text((width / 2, GAP), text, fill="black", font=ImageFont.load_default(TITLE), anchor="mt")
    return np.asarray(strip)


def _framed(picture: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    from PIL import Image

    coarse = picture.shape[0] < size[1] // 2
    resampling = Image.Resampling.NEAREST if coarse else Image.Resampling.BILINEAR
    resized = np.asarray(Image.fromarray(picture).resize(size, resampling))
    return np.pad(resized, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)
