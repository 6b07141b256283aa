"""What comes before any fine-tuning: a weak encoder, and the matrices that carry features to Gaussians and back."""

from __future__ import annotations

import time
from pathlib import Path

from render.progress import Progress, silent
from training.finetuning.transport import FOLDER
from training.reproduction.costs import last_logged, peak_of_job
from training.reproduction.fit3d.places import BASE, WEAK, WEIGHTS, Places
from training.reproduction.fit3d.plan import Plan

WEAK_TASK = f"encoders/{WEAK}"


def make_weak(out: Path, plan: Plan, *, progress: Progress = silent) -> None:
    """Pretrain the network of ``tiny-dino`` for minutes on the training rooms; goes on where it was interrupted.

    Args:
        out: Folder of the reproduction, where the rooms are.
        plan: Its sizes.
        progress: Told of every step.
    """
    import torch

    from training.loop import CHECKPOINT, train
    from training.tiny.card import export
    from training.tiny.images import load_room_images
    from training.tiny.task import schedule_of
    from training.tiny.tasks import make_task, recipe_of

    places = Places(out, plan)
    store, folder = places.store(), places.weak
    if is_weak_made(places):
        return
    recipe = recipe_of("dino")
    images = load_room_images(places.rooms("train"), most=plan.rooms, progress=progress)
    validation = load_room_images(places.rooms("val"), progress=progress)
    task = make_task("dino", images, validation, batch=recipe.batch, seed=0, device=torch.device("cpu"))
    schedule = schedule_of(steps=plan.weak_steps, rate=recipe.rate)
    figures = train(task, schedule, folder, device="cpu", progress=progress)
    export(task, recipe.about, schedule, images, folder, figures)
    known = {name: value for name, value in figures.items() if value == value}  # NaN where rooms show too little
    spent = {"steps": plan.weak_steps, "seconds": last_logged(folder, "seconds"), "peak": peak_of_job()}
    store.put(WEAK_TASK, {**spent, "validation": known})
    (folder / CHECKPOINT).unlink(missing_ok=True)


def is_weak_made(places: Places) -> bool:
    """Whether the weak encoder is there."""
    return places.store().get(WEAK_TASK) is not None and (places.weak / WEIGHTS).is_file()


def carried(split: str, first: int) -> str:
    """The name of what the matrices of some rooms took, in the store."""
    return f"costs/transports-{split}-{first}"


def carry(out: Path, plan: Plan, split: str, first: int, count: int, *, progress: Progress = silent) -> None:
    """Compute the matrices of some rooms; those that are there are read, which is quick and not what they cost.

    Args:
        out: Folder of the reproduction.
        plan: Its sizes.
        split: Of the rooms, train or test.
        first: Of the plan's rooms.
        count: How many.
        progress: Told of every room.
    """
    from training.finetuning.scenes import TunedScenes

    places, task = Places(out, plan), carried(split, first)
    store = places.store()
    if store.get(task) is not None:
        return
    rooms = places.room_scenes(split)[first : first + count]
    scenes = TunedScenes([room.scene for room in rooms], places.encoder(BASE))
    made, seconds = 0, 0.0
    for index, room in enumerate(rooms):
        progress(index, len(rooms), "carrying patches to Gaussians and back")
        before, began = _matrices(room.path), time.perf_counter()
        scenes.transport(index)
        if _matrices(room.path) != before:
            made, seconds = made + 1, seconds + time.perf_counter() - began
    progress(len(rooms), len(rooms), "carrying patches to Gaussians and back")
    store.put(task, {"scenes": made, "seconds": seconds, "peak": peak_of_job()})


def _matrices(scene: Path) -> set[Path]:
    return set((scene / FOLDER).glob("*"))
