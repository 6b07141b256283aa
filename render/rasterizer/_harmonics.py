"""Kernels that turn spherical harmonics into colours, and their gradients."""

from __future__ import annotations

import math

import numpy as np

from render.rasterizer._kinds import Floats, Ints
from render.rasterizer._simd import inlined, kernel
from render.spherical_harmonics import C0, C1, C2, C3

_ZERO = np.float32(0)
_ONE = np.float32(1)
_TWO = np.float32(2)
_HALF = np.float32(0.5)
_B0 = np.float32(C0)
_B1 = np.float32(C1)
_B2 = tuple(np.float32(c) for c in C2)
_B3 = tuple(np.float32(c) for c in C3)


@inlined
def _sh_basis(x: float, y: float, z: float, count: int, basis: Floats) -> None:
    """:func:`render.spherical_harmonics.sh_basis` for one direction."""
    basis[0] = _B0
    if count > 1:
        basis[1], basis[2], basis[3] = -_B1 * y, _B1 * z, -_B1 * x
    if count > 4:
        basis[4] = _B2[0] * x * y
        basis[5] = -_B2[0] * y * z
        basis[6] = _B2[1] * z * z - _B2[2]
        basis[7] = -_B2[0] * x * z
        basis[8] = _B2[3] * (x * x - y * y)
    if count > 9:
        basis[9] = -_B3[0] * y * (np.float32(3) * x * x - y * y)
        basis[10] = _B3[1] * x * y * z
        basis[11] = _B3[2] * y * (_ONE - np.float32(5) * z * z)
        basis[12] = _B3[3] * z * z * z - _B3[4] * z
        basis[13] = _B3[2] * x * (_ONE - np.float32(5) * z * z)
        basis[14] = _B3[5] * z * (x * x - y * y)
        basis[15] = -_B3[0] * x * (x * x - np.float32(3) * y * y)


@inlined
def _sh_basis_gradient(x: float, y: float, z: float, g: Floats, count: int) -> tuple[float, float, float]:
    """Gradient of ``g . basis`` with respect to the direction, taken as three free numbers."""
    gx, gy, gz = _ZERO, _ZERO, _ZERO
    three, five, six, ten = np.float32(3), np.float32(5), np.float32(6), np.float32(10)
    if count > 1:
        gx, gy, gz = -_B1 * g[3], -_B1 * g[1], _B1 * g[2]
    if count > 4:
        gx += _B2[0] * (y * g[4] - z * g[7]) + _TWO * _B2[3] * x * g[8]
        gy += _B2[0] * (x * g[4] - z * g[5]) - _TWO * _B2[3] * y * g[8]
        gz += _B2[0] * (-y * g[5] - x * g[7]) + _TWO * _B2[1] * z * g[6]
    if count > 9:
        gx += -_B3[0] * six * x * y * g[9] + _B3[1] * y * z * g[10] + _B3[2] * (_ONE - five * z * z) * g[13]
        gx += _TWO * _B3[5] * x * z * g[14] - _B3[0] * three * (x * x - y * y) * g[15]
        gy += -_B3[0] * three * (x * x - y * y) * g[9] + _B3[1] * x * z * g[10]
        gy += _B3[2] * (_ONE - five * z * z) * g[11] - _TWO * _B3[5] * y * z * g[14] + _B3[0] * six * x * y * g[15]
        gz += _B3[1] * x * y * g[10] - _B3[2] * ten * z * (y * g[11] + x * g[13])
        gz += (three * _B3[3] * z * z - _B3[4]) * g[12] + _B3[5] * (x * x - y * y) * g[14]
    return gx, gy, gz


@kernel
def colour(first: int, last: int, means: Floats, sh: Floats, centre: Any, radii: Ints, colours: Floats) -> None:
    """Colours of the visible Gaussians, ``max(sh . basis + 0.5, 0)``."""
    count = sh.shape[1]
    basis = np.empty(16, np.float32)
    for i in range(first, last):
        if radii[i, 0] == 0:
            continue
        x, y, z = means[i, 0] - centre[0], means[i, 1] - centre[1], means[i, 2] - centre[2]
        inverse = _ONE / max(math.sqrt(x * x + y * y + z * z), np.float32(1e-12))
        _sh_basis(x * inverse, y * inverse, z * inverse, count, basis)
        for channel in range(3):
            total = _HALF
            for k in range(count):
                total += basis[k] * sh[i, k, channel]
            colours[i, channel] = max(total, _ZERO)


@kernel
def colour_backward(
    first: int,
    last: int,
    means: Floats,
    sh: Floats,
    centre: Any,
    radii: Ints,
    colours: Floats,
    grad_colours: Floats,
    grad_sh: Floats,
    grad_means: Floats,
) -> None:
    """Chain gradients of :func:`colour`; the camera centre's is minus the sum of ``grad_means``."""
    count = sh.shape[1]
    basis = np.empty(16, np.float32)
    grad_basis = np.empty(16, np.float32)
    for i in range(first, last):
        if radii[i, 0] == 0:
            continue
        x, y, z = means[i, 0] - centre[0], means[i, 1] - centre[1], means[i, 2] - centre[2]
        inverse = _ONE / max(math.sqrt(x * x + y * y + z * z), np.float32(1e-12))
        x, y, z = x * inverse, y * inverse, z * inverse
        _sh_basis(x, y, z, count, basis)
        for k in range(count):
            total = _ZERO
            for channel in range(3):
                if colours[i, channel] > _ZERO:
                    grad_sh[i, k, channel] = basis[k] * grad_colours[i, channel]
                    total += sh[i, k, channel] * grad_colours[i, channel]
            grad_basis[k] = total
        gx, gy, gz = _sh_basis_gradient(x, y, z, grad_basis, count)
        along = gx * x + gy * y + gz * z
        grad_means[i, 0] = (gx - along * x) * inverse
        grad_means[i, 1] = (gy - along * y) * inverse
        grad_means[i, 2] = (gz - along * z) * inverse
