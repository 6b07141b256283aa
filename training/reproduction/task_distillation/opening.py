"""A study with its photos read: where everything of it lies, and what of it is left to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from training.distillation.specific.rows import Row
from training.distillation.specific.running import Workbench
from training.distillation.specific.settings import Procedure
from training.distillation.specific.study import PROBED, TUNED, Study, is_done, open_bench, rows_of, searches

if TYPE_CHECKING:
    from training.distillation.specific.models import TaskModel
    from uplift.evaluation.store import FigureStore

DEVICE = "cpu"
TEACHERS = (PROBED, TUNED)
BASE = 1_600_000_000  # bytes of a process with its libraries, a student that is trained, and its teacher
FEATURES = 20_000_000  # bytes of what a frozen encoder says of the photos of a study
STATE = 3  # a checkpoint, times the weights of a network; it is deleted when that is measured
RATE = "rate"


@dataclass(frozen=True, eq=False)
class Opened:
    """A study and its photos.

    Attributes:
        study: Which.
        data: Folder of its data set.
        out: Folder of its trainings.
        figures: Folder of what is written down of all trainings of the reproduction.
        bench: With the photos.
        searches: The lines that learning rates are searched for with, see :func:`searches`.
        rows: What is trained, teachers first; with the rates that were found, where they were.
    """

    study: Study
    data: Path
    out: Path
    figures: Path
    bench: Workbench
    searches: Mapping[Procedure, Row]
    rows: Sequence[Row]

    def rates(self) -> dict[Procedure, float]:
        """The learning rates that were found until now.

        Raises:
            InputError: with other numbers, photos or precision.
        """
        found = {what: self.searching(what).get(searched(self.study, what)) for what in self.searches}
        return {what: float(one[RATE]) for what, one in found.items() if one is not None}

    def rated(self) -> Opened:
        """The same study with the rates that were found until now."""
        study = self.study.with_rates(self.rates())
        return replace(self, study=study, rows=rows_of(study, self.bench))

    def searching(self, what: Procedure) -> FigureStore:
        """What a search found, see :func:`searched`."""
        return self._store({"tried": self.study.rates[what], **self.bench.about(self.searches[what])})

    def store(self, row: Row) -> FigureStore:
        """What trainings of a row took, see :func:`trained`; kept apart from the folders of the trainings."""
        return self._store(self.bench.about(row))

    def left(self, row: Row, seeds: Sequence[int]) -> list[int]:
        """The seeds with which a row was not trained and measured yet.

        Raises:
            InputError: what is there was made with other numbers, teachers, photos or precision.
        """
        self.store(row).check([trained(self.study, row, seed) for seed in seeds])
        return [seed for seed in seeds if not is_done(self.bench, row, seed)]

    def check(self, seeds: Sequence[int]) -> int:
        """Refuse at once what a training that is left would refuse; gives the bytes that they will write, about.

        Raises:
            InputError: see :meth:`left` and :meth:`Workbench.check`.
        """
        needed = largest = 0
        for row in self.rows:
            left = self.left(row, seeds)
            if left:
                files = 1 + (not row.spec.convolutional and not row.spec.frozen)
                size = _bytes(self.bench.check(row, left)[-1])
                needed, largest = needed + len(left) * files * size, max(largest, size)
        return needed + STATE * largest

    def memory(self) -> int:
        """Bytes that a job needs at most, about."""
        return BASE + self.bench.memory(self.rows)[0] + FEATURES

    def _store(self, about: Mapping[str, Any]) -> FigureStore:
        from training.loop.processes import resolve_precision
        from uplift.evaluation.store import FigureStore

        # Figures of one precision are not mixed with those of another.
        precision = resolve_precision("auto", torch.device(DEVICE))
        advice = f"give another folder, or delete {self.figures} and {self.out} to train again"
        return FigureStore(self.figures, {**about, "precision": precision}, advice=advice)


def open_study(study: Study, data: Path, out: Path) -> Opened:
    """Read what a study needs; nothing is trained.

    Args:
        study: Which.
        data: Folder with a folder of the data set, named as the study.
        out: Of the reproduction.

    Raises:
        InputError: the data are missing or damaged.
    """
    bench = open_bench(study, data / study.name, out / study.name, device=DEVICE)
    known = searches(study, bench)
    found = Opened(study, data / study.name, out / study.name, out / "figures", bench, known, rows_of(study, bench))
    return found.rated()


def trained(study: Study, row: Row, seed: int) -> str:
    """The name of what a training took, in the store."""
    return f"{study.name}/{row.name}/seed-{seed}"


def searched(study: Study, what: Procedure) -> str:
    """The name of what a search found, in the store."""
    return f"{study.name}/search-{what}"


def _bytes(model: TaskModel) -> int:
    return sum(value.numel() * value.element_size() for value in model.state_dict().values())
