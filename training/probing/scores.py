"""How well heads told what is true: sums over groups of photos, from which figures follow for any choice of groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from render.errors import InputError
from training.probing.photos import VOID, Task

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Int, UInt8

TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE = range(3)


@dataclass(frozen=True)
class Figure:
    """What a figure is.

    Attributes:
        title: As tables call it.
        factor: What it is multiplied with there.
        digits: After the point.
        higher: Whether more is better.
    """

    title: str
    factor: float
    digits: int
    higher: bool


FIGURES: dict[Task, dict[str, Figure]] = {
    "segmentation": {
        "miou": Figure("mIoU, percent", 100, 2, True),
        "macc": Figure("mAcc, percent", 100, 2, True),
        "aacc": Figure("aAcc, percent", 100, 2, True),
    },
    "depth": {
        "rmse": Figure("RMSE, metres", 1, 4, False),
        "absrel": Figure("AbsRel", 1, 4, False),
    },
    "classification": {"accuracy": Figure("accuracy, percent", 100, 2, True)},
}


@dataclass(frozen=True, eq=False)
class Scores:
    """Sums over the photos of each group, for every seed.

    Attributes:
        task: What was told.
        names: Of the classes; empty for depth.
        groups: Their names, in order.
        sums: Segmentation: pixels that were told rightly, told wrongly, and missed, by class ``[s, g, 3, k]``.
            Depth: the photos' RMSE and AbsRel summed, and their number ``[s, g, 3]``.
            Classification: photos told rightly, and all ``[s, g, 2]``.
    """

    task: Task
    names: tuple[str, ...]
    groups: tuple[str, ...]
    sums: Float[np.ndarray, "s g *k"]

    def figures(self, counts: Float[np.ndarray, "r g"] | None = None) -> dict[str, Float[np.ndarray, "r s"]]:
        """Figures when every group counts so often; None = once each, ``r = 1``.

        Segmentation, as mmsegmentation has it: mIoU, the mean over the classes that are true or told of some pixel, so
        that one which is only told has 0; mAcc, over the classes that the truth has; aAcc, of pixels.  Depth: RMSE in
        metres and AbsRel, means over the photos' (as DINOv2's evaluation does).  Classification: accuracy.
        """
        if counts is None:
            counts = np.ones((1, len(self.groups)))
        totals = np.einsum("rg,sgk->rsk", counts, self.sums.reshape(*self.sums.shape[:2], -1))
        totals = totals.reshape(*totals.shape[:2], *self.sums.shape[2:])
        with np.errstate(invalid="ignore", divide="ignore"):
            if self.task == "depth":
                return {"rmse": totals[..., 0] / totals[..., 2], "absrel": totals[..., 1] / totals[..., 2]}
            if self.task == "classification":
                return {"accuracy": totals[..., 0] / totals[..., 1]}
            found, wrong, missed = (totals[..., i, :] for i in (TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE))
            either, true = found + wrong + missed, found + missed
            return {
                "miou": np.mean(found / either, -1, where=either > 0),
                "macc": np.mean(found / true, -1, where=true > 0),
                "aacc": found.sum(-1) / true.sum(-1),
            }

    def of_group(self, group: str) -> dict[str, float]:
        """Figures of the photos of one group, means over the seeds."""
        counts = np.array([[float(name == group) for name in self.groups]])
        return {name: float(values.mean()) for name, values in self.figures(counts).items()}

    def class_ious(self) -> dict[str, float]:
        """IoU of every class that is true or told of some pixel; empty unless it is segmentation.

        Means over the seeds; of a class that the truth has not, over those that told it.
        """
        if self.task != "segmentation":
            return {}
        found, wrong, missed = self.sums.sum(1).transpose(1, 0, 2)
        either = found + wrong + missed
        there = np.flatnonzero(either.sum(0) > 0)
        values = np.mean(found[:, there] / np.maximum(either[:, there], 1), 0, where=either[:, there] > 0)
        return {self.names[index]: float(value) for index, value in zip(there, values, strict=True)}


class ScoreKeeper:
    """Adds up what was told of photos.

    Args:
        task: What is told.
        names: Of the classes.
        seeds: How many heads tell it.
    """

    def __init__(self, task: Task, names: Sequence[str], seeds: int) -> None:
        self.task: Task = task
        self.names, self.seeds = tuple(names), seeds
        self._sums: dict[str, np.ndarray] = {}

    def add_classes(self, group: str, seed: int, told: Int[np.ndarray, "h w"], truth: UInt8[np.ndarray, "h w"]) -> None:
        """The classes of the pixels of a photo; where the truth is 255 they do not count."""
        from torchmetrics.functional.classification import multiclass_stat_scores

        values = multiclass_stat_scores(
            torch.from_numpy(np.ascontiguousarray(told)).long().flatten(),
            torch.from_numpy(np.ascontiguousarray(truth)).long().flatten(),
            num_classes=len(self.names),
            average=None,
            ignore_index=VOID,
            validate_args=False,
        )
        self._add(group, seed, values[:, [0, 1, 3]].T.numpy())

    def add_depth(
        self, group: str, seed: int, told: Float32[np.ndarray, "h w"], truth: Float32[np.ndarray, "h w"]
    ) -> None:
        """The depth of the pixels of a photo; where the truth is 0 they do not count."""
        from torchmetrics.functional.regression import mean_absolute_percentage_error, mean_squared_error

        known = truth > 0
        if not known.any():
            self._add(group, seed, np.zeros(3))
            return
        a, b = (torch.from_numpy(np.ascontiguousarray(values[known], np.float32)) for values in (told, truth))
        rmse, absrel = mean_squared_error(a, b, squared=False), mean_absolute_percentage_error(a, b)
        self._add(group, seed, np.array([float(rmse), float(absrel), 1.0]))

    def add_label(self, group: str, seed: int, told: int, truth: int) -> None:
        """The class of a photo."""
        self._add(group, seed, np.array([float(told == truth), 1.0]))

    def scores(self) -> Scores:
        """All that was added.

        Raises:
            InputError: nothing counts.
        """
        groups = tuple(self._sums)
        sums = np.stack([self._sums[group] for group in groups], 1)
        if not sums.any():
            raise InputError("Nothing can be measured: the truth of the test photos is not known anywhere.")
        return Scores(self.task, self.names, groups, sums)

    def _add(self, group: str, seed: int, values: np.ndarray) -> None:
        if group not in self._sums:
            self._sums[group] = np.zeros((self.seeds, *values.shape))
        self._sums[group][seed] += values


def figures_of(scores: Scores) -> dict[str, list[float]]:
    """Figures of every seed as JSON values."""
    return {name: [float(value) for value in values[0]] for name, values in scores.figures().items()}


def as_json(scores: Scores) -> dict[str, Any]:
    """Figures of every seed, of every group, and of every class."""
    groups = {group: scores.of_group(group) for group in scores.groups}
    known = {group: values for group, values in groups.items() if all(np.isfinite(v) for v in values.values())}
    return {"figures": figures_of(scores), "groups": known, "iou": scores.class_ious()}
