"""What was measured, and what it says: means, intervals, differences, claims, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from render.errors import InputError
from training.probing.comparison import Difference, Interval, compare, interval_over_seeds
from training.probing.photos import Task
from training.probing.scores import FIGURES, Scores, figures_of
from training.probing.statistics import fallen, joined, larger
from training.reproduction.fit3d.data import ROOMS, Measured
from training.reproduction.fit3d.places import WEAK, Places, measured, targets_made, tuned
from training.reproduction.fit3d.plan import Plan, Row, main_rows
from training.reproduction.packing import unpacked

if TYPE_CHECKING:
    from jaxtyping import Float

PAIRS = (("fine-tuned", "twice"), ("fine-tuned", "blurred"), ("blurred", "twice"), ("lifted", "twice"))
OVER_TWICE, OVER_BLURRED, FALL = 0.005, 0.003, 0.2  # of mIoU, and of the inconsistency: what is asked for


@dataclass(frozen=True, eq=False)
class RowFound:
    """A row that was measured.

    Attributes:
        row: Which.
        scores: Of every task, all seeds.
        inconsistency: Of what stands beside the original, for every seed and test room ``[s, g]``; None without rooms.
        assembled: The same of all features of the row.
    """

    row: Row
    scores: Mapping[Task, Scores]
    inconsistency: Float[np.ndarray, "s g"] | None = None
    assembled: Float[np.ndarray, "s g"] | None = None

    def figures(self) -> dict[str, Interval]:
        """Means and intervals over the seeds by figure: miou, aacc, rmse, ..., inconsistency."""
        found = {
            name: interval_over_seeds(values)
            for scores in self.scores.values()
            for name, values in figures_of(scores).items()
        }
        if self.inconsistency is not None and self.assembled is not None:
            found["inconsistency"] = interval_over_seeds(self.inconsistency.mean(1).tolist())
            found["inconsistency_assembled"] = interval_over_seeds(self.assembled.mean(1).tolist())
        return found

    def larger_than(self, other: RowFound) -> dict[str, Difference]:
        """How much larger each figure is than another row's."""
        found = {
            name: compare(scores, other.scores[task], name)
            for task, scores in self.scores.items()
            if task in other.scores
            for name in FIGURES[task]
        }
        if self.inconsistency is not None and other.inconsistency is not None:
            found["inconsistency"] = larger(self.inconsistency, other.inconsistency)
        if self.assembled is not None and other.assembled is not None:
            found["inconsistency_assembled"] = larger(self.assembled, other.assembled)
        return found

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        seeds = {name: values for scores in self.scores.values() for name, values in figures_of(scores).items()}
        if self.inconsistency is not None:
            seeds["inconsistency"] = self.inconsistency.mean(1).tolist()
        if self.assembled is not None:
            seeds["inconsistency_assembled"] = self.assembled.mean(1).tolist()
        figures = {name: interval.json() for name, interval in self.figures().items()}
        return {"title": self.row.title, "figures": figures, "seeds": seeds}


@dataclass(frozen=True)
class Claim:
    """What was asked for, and what was found.

    Other rooms and other seeds would both give another mean, so the intervals over either must lie above zero.  How
    often a gap of zero is called larger than zero then stays between 2 and 5 %, whichever of both differ more
    (simulated with normal gaps, 3 seeds and 20 rooms).  An interval over the rooms alone goes towards one half the more
    the seeds differ, and a single bootstrap that draws seeds and rooms towards 1/8, how often all three seeds lie on
    one side by chance.

    Attributes:
        text: The claim.
        asked: The least that the mean must be.
        found: Mean and intervals over rooms and over seeds.
    """

    text: str
    asked: float
    found: Difference

    @property
    def met(self) -> bool:
        """Whether the mean is as large, and both intervals lie above zero; of a single seed nothing is known."""
        lows = [self.found.over_groups.low, self.found.over_seeds.low]
        return self.found.over_groups.mean >= self.asked and all(low is not None and low > 0 for low in lows)

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"claim": self.text, "asked": self.asked, "found": self.found.json(), "met": self.met}


