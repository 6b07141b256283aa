"""Photos that are kept back from the training to choose its numbers by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from render.errors import InputError
from training.probing.photos import ProbePhoto

SHARE = 0.1  # of the training photos, where a data set has no validation split (section 4.4.1)


def split_by_group(
    photos: Sequence[ProbePhoto], share: float = SHARE, *, seed: int = 0
) -> tuple[list[ProbePhoto], list[ProbePhoto]]:
    """Photos to learn from, and others to validate on: whole groups, so that no photo has a twin on the other side.

    Groups are drawn at random until they hold that share of the photos.

    Args:
        photos: Of the training.
        share: Of the photos that is kept back, above 0 and below 1.
        seed: Of the choice.

    Raises:
        InputError: there is one group alone.
    """
    sizes: dict[str, int] = {}
    for photo in photos:
        sizes[photo.group] = sizes.get(photo.group, 0) + 1
    if len(sizes) < 2:
        raise InputError(
            f"A validation split keeps whole groups of photos back, expected two at least, found {len(sizes)}; give "
            "more data."
        )
    names = list(sizes)
    kept: set[str] = set()
    count = 0
    for index in np.random.default_rng(seed).permutation(len(names))[:-1]:
        if count >= share * len(photos):
            break
        kept.add(names[index])
        count += sizes[names[index]]
    return [p for p in photos if p.group not in kept], [p for p in photos if p.group in kept]
