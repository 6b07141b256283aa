"""Lamps that stand or hang."""

from __future__ import annotations

from training.rooms.furniture.pieces import Maker, Part, Piece
from training.rooms.shapes import globe, joined, lathe, rod
from training.rooms.words import ThingWords


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
