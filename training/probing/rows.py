"""Patches of many photos, as a linear head learns from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from render.errors import InputError
from render.progress import Progress, silent
from training.probing.photos import ProbePhoto
from training.probing.sources import FeatureSource

if TYPE_CHECKING:
    from jaxtyping import Float16, Int32, Shaped

HALF_BYTES = 2
Targets = Callable[[ProbePhoto, tuple[int, int]], tuple[np.ndarray, np.ndarray]]
"""From a photo and its grid to one target for each patch, and which of them are known."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Patches that are learned from, in memory.

    Attributes:
        patches: ``[m, c]`` fp16.
        photo: The photo of each, an index; ``[m]``.
        whole: Features of the whole photos; ``[n, k]`` fp16.
        targets: ``[m, ...]``.
    """

    patches: Float16[Tensor, "m c"]
    photo: Int32[Tensor, " m"]
    whole: Float16[Tensor, "n k"]
    targets: Shaped[Tensor, "m *t"]


def gather_rows(
    photos: Sequence[ProbePhoto],
    source: FeatureSource,
    targets: Targets,
    *,
    memory: int,
    whole: bool,
    progress: Progress = silent,
) -> Rows:
    """Read features and targets of photos, one after the other.

    Args:
        photos: What is learned from.
        source: Of the features.
        targets: What is true of the patches.
        memory: Bytes of features at most: of more, every photo gives equally many random patches.
        whole: Whether features of whole photos are asked for.
        progress: Told of every photo.

    Raises:
        InputError: no patch is known.
    """
    random = np.random.default_rng(0)
    stores: list[_Growing] = []
    wholes, indices = [], []
    for index, photo in enumerate(photos):
        progress(index, len(photos), f"features of {source.name}")
        described = source.describe(photo, whole=whole)
        gh, gw, channels = described.patches.shape
        truth, known = targets(photo, (gh, gw))
        chosen = np.flatnonzero(known)
        most = max(1, memory // (HALF_BYTES * channels * len(photos)))
        if len(chosen) > most:
            chosen = np.sort(random.choice(chosen, most, replace=False))
        parts = (described.patches.reshape(-1, channels)[chosen].half(), torch.from_numpy(truth[chosen]))
        stores = stores or [_Growing(part, min(gh * gw, most) * len(photos)) for part in parts]
        for store, part in zip(stores, parts, strict=True):
            store.add(part)
        wholes.append(described.whole.half())
        indices.append(torch.full((len(chosen),), index, dtype=torch.int32))
    progress(len(photos), len(photos), f"features of {source.name}")
    patches, truths = (store.all() for store in stores)
    if len(patches) == 0:
        raise InputError("A probe needs patches whose truth is known, found none.")
    return Rows(patches, torch.cat(indices), torch.stack(wholes), truths)


class _Growing:
    """A tensor that grows along its first axis; memory that was never written to costs nothing."""

    def __init__(self, like: Tensor, capacity: int) -> None:
        self._values = torch.empty((max(capacity, 1), *like.shape[1:]), dtype=like.dtype)
        self._count = 0

    def add(self, part: Tensor) -> None:
        end = self._count + len(part)
        if end > len(self._values):
            larger = torch.empty((max(end, len(self._values) * 3 // 2), *part.shape[1:]), dtype=part.dtype)
            larger[: self._count] = self._values[: self._count]
            self._values = larger
        self._values[self._count : end] = part
        self._count = end

    def all(self) -> Tensor:
        return self._values[: self._count]
