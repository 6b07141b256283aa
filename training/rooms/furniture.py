"""Builders of furniture: things made of parts, in their own frame (z up, floor at 0, the front toward -y)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from training.rooms.materials import Colour, Kind, Material
from training.rooms.words import COLOURS, ThingWords

if TYPE_CHECKING:
    import trimesh
    from jaxtyping import Float
    from numpy.random import Generator

WOODS = ("brown", "beige", "white", "black", "orange")  # colours in which wood is found
GOLDEN_ANGLE = 2.4  # radians between leaves
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


def _turned_about_z(angle: float) -> Float[np.ndarray, "4 4"]:
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return pose


def _at(mesh: trimesh.Trimesh, x: float, y: float, z: float) -> trimesh.Trimesh:
    mesh.apply_translation([x, y, z])
    return mesh


def block(x: float, y: float, z: float, at: tuple[float, float, float]) -> trimesh.Trimesh:
    """A box of these sides, whose bottom's middle is ``at``."""
    import trimesh

    return _at(trimesh.creation.box((x, y, z)), at[0], at[1], at[2] + z / 2)


def rod(radius: float, height: float, at: tuple[float, float, float], sections: int = 14) -> trimesh.Trimesh:
    """An upright cylinder whose bottom's middle is ``at``."""
    import trimesh

    mesh = trimesh.creation.cylinder(radius, height, sections=sections)
    return _at(mesh, at[0], at[1], at[2] + height / 2)


def lathe(profile: list[tuple[float, float]], sections: int = 20) -> trimesh.Trimesh:
    """A body of revolution about z from (radius, height) pairs, from bottom to top."""
    import trimesh

    return trimesh.creation.revolve(np.array(profile), sections=sections)


def globe(radius: float, at: tuple[float, float, float]) -> trimesh.Trimesh:
    """A sphere around ``at``."""
    import trimesh

    return _at(trimesh.creation.icosphere(2, radius), *at)


def pad(x: float, y: float, z: float, at: tuple[float, float, float], power: float = 0.3) -> trimesh.Trimesh:
    """A cushion of these sides (a superellipsoid; Barr 1981) whose bottom's middle is ``at``."""
    import trimesh

    mesh = trimesh.creation.icosphere(2, 1.0)
    bent = np.sign(mesh.vertices) * np.abs(mesh.vertices) ** power
    mesh.vertices = bent / np.abs(bent).max(0) * np.array([x, y, z]) / 2
    return _at(mesh, at[0], at[1], at[2] + z / 2)


def capsule(length: float, radius: float, sections: int) -> trimesh.Trimesh:
    """A rod with round ends whose lower end's middle is the origin and whose upper one's is above it."""
    import trimesh

    mesh = trimesh.creation.capsule(length, radius, count=(sections, 6))
    return _at(mesh, 0, 0, -radius - float(mesh.bounds[0, 2]))


def legs(x: float, y: float, height: float, thickness: float, *, round_: bool = False) -> trimesh.Trimesh:
    """Four legs at the corners of a rectangle of half sides ``x`` and ``y``."""
    corners = [(sx * (x - thickness / 2), sy * (y - thickness / 2), 0.0) for sx in (-1, 1) for sy in (-1, 1)]
    if round_:
        return joined(*(rod(thickness / 2, height, at, 8) for at in corners))
    return joined(*(block(thickness, thickness, height, at) for at in corners))


def joined(*meshes: trimesh.Trimesh) -> trimesh.Trimesh:
    """Several meshes as one."""
    import trimesh

    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    return trimesh.Trimesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]),
        process=False,
    )


def surface(m: Maker, word: str, *, axis: int = 0) -> tuple[Material, str]:
    """What hard furniture is made of, and its word."""
    if word in WOODS and m.chance(0.75):
        return m.wood(word, axis), "wooden"
    return m.plain(word), m.choose("plastic", "metal")


def table(m: Maker, shape: str = "") -> Piece:
    """A table to sit at, long, square or round; a desk with drawers, or a coffee table.

    Args:
        m: Chooses.
        shape: One of these ("desk", "coffee table"), "" = any to sit at.
    """
    shape = shape or m.choose("long", "long", "square", "round", "desk")
    word = m.choose(*WOODS, "white", "grey", "blue", "green", "red", "turquoise")
    material, made = surface(m, word)
    frame, _ = (material, made) if m.chance(0.6) else surface(m, m.choose("black", "grey", "white", "brown"))
    low = shape == "coffee table"
    height, thick = m.size(0.36, 0.45) if low else m.size(0.68, 0.77), m.size(0.03, 0.06)
    words = ThingWords("table", shape, word, made)
    under = height - thick
    if shape == "round" or (low and m.chance(0.4)):
        radius = m.size(0.34, 0.42) if low else m.size(0.42, 0.6)
        top = rod(radius, thick, (0, 0, under), 28)
        if m.chance(0.5):
            support = joined(rod(0.05, under, (0, 0, 0)), rod(radius * 0.55, 0.03, (0, 0, 0), 20))
        else:
            support = legs(radius * 0.66, radius * 0.66, under, 0.05, round_=True)
        room = radius * 0.6
        return Piece(words, (Part(top, material), Part(support, frame)), (radius,) * 2, height,
                     (Top(height, 0, 0, room, room),))  # fmt: skip
    x, y = {
        "long": (m.size(0.58, 0.78), m.size(0.36, 0.45)),
        "square": (m.size(0.4, 0.48),) * 2,
        "desk": (m.size(0.55, 0.7), m.size(0.3, 0.36)),
        "coffee table": (m.size(0.42, 0.55), m.size(0.26, 0.32)),
    }[shape]
    parts = [Part(block(2 * x, 2 * y, thick, (0, 0, under)), material)]
    if shape == "desk":
        # Drawers at one end, and a board across the back at the other.
        end, front = 1 if m.chance(0.5) else -1, m.plain(m.word(word)) if m.chance(0.4) else material
        at, step = end * (x - 0.19), under / 3
        chest = block(0.36, 2 * y - 0.04, under, (at, 0.01, 0))
        fronts = [block(0.32, 0.02, step - 0.03, (at, -y + 0.03, 0.015 + i * step)) for i in range(3)]
        knobs = [globe(0.02, (at, -y + 0.01, (i + 0.5) * step)) for i in range(3)]
        plank = block(0.04, 2 * y - 0.04, under, (-end * (x - 0.04), 0, 0))
        parts += [Part(joined(chest, plank), frame), Part(joined(*fronts), front)]
        parts += [Part(joined(*knobs), m.plain(m.choose("grey", "black", "yellow")))]
    elif m.chance(0.25):
        sides = [block(0.04, 2 * y - 0.06, under, (s * (x - 0.1), 0, 0)) for s in (-1, 1)]
        parts.append(Part(joined(*sides, block(2 * x - 0.2, 0.03, 0.12, (0, 0, under - 0.14))), frame))
    else:
        parts.append(Part(legs(x - 0.02, y - 0.02, under, m.size(0.05, 0.09), round_=m.chance(0.4)), frame))
    return Piece(words, tuple(parts), (x, y), height, (Top(height, 0, 0, x - 0.08, y - 0.06),))


