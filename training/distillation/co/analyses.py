"""What a co-distillation says of its teachers: explained variance and how their losses move together (DUNE, 5.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from render.errors import InputError
from render.progress import Progress, silent
from training.distillation.co.task import CoDistillation

if TYPE_CHECKING:
    from jaxtyping import Float, Float64
    from torch import Tensor

MOST = 0.9  # of the variance, which so many components explain
FEWEST = 3  # changes of two losses that have a correlation


class Spread:
    """Covariance of rows that come in parts."""

    def __init__(self, dimension: int) -> None:
        self._count = 0
        self._sum = torch.zeros(dimension, dtype=torch.float64)
        self._products = torch.zeros(dimension, dimension, dtype=torch.float64)

    def add(self, rows: Float[Tensor, "... d"]) -> None:
        """Count more rows."""
        flat = rows.detach().flatten(0, -2).to("cpu", torch.float64)
        self._count += len(flat)
        self._sum += flat.sum(0)
        self._products += flat.T @ flat

    def explained(self) -> Float64[np.ndarray, " d"]:
        """Part of the variance that the first so many principal components explain; rises to 1."""
        mean = self._sum / max(self._count, 1)
        covariance = self._products / max(self._count, 1) - mean[:, None] * mean[None]
        values = torch.linalg.eigvalsh(covariance).flip(0).clamp_min(0)
        found: np.ndarray = (values.cumsum(0) / values.sum().clamp_min(1e-30)).numpy()
        return found


@dataclass(frozen=True, eq=False)
class Analyses:
    """What was found.

    Attributes:
        teachers: Their names.
        explained: For each teacher the cumulative explained variance of its standardized patches, and of what its
            projector makes of the student's (figure 4).
        correlations: Of the changes of two teachers' losses from step to step; NaN where there are too few; ``[t, t]``
            (figure 5).
    """

    teachers: Sequence[str]
    explained: Sequence[tuple[Float64[np.ndarray, " d"], Float64[np.ndarray, " d"]]]
    correlations: Float64[np.ndarray, "t t"]

    def as_json(self) -> dict[str, Any]:
        """All figures as JSON values, and how many components explain 90 % of each variance."""
        pairs = [(i, j) for i in range(len(self.teachers)) for j in range(i)]
        return {
            "explained_variance": {
                name: {
                    who: {"components_for_90_percent": components_for(curve), "cumulative": np.round(curve, 6).tolist()}
                    for who, curve in zip(("teacher", "projector"), curves, strict=True)
                }
                for name, curves in zip(self.teachers, self.explained, strict=True)
            },
            "loss_correlations": [
                {
                    "teachers": [self.teachers[j], self.teachers[i]],
                    "correlation": None if np.isnan(self.correlations[i, j]) else float(self.correlations[i, j]),
                }
                for i, j in pairs
            ],
        }


@torch.no_grad()
def analyse(task: CoDistillation, progress: Progress = silent) -> Analyses:
    """Analyse a training, on its photos for validation where features are compared.

    Args:
        task: When it is trained; with photos for validation.
        progress: Told after every photo.

    Raises:
        InputError: there are no photos for validation.
    """
    held = task.held
    if held is None:
        raise InputError("Analyses compare features on photos that are not trained on, found none; keep some back.")
    spreads = [(Spread(teacher.dimension), Spread(teacher.dimension)) for teacher in task.teachers]
    for done, one in enumerate(held.compared(task.student, task.statistics), 1):
        for pair, wanted, told in zip(spreads, one.wanted, one.told, strict=True):
            pair[0].add(wanted.patches)
            pair[1].add(told.patches)
        progress(done, len(held), "explained variance")
    return Analyses(
        [teacher.name for teacher in task.teachers],
        [(teacher.explained(), projector.explained()) for teacher, projector in spreads],
        loss_correlations(task.losses.double().cpu().numpy()),
    )


def loss_correlations(losses: Float64[np.ndarray, "n t"]) -> Float64[np.ndarray, "t t"]:
    """How much the losses of teachers change together from one step to the next (Pearson).

    Args:
        losses: Of every step; steps without a loss of both teachers count for nothing.
    """
    changes = np.diff(losses, axis=0)
    count = losses.shape[1]
    found = np.full((count, count), np.nan)
    for i in range(count):
        for j in range(count):
            known = np.isfinite(changes[:, i]) & np.isfinite(changes[:, j])
            a, b = changes[known, i], changes[known, j]
            if len(a) >= FEWEST and a.std() > 0 and b.std() > 0:
                found[i, j] = np.corrcoef(a, b)[0, 1]
    return found


def components_for(curve: Float64[np.ndarray, " d"], part: float = MOST) -> int:
    """How many principal components explain so much of the variance."""
    return int(np.searchsorted(curve, part - 1e-12)) + 1
