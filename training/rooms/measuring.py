"""The figures of a room: its things from scribbles, its texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from render.errors import InputError
from render.progress import Progress, silent
from training.rooms.reading import RoomScene
from training.rooms.tasks import Enough, ThingTask, covering_frames, query_frames
from uplift.evaluation.lerf import evaluate_lerf_scene
from uplift.evaluation.segmentation import evaluate_tasks
from uplift.evaluation.variants import Setting, Variant, true_labels
from uplift.sam_masks import MaskPredictor
from uplift.search import Searcher


def measure_things(
    things: Sequence[ThingTask],
    setting: Setting,
    variants: Sequence[Variant],
    *,
    ceiling: bool = True,
    pictures: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Select every thing from its scribbles, by every variant.

    Args:
        things: What to select.
        setting: Of the room and an encoder.
        variants: Those to run.
        ceiling: Whether to render the Gaussians that are known to be the thing, too (row "true labels").
        pictures: Where ``THING/VARIANT/VIEW.png`` is written; None = nowhere.
        progress: Told of every view of every variant.

    Returns:
        JSON values: ``things``, each as :func:`evaluate_tasks` gives it with ``category`` and ``share`` (of the
        photo, in the marked view), and ``skipped``.
    """
    rows = [
        [*variants, true_labels(thing.members)] if ceiling and thing.members is not None else [*variants]
        for thing in things
    ]
    folders = [None if pictures is None else pictures / thing.task.name for thing in things]
    found = evaluate_tasks([thing.task for thing in things], setting, rows, pictures=folders, progress=progress)
    described = [
        {**figures, "category": thing.category, "share": thing.share}
        for figures, thing in zip(found, things, strict=True)
    ]
    return {"things": described, "skipped": {name: why for one in found for name, why in one["skipped"].items()}}


def measure_texts(
    room: RoomScene,
    searcher: Searcher,
    *,
    enough: Enough | None = None,
    sam: MaskPredictor | None = None,
    pictures: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Find the room's texts: places in all photos that show them, masks in some of those.

    Args:
        room: With texts and what they are true of.
        searcher: Of its Gaussians.
        enough: Which photos show a text, and in how many masks are made, unless more are needed for all texts.
        sam: A predictor; None = rows with SAM are skipped.
        pictures: Where ``ROW/VIEW/TEXT.png`` and heat maps are written; None = nowhere.
        progress: Told of every photo of every row.

    Returns:
        JSON values as :func:`evaluate_lerf_scene` gives them, and ``queries``: text -> kind.

    Raises:
        InputError: no photo shows what a text asks for, or a map is missing or damaged.
    """
    frames = query_frames(room, enough)
    if not frames:
        raise InputError(f"No photo of {room.path} shows what its texts ask for; make the room again, with more views.")
    name = room.path.name
    common: dict[str, Any] = {"sam": sam, "pictures": pictures, "progress": progress}
    places = evaluate_lerf_scene(name, frames, room.scene, searcher, rows=(), **common)
    some = covering_frames(frames, (enough or Enough()).views)
    masks = evaluate_lerf_scene(name, some, room.scene, searcher, **common)
    shown = {text for frame in frames for text in frame.objects}
    kinds = {query.text: query.kind for query in room.queries if query.text in shown}
    return {**masks, "variants": masks["variants"] | places["variants"], "queries": kinds}
