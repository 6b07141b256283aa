"""What was measured, and what it says: tables 4.1 to 4.3, 4.5 and 4.6 at small scale, verdicts, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

from training.distillation.specific.measuring import CHOSEN_BY
from training.distillation.specific.running import RowResult
from training.distillation.specific.study import (
    ALONE,
    ALONE_MIXED,
    BY_PROBED,
    BY_TUNED,
    HEAD,
    MIXED,
    MIXED_IN_TASK,
    MIXED_NO_LABELS,
    NO_LABELS,
    PROBED,
    TUNED,
    Study,
    is_done,
    result_of,
)
from training.probing.comparison import Difference, Interval, compare, interval_over_seeds
from training.probing.scores import FIGURES, Figure, figures_of
from training.reproduction.task_distillation.opening import TEACHERS, Opened, trained
from training.reproduction.verdicts import VERDICTS, Verdict, verdict_of

BEST = "best without a teacher"  # of probing and fine-tuning a student, as the text underlines it in table 4.1
Claim: TypeAlias = Literal["better", "worse", "not better", "both"]


@dataclass(frozen=True)
class Question:
    """What is asked of every student.

    Attributes:
        text: The question, with the tables of the text that it is about.
        claimed: What the text found, of most of its data.
        pairs: Which lines are compared: is the first one better than the other?
        said: What has to be known of the claim, or of what is compared here.
        of_gap: Whether the answer depends on how much more a teacher tells when it is fine-tuned.
    """

    text: str
    claimed: Claim
    pairs: tuple[tuple[str, str], ...]
    said: str = ""
    of_gap: bool = False


STREETS = "of Cityscapes, streets as CamVid is, it found the opposite, where fine-tuning told 8 to 9 points more"
BLENDS = (
    "mixed images are regions of two photos beside each other here, no images of a diffusion model, and half as many "
    "more in a batch, of which the teacher is asked too: also half as much more work, as in the text"
)
TRUE_LABELS = (
    "what a region shows is known, so labels are true here, as CutMix has them; those of the text's images may be wrong"
)
QUESTIONS = (
    Question("Is fine-tuning better than probing? (table 4.1)", "better", ((TUNED, PROBED), (ALONE, HEAD))),
    Question(
        "Is the probed teacher the better one? (table 4.2)",
        "better",
        ((BY_PROBED, BY_TUNED),),
        f"the text's teachers are larger than its student; {STREETS}",
        of_gap=True,
    ),
    Question(
        "Does distillation beat learning from labels alone? (tables 4.2, 4.3)",
        "better",
        ((BY_PROBED, BEST), (BY_TUNED, BEST), (MIXED, BEST)),
        "against the better one of probing and fine-tuning the student, by its mean here; of teachers no larger than "
        f"the student the text found it where probing tells not much less than fine-tuning; {STREETS}",
        of_gap=True,
    ),
    Question(
        "Do mixed images help the distillation? (tables 4.2, 4.3, 4.6)",
        "better",
        ((MIXED, BY_PROBED), (MIXED_NO_LABELS, NO_LABELS)),
        BLENDS,
    ),
    Question(
        "Do mixed images help without a teacher, in the task's loss? (table 4.5)",
        "worse",
        ((ALONE_MIXED, ALONE),),
        f"{BLENDS}; {TRUE_LABELS}",
    ),
    Question(
        "Do they help in the task's loss beside the distillation? (table 4.5)",
        "not better",
        ((MIXED_IN_TASK, MIXED),),
        f"{BLENDS}; {TRUE_LABELS}",
    ),
    Question(
        "Do labels help beside the teacher? (table 4.6)", "better", ((BY_PROBED, NO_LABELS), (MIXED, MIXED_NO_LABELS))
    ),
    Question(
        "Is a student better than its teacher? (tables 4.1, 4.2)", "both", ((BY_PROBED, PROBED), (BY_TUNED, TUNED))
    ),
)


@dataclass(frozen=True)
class Answer:
    """One line against another, on one data set.

    Attributes:
        study: Name of the data set.
        question: What is asked.
        one: Name of a line.
        other: Name of the line that it is compared with.
        better: By how much it is better.
    """

    study: str
    question: Question
    one: str
    other: str
    better: Difference

    @property
    def verdict(self) -> Verdict:
        """Whether it is better or worse, see :func:`verdict_of`."""
        return verdict_of(self.better)

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        about = {"study": self.study, "question": self.question.text, "one": self.one, "other": self.other}
        return {**about, "better": self.better.json(), "verdict": self.verdict}


@dataclass(frozen=True, eq=False)
class Found:
    """A study that was measured.

    Attributes:
        study: Which.
        photos: To learn from, and to measure.
        lines: By their names, in the order in which they are trained.
        peaks: Bytes of the process of a line at most, where that is known.
    """

    study: Study
    photos: tuple[int, int]
    lines: Mapping[str, RowResult]
    peaks: Mapping[str, float]

    @property
    def chosen(self) -> str:
        """The figure that the text reports."""
        return CHOSEN_BY[self.study.goal]

    @property
    def figure(self) -> Figure:
        """How it is shown."""
        return FIGURES[self.study.goal][self.chosen]

    @property
    def groups(self) -> int:
        """Groups of photos that are resampled."""
        return len(next(iter(self.lines.values())).scores.groups)

    def seeds(self, line: str) -> list[float]:
        """The figure of every seed."""
        return figures_of(self.lines[line].scores)[self.chosen]

    def interval(self, line: str) -> Interval:
        """Its mean, and the interval over the seeds."""
        return interval_over_seeds(self.seeds(line))

    def gap(self) -> float | None:
        """By how much the teacher's figure is better when it is fine-tuned; None where either is not known."""
        if PROBED not in self.lines or TUNED not in self.lines:
            return None
        return self.interval(TUNED).mean - self.interval(PROBED).mean

    def answers(self) -> list[Answer]:
        """All questions that can be asked of what was measured."""
        found = []
        for question in QUESTIONS:
            asked = [
                (self._line(student, one), self._line(student, other))
                for student in self.study.students
                for one, other in question.pairs
            ]
            for one, other in dict.fromkeys(asked):  # teachers are of all students
                if one in self.lines and other in self.lines:
                    gap = compare(self.lines[one].scores, self.lines[other].scores, self.chosen)
                    found.append(Answer(self.study.name, question, one, other, gap))
        return found

    def _line(self, student: str, line: str) -> str:
        """The name of a student's line; the teachers are those of all of them."""
        if line in TEACHERS:
            return line
        if line != BEST:
            return f"{student}-{line}"
        known = [name for name in (f"{student}-{ALONE}", f"{student}-{HEAD}") if name in self.lines]
        return max(known, key=lambda name: self.interval(name).mean, default=f"{student}-{ALONE}")

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        lines = {}
        for name, line in self.lines.items():
            figures = figures_of(line.scores)
            intervals = {figure: interval_over_seeds(values).json() for figure, values in figures.items()}
            lines[name] = {"row": line.row.json(), "figures": intervals, "seeds": figures}
        about = {"goal": self.study.goal, "train": self.photos[0], "test": self.photos[1], "groups": self.groups}
        return {**about, "rates_tried": dict(self.study.rates), "lines": lines}


