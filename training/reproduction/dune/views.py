"""Close-ups of the things in a room, as photos alone: what a teacher that names things has seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from render.files import atomic_folder
from training.rooms.cameras import room_cameras
from training.rooms.layout import build_room
from training.rooms.rendering import RoomRenderer
from training.rooms.surfaces import STRUCTURE
from training.rooms.writing import PHOTO_CAMERAS, RoomFormat

if TYPE_CHECKING:
    from jaxtyping import Int16
    from numpy.random import Generator

    from render.camera import Camera

IMAGES = "images"  # of a room's folder, as scenes have them
LEAST = 0.003  # of a photo: things that fill less are not looked at
MARGIN = (1.2, 2.2)  # sides of a close-up, times the larger side of the thing
SMALLEST = 1 / 6  # of the photo's sides
STREAM = 5  # of the draws of close-ups, which are others than those of the room


def write_close_ups(folder: Path, split: str, index: int, form: RoomFormat) -> None:
    """Write close-ups of a room as ``FOLDER/images/NN.png``, all or nothing.

    Args:
        folder: To make, or to make again.
        split: Of the room.
        index: Of the room in its split.
        form: How many photos of which size.
    """
    from PIL import Image

    renderer = RoomRenderer(build_room(split, index), threads=1)
    cameras = room_cameras(
        renderer.room, form.views, form.width, form.height, PHOTO_CAMERAS,
        surfaces=renderer.surfaces, caster=renderer.caster,
    )  # fmt: skip
    random = np.random.default_rng([index, STREAM])
    with atomic_folder(folder, overwrite=True) as making:
        (making / IMAGES).mkdir()
        for number, camera in enumerate(cameras):
            near = close_up(camera, renderer.render(camera).instances, random)
            Image.fromarray(renderer.render(near).rgb).save(making / IMAGES / f"{number:02d}.png")


def are_whole(folder: Path, form: RoomFormat) -> bool:
    """Whether a folder holds as many close-ups as it should, of the right size."""
    from PIL import Image

    files = sorted((folder / IMAGES).glob("*.png"))
    if len(files) != form.views:
        return False
    sizes = set()
    for file in files:
        with Image.open(file) as photo:
            sizes.add(photo.size)
    return sizes == {(form.width, form.height)}


def close_up(camera: Camera, instances: Int16[np.ndarray, "h w"], random: Generator) -> Camera:
    """A camera at the same place that sees a part of the photo, in whose middle a thing is.

    Args:
        camera: Of the photo.
        instances: The thing of every pixel, -1 = nothing; walls, floor and ceiling come first.
        random: Chooses the thing and the margin around it; every thing that is large enough is as likely.

    Returns:
        A camera whose photo has as many pixels; of a photo without things it sees the middle half.
    """
    height, width = instances.shape
    counts = np.bincount(instances[instances >= 0].ravel(), minlength=STRUCTURE + 1)
    counts[:STRUCTURE] = 0
    known = np.flatnonzero(counts >= max(1, LEAST * instances.size))
    factor = random.uniform(*MARGIN)
    share, x, y = 0.5, width / 2, height / 2
    if len(known):
        rows, columns = np.nonzero(instances == known[int(random.integers(len(known)))])
        left, right, top, bottom = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
        x, y = (left + right) / 2, (top + bottom) / 2
        share = float(np.clip(factor * max((right - left) / width, (bottom - top) / height), SMALLEST, 1))
    K = camera.K.clone()
    for axis, (middle, length) in enumerate(((x, width), (y, height))):
        reach = share * length / 2
        begin = float(np.clip(middle, reach, length - reach)) - reach
        K[axis, axis], K[axis, 2] = K[axis, axis] / share, (K[axis, 2] - begin) / share
    return replace(camera, K=K)
