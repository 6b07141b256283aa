"""Lines of a table: networks that are trained with several seeds, with their teachers, and measured."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch

from render.errors import InputError
from render.files import atomic_file
from render.progress import Progress, silent
from training.distillation.specific.augmentation import Recipe
from training.distillation.specific.files import ENCODER, MODEL, save_encoder, save_model
from training.distillation.specific.losses import Weighting
from training.distillation.specific.measuring import CHOSEN_BY, measure
from training.distillation.specific.mixing import ImageMixer
from training.distillation.specific.models import (
    Goal,
    ModelSpec,
    TaskModel,
    VitModel,
    build_model,
    open_encoder,
)
from training.distillation.specific.samples import TaskPhotos
from training.distillation.specific.settings import Numbers
from training.distillation.specific.splitting import split_by_group
from training.distillation.specific.task import MixedIn, TaskTraining
from training.loop import check, place, train
from training.loop.schedule import Precision
from training.probing.photos import ProbeData, ProbePhoto
from training.probing.scores import Scores, as_json
from training.probing.statistics import joined
from uplift.encoders.base import Encoder

MixerOf: TypeAlias = Callable[[TaskPhotos, Recipe], ImageMixer]
SEARCHED = "search.json"
GIGABYTE = 10**9


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table: a network, how it is trained, and by whom it is taught.

    Attributes:
        name: Of its folder.
        spec: The network.
        numbers: How long and how fast it is trained.
        recipe: How photos are augmented.
        weights: A local file that it begins with; None = the encoder's own, or random ones.
        teacher: What teaches it, each seed by the teacher of that seed; None = labels alone.
        weighting: Of labels and teacher.
        mixed: How the source of mixed images is called.
        mixer: Makes it; None = there are none.
        mixed_in: Where these teach.
    """

    name: str
    spec: ModelSpec
    numbers: Numbers
    recipe: Recipe
    weights: Path | None = None
    teacher: Row | None = None
    weighting: Weighting = field(default_factory=Weighting)
    mixed: str = "none"
    mixer: MixerOf | None = None
    mixed_in: MixedIn = "distillation"

    def json(self) -> dict[str, Any]:
        """What decides on the result, but for files; JSON values."""
        return {
            "name": self.name,
            "network": self.spec.json(),
            "numbers": self.numbers.json(),
            "recipe": self.recipe.json(),
            "teacher": None if self.teacher is None else self.teacher.name,
            "weighting": None if self.teacher is None else asdict(self.weighting),
            "mixed": self.mixed,
            "mixed_in": None if self.mixer is None else self.mixed_in,
        }


