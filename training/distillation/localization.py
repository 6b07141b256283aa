"""How well features in the space of texts find in photos what texts name: a student's, beside those of its teacher.

LERF's localization (Kerr et al. 2023) and its masks (LUDVIG, appendix C.1.4), on single photos of rooms: nothing is
lifted, so that the features alone are measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from render.errors import InputError
from render.progress import Progress, silent
from render.spacing import evenly
from training.rooms.captions import Kind
from training.rooms.reading import RoomScene
from training.rooms.tasks import Enough, query_frames
from training.tiny.finding import pixel_relevancies
from uplift.encoders.base import Encoder
from uplift.relevancy import CANONICAL, most_relevant_pixel, relevant
from uplift.search import TAU, TextEncoder
from uplift.thresholds import iou

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from training.probing.kept import Maps
    from uplift.evaluation.lerf import LabelledFrame


@dataclass(frozen=True)
class Answer:
    """What was found for one text in one photo.

    Attributes:
        room: Name of the room.
        view: Name of the photo.
        text: What was asked for.
        kind: Whether it is a class's word, another word for it, or has attributes.
        found: Whether the most relevant pixel lies on a thing that the text is true of.
        overlap: Intersection over union of the relevant pixels and those things, from 0 to 1.
    """

    room: str
    view: str
    text: str
    kind: Kind
    found: bool
    overlap: float


@dataclass(frozen=True)
class Localization:
    """Answers for all texts in all photos that show what they name.

    Attributes:
        answers: In the order of rooms, photos and texts.
    """

    answers: tuple[Answer, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        """The rooms, in their order."""
        return tuple(dict.fromkeys(answer.room for answer in self.answers))

    def figures(self, *, room: str | None = None, kind: Kind | None = None) -> dict[str, float]:
        """``pointing``: part of the texts that were found, and ``miou``: mean overlap; percent, over texts and photos.

        Args:
            room: Of this room alone.
            kind: Of texts of this kind alone.

        Raises:
            InputError: there are no such answers.
        """
        some = [one for one in self.answers if room in (None, one.room) and kind in (None, one.kind)]
        if not some:
            raise InputError(f"No text was asked for{f' in {room}' if room else ''}{f' of {kind}' if kind else ''}.")
        pointing, overlap = np.mean([(one.found, one.overlap) for one in some], 0).tolist()
        return {"pointing": 100 * pointing, "miou": 100 * overlap}

    def json(self) -> dict[str, Any]:
        """Figures of all, of every room and of every kind of texts, as JSON values."""
        kinds = dict.fromkeys(answer.kind for answer in self.answers)
        return {
            "figures": self.figures(),
            "groups": {name: self.figures(room=name) for name in self.groups},
            "kinds": {name: self.figures(kind=name) for name in kinds},
            "texts": len(self.answers),
        }


@dataclass(frozen=True, eq=False)
class Question:
    """A photo, and what is asked of it.

    Attributes:
        room: Where it was taken.
        frame: Its name, the texts and what they are true of.
        kinds: Of the texts, in their order.
        texts: Their embeddings, of length 1; ``[q, c]``.
    """

    room: RoomScene
    frame: LabelledFrame
    kinds: tuple[Kind, ...]
    texts: Float[Tensor, "q c"]


@dataclass(frozen=True, eq=False)
class Questions:
    """What is asked of rooms, read and embedded once for all encoders whose features lie in the space of the texts.

    Attributes:
        asked: Of every photo that shows an answer.
        negatives: Embeddings of the canonical phrases, of length 1; ``[k, c]``.
    """

    asked: tuple[Question, ...]
    negatives: Float[Tensor, "k c"]


def measure_localization(
    rooms: Sequence[RoomScene],
    encoder: Encoder,
    texts: TextEncoder,
    *,
    photos: int | None = None,
    enough: Enough | None = None,
    progress: Progress = silent,
) -> Localization:
    """Ask every photo for the room's texts whose answers it shows; see :func:`questions_of` and :func:`find_answers`.

    Args:
        rooms: Test rooms.
        encoder: Its features lie in the space of the texts: a CLIP, or ``distilled:FILE@TEACHER`` of such a teacher.
        texts: Embeds texts: that teacher, or the encoder itself where it does.
        photos: Of each room at most, evenly spaced over those that show something; None = all.
        enough: Which photos show an answer.
        progress: Told of every photo.

    Raises:
        InputError: no photo shows what a text asks for, a map is missing or damaged, or features and texts do not have
            the same channels.
    """
    questions = questions_of(rooms, texts, photos=photos, enough=enough, progress=progress)
    return find_answers(questions, encoder, progress=progress)


@torch.no_grad()
def questions_of(
    rooms: Sequence[RoomScene],
    texts: TextEncoder,
    *,
    photos: int | None = None,
    enough: Enough | None = None,
    progress: Progress = silent,
) -> Questions:
    """Read what rooms ask, and embed the texts; a byte for every pixel of each answer is kept.

    Args:
        rooms: Test rooms.
        texts: Embeds texts.
        photos: Of each room at most, evenly spaced over those that show something; None = all.
        enough: Which photos show an answer.
        progress: Told of every room.

    Raises:
        InputError: no photo shows what a text asks for, or a map is missing or damaged.
    """
    asked: list[Question] = []
    for number, room in enumerate(rooms):
        progress(number, len(rooms), "reading what rooms ask")
        kinds: dict[str, Kind] = {query.text: query.kind for query in room.queries}
        embedded = dict(zip(kinds, texts.encode_text(list(kinds)), strict=True)) if kinds else {}
        frames = query_frames(room, enough)
        for frame in frames if photos is None else evenly(frames, photos):
            chosen = list(frame.objects)
            asked.append(
                Question(room, frame, tuple(kinds[t] for t in chosen), torch.stack([embedded[t] for t in chosen]))
            )
    progress(len(rooms), len(rooms), "reading what rooms ask")
    if not asked:
        raise InputError("No photo shows what the rooms' texts ask for; make the rooms again, with more views.")
    return Questions(tuple(asked), texts.encode_text(list(CANONICAL)))


@torch.no_grad()
def find_answers(
    questions: Questions, encoder: Encoder, *, maps: Maps | None = None, progress: Progress = silent
) -> Localization:
    """Find in photos what their texts ask for.

    A text is found where the pixel that is most relevant to it, after a 5x5 mean filter, lies on a thing that it is
    true of.  Its mask is what stands out of the relevancies: those from 0.8 of the largest, above Otsu's threshold.

    Args:
        questions: Embedded in the space of the encoder's features.
        encoder: Describes the photos.
        maps: Its features of photos where they are known, by names of room and photo; of the others they are computed.
        progress: Told of every photo.

    Raises:
        InputError: features and texts do not have the same channels.
    """
    answers: list[Answer] = []
    for number, one in enumerate(questions.asked):
        progress(number, len(questions.asked), f"texts by {encoder.name}")
        frame, name = one.frame, one.room.path.resolve().name
        known = None if maps is None else maps.get((name, frame.name))
        features = encoder.encode(one.room.scene.view(frame.name).image()) if known is None else known.patches
        found = frame_answers(frame, features.float(), one.texts, questions.negatives)
        for text, kind, (hit, overlap) in zip(frame.objects, one.kinds, found, strict=True):
            answers.append(Answer(name, frame.name, text, kind, hit, overlap))
    progress(len(questions.asked), len(questions.asked), f"texts by {encoder.name}")
    return Localization(tuple(answers))


def frame_answers(
    frame: LabelledFrame,
    features: Float[Tensor, "gh gw c"],
    queries: Float[Tensor, "q c"],
    negatives: Float[Tensor, "k c"],
) -> list[tuple[bool, float]]:
    """Whether each of a photo's texts is found, and how much its mask overlaps with the truth.

    Args:
        frame: The photo and its texts.
        features: Of the photo; of any length.
        queries: Embeddings of its texts, in their order, of length 1.
        negatives: Of the canonical phrases, of length 1.

    Raises:
        InputError: features and texts do not have the same channels.
    """
    device = features.device
    scores = pixel_relevancies(features, queries.to(device), negatives.to(device), (frame.height, frame.width))
    result = []
    for score, answer in zip(scores.cpu(), frame.objects.values(), strict=True):
        column, row, _ = most_relevant_pixel(score)
        mask, _ = relevant(score, TAU["raw"])
        overlap = iou(mask.numpy(), answer.mask(frame.width, frame.height))
        result.append((answer.contains(column + 0.5, row + 0.5), overlap))
    return result
