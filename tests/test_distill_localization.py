"""Texts in photos: answers are those of a count by hand, and a perfect encoder finds everything."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from render.errors import InputError
from tests.small_rooms import small_room
from training.distillation.localization import (
    Answer,
    Localization,
    find_answers,
    frame_answers,
    measure_localization,
    questions_of,
)
from training.probing.sources import Described
from training.rooms.reading import RoomScene
from training.rooms.tasks import Enough, query_frames
from training.rooms.writing import room_name
from uplift.encoders.base import Encoder, Image
from uplift.evaluation.lerf import LabelledFrame, MaskedObject
from uplift.relevancy import CANONICAL

ENOUGH = Enough(elsewhere=0.02)


def room() -> RoomScene:
    return small_room("test")


class Knowing(Encoder):
    """Says of every pixel which thing it shows; of photos that it confuses, what it shows ``shift`` things later."""

    name, dimension = "knowing", 300

    def __init__(self, shift: int = 0) -> None:
        self._maps = {view.image().tobytes(): room().instances(view.name) for view in room().scene.views}
        self._shift = shift

    def encode(self, image: Image) -> Tensor:
        things = torch.from_numpy(self._maps[np.asarray(image).tobytes()].astype(np.int64)) + 1
        return torch.nn.functional.one_hot(things + self._shift, self.dimension).float()


class Reading:
    """Embeds a text as all things that it is true of; what is canonical lies elsewhere."""

    def encode_text(self, texts: list[str]) -> Tensor:
        rows = torch.zeros(len(texts), Knowing.dimension)
        truth = {query.text: [i + 1 for i in query.instances] for query in room().queries}
        for row, text in zip(rows, texts, strict=True):
            row[[Knowing.dimension - 1] if text in CANONICAL else truth[text]] = 1
        return torch.nn.functional.normalize(rows, dim=1)


def test_answers_are_those_of_a_count_by_hand() -> None:
    left, upper = np.zeros((2, 16, 16), bool)
    left[:, :8], upper[:4] = True, True
    frame = LabelledFrame("photo", 16, 16, {"left": MaskedObject(left), "upper": MaskedObject(upper)})
    features = torch.eye(3)[torch.from_numpy((~left).astype(int))]  # the first channel on the left, the second else
    queries, negatives = torch.eye(3)[:2], torch.eye(3)[2:]
    (found, overlap), (other_found, other_overlap) = frame_answers(frame, features, queries, negatives)
    assert (found, overlap) == (True, 1.0)
    # The second text is taken for the right half, of which a quarter is right; the first such pixel lies there.
    assert other_found
    assert other_overlap == pytest.approx(32 / (128 + 64 - 32))
    (found, overlap), _ = frame_answers(frame, features, queries.flip(0), negatives)
    assert (found, overlap) == (False, 0.0)
    # Coarse maps are interpolated to the photo, and the length of features does not matter.
    (found, overlap), _ = frame_answers(frame, 7 * features[::4, ::4], queries, negatives)
    assert found
    assert overlap == pytest.approx(1.0, abs=0.2)
    with pytest.raises(InputError, match="same channels"):
        frame_answers(frame, features, torch.eye(2), torch.eye(2))


def test_masks_are_what_stands_out_of_what_is_relevant() -> None:
    """Relevancies 1, 0.82, 0.79 and 0.5 side by side: 0.8 of the largest leaves two, and Otsu's threshold the first."""
    margins = torch.tensor([0.999, 0.1516, 0.1325, 0.0]).repeat_interleave(4)
    features = torch.stack([margins, torch.zeros(16), (1 - margins**2).sqrt()], 1).expand(16, 16, 3)
    truth = np.zeros((16, 16), bool)
    truth[:, :4] = True
    frame = LabelledFrame("photo", 16, 16, {"first": MaskedObject(truth)})
    assert frame_answers(frame, features, torch.eye(3)[:1], torch.eye(3)[1:2]) == [(True, 1.0)]


def test_who_knows_every_thing_finds_every_text() -> None:
    result = measure_localization([room()], Knowing(), Reading(), enough=ENOUGH)
    asked = {(frame.name, text) for frame in query_frames(room(), ENOUGH) for text in frame.objects}
    assert len(asked) > 5
    assert {(one.view, one.text) for one in result.answers} == asked
    assert {one.room for one in result.answers} == {room_name("test", 0)}
    assert result.figures() == pytest.approx({"pointing": 100.0, "miou": 100.0})
    confused = measure_localization([room()], Knowing(shift=1), Reading(), enough=ENOUGH)
    assert confused.figures()["pointing"] < 60
    assert confused.figures()["miou"] < 50


def test_questions_are_read_once_and_answered_from_features_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def embedded(texts: list[str]) -> Tensor:
        read.extend(texts)
        return Reading().encode_text(texts)

    reading = Reading()
    monkeypatch.setattr(reading, "encode_text", embedded)
    questions = questions_of([room()], reading, enough=ENOUGH)
    before = len(read)
    confused = Knowing(shift=1)
    name = room().path.name
    maps = {(name, view.name): Described(confused.encode(view.image()), torch.zeros(1)) for view in room().scene.views}
    expected = measure_localization([room()], confused, Reading(), enough=ENOUGH)
    # The features that are given count, and not what the encoder would say.
    assert find_answers(questions, Knowing(), maps=maps) == expected
    partly = {key: one for key, one in maps.items() if key != (name, questions.asked[0].frame.name)}
    found = find_answers(questions, Knowing(), maps=partly)
    assert {one.view for one in found.answers if one.found} >= {questions.asked[0].frame.name}
    assert found.figures()["pointing"] > expected.figures()["pointing"]
    assert len(read) == before, "texts are embedded with the questions"


def test_some_photos_of_a_room_are_enough() -> None:
    some = measure_localization([room()], Knowing(), Reading(), photos=1, enough=ENOUGH)
    assert {one.view for one in some.answers} == {query_frames(room(), ENOUGH)[0].name}
    with pytest.raises(InputError, match="No photo shows"):
        measure_localization([room()], Knowing(), Reading(), enough=Enough(elsewhere=2.0))


def test_figures_are_means_over_answers() -> None:
    result = Localization(
        (
            Answer("a", "0", "chair", "word", True, 0.5),
            Answer("a", "1", "red chair", "attributes", False, 0.0),
            Answer("b", "0", "lamp", "word", False, 0.25),
            Answer("b", "0", "table", "word", True, 0.25),
        )
    )
    assert result.figures() == pytest.approx({"pointing": 50, "miou": 25})
    assert result.figures(room="a", kind="word") == pytest.approx({"pointing": 100, "miou": 50})
    assert result.groups == ("a", "b")
    told = result.json()
    assert told["groups"]["b"] == pytest.approx({"pointing": 50, "miou": 25})
    assert told["kinds"]["attributes"] == pytest.approx({"pointing": 0, "miou": 0})
    assert told["texts"] == 4
    with pytest.raises(InputError, match="No text was asked for in c"):
        result.figures(room="c")
