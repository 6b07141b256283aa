"""The patterns of procedural surfaces, compiled.

Every pattern says for a point which two colours it mixes, how much of the second, and how bright it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from render.rasterizer._kinds import Floats, Ints
from render.rasterizer._simd import inlined, kernel

COLOURS_EACH = 4  # of a material
_F = np.float32
_TURN = np.float32(1 / (2 * np.pi))
_HASH = np.float32(1 / (1 << 24))


@inlined
def _hashed(i: Any, j: Any, seed: Any) -> Any:
    """A number in [0, 1) for every cell of a plane (multiplications and shifts as in murmur3's last steps)."""
    h = (i * 0x8DA6B343 + j * 0xD8163841 + seed * 0xCB1AB31F) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 0x297A2D39) & 0xFFFFFFFF
    return _F((h ^ (h >> 16)) >> 8) * _HASH


@inlined
def _noise(u: Any, v: Any, seed: Any) -> Any:
    """Smooth noise between 0 and 1 with cells of size 1."""
    i, j = np.floor(u), np.floor(v)
    x, y = u - i, v - j
    x, y = x * x * (_F(3) - _F(2) * x), y * y * (_F(3) - _F(2) * y)
    m, n = np.int64(i), np.int64(j)
    low = _hashed(m, n, seed) * (_F(1) - x) + _hashed(m + 1, n, seed) * x
    high = _hashed(m, n + 1, seed) * (_F(1) - x) + _hashed(m + 1, n + 1, seed) * x
    return low * (_F(1) - y) + high * y


@inlined
def _cloud(u: Any, v: Any, seed: Any) -> Any:
    """Two octaves of noise between 0 and 1."""
    return _F(0.65) * _noise(u, v, seed) + _F(0.35) * _noise(u * _F(2.7), v * _F(2.7), seed + 11)


@inlined
def _part(x: Any) -> Any:
    """What is left of a number above its floor."""
    return x - np.floor(x)


@inlined
def _odd(x: Any) -> Any:
    return np.int64(np.floor(x)) & 1


@inlined
def _unwrapped(x: Any, y: Any, z: Any, nx: Any, ny: Any, nz: Any, scale: Any, around: Any) -> Any:
    """Coordinates in the surface, in units of the pattern."""
    # A little inside, so that rounding does not flip cells where a side lies on a border between two.
    x, y, z = x - _F(1e-4) * nx, y - _F(1e-4) * ny, z - _F(1e-4) * nz
    a, b, c = abs(nx), abs(ny), abs(nz)
    if around > 0 and c < _F(0.9):
        return np.arctan2(y, x) * _TURN * _F(around), z / scale
    if c >= a and c >= b:
        return x / scale, y / scale
    if a >= b:
        return y / scale, z / scale
    return x / scale, z / scale


@inlined
def _grain(x: Any, y: Any, z: Any, axis: Any, scale: Any, seed: Any) -> Any:
    """Wood: rings around a line beside the piece, bent a little, and fine streaks along it; 0 to 1."""
    if axis == 0:
        t, p, q = x, y, z
    elif axis == 1:
        t, p, q = y, z, x
    else:
        t, p, q = z, x, y
    shift = _F(seed % 97) * _F(0.013)
    p, q, t = p / scale, q / scale, t / scale
    bend = _noise(t * _F(0.25) + shift, (p + q) * _F(0.5), seed)
    radius = np.sqrt((p + _F(2.3) + shift) ** 2 + (q + _F(1.7)) ** 2) + bend * _F(1.2)
    ring = _part(radius)
    streak = _noise(t * _F(0.4), (p + _F(1.3) * q) * _F(6), seed + 5)
    return _F(0.65) * ring * ring + _F(0.35) * streak


