"""What is searched for and trained, and at which size.

Networks learn from 1000 photos, 100 of each class, which they see a hundred times, so that they may learn them by heart
without augmentation; the table says how much of them each line has learned.  A network that has not seen its photos
often, or that is too small for them, loses by any augmentation, and nothing could be asked of policies then.

On one thread and in bf16 a WRN-10-1 takes 0.065 s for a step of 64 photos with their augmentation (0.085 s where other
work fills the caches), 0.14 s for one of 128, and 0.9 s for one of 32 photos under 8 augmentations in which the policy
is learned (a WRN-16-1 twice as long, a WRN-16-2 three times).  In seconds, undisturbed and beside other work:

====================  ==========  ===  ============
what                  each        how  all
====================  ==========  ===  ============
pretraining              52 - 70    5     260 - 350
the policies' speed      25 - 30    1       25 - 30
search                 165 - 172   20   3300 - 3440
evaluation             103 - 136   40   4120 - 5440
beginning a job                5   66           330
====================  ==========  ===  ============

A search is 4 rounds of 54 steps of re-training and 36 in which the policy is learned, and the chance policies at its
end.  Together 8040 to 9600 s: 67 to 80 minutes of two cores (measured: 148 minutes of processor time).

What can be told of five searches: with 2000 photos to measure, lines that differ by 1 to 3 points or more; of policies,
that two transformations are discarded whose augmentations have an alignment lower by a fifth of the size of alignments.
The text's differences between learned policies, 0.0 to 0.4 points on CIFAR-10, cannot be told here; that they are not
much larger can.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from render.errors import InputError
from training.augmentation.learning import LEARNING, LearningNumbers
from training.augmentation.search import SEARCH, SearchNumbers, Variant

NONE, UNIFORM, TRIVIAL = "none", "uniform", "trivial-wide-cifar"
GIVEN = (NONE, UNIFORM, TRIVIAL)  # lines without a search; of TrivialAugment table 3.1 has the wide one
SLACK: Variant = "slack"
CHANCE = "chance"  # a policy as far from the uniform one as a search of SLACK leads by mere chance, of every search one
SPEED = 0.11  # of policies: chance alone then leaves shares of 5.9 % at 5.9 +- 1.4 %, what is known halves them
OFTEN = replace(LEARNING["small"], epochs=100)
QUICK = 0.02  # of the steps
QUICK_PHOTOS = (120, 40)  # to learn from, to measure


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A reproduction.

    Attributes:
        network: Of searches and evaluations alike, as the text has it (table 3.4).
        variants: What is searched for.
        searches: Of every variant, each with a split of the training photos of its own; what is compared are means of
            a search.
        runs: Evaluations of every policy; lines without a search have as many for each search.
        learning: Of an evaluation.
        pretraining: Of a search.
        numbers: Of SLACK's rounds; the upper rate follows from ``speed``.
        speed: Of the policy, see :meth:`SearchNumbers.at_speed`.
        photos: To learn from and to measure at most, as many of each class; None = all.
    """

    network: str = "wrn-10-1"
    variants: tuple[Variant, ...] = (SLACK, "no-kl", "pi", "mu")
    searches: int = 5
    runs: int = 1
    learning: LearningNumbers = OFTEN
    pretraining: LearningNumbers = OFTEN
    numbers: SearchNumbers = SEARCH["small"]
    speed: float = SPEED
    photos: tuple[int | None, int | None] = (1000, None)

    @property
    def lines(self) -> tuple[str, ...]:
        """Of the table."""
        return (*GIVEN, *((CHANCE,) if SLACK in self.variants else ()), *self.variants)

    @property
    def evaluations(self) -> int:
        """Of every line."""
        return self.searches * self.runs

    def json(self) -> dict[str, Any]:
        """What figures depend on, whatever their number; JSON values."""
        left_out = ("variants", "searches", "runs")
        return {name: value for name, value in asdict(self).items() if name not in left_out}


def planned(*, searches: int = 5, runs: int = 1, effort: float = 1.0, quick: bool = False) -> Plan:
    """The plan of a reproduction.

    Args:
        searches: Of every variant.
        runs: Evaluations of every policy.
        effort: So many times the epochs of all trainings and the rounds of searches; the steps of a round, which its
            rates and its anchor are made for, stay.
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
    plan = replace(
        plan,
        learning=replace(plan.learning, epochs=plan.learning.epochs * part),
        pretraining=replace(plan.pretraining, epochs=plan.pretraining.epochs * part),
        numbers=replace(plan.numbers, rounds=max(1, round(plan.numbers.rounds * effort))),
    )
    if not quick:
        return plan
    return replace(
        plan,
        photos=QUICK_PHOTOS,
        numbers=replace(plan.numbers, rounds=2, retrain=1, unrolled=2, augmentations=2, batch=16),
        learning=replace(plan.learning, batch=16),
        pretraining=replace(plan.pretraining, batch=16),
    )