@dataclass(frozen=True, eq=False)
class Results:
    """All that was measured.

    Attributes:
        seeds: Of teachers and students.
        studies: On each data set.
        missing: Lines that were not trained and measured with all seeds, and are left out: ``DATA: LINE``.
    """

    seeds: tuple[int, ...]
    studies: Sequence[Found]
    missing: tuple[str, ...] = ()

    @cached_property
    def answers(self) -> list[Answer]:
        """Of all studies."""
        return [answer for study in self.studies for answer in study.answers()]

    def summary(self) -> dict[Question, dict[Verdict, int]]:
        """How many comparisons ended how, by question; those that were not asked are left out."""
        counted = {
            question: [answer.verdict for answer in self.answers if answer.question == question]
            for question in QUESTIONS
        }
        return {
            question: {verdict: verdicts.count(verdict) for verdict in VERDICTS}
            for question, verdicts in counted.items()
            if verdicts
        }

    def costs(self) -> dict[str, dict[str, float]]:
        """``seconds`` of a seed of every line, and bytes at the ``peak`` of its process where that is known."""
        found = {}
        for study in self.studies:
            for name, line in study.lines.items():
                peak = {"peak": study.peaks[name]} if name in study.peaks else {}
                found[f"{study.study.name}: {name}"] = {"seconds": line.seconds / len(line.seeds), **peak}
        return found

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "seeds": list(self.seeds),
            "studies": {study.study.name: study.json() for study in self.studies},
            "answers": [answer.json() for answer in self.answers],
            "summary": {
                question.text: {"claimed": question.claimed, **counts} for question, counts in self.summary().items()
            },
            "costs": self.costs(),
            "missing": list(self.missing),
        }


def gather(opened: Sequence[Opened], seeds: Sequence[int]) -> Results:
    """Read all figures of the lines that are whole.

    Args:
        opened: The studies.
        seeds: Of teachers and students.

    Raises:
        InputError: a line was made with other settings.
    """
    found = [_found(one, seeds) for one in opened]
    missing = [
        f"{one.study.name}: {row.name}"
        for one, of in zip(opened, found, strict=True)
        for row in one.rows
        if row.name not in of.lines
    ]
    return Results(tuple(seeds), [of for of in found if of.lines], tuple(missing))


def _found(one: Opened, seeds: Sequence[int]) -> Found:
    whole = [row for row in one.rows if all(is_done(one.bench, row, seed) for seed in seeds)]
    lines = {row.name: result_of(one.bench, row, seeds) for row in whole}
    peaks = {}
    for row in whole:
        parts = [one.store(row).get(trained(one.study, row, seed)) for seed in seeds]
        known = [float(part["peak"]) for part in parts if part is not None and "peak" in part]
        if known:
            peaks[row.name] = max(known)
    return Found(one.study, (len(one.bench.data.train), len(one.bench.data.test)), lines, peaks)
