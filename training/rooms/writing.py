"""Rooms as scene folders: photos, poses, maps, words, and Gaussians if wanted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from render.errors import InputError
from render.ply import Points
from render.progress import Progress, silent
from render.scene import frame_of, write_scene
from training.rooms.cameras import room_cameras, zoomed
from training.rooms.captions import describe, room_queries
from training.rooms.layout import SPLIT_NUMBER, build_room
from training.rooms.rendering import RoomImage, RoomRenderer
from training.rooms.words import CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Int16

    from render.camera import Camera
    from training.rooms.layout import Room

VERSION = 1
ROOM = "room.json"
GAUSSIAN_INSTANCES = "gaussian_instances.npz"
MAPS = ("depth", "normals", "classes", "instances")
PHOTO_CAMERAS, FURTHER_CAMERAS = 1, 3  # seeds of the cameras of photos, and of
FURTHER = 48  # more views that sampled Gaussians are fitted to: they know the room, and not its photos alone
MILLIMETRES = 1000
POINTS = 4000  # sparse points, as many as structure from motion finds in such a room
PNG_LEVEL = 4

GaussianSource = Literal["none", "sampled"]


@dataclass(frozen=True)
class RoomFormat:
    """What a room's folder holds.

    Raises:
        InputError: a number is too small.
    """

    views: int = 24
    """How many photos."""
    width: int = 224
    """Width of the photos in pixels."""
    height: int = 224
    """Height of the photos in pixels."""
    gaussians: GaussianSource = "sampled"
    """none: photos alone; sampled: Gaussians drawn on the surfaces."""
    count: int = 60_000
    """About how many Gaussians."""

    def __post_init__(self) -> None:
        if self.views < 1 or min(self.width, self.height) < 16:
            raise InputError(
                "A room needs at least one view and 16 pixels a side, "
                f"found {self.views} views of {self.width}x{self.height} pixels."
            )
        if self.gaussians == "sampled" and self.count < 500:
            raise InputError(f"A room needs at least 500 Gaussians, found {self.count}; ask for more, or for none.")


def room_name(split: str, index: int) -> str:
    """The name of a room's folder, ``train-00012``."""
    return f"{split}-{index:05d}"


