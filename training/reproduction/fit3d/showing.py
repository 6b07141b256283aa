"""What a figure shows: features and what heads said, of a few test photos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from training.probing.kept import Maps, describe_photos
from training.probing.photos import ProbePhoto, Task
from training.reproduction.fit3d.data import Measured
from training.reproduction.fit3d.lifting import lifted
from training.reproduction.fit3d.measuring import read_told, show_indices
from training.reproduction.fit3d.places import Places
from training.reproduction.fit3d.plan import main_rows

if TYPE_CHECKING:
    from torch import Tensor

TASKS: tuple[Task, ...] = ("segmentation", "depth")


@dataclass(frozen=True, eq=False)
class Shown:
    """A test photo.

    Attributes:
        photo: With what is true of it.
        maps: Features by the row that adds them: ``original``, ``fine-tuned``, ``blurred``, ``lifted``;
            each ``[gh, gw, c]``.
        told: What heads of a row said of its pixels, by task and row.
    """

    photo: ProbePhoto
    maps: Mapping[str, Tensor]
    told: Mapping[Task, Mapping[str, np.ndarray]]


def shown_photos(places: Places, name: str, seed: int) -> list[Shown]:
    """Some test photos with the features of an encoder and of its fine-tunings of a seed.

    Raises:
        InputError: a fine-tuning or a room is missing.
    """
    from training.finetuning.scenes import TunedScenes
    from uplift.encoders.finetuned import PREFIX, make_finetuned

    data = Measured("rooms").read(places)
    indices = show_indices(len(data.test))
    wanted = {data.test[index].group for index in indices}
    photos = [photo for photo in data.test if photo.group in wanted]
    encoder = places.encoder(name)
    original = describe_photos(encoder, photos)
    rooms = [room.scene for room in places.room_scenes("test") if room.path.resolve().name in wanted]
    maps: dict[str, Maps] = {"original": original}
    rows = main_rows(places.plan)
    for row in rows:
        if row.tuning is not None:
            file = places.tuned_file(name, row.tuning, seed)
            tuned = make_finetuned(f"{PREFIX}{file}@alone", places.weights(name), torch.device("cpu"))
            maps[row.name] = describe_photos(tuned, [data.test[index] for index in indices])
    maps["lifted"] = lifted(original, TunedScenes(rooms, encoder))
    told = {task: {row.name: read_told(places.told(name, row, task)) for row in rows} for task in TASKS}
    return [_shown(data.test[index], index, maps, told) for index in indices]


def _shown(
    photo: ProbePhoto,
    index: int,
    maps: Mapping[str, Maps],
    told: Mapping[Task, Mapping[str, Mapping[int, np.ndarray]]],
) -> Shown:
    key = (photo.group, photo.name)
    said = {
        task: {row: of_row[index] for row, of_row in of_task.items() if index in of_row}
        for task, of_task in told.items()
    }
    return Shown(photo, {row: one[key].patches.float() for row, one in maps.items()}, said)
