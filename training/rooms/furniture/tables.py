"""Tables, shelves and cabinets: what other things stand on."""

from __future__ import annotations

import numpy as np

from training.rooms.furniture.pieces import WOODS, Maker, Part, Piece, Top, surface
from training.rooms.shapes import block, globe, joined, legs, rod
from training.rooms.words import ThingWords


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
