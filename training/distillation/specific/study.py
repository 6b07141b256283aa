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
images half as much again of both; photos are read and augmented besides, in 1 to 5 ms each.  With the steps below that
is, for one seed with bf16, 55 to 110 s for tiny-dino on CamVid, 115 to 175 s for DeepLabv3, 35 to 100 s for tiny-dino
and 85 to 150 s for ResNet18 on CIFAR-10; :mod:`training.reproduction.task_distillation.plan` adds it up.  In float32 it
is two to three times that: ``effort`` makes all trainings shorter.

What is as it is for the sake of that time: mixed images are half as many more in a batch, so that they are also more
work (the text's training with them takes 1.5 times as long, too), and no line has as many more photos instead;
convolutional networks see a photo ten to twenty times (200 times in the text) and stay far from what they could tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from render.errors import InputError
from render.progress import Progress, silent
from render.spacing import evenly
from training.distillation.specific.losses import Weighting
from training.distillation.specific.mixing import Mixed
from training.distillation.specific.models import CNNS, Goal
from training.distillation.specific.rows import APART, Choice, Row
from training.distillation.specific.running import (
    MEASURED,
    RowResult,
    Workbench,
    check_seeds,
    read_measured,
    scores_from,
    seconds_of,
)
from training.distillation.specific.searching import searched
from training.distillation.specific.settings import Family, Procedure, procedure_of
from training.distillation.specific.splitting import split_by_group
from training.layouts import Layout
from training.loop.schedule import Precision
from training.probing.data import open_data
from training.probing.statistics import joined

SEEDS = (0, 1, 2)
PROBED, TUNED = "teacher-probed", "teacher-tuned"
HEAD, ALONE, BY_PROBED, BY_TUNED = "probed", "alone", "by-probed", "by-tuned"
MIXED, MIXED_IN_TASK, ALONE_MIXED = "by-probed-mixed", "by-probed-mixed-in-task", "alone-mixed-in-task"
NO_LABELS, MIXED_NO_LABELS = "by-probed-no-labels", "by-probed-mixed-no-labels"
VIT, RESNET = "vit", "resnet"
LINES: Mapping[str, tuple[str, ...]] = {
    VIT: (HEAD, ALONE, BY_PROBED, BY_TUNED, MIXED, MIXED_IN_TASK, ALONE_MIXED, NO_LABELS),
    RESNET: (ALONE, BY_PROBED, MIXED),
}
"""How each student is trained: what the text has of it in tables 4.1 to 4.3, 4.5 and 4.6."""
FURTHER: Mapping[str, tuple[str, ...]] = {
    VIT: (MIXED_NO_LABELS,),
    RESNET: (BY_TUNED, MIXED_IN_TASK, ALONE_MIXED, NO_LABELS, MIXED_NO_LABELS),
}
"""The last line of table 4.6, and for the ResNet all that the text has of the transformer alone."""
SEARCH_STEPS = 0.5  # of the steps of a training, for one that a rate is chosen by
SEARCH_SHARE = 0.25  # of the photos, that are kept back for it where all are learned from
SEARCH_PHOTOS = 1000  # to choose by at most, of those that are not learned from
SAVE_EVERY = 60.0  # seconds between checkpoints of trainings that take few minutes


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
        rates: What is tried for each part of a network that is trained, see :func:`searches`.
        lines: How each student is trained.
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
    rates: Mapping[Procedure, tuple[float, ...]]
    lines: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: LINES)

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

    def with_rates(self, rates: Mapping[Procedure, float]) -> Study:
        """The same with learning rates that were searched for; what was not keeps its own."""

        def rated(one: Trained) -> Trained:
            what = _procedure(one.choice, self.goal)
            return replace(one, choice=replace(one.choice, rate=rates[what])) if what in rates else one

        students = {name: rated(one) for name, one in self.students.items()}
        return replace(self, probed=rated(self.probed), tuned=rated(self.tuned), students=students)


