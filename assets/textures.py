"""Procedural surfaces of the demo scene: colour (sRGB, 0 to 1) as a function of the point on an object.

Every function takes points ``[m, 3]`` and normals ``[m, 3]`` in the object's own frame (metres) and returns
colours ``[m, 3]``.  All randomness is hashing: the same point has the same colour on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

Texture = Callable[[np.ndarray, np.ndarray], np.ndarray]
NOISE_SIZE = 512


def rgb(text: str) -> Float[np.ndarray, " 3"]:
    """A colour from six hexadecimal digits."""
    return np.array([int(text[i : i + 2], 16) for i in (0, 2, 4)], np.float32) / 255


@cache
def _noise_image() -> np.ndarray:
    """Smooth noise that repeats without a seam, standard deviation 1: random phases under a 1/f spectrum."""
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(NOISE_SIZE) * NOISE_SIZE] * 2, indexing="ij"))
    spectrum = np.exp(-frequency / 40) / np.maximum(frequency, 1) ** 0.8
    phases = np.random.default_rng(1).uniform(0, 2 * np.pi, spectrum.shape)
    image = np.fft.ifft2(spectrum * np.exp(1j * phases)).real
    return (image / image.std()).astype(np.float32)


def noise(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Smooth noise with a period of 1 in both directions, standard deviation 1."""
    image = _noise_image()
    i = (np.floor(u * NOISE_SIZE).astype(np.int64)) % NOISE_SIZE
    j = (np.floor(v * NOISE_SIZE).astype(np.int64)) % NOISE_SIZE
    return image[i, j]


def hashed(*cells: np.ndarray) -> np.ndarray:
    """A number in [0, 1) for every cell, from its integer coordinates."""
    state = np.full(np.broadcast(*cells).shape, 0x9E3779B9, np.uint32)
    for cell in cells:
        state = (state ^ cell.astype(np.int64).astype(np.uint32)) * np.uint32(0x85EBCA6B)
        state ^= state >> np.uint32(13)
        state = state * np.uint32(0xC2B2AE35)
        state ^= state >> np.uint32(16)
    return state.astype(np.float32) / np.float32(2**32)


