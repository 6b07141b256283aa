"""What things in rooms are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from render.errors import InputError

CLASSES: tuple[str, ...] = (
    "wall", "floor", "ceiling", "door", "window", "rug", "table", "chair", "sofa", "bed", "shelf", "book", "lamp",
    "plant", "vase", "ball", "cup", "monitor", "picture", "box", "stool", "cabinet", "cushion", "bin", "clock", "bowl",
    "bottle", "curtain", "basket", "teddy",
)  # fmt: skip
"""Class id = index; walls, floor and ceiling come first."""

VOID = 255
"""In class maps, where a ray hits nothing."""

COLOURS: Mapping[str, tuple[str, ...]] = {
    "red": ("c22f2a", "b01f2a", "d5413a"),
    "orange": ("e67a1e", "f08830", "d9691a"),
    "yellow": ("f0c419", "e8bb2c", "f5d550"),
    "green": ("2e8b4f", "4f9d3f", "6aa84f", "1f6b3f"),
    "turquoise": ("2bb5b0", "43c4ba", "1f9e9a"),
    "blue": ("2a6fc4", "1f4e9c", "4a90d9"),
    "purple": ("7d3c98", "6a4bb0", "9556b4"),
    "pink": ("ea8fb5", "f2a5c2", "dd6d9d"),
    "brown": ("7a4a2a", "8b5a2f", "5f3a22"),
    "black": ("1d1d1f", "28282b", "151517"),
    "white": ("f2f1ee", "f8f8f7", "eceae6"),
    "grey": ("8a8d91", "a0a2a5", "6f7276"),
    "beige": ("dac7a0", "cfb98f", "e2d3b2"),
}
"""sRGB of each colour word, as six hexadecimal digits; materials vary a little around one of them."""

MATERIALS: tuple[str, ...] = (
    "wooden", "metal", "plastic", "leather", "fabric", "glass", "ceramic", "wicker", "stone", "cardboard", "woollen",
)  # fmt: skip
PATTERNS: tuple[str, ...] = ("striped", "checked", "dotted", "zigzag", "marbled")
SIZES: tuple[str, ...] = ("small", "large", "tall")
SHAPES: tuple[str, ...] = ("round", "square", "long")
"""Shapes that stand before the noun."""

SHAPE_NOUNS: Mapping[str, str] = {
    "armchair": "chair", "office chair": "chair", "desk": "table", "coffee table": "table", "bench": "stool",
    "wardrobe": "cabinet", "chest of drawers": "cabinet", "bookcase": "shelf", "floor lamp": "lamp",
    "ceiling lamp": "lamp", "table lamp": "lamp", "cactus": "plant", "beach ball": "ball", "laptop": "monitor",
    "row of books": "book", "stack of books": "book", "double bed": "bed",
}  # fmt: skip
"""Shapes that are nouns of their own, and the category that they belong to."""

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "floor": ("ground",),
    "door": ("doorway",),
    "rug": ("carpet", "mat"),
    "chair": ("seat",),
    "sofa": ("couch", "settee"),
    "shelf": ("rack",),
    "book": ("volume",),
    "lamp": ("light",),
    "plant": ("houseplant", "potted plant"),
    "vase": ("urn",),
    "ball": ("sphere",),
    "cup": ("mug",),
    "monitor": ("screen", "display"),
    "picture": ("painting", "artwork"),
    "box": ("container", "carton"),
    "cabinet": ("cupboard", "dresser"),
    "cushion": ("pillow",),
    "bin": ("dustbin", "trash can"),
    "clock": ("timepiece",),
    "bowl": ("dish",),
    "bottle": ("flask",),
    "curtain": ("drape",),
    "basket": ("hamper",),
    "teddy": ("teddy bear", "toy bear"),
}
"""Other words for every thing of a category."""


@dataclass(frozen=True)
class ThingWords:
    """What can be said of a thing; "" = not said.

    Attributes:
        category: One of :data:`CLASSES`.
        shape: One of :data:`SHAPES` or :data:`SHAPE_NOUNS`.
        colour: A word of :data:`COLOURS`, or two with "and" between, the more frequent one first.
        material: One of :data:`MATERIALS`.
        pattern: One of :data:`PATTERNS`.
        size: One of :data:`SIZES`.

    Raises:
        InputError: a word that is not one of these.
    """

    category: str
    shape: str = ""
    colour: str = ""
    material: str = ""
    pattern: str = ""
    size: str = ""

    def __post_init__(self) -> None:
        allowed = {
            "category": CLASSES,
            "shape": ("", *SHAPES, *SHAPE_NOUNS),
            "material": ("", *MATERIALS),
            "pattern": ("", *PATTERNS),
            "size": ("", *SIZES),
        }
        for name, words in allowed.items():
            if getattr(self, name) not in words:
                raise InputError(f"Expected as {name} one of {', '.join(words)}, found {getattr(self, name)!r}.")
        if not set(self.colours) <= set(COLOURS):
            raise InputError(f"Expected as colour one or two of {', '.join(COLOURS)}, found {self.colour!r}.")

    @property
    def colours(self) -> tuple[str, ...]:
        """Its colours, the most frequent one first."""
        return tuple(self.colour.split(" and ")) if self.colour else ()

    def to_json(self) -> dict[str, str]:
        """The words by their names."""
        return asdict(self)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> ThingWords:
        """Read what :meth:`to_json` wrote; other keys are passed over.

        Raises:
            InputError: a word is missing or not one of the known words.
        """
        names = [field.name for field in fields(ThingWords)]
        missing = [name for name in names if not isinstance(content.get(name), str)]
        if missing:
            raise InputError(f"The words of a thing need {', '.join(names)} as texts; {missing[0]} is missing.")
        return ThingWords(**{name: content[name] for name in names})
