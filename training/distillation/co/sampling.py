"""Which photos a step of a co-distillation sees, and who teaches them (DUNE, section 4.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from render.errors import InputError
from render.spacing import evenly
from training.distillation.co.losses import scale_of
from training.distillation.co.photos import GENERIC, Photos
from training.distillation.co.settings import SHARINGS, Sharing
from training.loop import draws_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from numpy.random import Generator


class Item(NamedTuple):
    """One photo of a batch.

    Attributes:
        photo: Its number among all.
        seed: Of crop, mirroring, colours and dropping.
        scale: Of its coefficients, the same for a whole batch.
    """

    photo: int
    seed: int
    scale: float


def allowed(owners: Sequence[str], teachers: Sequence[str], sharing: Sharing) -> Bool[np.ndarray, "s t"]:
    """Which sources teach in whose name (DUNE, section 4.3).

    A teacher without photos of its own is task-agnostic, and generic ones are its own.

    Args:
        owners: Of the sources.
        teachers: Their names.
        sharing: What projectors learn from beside their own.

    Raises:
        InputError: no such sharing, a teacher gets no photos, or nobody gets those of a source.
    """
    if sharing not in SHARINGS:
        raise InputError(f"Photos are shared {', '.join(SHARINGS)}; found {sharing!r}.")
    of = np.array([[owner == name for name in teachers] for owner in owners])
    generic = np.array([owner == GENERIC for owner in owners])[:, None]
    own = of | (generic & ~of.any(0))
    result = np.asarray({"none": own, "generic": own | generic, "full": np.ones_like(own)}[sharing])
    for name, some in zip(teachers, result.T, strict=True):
        if not some.any():
            raise InputError(
                f"{name} gets no photos when they are shared {sharing}: give {name}=FOLDER or {GENERIC}=FOLDER."
            )
    for owner, some in zip(owners, result, strict=True):
        if not some.any():
            raise InputError(
                f"No teacher gets the {owner} photos when they are shared {sharing}, for each has its own: leave them "
                "out, or share them."
            )
    return result


class Sampler:
    """Draws batches that are balanced over owners: the owner of a photo first, then its folder, then the photo.

    Generic photos are one owner's, however many teachers they stand for; so each specialist's projector gets as many
    photos as the generic ones are, whatever folders they are spread over.

    Attributes:
        photos: To draw from.
        allowed: Which sources teach in whose name; ``[s, t]``.
        batch_size: Photos of a step.
    """

    def __init__(
        self, photos: Photos, teachers: Sequence[str], *, sharing: Sharing = "full", batch: int, drop: float
    ) -> None:
        """Set up.

        Args:
            photos: To draw from.
            teachers: Their names.
            sharing: What projectors learn from beside their own.
            batch: Photos of a step.
            drop: How often a teacher that is not the worst is dropped.

        Raises:
            InputError: as :func:`allowed`.
        """
        owners = [source.owner for source in photos.sources]
        self.photos, self.allowed = photos, allowed(owners, teachers, sharing)
        self.batch_size, self._drop = batch, drop
        self._folders = [np.array(places) for places in _folders(photos)]

    def batch(self, random: Generator) -> list[Item]:
        """The photos of a step, their seeds and their scale."""
        photos = self._photos(random)
        seeds = random.integers(2**31, size=self.batch_size).tolist()
        scale = scale_of(self.may(photos), seeds, self._drop)
        return [Item(photo, seed, scale) for photo, seed in zip(photos.tolist(), seeds, strict=True)]

    def may(self, photos: Int[np.ndarray, " b"] | Sequence[int]) -> Bool[np.ndarray, "b t"]:
        """Which teachers each photo may listen to."""
        found: np.ndarray = self.allowed[[self.photos.source_of(int(photo)) for photo in photos]]
        return found

    def upcoming(self, seed: int, steps: Iterable[int]) -> list[int]:
        """The photos that steps of a training draw, each once, in order."""
        needed = np.zeros(len(self.photos), bool)
        for step in steps:
            needed[self._photos(draws_of(seed, step)[0])] = True
        return np.flatnonzero(needed).tolist()

    def evenly(self, most: int) -> list[int]:
        """About so many photos, one of every source at least: evenly over owners, folders, and within each."""
        return evenly_over_owners(self.photos, most)

    def _photos(self, random: Generator) -> Int[np.ndarray, " b"]:
        """The first draws of a batch, which its photos depend on alone."""
        owners = random.integers(len(self._folders), size=self.batch_size)
        folder, within = random.random((2, self.batch_size))
        starts = np.asarray(self.photos.starts)
        sources = np.array([_at(self._folders[owner], part) for owner, part in zip(owners, folder, strict=True)])
        counts = np.diff(starts)[sources]
        return starts[sources] + np.minimum((within * counts).astype(int), counts - 1)


def evenly_over_owners(photos: Photos, most: int, among: Sequence[int] | None = None) -> list[int]:
    """About so many photos, one of every source at least: evenly over owners, folders, and within each.

    Args:
        photos: To choose from.
        most: How many; fewer where an owner or a folder has less than its part.
        among: Numbers of the photos that may be chosen, in order; None = all.
    """
    of: list[list[int]] = [[] for _ in photos.sources]
    for photo in range(len(photos)) if among is None else among:
        of[photos.source_of(photo)].append(photo)
    owners = _folders(photos)
    each = {place: max(1, most // len(owners) // len(some)) for some in owners for place in some}
    return [photo for place, known in enumerate(of) for photo in evenly(known, each[place])]


def _folders(photos: Photos) -> list[list[int]]:
    """The sources of every owner."""
    owners = [source.owner for source in photos.sources]
    return [[place for place, one in enumerate(owners) if one == owner] for owner in dict.fromkeys(owners)]


def _at(items: Int[np.ndarray, " n"], part: float) -> int:
    """The item at a part of them, from 0 to below 1."""
    return int(items[min(int(part * len(items)), len(items) - 1)])
