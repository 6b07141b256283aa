"""``fit3d reproduce task-distillation``: which teacher, whether a teacher at all, and mixed images, at small scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from app.console import progress_bars, say, wrote

if TYPE_CHECKING:
    from training.reproduction.task_distillation import Opened
    from training.reproduction.task_distillation.results import Results

PLOT = "students.png"


@dataclass(frozen=True)
class ReproduceTaskDistillation:
    """Measure what Marrie et al. 2024 claim of distillation for one task, at a size for a small machine.

    CamVid's classes of pixels and CIFAR-10's classes of photos are told by tiny-dino, probed and fine-tuned, and by two
    students, a vision transformer and a ResNet: alone, taught by the probed teacher, by the fine-tuned one, and by the
    probed one with mixed images, in the distillation alone or in the task's loss as well.  Is the probed teacher the
    better one?  Does distillation beat learning from labels alone?  Do mixed images help?  Learning rates are searched
    for first, on training photos that are kept back.

    About 75 minutes on two cores that multiply in bf16; without, give --effort 0.4.  Given again, the command goes on
    where it was interrupted; what is done is kept, and more seeds or --further add to it.  A training that fails leaves
    its line out of the tables, and what it teaches.
    """

    out: tyro.conf.Positional[Path]
    """Folder of teachers and students, and in the end results.md, results.json and a picture."""
    data: Path | None = None
    """Folder with camvid (train, train_labels, test, test_labels, classes.txt) and cifar10 (train.npz, test.npz) in it;
    by default the folder data in the one that the variable FIT3D_SHARED of the environment names."""
    seeds: int = 3
    """Each with its own teachers and students."""
    quick: bool = False
    """A few steps on a few photos, to see in minutes that everything works: the figures mean nothing."""
    further: bool = False
    """Also, for the ResNet, what the text has of the vision transformer alone (the fine-tuned teacher, tables 4.5 and
    4.6), and mixed images without labels: two thirds more time."""
    studies: tuple[Literal["camvid", "cifar10"], ...] = ("camvid", "cifar10")
    """Data sets."""
    processes: int | None = None
    """Jobs at a time at most, each on one thread; by default one for each core. Fewer where memory is short."""
    effort: float = 1.0
    """So many times the steps of every training."""

    def run(self) -> None:
        """Train what is missing, measure, print and write."""

        from app.reproducing import Spent, announce, at_once, check_given
        from render.errors import InputError
        from training.reproduction.task_distillation import (
            gather,
            open_study,
            planned,
            run_jobs,
            search_jobs,
            trainings,
        )

        spent = Spent()
        check_given(self.out, self.seeds, self.processes)
        studies = planned(self.studies, effort=self.effort, quick=self.quick, further=self.further)
        data = self._data()
        opened = [open_study(study, data, self.out) for study in studies]
        seeds = list(range(self.seeds))
        disk = sum(one.check(seeds) for one in opened)
        needed = max(one.memory() for one in opened)
        processes = at_once(self.processes, needed)
        searches = search_jobs(opened)
        self._announce(opened, len(searches) + len(trainings(opened, seeds, together=self.quick)))
        announce(needed, disk, processes)
        failure = None
        with progress_bars() as progress:
            run_jobs(searches, processes, progress)
            opened = [one.rated() for one in opened]
            try:
                run_jobs(trainings(opened, seeds, together=self.quick), processes, progress)
            except (InputError, OSError, MemoryError, RuntimeError) as error:
                failure = error  # of a job; what others made is worth a report
        found = gather(opened, seeds)
        if found.studies:
            self._report(found)
        if failure is not None:
            raise failure
        spent.say()

    def _data(self) -> Path:
        from app.reproducing import DATA, SHARED, data_folder
        from render.errors import InputError

        folder = data_folder(self.data)
        if folder is None:
            raise InputError(
                f"Expected --data FOLDER with {' and '.join(self.studies)} in it, or {SHARED} set to a folder whose "
                f"{DATA} has them; found neither."
            )
        missing = [name for name in self.studies if not (folder / name).is_dir()]
        if missing:
            raise InputError(
                f"Expected the folder {' and the folder '.join(missing)} in {folder}, found none; give --data the "
                f"folder that has {' and '.join(self.studies)} in it, or leave data sets out with --studies."
            )
        return folder

    def _announce(self, opened: Sequence[Opened], jobs: int) -> None:
        for one in opened:
            photos = one.bench.data
            say(
                f"{one.study.name}: {len(photos.train)} photos to learn from, {len(photos.test)} to measure; "
                f"{len(one.rows)} lines of {self.seeds} seeds"
            )
        say(f"{jobs} jobs are left to do")

    def _report(self, found: Results) -> None:
        from app.reproducing import write_results
        from app.task_distillation_tables import save_plot, tables_of

        title = "Distillation for one task (Marrie et al. 2024) at small scale"
        write_results(self.out, title, tables_of(found), found.json(), quick=self.quick)
        save_plot(self.out / PLOT, found)
        wrote(self.out / PLOT)
