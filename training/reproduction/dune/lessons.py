"""What distillations show beside their students: how compact features are, and how losses move (DUNE, figures 4, 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal, TypeAlias

from render.errors import InputError
from training.probing.comparison import Interval, interval_over_seeds
from training.reproduction.dune.plan import AGNOSTIC, FULL, LANGUAGE, SPECIALIST, Row

Pair: TypeAlias = tuple[str, str]
TrendVerdict: TypeAlias = Literal["holds", "the opposite", "not told"]
RANKING = (AGNOSTIC, LANGUAGE, SPECIALIST)
"""From the teacher that should need most components to the one that should need fewest: the versatile one, and the one
of a single task (section 5.3)."""
ALIGNED = {
    "Transformer projectors align losses more than ladders (figure 5)": ("ladder-full",),
    "Full sharing aligns losses more than none or generic (figure 5)": ("transformer-none", "transformer-generic"),
}
"""Whose losses should move together less than those of the paper's student, by claim."""
COMPACT = "Projectors need fewer components than their teachers (figure 4)"
RANKED = f"{AGNOSTIC} needs most components, {SPECIALIST} fewest (figure 4)"


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a student's distillation showed, all seeds.

    Attributes:
        row: Which student.
        cosines: Between what its projectors and each teacher say of patches of photos that it did not see.
        components: Principal components for 90 % of the variance of what each teacher says, and of what its projector
            does (figure 4): the teacher's and the projector's, of every seed.
        correlations: Of the updates of two teachers' losses, by both names (figure 5), of every seed; None where there
            is none.
        explained: Cumulative explained variance of the first seed, as many values as channels: the teacher's and the
            projector's.
    """

    row: Row
    cosines: Mapping[str, Interval]
    components: Mapping[str, tuple[list[float], list[float]]]
    correlations: Mapping[Pair, list[float | None]]
    explained: Mapping[str, tuple[list[float], list[float]]]

    @property
    def needed(self) -> dict[str, tuple[Interval, Interval]]:
        """Components of each teacher and of its projector, over the seeds."""
        return {
            name: (interval_over_seeds(teacher), interval_over_seeds(projector))
            for name, (teacher, projector) in self.components.items()
        }

    @property
    def aligned(self) -> dict[Pair, Interval]:
        """Correlations over the seeds that have one."""
        known = {pair: [value for value in values if value is not None] for pair, values in self.correlations.items()}
        return {pair: interval_over_seeds(values) for pair, values in known.items() if values}

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "cosines": {name: one.json() for name, one in self.cosines.items()},
            "components_for_90_percent": {
                name: {
                    who: {**one.json(), "seeds": seeds}
                    for who, one, seeds in zip(("teacher", "projector"), self.needed[name], both, strict=True)
                }
                for name, both in self.components.items()
            },
            "loss_correlations": {
                " / ".join(pair): {**one.json(), "seeds": self.correlations[pair]} for pair, one in self.aligned.items()
            },
            "explained_variance": {
                name: {"teacher": teacher, "projector": projector}
                for name, (teacher, projector) in self.explained.items()
            },
        }


@dataclass(frozen=True)
class Trend:
    """A claim about distillations: of two figures of each seed the first is the larger one.

    There are no groups of photos here, so that the seeds alone decide.

    Attributes:
        claim: What the paper says.
        of: Of whom.
        unit: components or correlation.
        more: By how much the first is larger, over the seeds.
    """

    claim: str
    of: str
    unit: Literal["components", "correlation"]
    more: Interval

    @property
    def verdict(self) -> TrendVerdict:
        """Whether the interval lies on one side of zero; of a single seed nothing is known."""
        if self.more.low is not None and self.more.low > 0:
            return "holds"
        if self.more.high is not None and self.more.high < 0:
            return "the opposite"
        return "not told"

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "verdict": self.verdict}


def trends_of(lessons: Sequence[Lesson]) -> list[Trend]:
    """What distillations say of the claims of figures 4 and 5: of the paper's student, and beside it of the others."""
    known = {lesson.row.name: lesson for lesson in lessons}
    full = known.get(FULL.name)
    if full is None:
        return []
    found = []
    for name, (teacher, projector) in full.components.items():
        found.append(Trend(COMPACT, name, "components", _more(teacher, projector)))
    for who, place in (("", 0), ("projectors of ", 1)):
        for one, other in combinations([name for name in RANKING if name in full.components], 2):
            gap = _more(full.components[one][place], full.components[other][place])
            found.append(Trend(RANKED, f"{who}{one} and {other}", "components", gap))
    for claim, names in ALIGNED.items():
        for beside in (known[name] for name in names if name in known):
            for pair, values in full.correlations.items():
                both = zip(values, beside.correlations.get(pair, []), strict=False)
                paired = [(a, b) for a, b in both if a is not None and b is not None]
                if paired:
                    of = f"{' and '.join(pair)}, against {beside.row.title}"
                    found.append(Trend(claim, of, "correlation", _more(*map(list, zip(*paired, strict=True)))))
    return found


def lesson_of(row: Row, parts: Sequence[Mapping[str, Any]]) -> Lesson:
    """What the distillations of a student showed.

    Args:
        row: Which student.
        parts: What was kept of each seed, see :func:`distil`.

    Raises:
        InputError: it is damaged.
    """
    try:
        explained = [part["analyses"]["explained_variance"] for part in parts]
        correlations: dict[Pair, list[float | None]] = {}
        for part in parts:
            for one in part["analyses"]["loss_correlations"]:
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
            correlations,
            {
                name: (explained[0][name]["teacher"]["cumulative"], explained[0][name]["projector"]["cumulative"])
                for name in row.teachers
            },
        )
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f"Figures of {row.title} are damaged ({error}); delete the folder figures.") from error


def _components(parts: Sequence[Mapping[str, Any]], teacher: str, who: str) -> list[float]:
    return [float(part[teacher][who]["components_for_90_percent"]) for part in parts]


def _more(one: Sequence[float], other: Sequence[float]) -> Interval:
    return interval_over_seeds([a - b for a, b in zip(one, other, strict=True)])
