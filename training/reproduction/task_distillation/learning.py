"""Jobs: a line of the study with a seed, or a few that share what a frozen encoder says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from render.progress import Progress, silent
from training.distillation.specific.rows import Row
from training.distillation.specific.study import Study, train_row
from training.loop import CHECKPOINT
from training.reproduction.costs import peak_of_job
from training.reproduction.jobs import Job
from training.reproduction.task_distillation.opening import DEVICE, TEACHERS, Opened, trained
from uplift.evaluation.store import FigureStore


def phases(opened: Sequence[Opened], seeds: Sequence[int], *, together: bool = False) -> list[list[Job]]:
    """The jobs that are left: those of a list at once, after those of the lists before it.

    Args:
        opened: The studies.
        seeds: Of the trainings.
        together: All seeds of a row in one job, which saves beginning where trainings are short; else heads on frozen
            encoders alone, whose seeds share features.

    Raises:
        InputError: what is there was made with other settings.
    """
    found: list[list[Job]] = []
    for one in opened:
        for depth, rows in enumerate(one.phases()):
            while len(found) <= depth:
                found.append([])
            found[depth] += _jobs(one, rows, seeds, together)
    return found


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

    The checkpoint of a student is removed when it is measured: it is several times as large as the network, which is in
    ``model.safetensors``.  Those of teachers stay, for students go on reading them.

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
        if row.name not in TEACHERS:
            (out / row.name / f"seed-{seed}" / CHECKPOINT).unlink(missing_ok=True)


def _jobs(one: Opened, rows: Sequence[Row], seeds: Sequence[int], together: bool) -> list[Job]:
    """Seed by seed, so that what is interrupted has whole seeds; jobs of several seeds, the longest, first."""
    left = {row.name: one.left(row, seeds) for row in rows}
    joint = [row for row in rows if together or row.spec.frozen]
    parts = [(row, left[row.name]) for row in joint if left[row.name]]
    parts += [(row, [seed]) for seed in seeds for row in rows if row not in joint and seed in left[row.name]]
    return [
        Job(
            f"{one.study.name} {row.name} {', '.join(map(str, some))}",
            learn,
            (one.study, one.data, one.out, row, some, one.store(row)),
        )
        for row, some in parts
    ]