@inlined
def _ground(kind: Any, x: Any, y: Any, z: Any, u: Any, v: Any, scale: Any, ratio: Any, rough: Any, axis: Any,
            seed: Any) -> Any:  # fmt: skip
    """Wood, boards, tiles, bricks, stone: patterns of walls, floors and solid pieces."""
    if kind == 1:  # wood
        return 0, 1, _grain(x, y, z, axis, scale, seed), _F(1)
    if kind == 2:  # planks
        if axis == 0:
            u, v = v, u
        row = np.floor(u)
        along = v / ratio + _hashed(np.int64(row), 3, seed)
        board = np.int64(np.floor(along))
        tone = _hashed(np.int64(row), board, seed + 1)
        near = min(_part(u), _F(1) - _part(u))
        end = min(_part(along), _F(1) - _part(along)) * ratio
        streak = _noise(u * _F(9), v * _F(0.5) + tone * _F(37), seed)
        dark = _F(0.6) if near < _F(0.03) or end < _F(0.03) else _F(1)
        return 0, 1, _F(0.55) * tone + _F(0.45) * streak, dark
    if kind == 7:  # tiles
        near = min(min(_part(u), _F(1) - _part(u)), min(_part(v), _F(1) - _part(v)))
        if near < _F(0.025):
            return 1, 1, _F(0), _F(1)
        i, j = np.int64(np.floor(u)), np.int64(np.floor(v))
        second = _F(1) if ratio > _F(0.75) and ((i + j) & 1) == 1 else _F(0)
        return 0, 2, second, _F(1) + rough * (_hashed(i, j, seed) - _F(0.5))
    if kind == 8:  # bricks
        row = np.floor(v)
        along = u * ratio + _F(0.5) * _F(np.int64(row) & 1)
        near = min(min(_part(along), _F(1) - _part(along)) / ratio, min(_part(v), _F(1) - _part(v)))
        if near < _F(0.07):
            return 1, 1, _F(0), _F(1)
        tone = _hashed(np.int64(np.floor(along)), np.int64(row), seed)
        return 0, 2, tone, _F(1) + rough * (_noise(u * _F(4), v * _F(4), seed) - _F(0.5))
    if kind == 9:  # marble
        bent = _F(3) * _cloud(u + z / scale, v + x / scale, seed)
        vein = _F(1) - abs(_F(2) * _part(_F(0.35) * (u + v) + bent) - _F(1))
        return 0, 1, vein * vein * vein, _F(1)
    # speckle
    fleck = _hashed(np.int64(np.floor(x / scale)), np.int64(np.floor(y / scale)) * 7919 + np.int64(np.floor(z / scale)),
                    seed)  # fmt: skip
    bright = _F(1) + rough * (_noise(u * _F(0.3), v * _F(0.3), seed + 3) - _F(0.5))
    if fleck < ratio:
        return 0, (1 if fleck < ratio * _F(0.6) else 2), _F(1), bright
    return 0, 0, _F(0), bright


@inlined
def _regular(kind: Any, count: Any, x: Any, y: Any, z: Any, u: Any, v: Any, scale: Any, ratio: Any, axis: Any,
             around: Any, seed: Any, h: Any, k: Any) -> Any:  # fmt: skip
    """Stripes, checks, dots, rings: patterns of cloth, paper and paint."""
    if kind == 3:  # stripes
        t = (x if axis == 0 else (y if axis == 1 else z)) / scale
        if around > 0 and axis != 2:
            t = u
        part = _part(t)
        if count == 2:
            return 0, 1, (_F(1) if part < ratio else _F(0)), _F(1)
        if part < ratio:
            return 1, 1, _F(0), _F(1)
        return 0, 2, (_F(1) if abs(part - (_F(1) + ratio) / _F(2)) < _F(0.08) else _F(0)), _F(1)
    if kind == 4:  # checks
        return 0, 1, _F(_odd(u) ^ _odd(v)), _F(1)
    if kind == 22:  # gingham
        return 0, 1, _F(0.5) * _F(_odd(u) + _odd(v)), _F(1)
    if kind == 5:  # dots
        row = np.floor(v)
        across = _part(u + _F(0.5) * _F(np.int64(row) & 1)) - _F(0.5)
        up = v - row - _F(0.5)
        inside = across * across + up * up < ratio * ratio * _F(0.25)
        index = 1
        if count > 2 and (np.int64(row) & 1) == 1:
            index = 2
        return 0, index, (_F(1) if inside else _F(0)), _F(1)
    if kind == 13:  # zigzag
        t = v + abs(_F(2) * _part(u) - _F(1)) * _F(0.8)
        part = _part(t * _F(0.5))
        if count > 2 and part > _F(0.75):
            return 2, 2, _F(0), _F(1)
        return 0, 1, (_F(1) if part < _F(0.5) else _F(0)), _F(1)
    if kind == 10:  # rings
        band = np.int64(np.floor(np.sqrt(x * x + y * y) / scale))
        index = band % count
        return index, index, _F(0), _F(1)
    if kind == 11:  # border: frames parallel to the edges
        near = min(h - abs(x), k - abs(y)) / scale
        if near < _F(1):
            return 1, 1, _F(0), _F(1)
        if near < _F(1.6):
            return 2, 2, _F(0), _F(1)
        across, up = _part(x / scale / _F(3)) - _F(0.5), _part(y / scale / _F(3)) - _F(0.5)
        inside = abs(across) + abs(up) < ratio * _F(0.5)
        return 0, 3, (_F(1) if inside and count > 3 else _F(0)), _F(1)
    if kind == 12:  # sectors
        if x * x + y * y < _F(0.08) * z * z:
            return 0, 0, _F(0), _F(1)
        index = np.int64(np.floor((np.arctan2(y, x) * _TURN + _F(1)) * _F(around))) % count
        return index, index, _F(0), _F(1)
    if kind == 23:  # blossoms
        row = np.floor(v)
        across = _part(u + _F(0.5) * _F(np.int64(row) & 1)) - _F(0.5)
        up = v - row - _F(0.5)
        radius = np.sqrt(across * across + up * up)
        petals = ratio * _F(0.5) * (_F(0.7) + _F(0.3) * np.cos(_F(5) * np.arctan2(up, across)))
        if radius < _F(0.11) * ratio:
            return 2, 2, _F(0), _F(1)
        return 0, 1, (_F(1) if radius < petals else _F(0)), _F(1)
    # spines of books: one colour for each, two lines of a label
    cell = np.int64(np.floor(x / scale))
    volume = np.int64(_hashed(cell, 0, seed) * _F(count))
    label = abs(abs(z - h) - _F(0.04)) < _F(0.006) or abs(z - h) < _F(0.012)
    bright = _F(0.75) + _F(0.35) * _hashed(cell, 1, seed)
    if label and _hashed(cell, 2, seed) < _F(0.6):
        bright = bright * _F(1.7) if bright < _F(0.9) else bright * _F(0.45)
    return volume, volume, _F(0), bright


