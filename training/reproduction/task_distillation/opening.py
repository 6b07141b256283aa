"""A study with its photos read: where everything of it lies, and what of it is left to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from training.distillation.specific.rows import Row
from training.distillation.specific.running import Workbench
from training.distillation.specific.study import PROBED, TUNED, Study, in_order, is_done, open_bench, rows_of

if TYPE_CHECKING:
    from training.distillation.specific.models import TaskModel
    from uplift.evaluation.store import FigureStore

DEVICE = "cpu"
TEACHERS = (PROBED, TUNED)
BASE = 1_600_000_000  # bytes of a process with its libraries, a student that is trained, and its teacher
FEATURES = 20_000_000  # bytes of what a frozen teacher says of the photos of a study
STATE = 3  # checkpoint of a teacher, times its weights


@dataclass(frozen=True, eq=False)
class Opened:
    """A study and its photos.

    Attributes:
        study: Which.
        data: Folder of its data set.
        out: Folder of its trainings.
        figures: Folder of what is written down of all trainings of the reproduction.
        bench: With the photos.
        rows: What is trained, teachers first.
    """

    study: Study
    data: Path
    out: Path
    figures: Path
    bench: Workbench
    rows: Sequence[Row]

    def phases(self) -> list[list[Row]]:
        """Rows by when they may be trained, see :func:`in_order`."""
        return in_order(self.rows)

    def store(self, row: Row) -> FigureStore:
        """What trainings of a row took, see :func:`trained`; kept apart from the folders of the trainings."""
        from training.loop.processes import resolve_precision
        from uplift.evaluation.store import FigureStore

        # Figures of one precision are not mixed with those of another.
        precision = resolve_precision("auto", torch.device(DEVICE))
        advice = f"give another folder, or delete {self.figures} and {self.out} to train again"
        return FigureStore(self.figures, {**self.bench.about(row), "precision": precision}, advice=advice)

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
        needed = 0
        for row in self.rows:
            left = self.left(row, seeds)
            if left:
                files = 1 + (not row.spec.convolutional and not row.spec.frozen)
                files += STATE if row.name in TEACHERS else 0
                needed += len(left) * files * _bytes(self.bench.check(row, left)[-1])
        return needed

    def memory(self) -> int:
        """Bytes that a job needs at most, about."""
        return BASE + self.bench.memory(self.rows)[0] + FEATURES


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
    return Opened(study, data / study.name, out / study.name, out / "figures", bench, rows_of(study, bench))


def trained(study: Study, row: Row, seed: int) -> str:
    """The name of what a training took, in the store."""
    return f"{study.name}/{row.name}/seed-{seed}"


def _bytes(model: TaskModel) -> int:
    return sum(value.numel() * value.element_size() for value in model.state_dict().values())