def chair(m: Maker) -> Piece:
    """A chair with four legs, or one that swivels; cushioned now and then."""
    word = m.word("beige")
    material, made = surface(m, word, axis=2)
    shape, pattern = "", ""
    seat, width, back = m.size(0.42, 0.48), m.size(0.21, 0.25), m.size(0.4, 0.52)
    if m.chance(0.3):
        shape, pattern = "office chair", m.pattern(0.3)
        made, material = "fabric", m.patterned(word, pattern, 0.06)
        frame = m.plain(m.choose("black", "grey"))
        star = [block(0.5, 0.05, 0.05, (0, 0, 0)), block(0.05, 0.5, 0.05, (0, 0, 0))]
        under = joined(*star, rod(0.03, seat - 0.1, (0, 0, 0.05)))
        body = joined(
            pad(2 * width, 2 * width, 0.11, (0, 0, seat - 0.07)),
            pad(2 * width - 0.03, 0.09, back, (0, width - 0.045, seat + 0.04)),
            block(0.07, 0.03, 0.16, (0, width - 0.03, seat - 0.05)),
        )
        parts = [Part(body, material), Part(under, frame)]
    else:
        under = legs(width, width, seat - 0.04, 0.045, round_=m.chance(0.4))
        plate = block(2 * width, 2 * width, 0.04, (0, 0, seat - 0.04))
        if m.chance(0.5):
            bars = [
                block(0.035, 0.03, back, (dx, width - 0.02, seat)) for dx in np.linspace(-width + 0.02, width - 0.02, 5)
            ]
            rest = joined(*bars, block(2 * width, 0.035, 0.06, (0, width - 0.02, seat + back - 0.04)))
        else:
            posts = [block(0.04, 0.03, back, (dx, width - 0.02, seat)) for dx in (-width + 0.02, width - 0.02)]
            rest = joined(*posts, block(2 * width, 0.03, back * 0.45, (0, width - 0.02, seat + back * 0.55)))
        body = joined(under, plate, rest)
        parts = [Part(body, material)]
        if m.chance(0.45):
            cover = pad(2 * width - 0.03, 2 * width - 0.06, 0.06, (0, -0.01, seat - 0.004))
            parts.append(Part(cover, m.patterned(m.word(word), m.pattern(0.4), 0.05)))
    return Piece(ThingWords("chair", shape, word, made, pattern), tuple(parts), (width, width), seat + back)


def armchair(m: Maker) -> Piece:
    """An upholstered chair with arms."""
    word, made, pattern, cloth = _cover(m)
    x, y, seat, back, arm = m.size(0.38, 0.44), m.size(0.37, 0.42), 0.42, m.size(0.78, 1.0), m.size(0.54, 0.62)
    body = [
        pad(2 * x - 0.1, 2 * y - 0.04, 0.22, (0, 0, 0.08), 0.2),
        pad(2 * x - 0.28, 2 * y - 0.18, 0.16, (0, -0.07, seat - 0.14)),
        pad(2 * x - 0.04, 0.22, back - 0.1, (0, y - 0.12, 0.1)),
        *(pad(0.17, 2 * y - 0.02, arm - 0.08, (s * (x - 0.085), 0, 0.08), 0.28) for s in (-1, 1)),
    ]
    feet = legs(x - 0.05, y - 0.05, 0.12, 0.05)
    parts = (Part(joined(*body), cloth), Part(feet, m.plain(m.choose("black", "brown", "grey"))))
    return Piece(ThingWords("chair", "armchair", word, made, pattern), parts, (x, y), back)


def _cover(m: Maker) -> tuple[str, str, str, Material]:
    """What seats are covered with: words for colour, material and pattern, and how it looks."""
    word, pattern = m.word(), m.pattern(0.3)
    made = "leather" if not pattern and word in ("black", "brown", "red", "white") and m.chance(0.6) else "fabric"
    return word, made, pattern, m.patterned(word, pattern, m.size(0.06, 0.12))


def stool(m: Maker) -> Piece:
    """A round or square stool, or a bench."""
    word, height, r = m.word(), m.size(0.42, 0.62), m.size(0.17, 0.22)
    material, made = surface(m, word)
    shape = m.choose("round", "round", "square", "bench")
    x = r
    if shape == "round":
        top = rod(r, 0.06, (0, 0, height - 0.06), 22)
    else:
        if shape == "bench":
            x, height = m.size(0.42, 0.56), m.size(0.42, 0.48)
        top = block(2 * x, 2 * r, 0.06, (0, 0, height - 0.06))
    frame = material if m.chance(0.5) else m.plain(m.choose("black", "grey", "white"))
    inset = 0.75 if shape == "round" else 0.95
    under = legs(x * inset, r * inset, height - 0.06, 0.045, round_=m.chance(0.6))
    size = "tall" if height > 0.56 else ""
    words = ThingWords("stool", shape, word, made, "", size)
    return Piece(words, (Part(top, material), Part(under, frame)), (x, r), height)


