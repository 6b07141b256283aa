"""What was measured, and what it says: tables 3.1, 3.5 and 3.6 at small scale, verdicts, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from training.augmentation import Policy
from training.augmentation.evaluation import Outcome
from training.probing.comparison import Difference
from training.reproduction.slack.plan import NONE, TRIVIAL, UNIFORM, Plan
from training.reproduction.slack.working import Opened, evaluated, searched
from training.reproduction.verdicts import Verdict, verdict_of


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        text: The question, with the tables of the text that it is about.
        claimed: What the text found.
        pairs: Which lines are compared: is the first one better than the other?
    """

    text: str
    claimed: str
    pairs: tuple[tuple[str, str], ...]


QUESTIONS = (
    Question("Is the uniform policy better than none?", "not asked: all of its lines augment", ((UNIFORM, NONE),)),
    Question("Is a learned policy better than the uniform one? (tables 3.1, 3.6)", "better", (("slack", UNIFORM),)),
    Question(
        "Is it better than TrivialAugment with hard-coded crops and Cutout? (table 3.1)",
        "as good on CIFAR-10",
        tuple(("slack", line) for line in TRIVIAL),
    ),
    Question(
        "Does the anchor help? (table 3.5)", "better with WRN-28-10, as good with WRN-40-2", (("slack", "no-kl"),)
    ),
    Question(
        "Is it better to learn both what is drawn and how strong? (table 3.6)",
        "slightly better",
        (("slack", "pi"), ("slack", "mu")),
    ),
)


@dataclass(frozen=True)
class Answer:
    """One line against another.

    Attributes:
        question: What is asked.
        one: Name of a line.
        other: Name of the line that it is compared with.
        better: By how much it is better.
    """

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
        about = {"question": self.question.text, "one": self.one, "other": self.other}
        return {**about, "better": self.better.json(), "verdict": self.verdict}


@dataclass(frozen=True, eq=False)
class Results:
    """All that was measured.

    Attributes:
        plan: What was trained.
        photos: To learn from, and to measure.
        lines: That are whole, by name.
        policies: Of every variant and search, before the first round and after each.
        costs: ``seconds`` of a search or an evaluation of every line, and bytes at the ``peak`` of its process.
        missing: Lines that are not whole.
    """

    plan: Plan
    photos: tuple[int, int]
    lines: Mapping[str, Outcome]
    policies: Mapping[str, Sequence[Sequence[Policy]]]
    costs: Mapping[str, Mapping[str, float]]
    missing: tuple[str, ...]

    @cached_property
    def answers(self) -> list[Answer]:
        """All questions that can be asked of what was measured."""
        return [
            Answer(question, one, other, self.lines[one].gain(self.lines[other]))
            for question in QUESTIONS
            for one, other in question.pairs
            if one in self.lines and other in self.lines
        ]

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        policies = {
            variant: [
                {"names": search[-1].names, "shares": shares_of(search[-1]), "bounds": search[-1].bounds.tolist()}
                for search in searches
            ]
            for variant, searches in self.policies.items()
        }
        return {
            "plan": self.plan.json(),
            "train": self.photos[0],
            "test": self.photos[1],
            "lines": {name: line.json() for name, line in self.lines.items()},
            "answers": [answer.json() for answer in self.answers],
            "policies": policies,
            "costs": {name: dict(cost) for name, cost in self.costs.items()},
            "missing": list(self.missing),
        }


def gather(opened: Opened) -> Results:
    """Read all figures of the lines that are whole.

    Raises:
        InputError: they were made with other settings.
    """
    plan, store = opened.plan, opened.store()
    lines: dict[str, Outcome] = {}
    policies: dict[str, list[list[Policy]]] = {}
    costs: dict[str, dict[str, float]] = {}
    for variant in plan.variants:
        found = [store.get(searched(variant, seed)) for seed in range(plan.searches)]
        known = [one for one in found if one is not None]
        if known:
            policies[variant] = [_history(one) for one in known]
            costs[f"search: {variant}"] = _cost(known)
    for line in plan.lines:
        parts = [store.get(evaluated(line, place)) for place in range(plan.evaluations)]
        known = [one for one in parts if one is not None]
        if known:
            costs[f"evaluation: {line}"] = _cost(known)
        if len(known) == len(parts):
            searches = plan.searches if line in plan.variants else 1
            titles = tuple(f"{line} {seed}" for seed in range(searches))
            lines[line] = Outcome(line, titles, np.array([one["right"] for one in known], float))
    missing = tuple(line for line in plan.lines if line not in lines)
    return Results(plan, (len(opened.data.train), len(opened.data.test)), lines, policies, costs, missing)


def shares_of(policy: Policy) -> list[float]:
    """How often each transformation is drawn, a mean over the steps of an augmentation."""
    return [float(value) for value in policy.probabilities().detach().mean(0)]


def _history(found: Mapping[str, Any]) -> list[Policy]:
    return [
        Policy(found["names"], torch.tensor(logits), torch.tensor(bounds)).requires_grad_(False)
        for logits, bounds in zip(found["logits"], found["bounds"], strict=True)
    ]


def _cost(known: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    peaks = [float(one["peak"]) for one in known if "peak" in one]
    seconds = sum(float(one["seconds"]) for one in known) / len(known)
    return {"seconds": seconds, **({"peak": max(peaks)} if peaks else {})}
