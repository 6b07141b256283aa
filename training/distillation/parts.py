"""Random parts of photos, which several distillations crop alike."""

from __future__ import annotations

import math

from numpy.random import Generator

RATIO = (3 / 4, 4 / 3)  # of a crop's width and height
TRIES = 10  # for a crop that lies inside the photo


def part_of(height: int, width: int, random: Generator, least: float) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random part of a photo, in pixels (Szegedy et al. 2015).

    Args:
        height: Of the photo.
        width: Of the photo.
        random: Decides.
        least: Share of the area that is shown at least.
    """
    for _ in range(TRIES):
        area = random.uniform(least, 1) * height * width
        ratio = math.exp(random.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(random.integers(height - h + 1)), int(random.integers(width - w + 1)), h, w
    ratio = min(max(width / height, RATIO[0]), RATIO[1])
    w, h = min(width, max(1, round(height * ratio))), min(height, max(1, round(width / ratio)))
    return (height - h) // 2, (width - w) // 2, h, w
