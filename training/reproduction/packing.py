"""Scores of single seeds as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from render.errors import InputError
from training.probing.photos import Task
from training.probing.scores import Scores

SCALE = 1e9  # of sums that are no whole numbers: digits that are kept


def packed(scores: Scores, place: int) -> dict[str, Any]:
    """The sums of one seed as JSON values; pixels are whole numbers."""
    sums = scores.sums[place]
    values = sums.astype(int) if scores.task == "segmentation" else np.round(sums * SCALE) / SCALE
    return {"names": list(scores.names), "groups": list(scores.groups), "sums": values.tolist()}


def unpacked(task: Task, figures: Mapping[str, Any]) -> Scores:
    """Scores of one seed, as they were measured.

    Raises:
        InputError: they are damaged.
    """
    try:
        sums = np.array(figures["sums"], float)[None]
        return Scores(task, tuple(figures["names"]), tuple(figures["groups"]), sums)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"Figures of {task} are damaged ({error}); delete the folder figures.") from error
