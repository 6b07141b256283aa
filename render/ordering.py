"""Orders of points in which neighbours in space are neighbours in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from render.rasterizer import _tiles
from render.rasterizer._frame import array
from render.rasterizer.threads import for_ranges

if TYPE_CHECKING:
    from jaxtyping import Float


SAMPLES = 10_000  # points that show where most of them are


def spatial_order(means: Float[Tensor, "n 3"]) -> NDArray[np.int64]:
    """Indices along a Morton curve: neighbours in the order are neighbours in space.

    The outermost points share the cells at the border, or a few far away would leave one cell to all others.
    """
    points = array(means)
    n = len(points)
    if n == 0:
        return np.empty(0, np.int64)
    low, high = np.quantile(points[:: max(1, n // SAMPLES)], (0.01, 0.99), axis=0).astype(np.float32)
    points = np.clip(points, low, high)
    codes, order = np.empty(n, np.uint32), np.empty(n, np.int64)
    for_ranges(_tiles.morton_codes, n, points, low, 1023 / np.maximum(high - low, np.float32(1e-12)), codes)
    _tiles.radix_order(0, n, codes, np.arange(n), order)
    return order
