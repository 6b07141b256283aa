"""What the pixels of a photo say of its patches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from render.errors import InputError
from training.probing.photos import VOID

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Int, UInt8

HALF = 0.5  # of a patch must have classes that count for it to be learned from
# Of a patch must have depth: a laser sees about a sixth of the pixels (KITTI), and less of what is far.  DINOv2 learns
# from each known pixel; a twentieth are 4 pixels of 8 x 8, whose mean is surer.
FEW = 0.05
FULL = 255  # a share of one, in bytes


def class_shares(
    classes: UInt8[np.ndarray, "h w"], count: int, grid: tuple[int, int]
) -> tuple[UInt8[np.ndarray, "m k"], Bool[np.ndarray, " m"]]:
    """The share of each class among the pixels of every patch that count.

    Args:
        classes: Of every pixel, 255 = does not count.
        count: How many classes there are.
        grid: Rows and columns of patches.

    Returns:
        Shares in bytes, 255 = all of it; and whether at least half of the patch counts.

    Raises:
        InputError: a class is out of range.
    """
    known = classes != VOID
    if known.any() and int(classes[known].max()) >= count:
        raise InputError(f"Expected classes below {count} in a class map, found {int(classes[known].max())}.")
    labels = np.where(known, classes, count).astype(np.int64)
    cells = patch_of_pixels(classes.shape, grid) * (count + 1) + labels
    counts = np.bincount(cells.ravel(), minlength=grid[0] * grid[1] * (count + 1)).reshape(-1, count + 1)
    sums = counts[:, :count].sum(1, keepdims=True)
    shares = np.rint(FULL * counts[:, :count] / np.maximum(sums, 1)).astype(np.uint8)
    return shares, sums[:, 0] >= HALF * np.maximum(counts.sum(1), 1)


def mean_depth(
    depth: Float32[np.ndarray, "h w"], grid: tuple[int, int]
) -> tuple[Float32[np.ndarray, " m"], Bool[np.ndarray, " m"]]:
    """The mean depth of every patch in metres over the pixels where it is known, and whether so are a few of them."""
    patch = patch_of_pixels(depth.shape, grid).ravel()
    count = grid[0] * grid[1]
    seen = depth.ravel() > 0
    known = np.bincount(patch, seen, count)
    means = np.bincount(patch, np.where(seen, depth.ravel(), 0), count) / np.maximum(known, 1)
    return means.astype(np.float32), known >= FEW * np.maximum(np.bincount(patch, minlength=count), 1)


def patch_of_pixels(size: tuple[int, ...], grid: tuple[int, int]) -> Int[np.ndarray, "h w"]:
    """The patch that every pixel lies in, row by row."""
    rows, columns = (np.arange(length) * nodes // length for length, nodes in zip(size, grid, strict=True))
    return rows[:, None] * grid[1] + columns[None]