@dataclass(frozen=True, eq=False)
class RowResult:
    """What a line says.

    Attributes:
        row: The line.
        seeds: Of the trainings.
        scores: On the test photos, of all seeds.
        seconds: That training and measuring took in this run, its teachers' left out.
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
        data: The photos, of any size.
        goal: What is told of them.
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
        progress: Progress = silent,
    ) -> None:
        """Set up.

        Args:
            data: With labels or class maps.
            goal: The task.
            out: Folder; every row has one of its name in it, every seed one in that.
            device: auto, cpu, cuda or cuda:N.
            precision: Of the forward pass of trainings.
            memory: Bytes for features of frozen transformers on photos that are not augmented.
            progress: Told of steps and photos.

        Raises:
            InputError: the data do not have what the task needs.
        """
        # Photos in their own size: crops are taken from all of them, and the test resizes by itself.
        self.data = replace(data, side=None, enlarge=False, square=False).for_task(goal)
        self.goal, self._out = goal, Path(out)
        self._at, self._device, self._precision = place(device), device, precision
        self._memory = memory
        self._progress = progress if self._at.main else silent
        self._trained: dict[tuple[str, int], TaskModel] = {}
        self._frozen: dict[tuple[str, Path | None], Encoder] = {}  # that heads of several seeds share

    def photos(self, some: Sequence[ProbePhoto] | None = None) -> TaskPhotos:
        """The training photos, or some of them."""
        return TaskPhotos(self.data.train if some is None else some, self.goal, len(self.data.classes))

    def untrained(self, row: Row, seed: int) -> TaskModel:
        """The network of a line as it begins."""
        spec, encoder = row.spec, None
        if spec.frozen and not spec.scratch:
            known = (spec.name, row.weights)
            if known not in self._frozen:
                self._frozen[known] = open_encoder(spec, row.weights, seed=seed, device=self._at.device)
            encoder = self._frozen[known]
        return build_model(spec, weights=row.weights, encoder=encoder, seed=seed, device=self._at.device)

    def check(self, row: Row) -> list[TaskModel]:
        """Refuse at once what a training would refuse after its teacher's; gives the networks, untrained.

        Raises:
            InputError: a network cannot be made, mixed images cannot be had, or a batch cannot be shared.
        """
        teachers = [] if row.teacher is None else self.check(row.teacher)
        learned = self.photos()
        model = self.untrained(row, 0)
        task = self._task(row, model, learned, teachers[-1] if teachers else None)
        check(task, row.numbers.schedule(len(learned), seed=0, precision=self._precision), self._at)
        return [*teachers, model]

    def model(self, row: Row, seed: int) -> TaskModel:
        """The network of a line, trained with a seed; its teacher before it.

        Writes ``model.safetensors`` into its folder, and ``encoder.safetensors`` of a transformer that was trained.
        """
        if (row.name, seed) not in self._trained:
            teacher = None if row.teacher is None else self.model(row.teacher, seed)
            folder = self._folder(row, seed)
            model = self._fit(row, seed, self.data.train, folder, teacher=teacher)[0]
            if self._at.main:
                about = {**row.json(), "seed": seed, "data": self.data.name}
                save_model(folder / MODEL, model, self.data.classes, about)
                if isinstance(model, VitModel) and not model.spec.frozen:
                    save_encoder(folder / ENCODER, model, teacher, about)
            self._trained[row.name, seed] = model
        return self._trained[row.name, seed]

    def result(self, row: Row, seeds: Sequence[int]) -> RowResult:
        """A line of the table, teachers trained where they are not yet.

        Raises:
            InputError: seeds are missing or twice.
        """
        if not seeds or len(set(seeds)) < len(seeds):
            raise InputError(f"Expected different seeds, at least one; found {list(seeds)}.")
        parts, seconds = [], 0.0
        for seed in seeds:
            if row.teacher is not None:
                self.model(row.teacher, seed)
            began = time.perf_counter()
            what = f"measuring {row.name}: seed {seed}"
            parts.append(
                measure(self.model(row, seed), self.data.test, self.data.classes, what=what, progress=self._progress)
            )
            seconds += time.perf_counter() - began
        return RowResult(row, tuple(seeds), joined(parts), seconds)

    def searched(self, row: Row, grid: Sequence[Numbers], *, seed: int = 0) -> Row:
        """The line with the numbers of a grid that are best on photos kept back (section 4.4.1).

        A tenth of the training photos, whole groups of them, is kept back where the data have no validation split; the
        line is trained on all of them afterwards.  A teacher is trained without them too.  Mixed images are left out:
        they are used with the numbers found without them (B.1.2).  Writes ``search.json``.

        Args:
            row: The line; its teacher with the numbers that it is to have.
            grid: Numbers to try.
            seed: Of the split and of the trainings.
        """
        learned, kept = split_by_group(self.data.train, seed=seed)
        folder = self._out / row.name / "search"
        teacher = None
        if row.teacher is not None:
            teacher = self._fit(row.teacher, seed, learned, folder / "teacher")[0]
        plain = replace(row, mixer=None)
        figure = CHOSEN_BY[self.goal]
        tried, reached = [], []
        for numbers in grid:
            name = f"rate-{numbers.rate:g}-decay-{numbers.weight_decay:g}"
            one = replace(plain, numbers=numbers)
            figures = self._fit(one, seed, learned, folder / name, teacher=teacher, held=kept)[1]
            tried.append({"numbers": numbers.json(), **figures})
            reached.append(figures[figure])
        best = reached.index(max(reached))
        if self._at.main:
            content = {"photos": [len(learned), len(kept)], "figure": figure, "tried": tried, "best": best}
            with atomic_file(self._out / row.name / SEARCHED) as temporary:
                temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return replace(row, numbers=grid[best])

    def _folder(self, row: Row, seed: int) -> Path:
        return self._out / row.name / f"seed-{seed}"

    def _fit(
        self,
        row: Row,
        seed: int,
        photos: Sequence[ProbePhoto],
        folder: Path,
        *,
        teacher: TaskModel | None = None,
        held: Sequence[ProbePhoto] = (),
    ) -> tuple[TaskModel, dict[str, float]]:
        """Train, or take over what was trained before; figures on the photos that are held back."""
        learned = self.photos(photos)
        model = self.untrained(row, seed)
        task = self._task(row, model, learned, teacher, held)
        task.name = f"{row.name}-seed-{seed}"
        schedule = row.numbers.schedule(len(learned), seed=seed, precision=self._precision)
        figures = train(task, schedule, folder, device=self._device, progress=self._progress)
        return model, figures

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
            mixer=None if row.mixer is None else row.mixer(photos, row.recipe),
            mixed_in=row.mixed_in,
            validation=held,
            classes=self.data.classes,
            memory=self._memory,
            progress=self._progress,
        )