def sofa(m: Maker) -> Piece:
    """A sofa of two or three seats, or one around a corner; boxy or round."""
    word, made, pattern, cloth = _cover(m)
    x, y, seat, back, arm = m.size(0.72, 1.0), m.size(0.4, 0.46), m.size(0.38, 0.44), m.size(0.72, 0.88), 0.17
    soft = m.size(0.12, 0.3)
    body = [
        block(2 * x - 0.04, 2 * y - 0.04, seat - 0.18, (0, 0, 0.06)),
        pad(2 * x - 0.02, 0.22, back - 0.06, (0, y - 0.11, 0.06), soft),
        *(pad(arm, 2 * y, m.size(0.46, 0.54), (s * (x - arm / 2), 0, 0.06), soft) for s in (-1, 1)),
    ]
    count = 2 if x < 0.86 else 3
    width = (2 * x - 2 * arm) / count
    for i in range(count):
        middle = -x + arm + (i + 0.5) * width
        body.append(pad(width, 2 * y - 0.2, 0.16, (middle, -0.09, seat - 0.14), 0.2))
        body.append(pad(width - 0.01, 0.16, back - seat - 0.02, (middle, y - 0.25, seat), 0.3))
    shape, extra = "", 0.0
    if m.chance(0.2):
        shape, extra = "long", 0.5
        body.append(pad(0.64, 0.62, seat - 0.05, (x - 0.32, -y - 0.2, 0.05), 0.15))
        # Its middle is that of the whole.
        for mesh in body:
            mesh.apply_translation([0, extra / 2, 0])
    feet = joined(*(block(0.06, 0.06, 0.06, (i * (x - 0.06), j * (y - 0.06) + extra / 2, 0)) for i in (-1, 1) for j in
                    (-1, 1)))  # fmt: skip
    parts = (Part(joined(*body), cloth), Part(feet, m.plain(m.choose("black", "brown", "grey"))))
    seats = (Top(seat + 0.02, 0, extra / 2 - 0.1, x - 0.4, 0.0),)
    return Piece(ThingWords("sofa", shape, word, made, pattern), parts, (x, y + extra / 2), back, (), seats)


def bed(m: Maker) -> Piece:
    """A frame with a headboard, a mattress, a blanket and a pillow or two."""
    word, pattern, frame_word = m.word("white"), m.pattern(0.45), m.choose(*WOODS, "grey", "black")
    frame, _ = surface(m, frame_word)
    x, y, z = m.size(0.48, 0.8), m.size(0.95, 1.02), m.size(0.42, 0.52)
    board = block(2 * x, 0.06, m.size(0.8, 1.05), (0, y - 0.03, 0))
    base = block(2 * x, 2 * y - 0.06, z - 0.2, (0, -0.03, 0.06))
    mattress = pad(2 * x - 0.04, 2 * y - 0.12, 0.22, (0, -0.03, z - 0.17), 0.12)
    blanket = pad(2 * x + 0.03, 1.35 * y, 0.18, (0, -0.32 * y, z - 0.09), 0.14)
    pillows = [
        pad(0.5 if x > 0.6 else 0.6, 0.36, 0.15, (dx, y - 0.28, z + 0.01), 0.5)
        for dx in ((-0.33, 0.33) if x > 0.62 else (0.0,))
    ]
    parts = (
        Part(joined(board, base, legs(x, y, 0.06, 0.07)), frame),
        Part(joined(mattress, *pillows), m.plain("white")),
        Part(blanket, m.patterned(word, pattern, m.size(0.08, 0.16))),
    )
    size = "large" if x > 0.68 else "small" if x < 0.54 else ""
    seats = (Top(z + 0.09, 0, 0.0, x - 0.3, 0.3),)
    return Piece(
        ThingWords("bed", "double bed" if x > 0.68 else "", word, "", pattern, "small" if size == "small" else ""),
        parts,
        (x, y),
        1.0,
        (),
        seats,
    )


def shelf(m: Maker) -> Piece:
    """A bookcase with boards, open or with a back."""
    word = m.choose(*WOODS, "grey", "blue", "green")
    material, made = surface(m, word, axis=2)
    tall = m.chance(0.6)
    x, y, height = m.size(0.35, 0.6), m.size(0.14, 0.18), m.size(1.5, 1.9) if tall else m.size(0.8, 1.1)
    count = 5 if tall else 3
    levels = np.linspace(0.05, height - 0.03, count)
    boards = [block(2 * x, 2 * y, 0.03, (0, 0, float(z) - 0.015)) for z in levels]
    sides = [block(0.03, 2 * y, height, (s * (x - 0.015), 0, 0)) for s in (-1, 1)]
    back = [] if m.chance(0.3) else [block(2 * x, 0.015, height, (0, y - 0.008, 0))]
    gap = float(levels[1] - levels[0]) - 0.04
    tops = tuple(Top(float(z) + 0.015, 0, -0.01, x - 0.06, y - 0.03, gap) for z in levels[:-1])
    tops = (*tops, Top(height, 0, 0, x - 0.1, y - 0.05))
    words = ThingWords("shelf", "bookcase" if tall else "", word, made, "", "tall" if tall else "")
    return Piece(words, (Part(joined(*boards, *sides, *back), material),), (x, y), height, tops)


