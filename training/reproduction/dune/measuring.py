"""What students and teachers are worth: linear heads, a depth decoder, and texts that are found."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np

from render.errors import InputError
from render.progress import Progress, silent
from training.distillation.decoders import DecoderSettings, fit_decoder, measure_teacher
from training.distillation.localization import Localization, Questions, find_answers, questions_of
from training.probing.data.rooms import room_photos
from training.probing.kept import KeptMaps, Maps, describe_photos
from training.probing.photos import ProbeData, ProbePhoto, Task
from training.probing.running import run_probe
from training.probing.scores import Figure, Scores
from training.probing.settings import ProbeSettings
from training.reproduction.dune.distilling import distil
from training.reproduction.dune.places import Places, measured
from training.reproduction.dune.plan import (
    AGNOSTIC,
    HEADS,
    LANGUAGE,
    SPECIALIST,
    TEST,
    WIDE_HEADS,
    WIDE_TEST,
    Row,
)
from training.reproduction.packing import packed
from uplift.encoders.distilled import PREFIX
from uplift.encoders.tiny_depth import TinyDepthEncoder

if TYPE_CHECKING:
    from uplift.encoders.base import Encoder
    from uplift.search import TextEncoder


@dataclass(frozen=True)
class Measure:
    """A figure that is measured.

    Attributes:
        task: Of the scores that it follows from.
        name: Of the figure among those of the task.
        figure: How it is shown.
    """

    task: Task
    name: str
    figure: Figure


MEASURES: Mapping[str, Measure] = {
    "segmentation": Measure("segmentation", "miou", Figure("classes, mIoU %", 100, 2, True)),
    # The paper's students are asked for classes through the projector of the task-agnostic teacher.
    "projected": Measure("segmentation", "miou", Figure("projected, mIoU %", 100, 2, True)),
    "depth": Measure("depth", "rmse", Figure("depth, RMSE m", 1, 4, False)),
    "decoder": Measure("depth", "rmse", Figure("decoder, RMSE m", 1, 4, False)),
    # A text is told rightly or not, as the label of a photo is; of overlaps the sum counts what is told rightly.
    "pointing": Measure("classification", "accuracy", Figure("texts found %", 100, 2, True)),
    "overlap": Measure("classification", "accuracy", Figure("texts, mIoU %", 100, 2, True)),
}
"""Everything that is measured, of whatever can be."""
TASKS: tuple[Task, ...] = ("segmentation", "depth")  # of linear heads
OWN = f"{SPECIALIST}-own"  # the specialist's depth by the decoder that it was trained with


def learn(places: Places, row: Row, seed: int, *, progress: Progress = silent) -> None:
    """Let a student learn and measure it, see :func:`distil` and :func:`measure_student`: a job takes long to begin.

    Args:
        places: Of the reproduction.
        row: Which student.
        seed: Of the student, of linear heads and of decoders.
        progress: Told of photos and steps.

    Raises:
        InputError: something is missing, or what is there was made with other settings.
    """
    distil(places, row, seed, progress=progress)
    measure_student(places, row, seed, progress=progress)


def measure_student(places: Places, row: Row, seed: int, *, progress: Progress = silent) -> None:
    """Measure a student with heads of its seed; what is measured is kept.

    Args:
        places: Of the reproduction.
        row: Which student.
        seed: Of the student, of linear heads and of decoders.
        progress: Told of photos and steps.

    Raises:
        InputError: something is missing, or what is there was made with other settings.
    """
    store, name = places.scores(row), measured(row.name, seed)
    if store.get(name) is not None:
        return
    from uplift.encoders import load_encoder

    began, file = time.perf_counter(), places.student_file(row, seed)
    station = _Station(places, progress)
    scores = station.heads(load_encoder(f"{PREFIX}{file}", device="cpu"), [seed])
    if AGNOSTIC in row.keep:
        scores |= station.projected(load_encoder(f"{PREFIX}{file}@{AGNOSTIC}", device="cpu"), [seed])
    if LANGUAGE in row.keep:
        scores |= station.texts(load_encoder(f"{PREFIX}{file}@{LANGUAGE}", device="cpu"), computed=True)
    figures = {"scores": {what: packed(one, 0) for what, one in scores.items()}}
    store.put(name, {**figures, "seconds": time.perf_counter() - began})


def measure_of_teacher(places: Places, teacher: str, seeds: Sequence[int], *, progress: Progress = silent) -> None:
    """Measure a teacher with heads of each seed; what is measured is kept.

    Args:
        places: Of the reproduction.
        teacher: Its name.
        seeds: Of linear heads and decoders.
        progress: Told of photos and steps.

    Raises:
        InputError: something is missing, or what is there was made with other settings.
    """
    left, store = unmeasured(places, teacher, seeds), places.scores()
    if not left:
        return
    began, encoder = time.perf_counter(), places.teacher(teacher)
    station = _Station(places, progress)
    scores = station.heads(encoder, left)
    alike = station.texts(encoder) if teacher == LANGUAGE else {}
    if isinstance(encoder, TinyDepthEncoder):
        alike |= {OWN: measure_teacher(encoder, station.wide_test, progress=progress)}
    spent = (time.perf_counter() - began) / len(left)
    for place, seed in enumerate(left):
        figures = {what: packed(one, place) for what, one in scores.items()}
        figures |= {what: packed(one, 0) for what, one in alike.items()}  # without heads, hence without seeds
        store.put(measured(teacher, seed), {"scores": figures, "seconds": spent})


def unmeasured(places: Places, of: str | Row, seeds: Sequence[int]) -> list[int]:
    """The seeds whose figures of a teacher or a student are not there yet.

    Raises:
        InputError: those that are there are damaged, or were made with other settings.
    """
    store, name = (places.scores(), of) if isinstance(of, str) else (places.scores(of), of.name)
    return [seed for seed in seeds if store.get(measured(name, seed)) is None]


class _Station:
    """The rooms, read once, and what is measured in them."""

    def __init__(self, places: Places, progress: Progress) -> None:
        self._places, self._progress = places, progress
        learned, self._test = places.rooms(HEADS), places.rooms(TEST)
        classes = self._test[0].class_names
        self._data = ProbeData("rooms", room_photos(learned), room_photos(self._test), classes=classes)
        self.wide_test = places.rooms(WIDE_TEST)

    def heads(self, encoder: Encoder, seeds: Sequence[int]) -> dict[str, Scores]:
        """Linear heads of every seed on frozen features of whole rooms, and depth decoders on those of wide views,
        which are what the decoder was made for."""
        maps = self._maps(encoder, [*self._data.train, *self._data.test])
        found: dict[str, Scores] = {task: self._probed(encoder, maps, task, seeds) for task in TASKS}
        decoder = fit_decoder(
            encoder,
            self._specialist.decoder,
            self._places.rooms(WIDE_HEADS),
            self.wide_test,
            seeds=seeds,
            settings=DecoderSettings(steps=self._places.plan.decoder_steps),
            progress=self._progress,
        )
        return {**found, "decoder": decoder.scores}

    def projected(self, encoder: Encoder, seeds: Sequence[int]) -> dict[str, Scores]:
        """Linear heads for classes on what a projector makes of a student's features (DUNE, section 5.1)."""
        maps = self._maps(encoder, [*self._data.train, *self._data.test])
        return {"projected": self._probed(encoder, maps, "segmentation", seeds)}

    def texts(self, encoder: Encoder, *, computed: bool = False) -> dict[str, Scores]:
        """Texts that are found in photos of test rooms.

        Args:
            encoder: Its features lie in the space of the language teacher's texts.
            computed: Whether features are those of a network, computed for several photos at once.
        """
        questions, maps = self._questions, None
        if computed:
            asked = {(one.room.path.resolve().name, one.frame.name) for one in questions.asked}
            maps = self._maps(encoder, [photo for photo in self._data.test if (photo.group, photo.name) in asked])
        answers = find_answers(questions, encoder, maps=maps, progress=self._progress)
        return {"pointing": text_scores(answers, overlaps=False), "overlap": text_scores(answers, overlaps=True)}

    def _maps(self, encoder: Encoder, photos: Sequence[ProbePhoto]) -> Maps:
        return describe_photos(encoder, photos, what=f"features of {encoder.name}", progress=self._progress)

    def _probed(self, encoder: Encoder, maps: Maps, task: Task, seeds: Sequence[int]) -> Scores:
        settings = ProbeSettings(steps=self._places.plan.probe_steps, batch=self._places.plan.probe_batch)
        source = KeptMaps(encoder.name, maps)
        return run_probe(self._data, task, source, seeds=seeds, settings=settings, progress=self._progress).scores

    @cached_property
    def _specialist(self) -> TinyDepthEncoder:
        found = self._places.teacher(SPECIALIST)
        if not isinstance(found, TinyDepthEncoder):
            raise InputError(f"Expected a decoder for depth beside {SPECIALIST}, found {type(found).__name__}.")
        return found

    @cached_property
    def _questions(self) -> Questions:
        reader = cast("TextEncoder", self._places.teacher(LANGUAGE))
        return questions_of(self._test, reader, photos=self._places.plan.text_views, progress=self._progress)


def text_scores(answers: Localization, *, overlaps: bool) -> Scores:
    """Answers as sums over rooms: texts that were found, or the overlaps of their masks, and how many there were."""
    sums = np.zeros((1, len(answers.groups), 2))
    places = {room: place for place, room in enumerate(answers.groups)}
    for answer in answers.answers:
        value = answer.overlap if overlaps else float(answer.found)
        sums[0, places[answer.room]] += (value, 1.0)
    return Scores("classification", (), answers.groups, sums)
