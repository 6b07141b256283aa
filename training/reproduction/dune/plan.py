"""What is measured, and at which size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from render.errors import InputError
from training.distillation.co.photos import GENERIC
from training.distillation.co.settings import Sharing
from training.rooms.writing import RoomFormat
from uplift.encoders.projectors import ProjectorKind

AGNOSTIC, LANGUAGE, SPECIALIST = "tiny-dino", "tiny-clip", "tiny-depth"
TEACHERS = (AGNOSTIC, LANGUAGE, SPECIALIST)
"""A task-agnostic encoder, one that reads texts, and one that was trained for depth alone."""
STUDENT = "tiny-depth"  # its architecture, with weights of its own: 4 blocks of 192 channels, and a large window
CLOSE, WHOLE, WIDE, VALIDATION = LANGUAGE, GENERIC, SPECIALIST, "val"
"""Names of the photos: the language teacher's close-ups, whole rooms, the specialist's wide views, and rooms in which
the specialist is watched."""
HEADS, TEST, WIDE_HEADS, WIDE_TEST = "heads", "test", "wide-heads", "wide-test"
"""Names of the photos in which heads are learned and everything is measured: whole rooms, and for decoders of depth the
specialist's own domain."""
ZOOMS: Mapping[str, float] = dict.fromkeys((WIDE, WIDE_HEADS, WIDE_TEST), 0.6)  # of focal lengths: 60 to 75 degrees
# become 88 to 104
MEASURING = (
    "head_rooms", "test_rooms", "first_test_room", "probe_steps", "probe_batch", "decoder_steps", "text_views",
)  # fmt: skip
"""What of the plan students do not depend on, but what is measured of them does."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Sizes of a reproduction of DUNE (Sariyildiz et al. 2025).

    The paper shows each of its students 128 million photos of 336 pixels; here they see 1368 of 128 x 96 pixels, each
    about five times, which one thread does in seven minutes.  AdamW and the cosine are the library's defaults; the rate
    is that of the tiny encoders, which begin from nothing too.

    Attributes:
        whole_rooms: Photographed as a person would: generic data, which the task-agnostic teacher takes for its own.
        close_rooms: Of which close-ups of things are taken: data of the language teacher.
        wide_rooms: Photographed in wide views: data of the depth specialist, which it is trained on if it has to be.
        head_rooms: In which linear heads are learned; so many others, in wide views, for decoders.
        test_rooms: To measure linear heads and texts on, of the split test; so many others, in wide views, for
            decoders.
        validation_rooms: That the specialist's training is watched on, of the split val.
        first_room: Number of the first of all rooms of the split train; bundled encoders have seen those below 1000.
        first_test_room: Number of the first test room.
        views: Photos of a room.
        width: Of a photo in pixels.
        height: Of a photo in pixels.
        specialist_steps: Of training the specialist, if it is neither bundled nor given; 15 minutes on one
            core.
        steps: Of a distillation.
        batch: Photos of a step.
        rate: Of AdamW.
        weight_decay: Of AdamW.
        probe_steps: Of fitting a linear head.
        probe_batch: Patches of a step.
        decoder_steps: Of fine-tuning a depth decoder on a frozen encoder.
        text_views: Photos of a test room that texts are asked of.

    Raises:
        InputError: a number is too small.
    """

    whole_rooms: int = 60
    close_rooms: int = 60
    wide_rooms: int = 60
    head_rooms: int = 30
    test_rooms: int = 30
    validation_rooms: int = 4
    first_room: int = 1000
    first_test_room: int = 20
    views: int = 8
    width: int = 128
    height: int = 96
    specialist_steps: int = 4000
    steps: int = 800
    batch: int = 8
    rate: float = 1e-3
    weight_decay: float = 0.03
    probe_steps: int = 600
    probe_batch: int = 4096
    decoder_steps: int = 250
    text_views: int = 4

    def __post_init__(self) -> None:
        least = {"whole_rooms": 1, "close_rooms": 1, "wide_rooms": 1, "head_rooms": 1, "test_rooms": 2}
        least |= {"validation_rooms": 1, "first_room": 0, "first_test_room": 0, "views": 2, "specialist_steps": 1}
        least |= {"steps": 1, "batch": 1, "probe_steps": 1, "probe_batch": 2, "decoder_steps": 1, "text_views": 1}
        least |= {"width": 16, "height": 16}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise InputError(f"Expected {name.replace('_', ' ')} from {lowest}, found {getattr(self, name)}.")
        if not self.rate > 0:
            raise InputError(f"Expected a rate above 0, found {self.rate:g}.")

    @property
    def form(self) -> RoomFormat:
        """What the folder of a room holds."""
        return RoomFormat(self.views, self.width, self.height, "none")

    @property
    def rooms(self) -> dict[str, tuple[str, int, int]]:
        """Of all photos the split of their rooms, the number of the first one and how many; no room is in two."""
        counts = {WHOLE: self.whole_rooms, CLOSE: self.close_rooms, WIDE: self.wide_rooms}
        counts |= {HEADS: self.head_rooms, WIDE_HEADS: self.head_rooms}
        found, first = {}, self.first_room
        for name, count in counts.items():
            found[name] = ("train", first, count)
            first += count
        for place, name in enumerate((TEST, WIDE_TEST)):
            found[name] = ("test", self.first_test_room + place * self.test_rooms, self.test_rooms)
        return found | {VALIDATION: ("val", 0, self.validation_rooms)}

    def identity(self) -> dict[str, Any]:
        """What figures that are measured depend on: JSON values."""
        return asdict(self)

    def trained_identity(self) -> dict[str, Any]:
        """What students depend on, and all that comes before them: JSON values."""
        return {name: value for name, value in self.identity().items() if name not in MEASURING}


@dataclass(frozen=True)
class Row:
    """A student.

    Attributes:
        name: Of its files.
        title: In tables; TP, LP and SP are transformer, ladder and simple projectors.
        projector: From it to its teachers.
        sharing: Whose photos a teacher's projector learns from.
        teachers: That it learns from.
        photos: Names of those that it learns from.
    """

    name: str
    title: str
    projector: ProjectorKind = "transformer"
    sharing: Sharing = "full"
    teachers: tuple[str, ...] = TEACHERS
    photos: tuple[str, ...] = (WHOLE, CLOSE, WIDE)

    @property
    def keep(self) -> tuple[str, ...]:
        """Teachers whose projectors stay with the student: for classes, and to compare features with texts."""
        return tuple(name for name in self.teachers if name in (AGNOSTIC, LANGUAGE))

    def identity(self) -> dict[str, Any]:
        """What makes its figures others than those of another row: JSON values."""
        return {**asdict(self), "name": None, "title": None}


FULL = Row("transformer-full", "TP, full sharing")


def main_rows() -> list[Row]:
    """The students of tables 1 to 3: projectors with full sharing, then sharings with the paper's projector."""
    return [
        FULL,
        Row("ladder-full", "LP, full sharing", projector="ladder"),
        Row("simple-full", "SP, full sharing", projector="simple"),
        Row("transformer-generic", "TP, generic sharing", sharing="generic"),
        Row("transformer-none", "TP, no sharing", sharing="none"),
    ]


def further_rows() -> list[Row]:
    """The upper half of table 1, students that saw generic photos alone, and those of a single teacher."""
    return [
        Row("transformer-whole", "TP, generic photos alone", photos=(WHOLE,)),
        Row("ladder-whole", "LP, generic photos alone", projector="ladder", photos=(WHOLE,)),
        *(Row(f"of-{name}", f"TP, of {name} alone", teachers=(name,)) for name in TEACHERS),
    ]
