"""What was measured, and what it says: tables 1 to 3 of DUNE at small scale, verdicts, analyses, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from render.errors import InputError
from training.probing.statistics import joined
from training.reproduction.dune.comparing import Answer, Found, answers_of
from training.reproduction.dune.lessons import Lesson, Trend, lesson_of, trends_of
from training.reproduction.dune.measuring import MEASURES, OWN, unmeasured
from training.reproduction.dune.places import TRAINED, Places, described, distilled, measured
from training.reproduction.dune.plan import SPECIALIST, TEACHERS, Plan, Row
from training.reproduction.packing import unpacked
from training.reproduction.verdicts import VERDICTS, Verdict


@dataclass(frozen=True, eq=False)
class Results:
    """All that was measured.

    Attributes:
        plan: The sizes.
        seeds: Of students and heads.
        teachers: In their order.
        students: In the order of the rows.
        lessons: Of the students.
        costs: ``seconds`` and bytes at the ``peak`` by stage; no peak where stages shared a process.
        specialist: Whether the specialist was made here.
        precision: In which was trained.
        missing: Titles of students and names of teachers that are not measured for all seeds, and hence left out.
    """

    plan: Plan
    seeds: tuple[int, ...]
    teachers: Sequence[Found]
    students: Sequence[Found]
    lessons: Sequence[Lesson]
    costs: Mapping[str, Mapping[str, float]]
    specialist: bool
    precision: str
    missing: Sequence[str] = ()

    def answers(self) -> list[Answer]:
        """All questions that can be asked of what was measured."""
        return answers_of({one.name: one for one in [*self.teachers, *self.students]})

    def trends(self) -> list[Trend]:
        """What is claimed of distillations, see :func:`trends_of`."""
        return trends_of(self.lessons)

    def summary(self) -> dict[str, dict[Verdict, int]]:
        """How many comparisons ended how, by question."""
        found: dict[str, dict[Verdict, int]] = {}
        for answer in self.answers():
            counts = found.setdefault(answer.question, dict.fromkeys(VERDICTS, 0))
            counts[answer.verdict] += 1
        return found

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "plan": {**self.plan.identity(), "precision": self.precision},
            "seeds": list(self.seeds),
            "specialist": "made here" if self.specialist else "made before",
            "missing": list(self.missing),
            "teachers": {one.name: one.json() for one in self.teachers},
            "students": {one.name: one.json() for one in self.students},
            "answers": [answer.json() for answer in self.answers()],
            "summary": self.summary(),
            "trends": [trend.json() for trend in self.trends()],
            "analyses": {lesson.row.name: lesson.json() for lesson in self.lessons},
            "costs": {stage: dict(cost) for stage, cost in self.costs.items()},
        }


def gather(places: Places, rows: Sequence[Row], seeds: Sequence[int]) -> Results:
    """Read all figures of those students and teachers that are measured for all seeds.

    Args:
        places: Of the reproduction.
        rows: The students.
        seeds: Of students and heads.

    Raises:
        InputError: figures are damaged, or were made with other settings.
    """
    names = [name for name in TEACHERS if not unmeasured(places, name, seeds)]
    done = [row for row in rows if is_complete(places, row, seeds)]
    teachers = [read_found(places, name, name, seeds) for name in names]
    if SPECIALIST in names:
        teachers.append(read_found(places, SPECIALIST, f"{SPECIALIST}, its own decoder", seeds, own=True))
    return Results(
        places.plan,
        tuple(seeds),
        teachers,
        [read_found(places, row, row.title, seeds) for row in done],
        [read_lesson(places, row, seeds) for row in done],
        _costs(places, done, seeds),
        places.is_specialist_made,
        places.precision,
        [*(row.title for row in rows if row not in done), *(name for name in TEACHERS if name not in names)],
    )


def is_complete(places: Places, row: Row, seeds: Sequence[int]) -> bool:
    """Whether all that is asked of a student is known for all seeds.

    Raises:
        InputError: figures are damaged, or were made with other settings.
    """
    store = places.store(row)
    learned = all(store.get(distilled(row, seed)) is not None for seed in seeds)
    return learned and not unmeasured(places, row, seeds)


def read_found(places: Places, of: str | Row, title: str, seeds: Sequence[int], *, own: bool = False) -> Found:
    """A teacher or a student of all seeds.

    Args:
        places: Of the reproduction.
        of: Which.
        title: In tables.
        seeds: Of students and heads.
        own: Whether the decoder counts that the specialist was trained with, and nothing else.

    Raises:
        InputError: it is not measured yet, or damaged.
    """
    name, store = (of, places.scores()) if isinstance(of, str) else (of.name, places.scores(of))
    parts = [part["scores"] for part in _all([store.get(measured(name, seed)) for seed in seeds], title)]
    if own:
        name, parts = OWN, [{"decoder": part[OWN]} for part in parts]
    scores = {
        measure: joined([unpacked(kind.task, part[measure]) for part in parts])
        for measure, kind in MEASURES.items()
        if measure in parts[0]
    }
    return Found(name, title, scores)


def read_lesson(places: Places, row: Row, seeds: Sequence[int]) -> Lesson:
    """What the distillations of a student showed.

    Raises:
        InputError: one is missing, or damaged.
    """
    store = places.store(row)
    return lesson_of(row, _all([store.get(distilled(row, seed)) for seed in seeds], row.title))


def _all(parts: Sequence[dict[str, Any] | None], title: str) -> list[dict[str, Any]]:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or not known:
        raise InputError(f"{title} is not measured for all seeds yet; give the command again.")
    return known


def _costs(places: Places, rows: Sequence[Row], seeds: Sequence[int]) -> dict[str, dict[str, float]]:
    """Seconds and peak memory of the stages, see :class:`Results`."""
    store = places.store()
    folders = sorted((store.folder / "costs" / "photos").glob("*/*"))
    photos = [store.get(str(folder.relative_to(store.folder))) for folder in folders]
    students = [places.store(row).get(distilled(row, seed)) for row in rows for seed in seeds]
    heads = [places.scores(row).get(measured(row.name, seed)) for row in rows for seed in seeds]
    stages = {"photos of a room": (photos, "rooms", 1.0)}
    if places.is_specialist_made:
        stages[f"training {SPECIALIST}, 1000 steps"] = ([store.get(TRAINED)], "steps", 1000.0)
    for name in TEACHERS:
        stages[f"what {name} says of a photo"] = ([store.get(described(name))], "photos", 1.0)
    stages["distilling, 1000 steps and what follows"] = (students, "steps", 1000.0)
    stages["measuring a student"] = (
        [None if one is None else {**one, "students": 1} for one in heads],
        "students",
        1.0,
    )
    found = {}
    for stage, (parts, unit, count) in stages.items():
        known = [part for part in parts if part is not None and part["seconds"] is not None]
        if known:
            seconds = count * sum(float(part["seconds"]) for part in known) / sum(float(part[unit]) for part in known)
            peaks = [float(part["peak"]) for part in known if part.get("peak") is not None]
            found[stage] = {"seconds": seconds, **({"peak": max(peaks)} if peaks else {})}
    return found
