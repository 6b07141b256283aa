"""Chairs, stools, sofas and beds."""

from __future__ import annotations

import numpy as np

from training.rooms.furniture.pieces import WOODS, Maker, Part, Piece, Top, surface, upholstery
from training.rooms.shapes import block, joined, legs, pad, rod
from training.rooms.words import ThingWords


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
    word, made, pattern, cloth = upholstery(m)
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
    word, made, pattern, cloth = upholstery(m)
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