@inlined
def _pictured(kind: Any, count: Any, x: Any, y: Any, z: Any, u: Any, v: Any, seed: Any, h: Any, k: Any) -> Any:
    """Pictures in the plane of x and z, and what leaves and wickerwork look like."""
    p, q = x / h, z / k  # -1 to 1
    if kind == 14:  # landscape: sun, hills
        s = _F(seed % 61) * _F(0.103)
        dx, dz = (p - np.sin(s * _F(3)) * _F(0.5)) * h, (q - _F(0.45)) * k
        if dx * dx + dz * dz < _F(0.03) * min(h, k):
            return 1, 1, _F(0), _F(1.15)
        far = _F(0.12) + _F(0.22) * np.sin(_F(2.6) * p + s) + _F(0.08) * np.sin(_F(7) * p + s)
        near = _F(-0.4) + _F(0.2) * np.sin(_F(2.1) * p + _F(2) * s + _F(2))
        if q < near:
            return 3, 3, _F(0), _F(0.7)
        if q < far:
            return 2, 3, _F(0.3), _F(1)
        return 0, 1, min(max(_F(0.5) - _F(0.6) * q, _F(0)), _F(1)), _F(1)
    if kind == 15:  # abstract: rectangles of an irregular grid, one disc
        a = _hashed(1, 0, seed) * _F(0.8) - _F(0.4)
        b = _hashed(2, 0, seed) * _F(0.8) - _F(0.4)
        dx, dz = (p - b) * h, (q - a) * k
        if dx * dx + dz * dz < _F(0.16) * min(h, k) * min(h, k):
            return 1, 1, _F(0), _F(1)
        if abs(p - a) < _F(0.03) or abs(q - b) < _F(0.03):
            return 3, 3, _F(0), _F(0.5)
        index = ((2 if p > a else 0) + (1 if q > b else 0) + seed) % count
        return index, index, _F(0), _F(1)
    if kind == 16:  # screen: a bar, windows with lines of text
        if q > _F(0.86):
            return 1, 1, _F(0), _F(0.6)
        left = _hashed(5, 0, seed) * _F(0.5) - _F(0.3)
        inside = (abs(p - left + _F(0.1)) < _F(0.5)) and abs(q + _F(0.05)) < _F(0.65)
        if inside:
            line = _part(q * _F(7))
            row = np.int64(np.floor(q * _F(7)))
            length = _hashed(row, 1, seed) * _F(0.7)
            written = line > _F(0.3) and line < _F(0.7) and p - left + _F(0.5) < length and p - left > _F(-0.54)
            return 2, 3, (_F(1) if written else _F(0)), _F(1)
        return 0, 1, _F(0.5) + _F(0.5) * np.sin(_F(2) * p + q), _F(1)
    if kind == 17:  # sky above trees
        edge = _F(-0.45) + _F(0.35) * _cloud(x * _F(5), _F(seed % 31), seed)
        if q < edge:
            return 2, 3, _cloud(x * _F(9), z * _F(9), seed), _F(1)
        white = _cloud(x * _F(2.5), z * _F(5), seed + 2)
        return 0, 1, min(max(_F(2.6) * white - _F(0.9), _F(0)), _F(1)), _F(1)
    if kind == 18:  # clock: twelve marks, two hands
        radius, angle = np.sqrt(p * p + q * q), _part(np.arctan2(p, q) * _TURN + _F(1))
        mark = abs(_part(angle * _F(12) + _F(0.5)) - _F(0.5))
        if radius > _F(0.72) and radius < _F(0.92) and mark < _F(0.12):
            return 1, 1, _F(0), _F(1)
        for hand in range(2):
            turn = _hashed(hand, 7, seed) / _TURN
            sine, cosine = np.sin(turn), np.cos(turn)
            along, beside = p * sine + q * cosine, p * cosine - q * sine
            if along > _F(-0.1) and along < _F(0.45) + _F(0.25) * _F(hand) and abs(beside) < _F(0.06):
                return 1, 1, _F(0), _F(1)
        return 0, 0, _F(0), _F(1)
    if kind == 19:  # leaf: lighter and darker patches
        return 0, 1, _cloud(u, v, seed), _F(0.8) + _F(0.4) * _noise(x * _F(9), y * _F(9) + z * _F(7), seed)
    # wicker: strands over and under
    over = _odd(u) ^ _odd(v)
    middle = abs((_part(v) if over == 1 else _part(u)) - _F(0.5))
    return 0, 1, (_F(0.25) if over == 1 else _F(0)), _F(1.08) - _F(0.5) * middle


