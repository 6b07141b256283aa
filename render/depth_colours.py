"""Depth as colours: near is warm, far is cold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

DEPTH_QUANTILES = (0.01, 0.99)


def depth_range(depths: Sequence[Float[np.ndarray, "h w"]]) -> tuple[float, float]:
    """Nearest and farthest depth worth a colour, over several pictures; outliers are left out."""
    seen = np.concatenate([depth[depth > 0] for depth in depths])
    if not len(seen):
        return 1.0, 2.0  # any will do: nothing has a colour
    near, far = np.quantile(seen, DEPTH_QUANTILES)
    return float(near), float(max(far, near + 1e-6))


def colour_depth(depth: Float[np.ndarray, "h w"], limits: tuple[float, float]) -> UInt8[np.ndarray, "h w 3"]:
    """Depth as colours: near is warm, far is cold, nothing is black."""
    import cv2

    near, far = limits
    # Inverse depth spends the colours where the eye can tell depths apart.
    inverse = (1 / np.maximum(depth, 1e-9) - 1 / far) / (1 / near - 1 / far)
    levels = (np.clip(inverse, 0, 1) * 215 + 20).astype(np.uint8)
    coloured = cv2.applyColorMap(levels, cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where((depth > 0)[..., None], coloured, 0).astype(np.uint8)