def mix(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Blend two colours; ``weight`` ``[m]`` in [0, 1] is that of ``b``."""
    weight = np.clip(weight, 0, 1)[:, None]
    return a * (1 - weight) + b * weight


def plain(colour: str, grain: float = 0.02) -> Texture:
    """One colour with a little irregularity."""
    base = rgb(colour)

    def texture(points: np.ndarray, _normals: np.ndarray) -> np.ndarray:
        return base * (1 + grain * noise(points[:, 0] + points[:, 2], points[:, 1] + 0.37 * points[:, 2]))[:, None]

    return texture


def planks(light: str, dark: str, width: float = 0.13, length: float = 1.1) -> Texture:
    """Floor boards along x, joints staggered, every board of its own tone."""
    colours = rgb(light), rgb(dark)

    def texture(points: np.ndarray, _normals: np.ndarray) -> np.ndarray:
        across = points[:, 1] / width
        row = np.floor(across)
        along = points[:, 0] / length + hashed(row, row * 0 + 7)
        board = np.floor(along)
        tone = hashed(row, board)
        grain = noise(points[:, 0] * 0.35 + tone * 5, points[:, 1] * 3 + tone * 3)
        colour = mix(*colours, 0.15 + 0.6 * tone + 0.13 * grain)
        edge = np.minimum(across - row, row + 1 - across) * width
        end = np.minimum(along - board, board + 1 - along) * length
        return colour * np.where(np.minimum(edge, end) < 0.006, 0.55, 1.0)[:, None]

    return texture


def wood(light: str, dark: str, axis: int = 0, fineness: float = 1.0) -> Texture:
    """Grain drawn out along one axis."""
    colours = rgb(light), rgb(dark)
    across = [a for a in range(3) if a != axis]

    def texture(points: np.ndarray, _normals: np.ndarray) -> np.ndarray:
        side = (points[:, across[0]] + 0.7 * points[:, across[1]]) * fineness
        grain = noise(points[:, axis] * 0.25, side * 2) + 0.5 * np.sin(
            60 * side + 4 * noise(points[:, axis] * 0.2, side)
        )
        return mix(*colours, 0.45 + 0.25 * grain)

    return texture


def damask(ground: str, figure: str, accent: str, pitch: float = 0.32) -> Texture:
    """Wallpaper for a wall in the y-z plane: lozenges with a flower in each, in staggered rows."""
    colours = rgb(ground), rgb(figure), rgb(accent)

    def texture(points: np.ndarray, _normals: np.ndarray) -> np.ndarray:
        u, v = points[:, 1] / pitch, points[:, 2] / (1.5 * pitch)
        a, b = u + v, u - v
        fa, fb = a - np.floor(a) - 0.5, b - np.floor(b) - 0.5
        frame = np.maximum(np.abs(fa), np.abs(fb))
        x, y = (fa + fb) * pitch, (fa - fb) * pitch * 1.5
        radius, angle = np.hypot(x, y), np.arctan2(y, x)
        petals = 0.085 * (0.62 + 0.38 * np.cos(6 * angle))
        colour = mix(colours[0], colours[1], (frame > 0.455).astype(np.float32))
        colour = mix(colour, colours[1], (radius < petals).astype(np.float32))
        colour = mix(colour, colours[2], (radius < 0.026).astype(np.float32))
        return colour * (1 + 0.015 * noise(points[:, 1], points[:, 2]))[:, None]

    return texture


def panelled(wall: str, stripe: str, wood_colour: str, height: float = 0.78) -> Texture:
    """Wall in the x-z plane: boards up to ``height``, a rail, broad stripes above."""
    colours = rgb(wall), rgb(stripe), rgb(wood_colour)

    def texture(points: np.ndarray, _normals: np.ndarray) -> np.ndarray:
        x, z = points[:, 0], points[:, 2]
        phase = x / 0.2 - np.floor(x / 0.2)
        upper = mix(colours[0], colours[1], ((phase < 0.5) | (np.abs(phase - 0.75) < 0.03)).astype(np.float32))
        board = x / 0.1 - np.floor(x / 0.1)
        groove = np.minimum(board, 1 - board) < 0.07
        tone = 0.94 + 0.08 * hashed(np.floor(x / 0.1), np.floor(x * 0)) + 0.02 * noise(x * 2, z * 0.3)
        lower = colours[2] * (tone * np.where(groove, 0.7, 1.0))[:, None]
        rail = (np.abs(z - height) < 0.022)[:, None]
        return np.where(rail, colours[2] * 1.04, np.where((z < height)[:, None], lower, upper))

    return texture


def rings(*colours: str, width: float = 0.07) -> Texture:
    """A round rug: rings around z, one of them with lozenges."""
    palette = np.stack([rgb(c) for c in colours])

    def texture(points: np.ndarray, _normals: np.ndarray) -> np.ndarray:
        radius, angle = np.hypot(points[:, 0], points[:, 1]), np.arctan2(points[:, 1], points[:, 0])
        ring = np.floor(radius / width).astype(np.int64)
        colour = palette[ring % len(palette)]
        within = radius / width - ring - 0.5
        beads = np.abs(within) + np.abs((angle * 14 / np.pi) % 1 - 0.5) < 0.42
        colour = np.where((beads & (ring % 2 == 1))[:, None], palette[(ring + 2) % len(palette)], colour)
        weave = 0.04 * np.sin(points[:, 0] * 420) * np.sin(points[:, 1] * 420)
        return colour * (1 + weave + 0.03 * noise(points[:, 0] * 2, points[:, 1] * 2))[:, None]

    return texture


def sectors(*colours: str, cap: str = "ffffff") -> Texture:
    """A beach ball: sectors around z with a cap at both poles."""
    palette, pole = np.stack([rgb(c) for c in colours]), rgb(cap)

    def texture(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        angle = np.arctan2(points[:, 1], points[:, 0]) / (2 * np.pi) % 1
        colour = palette[np.floor(angle * len(palette)).astype(np.int64) % len(palette)]
        return np.where((np.abs(normals[:, 2]) > 0.95)[:, None], pole, colour)

    return texture


def glaze(ground: str, band: str, accent: str) -> Texture:
    """A vase: horizontal bands and a row of waves around z."""
    colours = rgb(ground), rgb(band), rgb(accent)

    def texture(points: np.ndarray, _normals: np.ndarray) -> np.ndarray:
        z, angle = points[:, 2], np.arctan2(points[:, 1], points[:, 0])
        colour = mix(colours[0], colours[1], ((z * 100 % 9) < 2.2).astype(np.float32))
        wave = np.abs(z - 0.155 - 0.018 * np.sin(8 * angle)) < 0.009
        return mix(colour, colours[2], wave.astype(np.float32))

    return texture


def checks(light: str, dark: str, pitch: float) -> Texture:
    """Squares on every side of a box."""
    colours = rgb(light), rgb(dark)

    def texture(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        inside = points - 1e-4 * normals
        odd = (np.floor(inside / pitch + 0.5).sum(1) % 2).astype(np.float32)
        return mix(*colours, odd)

    return texture


def parcel(colour: str, tape: str, ink: str) -> Texture:
    """A cardboard box: tape along x, a printed arrow on the sides."""
    colours = rgb(colour), rgb(tape), rgb(ink)

    def texture(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        ridges = 0.03 * np.sin(points[:, 2] * 500) * (np.abs(normals[:, 2]) < 0.5)
        base = colours[0] * (1 + ridges + 0.04 * noise(points[:, 0] + points[:, 2], points[:, 1]))[:, None]
        base = mix(base, colours[1], (np.abs(points[:, 1]) < 0.03).astype(np.float32))
        side = np.where(np.abs(normals[:, 0]) > 0.5, points[:, 1], points[:, 0])
        up = points[:, 2]
        shaft = (np.abs(side - 0.09) < 0.011) & (np.abs(up) < 0.06)
        head = (np.abs(side - 0.09) < 0.75 * (0.075 - up)) & (up > 0.025) & (up < 0.075)
        return mix(base, colours[2], ((shaft | head) & (np.abs(normals[:, 2]) < 0.5)).astype(np.float32))

    return texture


def painting(frame: str, half_width: float, half_height: float) -> Texture:
    """A framed picture in the y-z plane: hills under a sun."""
    border = rgb(frame)
    sky, glow, sun = rgb("8fc1d4"), rgb("f4d8a8"), rgb("e8743b")
    hills = [rgb("4d7c6f"), rgb("35594f"), rgb("223b3d")]

    def texture(points: np.ndarray, _normals: np.ndarray) -> np.ndarray:
        u, v = points[:, 1] / half_width, points[:, 2] / half_height
        colour = mix(glow, sky, 0.5 + 0.6 * v)
        colour = np.where((np.hypot((u - 0.3) * half_width, (v - 0.2) * half_height) < 0.085)[:, None], sun, colour)
        for level, hill in enumerate(hills):
            ridge = 0.05 - 0.32 * level + 0.2 * np.sin(2.6 * u + 2.1 * level) + 0.07 * np.sin(7 * u + level)
            colour = np.where((v < ridge)[:, None], hill, colour)
        outside = (np.abs(u) > 1 - 0.035 / half_width) | (np.abs(v) > 1 - 0.035 / half_height)
        return np.where(outside[:, None], border, colour)

    return texture


def leaf(light: str, dark: str) -> Texture:
    """A leaf along x with its midrib and veins."""
    colours = rgb(light), rgb(dark)

    def texture(points: np.ndarray, _normals: np.ndarray) -> np.ndarray:
        side = np.abs(points[:, 1])
        veins = ((points[:, 0] - side) * 45 % 1 < 0.22) | (side < 0.004)
        return mix(*colours, np.where(veins, 0.1, 0.75).astype(np.float32))

    return texture
