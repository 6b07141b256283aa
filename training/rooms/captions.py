"""Sentences about things, and the texts that a room is searched with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from training.rooms.words import CLASSES, COLOURS, MATERIALS, PATTERNS, SHAPE_NOUNS, SHAPES, SIZES, SYNONYMS, ThingWords

if TYPE_CHECKING:
    from numpy.random import Generator

NUMBERS = ("two", "three", "four", "five")
PLURALS = {
    "shelf": "shelves", "box": "boxes", "couch": "couches", "bench": "benches", "dish": "dishes", "cactus": "cacti",
    "chest of drawers": "chests of drawers", "row of books": "rows of books", "stack of books": "stacks of books",
}  # fmt: skip
STRUCTURE = ("wall", "floor", "ceiling")
CARRIED = {
    **dict.fromkeys(("cup", "bowl", "bottle", "vase", "monitor", "book"), ("table", "cabinet", "shelf")),
    "cushion": ("bed", "sofa"),
}  # what is never on the floor, and what it is on
SHARE = 0.12  # of a crop that a second thing must fill to be spoken of
SYNONYM, COLOUR, OTHER = 0.3, 0.75, 0.4  # how often these words are said
ENOUGH = 150  # pixels over all views from which a thing is asked for
QUERIES = {"word": 7, "synonym": 4, "attributes": 8}  # of a room, at most

Kind = Literal["word", "synonym", "attributes"]


@dataclass(frozen=True)
class Query:
    """A text and what it is true of.

    Attributes:
        text: What is searched.
        kind: Whether it is a class's word, another word for it, or has attributes.
        instances: Every thing that it is true of.
    """

    text: str
    kind: Kind
    instances: tuple[int, ...]


def describe(words: ThingWords, random: Generator, *, article: bool = True) -> str:
    """A thing in words, such as "a red wooden chair": its class or another word for it, with some attributes.

    Args:
        words: What can be said.
        random: Chooses.
        article: Whether it begins with "a" or "an".
    """
    parts = []
    if words.size and random.random() < OTHER:
        parts.append(words.size)
    if words.shape in SHAPES and random.random() < OTHER:
        parts.append(words.shape)
    if words.colour and random.random() < COLOUR:
        parts.append(words.colour)
    if words.pattern and random.random() < COLOUR:
        parts.append(words.pattern)
    if words.material and random.random() < OTHER:
        parts.append(words.material)
    noun = words.shape if words.shape in SHAPE_NOUNS and random.random() < OTHER else _name(words.category, random)
    text = " ".join([*parts, noun])
    return f"{_article(text)} {text}" if article else text


def describe_crop(shares: Sequence[tuple[ThingWords, float]], random: Generator) -> str:
    """What a part of a photo shows, from its main thing.

    Args:
        shares: Things and the parts of the crop that they fill, the main thing first.
        random: Chooses.
    """
    main, others = shares[0][0], [words for words, share in shares[1:] if share > SHARE]
    same = [words for words in others if words.category == main.category]
    if same and random.random() < 0.5:
        several = plural(_name(main.category, random))
        # A row or a stack is already several.
        uncounted = any(words.shape.endswith(" of books") for words in (main, *same))
        return several if uncounted else f"{NUMBERS[min(len(same), len(NUMBERS)) - 1]} {several}"
    text = describe(main, random)
    others = [words for words in others if words.category not in (*STRUCTURE, main.category)]
    if not others or random.random() < 0.7:
        return text
    other = others[int(random.integers(len(others)))]
    relation = "on" if other.category in CARRIED.get(main.category, ()) else "next to"
    return f"{text} {relation} {describe(other, random)}"


def plural(name: str) -> str:
    """Several of it."""
    return PLURALS.get(name, f"{name}s")


def vocabulary() -> frozenset[str]:
    """Every word that captions and queries can have."""
    names = [*CLASSES, *(word for words in SYNONYMS.values() for word in words), *SHAPE_NOUNS]
    said: Iterable[str] = (
        *names, *map(plural, names), *COLOURS, *MATERIALS, *PATTERNS, *SHAPES, *SIZES, *NUMBERS,
        "a", "an", "on", "next", "to", "and",
    )  # fmt: skip
    return frozenset(word for text in said for word in text.split())


def room_queries(things: Sequence[ThingWords], visible: Mapping[int, int], random: Generator) -> tuple[Query, ...]:
    """Texts to search a room with, and all the things that each is true of.

    Args:
        things: What stands in the room.
        visible: Pixels of each thing over all views; a thing that is hardly seen is never the only answer.
        random: Chooses.
    """
    seen = [index for index, words in enumerate(things) if visible.get(index, 0) >= ENOUGH]
    found: dict[str, Query] = {}

    def add(text: str, kind: Kind, matches: Sequence[int]) -> None:
        if any(index in seen for index in matches):
            found.setdefault(text, Query(text, kind, tuple(matches)))

    for category in dict.fromkeys(things[index].category for index in seen):
        same = [index for index, words in enumerate(things) if words.category == category]
        add(category, "word", same)
        for word in SYNONYMS.get(category, ()):
            add(word, "synonym", same)
    for noun in dict.fromkeys(things[index].shape for index in seen if things[index].shape in SHAPE_NOUNS):
        add(noun, "word", [index for index, words in enumerate(things) if words.shape == noun])
    for index in seen:
        words = things[index]
        for names in (("colour",), ("pattern",), ("material",), ("colour", "material"), ("shape",)):
            said = [getattr(words, name) for name in names]
            if not all(said) or words.category in STRUCTURE or (names == ("shape",) and words.shape not in SHAPES):
                continue
            alike = [
                i
                for i, other in enumerate(things)
                if other.category == words.category and [getattr(other, name) for name in names] == said
            ]
            add(f"{' '.join(said)} {words.category}", "attributes", alike)
    chosen: list[Query] = []
    for kind, most in QUERIES.items():
        of_kind = [query for query in found.values() if query.kind == kind]
        order = random.permutation(len(of_kind))[:most]
        chosen += [of_kind[i] for i in sorted(order)]
    return tuple(chosen)


def _name(category: str, random: Generator) -> str:
    others = SYNONYMS.get(category, ())
    if others and random.random() < SYNONYM:
        return others[int(random.integers(len(others)))]
    return category


def _article(text: str) -> str:
    return "an" if text[0] in "aeiou" else "a"