# Of CamVid 120 photos of 240 x 180 pixels to learn from, 60 to measure (SegNet's split: 16 of those go on with a drive
# that the training has, from four seconds after its last photo on).  Crops of 96 pixels, of photos whose shorter side
# is then 48 to 192 (B.1.3): tiny-dino was trained on crops of that size.  The transformer that is a student is the
# teacher's, as in the first row of table 4.2: no bundled encoder tells more of photos of streets.
#
# Heads of teachers learn from the augmented photos that they are asked about later: one that never saw a crop in other
# colours would be a worse teacher than a network that was trained on them, however good its encoder.
_DINO_96 = Choice(network="tiny-dino", side=96, batch=8, rate=3e-4, weight_decay=0.01)
CAMVID = Study(
    name="camvid",
    goal="segmentation",
    kind="camvid",
    family="segmentation",
    train=None,
    test=None,
    probed=Trained(
        choice=replace(_DINO_96, frozen=True, augment="standard", batch=16, rate=8e-3, weight_decay=0.0), steps=200
    ),
    tuned=Trained(choice=_DINO_96, steps=160),
    students={
        VIT: Trained(choice=_DINO_96, steps=160),
        RESNET: Trained(
            choice=Choice(network="deeplabv3-resnet18", side=96, batch=8, rate=0.03, weight_decay=1e-3), steps=300
        ),
    },
    rates={"probing": (2.5e-3, 8e-3, 2.5e-2), "tuning": (1e-4, 3e-4, 1e-3), "convolutional": (0.01, 0.03, 0.1)},
)
# Of CIFAR-10 500 photos of 32 x 32 pixels to learn from, fifty of a class: each is then seen ten times, as it must be
# for more images to help, and labels are as few as in the text's small sets; 2000 to measure.  (Photos of the test may
# resemble some of the training: about 3 % do in CIFAR-10, the same for all lines.)  The teacher sees them enlarged
# twice, 64 patches, the transformer that is a student as they are, 16 patches: a fifth of the work.
_DINO_32 = Choice(network="tiny-dino", side=32, batch=32, rate=3e-4, weight_decay=0.05)
CIFAR10 = Study(
    name="cifar10",
    goal="classification",
    kind="arrays",
    family="domainnet",
    train=500,
    test=None,
    probed=Trained(
        choice=replace(_DINO_32, enlarge=2, frozen=True, augment="standard", batch=64, rate=2e-3, weight_decay=0.0),
        steps=240,
    ),
    tuned=Trained(choice=replace(_DINO_32, enlarge=2), steps=160),
    students={
        VIT: Trained(choice=_DINO_32, steps=160),
        RESNET: Trained(choice=Choice(network="resnet18", side=32, batch=32, rate=0.03, weight_decay=5e-4), steps=150),
    },
    rates={"probing": (6e-4, 2e-3, 6e-3), "tuning": (1e-4, 3e-4, 1e-3), "convolutional": (0.01, 0.03, 0.1)},
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
    return Workbench(
        data, study.goal, out, device=device, precision=precision, save_every=SAVE_EVERY, progress=progress
    )


def rows_of(study: Study, bench: Workbench) -> list[Row]:
    """All lines of a study: both teachers first, then every student in all of its manners.

    Teachers have seeds of their own, see :attr:`Row.apart`.

    Raises:
        InputError: a network is not known.
    """
    probed, tuned = (
        replace(_row(study, bench, name, trained), apart=APART)
        for name, trained in ((PROBED, study.probed), (TUNED, study.tuned))
    )
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
            ALONE_MIXED: replace(student, mixed=blend, mixed_in="task"),
            NO_LABELS: replace(taught, weighting=unlabelled),
            MIXED_NO_LABELS: replace(mixed, weighting=unlabelled),
        }
        if HEAD in study.lines[name]:
            lines[HEAD] = _row(study, bench, name, _head_of(study, trained))
        found += [replace(lines[line], name=f"{name}-{line}") for line in study.lines[name]]
    return found


def searches(study: Study, bench: Workbench) -> dict[Procedure, Row]:
    """The lines whose learning rates are searched for: of heads, of whole transformers, of convolutional networks.

    Each is a student that learns from labels alone, with half of the steps; what it finds is taken for all lines that
    train the same part of a network, teachers too.  (The text searches for each line apart, but for those with mixed
    images.  What a teacher adds is thus not owed to a better rate.)  Photos of the test have no part in it.

    Raises:
        InputError: a network is not known.
    """
    rows = rows_of(study, bench)
    own = [row for row in rows if row.teacher is None and row.mixed is None]
    found: dict[Procedure, Row] = {}
    for row in sorted(own, key=lambda row: row.name in (PROBED, TUNED)):  # teachers last
        what = procedure_of(row.spec)
        if what in study.rates and what not in found:
            numbers = replace(row.numbers, epochs=SEARCH_STEPS * row.numbers.epochs, rate=study.rates[what][0])
            found[what] = replace(row, name=f"search-{what}", numbers=numbers, apart=2 * APART)
    return found


def search_rate(
    study: Study,
    path: Path,
    out: Path,
    what: Procedure,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    progress: Progress = silent,
) -> float:
    """The rate of those that a study names which is best on photos kept back: a job, see :func:`train_row`.

    These are photos that the study does not learn from; where it learns from all, a quarter of them, whole groups.

    Args:
        study: Which.
        path: Folder of the data.
        out: See :func:`open_bench`.
        what: A key of :func:`searches`.
        device: See :func:`open_bench`.
        precision: See :func:`open_bench`.
        progress: See :func:`open_bench`.

    Raises:
        InputError: the folder has another search in it, or all trainings diverge.
    """
    bench = open_bench(replace(study, train=None), path, out, device=device, precision=precision, progress=progress)
    learned = evenly(bench.data.train, study.train)
    known = set(learned)
    others = [photo for photo in bench.data.train if photo not in known]
    if others:
        split = learned, evenly(others, min(SEARCH_PHOTOS, len(bench.data.test)))
    else:
        split = split_by_group(learned, SEARCH_SHARE)
    row = searches(study, bench)[what]
    grid = [replace(row.numbers, rate=rate) for rate in study.rates[what]]
    return searched(bench, row, grid, split=split).numbers.rate


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
    photos = len(evenly(bench.data.train, study.train))
    return replace(row, numbers=replace(row.numbers, epochs=trained.steps * row.numbers.batch / photos))


def _head_of(study: Study, trained: Trained) -> Trained:
    """A student's own head, trained as the teacher's."""
    like = study.probed.choice
    choice = replace(
        trained.choice,
        frozen=True,
        augment=like.augment,
        batch=like.batch,
        rate=like.rate,
        weight_decay=like.weight_decay,
    )
    return Trained(choice=choice, steps=study.probed.steps)


def _procedure(choice: Choice, goal: Goal) -> Procedure:
    if choice.network in CNNS[goal]:
        return "convolutional"
    return "probing" if choice.frozen else "tuning"