def cabinet(m: Maker) -> Piece:
    """A chest with drawers, or a cupboard with doors."""
    word = m.choose(*WOODS, "grey", "blue", "green", "red", "yellow", "turquoise")
    material, made = surface(m, word)
    front = material if m.chance(0.5) else m.plain(m.word(word))
    x, y = m.size(0.4, 0.65), m.size(0.2, 0.25)
    tall = m.chance(0.3)
    height = m.size(1.5, 1.85) if tall else m.size(0.65, 0.9)
    body = block(2 * x, 2 * y - 0.02, height, (0, 0.01, 0))
    fronts, knobs = [], []
    shape = "wardrobe" if tall else ""
    if tall or m.chance(0.4):
        for s in (-1, 1):
            fronts.append(block(x - 0.03, 0.02, height - 0.12, (s * x / 2, -y + 0.01, 0.06)))
            knobs.append(globe(0.022, (s * 0.06, -y - 0.012, height * 0.55)))
    else:
        count, shape = 3, "chest of drawers"
        step = (height - 0.08) / count
        for i in range(count):
            fronts.append(block(2 * x - 0.06, 0.02, step - 0.03, (0, -y + 0.01, 0.05 + i * step)))
            knobs.append(globe(0.022, (0, -y - 0.012, 0.05 + (i + 0.45) * step)))
    parts = (
        Part(body, material),
        Part(joined(*fronts), front),
        Part(joined(*knobs), m.plain(m.choose("grey", "black", "yellow"))),
    )
    tops = (Top(height, 0, 0, x - 0.12, y - 0.08),)
    return Piece(ThingWords("cabinet", shape, word, made, "", "tall" if tall else ""), parts, (x, y), height, tops)


def lamp(m: Maker, *, standing: bool) -> Piece:
    """A lamp with a shade, to stand on the floor or on a table."""
    word, pattern = m.word("black"), m.pattern(0.3)
    height = m.size(1.35, 1.65) if standing else m.size(0.38, 0.5)
    r = m.size(0.17, 0.22) if standing else m.size(0.11, 0.15)
    drop = 0.28 if standing else 0.19
    narrow = r * m.size(0.5, 0.95)
    shade = lathe(
        [(r, height - drop), (narrow, height), (narrow - 0.008, height), (r - 0.008, height - drop), (r, height - drop)]
    )
    foot = m.choose("black", "grey", "brown", "white")
    stem = joined(rod(0.018, height - 0.06, (0, 0, 0.02), 10), rod(r * 0.7, 0.03, (0, 0, 0), 18))
    if not standing and m.chance(0.4):
        stem = joined(globe(0.085, (0, 0, 0.085)), rod(0.015, height - 0.2, (0, 0, 0.15), 8))
        foot = m.word(word)
    parts = (Part(shade, m.patterned(word, pattern, 0.05, axis=2, around=10)), Part(stem, m.plain(foot)))
    words = ThingWords("lamp", "floor lamp" if standing else "table lamp", word, "", pattern)
    return Piece(words, parts, (r, r), height)


def hanging_lamp(m: Maker) -> Piece:
    """A lamp that hangs from the ceiling; its frame's origin is where it is fixed."""
    word, r, drop = m.word(), m.size(0.17, 0.26), m.size(0.35, 0.6)
    if m.chance(0.4):
        shade = globe(r * 0.8, (0, 0, -drop))
    else:
        shade = lathe([(r, -drop), (r * 0.4, -drop + 0.2), (r * 0.35, -drop + 0.2), (r - 0.01, -drop), (r, -drop)])
    cord = rod(0.012, drop, (0, 0, -drop), 6)
    parts = (Part(shade, m.plain(word)), Part(cord, m.plain("black")))
    return Piece(ThingWords("lamp", "ceiling lamp", word), parts, (r, r), drop)


def plant(m: Maker, *, large: bool) -> Piece:
    """A plant in a pot: leafy, a bush, a cactus or flowers."""
    kind = m.choose("leafy", "leafy", "bush", "cactus", "flowers")
    s = m.size(0.9, 1.15) * (1.0 if large else 0.58)
    r, h = 0.15 * s, 0.27 * s
    profile = [(0.0, 0.0), (r * 0.72, 0.0), (r, h), (r * 0.88, h), (r * 0.85, h * 0.85), (0.0, h * 0.85)]
    pot_word, pattern = m.word("green"), m.pattern(0.2)
    pot = Part(lathe(profile, 18), m.patterned(pot_word, pattern, 0.05 * s + 0.01, axis=2, around=8))
    green = _foliage_colour(m)
    parts = {"leafy": _leafy, "bush": _bush, "cactus": _cactus, "flowers": _flowers}[kind](m, s, h * 0.8, green)
    bounds = np.stack([part.mesh.bounds for part in (pot, *parts)])
    top, reach = float(bounds[:, 1, 2].max()), np.abs(bounds[..., :2]).max((0, 1))
    words = ThingWords("plant", "cactus" if kind == "cactus" else "", "green", "", "", "large" if large else "small")
    return Piece(words, (pot, *parts), (float(reach[0]), float(reach[1])), top)


def _foliage_colour(m: Maker) -> Material:
    light = m.colour("green")
    return Material("leaf", (light, (light[0] * 0.55, light[1] * 0.65, light[2] * 0.55)), 0.07, m.seed())


def _leaf(length: float, width: float, tilt: float, turn: float, z: float) -> trimesh.Trimesh:
    """A leaf that rises from the axis at a height, ``tilt`` away from upright."""
    import trimesh

    leaf = trimesh.creation.icosphere(1, 1.0)
    leaf.apply_scale([width / 2, 0.006 + 0.04 * width, length / 2])
    leaf.apply_translation([0, 0, length / 2])
    leaf.apply_transform(trimesh.transformations.rotation_matrix(tilt, [1, 0, 0]))
    leaf.apply_transform(trimesh.transformations.rotation_matrix(turn, [0, 0, 1]))
    return _at(leaf, 0, 0, z)


