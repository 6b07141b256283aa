"""Students: from nothing, with what the teachers say once for all of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from render.errors import InputError
from render.files import atomic_file
from render.progress import Progress, silent
from training.distillation.co.photos import GENERIC, Photo, Photos, Source, held_out
from training.distillation.co.settings import Settings
from training.loop import Schedule
from training.reproduction.costs import last_logged, peak_of_job
from training.reproduction.dune.places import Places, distilled
from training.reproduction.dune.plan import STUDENT, Plan, Row
from training.reproduction.dune.views import IMAGES

if TYPE_CHECKING:
    from training.distillation.co.task import CoDistillation
    from uplift.encoders.vit import ViTEncoder

SAVE_EVERY = 60.0  # seconds: what a killed distillation does again at most


def distil(places: Places, row: Row, seed: int, *, progress: Progress = silent) -> None:
    """Let a student learn; what is done is kept, what was interrupted goes on.

    Beside its file the figures are kept that the paper draws: explained variance (figure 4), the correlation of loss
    updates (figure 5), and colours of features (figure 2).

    Args:
        places: Of the reproduction.
        row: Which student.
        seed: Of its weights, its batches and the dropping of teachers.
        progress: Told of every step.

    Raises:
        InputError: photos or teachers are missing, or what is there was made with other settings.
    """
    from training.distillation.co.analyses import analyse
    from training.distillation.co.running import co_distil
    from training.distillation.co.teachers import Teacher
    from training.loop import CHECKPOINT

    if is_distilled(places, row, seed):
        return
    folder = places.student(row, seed)
    found = co_distil(
        blank_student(seed),
        [Teacher(name, places.teacher(name)) for name in row.teachers],
        train_photos(places, row),
        folder,
        schedule_of(places.plan, seed),
        settings_of(places.plan, row),
        validation=held_photos(places, row),
        outputs=places.outputs,
        keep=row.keep,
        scratch=True,
        device="cpu",
        readers=1,
        progress=progress,
    )
    trained = time.perf_counter()
    analyses = analyse(found.task, progress).as_json()
    _save_panels(places, row, seed, found.task)
    # The log knows what interrupted processes took too.
    seconds = last_logged(folder, "seconds") + time.perf_counter() - trained
    spent = {"steps": places.plan.steps, "seconds": seconds, "peak": peak_of_job()}
    places.store(row).put(distilled(row, seed), {**spent, "validation": found.figures, "analyses": analyses})
    (folder / CHECKPOINT).unlink(missing_ok=True)


def is_distilled(places: Places, row: Row, seed: int) -> bool:
    """Whether a student is there.

    Raises:
        InputError: figures that are there are damaged, or were made with other settings.
    """
    return places.store(row).get(distilled(row, seed)) is not None and places.student_file(row, seed).is_file()


def blank_student(seed: int) -> ViTEncoder:
    """What a student begins as: its weights are drawn."""
    from uplift.encoders.untrained import make_blank

    return make_blank(STUDENT, torch.device("cpu"), seed=seed)


def schedule_of(plan: Plan, seed: int) -> Schedule:
    """How a distillation goes."""
    return Schedule(
        steps=plan.steps,
        rate=plan.rate,
        weight_decay=plan.weight_decay,
        seed=seed,
        save_every=SAVE_EVERY,
        validate_every=0,
        picture_every=0,
    )


def settings_of(plan: Plan, row: Row) -> Settings:
    """What a student learns; photos are seen whole, so that teachers see each once for all students."""
    return Settings(sharing=row.sharing, projector=row.projector, augment="flips", batch=plan.batch)


def train_photos(places: Places, row: Row) -> Photos:
    """The photos that a student learns from.

    Raises:
        InputError: photos are missing.
    """
    return Photos([held_out(_source(places, row, name))[0] for name in row.photos])


def held_photos(places: Places, row: Row) -> Photos:
    """Every twentieth of each kind: what student and teachers say of them is compared.

    Raises:
        InputError: photos are missing.
    """
    return Photos([held_out(_source(places, row, name))[1] for name in row.photos])


def read_panels(places: Places, row: Row, seed: int) -> list[list[np.ndarray]]:
    """A row for each photo that is shown: the photo, and features as colours; nothing where they cannot be read."""
    try:
        with np.load(places.panels(row, seed)) as archive:
            rows = max(int(name.split("-")[0]) for name in archive.files) + 1
            columns = len(archive.files) // rows
            return [[archive[f"{row}-{column}"] for column in range(columns)] for row in range(rows)]
    except (OSError, ValueError, KeyError, EOFError):
        return []


def _source(places: Places, row: Row, name: str) -> Source:
    photos = []
    for folder in places.folders(name):
        files = sorted((folder / IMAGES).glob("*.png"))
        if len(files) != places.plan.views:
            raise InputError(
                f"Expected {places.plan.views} photos in {folder / IMAGES}, found {len(files)}; give the command again."
            )
        photos += [Photo.of_file(f"{folder.name}/{file.name}", file) for file in files]
    # What belongs to no teacher of this student is generic to it.
    return Source(name if name in row.teachers else GENERIC, name, photos)


def _save_panels(places: Places, row: Row, seed: int, task: CoDistillation) -> None:
    panels: dict[str, Any] = {
        f"{i}-{j}": picture for i, pictures in enumerate(task.panels()) for j, picture in enumerate(pictures)
    }
    with atomic_file(places.panels(row, seed)) as temporary:
        np.savez_compressed(temporary, **panels)
