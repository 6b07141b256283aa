"""What builders of furniture share: pieces without a place, and choices of colours and materials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from training.rooms.materials import Colour, Kind, Material
from training.rooms.words import COLOURS, ThingWords

if TYPE_CHECKING:
    import trimesh
    from numpy.random import Generator

WOODS = ("brown", "beige", "white", "black", "orange")  # colours in which wood is found
PATTERNS: dict[str, Kind] = {"striped": "stripes", "checked": "checks", "dotted": "dots", "zigzag": "zigzag"}


@dataclass(frozen=True, eq=False)
class Part:
    """A mesh in the frame of its thing, of one material."""

    mesh: trimesh.Trimesh
    material: Material


@dataclass(frozen=True)
class Top:
    """A level rectangle that small things stand on: its height, the middle, and half its sides, in metres."""

    height: float
    x: float
    y: float
    half_x: float
    half_y: float
    headroom: float = 0.6


@dataclass(frozen=True, eq=False)
class Piece:
    """A thing that has no place yet.

    Attributes:
        words: What can be said of it.
        parts: What it is made of.
        half: Half its extent along x and y in metres.
        height: In metres.
        tops: Where small things can stand.
        seats: Where cushions can lie.
        foot: Height of its underside in its frame.
    """

    words: ThingWords
    parts: tuple[Part, ...]
    half: tuple[float, float]
    height: float
    tops: tuple[Top, ...] = ()
    seats: tuple[Top, ...] = field(default=())
    foot: float = 0.0


class Maker:
    """Chooses colours and makes materials of them."""

    def __init__(self, random: Generator) -> None:
        self.random = random

    def choose(self, *values: str) -> str:
        """One of some words."""
        return values[int(self.random.integers(len(values)))]

    def chance(self, probability: float) -> bool:
        """Whether something rare happens."""
        return bool(self.random.random() < probability)

    def size(self, low: float, high: float) -> float:
        """A length between two."""
        return float(self.random.uniform(low, high))

    def word(self, *leave_out: str) -> str:
        """A colour's word."""
        return self.choose(*(word for word in COLOURS if word not in leave_out))

    def colour(self, word: str) -> Colour:
        """A colour that the word stands for, a little varied."""
        shades = COLOURS[word]
        text = shades[int(self.random.integers(len(shades)))]
        base = np.array([int(text[i : i + 2], 16) for i in (0, 2, 4)]) / 255
        varied = np.clip(base * self.random.uniform(0.9, 1.1) + self.random.uniform(-0.03, 0.03, 3), 0.04, 0.97)
        return (float(varied[0]), float(varied[1]), float(varied[2]))

    def plain(self, word: str) -> Material:
        """One colour."""
        return Material("plain", (self.colour(word),), seed=self.seed())

    def patterned(self, word: str, pattern: str, scale: float, *, axis: int | None = None, around: int = 0) -> Material:
        """A colour with a pattern in a second one ("" = none)."""
        if not pattern:
            return self.plain(word)
        # The second colour is never a vivid one: the thing has the colour that its word says.
        light = word in ("white", "beige", "yellow", "pink", "grey")
        second = (
            self.choose("black", "brown", "grey" if word != "grey" else "white")
            if light
            else (
                "white"
                if self.chance(0.6)
                else self.choose("beige", "black" if word not in ("black", "brown") else "grey")
            )
        )
        along = int(self.random.integers(3)) if axis is None else axis
        size = 2 * scale if pattern in ("striped", "zigzag") else 1.6 * scale if pattern == "dotted" else scale
        colours = (self.colour(word), self.colour(second))
        return Material(PATTERNS[pattern], colours, size, self.seed(), along, around)

    def wood(self, word: str, axis: int = 0) -> Material:
        """Grain along an axis."""
        base = self.colour(word)
        dark: Colour = (base[0] * 0.72, base[1] * 0.66, base[2] * 0.6)
        return Material("wood", (base, dark), self.size(0.05, 0.09), self.seed(), axis)

    def of(
        self, kind: Kind, words: Sequence[str], scale: float, *, axis: int = 0, ratio: float = 0.5,
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> Material:  # fmt: skip
        """Any texture in some colours."""
        colours = tuple(self.colour(word) for word in words)
        return Material(kind, colours, scale, self.seed(), axis, 0, ratio, 0.15, extent)

    def words(self, count: int) -> list[str]:
        """Different colours."""
        return [list(COLOURS)[i] for i in self.random.permutation(len(COLOURS))[:count]]

    def seed(self) -> int:
        """Of a material."""
        return int(self.random.integers(2**20))

    def pattern(self, probability: float) -> str:
        """A pattern's word, or none."""
        return self.choose(*PATTERNS) if self.chance(probability) else ""


def surface(m: Maker, word: str, *, axis: int = 0) -> tuple[Material, str]:
    """What hard furniture is made of, and its word."""
    if word in WOODS and m.chance(0.75):
        return m.wood(word, axis), "wooden"
    return m.plain(word), m.choose("plastic", "metal")


def upholstery(m: Maker) -> tuple[str, str, str, Material]:
    """What seats are covered with: words for colour, material and pattern, and how it looks."""
    word, pattern = m.word(), m.pattern(0.3)
    made = "leather" if not pattern and word in ("black", "brown", "red", "white") and m.chance(0.6) else "fabric"
    return word, made, pattern, m.patterned(word, pattern, m.size(0.06, 0.12))