def _leafy(m: Maker, s: float, base: float, green: Material) -> list[Part]:
    tall, leaves = m.chance(0.5), []
    wide = m.size(0.8, 1.5)
    for i in range(15):
        tilt = m.size(0.15, 0.5) if tall else m.size(0.3, 0.95)
        z = base + s * (m.size(0.0, 0.3) if tall else m.size(0, 0.1))
        leaves.append(_leaf(s * m.size(0.26, 0.44), 0.11 * s * wide, tilt, i * GOLDEN_ANGLE + m.size(0, 0.5), z))
    return [Part(joined(*leaves, rod(0.014 * s + 0.004, base + 0.3 * s, (0, 0, 0), 6)), green)]


def _bush(m: Maker, s: float, base: float, green: Material) -> list[Part]:
    tall, r = m.size(0.25, 0.5) * s, m.size(0.17, 0.22) * s
    balls = [globe(r, (0, 0, base + tall + r * 0.5))]
    if m.chance(0.5):
        balls.append(globe(r * 0.65, (0, 0, base + tall + r * 1.9)))
    for mesh in balls:
        middle = mesh.vertices.mean(0)
        mesh.vertices = middle + (mesh.vertices - middle) * m.random.uniform(0.85, 1.12, (len(mesh.vertices), 1))
    trunk = rod(0.02 * s, tall + r, (0, 0, base - 0.02), 8)
    return [Part(joined(*balls), green), Part(trunk, m.plain("brown"))]


def _cactus(m: Maker, s: float, base: float, green: Material) -> list[Part]:
    import trimesh

    skin = Material("stripes", (green.colours[0], green.colours[1]), 0.03, m.seed(), 0, 12, 0.7)
    tall, r = m.size(0.42, 0.6) * s, 0.075 * s
    meshes = [capsule(tall, r, 12)]
    meshes[0].apply_translation([0, 0, base])
    for side in (-1, 1) if m.chance(0.6) else (1,):
        z = base + tall * m.size(0.25, 0.5)
        elbow = capsule(0.1 * s, r * 0.6, 10)
        elbow.apply_transform(trimesh.transformations.rotation_matrix(side * np.pi / 2, [0, 1, 0]))
        arm = capsule(tall * 0.35, r * 0.6, 10)
        meshes += [_at(elbow, side * r * 0.5, 0, z), _at(arm, side * (r * 0.5 + 0.1 * s), 0, z)]
    return [Part(joined(*meshes), skin)]


def _flowers(m: Maker, s: float, base: float, green: Material) -> list[Part]:
    petals, hearts, stems = [], [], []
    for i in range(4 + int(m.random.integers(3))):
        angle, reach, z = i * GOLDEN_ANGLE, 0.12 * s * m.size(0.2, 1), base + s * m.size(0.28, 0.48)
        x, y = reach * np.cos(angle), reach * np.sin(angle)
        head = globe(0.07 * s, (0, 0, 0))
        head.apply_scale([1, 1, 0.5])
        petals.append(_at(head, x, y, z))
        hearts.append(globe(0.03 * s, (x, y, z + 0.028 * s)))
        stems.append(rod(0.008 * s + 0.002, z - base + 0.02, (x, y, base - 0.02), 6))
    stems += [_leaf(0.2 * s, 0.08 * s, m.size(0.6, 1.1), i * GOLDEN_ANGLE, base) for i in range(7)]
    bloom = m.plain(m.choose("red", "orange", "yellow", "purple", "pink", "white"))
    return [Part(joined(*petals), bloom), Part(joined(*hearts), m.plain("yellow")), Part(joined(*stems), green)]


def vase(m: Maker) -> Piece:
    """A vase, bulging, slim or straight."""
    word, pattern = m.word(), m.pattern(0.4)
    h, r, shape = m.size(0.28, 0.42), m.size(0.075, 0.11), m.choose("round", "long", "")
    if shape == "round":
        outline = [(0.5, 0), (1.1, 0.25), (1.2, 0.45), (0.8, 0.7), (0.4, 0.85), (0.5, 1)]
    elif shape == "long":
        outline = [(0.6, 0), (0.7, 0.3), (0.6, 0.6), (0.35, 0.8), (0.5, 1)]
    else:
        outline = [(0.75, 0), (0.85, 0.5), (0.95, 1)]
    outside = [(a * r, b * h) for a, b in outline]
    inside = [(outside[-1][0] - 0.012, h), (outside[-1][0] - 0.02, h * 0.8), (0.0, h * 0.78)]
    body = lathe([(0.0, 0.0), *outside, *inside])
    made = m.choose("ceramic", "glass", "ceramic")
    part = Part(body, m.patterned(word, pattern, 0.045, axis=2, around=8))
    return Piece(ThingWords("vase", shape, word, made, pattern), (part,), (1.2 * r, 1.2 * r), h)


def ball(m: Maker) -> Piece:
    """A ball."""
    word, pattern, r = m.word(), m.pattern(0.55), m.size(0.11, 0.17)
    shape, paint = "", m.patterned(word, pattern, r * 0.5, axis=2, around=8)
    if not pattern and m.chance(0.4):
        shape = "beach ball"
        word = m.word("white", "beige", "grey", "black")
        paint = Material("sectors", (m.colour(word), m.colour("white")), 0.1, 0, 2, 6)
    mesh = globe(r, (0, 0, 0))
    part = Part(mesh, paint)
    size = "large" if r > 0.155 else "small" if r < 0.125 else ""
    return Piece(ThingWords("ball", shape, word, "", pattern, size), (part,), (r, r), 2 * r, foot=-r)


