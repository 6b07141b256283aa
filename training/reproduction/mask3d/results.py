"""What was measured, and what it says: tables 1, 7, 8, 9 and 16 at small scale, verdicts, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from training.probing.comparison import Difference, Interval, compare, interval_over_seeds
from training.probing.scores import Scores, figures_of
from training.probing.statistics import joined
from training.reproduction.mask3d.joint import against_mean, of_first_seeds, of_frequent_classes
from training.reproduction.mask3d.places import Places, pretrained, tuned
from training.reproduction.mask3d.plan import (
    BOTH,
    CELLS,
    FAST,
    FURTHER_CELLS,
    LONG,
    MAE_MAE,
    MAE_MASK3D,
    MASK3D,
    MASK3D_MAE,
    MASK3D_MASK3D,
    OF_MAE,
    PURE,
    SCRATCH,
    SETTINGS,
    SLOW,
    Plan,
    Row,
)
from training.reproduction.mask3d.preparing import photo_costs
from training.reproduction.packing import unpacked
from training.reproduction.verdicts import VERDICTS, Verdict, verdict_of

CHOSEN = "miou"  # the figure that the text reports
FREQUENT = "frequent"  # the same of the classes that more than a few pixels have
OTHER_CELLS = Row("other-cells", "the mean of the other cells")


@dataclass(frozen=True)
class Question:
    """What is asked for every setting that both rows of a pair have.

    Attributes:
        text: The question, with the parts of the text that it is about.
        claimed: What the text found.
        pairs: Which rows are compared: is the first one better than the other?
        jointly: The first row of the pairs is also compared with the mean of the others.
    """

    text: str
    claimed: str
    pairs: tuple[tuple[Row, Row], ...]
    jointly: bool = False


QUESTIONS = (
    Question(
        "Is a pretraining better than none, fine-tuned alike? (tables 9, 15)",
        "better",
        ((OF_MAE, SCRATCH), (MASK3D, SCRATCH)),
    ),
    Question(
        "Is it better than a fine-tuning of as many steps, or at other rates?",
        "not asked",
        ((OF_MAE, LONG), (MASK3D, LONG), (MASK3D, SLOW), (MASK3D, FAST)),
    ),
    Question("Is Mask3D better than MAE? (table 9)", "better", ((MASK3D, OF_MAE),)),
    Question("After MAE, is Mask3D better than more of MAE? (tables 1, 5, 7)", "better", ((MAE_MASK3D, MAE_MAE),)),
    Question(
        "Is Mask3D better after MAE than after itself, or alone? (tables 1, 9)",
        "better than alone, where MAE saw a million other photos",
        ((MAE_MASK3D, MASK3D_MASK3D), (MAE_MASK3D, MASK3D)),
    ),
    Question("Is it better than telling depth from the whole photo? (section 4.5)", "better", ((MASK3D, PURE),)),
    Question(
        "Is it best to keep a fifth of both? (table 8)",
        "better",
        tuple((MASK3D, one) for one in (*CELLS, *FURTHER_CELLS) if one != PURE),
        jointly=True,
    ),
    Question("Is MAE better before Mask3D than after it? (table 16)", "better", ((MAE_MASK3D, MASK3D_MAE),)),
    Question("Is it better to tell depth alone than colours too? (table 10)", "better", ((MASK3D, BOTH),)),
)


@dataclass(frozen=True)
class Answer:
    """One row against another, in one setting.

    Attributes:
        question: What is asked.
        one: The row that it is asked of.
        other: The row that it is compared with.
        setting: Name of what both were fine-tuned for.
        better: By how much the first one is better.
    """

    question: Question
    one: Row
    other: Row
    setting: str
    better: Difference

    @property
    def verdict(self) -> Verdict:
        """Whether it is better or worse, see :func:`verdict_of`."""
        return verdict_of(self.better)

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        about = {"question": self.question.text, "one": self.one.name, "other": self.other.name}
        return {**about, "setting": self.setting, "better": self.better.json(), "verdict": self.verdict}


@dataclass(frozen=True, eq=False)
class Found:
    """A row that was measured.

    Attributes:
        row: Which.
        scores: By the name of the setting, all seeds.
        losses: Of frames of test rooms at the end of the pretraining, by what is told, all seeds; those of other masks
            cannot be compared.
        early: The same after a tenth of it: whether the row that it goes on from has left something.
        learned: mIoU of some of the photos that were learned from, by the name of the setting, all seeds.
    """

    row: Row
    scores: Mapping[str, Scores]
    losses: Mapping[str, Sequence[float]]
    early: Mapping[str, Sequence[float]] = field(default_factory=dict)
    learned: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def figures(self, setting: str) -> dict[str, list[float]]:
        """Figures of every seed."""
        scores = self.scores[setting]
        return {**figures_of(scores), FREQUENT: figures_of(of_frequent_classes(scores))[CHOSEN]}

    def interval(self, setting: str, figure: str = CHOSEN) -> Interval:
        """The mean of a figure, and its interval over the seeds."""
        return interval_over_seeds(self.figures(setting)[figure])

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        seeds = {name: self.figures(name) for name in self.scores}
        intervals = {
            name: {figure: interval_over_seeds(values).json() for figure, values in figures.items()}
            for name, figures in seeds.items()
        }
        about = {"title": self.row.title, **self.row.identity()}
        about |= {"losses": dict(self.losses), "early": dict(self.early), "learned": dict(self.learned)}
        return {**about, "figures": intervals, "seeds": seeds}


@dataclass(frozen=True, eq=False)
class Results:
    """All that was measured.

    Attributes:
        plan: How large everything is.
        seeds: Of the networks.
        found: Rows that were measured.
        costs: ``seconds`` of a seed of every stage, and bytes at the ``peak`` of its process where that is known.
        missing: What was to be measured and is not finished.
    """

    plan: Plan
    seeds: tuple[int, ...]
    found: Sequence[Found]
    costs: Mapping[str, Mapping[str, float]]
    missing: tuple[str, ...] = ()

    @property
    def settings(self) -> list[str]:
        """Names of what rows were fine-tuned for."""
        return [name for name in SETTINGS if any(name in one.scores for one in self.found)]

    @cached_property
    def answers(self) -> list[Answer]:
        """All questions that can be asked of what was measured."""
        known = {one.row: one.scores for one in self.found}
        found = []
        for question in QUESTIONS:
            for one, other in question.pairs:
                both = [name for name in self.settings if name in known.get(one, {}) and name in known.get(other, {})]
                for name in both:
                    first, second = of_first_seeds(known[one][name], known[other][name])
                    found.append(Answer(question, one, other, name, compare(first, second, CHOSEN)))
            if question.jointly:
                found += self._jointly(question, known)
        return found

    def summary(self) -> dict[tuple[Question, str], dict[Verdict, int]]:
        """How many comparisons ended how, by question and setting; those that were not asked are left out."""
        counted: dict[tuple[Question, str], dict[Verdict, int]] = {}
        for answer in self.answers:
            counts = counted.setdefault((answer.question, answer.setting), dict.fromkeys(VERDICTS, 0))
            counts[answer.verdict] += 1
        return counted

    def _jointly(self, question: Question, known: Mapping[Row, Mapping[str, Scores]]) -> list[Answer]:
        """The first row against the mean of the others, in the settings where two of them were measured at least."""
        found, one = [], question.pairs[0][0]
        for name in self.settings:
            others = [other for _, other in question.pairs if name in known.get(other, {})]
            if name in known.get(one, {}) and len(others) > 1:
                first, *rest = of_first_seeds(known[one][name], *(known[other][name] for other in others))
                texts = [other.text for other in others if other.text is not None]
                cells = replace(OTHER_CELLS, text=float(np.mean(texts)) if len(texts) == len(others) else None)
                found.append(Answer(question, one, cells, name, against_mean(first, rest, CHOSEN)))
        return found

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "seeds": list(self.seeds),
            "plan": self.plan.identity(),
            "rows": {one.row.name: one.json() for one in self.found},
            "answers": [answer.json() for answer in self.answers],
            "summary": [
                {"question": question.text, "setting": setting, "claimed": question.claimed, **counts}
                for (question, setting), counts in self.summary().items()
            ],
            "costs": self.costs,
            "missing": list(self.missing),
        }


def gather(places: Places, rows: Sequence[Row], seeds: Sequence[int]) -> Results:
    """Read all figures; what is not finished is left out.

    Args:
        places: Of the reproduction.
        rows: That were to be measured.
        seeds: Of the networks.

    Raises:
        InputError: figures are damaged, or were made with other settings.
    """
    costs: dict[str, dict[str, float]] = {}
    parts = [places.store().get(name) for name in photo_costs(places)]
    _add_cost(costs, "photos of all rooms", [part for part in parts if part is not None], together=True)
    found: list[Found] = []
    missing: list[str] = []
    tunings: dict[str, list[dict[str, Any]]] = {name: [] for name in places.settings}
    for row in rows:
        lessons = [] if row.masking is None else _figures(places, row, None, seeds)
        _add_cost(costs, f"pretraining: {row.title}", lessons)
        scores: dict[str, Scores] = {}
        learned: dict[str, list[float]] = {}
        for name in places.measured(row):
            figures = _figures(places, row, name, seeds)
            if figures:
                scores[name] = joined([unpacked("segmentation", one["scores"]) for one in figures])
                learned[name] = [float(one["learned"][CHOSEN]) for one in figures]
                tunings[name] += figures
            else:
                missing.append(f"{row.title} for {SETTINGS[name].title}")
        told = lessons[0]["validation"] if lessons else {}
        early, losses = (
            {name: [float(lesson[when][name]) for lesson in lessons] for name in told}
            for when in ("early", "validation")
        )
        if scores:
            found.append(Found(row, scores, losses, early, learned))
    for name, figures in tunings.items():
        _add_cost(costs, f"fine-tuning and measuring: {SETTINGS[name].title}", figures)
    return Results(places.plan, tuple(seeds), found, costs, tuple(missing))


def _figures(places: Places, row: Row, setting: str | None, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Those of every seed of a row; of one that has not all of them none."""
    names = [pretrained(row, seed) if setting is None else tuned(row, setting, seed) for seed in row.of(seeds)]
    store = places.store(row, setting)
    known = [one for one in (store.get(name) for name in names) if one is not None]
    return known if len(known) == len(names) else []


def _add_cost(
    costs: dict[str, dict[str, float]], stage: str, parts: Sequence[Mapping[str, Any]], *, together: bool = False
) -> None:
    """What a stage took: the sum of its parts, or their mean; of the memory the largest."""
    if not parts:
        return
    seconds = [float(part["seconds"]) for part in parts]
    peaks = [float(part["peak"]) for part in parts if part.get("peak") is not None]
    costs[stage] = {"seconds": float(sum(seconds) if together else np.mean(seconds))}
    if peaks:
        costs[stage]["peak"] = max(peaks)
