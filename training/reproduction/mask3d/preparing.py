"""What comes before any training: photos of rooms, and how they are read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from render.errors import InputError
from render.progress import Progress, silent
from training.distillation.specific.samples import at_nearest
from training.probing.photos import ProbeData, ProbePhoto, resized
from training.reproduction.costs import peak_of_job
from training.reproduction.jobs import Job
from training.reproduction.mask3d.places import Places, made
from training.reproduction.mask3d.plan import LEARN, SETTINGS, TEST

if TYPE_CHECKING:
    from jaxtyping import UInt8

A = TypeVar("A")
TOGETHER = 20  # rooms of a job: each job loads all libraries anew


def photo_jobs(places: Places) -> list[Job]:
    """The rooms that are left to make: a process of its own takes seconds to begin."""
    jobs = []
    for split in (LEARN, TEST):
        count = places.plan.parts(split)[1]
        for first in range(0, count, TOGETHER):
            some = min(TOGETHER, count - first)
            if not all(_is_whole(places, split, index) for index in range(first, first + some)):
                jobs.append(Job(f"photos {split} {first}", make_photos, (places, split, first, some)))
    return jobs


def photo_costs(places: Places) -> list[str]:
    """The names of what making the photos of every room took, in the store."""
    return [made(split, index) for split in (LEARN, TEST) for index in range(places.plan.parts(split)[1])]


def make_photos(places: Places, split: str, first: int, count: int, *, progress: Progress = silent) -> None:
    """Make the photos of some rooms; those that are there stay.

    Args:
        places: Of the reproduction.
        split: Of the rooms.
        first: Of the plan's rooms.
        count: How many.
        progress: Told of every room.
    """
    from training.rooms.writing import write_room

    plan, store = places.plan, places.store()
    number, folders = plan.parts(split)[0], places.folders(split)
    for index in range(first, first + count):
        progress(index - first, count, "making rooms")
        if not _is_whole(places, split, index):
            began = time.perf_counter()
            write_room(folders[index], split, number + index, plan.form(split), threads=1, overwrite=True)
            store.put(made(split, index), {"seconds": time.perf_counter() - began, "peak": peak_of_job()})
    progress(count, count, "making rooms")


def frames_of(places: Places) -> list[ProbePhoto]:
    """The photos with depth that are pretrained on.

    Raises:
        InputError: rooms are missing or damaged.
    """
    from training.probing.data.rooms import room_photos

    return room_photos(places.rooms(LEARN))


def data_of(places: Places, setting: str) -> ProbeData:
    """What networks are fine-tuned for.

    Photos that are learned from are kept in memory, twice as large as what is learned from crops of them at most: they
    are read hundreds of times.

    Raises:
        InputError: photos are missing or damaged.
    """
    plan = places.plan
    if SETTINGS[setting].outside:
        data = camvid_of(places)
    else:
        from training.probing.data.rooms import room_photos

        learned, tested = places.rooms(LEARN), places.rooms(TEST)
        labelled = [photo for room in learned for photo in room_photos([room])[:: plan.every]]
        data = ProbeData("rooms", labelled, room_photos(tested), classes=tested[0].class_names)
    data = data.for_task("segmentation")
    return replace(data, train=[_kept(photo, 2 * plan.side) for photo in data.train])


def drawn(photos: Sequence[A], share: float, seed: int) -> list[A]:
    """Some of the photos with labels, in order: as many for every seed, others for each."""
    count = max(1, round(share * len(photos)))
    random = np.random.default_rng((seed, count))
    return [photos[index] for index in sorted(random.choice(len(photos), count, replace=False))]


def camvid_of(places: Places) -> ProbeData:
    """CamVid's photos.

    Raises:
        InputError: it is left out, or files are missing or damaged.
    """
    from training.probing.data import open_data

    if places.camvid is None:
        raise InputError("CamVid was left out; give its folder.")
    return open_data(places.camvid, "camvid").limited(places.plan.camvid_photos, places.plan.camvid_photos)


def _kept(photo: ProbePhoto, side: int) -> ProbePhoto:
    """A photo with its class map as it is in memory, its shorter side shrunk to so many pixels."""
    if photo.classes is None:
        raise InputError(f"{photo.name} has no class map; choose other data for segmentation.")
    image, classes = resized(photo.image, side), photo.classes()
    if classes.shape != image.shape[:2]:
        classes = at_nearest(torch.from_numpy(np.ascontiguousarray(classes)), image.shape[:2]).numpy()
    return replace(photo, image=partial(_as_it_is, image), classes=partial(_as_it_is, classes))


def _as_it_is(values: UInt8[np.ndarray, "*n"]) -> UInt8[np.ndarray, "*n"]:
    return values


def _is_whole(places: Places, split: str, index: int) -> bool:
    from training.rooms.reading import is_whole_room

    return is_whole_room(places.folders(split)[index], places.plan.form(split))
