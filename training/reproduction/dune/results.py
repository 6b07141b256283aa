"""What was measured, and what it says: tables 1 to 3 of DUNE at small scale, verdicts, analyses, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from render.errors import InputError
from training.probing.comparison import Difference, Interval, compare, interval_over_seeds
from training.probing.scores import Scores
from training.probing.statistics import joined
from training.reproduction.dune.measuring import MEASURES, OWN, unmeasured
from training.reproduction.dune.places import TRAINED, Places, described, distilled, measured
from training.reproduction.dune.plan import FULL, SPECIALIST, TEACHERS, Plan, Row
from training.reproduction.packing import unpacked
from training.reproduction.verdicts import VERDICTS, Verdict, verdict_of

Pair: TypeAlias = tuple[str, str]
QUESTIONS: Mapping[str, tuple[Pair, ...]] = {
    "Does the transformer projector win? (table 1)": ((FULL.name, "ladder-full"), (FULL.name, "simple-full")),
    "Does full sharing win? (table 2)": ((FULL.name, "transformer-none"), (FULL.name, "transformer-generic")),
    "Is the student as good as its teachers? (table 3)": tuple((FULL.name, teacher) for teacher in (*TEACHERS, OWN)),
}
"""Whom a student is compared with, by what is asked."""
FURTHER: Mapping[str, tuple[Pair, ...]] = {
    "Is generic data enough? (table 1)": ((FULL.name, "transformer-whole"), ("transformer-whole", "ladder-whole")),
    "Is one student of three teachers as good as one of a single teacher?": tuple(
        (FULL.name, f"of-{teacher}") for teacher in TEACHERS
    ),
}
"""The same with further students."""


@dataclass(frozen=True, eq=False)
class Found:
    """A student or a teacher that was measured.

    Attributes:
        name: Of its files.
        title: In tables.
        scores: Of every measure that it has, all seeds.
    """

    name: str
    title: str
    scores: Mapping[str, Scores]

    def seeds(self, measure: str) -> list[float]:
        """A figure of every seed."""
        of = MEASURES[measure]
        return [float(value) for value in self.scores[measure].figures()[of.name][0]]

    def figures(self) -> dict[str, Interval]:
        """Means and intervals over the seeds."""
        return {measure: interval_over_seeds(self.seeds(measure)) for measure in self.scores}

    def better_than(self, other: Found) -> dict[str, Difference]:
        """By how much each figure that both have is better than the other's: above zero where it is."""
        found = {}
        for measure, scores in self.scores.items():
            if measure in other.scores:
                of = MEASURES[measure]
                gap = compare(scores, other.scores[measure], of.name)
                found[measure] = gap if of.figure.higher else _turned(gap)
        return found

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        figures = {name: interval.json() for name, interval in self.figures().items()}
        return {"title": self.title, "figures": figures, "seeds": {name: self.seeds(name) for name in self.scores}}


@dataclass(frozen=True)
class Answer:
    """One student against another, or against a teacher, by one measure.

    Attributes:
        question: What is asked.
        one: Name of the student.
        other: Of whom it is compared with.
        measure: By what.
        better: By how much it is better.
    """

    question: str
    one: str
    other: str
    measure: str
    better: Difference

    @property
    def verdict(self) -> Verdict:
        """Whether it is better or worse, see :func:`verdict_of`."""
        return verdict_of(self.better)

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "better": self.better.json(), "verdict": self.verdict}


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a student's distillation showed, all seeds.

    Attributes:
        row: Which student.
        cosines: Between what its projectors and each teacher say of patches of photos that it did not see.
        components: Principal components for 90 % of the variance of what each teacher says, and of what its projector
            does (figure 4): the teacher's, the projector's.
        correlations: Of the updates of two teachers' losses, by both names (figure 5); seeds without one are left out.
        explained: Cumulative explained variance of the first seed: the teacher's and the projector's.
    """

    row: Row
    cosines: Mapping[str, Interval]
    components: Mapping[str, tuple[Interval, Interval]]
    correlations: Mapping[Pair, Interval]
    explained: Mapping[str, tuple[list[float], list[float]]]

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "cosines": {name: one.json() for name, one in self.cosines.items()},
            "components_for_90_percent": {
                name: {"teacher": teacher.json(), "projector": projector.json()}
                for name, (teacher, projector) in self.components.items()
            },
            "loss_correlations": {" / ".join(pair): one.json() for pair, one in self.correlations.items()},
            "explained_variance": {
                name: {"teacher": teacher, "projector": projector}
                for name, (teacher, projector) in self.explained.items()
            },
        }


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
        missing: Titles of students and names of teachers that are not measured for all seeds, and hence left out.
    """

    plan: Plan
    seeds: tuple[int, ...]
    teachers: Sequence[Found]
    students: Sequence[Found]
    lessons: Sequence[Lesson]
    costs: Mapping[str, Mapping[str, float]]
    specialist: bool
    missing: Sequence[str] = ()

    def answers(self) -> list[Answer]:
        """All questions that can be asked of what was measured."""
        known = {one.name: one for one in [*self.teachers, *self.students]}
        return [
            Answer(question, one, other, measure, gap)
            for question, pairs in {**QUESTIONS, **FURTHER}.items()
            for one, other in pairs
            if one in known and other in known
            for measure, gap in known[one].better_than(known[other]).items()
        ]

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
            "plan": self.plan.identity(),
            "seeds": list(self.seeds),
            "specialist": "made here" if self.specialist else "made before",
            "missing": list(self.missing),
            "teachers": {one.name: one.json() for one in self.teachers},
            "students": {one.name: one.json() for one in self.students},
            "answers": [answer.json() for answer in self.answers()],
            "summary": self.summary(),
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
    parts = _all([store.get(distilled(row, seed)) for seed in seeds], row.title)
    try:
        explained = [part["analyses"]["explained_variance"] for part in parts]
        correlations: dict[Pair, list[float]] = {}
        for part in parts:
            for one in part["analyses"]["loss_correlations"]:
                if one["correlation"] is not None:
                    correlations.setdefault((one["teachers"][0], one["teachers"][1]), []).append(one["correlation"])
        return Lesson(
            row,
            {
                name: interval_over_seeds([part["validation"][f"cosine_{name}"] for part in parts])
                for name in row.teachers
            },
            {
                name: (_components(explained, name, "teacher"), _components(explained, name, "projector"))
                for name in row.teachers
            },
            {pair: interval_over_seeds(values) for pair, values in correlations.items()},
            {
                name: (explained[0][name]["teacher"]["cumulative"], explained[0][name]["projector"]["cumulative"])
                for name in row.teachers
            },
        )
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f"Figures of {row.title} are damaged ({error}); delete the folder figures.") from error


def _components(parts: Sequence[Mapping[str, Any]], teacher: str, who: str) -> Interval:
    return interval_over_seeds([float(part[teacher][who]["components_for_90_percent"]) for part in parts])


def _all(parts: Sequence[dict[str, Any] | None], title: str) -> list[dict[str, Any]]:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or not known:
        raise InputError(f"{title} is not measured for all seeds yet; give the command again.")
    return known


def _turned(gap: Difference) -> Difference:
    """By how much less, of by how much more."""

    def turned(interval: Interval) -> Interval:
        low, high = (None if end is None else -end for end in (interval.high, interval.low))
        return Interval(-interval.mean, low, high)

    return Difference(turned(gap.over_groups), turned(gap.over_seeds))


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
