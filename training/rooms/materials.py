"""Procedural surfaces: reflectance as a function of the point on a thing, in the thing's own frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from render.errors import InputError
from training.rooms._material_kernels import COLOURS_EACH, fill_albedo

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

Kind = Literal[
    "plain", "wood", "planks", "stripes", "checks", "dots", "speckle", "tiles", "bricks", "marble", "rings", "border",
    "sectors", "zigzag", "landscape", "abstract", "screen", "sky", "clock", "leaf", "spines", "wicker", "gingham",
    "blossoms",
]  # fmt: skip
KINDS: tuple[str, ...] = tuple(Kind.__args__)  # type: ignore[attr-defined]

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Material:
    """A surface that looks the same from everywhere (diffuse).

    Attributes:
        kind: Which pattern.
        colours: One to four, sRGB from 0 to 1; what each is for depends on the pattern, the first covers most.
        scale: Size of the pattern; metres.
        seed: Of everything irregular.
        axis: Along which grain or boards run, or across which stripes lie: 0, 1, 2 = x, y, z.
        around: 0: the pattern lies on planes; n > 0: it is wrapped around z and repeats n times.
        ratio: Shape of the pattern: length by width of boards, tiles and bricks, width of dots and bands.
        roughness: How much brightness varies irregularly, 0 to 1.
        extent: Half width and half height of a picture, rug, screen or clock, which has its middle at the origin.

    Raises:
        InputError: unknown kind, or a number of colours other than one to four.
    """

    kind: Kind
    colours: tuple[Colour, ...]
    scale: float = 0.1
    seed: int = 0
    axis: int = 0
    around: int = 0
    ratio: float = 0.5
    roughness: float = 0.1
    extent: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"Expected a material of kind {', '.join(KINDS)}, found {self.kind!r}.")
        if not 1 <= len(self.colours) <= COLOURS_EACH:
            raise InputError(f"Expected one to {COLOURS_EACH} colours in a material, found {len(self.colours)}.")
        if self.scale <= 0:
            raise InputError(f"Expected a material's scale above 0 metres, found {self.scale}.")


class MaterialTable:
    """Many materials, ready to be looked up by index.

    Args:
        materials: At least one.

    Raises:
        InputError: there is none.
    """

    def __init__(self, materials: Sequence[Material]) -> None:
        if not materials:
            raise InputError("Expected at least one material, found none.")
        self._count = len(materials)
        self._whole = np.array(
            [[KINDS.index(m.kind), len(m.colours), m.seed & 0x7FFFFFFF, m.axis, m.around] for m in materials], np.int32
        )
        self._numbers = np.array([[m.scale, m.ratio, m.roughness, *m.extent] for m in materials], np.float32)
        padded = [[m.colours[min(i, len(m.colours) - 1)] for i in range(COLOURS_EACH)] for m in materials]
        self._colours = linear(np.array(padded, np.float32))

    def albedo(
        self, ids: np.ndarray, points: Float[np.ndarray, "m 3"], normals: Float[np.ndarray, "m 3"]
    ) -> Float32[np.ndarray, "m 3"]:
        """Reflectance of points, linear light, 0 to 1.

        Args:
            ids: Index of each point's material; ``[m]`` integers.
            points: In the frame of the thing; metres.
            normals: In the frame of the thing, unit length.

        Raises:
            InputError: an index without a material.
        """
        out = np.empty((len(ids), 3), np.float32)
        if not len(ids):
            return out
        if int(ids.min()) < 0 or int(ids.max()) >= self._count:
            raise InputError(f"Expected indices of materials from 0 to {self._count - 1}, found others.")
        fill_albedo(
            np.ascontiguousarray(ids, np.int32),
            np.ascontiguousarray(points, np.float32),
            np.ascontiguousarray(normals, np.float32),
            self._whole,
            self._numbers,
            self._colours,
            out,
        )
        return out


def rgb(text: str) -> Colour:
    """An sRGB colour from six hexadecimal digits."""
    return (int(text[0:2], 16) / 255, int(text[2:4], 16) / 255, int(text[4:6], 16) / 255)


def linear(srgb: Float32[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """Linear light of sRGB values (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)