@kernel
def fill_albedo(
    ids: Ints, points: Floats, normals: Floats, whole: Ints, numbers: Floats, colours: Floats, out: Floats
) -> None:
    """Reflectance of points.

    Args:
        ids: Row of the following three; ``[m]``.
        points: ``[m, 3]``.
        normals: ``[m, 3]``.
        whole: Kind, number of colours, seed, axis, repeats around z; ``[n, 5]``.
        numbers: Scale, ratio, roughness, half width, half height; ``[n, 5]``.
        colours: Linear; ``[n, 4, 3]``.
        out: Written; ``[m, 3]``.
    """
    for row in range(len(ids)):
        i = ids[row]
        kind, count, seed = np.int64(whole[i, 0]), np.int64(whole[i, 1]), np.int64(whole[i, 2])
        axis, around = np.int64(whole[i, 3]), np.int64(whole[i, 4])
        scale, ratio, rough, h, k = numbers[i, 0], numbers[i, 1], numbers[i, 2], numbers[i, 3], numbers[i, 4]
        x, y, z = points[row, 0], points[row, 1], points[row, 2]
        nx, ny, nz = normals[row, 0], normals[row, 1], normals[row, 2]
        u, v = _unwrapped(x, y, z, nx, ny, nz, scale, around)
        u, v = _F(u), _F(v)
        if kind == 0:
            first, second, mixed = 0, 0, _F(0)
            bright = _F(1) + rough * (_cloud(u, v, seed) - _F(0.5))
        elif kind == 1 or kind == 2 or (kind >= 6 and kind <= 9):  # numba takes no `in`
            first, second, mixed, bright = _ground(kind, x, y, z, u, v, scale, ratio, rough, axis, seed)
        elif (kind >= 14 and kind <= 19) or kind == 21:
            first, second, mixed, bright = _pictured(kind, count, x, y, z, u, v, seed, h, k)
        else:
            first, second, mixed, bright = _regular(kind, count, x, y, z, u, v, scale, ratio, axis, around, seed, h, k)
            bright *= _F(1) + rough * (_noise(x * _F(40), y * _F(40) + z * _F(37), seed) - _F(0.5))
        for c in range(3):
            value = (colours[i, first, c] * (_F(1) - mixed) + colours[i, second, c] * mixed) * bright
            out[row, c] = min(max(value, _F(0)), _F(1))
