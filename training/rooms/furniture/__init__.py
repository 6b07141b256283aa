"""Builders of furniture: things made of parts, in their own frame (z up, floor at 0, the front toward -y)."""

from __future__ import annotations

from collections.abc import Callable

from training.rooms.furniture.books import book, book_row, book_stack
from training.rooms.furniture.lamps import hanging_lamp, lamp
from training.rooms.furniture.pieces import Maker, Part, Piece, Top
from training.rooms.furniture.plants import plant
from training.rooms.furniture.seats import armchair, bed, chair, sofa, stool
from training.rooms.furniture.small import ball, basket, bin_, bottle, bowl, box, cup, cushion, monitor, teddy, vase
from training.rooms.furniture.tables import cabinet, shelf, table
from training.rooms.furniture.walls import clock, curtain, door, picture, rug, window

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

__all__ = [
    "SMALL",
    "Maker",
    "Part",
    "Piece",
    "Top",
    "armchair",
    "ball",
    "basket",
    "bed",
    "bin_",
    "book",
    "book_row",
    "book_stack",
    "bottle",
    "bowl",
    "box",
    "cabinet",
    "chair",
    "clock",
    "cup",
    "curtain",
    "cushion",
    "door",
    "hanging_lamp",
    "lamp",
    "monitor",
    "picture",
    "plant",
    "rug",
    "shelf",
    "sofa",
    "stool",
    "table",
    "teddy",
    "vase",
    "window",
]
