"""Numba kernels of :mod:`training.ssim`.

Images stay interleaved: a row of ``w`` RGB pixels is a row of ``3 w`` floats whose horizontal
neighbours are three apart, so that one loop filters all channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

from render.rasterizer.threads import for_ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

BAND = 64  # rows of the index that one task owns: their filtered rows stay in the second-level cache
TAPS = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
TAPS = (TAPS / TAPS.sum()).astype(np.float32)
G0, G1, G2, G3, G4, G5 = (np.float32(t) for t in TAPS[:6])
C1, C2, TWO = np.float32(0.01**2), np.float32(0.03**2), np.float32(2.0)
OPTIONS = {"cache": True, "fastmath": {"contract", "reassoc", "nsz", "arcp"}, "nogil": True}


@numba.njit(inline="always", **OPTIONS)
def _along_row(row, out):  # type: ignore[no-untyped-def]  # compiled
    """Valid horizontal filter of one interleaved row."""
    for i in range(out.size):
        out[i] = (
            G0 * (row[i] + row[i + 30])
            + G1 * (row[i + 3] + row[i + 27])
            + G2 * (row[i + 6] + row[i + 24])
            + G3 * (row[i + 9] + row[i + 21])
            + G4 * (row[i + 12] + row[i + 18])
            + G5 * row[i + 15]
        )


@numba.njit(inline="always", **OPTIONS)
def _across_rows(rows, top, out):  # type: ignore[no-untyped-def]  # compiled
    """Vertical filter of the eleven rows that start at ``top``."""
    r0, r1, r2, r3 = rows[top], rows[top + 1], rows[top + 2], rows[top + 3]
    r4, r5, r6, r7 = rows[top + 4], rows[top + 5], rows[top + 6], rows[top + 7]
    r8, r9, r10 = rows[top + 8], rows[top + 9], rows[top + 10]
    for i in range(out.size):
        out[i] = (
            G0 * (r0[i] + r10[i])
            + G1 * (r1[i] + r9[i])
            + G2 * (r2[i] + r8[i])
            + G3 * (r3[i] + r7[i])
            + G4 * (r4[i] + r6[i])
            + G5 * r5[i]
        )


@numba.njit(inline="always", **OPTIONS)
def _index_row(mx, my, xx, yy, xy, d_mean, d_square, d_product):  # type: ignore[no-untyped-def]
    """Sum of the index over one row; its derivatives by the filtered x, x^2 and xy."""
    total = np.float32(0.0)
    for i in range(mx.size):
        a, b = mx[i], my[i]
        luminance = TWO * a * b + C1
        structure = TWO * (xy[i] - a * b) + C2
        norm_l = a * a + b * b + C1
        norm_s = xx[i] - a * a + yy[i] - b * b + C2
        inverse = np.float32(1.0) / (norm_l * norm_s)
        index = luminance * structure * inverse
        total += index
        by_product = TWO * luminance * inverse
        by_square = -index * norm_l * inverse
        d_product[i] = by_product
        d_square[i] = by_square
        d_mean[i] = (
            TWO * b * structure * inverse - TWO * a * index * norm_s * inverse - TWO * a * by_square - b * by_product
        )
    return total


@numba.njit(**OPTIONS)
def _index_band(first, last, x, y, maps, sums):  # type: ignore[no-untyped-def]  # compiled
    """Rows ``first`` to ``last`` of the index; derivatives go to ``maps`` at row + 10, column + 30."""
    width = x.shape[1] - 30
    rows = last - first + 10
    filtered = np.empty((5, rows, width), np.float32)
    product = np.empty(x.shape[1], np.float32)
    for r in range(rows):
        px, py = x[first + r], y[first + r]
        _along_row(px, filtered[0, r])
        _along_row(py, filtered[1, r])
        for i in range(product.size):
            product[i] = px[i] * px[i]
        _along_row(product, filtered[2, r])
        for i in range(product.size):
            product[i] = py[i] * py[i]
        _along_row(product, filtered[3, r])
        for i in range(product.size):
            product[i] = px[i] * py[i]
        _along_row(product, filtered[4, r])
    means = np.empty((5, width), np.float32)
    for r in range(last - first):
        for m in range(5):
            _across_rows(filtered[m], r, means[m])
        row = first + r + 10
        sums[first + r] = _index_row(
            means[0], means[1], means[2], means[3], means[4],
            maps[0, row, 30 : 30 + width], maps[1, row, 30 : 30 + width], maps[2, row, 30 : 30 + width],
        )  # fmt: skip


@numba.njit(**OPTIONS)
def _index_rows(start, stop, x, y, maps, sums):  # type: ignore[no-untyped-def]  # compiled
    for first in range(start, stop, BAND):
        _index_band(first, min(first + BAND, stop), x, y, maps, sums)


@numba.njit(**OPTIONS)
def _gradient_rows(start, stop, x, y, maps, scale, gradient):  # type: ignore[no-untyped-def]  # compiled
    """Adjoint of the filters on rows ``start`` to ``stop`` of the image."""
    padded = np.empty((3, maps.shape[2]), np.float32)
    spread = np.empty((3, x.shape[1]), np.float32)
    for r in range(start, stop):
        for m in range(3):
            _across_rows(maps[m], r, padded[m])
            _along_row(padded[m], spread[m])
        px, py, out = x[r], y[r], gradient[r]
        for i in range(out.size):
            out[i] = scale * (spread[0, i] + TWO * px[i] * spread[1, i] + py[i] * spread[2, i])


def ssim_with_gradient(
    x: NDArray[np.float32], y: NDArray[np.float32], with_gradient: bool
) -> tuple[float, NDArray[np.float32] | None]:
    """Mean index of two ``[h, w, 3]`` float32 images, and its gradient by ``x`` if wanted."""
    height, width = x.shape[0], 3 * x.shape[1]
    px, py = x.reshape(height, width), y.reshape(height, width)
    # Ten zero rows and pixels around the derivatives turn the adjoint into the same filter.
    maps = np.zeros((3, height + 10, width + 30), np.float32)
    sums = np.empty(height - 10, np.float32)
    for_ranges(_index_rows, height - 10, px, py, maps, sums, block=BAND)
    count = (height - 10) * (width - 30)
    value = float(sums.sum(dtype=np.float64)) / count
    if not with_gradient:
        return value, None
    gradient = np.empty_like(px)
    for_ranges(_gradient_rows, height, px, py, maps, np.float32(1.0 / count), gradient, block=BAND)
    return value, gradient.reshape(x.shape)
