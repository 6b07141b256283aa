"""As many photos of each class: of few photos a random choice would make some classes rare."""

from __future__ import annotations

from collections.abc import Sequence

from render.errors import InputError
from render.spacing import evenly
from training.distillation.specific.splitting import split_by_group
from training.probing.photos import ProbePhoto


def of_each_class(photos: Sequence[ProbePhoto], most: int | None) -> list[ProbePhoto]:
    """So many photos at most, as many of each class, evenly spaced within it; None = all of them.

    Args:
        photos: With a class each.
        most: Of all classes together, at least one of each; what does not divide by their number is left out.

    Raises:
        InputError: there are more classes than photos are asked for.
    """
    if most is None or most >= len(photos):
        return list(photos)
    classes = _by_class(photos)
    if most < len(classes):
        raise InputError(f"Expected a photo of each of {len(classes)} classes at least, found {most} asked for.")
    return [photo for label in sorted(classes) for photo in evenly(classes[label], most // len(classes))]


def split_each_class(
    photos: Sequence[ProbePhoto], share: float, *, seed: int
) -> tuple[list[ProbePhoto], list[ProbePhoto]]:
    """Photos to learn from, and others to judge by: the same share of each class, and whole groups.

    Args:
        photos: With a class each.
        share: Of each class that is kept back.
        seed: Of the choice.

    Raises:
        InputError: a class has a single group.
    """
    classes = _by_class(photos)
    parts = [split_by_group(classes[label], share, seed=seed + place) for place, label in enumerate(sorted(classes))]
    return [photo for own, _ in parts for photo in own], [photo for _, held in parts for photo in held]


def _by_class(photos: Sequence[ProbePhoto]) -> dict[int, list[ProbePhoto]]:
    classes: dict[int, list[ProbePhoto]] = {}
    for photo in photos:
        if photo.label is None:
            raise InputError(f"{photo.name} has no label; choose other data for classification.")
        classes.setdefault(photo.label, []).append(photo)
    return classes
