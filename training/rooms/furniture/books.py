"""Books, alone, in rows and in stacks."""

from __future__ import annotations

import numpy as np

from training.rooms.furniture.pieces import Maker, Part, Piece
from training.rooms.shapes import block, joined, outline, turned_about_z
from training.rooms.words import ThingWords


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
        move = turned_about_z(m.size(-0.25, 0.25))
        move[2, 3] = z
        for part in volume.parts:
            part.mesh.apply_transform(move)
        parts += volume.parts
        z += volume.height
        half = np.maximum(half, outline(volume.half, float(np.arctan2(move[1, 0], move[0, 0]))))
    return Piece(ThingWords("book", "stack of books"), tuple(parts), (float(half[0]), float(half[1])), z)
