"""What was measured, and what it says: tables 4.1 to 4.3, 4.5 and 4.6 at small scale, verdicts, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from training.distillation.specific.measuring import CHOSEN_BY
from training.distillation.specific.running import RowResult
from training.distillation.specific.study import (
    ALONE,
    BY_PROBED,
    BY_TUNED,
    MIXED,
    MIXED_IN_TASK,
    MIXED_NO_LABELS,
    NO_LABELS,
    PROBED,
    TUNED,
    Study,
    result_of,
)
from training.probing.comparison import Difference, Interval, compare, interval_over_seeds
from training.probing.scores import FIGURES, Figure, figures_of
from training.reproduction.task_distillation.opening import TEACHERS, Opened, trained
from training.reproduction.verdicts import VERDICTS, Verdict, verdict_of


@dataclass(frozen=True)
class Question:
    """What is asked of every student.

    Attributes:
        text: The question, with the tables of the text that it is about.
        claimed: What the text found, of most of its data; None = it found both.
        pairs: Which lines are compared: is the first one better than the other?
    """

    text: str
    claimed: Verdict | None
    pairs: tuple[tuple[str, str], ...]


QUESTIONS = (
    Question("Is fine-tuning better than probing? (table 4.1)", "better", ((TUNED, PROBED),)),
    Question("Is the probed teacher the better one? (table 4.2)", "better", ((BY_PROBED, BY_TUNED),)),
    Question(
        "Does distillation beat learning from labels alone? (tables 4.2, 4.3)",
        "better",
        ((BY_PROBED, ALONE), (BY_TUNED, ALONE), (MIXED, ALONE)),
    ),
    Question(
        "Do mixed images help the distillation? (tables 4.2, 4.3, 4.6)",
        "better",
        ((MIXED, BY_PROBED), (MIXED_NO_LABELS, NO_LABELS)),
    ),
    Question("Do they help in the task's loss as well? (table 4.5)", "worse", ((MIXED_IN_TASK, MIXED),)),
    Question(
        "Do labels help beside the teacher? (table 4.6)", "better", ((BY_PROBED, NO_LABELS), (MIXED, MIXED_NO_LABELS))
    ),
    Question("Is a student better than its teacher? (tables 4.1, 4.2)", None, ((BY_PROBED, PROBED), (BY_TUNED, TUNED))),
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

    def answers(self) -> list[Answer]:
        """All questions that can be asked of what was measured."""
        found = []
        for question in QUESTIONS:
            asked = [
                tuple(line if line in TEACHERS else f"{student}-{line}" for line in pair)
                for student in self.study.students
                for pair in question.pairs
            ]
            for one, other in dict.fromkeys(asked):  # teachers are of all students
                if one in self.lines and other in self.lines:
                    gap = compare(self.lines[one].scores, self.lines[other].scores, self.chosen)
                    found.append(Answer(self.study.name, question, one, other, gap))
        return found

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        lines = {}
        for name, line in self.lines.items():
            figures = figures_of(line.scores)
            intervals = {figure: interval_over_seeds(values).json() for figure, values in figures.items()}
            lines[name] = {"row": line.row.json(), "figures": intervals, "seeds": figures}
        about = {"goal": self.study.goal, "train": self.photos[0], "test": self.photos[1], "groups": self.groups}
        return {**about, "lines": lines}


@dataclass(frozen=True, eq=False)
class Results:
    """All that was measured.

    Attributes:
        seeds: Of teachers and students.
        studies: On each data set.
    """

    seeds: tuple[int, ...]
    studies: Sequence[Found]

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
        }


def gather(opened: Sequence[Opened], seeds: Sequence[int]) -> Results:
    """Read all figures.

    Args:
        opened: The studies.
        seeds: Of teachers and students.

    Raises:
        InputError: a line was not trained and measured, or with other settings.
    """
    return Results(tuple(seeds), [_found(one, seeds) for one in opened])


def _found(one: Opened, seeds: Sequence[int]) -> Found:
    lines = {row.name: result_of(one.bench, row, seeds) for row in one.rows}
    peaks = {}
    for row in one.rows:
        parts = [one.store(row).get(trained(one.study, row, seed)) for seed in seeds]
        known = [float(part["peak"]) for part in parts if part is not None and "peak" in part]
        if known:
            peaks[row.name] = max(known)
    return Found(one.study, (len(one.bench.data.train), len(one.bench.data.test)), lines, peaks)
