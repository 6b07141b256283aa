"""``fit3d reproduce dune``: whether one student of different teachers is worth them, at small scale, from nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from app.console import progress_bars, say, wrote

if TYPE_CHECKING:
    from training.reproduction.dune import Job, Places, Plan, Row
    from training.reproduction.dune.results import Results

PANELS, EXPLAINED, CORRELATIONS = "panels.png", "explained-variance.png", "loss-correlation.png"
QUICK = {"whole_rooms": 4, "close_rooms": 4, "wide_rooms": 4, "head_rooms": 3, "test_rooms": 3, "validation_rooms": 2}
QUICK |= {"views": 4, "specialist_steps": 20, "steps": 10, "probe_steps": 30, "probe_batch": 512, "decoder_steps": 10}
QUICK |= {"text_views": 2}


@dataclass(frozen=True)
class ReproduceDune:
    """Measure what DUNE claims (Sariyildiz et al. 2025), at a size for a small machine, from nothing.

    Students learn from tiny-dino, tiny-clip and tiny-depth at once, on whole rooms, close-ups and wide views.  They
    differ in their projectors (transformer, ladder, simple) and in whose photos a projector learns from (all, generic
    ones too, a teacher's own alone).  Students and teachers are measured by linear heads for classes and depth, by a
    depth decoder that is fine-tuned on frozen features of wide views, and by texts that are found in photos.

    Given again, the command goes on where it was interrupted; what is done is kept, and more seeds or --further add
    to it.  A job that fails stops those alone that wait for it; students that are not finished are named in the report.
    """

    out: tyro.conf.Positional[Path]
    """Folder of photos, teachers, students, figures, and in the end results.md, results.json and pictures."""
    seeds: int = 3
    """Each with its own students and its own heads."""
    quick: bool = False
    """A few rooms and short trainings, to see in minutes that everything works: the figures mean nothing."""
    further: bool = False
    """Also students that see generic photos alone (the upper half of table 1), and students of a single teacher."""
    specialist: Path | None = None
    """File that fit3d tiny depth wrote; by default the bundled weights, and where there are none it is trained on the
    wide views, in about a quarter of an hour."""
    processes: int | None = None
    """Jobs at a time at most, each on one thread; by default one for each core. Fewer where memory is short."""
    steps: int | None = None
    """Of a distillation; by default 800."""
    batch: int | None = None
    """Photos of a step; by default 8."""
    rate: float | None = None
    """Learning rate of a distillation; by default 1e-3."""
    specialist_steps: int | None = None
    """Of training the specialist, if it has to be; by default 4000."""
    test_rooms: int | None = None
    """To measure in, and as many others in wide views; by default 30."""
    probe_steps: int | None = None
    """Of fitting a linear head; by default 600."""
    decoder_steps: int | None = None
    """Of fine-tuning a depth decoder; by default 250."""

    def run(self) -> None:
        """Make what is missing, measure, print and write."""

        from app.reproducing import Spent, at_once
        from render.errors import InputError
        from training.reproduction.dune import gather, run_jobs
        from training.reproduction.dune.sizes import memory_needed

        spent = Spent()
        self._check()
        plan, seeds = self._plan(), list(range(self.seeds))
        rows = self._rows()
        places = self._readable(self._places(plan), rows, seeds)
        self._check_done(places, rows, seeds)
        processes = at_once(self.processes, memory_needed(plan))
        self._announce(places, processes, len(rows))
        failure = None
        with progress_bars() as progress:
            try:
                run_jobs(self._jobs(places, rows, seeds), processes, progress)
            except (InputError, OSError, MemoryError, RuntimeError) as error:
                failure = error  # of a job; what others made is worth a report
        found = gather(places, rows, seeds)
        if failure is None or found.students:
            self._report(places, found)
        if failure is not None:
            raise failure
        spent.say()

    def _check(self) -> None:
        from app.reproducing import check_given
        from render.errors import InputError

        check_given(self.out, self.seeds, self.processes)
        if self.specialist is not None and not self.specialist.is_file():
            raise InputError(f"Expected weights of tiny-depth at {self.specialist}, found no file.")

    def _plan(self) -> Plan:
        from training.reproduction.dune import Plan

        names = ["steps", "batch", "rate", "specialist_steps", "test_rooms", "probe_steps", "decoder_steps"]
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        values: dict[str, Any] = (QUICK if self.quick else {}) | given
        return Plan(**values)

    def _rows(self) -> list[Row]:
        from training.reproduction.dune.plan import further_rows, main_rows

        return [*main_rows(), *(further_rows() if self.further else [])]

    def _places(self, plan: Plan) -> Places:
        """The folder; teachers that cannot be had are refused here."""
        from training.reproduction.dune import Places
        from training.reproduction.dune.plan import SPECIALIST, TEACHERS

        places = Places(self.out, plan, self.specialist)
        for name in TEACHERS:
            if name != SPECIALIST or not places.is_specialist_made:
                places.teacher(name)
        return places

    def _readable(self, places: Places, rows: Sequence[Row], seeds: Sequence[int]) -> Places:
        """Where nothing is left to do, figures are read whatever precision this machine trains in."""
        from render.errors import InputError

        made = places.as_made()
        if made.precision == places.precision:
            return places
        try:
            left = self._jobs(made, rows, seeds)
        except InputError:  # other settings differ too, which is said of those of this machine
            return places
        return places if left else made

    def _check_done(self, places: Places, rows: Sequence[Row], seeds: Sequence[int]) -> None:
        """Read what is there, so that other settings are refused before any work."""
        from training.reproduction.dune.distilling import is_distilled
        from training.reproduction.dune.measuring import unmeasured
        from training.reproduction.dune.places import TRAINED, described, made
        from training.reproduction.dune.plan import TEACHERS
        from training.reproduction.dune.preparing import parts_of

        costs = [TRAINED, *(described(name) for name in TEACHERS)]
        places.store().check([*costs, *(made(name, first) for name, first, _ in parts_of(places))])
        for row in rows:
            unmeasured(places, row, seeds)
            for seed in seeds:
                is_distilled(places, row, seed)
        for name in TEACHERS:
            unmeasured(places, name, seeds)

    def _announce(self, places: Places, processes: int, rows: int) -> None:
        from app.reproducing import announce
        from training.reproduction.dune.plan import CLOSE, HEADS, SPECIALIST, TEST, WHOLE, WIDE
        from training.reproduction.dune.sizes import disk_needed, memory_needed

        plan = places.plan
        counts = {name: count for name, (_, _, count) in plan.rooms.items()}
        say(
            f"rooms of {plan.views} photos, none of which bundled encoders saw: {counts[WHOLE]} whole, {counts[CLOSE]} "
            f"in close-ups, {counts[WIDE]} in wide views; {counts[HEADS]} for heads and {counts[TEST]} to measure in, "
            "and as many others in wide views"
        )
        how = f"trained in {plan.specialist_steps} steps" if places.is_specialist_made else "as it is"
        say(f"{rows} students of {self.seeds} seeds, {plan.steps} steps each; {SPECIALIST} is {how}")
        announce(memory_needed(plan), disk_needed(plan, rows * self.seeds), processes)

    def _jobs(self, places: Places, rows: Sequence[Row], seeds: Sequence[int]) -> list[Job]:
        """What is not done yet; a job begins as soon as what it needs is there."""
        from training.reproduction.dune.plan import CLOSE, VALIDATION, WHOLE, WIDE

        photos = self._photos(places)
        seen = [job for name in (WIDE, VALIDATION) for job in photos.pop(name, [])]
        shown = [job for name in (WHOLE, CLOSE) for job in photos.pop(name, [])]
        rest = [job for jobs in photos.values() for job in jobs]
        specialist = self._specialist(places, _names(seen))
        said = self._describing(places, _names([*seen, *shown]))
        # The specialist takes longest, and waits for its own photos alone.
        ahead = [*seen, *specialist, *shown, *said, *rest]
        after = _names(ahead)
        # Teachers come before the last seed, so that after a stop there is a report of the others.
        return [
            *ahead,
            *self._students(places, rows, seeds[:-1], after),
            *self._teachers(places, seeds, after),
            *self._students(places, rows, seeds[-1:], after),
        ]

    def _photos(self, places: Places) -> dict[str, list[Job]]:
        """By their names: a process of its own takes seconds to begin, so nothing is begun that is done."""
        from training.reproduction.dune import Job, make_photos
        from training.reproduction.dune.preparing import is_part_made, parts_of

        found: dict[str, list[Job]] = {}
        for name, first, count in parts_of(places):
            if not is_part_made(places, name, first, count):
                job = Job(f"photos {name} {first}", make_photos, (places, name, first, count))
                found.setdefault(name, []).append(job)
        return found

    def _specialist(self, places: Places, after: tuple[str, ...]) -> list[Job]:
        from training.reproduction.dune import Job, make_specialist
        from training.reproduction.dune.plan import SPECIALIST
        from training.reproduction.dune.preparing import is_specialist_there

        return [] if is_specialist_there(places) else [Job(SPECIALIST, make_specialist, (places,), after)]

    def _describing(self, places: Places, after: tuple[str, ...]) -> list[Job]:
        """The specialist's waits for it too, the slowest comes first."""
        from training.reproduction.dune import Job, describe
        from training.reproduction.dune.places import described
        from training.reproduction.dune.plan import AGNOSTIC, LANGUAGE, SPECIALIST

        return [
            Job(f"what {name} says", describe, (places, name), (*after, SPECIALIST) if name == SPECIALIST else after)
            for name in (LANGUAGE, AGNOSTIC, SPECIALIST)
            if places.store().get(described(name)) is None
        ]

    def _students(self, places: Places, rows: Sequence[Row], seeds: Sequence[int], after: tuple[str, ...]) -> list[Job]:
        from training.reproduction.dune import Job, learn
        from training.reproduction.dune.distilling import is_distilled
        from training.reproduction.dune.measuring import unmeasured

        return [
            Job(f"{row.name} {seed}", learn, (places, row, seed), after)
            for seed in seeds
            for row in rows
            if not is_distilled(places, row, seed) or unmeasured(places, row, [seed])
        ]

    def _teachers(self, places: Places, seeds: Sequence[int], after: tuple[str, ...]) -> list[Job]:
        from training.reproduction.dune import Job, measure_of_teacher
        from training.reproduction.dune.measuring import unmeasured
        from training.reproduction.dune.plan import TEACHERS

        return [
            Job(f"measuring {name}", measure_of_teacher, (places, name, seeds), after)
            for name in TEACHERS
            if unmeasured(places, name, seeds)
        ]

    def _report(self, places: Places, found: Results) -> None:
        from app.dune_pictures import explained, panels, save_correlations
        from app.dune_tables import tables_of
        from app.pictures import save_picture
        from app.reproducing import MEANINGLESS, write_results
        from training.reproduction.dune.distilling import read_panels
        from training.reproduction.dune.plan import FULL

        if self.quick:
            say(MEANINGLESS)
        title = "One student of heterogeneous teachers (DUNE) at small scale"
        write_results(self.out, title, tables_of(found), found.json(), quick=self.quick)
        save_correlations(self.out / CORRELATIONS, found.lessons)
        wrote(self.out / CORRELATIONS)
        lesson = next((lesson for lesson in found.lessons if lesson.row.name == FULL.name), None)
        if lesson is None:
            say(f"{EXPLAINED} and {PANELS} are left out: {FULL.title} is not finished.")
            return
        save_picture(self.out / EXPLAINED, explained(lesson))
        wrote(self.out / EXPLAINED)
        shown = read_panels(places, FULL, found.seeds[0])
        if not shown:
            say(f"{PANELS} is left out: what it shows was removed.")
            return
        save_picture(self.out / PANELS, panels(shown, FULL.teachers))
        wrote(self.out / PANELS)


def _names(jobs: Sequence[Job]) -> tuple[str, ...]:
    return tuple(job.name for job in jobs)
