"""What was measured, and what it says: tables 1, 7, 8, 9 and 16 at small scale, verdicts, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from training.probing.comparison import Difference, Interval, compare, interval_over_seeds
from training.probing.scores import Scores, figures_of
from training.probing.statistics import joined
from training.reproduction.mask3d.places import Places, pretrained, tuned
from training.reproduction.mask3d.plan import (
    BOTH,
    CELLS,
    FURTHER_CELLS,
    MAE_MAE,
    MAE_MASK3D,
    MASK3D,
    MASK3D_MAE,
    OF_MAE,
    PURE,
    SCRATCH,
    SETTINGS,
    Plan,
    Row,
)
from training.reproduction.mask3d.preparing import photo_costs
from training.reproduction.packing import unpacked
from training.reproduction.verdicts import VERDICTS, Verdict, verdict_of

CHOSEN = "miou"  # the figure that the text reports


@dataclass(frozen=True)
class Question:
    """What is asked for every setting that both rows of a pair have.

    Attributes:
        text: The question, with the parts of the text that it is about.
        claimed: What the text found.
        pairs: Which rows are compared: is the first one better than the other?
    """

    text: str
    claimed: Verdict
    pairs: tuple[tuple[Row, Row], ...]


QUESTIONS = (
    Question("Is a pretraining better than none? (tables 9, 15)", "better", ((OF_MAE, SCRATCH), (MASK3D, SCRATCH))),
    Question("Is Mask3D better than MAE? (table 9)", "better", ((MASK3D, OF_MAE),)),
    Question("After MAE, is Mask3D better than more of MAE? (tables 1, 5, 7)", "better", ((MAE_MASK3D, MAE_MAE),)),
    Question("Is Mask3D better after MAE than alone? (tables 1, 9)", "better", ((MAE_MASK3D, MASK3D),)),
    Question("Is it better than telling depth from the whole photo? (section 4.5)", "better", ((MASK3D, PURE),)),
    Question(
        "Is it best to keep a fifth of both? (table 8)",
        "better",
        tuple((MASK3D, one) for one in (*CELLS, *FURTHER_CELLS) if one != PURE),
    ),
    Question(
        "Is MAE before Mask3D the best order? (table 16)", "better", ((MAE_MASK3D, BOTH), (MAE_MASK3D, MASK3D_MAE))
    ),
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
    """

    row: Row
    scores: Mapping[str, Scores]
    losses: Mapping[str, Sequence[float]]

    def interval(self, setting: str) -> Interval:
        """The mean of a figure, and its interval over the seeds."""
        return interval_over_seeds(figures_of(self.scores[setting])[CHOSEN])

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        seeds = {name: figures_of(scores) for name, scores in self.scores.items()}
        intervals = {
            name: {figure: interval_over_seeds(values).json() for figure, values in figures.items()}
            for name, figures in seeds.items()
        }
        about = {"title": self.row.title, **self.row.identity(), "losses": dict(self.losses)}
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
                    gap = compare(known[one][name], known[other][name], CHOSEN)
                    found.append(Answer(question, one, other, name, gap))
        return found

    def summary(self) -> dict[Question, dict[Verdict, int]]:
        """How many comparisons ended how, by question; those that were not asked are left out."""
        counted: dict[Question, dict[Verdict, int]] = {}
        for answer in self.answers:
            counts = counted.setdefault(answer.question, dict.fromkeys(VERDICTS, 0))
            counts[answer.verdict] += 1
        return counted

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "seeds": list(self.seeds),
            "plan": self.plan.identity(),
            "rows": {one.row.name: one.json() for one in self.found},
            "answers": [answer.json() for answer in self.answers],
            "summary": {
                question.text: {"claimed": question.claimed, **counts} for question, counts in self.summary().items()
            },
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
        scores = {}
        for name in places.measured(row):
            figures = _figures(places, row, name, seeds)
            if figures:
                scores[name] = joined([unpacked("segmentation", one["scores"]) for one in figures])
                tunings[name] += figures
            else:
                missing.append(f"{row.title} for {SETTINGS[name].title}")
        told = lessons[0]["validation"] if lessons else {}
        losses = {name: [float(lesson["validation"][name]) for lesson in lessons] for name in told}
        if scores:
            found.append(Found(row, scores, losses))
    for name, figures in tunings.items():
        _add_cost(costs, f"fine-tuning and measuring: {SETTINGS[name].title}", figures)
    return Results(places.plan, tuple(seeds), found, costs, tuple(missing))


def _figures(places: Places, row: Row, setting: str | None, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Those of every seed; of a row that has not all of them none."""
    names = [pretrained(row, seed) if setting is None else tuned(row, setting, seed) for seed in seeds]
    store = places.store(row, setting)
    known = [one for one in (store.get(name) for name in names) if one is not None]
    return known if len(known) == len(seeds) else []


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
