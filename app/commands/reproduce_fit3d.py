"""``fit3d reproduce fit3d``: whether 3D-aware fine-tuning makes features better, at small scale, from nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from app.console import progress_bars, say, wrote

if TYPE_CHECKING:
    from render.progress import Progress
    from training.reproduction.fit3d import Job, Places, Plan, Row, Tuning
    from training.reproduction.fit3d.data import Measured
    from training.reproduction.fit3d.results import Found

FIGURE = "features-{}.png"
TOGETHER = 35  # rooms of a job: each job loads all libraries anew
QUICK = {"rooms": 12, "test_rooms": 6, "validation_rooms": 2, "gaussians": 12_000, "weak_steps": 40, "epochs": 1}
QUICK |= {"probe_steps": 200, "probe_batch": 1024, "learned_rooms": 2, "learned_steps": 300}


@dataclass(frozen=True)
class ReproduceFit3d:
    """Measure what FiT3D claims (Yue et al. 2024), at a size for a small machine, from nothing.

    Whether 3D-aware fine-tuning makes features better, on synthetic rooms, with tiny-dino and a weaker encoder that is
    made on the way.  Rows: the original, the original twice, original + fine-tuned, the same with targets that are only
    blurred in their own view (a control), and original + rendered lifted features.

    Given again, the command goes on where it was interrupted; what is done is kept, and more seeds or --ablations add
    to it.
    """

    out: tyro.conf.Positional[Path]
    """Folder of rooms, encoders, figures, and in the end results.md, results.json and pictures."""
    seeds: int = 3
    """Each with its own fine-tunings and its own heads."""
    quick: bool = False
    """A few rooms and short trainings, to see in minutes that everything works: the figures mean nothing."""
    ablations: bool = False
    """Also measure tables 5 to 8 of the paper: learned features of 32, 64 and 128 channels beside lifted ones, adapter,
    assembly, epochs."""
    encoders: tuple[Literal["tiny-dino", "weak"], ...] = ("tiny-dino", "weak")
    """What is fine-tuned; weak is the network of tiny-dino after minutes of pretraining (--weak-steps)."""
    elsewhere: Path | None = None
    """Folder with data/camvid and data/rgbd_kitchen, to measure also on photographs that are no rooms."""
    processes: int | None = None
    """Jobs at a time at most, each on one thread; by default one for each core. Fewer where memory is short."""
    rooms: int | None = None
    """To fine-tune on and to learn heads from; by default 120."""
    test_rooms: int | None = None
    """To measure on; by default 20."""
    epochs: int | None = None
    """Of fine-tuning; by default 3."""
    rate: float | None = None
    """Learning rate of fine-tuning; by default 1e-3."""
    decay: Literal["constant", "cosine"] | None = None
    """Whether that rate stays, or falls, which is the default."""
    weak_steps: int | None = None
    """Of the weak encoder's pretraining; by default 300."""
    probe_steps: int | None = None
    """Of fitting a head; by default 600."""
    learned_rooms: int | None = None
    """With --ablations: in which ns-train fit3d learns features; by default 12."""
    learned_steps: int | None = None
    """With --ablations: steps of ns-train fit3d; by default 2200."""

    def run(self) -> None:
        """Make what is missing, measure, print and write."""
        from app.reproducing import Spent
        from training.reproduction.fit3d import Places, gather, run_jobs

        spent = Spent()
        self._check()
        plan = self._plan()
        places, seeds = Places(self.out, plan), list(range(self.seeds))
        data = self._data()
        places.store().check(["costs/rooms"])
        further = self._further(plan)
        self._check_done(places, data, further, seeds)
        processes = self._at_once(plan)
        self._announce(plan, processes)
        self._make_rooms(places, processes)
        with progress_bars() as progress:
            run_jobs(self._preparing(places), processes, progress)
            self._learn(plan, further, processes, progress)
            run_jobs(self._tunings(places, further, seeds), processes, progress)
            run_jobs(self._measurements(places, data, further, seeds, processes), processes, progress)
        found = gather(places, self.encoders, data, seeds, further)
        self._report(places, found)
        spent.say()

    def _check(self) -> None:
        from app.reproducing import check_given
        from render.errors import InputError

        check_given(self.out, self.seeds, self.processes)
        if not self.encoders or len(set(self.encoders)) < len(self.encoders):
            raise InputError(
                f"Expected different --encoders, at least one; found {', '.join(self.encoders) or 'none'}."
            )
        if self.ablations and self.encoders[0] != "tiny-dino":
            raise InputError("--ablations are of tiny-dino: name it first of the --encoders.")

    def _plan(self) -> Plan:
        from training.reproduction.fit3d import Plan

        names = ["rooms", "test_rooms", "epochs", "rate", "decay", "weak_steps", "probe_steps"]
        names += ["learned_rooms", "learned_steps"]
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        values: dict[str, Any] = (QUICK if self.quick else {}) | given
        return Plan(**values)

    def _data(self) -> list[Measured]:
        from training.reproduction.fit3d.data import ROOMS, Measured, elsewhere

        if self.elsewhere is None:
            return [Measured(ROOMS)]
        found, missing = elsewhere(self.elsewhere)
        for sentence in missing:
            say(sentence)
        return [Measured(ROOMS), *found]

    def _check_done(
        self, places: Places, data: Sequence[Measured], further: dict[str, list[Row]], seeds: list[int]
    ) -> None:
        """Read what is there, so that other settings are refused before any work."""
        from training.reproduction.fit3d.measuring import missing_seeds
        from training.reproduction.fit3d.plan import main_rows
        from training.reproduction.fit3d.preparing import carried, is_weak_made
        from training.reproduction.fit3d.tuning import untuned_seeds

        for row, of in [(row, of) for row in main_rows(places.plan) for of in data]:
            for encoder in self.encoders:
                missing_seeds(places, encoder, of, row, seeds)
        for row in [row for rows in further.values() for row in rows]:
            missing_seeds(places, "tiny-dino", data[0], row, seeds)
        for name, tuning in self._wanted(places.plan, further):
            untuned_seeds(places, name, tuning, seeds)
        is_weak_made(places)
        for split, first, _ in self._parts(places.plan):
            places.store().get(carried(split, first))

    def _announce(self, plan: Plan, processes: int) -> None:
        from app.reproducing import announce
        from training.reproduction.fit3d.sizes import disk_needed, memory_needed

        say(
            f"{plan.rooms} rooms of {plan.views} photos to fine-tune on (split train, from {plan.first_room}: bundled "
            f"encoders saw none of them), {plan.test_rooms} to measure on (split test, from {plan.first_test_room})"
        )
        announce(memory_needed(plan), disk_needed(plan, len(self.encoders), self.seeds), processes)

    def _at_once(self, plan: Plan) -> int:
        from app.reproducing import at_once
        from training.reproduction.fit3d.sizes import memory_needed

        return at_once(self.processes, memory_needed(plan))

    def _make_rooms(self, places: Places, processes: int) -> None:
        """Make rooms that are not there yet, and write down what that took."""
        import time

        from app.commands.rooms import Rooms
        from training.reproduction.costs import peak_of_all
        from training.rooms.reading import is_whole_room

        plan, store = places.plan, places.store()
        missing = [
            folder
            for split in ("train", "test")
            for folder in places.room_folders(split)
            if not is_whole_room(folder, plan.form)
        ]
        began = time.perf_counter()
        common = {"views": plan.views, "width": plan.width, "height": plan.height, "processes": processes}
        parts = [("train", plan.first_room, plan.rooms), ("test", plan.first_test_room, plan.test_rooms)]
        for split, first, count in parts:
            Rooms(places.rooms(split), split, count, first, gaussians="sampled", count=plan.gaussians, **common).run()  # type: ignore[arg-type]
        spent = (time.perf_counter() - began) * min(processes, max(1, len(missing)))
        if store.get("costs/rooms") is None and missing:
            store.put("costs/rooms", {"scenes": len(missing), "seconds": spent, "peak": peak_of_all()})
        if "weak" in self.encoders:
            Rooms(places.rooms("val"), "val", plan.validation_rooms, gaussians="none", **common).run()  # type: ignore[arg-type]

    def _preparing(self, places: Places) -> list[Job]:
        """What is not done yet: a process of its own takes seconds to begin."""
        from training.reproduction.fit3d import Job, carry, make_weak
        from training.reproduction.fit3d.preparing import carried, is_weak_made

        plan, store = places.plan, places.store()
        weak = "weak" in self.encoders and not is_weak_made(places)
        jobs = [Job("weak encoder", make_weak, (self.out, plan))] if weak else []
        return jobs + [
            Job(f"rooms {split} {first}", carry, (self.out, plan, split, first, count))
            for split, first, count in self._parts(plan)
            if store.get(carried(split, first)) is None
        ]

    def _parts(self, plan: Plan) -> list[tuple[str, int, int]]:
        """Rooms that one job carries features in: split, the first one and how many."""
        counts = (("train", plan.rooms), ("test", plan.test_rooms))
        return [
            (split, first, min(TOGETHER, count - first))
            for split, count in counts
            for first in range(0, count, TOGETHER)
        ]

    def _further(self, plan: Plan) -> dict[str, list[Row]]:
        from training.reproduction.fit3d.ablations import ablation_rows

        return ablation_rows(plan) if self.ablations else {}

    def _learn(self, plan: Plan, further: dict[str, list[Row]], processes: int, progress: Progress) -> None:
        from training.reproduction.fit3d.ablations import DIMENSIONS, learn

        for dimension in DIMENSIONS if further else ():
            failed = learn(self.out, plan, dimension, processes, progress=progress)
            for outcome in failed:
                say(f"{outcome.name} failed at {outcome.failed}: {outcome.cause}")
            if failed:
                raise ChildProcessError(
                    f"{len(failed)} rooms failed with {dimension} channels; give the command again."
                )

    def _tunings(self, places: Places, further: dict[str, list[Row]], seeds: list[int]) -> list[Job]:
        from training.reproduction.fit3d import Job, tune
        from training.reproduction.fit3d.tuning import untuned_seeds

        return [
            Job(f"{encoder} {tuning.name}", tune, (self.out, places.plan, encoder, tuning, seeds))
            for encoder, tuning in self._wanted(places.plan, further)
            if untuned_seeds(places, encoder, tuning, seeds)
        ]

    def _wanted(self, plan: Plan, further: dict[str, list[Row]]) -> list[tuple[str, Tuning]]:
        """The fine-tunings of all encoders, each once."""
        from training.reproduction.fit3d.ablations import tunings
        from training.reproduction.fit3d.plan import main_rows

        wanted = [(encoder, tuning) for encoder in self.encoders for tuning in tunings(main_rows(plan))]
        wanted += [("tiny-dino", tuning) for tuning in tunings([row for rows in further.values() for row in rows])]
        return list(dict.fromkeys(wanted))

    def _measurements(
        self,
        places: Places,
        data: Sequence[Measured],
        further: dict[str, list[Row]],
        seeds: list[int],
        processes: int,
    ) -> list[Job]:
        from training.reproduction.fit3d import Job, measure
        from training.reproduction.fit3d.measuring import missing_seeds
        from training.reproduction.fit3d.plan import main_rows
        from training.reproduction.fit3d.results import is_measured

        plan = places.plan
        parts: list[tuple[str, Measured, list[Row]]] = []
        for of, encoder in [(of, encoder) for of in data for encoder in self.encoders]:
            rows = [row for row in main_rows(plan) if is_measured(row, of)]
            if of is data[0]:
                parts += [(encoder, of, [row]) for row in rows if row.tuning is not None]
                rows = [row for row in rows if row.tuning is None]
            parts.append((encoder, of, rows))
        known = {row.name for row in main_rows(plan)}
        extra = [row for rows in further.values() for row in rows if row.name not in known]
        shares = [extra[start::processes] for start in range(processes)]
        parts += [("tiny-dino", data[0], share) for share in shares if share]
        return [
            Job(f"{encoder} on {of.name}, {rows[0].name}", measure, (self.out, plan, encoder, of, rows, seeds))
            for encoder, of, rows in parts
            if any(missing_seeds(places, encoder, of, row, seeds) for row in rows)
        ]

    def _report(self, places: Places, found: Found) -> None:
        from app.pictures import save_picture
        from app.reproducing import write_results
        from app.reproduction_pictures import figure
        from app.reproduction_tables import tables_of
        from training.reproduction.fit3d.showing import shown_photos

        title = "3D-aware fine-tuning (FiT3D) at small scale"
        write_results(self.out, title, tables_of(found), found.json(), quick=self.quick)
        for encoder in self.encoders:
            path = self.out / FIGURE.format(encoder)
            save_picture(path, figure(shown_photos(places, encoder, found.seeds[0])))
            wrote(path)
