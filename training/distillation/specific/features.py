"""What frozen encoders say of photos that are not augmented, computed once for all seeds, grid points and rows."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeAlias

import torch
from torch import Tensor

from render.progress import Progress, silent
from training.distillation.specific.augmentation import plain_samples
from training.distillation.specific.models import TaskModel
from training.distillation.specific.samples import Sample, TaskPhotos

CHUNK = 32  # samples whose features are computed at once
WHAT = "features of the frozen encoder"
Described: TypeAlias = list[list[Sample]]
"""Of each photo the middle square, or its windows; features in half precision in the place of pixels."""


class FrozenFeatures:
    """Features in memory, within a bound: what was asked for first makes room for what is learned from later.

    Args:
        memory: Bytes.
        progress: Told of the photos.
    """

    def __init__(self, memory: int, progress: Progress = silent) -> None:
        self._memory, self._progress = memory, progress
        self._learned: dict[Hashable, tuple[Described, int]] = {}
        self._measured: dict[Hashable, Tensor] = {}
        self._too_large: set[Hashable] = set()

    def learned(self, model: TaskModel, photos: TaskPhotos, side: int) -> Described:
        """Features of the photos of a training; empty where they need more than the memory.

        Args:
            model: With a frozen encoder.
            photos: That it learns from.
            side: Of the squares or windows.
        """
        key = (model.reading(), photos.fingerprint, photos.goal, side)
        if key not in self._learned and key not in self._too_large:
            found, used = self._described(model, photos, side)
            if found:
                self._make_room(used)
                self._learned[key] = (found, used)
            else:
                self._too_large.add(key)
        return self._learned[key][0] if key in self._learned else []

    def measured(self, model: TaskModel, key: Hashable, pixels: Callable[[], Tensor]) -> Tensor:
        """Features of photos that are measured, kept if there is room.

        Args:
            model: Any; what is not frozen is not kept.
            key: Of the photos and of how they are seen.
            pixels: Makes them, ``[b, 3, h, w]``.
        """
        if not model.spec.frozen or not self._memory:
            return model.features(pixels())
        known = (model.reading(), key)
        if known in self._measured:
            return self._measured[known].to(next(model.parameters()).device)
        found = model.features(pixels())
        if self.used + _size(found) <= self._memory:
            self._measured[known] = found.cpu()
        return found

    @property
    def used(self) -> int:
        """Bytes of what is kept."""
        return sum(used for _, used in self._learned.values()) + sum(_size(one) for one in self._measured.values())

    def _make_room(self, needed: int) -> None:
        for kept in (self._measured, self._learned):
            while kept and self.used + needed > self._memory:
                kept.pop(next(iter(kept)))  # the oldest

    @torch.no_grad()
    def _described(self, model: TaskModel, photos: TaskPhotos, side: int) -> tuple[Described, int]:
        found: Described = []
        waiting: list[tuple[list[Sample], Sample]] = []
        used = 0

        def compute() -> None:
            nonlocal used
            pixels = torch.stack([sample.pixels for _, sample in waiting]).to(next(model.parameters()).device)
            features = model.features(pixels).half().cpu()
            for (of_photo, sample), feature in zip(waiting, features, strict=True):
                of_photo.append(sample._replace(pixels=feature.clone()))
                used += _size(feature)
            waiting.clear()

        for index in range(len(photos)):
            self._progress(index, len(photos), WHAT)
            image = photos.image(index)
            truth = photos.truth(index, (image.shape[1], image.shape[2]))
            found.append([])
            for sample in plain_samples(image, truth, photos.goal, side):
                waiting.append((found[-1], sample))
                if len(waiting) == CHUNK:
                    compute()
                    # The photos so far tell what all of them will need.
                    if used * len(photos) > self._memory * (index + 1):
                        return [], 0
        if waiting:
            compute()
        if used > self._memory:
            return [], 0
        self._progress(len(photos), len(photos), WHAT)
        return found, used


def _size(values: Tensor) -> int:
    return values.numel() * values.element_size()
