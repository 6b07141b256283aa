"""What augmentations are worth: networks trained with them from nothing, and measured on photos of a test."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from render.errors import InputError
from render.files import atomic_file
from render.progress import Progress, silent
from training.augmentation.applying import Augmentation
from training.augmentation.learning import Learning, LearningNumbers
from training.augmentation.photos import Squares
from training.distillation.specific.measuring import measure
from training.distillation.specific.models import TaskModel
from training.distillation.specific.running import read_measured, scores_from
from training.loop import Schedule, check, place, train
from training.loop.schedule import Precision
from training.probing.comparison import Difference, Interval, interval_over_seeds
from training.probing.photos import ProbePhoto
from training.probing.scores import Scores
from training.probing.statistics import larger

if TYPE_CHECKING:
    from jaxtyping import Float

MEASURED = "measured.json"


@dataclass(frozen=True, eq=False)
class Contender:
    """A line of the table.

    Attributes:
        name: Of its folder.
        augmentations: One, or those that several searches found.
    """

    name: str
    augmentations: tuple[Augmentation, ...]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a line says.

    Attributes:
        name: Of the line.
        titles: Of its augmentations.
        right: Whether each test photo was told rightly, by evaluation, those of an augmentation one after the other.
    """

    name: str
    titles: tuple[str, ...]
    right: Float[np.ndarray, "e n"]

    @property
    def accuracies(self) -> list[float]:
        """Of every evaluation."""
        return [float(value) for value in self.right.mean(1)]

    @property
    def mean(self) -> Interval:
        """Over all evaluations, searches and runs alike (section 3.4.1)."""
        return interval_over_seeds(self.accuracies)

    @property
    def over_searches(self) -> Interval:
        """Over the means of the searches; of a single one its mean alone."""
        return interval_over_seeds(self.right.reshape(len(self.titles), -1).mean(1).tolist())

    def gain(self, base: Outcome) -> Difference:
        """How much more is told rightly than with another line, evaluations of the same seeds paired.

        Lines may have another number of evaluations each: those seeds count that both have.
        """
        count = min(len(self.right), len(base.right))
        return larger(self.right[:count], base.right[:count])

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "augmentations": list(self.titles),
            "accuracies": self.accuracies,
            "mean": self.mean.json(),
            "over_searches": self.over_searches.json(),
        }


class Evaluation:
    """Trains a network with each of several augmentations, several times, and measures them.

    Writes ``NAME/seed-SEED/`` for every training, with its checkpoint and log; one that was interrupted goes on.  Seeds
    decide weights, batches and places: the k-th evaluation of every line has the k-th seed.
    """

    def __init__(
        self,
        make: Callable[[int], TaskModel],
        photos: Squares,
        test: Sequence[ProbePhoto],
        out: str | Path,
        *,
        learning: LearningNumbers,
        classes: Sequence[str],
        seed: int = 0,
        precision: Precision = "auto",
        device: str | torch.device = "auto",
        progress: Progress = silent,
    ) -> None:
        """Set up.

        Args:
            make: Gives a network of random weights for a seed.
            photos: It learns from.
            test: It is measured on.
            out: Folder.
            learning: How long and how fast.
            classes: Their names.
            seed: Of the first evaluation of every line.
            precision: Of the forward pass.
            device: auto, cpu, cuda or cuda:N.
            progress: Told of steps and photos.
        """
        self._make, self._photos, self._test, self._out = make, photos, list(test), Path(out)
        self._learning, self._classes, self._seed = learning, tuple(classes), seed
        self._precision, self._device, self._progress = precision, device, progress
        self._at = place(device)
        self._tested = Squares(self._test, photos.classes, photos.side).fingerprint

    def check(self, contender: Contender, runs: int) -> None:
        """Refuse at once what a later training would refuse.

        Raises:
            InputError: a batch is too large or cannot be shared, or a folder has another training in it.
        """
        if runs < 1:
            raise InputError(f"Expected 1 run or more, found {runs}.")
        for seed, augmentation in self._planned(contender, runs):
            task, schedule = self._task(augmentation, seed)
            check(task, schedule, self._at, self.folder(contender.name, seed))

    def outcome(self, contender: Contender, runs: int) -> Outcome:
        """A line: so many trainings with every augmentation of it, measured.

        Raises:
            DivergedError: the loss of one is not finite.
            InputError: a folder has another training in it.
        """
        parts = [self.right(contender.name, *one) for one in self._planned(contender, runs)]
        return Outcome(contender.name, tuple(one.title for one in contender.augmentations), np.stack(parts))

    def right(self, name: str, seed: int, augmentation: Augmentation) -> Float[np.ndarray, " n"]:
        """Whether each test photo was told rightly by one training of a line.

        Raises:
            DivergedError: its loss is not finite.
            InputError: its folder has another training in it.
        """
        task, schedule = self._task(augmentation, seed)
        folder = self.folder(name, seed)
        train(task, schedule, folder, device=self._device, progress=self._progress)
        found: np.ndarray = self._scores(task.network, folder, f"measuring {name}: seed {seed}").sums[0, :, 0]
        return found

    def folder(self, name: str, seed: int) -> Path:
        """Of a training."""
        return self._out / name / f"seed-{seed}"

    def _planned(self, contender: Contender, runs: int) -> list[tuple[int, Augmentation]]:
        """Every evaluation, and no seed twice: those of a search differ in more than its policy from another's."""
        every = [one for one in contender.augmentations for _ in range(runs)]
        return [(self._seed + place, one) for place, one in enumerate(every)]

    def _task(self, augmentation: Augmentation, seed: int) -> tuple[Learning, Schedule]:
        network = self._make(seed)
        task = Learning(network, self._photos, augmentation, batch=self._learning.batch, classes=self._classes)
        return task, self._learning.schedule(len(self._photos), seed=seed, precision=self._precision)

    def _scores(self, network: TaskModel, folder: Path, what: str) -> Scores:
        """Measured once, and kept beside the training."""
        path, told = folder / MEASURED, network.fingerprint()
        found = read_measured(path)
        if found is not None and found["of"] == self._tested and found["model"] == told:
            return scores_from(found)
        began = time.perf_counter()
        scores = measure(network, self._test, self._classes, what=what, progress=self._progress)
        if self._at.main:
            content = {
                "of": self._tested,
                "model": told,
                "goal": scores.task,
                "seconds": round(time.perf_counter() - began, 1),
                "groups": scores.groups,
                "names": scores.names,
                "sums": scores.sums.tolist(),
            }
            with atomic_file(path) as temporary:
                temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
        return scores