def cup(m: Maker) -> Piece:
    """A cup with a handle."""
    import trimesh

    word, pattern, h, r = m.word(), m.pattern(0.3), m.size(0.13, 0.17), m.size(0.055, 0.07)
    body = lathe([(0.0, 0.0), (r * 0.85, 0.0), (r, h), (r - 0.01, h), (r * 0.8, 0.02), (0.0, 0.02)], 18)
    handle = trimesh.creation.torus(h * 0.28, 0.012, major_sections=12, minor_sections=6)
    handle.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, [1, 0, 0]))
    part = Part(joined(body, _at(handle, r, 0, h * 0.5)), m.patterned(word, pattern, 0.03, axis=2, around=8))
    return Piece(ThingWords("cup", "", word, "ceramic", pattern), (part,), (1.6 * r, r), h)


def book(m: Maker, *, upright: bool) -> Piece:
    """A book, standing with its back toward -y, or lying."""
    word = m.word()
    h, d, t = m.size(0.22, 0.29), m.size(0.16, 0.2), m.size(0.035, 0.065)
    # Pages stick out of a block that has the cover's colour by less than its edges are wide.
    cover, pages = block(t, d, h, (0, 0, 0)), block(t - 0.016, d - 0.004, h + 0.004, (0, 0.004, -0.002))
    half, height = (t / 2, d / 2 + 0.002), h + 0.002
    if not upright:
        for mesh in (cover, pages):
            mesh.apply_transform(np.array([[0, 0, 1.0, -h / 2], [0, 1, 0, 0], [-1, 0, 0, t / 2], [0, 0, 0, 1]]))
        half, height = (h / 2 + 0.002, d / 2 + 0.002), t
    parts = (Part(cover, m.plain(word)), Part(pages, m.plain("white")))
    return Piece(ThingWords("book", "", word), parts, half, height)


def book_row(m: Maker, width: float, headroom: float) -> Piece:
    """Books side by side, backs toward -y."""
    thick = m.size(0.034, 0.045)
    pairs = max(2, int(m.size(0.4, 1.0) * width / thick / 2))
    tallest, depth = min(headroom - 0.02, 0.29), m.size(0.16, 0.2)
    volumes = [
        block(thick - 0.001, depth, tallest * m.size(0.75, 1.0), (thick * (i + 0.5), m.size(0, 0.015), 0))
        for i in range(-pairs, pairs)
    ]
    backs = m.of("spines", m.words(4), thick, extent=(0.12, 0.0))
    words = ThingWords("book", "row of books")
    return Piece(words, (Part(joined(*volumes), backs),), (pairs * thick, depth / 2 + 0.015), tallest)


def book_stack(m: Maker) -> Piece:
    """Books that lie on each other."""
    parts: list[Part] = []
    z, half = 0.0, np.zeros(2)
    for _ in range(3 + int(m.random.integers(3))):
        volume = book(m, upright=False)
        move = _turned_about_z(m.size(-0.25, 0.25))
        move[2, 3] = z
        for part in volume.parts:
            part.mesh.apply_transform(move)
        parts += volume.parts
        z += volume.height
        half = np.maximum(half, outline(volume.half, float(np.arctan2(move[1, 0], move[0, 0]))))
    return Piece(ThingWords("book", "stack of books"), tuple(parts), (float(half[0]), float(half[1])), z)


def monitor(m: Maker) -> Piece:
    """A screen on a foot, or a laptop, showing something."""
    word, laptop = m.choose("black", "grey", "white"), m.chance(0.3)
    x, h = (m.size(0.18, 0.22), m.size(0.24, 0.28)) if laptop else (m.size(0.22, 0.32), m.size(0.3, 0.36))
    low = 0.025 if laptop else 0.12
    frame = block(2 * x, 0.03, h, (0, 0, low))
    if laptop:
        foot = joined(block(2 * x, 0.26, 0.025, (0, -0.115, 0)))
    else:
        foot = joined(rod(0.12, 0.015, (0, 0.0, 0), 16), block(0.05, 0.03, 0.16, (0, 0.03, 0)))
    screen = block(2 * x - 0.04, 0.006, h - 0.04, (0, -0.016, -(h - 0.04) / 2))
    shown = m.of(
        "screen", (m.choose("blue", "turquoise", "purple", "black"), "black", "white", "black"), 0.1, extent=(x, h / 2)
    )
    keys = block(2 * x - 0.06, 0.13, 0.004, (0, -0.1, 0.025))
    parts = [Part(joined(frame, foot), m.plain(word)), Part(screen, shown)]
    if laptop:
        parts.append(Part(keys, m.of("checks", ("black", "grey") if word != "black" else ("grey", "white"), 0.03)))
    # The picture on the screen has its middle at the origin of the thing's frame.
    middle = low + h / 2
    for part in parts:
        if part.mesh is not screen:
            part.mesh.apply_translation([0, 0, -middle])
    half_y = 0.25 if laptop else 0.12
    return Piece(
        ThingWords("monitor", "laptop" if laptop else "", word), tuple(parts), (x, half_y), h + low, foot=-middle
    )


def box(m: Maker, *, large: bool) -> Piece:
    """A box, of cardboard with tape or in a colour with a lid."""
    s = m.size(0.16, 0.22) if large else m.size(0.08, 0.12)
    x, y, h = s * m.size(0.8, 1.3), s * m.size(0.8, 1.1), s * m.size(1.0, 1.8)
    if m.chance(0.4):
        word, made, pattern = "brown", "cardboard", ""
        second = Part(block(0.06, 2 * y + 0.004, h + 0.003, (0, 0, 0)), m.plain("beige"))
        body = Part(block(2 * x, 2 * y, h, (0, 0, 0)), m.plain("brown"))
    else:
        word, made, pattern = m.word(), "", m.pattern(0.4)
        lid = m.patterned(word, pattern, 0.06) if m.chance(0.5) else m.plain(m.word(word))
        second = Part(block(2 * x + 0.015, 2 * y + 0.015, h * 0.22, (0, 0, h * 0.8)), lid)
        body = Part(block(2 * x, 2 * y, h, (0, 0, 0)), m.patterned(word, pattern, 0.06))
    words = ThingWords("box", "", word, made, pattern, "large" if large else "small")
    return Piece(words, (body, second), (x, y), h * 1.02)


