"""Jobs: a search for a learning rate; a line of the study with a seed, or with all where that is one piece of work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from render.progress import Progress, silent
from training.distillation.specific.rows import Row
from training.distillation.specific.settings import Procedure
from training.distillation.specific.study import Study, search_rate, train_row
from training.loop import CHECKPOINT
from training.reproduction.costs import peak_of_job
from training.reproduction.jobs import Job
from training.reproduction.task_distillation.opening import DEVICE, RATE, Opened, searched, trained
from uplift.evaluation.store import FigureStore

LONGEST: tuple[Procedure, ...] = ("convolutional", "tuning", "probing")


def search_jobs(opened: Sequence[Opened]) -> list[Job]:
    """The searches for learning rates that are left; what :func:`trainings` gives depends on what they find.

    Raises:
        InputError: what is there was made with other settings.
    """
    return [
        Job(f"{one.study.name} search {what}", search, (one.study, one.data, one.out, what, one.searching(what)))
        for what in LONGEST
        for one in opened
        if what in one.searches and what not in one.rates()
    ]


def trainings(opened: Sequence[Opened], seeds: Sequence[int], *, together: bool = False) -> list[Job]:
    """The trainings that are left: seed by seed, so that what is interrupted has whole seeds of all studies.

    A line waits for its teacher.

    Args:
        opened: The studies, with the rates that were found.
        seeds: Of the trainings.
        together: All seeds of a line in one job, which saves beginning where trainings are short; else those of heads
            on frozen encoders alone whose photos are not augmented: they share features.

    Raises:
        InputError: what is there was made with other settings.
    """
    place = {seed: number for number, seed in enumerate(seeds)}
    jobs: list[tuple[tuple[int, int, bool], Job]] = []
    for one in opened:
        parts = [(row, some) for row in one.rows for some in _parts(row, one.left(row, seeds), together)]
        names = {(row.name, seed): _name(one, row, some) for row, some in parts for seed in some}
        for row, some in parts:
            waited = [names.get((teacher.name, seed)) for teacher in row.lineage()[:-1] for seed in some]
            after = tuple(dict.fromkeys(name for name in waited if name is not None))
            job = Job(_name(one, row, some), learn, (one.study, one.data, one.out, row, some, one.store(row)), after)
            depth = len(row.lineage())
            # The longest of those that are taught come first, so that no core waits long in the end.
            jobs.append(((place[some[0]], depth, depth > 1 and not row.spec.convolutional), job))
    return [job for _, job in sorted(jobs, key=lambda item: item[0])]


def search(
    study: Study,
    data: Path,
    out: Path,
    what: Procedure,
    store: FigureStore,
    *,
    progress: Progress = silent,
) -> None:
    """Search for a learning rate, and write down what was found.

    Args:
        study: Which.
        data: Folder of the data set.
        out: Folder of the study's trainings.
        what: Is trained with that rate.
        store: For what was found, see :meth:`Opened.searching`.
        progress: Told of steps and photos.

    Raises:
        InputError: see :func:`search_rate`.
    """
    rate = search_rate(study, data, out, what, device=DEVICE, progress=progress)
    store.put(searched(study, what), {RATE: rate})


def learn(
    study: Study,
    data: Path,
    out: Path,
    row: Row,
    seeds: Sequence[int],
    store: FigureStore,
    *,
    progress: Progress = silent,
) -> None:
    """Train a row with some seeds and measure it, and write down what that took.

    A checkpoint is removed when its network is measured: it is several times as large as that, which is in
    ``model.safetensors``.

    Args:
        study: Which.
        data: Folder of the data set.
        out: Folder of the study's trainings.
        row: Of the study.
        seeds: To train with.
        store: For what it took, see :meth:`Opened.store`.
        progress: Told of steps and photos.

    Raises:
        InputError: see :func:`train_row`.
        DivergedError: the loss is not finite.
    """
    train_row(study, data, out, row.name, seeds, device=DEVICE, progress=progress)
    peak = peak_of_job()
    for seed in seeds:
        store.put(trained(study, row, seed), {} if peak is None else {"peak": peak})
        (out / row.name / f"seed-{seed}" / CHECKPOINT).unlink(missing_ok=True)


def _parts(row: Row, seeds: list[int], together: bool) -> list[list[int]]:
    """The seeds of each job of a row."""
    if seeds and (together or (row.spec.frozen and row.recipe.plain)):
        return [seeds]
    return [[seed] for seed in seeds]


def _name(one: Opened, row: Row, seeds: Sequence[int]) -> str:
    return f"{one.study.name} {row.name} {', '.join(map(str, seeds))}"
