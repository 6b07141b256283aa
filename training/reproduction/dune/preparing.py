"""What comes before any distillation: photos, the specialist, and what teachers say of the photos."""

from __future__ import annotations

import time

from render.progress import Progress, silent
from training.reproduction.costs import last_logged, peak_of_job
from training.reproduction.dune.distilling import blank_student, held_photos, schedule_of, settings_of, train_photos
from training.reproduction.dune.places import TRAINED, Places, described, made
from training.reproduction.dune.plan import (
    CLOSE,
    HEADS,
    SPECIALIST,
    TEST,
    VALIDATION,
    WHOLE,
    WIDE,
    WIDE_HEADS,
    WIDE_TEST,
    ZOOMS,
    Row,
)
from training.reproduction.dune.views import are_whole, write_close_ups

TOGETHER = 30  # rooms of a job: each job loads all libraries anew
# The specialist, which takes longest, waits for the first two; then what teachers describe, then the rest.
ORDER = (WIDE, VALIDATION, WHOLE, CLOSE, HEADS, TEST, WIDE_HEADS, WIDE_TEST)


def parts_of(places: Places) -> list[tuple[str, int, int]]:
    """Rooms that one job makes: name of the photos, the first room and how many; of those that are needed, in the order
    in which they are."""
    return [
        (name, first, min(TOGETHER, places.plan.rooms[name][2] - first))
        for name in ORDER
        for first in range(0, places.plan.rooms[name][2], TOGETHER)
        if name != VALIDATION or places.is_specialist_made
    ]


def is_part_made(places: Places, name: str, first: int, count: int) -> bool:
    """Whether all photos of some rooms are there."""
    return all(_is_whole(places, name, index) for index in range(first, first + count))


def make_photos(places: Places, name: str, first: int, count: int, *, progress: Progress = silent) -> None:
    """Make the photos of some rooms; those that are there stay.

    Args:
        places: Of the reproduction.
        name: Of the photos.
        first: Of the plan's rooms.
        count: How many.
        progress: Told of every room.
    """
    from training.rooms.writing import write_room

    plan, store = places.plan, places.store()
    split, number, _ = plan.rooms[name]
    folders, done, began = places.folders(name), 0, time.perf_counter()
    for index in range(first, first + count):
        progress(index - first, count, "making rooms")
        if _is_whole(places, name, index):
            continue
        if name == CLOSE:
            write_close_ups(folders[index], split, number + index, plan.form)
        else:
            zoom = ZOOMS.get(name, 1.0)
            write_room(folders[index], split, number + index, plan.form, zoom=zoom, threads=1, overwrite=True)
        done += 1
    progress(count, count, "making rooms")
    if done and store.get(made(name, first)) is None:
        store.put(made(name, first), {"rooms": done, "seconds": time.perf_counter() - began, "peak": peak_of_job()})


def is_specialist_there(places: Places) -> bool:
    """Whether the specialist needs no training, or was trained."""
    file = places.weights(SPECIALIST)
    if not places.is_specialist_made or file is None:
        return True
    return places.store().get(TRAINED) is not None and file.is_file()


def make_specialist(places: Places, *, progress: Progress = silent) -> None:
    """Train the specialist on its own photos, as ``fit3d tiny depth`` does; goes on where it was interrupted.

    Args:
        places: Of the reproduction, where the rooms are.
        progress: Told of every step.
    """
    import torch

    from training.loop import CHECKPOINT, train
    from training.tiny.card import export
    from training.tiny.images import load_room_images
    from training.tiny.task import schedule_of as tiny_schedule
    from training.tiny.tasks import make_task, recipe_of

    if is_specialist_there(places):
        return
    plan, folder, recipe = places.plan, places.specialist, recipe_of("depth")
    images = load_room_images(places.photos(WIDE), most=plan.wide_rooms, progress=progress)
    validation = load_room_images(places.photos(VALIDATION), most=plan.validation_rooms, progress=progress)
    task = make_task("depth", images, validation, batch=recipe.batch, seed=0, device=torch.device("cpu"))
    schedule = tiny_schedule(steps=plan.specialist_steps, rate=recipe.rate)
    figures = train(task, schedule, folder, device="cpu", progress=progress)
    export(task, recipe.about, schedule, images, folder, figures)
    known = {name: value for name, value in figures.items() if value == value}  # not NaN
    spent = {"steps": schedule.steps, "seconds": last_logged(folder, "seconds"), "peak": peak_of_job()}
    places.store().put(TRAINED, {**spent, "validation": known})
    (folder / CHECKPOINT).unlink(missing_ok=True)


def describe(places: Places, teacher: str, *, progress: Progress = silent) -> None:
    """Let a teacher say what students will ask for; what other seeds draw beside that they let it say themselves.

    Args:
        places: Of the reproduction.
        teacher: Its name.
        progress: Told of every photo.

    Raises:
        InputError: photos or the teacher are missing.
    """
    from training.distillation.co.running import prepare_outputs
    from training.distillation.co.teachers import Teacher

    store = places.store()
    if store.get(described(teacher)) is not None:
        return
    began, row = time.perf_counter(), Row(f"of-{teacher}", teacher, teachers=(teacher,))
    interrupted = any(places.outputs.glob(f"{teacher}-*/*.safetensors"))
    prepare_outputs(
        blank_student(0),
        [Teacher(teacher, places.teacher(teacher))],
        train_photos(places, row),
        schedule_of(places.plan, 0),
        settings_of(places.plan, row),
        validation=held_photos(places, row),
        outputs=places.outputs,
        readers=1,
        progress=progress,
    )
    # Nobody knows how long a process took that was interrupted.
    seconds = None if interrupted else time.perf_counter() - began
    photos = len(train_photos(places, row))
    store.put(described(teacher), {"photos": photos, "seconds": seconds, "peak": peak_of_job()})


def _is_whole(places: Places, name: str, index: int) -> bool:
    from training.rooms.reading import is_whole_room

    folder = places.folders(name)[index]
    return are_whole(folder, places.plan.form) if name == CLOSE else is_whole_room(folder, places.plan.form)