def cushion(m: Maker) -> Piece:
    """A cushion that leans, or lies."""
    import trimesh

    word, pattern, s = m.word(), m.pattern(0.5), m.size(0.18, 0.22)
    mesh = trimesh.creation.icosphere(2, 1.0)
    flat = np.sign(mesh.vertices) * np.abs(mesh.vertices) ** 0.6
    mesh.vertices = flat * np.array([s, 0.075, s])
    tilt = trimesh.transformations.rotation_matrix(m.size(-0.5, -0.25), [1, 0, 0])
    mesh.apply_transform(tilt)
    mesh.apply_translation([0, 0, -float(mesh.bounds[0, 2])])
    part = Part(mesh, m.patterned(word, pattern, 0.06))
    return Piece(ThingWords("cushion", "", word, "fabric", pattern), (part,), (s, 0.12), 2 * s)


def bin_(m: Maker) -> Piece:
    """A bin, open at its top."""
    word, h, r = m.word(), m.size(0.3, 0.4), m.size(0.13, 0.17)
    body = lathe([(0.0, 0.0), (r * 0.8, 0.0), (r, h), (r - 0.012, h), (r * 0.75, 0.02), (0.0, 0.02)])
    pattern = m.choose("striped", "checked") if m.chance(0.2) else ""
    part = Part(body, m.patterned(word, pattern, 0.05, axis=2, around=8))
    return Piece(ThingWords("bin", "", word, m.choose("plastic", "metal"), pattern), (part,), (r, r), h)


def rug(m: Maker) -> Piece:
    """A rug, with a border, or round."""
    word, pattern = m.word(), m.pattern(0.65)
    cloth, edge = m.patterned(word, pattern, m.size(0.1, 0.2)), m.plain(m.word(word))
    if m.chance(0.3):
        r = m.size(0.6, 0.9)
        parts = (Part(rod(r, 0.012, (0, 0, 0), 32), edge), Part(rod(r - 0.07, 0.017, (0, 0, 0), 32), cloth))
        return Piece(ThingWords("rug", "round", word, "fabric", pattern), parts, (r, r), 0.017)
    x, y = m.size(0.7, 1.1), m.size(0.5, 0.75)
    if not pattern and m.chance(0.5):
        cloth = m.of("border", (word, *m.words(3)), 0.07, extent=(x - 0.06, y - 0.06))
    parts = (
        Part(block(2 * x, 2 * y, 0.012, (0, 0, 0)), edge),
        Part(block(2 * x - 0.12, 2 * y - 0.12, 0.017, (0, 0, 0)), cloth),
    )
    return Piece(ThingWords("rug", "", word, "fabric", pattern), parts, (x, y), 0.017)


def picture(m: Maker) -> Piece:
    """A framed picture for a wall: its back at y = 0, its middle at the origin."""
    word = m.choose("black", "brown", "white", "yellow", "red", "blue")
    x, z = m.size(0.22, 0.45), m.size(0.2, 0.38)
    frame = block(2 * x, 0.03, 2 * z, (0, -0.015, -z))
    shown = m.of("landscape" if m.chance(0.5) else "abstract", m.words(4), 0.1, extent=(x - 0.035, z - 0.035))
    canvas = block(2 * x - 0.07, 0.006, 2 * z - 0.07, (0, -0.031, -z + 0.035))
    shape = "long" if x > 1.5 * z else ""
    return Piece(
        ThingWords("picture", shape, word), (Part(frame, m.plain(word)), Part(canvas, shown)), (x, 0.03), 2 * z
    )


def clock(m: Maker) -> Piece:
    """A round clock for a wall."""
    import trimesh

    word, r = m.word("white"), m.size(0.15, 0.22)
    turned = trimesh.transformations.rotation_matrix(np.pi / 2, [1, 0, 0])
    rim, face = rod(r, 0.04, (0, 0, 0), 24), rod(r * 0.86, 0.046, (0, 0, 0), 24)
    for mesh in (rim, face):
        mesh.apply_transform(turned)
    dial = Material("clock", (m.colour("white"), m.colour("black")), 0.1, m.seed(), extent=(r * 0.86, r * 0.86))
    parts = (Part(rim, m.plain(word)), Part(face, dial))
    return Piece(ThingWords("clock", "round", word), parts, (r, 0.05), 2 * r)


def door(m: Maker) -> Piece:
    """A door in its frame, for a wall: back at y = 0, standing on the floor."""
    word = m.choose(*WOODS, "white", "grey", "blue", "green", "red")
    material, made = surface(m, word, axis=2)
    x, h = m.size(0.4, 0.46), m.size(1.95, 2.05)
    frame = joined(
        *(block(0.07, 0.06, h + 0.07, (s * (x + 0.035), -0.03, 0)) for s in (-1, 1)),
        block(2 * x, 0.06, 0.07, (0, -0.03, h)),
    )
    leaf = [block(2 * x, 0.03, h, (0, -0.015, 0))]
    if m.chance(0.6):
        leaf += [block(1.3 * x, 0.045, h * 0.36, (0, -0.0225, h * z)) for z in (0.1, 0.54)]
    knob = globe(0.035, (x * 0.82, -0.07, h * 0.5))
    parts = (
        Part(joined(*leaf), material),
        Part(frame, m.plain(m.choose("white", "brown", word))),
        Part(knob, m.plain(m.choose("grey", "yellow", "black"))),
    )
    return Piece(ThingWords("door", "", word, made), parts, (x + 0.07, 0.06), h + 0.07)