@dataclass(frozen=True, eq=False)
class Found:
    """All that was measured.

    Attributes:
        plan: The sizes.
        seeds: Of fine-tunings and heads.
        tables: Rows of every encoder and data: the main table of rooms, and other data.
        ablations: Rows of every further table, by its title.
        costs: ``seconds`` and bytes at the ``peak`` by stage; no peak where stages shared a process.
    """

    plan: Plan
    seeds: tuple[int, ...]
    tables: Mapping[tuple[str, str], Sequence[RowFound]]
    ablations: Mapping[str, Sequence[RowFound]] = field(default_factory=dict)
    costs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def differences(self, encoder: str, data: str) -> dict[tuple[str, str], dict[str, Difference]]:
        """How much larger figures of one row are than those of another."""
        rows = {found.row.name: found for found in self.tables[encoder, data]}
        return {(a, b): rows[a].larger_than(rows[b]) for a, b in PAIRS if a in rows and b in rows}

    def further_differences(self) -> dict[str, dict[str, Difference]]:
        """The same between rows of further tables and of the first encoder's main table, by what is asked."""
        from training.reproduction.fit3d.ablations import COMPARED

        if not self.ablations:
            return {}
        encoder = next(iter(self.tables))[0]
        rows = {found.row.name: found for found in self.tables[encoder, ROOMS]}
        rows |= {found.row.name: found for table in self.ablations.values() for found in table}
        return {asked: rows[a].larger_than(rows[b]) for (a, b), asked in COMPARED.items() if a in rows and b in rows}

    def claims(self, encoder: str) -> list[Claim]:
        """The paper's claims at this scale, of an encoder on rooms."""
        rows = {found.row.name: found for found in self.tables[encoder, ROOMS]}
        gaps = self.differences(encoder, ROOMS)
        over_twice, over_blurred = gaps["fine-tuned", "twice"]["miou"], gaps["fine-tuned", "blurred"]["miou"]
        now, before = rows["fine-tuned"].inconsistency, rows["original"].inconsistency
        if now is None or before is None:
            raise InputError("Rows of rooms have an inconsistency, found none; delete the folder figures.")
        return [
            Claim("mIoU: original + fine-tuned over original twice", OVER_TWICE, over_twice),
            Claim("mIoU: original + fine-tuned over the control with blurred targets", OVER_BLURRED, over_blurred),
            Claim(
                "multi-view inconsistency: fine-tuned features alone below the original's", FALL, fallen(now, before)
            ),
        ]

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        encoders: dict[str, Any] = {}
        for (encoder, data), rows in self.tables.items():
            gaps = {
                f"{a} - {b}": {name: gap.json() for name, gap in gap_of.items()}
                for (a, b), gap_of in self.differences(encoder, data).items()
            }
            entry: dict[str, Any] = {"rows": {found.row.name: found.json() for found in rows}, "differences": gaps}
            if data == ROOMS:
                entry["claims"] = [claim.json() for claim in self.claims(encoder)]
            encoders.setdefault(encoder, {})[data] = entry
        return {
            "plan": {**asdict(self.plan), "precision": self.plan.precision},
            "seeds": list(self.seeds),
            "encoders": encoders,
            "ablations": {title: [found.json() for found in rows] for title, rows in self.ablations.items()},
            "ablations_differences": {
                asked: {name: gap.json() for name, gap in gaps.items()}
                for asked, gaps in self.further_differences().items()
            },
            "costs": {stage: dict(cost) for stage, cost in self.costs.items()},
        }


def gather(
    places: Places,
    encoders: Sequence[str],
    data: Sequence[Measured],
    seeds: Sequence[int],
    ablations: Mapping[str, Sequence[Row]] | None = None,
) -> Found:
    """Read all figures.

    Args:
        places: Of the reproduction.
        encoders: That were measured.
        data: That they were measured on, the rooms first.
        seeds: Of fine-tunings and heads.
        ablations: Rows of further tables, measured with the first encoder on rooms.

    Raises:
        InputError: figures are missing, damaged, or were made with other settings.
    """
    tables = {
        (encoder, of.name): [
            read_row(places, encoder, of, row, seeds) for row in main_rows(places.plan) if is_measured(row, of)
        ]
        for encoder in encoders
        for of in data
    }
    further = {
        title: [read_row(places, encoders[0], Measured(ROOMS), row, seeds) for row in rows]
        for title, rows in (ablations or {}).items()
    }
    return Found(places.plan, tuple(seeds), tables, further, _costs(places, encoders, seeds, further))


