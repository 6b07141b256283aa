"""Trains the networks of a table with several seeds, with their teachers, and measures them."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from render.errors import InputError
from render.files import atomic_file
from render.progress import Progress, silent
from training.distillation.specific.features import FrozenFeatures
from training.distillation.specific.files import ENCODER, MODEL, restore, save_encoder, save_model
from training.distillation.specific.measuring import measure
from training.distillation.specific.models import Goal, TaskModel, VitModel, build_model, open_encoder
from training.distillation.specific.reading import PHOTO_MEMORY, KeptPhotos
from training.distillation.specific.rows import Choice, Row, make_row
from training.distillation.specific.samples import TaskPhotos
from training.distillation.specific.settings import Family, Scale
from training.distillation.specific.task import TaskTraining
from training.loop import CHECKPOINT, LOG, check, place, train
from training.loop.schedule import Precision, Schedule
from training.probing.photos import ProbeData, ProbePhoto
from training.probing.scores import Scores, as_json
from training.probing.statistics import joined
from uplift.encoders.base import Encoder

SEARCHED, MEASURED = "search.json", "measured.json"
GIGABYTE = 10**9
SAVE_EVERY = 180.0  # seconds between checkpoints
NETWORKS = 2  # that are in memory at once: one that learns and its teacher


@dataclass(frozen=True, eq=False)
class RowResult:
    """What a line says.

    Attributes:
        row: The line.
        seeds: Of the trainings.
        scores: On the test photos, of all seeds.
        seconds: That the trainings and measuring took, whenever that was; the teachers' left out.
    """

    row: Row
    seeds: tuple[int, ...]
    scores: Scores
    seconds: float

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        about = {"row": self.row.json(), "seeds": list(self.seeds), "seconds": round(self.seconds, 1)}
        return {**about, **as_json(self.scores)}


class Workbench:
    """Trains the networks of a table on one data set, and measures them; every training goes on where it stopped.

    Attributes:
        data: The photos, of any size, read once as far as the memory goes.
        goal: What is told of them.
        out: Folder; every row has one of its name in it, every seed one in that.
        main: Whether this process is the one that writes.
    """

    def __init__(
        self,
        data: ProbeData,
        goal: Goal,
        out: str | Path,
        *,
        device: str | torch.device = "auto",
        precision: Precision = "auto",
        memory: int = GIGABYTE,
        photo_memory: int = PHOTO_MEMORY,
        save_every: float = SAVE_EVERY,
        progress: Progress = silent,
    ) -> None:
        """Set up.

        Args:
            data: With labels or class maps.
            goal: The task.
            out: See above.
            device: auto, cpu, cuda or cuda:N.
            precision: Of the forward pass of trainings.
            memory: Bytes for features of frozen transformers on photos that are not augmented.
            photo_memory: Bytes for decoded photos and class maps, training photos first.
            save_every: Seconds between checkpoints.
            progress: Told of steps and photos.

        Raises:
            InputError: the data do not have what the task needs.
        """
        # Photos in their own size: crops are taken from all of them, and the test resizes by itself.
        data = replace(data, side=None, enlarge=False, square=False).for_task(goal)
        self._kept = KeptPhotos(photo_memory)
        self.data = replace(data, train=self._kept.keeping(data.train), test=self._kept.keeping(data.test))
        self.goal, self.out = goal, Path(out)
        self._at, self._device, self._precision, self._save_every = place(device), device, precision, save_every
        self.main = self._at.main
        self._progress = progress if self.main else silent
        self._memory = memory
        self._features = FrozenFeatures(memory, self._progress)
        self._photos, self._tests = (
            TaskPhotos(some, goal, len(self.data.classes)) for some in (self.data.train, self.data.test)
        )
        self._trained: OrderedDict[tuple[Row, int], TaskModel] = OrderedDict()
        self._encoders: dict[tuple[str, Path | None], Encoder] = {}  # as they were; networks of all seeds begin there

    def photos(self, *, test: bool = False) -> TaskPhotos:
        """All training photos, or those of the test."""
        return self._tests if test else self._photos

    def row(self, name: str, choice: Choice, *, family: Family, scale: Scale) -> Row:
        """The line of a network on these data, without teacher and mixed images; see :func:`make_row`."""
        row = make_row(name, choice, self.data, self.goal, family=family, scale=scale)
        if scale == "small":
            return row
        return make_row(name, choice, self.data, self.goal, family=family, scale=scale, width=self.width(row))

    def memory(self, rows: Sequence[Row]) -> tuple[int, int]:
        """Bytes that photos, and features of frozen encoders, will take in memory at most."""
        probed = any(one.spec.frozen for row in rows for one in row.lineage())
        return self._kept.expected([*self.data.train, *self.data.test]), self._memory if probed else 0

    def width(self, row: Row) -> int | None:
        """Channels of a line's transformer, as :func:`numbers_for` asks for them; None of convolutional networks."""
        return None if row.spec.convolutional else self._encoder(row, 0).dimension

    def untrained(self, row: Row, seed: int) -> TaskModel:
        """The network of a line as it begins."""
        encoder = None if row.spec.convolutional else self._encoder(row, seed)
        return build_model(
            row.spec, weights=row.weights, encoder=encoder, seed=seed + row.apart, device=self._at.device
        )

    def check(
        self, row: Row, seeds: Sequence[int] = (), *, searched: bool = False, mixed: bool = True
    ) -> list[TaskModel]:
        """Refuse at once what a training would refuse after its teacher's; gives the networks, untrained.

        Args:
            row: A line; its teacher is looked at as well.
            seeds: Whose folders are looked at.
            searched: Whether its numbers, and those of its teacher, are yet to be searched for.
            mixed: Whether mixed images are there already.

        Raises:
            InputError: a network cannot be made, mixed images cannot be had, a batch cannot be shared, or a folder has
                another training in it.
        """
        teachers = [] if row.teacher is None else self.check(row.teacher, seeds, searched=searched)
        teacher = teachers[-1] if teachers else None
        self._check_batch(row)
        model = self._check(row, 0, teacher, mixed, None)
        if searched and not (self.out / row.name / SEARCHED).is_file():
            taken = next(iter(sorted((self.out / row.name).glob(f"seed-*/{CHECKPOINT}"))), None)
            if taken is not None:
                raise InputError(
                    f"{taken} is of a training whose numbers were not searched for; search for them in another folder, "
                    "or delete that file to begin anew."
                )
        if not searched:
            for seed in seeds:
                if (self.folder(row, seed) / CHECKPOINT).is_file():
                    self._check(row, seed, teacher, mixed, self.folder(row, seed))
        return [*teachers, model]

    def model(self, row: Row, seed: int) -> TaskModel:
        """The network of a line, trained with a seed; its teacher before it.

        Writes ``model.safetensors`` into its folder, and ``encoder.safetensors`` of a transformer that was trained.
        What was trained and measured is read from there.  The two networks that were asked for last stay in memory.
        """
        if (row, seed) not in self._trained:
            self._trained[row, seed] = self._measured_before(row, seed) or self._learned(row, seed)
        self._trained.move_to_end((row, seed))
        while len(self._trained) > NETWORKS:
            self._trained.popitem(last=False)
        return self._trained[row, seed]

    def scores(self, row: Row, seed: int) -> Scores:
        """Figures of a line with one seed, trained if need be; measured once, and kept in ``measured.json``."""
        model = self.model(row, seed)
        path = self.folder(row, seed) / MEASURED
        of, told = self.about(row), model.fingerprint()
        found = read_measured(path)
        if found is not None and found["of"] == of and found["model"] == told:
            return scores_from(found)
        began = time.perf_counter()
        what = f"measuring {row.name}: seed {seed}"
        scores = measure(
            model, self.data.test, self.data.classes, features=self._features, what=what, progress=self._progress
        )
        if self.main:
            seconds = round(time.perf_counter() - began, 1)
            content = {
                "of": of,
                "model": told,
                "goal": self.goal,
                "seconds": seconds,
                "groups": scores.groups,
                "names": scores.names,
            }
            with atomic_file(path) as temporary:
                temporary.write_text(json.dumps({**content, "sums": scores.sums.tolist()}) + "\n", encoding="utf-8")
        return scores

    def result(self, row: Row, seeds: Sequence[int]) -> RowResult:
        """A line of the table, teachers trained where they are not yet.

        Raises:
            InputError: seeds are missing or twice.
        """
        check_seeds(seeds)
        parts = [self.scores(row, seed) for seed in seeds]
        return RowResult(row, tuple(seeds), joined(parts), sum(seconds_of(self.folder(row, seed)) for seed in seeds))

    def about(self, row: Row) -> dict[str, Any]:
        """What figures of a line must agree with: the line, its teachers, and the photos; JSON values."""
        photos = [some.fingerprint for some in (self._photos, self._tests)]
        return {"rows": [one.as_written() for one in row.lineage()], "photos": photos}

    def folder(self, row: Row, seed: int) -> Path:
        """Of a training."""
        return self.out / row.name / f"seed-{seed}"

    def fit(
        self,
        row: Row,
        seed: int,
        photos: Sequence[ProbePhoto],
        folder: Path,
        *,
        teacher: TaskModel | None = None,
        held: Sequence[ProbePhoto] = (),
    ) -> tuple[TaskModel, dict[str, float]]:
        """Train, or take over what was trained before.

        Args:
            row: The line.
            seed: Of weights and steps.
            photos: To learn from.
            folder: Of the training.
            teacher: Trained.
            held: Photos that figures are measured on in the end.

        Returns:
            The network, and the figures on the photos that are held back.

        Raises:
            DivergedError: its loss is not finite.
            InputError: the folder has another training in it.
        """
        learned = self._photos if photos is self.data.train else TaskPhotos(photos, self.goal, self._photos.classes)
        model = self.untrained(row, seed)
        task = self._task(row, model, learned, teacher, held)
        task.name = f"{row.name}-seed-{seed}"
        schedule = self._schedule(row, len(learned), seed)
        figures = train(task, schedule, folder, device=self._device, progress=self._progress)
        return model, figures

    def _schedule(self, row: Row, photos: int, seed: int) -> Schedule:
        found = row.numbers.schedule(photos, seed=seed + row.apart, precision=self._precision)
        return replace(found, save_every=self._save_every)

    def _learned(self, row: Row, seed: int) -> TaskModel:
        """The network, trained and written."""
        teacher = None if row.teacher is None else self.model(row.teacher, seed)
        folder = self.folder(row, seed)
        model = self.fit(row, seed, self.data.train, folder, teacher=teacher)[0]
        if self.main:
            about = {**row.json(), "seed": seed, "data": self.data.name}
            save_model(folder / MODEL, model, self.data.classes, about)
            if isinstance(model, VitModel) and not model.spec.frozen:
                save_encoder(folder / ENCODER, model, teacher, about)
        return model

    def _measured_before(self, row: Row, seed: int) -> TaskModel | None:
        """The network as it was written, if it is the one whose figures were written too.

        Not with several processes: each would have to see the same files, or they would wait for each other.
        """
        path, found = self.folder(row, seed) / MODEL, read_measured(self.folder(row, seed) / MEASURED)
        if self._at.count > 1 or not path.is_file() or found is None or found["of"] != self.about(row):
            return None
        model = self.untrained(row, seed)
        restore(path, model)
        return model if model.fingerprint() == found["model"] else None

    def _encoder(self, row: Row, seed: int) -> Encoder:
        spec = row.spec
        if spec.scratch:
            return open_encoder(spec, row.weights, seed=seed, device=self._at.device)
        known = (spec.name, row.weights)
        if known not in self._encoders:
            self._encoders[known] = open_encoder(spec, row.weights, seed=seed, device=self._at.device)
        return self._encoders[known]

    def _check_batch(self, row: Row) -> None:
        """Half as many mixed images as photos are in a batch, which processes share."""
        batch, count = row.numbers.batch, self._at.count
        if row.mixed is None or (batch + batch // 2) % count == 0:
            return
        fitting = next(one for one in range(batch + 1, batch + 2 * count + 1) if (one + one // 2) % count == 0)
        raise InputError(
            f"{count} processes cannot share a batch of {batch} photos and {batch // 2} mixed images equally; choose a "
            f"batch of {fitting}."
        )

    def _check(self, row: Row, seed: int, teacher: TaskModel | None, mixed: bool, out: Path | None) -> TaskModel:
        model = self.untrained(row, seed)
        task = self._task(
            row if mixed else replace(row, mixed=None, mixed_in="distillation"), model, self._photos, teacher
        )
        task.name = f"{row.name}-seed-{seed}"
        schedule = self._schedule(row, len(self._photos), seed)
        unknown = ["teacher"] * (teacher is not None) + ["mixed"] * (not mixed)
        check(task, schedule, self._at, out, unknown=unknown)
        return model

    def _task(
        self,
        row: Row,
        model: TaskModel,
        photos: TaskPhotos,
        teacher: TaskModel | None,
        held: Sequence[ProbePhoto] = (),
    ) -> TaskTraining:
        return TaskTraining(
            model,
            photos,
            row.recipe,
            batch=row.numbers.batch,
            teacher=teacher,
            weighting=row.weighting,
            mixer=None if row.mixed is None else row.mixed.mixer(photos, self.data.classes, row.recipe),
            mixed_in=row.mixed_in,
            validation=held,
            classes=self.data.classes,
            features=self._features,
        )


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise InputError unless there are seeds, each once."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"Expected different seeds, at least one; found {list(seeds)}.")


def read_measured(path: Path) -> dict[str, Any] | None:
    """What ``measured.json`` says; None where there is none or it cannot be read: photos are then measured again."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(found, dict) and {"of", "model", "goal", "seconds", "groups", "names", "sums"} <= set(found)
    return found if whole else None


def scores_from(found: dict[str, Any]) -> Scores:
    """Figures as :func:`read_measured` gives them."""
    return Scores(found["goal"], tuple(found["names"]), tuple(found["groups"]), np.array(found["sums"], float))


def seconds_of(folder: Path) -> float:
    """That the training and the measuring in a folder took, whenever that was and however often it was interrupted."""
    try:
        lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    logged = [json.loads(line) for line in lines]
    trained = [float(line["seconds"]) for line in logged if "seconds" in line]
    found = read_measured(folder / MEASURED)
    return (trained[-1] if trained else 0.0) + (0.0 if found is None else float(found["seconds"]))