def window(m: Maker) -> Piece:
    """A window with bars, for a wall: back at y = 0, its middle at the origin."""
    word = m.choose("white", "brown", "grey", "black")
    x, z = m.size(0.4, 0.65), m.size(0.42, 0.6)
    pane = block(2 * x, 0.01, 2 * z, (0, -0.005, -z))
    bars = [block(0.06, 0.06, 2 * z, (s * (x - 0.03), -0.03, -z)) for s in (-1, 0, 1)]
    bars += [block(2 * x, 0.06, 0.06, (0, -0.03, s * (z - 0.03) - 0.03)) for s in (-1, 1)]
    sill = block(2 * x + 0.1, 0.12, 0.03, (0, -0.06, -z - 0.03))
    sky = Material(
        "sky", ((0.5, 0.72, 0.95), (0.95, 0.97, 1.0), (0.2, 0.4, 0.16), (0.36, 0.52, 0.2)), 0.5, m.seed(), extent=(x, z)
    )
    return Piece(
        ThingWords("window", "", word), (Part(pane, sky), Part(joined(*bars, sill), m.plain(word))), (x, 0.12), 2 * z
    )


def bowl(m: Maker) -> Piece:
    """An open bowl."""
    word, pattern, r = m.word(), m.pattern(0.3), m.size(0.11, 0.16)
    h = r * m.size(0.6, 0.85)
    outside = [(0.0, 0.0), (r * 0.5, 0.0), (r * 0.8, h * 0.35), (r, h)]
    body = lathe([*outside, (r - 0.012, h), (r * 0.75, h * 0.4), (0.0, h * 0.15)])
    made = m.choose("ceramic", "wooden", "metal")
    paint = m.wood(word) if made == "wooden" else m.patterned(word, pattern, 0.03, axis=2, around=8)
    words = ThingWords("bowl", "", word, made, "" if made == "wooden" else pattern)
    return Piece(words, (Part(body, paint),), (r, r), h)


def bottle(m: Maker) -> Piece:
    """A bottle with a label and a cap."""
    word, h, r = m.word(), m.size(0.26, 0.34), m.size(0.042, 0.055)
    body = lathe([(0.0, 0.0), (r, 0.0), (r, h * 0.6), (r * 0.4, h * 0.78), (r * 0.36, h * 0.95), (0.0, h * 0.95)], 16)
    label = rod(r + 0.002, h * 0.26, (0, 0, h * 0.18), 16)
    cap = rod(r * 0.45, h * 0.07, (0, 0, h * 0.93), 12)
    parts = (
        Part(body, m.plain(word)),
        Part(label, m.plain(m.choose("white", "beige", "yellow"))),
        Part(cap, m.plain(m.word(word))),
    )
    return Piece(ThingWords("bottle", "", word, m.choose("glass", "plastic")), parts, (r, r), h)


def basket(m: Maker) -> Piece:
    """A wicker basket, open at its top."""
    word, h, r = m.choose("beige", "brown", "white", "orange"), m.size(0.22, 0.32), m.size(0.17, 0.22)
    body = lathe([(0.0, 0.0), (r * 0.85, 0.0), (r, h), (r - 0.02, h), (r * 0.8, 0.03), (0.0, 0.03)], 24)
    paint = Material("wicker", (m.colour(word), m.colour("brown")), 0.05, m.seed(), 2, 20)
    return Piece(ThingWords("basket", "round", word, "wicker"), (Part(body, paint),), (r, r), h)


def teddy(m: Maker) -> Piece:
    """A toy bear that sits."""
    word, s = m.choose("brown", "beige", "white", "pink", "grey", "black"), m.size(0.9, 1.2)
    fur = [globe(0.11 * s, (0, 0, 0.11 * s)), globe(0.08 * s, (0, -0.01, 0.27 * s))]
    fur += [globe(0.03 * s, (side * 0.06 * s, 0, 0.34 * s)) for side in (-1, 1)]
    fur += [globe(0.045 * s, (side * 0.09 * s, -0.1 * s, 0.05 * s)) for side in (-1, 1)]
    fur += [globe(0.035 * s, (side * 0.12 * s, -0.04 * s, 0.17 * s)) for side in (-1, 1)]
    snout = globe(0.035 * s, (0, -0.085 * s, 0.255 * s))
    eyes = [globe(0.012 * s, (side * 0.03 * s, -0.08 * s, 0.295 * s)) for side in (-1, 1)]
    parts = (
        Part(joined(*fur), m.plain(word)),
        Part(snout, m.plain("beige" if word != "beige" else "white")),
        Part(joined(*eyes), m.plain("black" if word != "black" else "white")),
    )
    return Piece(ThingWords("teddy", "", word, "", "", ""), parts, (0.15 * s, 0.15 * s), 0.37 * s)


def curtain(m: Maker, height: float) -> Piece:
    """Folds of cloth for a wall, beside a window: back at y = 0, its middle at the origin."""
    word, pattern, x, count = m.word(), m.pattern(0.3), m.size(0.16, 0.22), 6
    folds = [
        rod(x / count * 1.15, height, (x * (2 * (i + 0.5) / count - 1), -0.05, -height / 2), 10) for i in range(count)
    ]
    part = Part(joined(*folds), m.patterned(word, pattern, 0.08, axis=2))
    return Piece(ThingWords("curtain", "", word, "fabric", pattern), (part,), (x, 0.09), height)


SMALL: dict[str, Callable[[Maker], Piece]] = {
    "vase": vase,
    "cup": cup,
    "lamp": lambda m: lamp(m, standing=False),
    "plant": lambda m: plant(m, large=False),
    "box": lambda m: box(m, large=False),
    "book": lambda m: book_stack(m) if m.chance(0.4) else book(m, upright=False),
    "ball": ball,
    "monitor": monitor,
    "bowl": bowl,
    "bottle": bottle,
    "teddy": teddy,
}
"""What stands on furniture."""


def outline(half: tuple[float, float], turn: float) -> Float[np.ndarray, " 2"]:
    """Half the extent along x and y of a rectangle that is turned about z."""
    c, s = abs(np.cos(turn)), abs(np.sin(turn))
    return np.array([c * half[0] + s * half[1], s * half[0] + c * half[1]])