def write_room(
    folder: Path,
    split: str,
    index: int,
    form: RoomFormat,
    *,
    zoom: float = 1.0,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> None:
    """Build a room, photograph it and write its scene folder; all or nothing.

    The same split, index, format and zoom give the same folder on every machine of one kind.

    Args:
        folder: To make.
        split: train, val or test.
        index: Of the room in its split.
        form: What to write.
        zoom: What the focal lengths of the photos are multiplied with; less than 1 gives wider views.
        threads: How many threads may work; None = all cores.
        overwrite: Replace the folder if it exists.
        progress: Told after every photo.

    Raises:
        InputError: unknown split, or the folder exists and ``overwrite`` is false.
    """
    if split not in SPLIT_NUMBER or index < 0:
        raise InputError(f"Expected a split of {', '.join(SPLIT_NUMBER)} and an index from 0, found {split}, {index}.")
    room = build_room(split, index)
    renderer = RoomRenderer(room, threads=threads)
    cameras = room_cameras(
        room, form.views, form.width, form.height, PHOTO_CAMERAS, surfaces=renderer.surfaces, caster=renderer.caster
    )
    cameras = [zoomed(camera, zoom) for camera in cameras]
    images = []
    for camera in cameras:
        images.append(renderer.render(camera))
        progress(len(images), len(cameras), "drawing photos")
    names = [f"view_{i:03d}" for i in range(len(cameras))]
    gaussians, instances = None, None
    if form.gaussians == "sampled":
        from training.rooms.sampling import fitted, sample_gaussians

        gaussians, instances = sample_gaussians(renderer, form.count)
        others = room_cameras(
            room, FURTHER, form.width, form.height, FURTHER_CAMERAS, surfaces=renderer.surfaces, caster=renderer.caster
        )
        further = [renderer.render(camera).rgb for camera in others]
        photos = [*(image.rgb for image in images), *further]
        gaussians = fitted(gaussians, [*cameras, *others], photos, progress=progress)

    def finish(made: Path) -> None:
        for name, image in zip(names, images, strict=True):
            _write_maps(made, name, image)
        (made / ROOM).write_text(json.dumps(_description(room, images), indent=1) + "\n", encoding="utf-8")
        if instances is not None:
            np.savez_compressed(made / GAUSSIAN_INSTANCES, instances=instances)

    frames = [frame_of(camera, f"images/{name}.png") for camera, name in zip(cameras, names, strict=True)]
    write_scene(
        folder,
        gaussians,
        {"camera_model": "PINHOLE", "frames": frames},
        [image.rgb for image in images],
        points=_sparse_points(cameras, images),
        finish=finish,
        overwrite=overwrite,
    )


def _description(room: Room, images: Sequence[RoomImage]) -> dict[str, Any]:
    """The content of ``room.json``."""
    words = [thing.words for thing in room.things]
    random = np.random.default_rng(np.random.SeedSequence([SPLIT_NUMBER[room.split], room.index, 77]))
    captions = [describe(word, random) for word in words]
    pixels = sum(np.bincount(image.instances[image.instances >= 0], minlength=len(words)) for image in images)
    visible = {index: int(count) for index, count in enumerate(np.asarray(pixels)) if count}
    queries = room_queries(words, visible, random)
    return {
        "version": VERSION,
        "split": room.split,
        "index": room.index,
        "size": [float(side) for side in room.size],
        "classes": list(CLASSES),
        "things": [
            {"id": index, **word.to_json(), "caption": caption, "class": CLASSES.index(word.category)}
            for index, (word, caption) in enumerate(zip(words, captions, strict=True))
        ],
        "queries": [
            {"text": query.text, "kind": query.kind, "instances": [int(i) for i in query.instances]}
            for query in queries
        ],
        "visible": {str(index): count for index, count in visible.items()},
    }


def _write_maps(folder: Path, name: str, image: RoomImage) -> None:
    maps: dict[str, np.ndarray] = {
        "depth": depth_to_png(image),
        "normals": np.clip((image.normals + 1) * 127.5 + 0.5, 0, 255).astype(np.uint8)[..., ::-1],
        "classes": image.classes,
        "instances": _instances_to_png(image.instances),
    }
    for kind, values in maps.items():
        _write_png(folder / kind / f"{name}.png", values)


def depth_to_png(image: RoomImage) -> np.ndarray:
    """Millimetres, 0 = nothing; ``[h, w]`` uint16."""
    return np.clip(image.depth * MILLIMETRES + 0.5, 0, 65535).astype(np.uint16)


def _instances_to_png(instances: Int16[np.ndarray, "h w"]) -> np.ndarray:
    return (instances.astype(np.int32) + 1).astype(np.uint16)


def _write_png(path: Path, values: np.ndarray) -> None:
    """Write a map; colours in OpenCV's order, blue first."""
    import cv2

    path.parent.mkdir(exist_ok=True)
    done, packed = cv2.imencode(".png", values, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
    if not done:
        raise OSError(f"The picture {path} could not be encoded.")
    path.write_bytes(packed.tobytes())


def _sparse_points(cameras: Sequence[Camera], images: Sequence[RoomImage]) -> Points:
    """Points of the surfaces that the photos show, as seeds for a fit."""
    random = np.random.default_rng(0)
    each = -(-POINTS // len(images))
    places, colours = [], []
    for camera, image in zip(cameras, images, strict=True):
        seen = np.flatnonzero(image.depth.ravel() > 0)
        if not len(seen):
            continue
        chosen = random.choice(seen, min(each, len(seen)), replace=False)
        y, x = np.divmod(chosen, camera.width)
        K, pose = camera.K.double().numpy(), camera.world_to_camera.double().numpy()
        rays = np.stack([(x + 0.5 - K[0, 2]) / K[0, 0], (y + 0.5 - K[1, 2]) / K[1, 1], np.ones(len(x))], -1)
        local = rays * image.depth.ravel()[chosen, None]
        places.append((local - pose[:3, 3]) @ pose[:3, :3])
        colours.append(image.rgb.reshape(-1, 3)[chosen])
    if not places:
        return Points(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.uint8))
    return Points(
        torch.from_numpy(np.concatenate(places).astype(np.float32)), torch.from_numpy(np.concatenate(colours))
    )
