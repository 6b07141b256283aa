"""Words of rooms: captions that are true, and queries with everything that they are true of."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest

from render.errors import InputError
from training.rooms.captions import Query, describe, describe_crop, plural, room_queries, vocabulary
from training.rooms.layout import build_room
from training.rooms.words import CLASSES, COLOURS, SHAPE_NOUNS, SYNONYMS, ThingWords

RED = ThingWords("chair", "", "red", "wooden", "striped", "small")
THINGS = [
    ThingWords("wall", "", "white"),
    ThingWords("floor", "", "brown", "wooden"),
    ThingWords("ceiling", "", "white"),
    ThingWords("chair", "armchair", "red", "leather"),
    ThingWords("chair", "", "red", "wooden"),
    ThingWords("chair", "", "blue", "wooden"),
    ThingWords("cup", "", "green", "ceramic", "dotted"),
    ThingWords("ball", "", "yellow"),
]


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@cache
def room_words(index: int) -> list[ThingWords]:
    return [thing.words for thing in build_room("train", index).things]


def queries(visible: dict[int, int], seed: int = 0) -> tuple[Query, ...]:
    return room_queries(THINGS, visible, draw(seed))


EVERYTHING = dict.fromkeys(range(len(THINGS)), 5000)


def test_captions_have_the_things_attributes_and_a_name_of_its_class() -> None:
    random = draw()
    names = {"chair", *SYNONYMS["chair"]}
    captions = {describe(RED, random) for _ in range(300)}
    assert len(captions) > 10
    for caption in captions:
        article, *attributes, name = caption.split()
        assert article == "a"
        assert name in names
        assert set(attributes) <= {"small", "red", "striped", "wooden"}
    assert describe(RED, random, article=False).split()[0] != "a"


def test_articles_suit_the_next_word() -> None:
    random = draw()
    texts = [describe(ThingWords("vase", "", "orange"), random) for _ in range(60)]
    texts += [describe(ThingWords("chair", "armchair"), random) for _ in range(60)]
    assert any(text.startswith("an orange") for text in texts)
    assert any(text == "an armchair" for text in texts)
    assert not any(re.match(r"a [aeiou]|an [^aeiou]", text) for text in texts)


def test_crops_count_things_of_a_kind_and_name_neighbours() -> None:
    random, cup, table = draw(), ThingWords("cup"), ThingWords("table")
    counted = {describe_crop([(cup, 0.3), (cup, 0.2), (cup, 0.2)], random) for _ in range(100)}
    assert {"three cups", "three mugs"} <= counted
    beside = {describe_crop([(cup, 0.3), (table, 0.5)], random) for _ in range(200)}
    assert any(" on a " in text for text in beside)
    assert not any("next to" in text for text in beside)
    chairs = {describe_crop([(ThingWords("chair"), 0.3), (table, 0.5)], random) for _ in range(200)}
    assert any("next to" in text for text in chairs)
    assert not any(" on " in text for text in chairs)
    row = ThingWords("book", "row of books")
    assert not any("two" in describe_crop([(row, 0.3), (ThingWords("book"), 0.3)], random) for _ in range(60))


def test_neighbours_that_fill_little_are_not_spoken_of() -> None:
    random = draw()
    texts = {describe_crop([(ThingWords("cup"), 0.5), (ThingWords("vase"), 0.02)], random) for _ in range(100)}
    assert texts <= {"a cup", "a mug"}


@pytest.mark.parametrize(
    ("one", "several"),
    [("cup", "cups"), ("shelf", "shelves"), ("box", "boxes"), ("dish", "dishes"), ("row of books", "rows of books")],
)
def test_plurals(one: str, several: str) -> None:
    assert plural(one) == several


def test_all_words_of_captions_and_queries_are_in_the_vocabulary() -> None:
    random, known = draw(), vocabulary()
    said: set[str] = set()
    for index in range(10):
        words = room_words(index)
        for _ in range(5):
            said |= {word for thing in words for word in describe(thing, random).split()}
            shares = [(words[i], 0.3) for i in random.integers(len(words), size=3)]
            said |= set(describe_crop(shares, random).split())
        found = room_queries(words, dict.fromkeys(range(len(words)), 900), random)
        said |= {word for query in found for word in query.text.split()}
    assert said <= known
    assert len(said) > 80
    assert known >= set(COLOURS)
    assert all(re.fullmatch(r"[a-z]+", word) for word in known)


def test_no_word_stands_for_two_classes() -> None:
    names = [*CLASSES, *(word for words in SYNONYMS.values() for word in words), *SHAPE_NOUNS]
    assert len(names) == len(set(names))
    assert set(SYNONYMS) <= set(CLASSES)
    assert set(SHAPE_NOUNS.values()) <= set(CLASSES)
    assert len(CLASSES) >= 22


def test_every_shape_that_has_a_noun_is_built_and_belongs_to_its_class() -> None:
    built = {(words.shape, words.category) for index in range(60) for words in room_words(index)}
    for shape, category in built:
        assert SHAPE_NOUNS.get(shape, category) == category
    assert set(SHAPE_NOUNS) <= {shape for shape, _ in built}


def test_queries_name_all_things_that_they_are_true_of() -> None:
    found = {query.text: query for seed in range(30) for query in queries(EVERYTHING, seed)}
    assert found["chair"] == Query("chair", "word", (3, 4, 5))
    assert found["seat"] == Query("seat", "synonym", (3, 4, 5))
    assert found["armchair"] == Query("armchair", "word", (3,))
    assert found["red chair"] == Query("red chair", "attributes", (3, 4))
    assert found["wooden chair"] == Query("wooden chair", "attributes", (4, 5))
    assert found["dotted cup"].instances == (6,)
    assert found["mug"].kind == "synonym"


def test_things_that_are_hardly_seen_are_not_asked_for_but_count_as_answers() -> None:
    visible = {**EVERYTHING, 7: 3, 5: 10}
    found = {query.text: query for seed in range(30) for query in queries(visible, seed)}
    assert not any("ball" in text or "sphere" in text or text == "blue chair" for text in found)
    assert found["chair"].instances == (3, 4, 5)
    assert queries({}) == ()


def test_a_room_has_ten_to_twenty_queries_of_all_kinds_without_repetition() -> None:
    for index in range(6):
        words = room_words(index)
        found = room_queries(words, dict.fromkeys(range(len(words)), 900), draw(index))
        assert 10 <= len(found) <= 20
        assert {query.kind for query in found} == {"word", "synonym", "attributes"}
        assert len({query.text for query in found}) == len(found)
        assert found == room_queries(words, dict.fromkeys(range(len(words)), 900), draw(index))


def test_words_survive_json_and_unknown_ones_are_refused() -> None:
    for words in room_words(0):
        assert ThingWords.from_json(words.to_json()) == words
    with pytest.raises(InputError, match="colour is missing"):
        ThingWords.from_json({"category": "chair", "shape": ""})
    with pytest.raises(InputError, match=r"Expected as category one of .*, found 'throne'"):
        ThingWords("throne")
    with pytest.raises(InputError, match="found 'red and mauve'"):
        ThingWords("chair", "", "red and mauve")
    assert ThingWords("chair", "", "red and blue").colours == ("red", "blue")
