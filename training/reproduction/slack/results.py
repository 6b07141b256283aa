"""What was measured, and what it says: tables 3.1, 3.5 and 3.6 and figure A.1 at small scale, verdicts, costs.

A search is what varies: evaluations of its policies are a mean, and intervals are over searches.  Lines without one
have the same seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from training.augmentation import Policy
from training.augmentation.evaluation import Outcome
from training.probing.comparison import Difference, Interval, interval_over_seeds
from training.probing.statistics import larger
from training.reproduction.slack.plan import CHANCE, NONE, SLACK, TRIVIAL, UNIFORM, Plan
from training.reproduction.slack.working import SPEED, Opened, evaluated, searched
from training.reproduction.verdicts import Verdict, verdict_of

ALIKE = 0.01  # of the photos: lines that differ by no more are as good as each other
HARMFUL, FAVOURED = ("Invert", "Solarize"), ("Cutout", "Rotate")  # as the text found (A.3.2)

Told: TypeAlias = Verdict | Literal["as good"]
Moved: TypeAlias = Literal["more", "less", "not told apart"]


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
    Question(
        "Does augmentation help? Is it better than none?",
        "not asked: all of its lines augment",
        ((UNIFORM, NONE), (TRIVIAL, NONE), (SLACK, NONE)),
    ),
    Question("Is a learned policy better than the uniform one? (tables 3.1, 3.6)", "better", ((SLACK, UNIFORM),)),
    Question(
        "Is it better than one that chance led as far? And is that one as good as the uniform one?",
        "not asked",
        ((SLACK, CHANCE), (CHANCE, UNIFORM)),
    ),
    Question(
        "Is it better than TrivialAugment with hard-coded crops and Cutout? (table 3.1)",
        "as good on CIFAR-10",
        ((SLACK, TRIVIAL),),
    ),
    Question("Does the anchor help? (table 3.5)", "better with WRN-28-10, as good with WRN-40-2", ((SLACK, "no-kl"),)),
    Question(
        "Is it better to learn both what is drawn and how strong? (table 3.6)",
        "slightly better",
        ((SLACK, "pi"), (SLACK, "mu")),
    ),
)


@dataclass(frozen=True)
class Answer:
    """One line against another.

    Attributes:
        question: What is asked.
        one: Name of a line.
        other: Name of the line that it is compared with.
        better: By how much it is better: over photos, and over searches.
    """

    question: Question
    one: str
    other: str
    better: Difference

    @property
    def verdict(self) -> Told:
        """Whether it is better or worse, see :func:`verdict_of`; as good where it can only differ by ``ALIKE``."""
        told = verdict_of(self.better)
        ends = [end for part in (self.better.over_groups, self.better.over_seeds) for end in (part.low, part.high)]
        alike = all(end is not None and abs(end) <= ALIKE for end in ends)
        return "as good" if told == "not told apart" and alike else told

    @property
    def least(self) -> float | None:
        """The smallest difference that would have been told, had intervals been as wide; None of a single search."""
        parts = (self.better.over_groups, self.better.over_seeds)
        reaches = []
        for part in parts:
            if part.low is None or part.high is None:
                return None
            reaches.append(max(part.high - part.mean, part.mean - part.low))
        return max(reaches)

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        about = {"question": self.question.text, "one": self.one, "other": self.other}
        return {**about, "better": self.better.json(), "verdict": self.verdict, "least": self.least}


@dataclass(frozen=True)
class PolicyAnswer:
    """What searches of a variant say of policies, whatever they are worth.

    Attributes:
        text: What is asked.
        claimed: What the text found.
        variant: Of the searches.
        found: By how much a figure of the policies is larger than it would be if the search preferred nothing, over
            searches.
        chance: The same of policies that chance led to, a standard deviation.
        unit: What figures are in.
    """

    text: str
    claimed: str
    variant: str
    found: Interval
    chance: float
    unit: Literal["share", "nats"]

    @property
    def verdict(self) -> Moved:
        """Whether the interval over searches lies on one side of zero."""
        if self.found.low is not None and self.found.low > 0:
            return "more"
        if self.found.high is not None and self.found.high < 0:
            return "less"
        return "not told apart"

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        about = {"question": self.text, "variant": self.variant, "unit": self.unit}
        return {**about, "found": self.found.json(), "chance": self.chance, "verdict": self.verdict}


@dataclass(frozen=True, eq=False)
class Results:
    """All that was measured.

    Attributes:
        plan: What was trained.
        photos: To learn from, and to measure.
        lines: That are whole, by name.
        learned: How much of the photos that they learned from, as augmented, lines told rightly in the end.
        policies: Of every variant whose searches are all done, of each search, before the first round and after each.
        chances: Of the same, policies that chance led to.
        losses: Of the same, on held photos: as each round began, and as it was re-trained.
        size: Of alignments, which the upper rate of policies was chosen by; None = not measured.
        costs: ``seconds`` of a search or an evaluation of every line, and bytes at the ``peak`` of its process.
        missing: Lines that are not whole.
    """

    plan: Plan
    photos: tuple[int, int]
    lines: Mapping[str, Outcome]
    learned: Mapping[str, float]
    policies: Mapping[str, Sequence[Sequence[Policy]]]
    chances: Mapping[str, Sequence[Sequence[Policy]]]
    losses: Mapping[str, Sequence[Sequence[tuple[float, float]]]]
    size: float | None
    costs: Mapping[str, Mapping[str, float]]
    missing: tuple[str, ...]

    @cached_property
    def answers(self) -> list[Answer]:
        """All questions that can be asked of what was measured."""
        return [
            Answer(question, one, other, larger(*(self._by_search(self.lines[line]) for line in (one, other))))
            for question in QUESTIONS
            for one, other in question.pairs
            if one in self.lines and other in self.lines
        ]

    @cached_property
    def policy_answers(self) -> list[PolicyAnswer]:
        """What policies themselves say, over searches."""
        variants = [variant for variant in self.policies if variant != "mu"]
        asked = [(f"Is {name} discarded?", "systematically", name) for name in HARMFUL]
        asked += [(f"Is {name} favoured?", "mostly", name) for name in FAVOURED]
        found = [self._policy_answer(*question, variant) for question in asked for variant in variants]
        text = "Does a search go further from the uniform policy than chance does?"
        return found + [self._distance_answer(text, variant) for variant in variants]

    def _policy_answer(self, text: str, claimed: str, name: str, variant: str) -> PolicyAnswer:
        own = [preference(search[-1], name) for search in self.policies[variant]]
        chance = [preference(one, name) for some in self.chances[variant] for one in some]
        return PolicyAnswer(text, claimed, variant, interval_over_seeds(own), float(np.std(chance)), "share")

    def _distance_answer(self, text: str, variant: str) -> PolicyAnswer:
        own, every = [], []
        for search, some in zip(self.policies[variant], self.chances[variant], strict=True):
            chance = [float(one.divergence(search[0])) for one in some]
            own.append(float(search[-1].divergence(search[0])) - float(np.mean(chance)))
            every += chance
        return PolicyAnswer(text, "not asked", variant, interval_over_seeds(own), float(np.std(every)), "nats")

    def _by_search(self, line: Outcome) -> np.ndarray:
        """Means of the evaluations of a search, ``[searches, photos]``."""
        return line.right.reshape(self.plan.searches, self.plan.runs, -1).mean(1)

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        policies = {
            variant: [
                {
                    "names": search[-1].names,
                    "shares": shares_of(search[-1]),
                    "bounds": search[-1].bounds.tolist(),
                    "chance": [{"shares": shares_of(one), "bounds": one.bounds.tolist()} for one in some],
                    "held_losses": [list(pair) for pair in losses],
                }
                for search, some, losses in zip(searches, self.chances[variant], self.losses[variant], strict=True)
            ]
            for variant, searches in self.policies.items()
        }
        return {
            "plan": self.plan.json(),
            "train": self.photos[0],
            "test": self.photos[1],
            "lines": {name: line.json() for name, line in self.lines.items()},
            "learned": dict(self.learned),
            "answers": [answer.json() for answer in self.answers],
            "policy_answers": [answer.json() for answer in self.policy_answers],
            "size": self.size,
            "policies": policies,
            "costs": {name: dict(cost) for name, cost in self.costs.items()},
            "missing": list(self.missing),
        }


def gather(opened: Opened) -> Results:
    """Read all figures of the lines and the variants of searches that are whole.

    Raises:
        InputError: they were made with other settings.
    """
    plan, store = opened.plan, opened.store()
    lines: dict[str, Outcome] = {}
    learned: dict[str, float] = {}
    policies: dict[str, list[list[Policy]]] = {}
    chances: dict[str, list[list[Policy]]] = {}
    losses: dict[str, list[list[tuple[float, float]]]] = {}
    costs: dict[str, dict[str, float]] = {}
    for variant in plan.variants:
        found = [store.get(searched(variant, seed)) for seed in range(plan.searches)]
        known = [one for one in found if one is not None]
        if len(known) == plan.searches:
            policies[variant] = [_history(one) for one in known]
            chances[variant] = [_chances(one) for one in known]
            losses[variant] = [
                [(told["held_loss_begun"], told["held_loss_retrained"]) for told in one["told"][1:]] for one in known
            ]
            costs[f"search: {variant}"] = _cost(known)
    for line in plan.lines:
        places = [(search, run) for search in range(plan.searches) for run in range(plan.runs)]
        parts = [store.get(evaluated(line, *place)) for place in places]
        known = [one for one in parts if one is not None]
        if known:
            costs[f"evaluation: {line}"] = _cost(known)
        if len(known) == len(parts):
            titles = tuple(f"{line} {seed}" for seed in range(plan.searches))
            lines[line] = Outcome(line, titles, np.array([one["right"] for one in known], float))
            learned[line] = float(np.mean([one["learned"] for one in known]))
    missing = tuple(line for line in plan.lines if line not in lines)
    speed = store.get(SPEED)
    size = None if speed is None else float(speed["size"])
    photos = (len(opened.data.train), len(opened.data.test))
    return Results(plan, photos, lines, learned, policies, chances, losses, size, costs, missing)


def shares_of(policy: Policy) -> list[float]:
    """How often each transformation is drawn, a mean over the steps of an augmentation."""
    return [float(value) for value in policy.probabilities().detach().mean(0)]


def preference(policy: Policy, name: str) -> float:
    """How much more often one transformation is drawn than the mean of all others but :data:`HARMFUL` ones.

    Shares add up to 1: where one is discarded, all others are drawn more often, which is no preference for any.
    """
    shares = dict(zip(policy.names, shares_of(policy), strict=True))
    return shares[name] - float(np.mean([share for other, share in shares.items() if other not in (name, *HARMFUL)]))


def _chances(found: Mapping[str, Any]) -> list[Policy]:
    return [
        Policy(found["names"], torch.tensor(one["logits"]), torch.tensor(one["bounds"])).requires_grad_(False)
        for one in found["chance"]
    ]


def _history(found: Mapping[str, Any]) -> list[Policy]:
    return [
        Policy(found["names"], torch.tensor(logits), torch.tensor(bounds)).requires_grad_(False)
        for logits, bounds in zip(found["logits"], found["bounds"], strict=True)
    ]


def _cost(known: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    peaks = [float(one["peak"]) for one in known if "peak" in one]
    seconds = sum(float(one["seconds"]) for one in known) / len(known)
    return {"seconds": seconds, **({"peak": max(peaks)} if peaks else {})}
