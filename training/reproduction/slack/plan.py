"""What is searched for and trained, and at which size.

On one thread and in bf16 a WRN-10-1 takes 0.13 s for a step of 128 photos with their augmentation, and 1.7 s for one of
64 photos under 8 augmentations in which the policy is learned (a WRN-16-1 twice as long, a WRN-16-2 three times).  Of
5000 photos, in seconds:

====================  ====  =====  =====
what                  each  how    all
====================  ====  =====  =====
pretraining             50      3    150
search                 215     12   2580
evaluation             100     48   4800
beginning a job          6     63    380
====================  ====  =====  =====

Together 7900 s: 66 minutes of two cores.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from render.errors import InputError
from training.augmentation.defaults import NAMED
from training.augmentation.learning import LEARNING, LearningNumbers
from training.augmentation.search import SEARCH, SearchNumbers, Variant

NONE, UNIFORM = "none", "uniform"
TRIVIAL = tuple(NAMED)
GIVEN = (NONE, UNIFORM, *TRIVIAL)  # lines without a search
QUICK = 0.02  # of the steps
QUICK_PHOTOS = (120, 40)  # to learn from, to measure


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A reproduction.

    Attributes:
        network: Of searches and evaluations alike, as the text has it (table 3.4).
        variants: What is searched for.
        searches: Of every variant, each with a split of the training photos of its own.
        runs: Evaluations of every policy; lines without a search have as many as others in all.
        learning: Of an evaluation.
        pretraining: Of a search.
        numbers: Of SLACK's rounds.
        photos: To learn from and to measure at most; None = all.
    """

    network: str = "wrn-10-1"
    variants: tuple[Variant, ...] = ("slack", "no-kl", "pi", "mu")
    searches: int = 3
    runs: int = 2
    learning: LearningNumbers = LEARNING["small"]
    pretraining: LearningNumbers = LEARNING["small"]
    numbers: SearchNumbers = SEARCH["small"]
    photos: tuple[int, int] | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """Of the table."""
        return (*GIVEN, *self.variants)

    @property
    def evaluations(self) -> int:
        """Of every line."""
        return self.searches * self.runs

    def json(self) -> dict[str, Any]:
        """What figures depend on, whatever their number; JSON values."""
        left_out = ("variants", "searches", "runs")
        return {name: value for name, value in asdict(self).items() if name not in left_out}


def planned(*, searches: int = 3, runs: int = 2, effort: float = 1.0, quick: bool = False) -> Plan:
    """The plan of a reproduction.

    Args:
        searches: Of every variant.
        runs: Evaluations of every policy.
        effort: So many times the epochs of all trainings, and the steps of rounds.
        quick: A few steps on a few photos; ``effort`` counts beside it.

    Raises:
        InputError: a number is not above 0.
    """
    if searches < 1 or runs < 1 or not effort > 0:
        raise InputError(
            f"Expected searches and runs of 1 or more and an effort above 0, found {searches}, {runs} and {effort:g}."
        )
    plan = replace(Plan(), searches=searches, runs=runs)
    part = effort * (QUICK if quick else 1.0)
    numbers = plan.numbers
    plan = replace(
        plan,
        learning=replace(plan.learning, epochs=plan.learning.epochs * part),
        pretraining=replace(plan.pretraining, epochs=plan.pretraining.epochs * part),
        numbers=replace(
            numbers, retrain=round(numbers.retrain * part), unrolled=max(1, round(numbers.unrolled * part))
        ),
    )
    if not quick:
        return plan
    small = replace(plan.numbers, rounds=2, augmentations=2, batch=16)
    return replace(
        plan,
        photos=QUICK_PHOTOS,
        numbers=small,
        learning=replace(plan.learning, batch=16),
        pretraining=replace(plan.pretraining, batch=16),
    )
