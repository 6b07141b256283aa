"""Whom students are compared with, by what, and with which outcome (DUNE, tables 1 to 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from training.probing.comparison import Difference, Interval, compare, interval_over_seeds
from training.probing.scores import Scores
from training.reproduction.dune.measuring import MEASURES, OWN
from training.reproduction.dune.plan import AGNOSTIC, FULL, LANGUAGE, SPECIALIST, TEACHERS
from training.reproduction.verdicts import Verdict, verdict_of

By: TypeAlias = tuple[str, str]  # a measure of the one, and that of the other which it is compared with
ALIKE: tuple[By, ...] = tuple((name, name) for name in MEASURES)
BESIDE_TEACHERS: tuple[By, ...] = (
    ("projected", "segmentation"), ("depth", "depth"), ("decoder", "decoder"), ("pointing", "pointing"),
    ("overlap", "overlap"),
)  # fmt: skip
"""A student is asked for classes through the projector of the task-agnostic teacher, as in the paper (section 5.1)."""
OWN_TASKS: Mapping[str, tuple[str, ...]] = {
    AGNOSTIC: ("projected", "depth"),
    LANGUAGE: ("pointing", "overlap"),
    SPECIALIST: ("decoder",),
    OWN: ("decoder",),
}
"""What each teacher is there for, by the student's measures."""


@dataclass(frozen=True)
class Contest:
    """A student and whom it is compared with.

    Attributes:
        one: Name of the student.
        other: Of another one, or of a teacher.
        by: What both are compared by, as far as they have it.
    """

    one: str
    other: str
    by: tuple[By, ...] = ALIKE


def _beside(teacher: str, *, own: bool) -> Contest:
    return Contest(FULL.name, teacher, tuple(by for by in BESIDE_TEACHERS if (by[0] in OWN_TASKS[teacher]) == own))


QUESTIONS: Mapping[str, tuple[Contest, ...]] = {
    "Does the transformer projector win? (table 1)": (
        Contest(FULL.name, "ladder-full"),
        Contest(FULL.name, "simple-full"),
    ),
    "Does full sharing win? (table 2)": (
        Contest(FULL.name, "transformer-none"),
        Contest(FULL.name, "transformer-generic"),
    ),
    "Is the student worse than each teacher at its own task? (table 3)": tuple(
        _beside(teacher, own=True) for teacher in (*TEACHERS, OWN)
    ),
    "Is it worse than each teacher at the others' tasks? (table 3)": tuple(
        _beside(teacher, own=False) for teacher in TEACHERS
    ),
}
"""Who is compared, by what is asked."""
FURTHER: Mapping[str, tuple[Contest, ...]] = {
    "Are photos of teachers' own domains worth it beside generic ones? (table 1)": (
        Contest(FULL.name, "transformer-whole"),
    ),
    "Does the transformer projector win with generic photos alone? (table 1)": (
        Contest("transformer-whole", "ladder-whole"),
    ),
    "Is one student of three teachers worse than one of a single teacher?": tuple(
        Contest(FULL.name, f"of-{teacher}") for teacher in TEACHERS
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

    def better_than(self, other: Found, by: Sequence[By] = ALIKE) -> dict[By, Difference]:
        """By how much each figure that both have is better than the other's: above zero where it is."""
        found = {}
        for mine, its in by:
            if mine in self.scores and its in other.scores:
                of = MEASURES[mine]
                gap = compare(self.scores[mine], other.scores[its], of.name)
                found[mine, its] = gap if of.figure.higher else _turned(gap)
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
        measure: Of the student.
        against: That of the other.
        better: By how much the student is better.
        reference: The other's figure.
    """

    question: str
    one: str
    other: str
    measure: str
    against: str
    better: Difference
    reference: float

    @property
    def verdict(self) -> Verdict:
        """Whether it is better or worse, see :func:`verdict_of`."""
        return verdict_of(self.better)

    @property
    def at_worst(self) -> float | None:
        """The lower end of both intervals, as a part of the other's figure: below zero where it may be worse; None of
        a single seed."""
        lows = [self.better.over_groups.low, self.better.over_seeds.low]
        known = [low for low in lows if low is not None]
        return None if len(known) < len(lows) or self.reference == 0 else min(known) / abs(self.reference)

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        found = {**asdict(self), "better": self.better.json()}
        return {**found, "at_worst": self.at_worst, "verdict": self.verdict}


def answers_of(known: Mapping[str, Found]) -> list[Answer]:
    """All questions that can be asked.

    Args:
        known: Students and teachers, by their names.
    """
    return [
        Answer(question, pair.one, pair.other, mine, its, gap, known[pair.other].figures()[its].mean)
        for question, pairs in {**QUESTIONS, **FURTHER}.items()
        for pair in pairs
        if pair.one in known and pair.other in known
        for (mine, its), gap in known[pair.one].better_than(known[pair.other], pair.by).items()
    ]


def _turned(gap: Difference) -> Difference:
    """By how much less, of by how much more."""

    def turned(interval: Interval) -> Interval:
        low, high = (None if end is None else -end for end in (interval.high, interval.low))
        return Interval(-interval.mean, low, high)

    return Difference(turned(gap.over_groups), turned(gap.over_seeds))
