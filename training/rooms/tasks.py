"""What a room asks: things to select from scribbles, texts to find, pixels to tell the class and the depth of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from render.spacing import evenly
from training.rooms.reading import RoomScene
from training.rooms.writing import GAUSSIAN_INSTANCES
from uplift.evaluation.lerf import LabelledFrame, MaskedObject
from uplift.evaluation.tasks import Task, object_task

if TYPE_CHECKING:
    from jaxtyping import Bool, Int16
    from torch import Tensor

STRUCTURE = ("wall", "floor", "ceiling")  # nobody selects these
Draw = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From a mask ``[h, w]`` bool to the strokes on the object and on the background."""


@dataclass(frozen=True)
class Enough:
    """Which things are asked for, and in which views.

    Attributes:
        best: Share of the photo that a thing fills in the view that it is marked in, at least.  That is the view
            that shows most of it and cuts little off at the photo's border, as a person would choose.
        most: The same at most: what fills more leaves nothing to mark as background.
        elsewhere: Share of the photo that it fills in a view that it is scored in, at least.
        relative: Share of its pixels in the marked view that it has there, at least.
        views: Views that a thing is scored in, at most, evenly spaced.
    """

    best: float = 0.005
    most: float = 0.6
    elsewhere: float = 0.002
    relative: float = 0.1
    views: int = 8


@dataclass(frozen=True, eq=False)
class ThingTask:
    """A thing to select.

    Attributes:
        task: Strokes in one view, true masks of others.
        category: What it is.
        thing: Its index in the room.
        share: Of the photo, what it fills in the view that it is marked in.
        members: The Gaussians that are on it; None where that is not known.
    """

    task: Task
    category: str
    thing: int
    share: float
    members: Bool[Tensor, " n"] | None


def instance_maps(room: RoomScene) -> dict[str, Int16[np.ndarray, "h w"]]:
    """The thing of every pixel, -1 = nothing, by view.

    Raises:
        InputError: a map is missing or damaged.
    """
    return {name: room.instances(name) for name in room.views}


def thing_tasks(room: RoomScene, draw: Draw, enough: Enough | None = None) -> list[ThingTask]:
    """A task for every thing that some view shows large enough and others show too; not walls, floor and ceiling.

    Args:
        room: The room.
        draw: Makes scribbles of a true mask.
        enough: What is large enough.

    Raises:
        InputError: a map is missing or damaged.
    """
    enough = enough or Enough()
    maps = instance_maps(room)
    counts = _pixels(maps, len(room.things))
    size = next(iter(maps.values())).size
    labels = torch.from_numpy(room.gaussian_instances()) if (room.path / GAUSSIAN_INSTANCES).is_file() else None
    found = []
    for thing, words in enumerate(room.things):
        if words.category in STRUCTURE:
            continue
        own = counts[:, thing]
        whole = np.array([1 - _cut_off(one == thing) for one in maps.values()])
        best = int((own * (own <= enough.most * size) * whole**2).argmax())
        if not max(1, enough.best * size) <= own[best] <= enough.most * size:
            continue
        least = max(1, enough.elsewhere * size, enough.relative * own[best])
        others = [i for i in np.flatnonzero(counts[:, thing] >= least).tolist() if i != best]
        if not others:
            continue
        names = room.views
        masks = {names[i]: maps[names[i]] == thing for i in evenly(others, enough.views)}
        strokes = draw(maps[names[best]] == thing)
        task = object_task(f"{words.category}-{thing}", names[best], *strokes, masks)
        members = None if labels is None else labels == thing
        found.append(ThingTask(task, words.category, thing, float(own[best] / size), members))
    return found


def query_frames(room: RoomScene, enough: Enough | None = None) -> list[LabelledFrame]:
    """The photos, each with the room's texts whose answers it shows large enough; photos without any are left out.

    Args:
        room: The room.
        enough: What is large enough: ``elsewhere`` counts, for all things together that a text is true of.

    Raises:
        InputError: a map is missing or damaged.
    """
    enough = enough or Enough()
    frames = []
    for name, instances in instance_maps(room).items():
        height, width = instances.shape
        objects = {}
        for query in room.queries:
            mask = np.isin(instances, query.instances)
            if mask.sum() >= max(1, enough.elsewhere * mask.size):
                objects[query.text] = MaskedObject(mask)
        if objects:
            frames.append(LabelledFrame(name, width, height, objects))
    return frames


def covering_frames(frames: Sequence[LabelledFrame], count: int) -> list[LabelledFrame]:
    """So many photos, evenly spaced, and others that are needed to show every text: those that show most new ones."""
    chosen = evenly(frames, count)
    missing = {text for frame in frames for text in frame.objects} - {t for frame in chosen for t in frame.objects}
    while missing:
        best = max(frames, key=lambda frame: len(missing & set(frame.objects)))
        chosen.append(best)
        missing -= set(best.objects)
    names = {frame.name for frame in chosen}
    return [frame for frame in frames if frame.name in names]


def _cut_off(mask: Bool[np.ndarray, "h w"]) -> float:
    """The share of a mask's outline that runs along the picture's border; 0 where the mask is empty."""
    rows, columns = mask[1:] != mask[:-1], mask[:, 1:] != mask[:, :-1]
    border = sum(int(side.sum()) for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    return border / max(1, border + int(rows.sum()) + int(columns.sum()))


def _pixels(maps: dict[str, np.ndarray], things: int) -> np.ndarray:
    """Pixels of every thing in every view; ``[views, things]``."""
    return np.stack([np.bincount(one[one >= 0], minlength=things) for one in maps.values()])