def is_measured(row: Row, of: Measured) -> bool:
    """Whether a row can be had: only rooms have Gaussians to lift features onto."""
    return of.name == ROOMS or row.kind != "lifted"


def read_row(places: Places, encoder: str, of: Measured, row: Row, seeds: Sequence[int]) -> RowFound:
    """A row of all seeds.

    Raises:
        InputError: it is not measured yet, or damaged.
    """
    store = places.store(row.tuning, of.digest)
    parts = [store.get(measured(encoder, of.name, row, seed)) for seed in seeds]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or not known:
        raise InputError(f"{row.title} of {encoder} is not measured for all seeds yet; give the command again.")
    tasks: list[Task] = [task for task in row.tasks if task in known[0]["scores"]]
    scores = {task: joined([unpacked(task, part["scores"][task]) for part in known]) for task in tasks}
    views = [_per_room([part["inconsistency"] for part in known], which) for which in ("own", "assembled")]
    return RowFound(row, scores, *views)


def _per_room(parts: Sequence[Mapping[str, Mapping[str, float]]], which: str) -> Float[np.ndarray, "s g"] | None:
    if not all(which in part for part in parts):
        return None
    return np.array([[part[which][room] for room in parts[0][which]] for part in parts], float)


def _costs(
    places: Places, encoders: Sequence[str], seeds: Sequence[int], ablations: Mapping[str, Sequence[RowFound]]
) -> dict[str, dict[str, float]]:
    """Seconds and peak memory of the stages, see :class:`Found`."""
    from training.reproduction.fit3d.ablations import DIMENSIONS, learning_costs

    store = places.store()
    costs: dict[str, dict[str, float]] = {}
    made = [figures for figures in [store.get("costs/rooms")] if figures is not None and figures["scenes"]]
    if made:
        costs["making a room and its Gaussians"] = _per(made, "scenes", 1)
    folders = sorted((store.folder / "costs").glob("transports-*"))
    found = [store.get(f"costs/{folder.name}") for folder in folders]
    carried = [figures for figures in found if figures is not None and figures["scenes"]]
    if carried:
        costs["lifting: the matrix of a room, for any features"] = _per(carried, "scenes", 1)
    weak = store.get(f"encoders/{WEAK}")
    if weak is not None:
        costs["pretraining the weak encoder, 1000 steps"] = _per([weak], "steps", 1000)
    for encoder in encoders:
        tunings = [row.tuning for row in main_rows(places.plan) if row.name == "fine-tuned" and row.tuning is not None]
        of = [places.store(tuning).get(tuned(encoder, tuning, seed)) for tuning in tunings for seed in seeds]
        known = [figures for figures in of if figures is not None]
        targets = [places.store(tuning).get(targets_made(encoder, tuning)) for tuning in tunings]
        prepared = [figures for figures in targets if figures is not None]
        if prepared:
            costs[f"targets of a room: {encoder}"] = _per(prepared, "scenes", 1)
        if known:
            costs[f"stage II, 1000 steps and the targets of later epochs: {encoder}"] = _per(known, "steps", 1000)
    for dimension in DIMENSIONS if ablations else ():
        learned = learning_costs(places, dimension)
        if learned:
            per_scene = [{**cost, "scenes": 1} for cost in learned]
            costs[f"stage I: ns-train fit3d of a room, {dimension} channels"] = _per(per_scene, "scenes", 1)
    return costs


def _per(parts: Sequence[Mapping[str, Any]], unit: str, count: int) -> dict[str, float]:
    """Seconds of so many units of several jobs, and the largest ``peak`` of memory where it is known."""
    units = sum(float(part[unit]) for part in parts)
    peaks = [float(part["peak"]) for part in parts if part["peak"] is not None]
    seconds = count * sum(float(part["seconds"]) for part in parts) / units
    return {"seconds": seconds, "peak": max(peaks)} if peaks else {"seconds": seconds}
