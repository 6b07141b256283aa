"""A study of the text's claims at small scale: which teacher, whether a teacher at all, and mixed images (4.4).

What it costs, by arithmetic.  Measured in milliseconds for a photo, forward and backward with float32 on one thread of
the processor that the numbers were chosen on (with bf16, which ``precision`` auto takes where the processor multiplies
matrices in it, in parentheses):

====================================  ============  =========================
tiny-dino, 96 pixels (144 patches)    145 (42)      asked alone 21 (12)
DeepLabv3-ResNet18, 96 pixels          60 (35)
tiny-dino, 32 pixels (16 patches)      25 (6.5)     asked alone 4 (1.6)
tiny-dino, 32 pixels enlarged twice    76 (18)      asked alone 15 (4.5)
ResNet18, 32 pixels                    38 (18)
====================================  ============  =========================

A student alone takes ``steps x batch`` times the first number, one with a teacher that much more of the second, mixed
images half as much again of both.  With the steps below that is, for one seed with bf16, 55 to 105 s for tiny-dino on
CamVid, 85 to 170 s for DeepLabv3, 50 to 130 s for tiny-dino and 85 to 160 s for ResNet18 on CIFAR-10; for all rows,
seeds and both data sets about 2.3 hours of one thread, 70 minutes of two.  In float32 it is two to three times that:
``effort`` makes all trainings shorter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from render.errors import InputError
from render.progress import Progress, silent
from training.distillation.specific.losses import Weighting
from training.distillation.specific.mixing import Mixed
from training.distillation.specific.models import Goal
from training.distillation.specific.rows import Choice, Row
from training.distillation.specific.running import (
    MEASURED,
    RowResult,
    Workbench,
    check_seeds,
    read_measured,
    scores_from,
    seconds_of,
)
from training.distillation.specific.settings import Family
from training.layouts import Layout
from training.loop.schedule import Precision
from training.probing.data import open_data
from training.probing.statistics import joined

SEEDS = (0, 1, 2)
PROBED, TUNED = "teacher-probed", "teacher-tuned"
ALONE, BY_PROBED, BY_TUNED = "alone", "by-probed", "by-tuned"
MIXED, MIXED_IN_TASK = "by-probed-mixed", "by-probed-mixed-in-task"
LINES = (ALONE, BY_PROBED, BY_TUNED, MIXED, MIXED_IN_TASK)
"""How every student is trained: tables 4.1 to 4.3 and 4.5."""
NO_LABELS, MIXED_NO_LABELS = "by-probed-no-labels", "by-probed-mixed-no-labels"
FURTHER = (NO_LABELS, MIXED_NO_LABELS)
"""What table 4.6 has beside them: the distillation alone."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A network of the study.

    Attributes:
        choice: The network, and what is chosen of its training; epochs follow from the steps.
        steps: Of the training.
    """

    choice: Choice
    steps: int


@dataclass(frozen=True, kw_only=True)
class Study:
    """A data set of the study, with all numbers that matter.

    Attributes:
        name: Of the data.
        goal: The task.
        kind: How the data are laid out.
        family: Row of table B.2.
        train: Photos to learn from at most, evenly spaced; None = all.
        test: Photos to measure at most, evenly spaced; None = all.
        probed: The teacher whose encoder is frozen.
        tuned: The teacher all of which is trained.
        students: By the names that rows begin with.
        lines: How every student is trained.
    """

    name: str
    goal: Goal
    kind: Layout
    family: Family
    train: int | None
    test: int | None
    probed: Trained
    tuned: Trained
    students: Mapping[str, Trained]
    lines: tuple[str, ...] = LINES

    def shortened(self, effort: float) -> Study:
        """The same with so many times the steps.

        Raises:
            InputError: ``effort`` is not above 0.
        """
        if not effort > 0:
            raise InputError(f"Expected an effort above 0, found {effort:g}.")

        def cut(one: Trained) -> Trained:
            return replace(one, steps=max(1, round(effort * one.steps)))

        students = {name: cut(one) for name, one in self.students.items()}
        return replace(self, probed=cut(self.probed), tuned=cut(self.tuned), students=students)


# CamVid: 120 photos of 240 x 180 pixels to learn from, 60 to measure.  Crops of 96 pixels, of photos whose shorter side
# is then 48 to 192 (B.1.3): tiny-dino was trained on crops of that size.  The transformer that is a student is the
# teacher's, as in the first row of table 4.2: no bundled encoder tells more of photos of streets.
_DINO_96 = Choice(network="tiny-dino", side=96, batch=8, rate=5e-4, weight_decay=0.01)
CAMVID = Study(
    name="camvid",
    goal="segmentation",
    kind="camvid",
    family="segmentation",
    train=None,
    test=None,
    probed=Trained(choice=replace(_DINO_96, frozen=True, batch=16, rate=8e-3, weight_decay=0.0), steps=600),
    tuned=Trained(choice=_DINO_96, steps=160),
    students={
        "vit": Trained(choice=_DINO_96, steps=160),
        "resnet": Trained(
            choice=Choice(network="deeplabv3-resnet18", side=96, batch=8, rate=0.04, weight_decay=1e-3), steps=300
        ),
    },
)
# CIFAR-10: 5000 photos of 32 x 32 pixels to learn from, 2000 to measure.  The teacher sees them enlarged twice, 64
# patches, the transformer that is a student as they are, 16 patches: a fifth of the work.
_DINO_32 = Choice(network="tiny-dino", side=32, batch=32, rate=5e-4, weight_decay=0.05)
CIFAR10 = Study(
    name="cifar10",
    goal="classification",
    kind="arrays",
    family="domainnet",
    train=None,
    test=None,
    probed=Trained(choice=replace(_DINO_32, enlarge=2, frozen=True, batch=64, rate=2e-3, weight_decay=0.0), steps=1500),
    tuned=Trained(choice=replace(_DINO_32, enlarge=2), steps=250),
    students={
        "vit": Trained(choice=_DINO_32, steps=250),
        "resnet": Trained(
            choice=Choice(network="resnet18", side=32, batch=32, rate=0.05, weight_decay=5e-4), steps=150
        ),
    },
)
STUDIES = (CAMVID, CIFAR10)


def open_bench(
    study: Study,
    path: Path,
    out: Path,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    progress: Progress = silent,
) -> Workbench:
    """The photos of a study and the folder of its trainings; nothing is trained.

    Args:
        study: Which.
        path: Folder of the data.
        out: Folder; trainings are in ``ROW/seed-N``.
        device: auto, cpu, cuda or cuda:N.
        precision: Of the forward pass of trainings.
        progress: Told of steps and photos.

    Raises:
        InputError: the data cannot be read, or are of another kind.
    """
    data = open_data(path, study.kind).limited(study.train, study.test)
    return Workbench(data, study.goal, out, device=device, precision=precision, progress=progress)


def rows_of(study: Study, bench: Workbench) -> list[Row]:
    """All lines of a study: both teachers first, then every student in all of its manners.

    Raises:
        InputError: a network is not known.
    """
    probed, tuned = _row(study, bench, PROBED, study.probed), _row(study, bench, TUNED, study.tuned)
    found = [probed, tuned]
    blend, unlabelled = Mixed(source="blend"), Weighting(alpha=1.0)
    for name, trained in study.students.items():
        student = _row(study, bench, name, trained)
        taught = replace(student, teacher=probed)
        mixed = replace(taught, mixed=blend)
        lines = {
            ALONE: student,
            BY_PROBED: taught,
            BY_TUNED: replace(student, teacher=tuned),
            MIXED: mixed,
            MIXED_IN_TASK: replace(mixed, mixed_in="task"),
            NO_LABELS: replace(taught, weighting=unlabelled),
            MIXED_NO_LABELS: replace(mixed, weighting=unlabelled),
        }
        found += [replace(lines[line], name=f"{name}-{line}") for line in study.lines]
    return found


def in_order(rows: Sequence[Row]) -> list[list[Row]]:
    """Lines by when they may be trained: those of one list at once, after those of the lists before it."""
    depths = [len(row.lineage()) for row in rows]
    return [[row for row, depth in zip(rows, depths, strict=True) if depth == one] for one in sorted(set(depths))]


def train_row(
    study: Study,
    path: Path,
    out: Path,
    name: str,
    seeds: Sequence[int],
    *,
    device: str = "auto",
    precision: Precision = "auto",
    progress: Progress = silent,
) -> None:
    """Train one line with some seeds and measure it: a job, which can be done in a process of its own.

    What is done already is left as it is, what was interrupted goes on.  A teacher is not trained here: two students
    would do so at the same time.  Seeds of a probed line belong into one job, for they share features.

    Args:
        study: Which.
        path: Folder of the data.
        out: See :func:`open_bench`.
        name: Of the line.
        seeds: To train with.
        device: See :func:`open_bench`.
        precision: See :func:`open_bench`.
        progress: See :func:`open_bench`.

    Raises:
        InputError: there is no such line, its teacher is not trained yet, or a folder has another training in it.
        DivergedError: the loss is not finite.
    """
    check_seeds(seeds)
    bench = open_bench(study, path, out, device=device, precision=precision, progress=progress)
    rows = {row.name: row for row in rows_of(study, bench)}
    if name not in rows:
        raise InputError(f"The study of {study.name} has the rows {', '.join(rows)}; found {name!r}.")
    row = rows[name]
    for seed in seeds:
        if is_done(bench, row, seed):
            continue
        for teacher in row.lineage()[:-1]:
            if not is_done(bench, teacher, seed):
                raise InputError(f"{name} with seed {seed} is taught by {teacher.name}: train that one first.")
        bench.check(row, [seed])
        bench.scores(row, seed)


def is_done(bench: Workbench, row: Row, seed: int) -> bool:
    """Whether a line was trained with a seed and measured: with these numbers and teachers, on these photos."""
    found = read_measured(bench.folder(row, seed) / MEASURED)
    return found is not None and found["of"] == bench.about(row)


def result_of(bench: Workbench, row: Row, seeds: Sequence[int]) -> RowResult:
    """A line that was trained and measured, as it is written; no network is loaded.

    Raises:
        InputError: it was not, with these numbers, or seeds are missing or twice.
    """
    check_seeds(seeds)
    missing = [seed for seed in seeds if not is_done(bench, row, seed)]
    if missing:
        raise InputError(f"{row.name} was not trained and measured with the seeds {missing} yet.")
    folders = [bench.folder(row, seed) for seed in seeds]
    found = [read_measured(folder / MEASURED) for folder in folders]
    scores = joined([scores_from(one) for one in found if one is not None])
    return RowResult(row, tuple(seeds), scores, sum(map(seconds_of, folders)))


def _row(study: Study, bench: Workbench, name: str, trained: Trained) -> Row:
    row = bench.row(name, trained.choice, family=study.family, scale="small")
    epochs = trained.steps * row.numbers.batch / len(bench.data.train)
    return replace(row, numbers=replace(row.numbers, epochs=epochs))
