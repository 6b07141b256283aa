"""``fit3d reproduce mask3d``: what pretraining with masked colours and depth is worth, at small scale, from nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from app.console import progress_bars, say, wrote

if TYPE_CHECKING:
    from training.reproduction.mask3d import Places, Plan, Row
    from training.reproduction.mask3d.results import Results

CAMVID, PICTURE = "camvid", "masked-depth.png"
QUICK: Mapping[str, Any] = {
    "rooms": 6,
    "test_rooms": 3,
    "views": 4,
    "test_views": 2,
    "every": 2,
    "steps": 6,
    "tune_steps": 4,
    "longer_steps": 4,
}
LEAST_EFFORT = 0.7
QUICK_CAMVID = 12  # photos to learn from, and to measure


@dataclass(frozen=True)
class ReproduceMask3D:
    """Measure what Mask3D claims (Hou et al. 2023), at a size for a small machine, from nothing.

    A small vision transformer is pretrained on photos of rooms with depth, by Mask3D, by MAE, and by one after the
    other, and fine-tuned for the classes of pixels in unseen rooms with a fifth and with all of the labels, and on
    CamVid.  Is a pretraining better than none, also where that is fine-tuned for as many steps as both?  Is Mask3D
    better than MAE, alone and after it, at equal steps?  Which part of colours and depth should be kept, and is it
    better than telling depth from whole photos?

    About 85 minutes on two cores that multiply in bf16; without, give --seeds 1.  Given again, the command goes on
    where it was interrupted; what is done is kept, and more seeds or --further add to it.
    """

    out: tyro.conf.Positional[Path]
    """Folder of photos, networks, figures, and in the end results.md, results.json and a picture."""
    data: Path | None = None
    """Folder with camvid (train, train_labels, test, test_labels, classes.txt) in it; by default the folder data in the
    one that the variable FIT3D_SHARED of the environment names. Without it CamVid is left out."""
    seeds: int = 3
    """Each with its own pretrainings and fine-tunings; of cells of table 8 and of other rates three at most."""
    quick: bool = False
    """A few rooms and steps, to see in minutes that everything works: the figures mean nothing."""
    further: bool = False
    """Also the other orders of table 16, table 10, other rates and the other cells of table 8: an hour more."""
    processes: int | None = None
    """Jobs at a time at most, each on one thread; by default one for each core. Fewer where memory is short."""
    effort: float = 1.0
    """So many times the steps of every training; below 0.7 networks learn too little to be compared."""

    def run(self) -> None:
        """Make what is missing, train, measure, print and write."""

        from app.reproducing import Spent, announce, at_once, check_given
        from render.errors import InputError
        from training.reproduction.jobs import FAILURES
        from training.reproduction.mask3d import gather, photo_jobs, run_jobs, training_jobs
        from training.reproduction.mask3d.preparing import photo_costs
        from training.reproduction.mask3d.sizes import disk_needed, memory_needed

        spent = Spent()
        check_given(self.out, self.seeds, self.processes)
        plan = self._plan()
        places, rows, seeds = self._places(plan), self._rows(), list(range(self.seeds))
        places.store().check(photo_costs(places))
        photos = photo_jobs(places)
        trainings = training_jobs(places, rows, seeds, [job.name for job in photos], together=self.quick)
        processes = at_once(self.processes, memory_needed(plan))
        self._announce(places, rows, len(photos) + len(trainings))
        announce(memory_needed(plan), disk_needed(plan, rows, self.seeds), processes)
        failure = None
        with progress_bars() as progress:
            try:
                run_jobs([*photos, *trainings], processes, progress)
            except (InputError, *FAILURES) as error:
                failure = error  # of a job; what others made is worth a report
        found = gather(places, rows, seeds)
        if found.found:
            self._report(places, found)
        if failure is not None:
            raise failure
        spent.say()

    def _plan(self) -> Plan:
        from training.reproduction.mask3d import Plan

        plan = Plan(**QUICK, camvid_photos=QUICK_CAMVID) if self.quick else Plan()
        return plan.shortened(self.effort)

    def _rows(self) -> list[Row]:
        from training.reproduction.mask3d import further_rows, main_rows

        return [*main_rows(), *(further_rows() if self.further else [])]

    def _places(self, plan: Plan) -> Places:
        """The folder, with CamVid where it is; photos of CamVid that cannot be read are refused here."""
        from app.reproducing import data_folder
        from render.errors import InputError
        from training.reproduction.fit3d.data import folder_digest
        from training.reproduction.mask3d import Places
        from training.reproduction.mask3d.preparing import camvid_of

        folder = data_folder(self.data)
        if folder is None or not (folder / CAMVID).is_dir():
            if self.data is not None:
                raise InputError(
                    f"Expected the folder {CAMVID} in {folder}, found none; without --data it is left out."
                )
            say(f"CamVid is left out: give --data with the folder that has {CAMVID} in it to measure on it too.")
            return Places(self.out, plan)
        places = Places(self.out, plan, (folder / CAMVID).resolve())
        camvid_of(places).for_task("segmentation")
        return replace(places, digest=folder_digest(folder / CAMVID))

    def _announce(self, places: Places, rows: Sequence[Row], jobs: int) -> None:
        from training.reproduction.mask3d.plan import SETTINGS

        plan = places.plan
        say(
            f"{plan.rooms} rooms of {plan.views} photos to pretrain on, one in {plan.every} of them with labels; "
            f"{plan.test_rooms} other rooms of {plan.test_views} photos to measure in"
        )
        pretrained = sum(row.masking is not None for row in rows)
        seeds = "one seed" if self.seeds == 1 else f"up to {self.seeds} seeds"
        say(
            f"{len(rows)} rows of {seeds}: {pretrained} pretrainings of {plan.steps} steps or more, "
            f"fine-tunings of {plan.tune_steps} steps for {', '.join(SETTINGS[name].title for name in places.settings)}"
        )
        say(f"{jobs} jobs are left to do")

    def _report(self, places: Places, found: Results) -> None:
        from app.mask3d_tables import tables_of
        from app.reproducing import MEANINGLESS, write_results
        from render.files import atomic_file
        from training.reproduction.mask3d.plan import MASK3D

        meaningless = self.quick or self.effort < LEAST_EFFORT
        if meaningless:
            say(MEANINGLESS)
        title = "Pretraining with masked colours and depth (Mask3D) at small scale"
        write_results(self.out, title, tables_of(found), found.json(), quick=meaningless)
        drawn = places.picture(MASK3D, found.seeds[0])
        if not drawn.is_file():
            say(f"{PICTURE} is left out: what it shows was removed.")
            return
        with atomic_file(self.out / PICTURE) as temporary:
            temporary.write_bytes(drawn.read_bytes())
        wrote(self.out / PICTURE)
        say("In the picture each patch takes its mean and spread from the truth, which flatters what is told.")
