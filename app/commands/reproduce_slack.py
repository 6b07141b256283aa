"""``fit3d reproduce slack``: augmentations that are learned, against those that are not, at small scale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from app.console import progress_bars, say, wrote

NAME = "cifar10"
DISK = 30_000_000  # bytes of logs, policies and the checkpoints of what runs


@dataclass(frozen=True)
class ReproduceSlack:
    """Measure what SLACK claims of learned augmentations, at a size for a small machine.

    Policies are searched for on 1000 of CIFAR-10's photos without default transformations: as SLACK does, without the
    anchor, and learning only what is drawn or only how strong it is.  Networks are trained with each of them, without
    augmentation, with the uniform policy and with TrivialAugment.  Does augmentation help?  Do searches find what
    harms?  Is a learned policy better?  Which part helps?

    About 75 minutes on two cores that multiply in bf16; without, give --effort 0.65.  Given again, the command
    goes on where it was interrupted; what is done is kept, and more --searches and --runs add to it.
    """

    out: tyro.conf.Positional[Path]
    """Folder of searches and evaluations, and in the end results.md, results.json and pictures of the policies."""
    data: Path | None = None
    """Folder with cifar10 (train.npz, test.npz) in it; by default the folder data in the one that the variable
    FIT3D_SHARED of the environment names."""
    searches: int = 5
    """Of every variant, each with its own split and pretraining: intervals are over them."""
    runs: int = 1
    """Evaluations of every policy that is found; of lines without a search as many for each of the searches."""
    quick: bool = False
    """A few steps on a few photos, to see in minutes that everything works: the figures mean nothing."""
    processes: int | None = None
    """Jobs at a time at most, each on one thread; by default one for each core. Fewer where memory is short."""
    effort: float = 1.0
    """So many times the epochs of every training, and the rounds of every search."""

    def run(self) -> None:
        """Search and train what is missing, measure, print and write."""

        from app.reproducing import Spent, announce, at_once, check_given
        from app.scenes import check_positive
        from render.errors import InputError
        from training.reproduction.slack import gather, jobs_left, open_slack, planned, run_jobs
        from training.reproduction.slack.working import BASE

        spent = Spent()
        check_positive({"--searches": self.searches, "--runs": self.runs, "--effort": self.effort})
        check_given(self.out, 1, self.processes)
        plan = planned(searches=self.searches, runs=self.runs, effort=self.effort, quick=self.quick)
        opened = open_slack(plan, self._folder(), self.out)
        jobs = jobs_left(opened)
        processes = at_once(self.processes, BASE)
        say(
            f"{len(opened.data.train)} photos to learn from, {len(opened.data.test)} to measure; {plan.network}; "
            f"{len(plan.lines)} lines, evaluations of each: {plan.evaluations}; {len(jobs)} jobs are left to do"
        )
        announce(BASE, DISK, processes)
        failure = None
        with progress_bars() as progress:
            try:
                run_jobs(jobs, processes, progress)
            except (InputError, OSError, MemoryError, RuntimeError) as error:
                failure = error  # of a job; what others made is worth a report
        found = gather(opened)
        if found.lines:
            from app.reproducing import write_results
            from app.slack_tables import save_pictures, tables_of

            title = "Learned augmentations (SLACK) at small scale"
            write_results(self.out, title, tables_of(found), found.json(), quick=self.quick)
            for path in save_pictures(self.out, found):
                wrote(path)
        if failure is not None:
            raise failure
        spent.say()

    def _folder(self) -> Path:
        from app.reproducing import DATA, SHARED, data_folder
        from render.errors import InputError

        folder = data_folder(self.data)
        if folder is None or not (folder / NAME).is_dir():
            raise InputError(
                f"Expected --data FOLDER with {NAME} in it, or {SHARED} set to a folder whose {DATA} has it; found "
                f"{'neither' if folder is None else f'none in {folder}'}."
            )
        return folder / NAME
