"""The demo scene as a scene folder in the user's cache."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from assets.furniture import STRUCTURE
from assets.room_corner import RoomCorner, build_room_corner, gaussian_labels, label_maps
from render.camera import Camera
from render.errors import InputError
from render.progress import Progress, silent
from render.scene import Scene, frame_of, write_scene

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float, Int16

FRUIT_BOWL = (0.469, 1.703, 0.837)  # a point on its front, in the world,
TABLE_TOP = (0.651, 1.838, 0.749)  # and one beside it
VERSION = 1  # raise it when the room changes, so that older copies in caches are not taken for it


def cache_folder() -> Path:
    """Where fit3d keeps what it can make again: ``$XDG_CACHE_HOME/fit3d``, by default ``~/.cache/fit3d``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fit3d"


def demo_scene(
    *,
    count: int = 50_000,
    views: int = 12,
    width: int = 480,
    height: int = 360,
    cache: Path | None = None,
    progress: Progress = silent,
) -> Scene:
    """The demo scene: the copy in the cache if it is whole, else a new one.

    Args:
        count: About how many Gaussians.
        views: How many photos.
        width: Of the photos, in pixels.
        height: Of the photos, in pixels.
        cache: Where the folder lies; None = :func:`cache_folder`.
        progress: Told while the scene is made.
    """
    name = f"room-corner-{VERSION}-{count}-{views}-{width}x{height}"
    path = (cache or cache_folder()) / name
    kept = _whole(path, views)
    if kept is not None:
        return kept
    room = build_room_corner(count=count, views=views, width=width, height=height, progress=progress)
    write_scene(path, room.gaussians, _transforms(room), room.photos, overwrite=True, progress=progress)
    return Scene.open(path)


@dataclass(frozen=True, eq=False)
class DemoObjects:
    """What stands in the demo scene.

    Attributes:
        scene: The scene in the cache.
        names: Of all objects, floor and walls among them.
        things: The indices of those that a person would select: all but floor and walls.
        labels: The object of every Gaussian; ``[n]`` int16.
        maps: The object of every pixel by view name, -1 where the room is open; each ``[h, w]`` int16.
    """

    scene: Scene
    names: tuple[str, ...]
    things: tuple[int, ...]
    labels: Int16[np.ndarray, " n"]
    maps: dict[str, Int16[np.ndarray, "h w"]]

    def mask(self, view: str, thing: int) -> Bool[np.ndarray, "h w"]:
        """The pixels of an object in a photo."""
        return self.maps[view] == thing

    def best_view(self, thing: int) -> str:
        """The view that shows the most of an object, the first of several."""
        return max(self.maps, key=lambda name: int(self.mask(name, thing).sum()))


def demo_objects(
    *,
    count: int = 50_000,
    views: int = 12,
    width: int = 480,
    height: int = 360,
    cache: Path | None = None,
    progress: Progress = silent,
) -> DemoObjects:
    """The demo scene with the object of every Gaussian and of every pixel, cast anew (some seconds).

    Args:
        count: As :func:`demo_scene`, like all that follow.
        views: How many photos.
        width: Of the photos, in pixels.
        height: Of the photos, in pixels.
        cache: Where the folder lies; None = :func:`cache_folder`.
        progress: Told while the scene is made.

    Raises:
        InputError: the scene in the cache is not the one that this version makes.
    """
    scene = demo_scene(count=count, views=views, width=width, height=height, cache=cache, progress=progress)
    labels, means = gaussian_labels(count)
    if means.shape != scene.gaussians.means.shape or not torch.allclose(means, scene.gaussians.means, atol=1e-5):
        raise InputError(
            f"The demo scene at {scene.path} is not the one that this version makes; delete that folder, and it is "
            "made again."
        )
    maps, names = label_maps([view.camera for view in scene.views])
    things = tuple(i for i, name in enumerate(names) if name not in STRUCTURE)
    by_view = {view.name: labels_of for view, labels_of in zip(scene.views, maps, strict=True)}
    return DemoObjects(scene, names, things, labels, by_view)


def place_of(point: tuple[float, float, float], camera: Camera) -> Float[np.ndarray, " 2"]:
    """Where a camera sees a point of the room: (x, y) in pixels."""
    local = camera.world_to_camera[:3, :3].double() @ torch.tensor(point).double()
    projected = camera.K.double() @ (local + camera.world_to_camera[:3, 3].double())
    return (projected[:2] / projected[2]).numpy()


def _whole(path: Path, views: int) -> Scene | None:
    """The scene at ``path`` if everything in it can be read."""
    if not path.is_dir():
        return None
    try:
        scene = Scene.open(path)
        whole = len(scene.views) == views and not scene.check() and len(scene.gaussians) > 0
    except InputError:
        return None
    return scene if whole else None


def _transforms(room: RoomCorner) -> dict[str, Any]:
    """The content of a ``transforms.json``."""
    frames = [frame_of(camera, f"images/{name}") for camera, name in zip(room.cameras, room.names, strict=True)]
    return {"camera_model": "PINHOLE", "frames": frames}
