"""What hangs on walls or lies on the floor: doors, windows, curtains, pictures, clocks, rugs."""

from __future__ import annotations

import numpy as np

from training.rooms.furniture.pieces import WOODS, Maker, Part, Piece, surface
from training.rooms.materials import Material
from training.rooms.shapes import block, globe, joined, rod
from training.rooms.words import ThingWords


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


def curtain(m: Maker, height: float) -> Piece:
    """Folds of cloth for a wall, beside a window: back at y = 0, its middle at the origin."""
    word, pattern, x, count = m.word(), m.pattern(0.3), m.size(0.16, 0.22), 6
    folds = [
        rod(x / count * 1.15, height, (x * (2 * (i + 0.5) / count - 1), -0.05, -height / 2), 10) for i in range(count)
    ]
    part = Part(joined(*folds), m.patterned(word, pattern, 0.08, axis=2))
    return Piece(ThingWords("curtain", "", word, "fabric", pattern), (part,), (x, 0.09), height)
