"""A room's folder: the scene with its maps, words and queries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from render.errors import InputError
from render.scene import Scene
from training.rooms.captions import Query
from training.rooms.words import ThingWords
from training.rooms.writing import GAUSSIAN_INSTANCES, MAPS, MILLIMETRES, ROOM, VERSION, RoomFormat

if TYPE_CHECKING:
    from jaxtyping import Float32, Int16, UInt8

AGAIN = "write it again with `fit3d rooms`"


@dataclass(frozen=True, eq=False)
class RoomScene:
    """A room that ``fit3d rooms`` wrote.

    Attributes:
        path: Its folder.
        scene: Photos, poses, Gaussians if there are any.
        split: train, val or test.
        index: Of the room in its split.
        size: Of the room along x, y and z; metres.
        class_names: Names of the class maps' indices.
        things: What stands in the room; instance = index.
        captions: A sentence for each thing.
        queries: Texts and the things that each is true of.
        visible: Pixels of each thing over all views; things that no view shows are left out.
    """

    path: Path
    scene: Scene
    split: str
    index: int
    size: tuple[float, float, float]
    class_names: tuple[str, ...]
    things: list[ThingWords]
    captions: list[str]
    queries: tuple[Query, ...]
    visible: Mapping[int, int]

    @staticmethod
    def open(path: str | Path) -> RoomScene:
        """Open a room's folder; maps are read when they are asked for.

        Raises:
            InputError: it is not a room, of another version, or its description is damaged.
        """
        path = Path(path)
        scene = Scene.open(path)
        file = path / ROOM
        if not file.is_file():
            raise InputError(f"{path} is a scene but not a room: expected {ROOM} in it; make rooms with `fit3d rooms`.")
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            found = content["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file} is damaged ({type(error).__name__}: {error}); {AGAIN}.") from error
        if found != VERSION:
            raise InputError(f"Expected a room of version {VERSION} at {file}, found {found!r}; {AGAIN}.")
        try:
            return _described(path, scene, content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{file} is damaged ({type(error).__name__}: {error}); {AGAIN}.") from error

    @property
    def views(self) -> list[str]:
        """Names of the views."""
        return [view.name for view in self.scene.views]

    def depth(self, view: str) -> Float32[np.ndarray, "h w"]:
        """Depth along the camera's z axis in metres, 0 = nothing.

        Raises:
            InputError: no such view, or its map is missing or damaged; so for the other maps.
        """
        return self._map("depth", view, np.uint16).astype(np.float32) / MILLIMETRES

    def normals(self, view: str) -> Float32[np.ndarray, "h w 3"]:
        """Normals in the world frame to a precision of half a degree, 0 = nothing."""
        values = self._map("normals", view, np.uint8)[..., ::-1].astype(np.float32) / 127.5 - 1
        length = np.linalg.norm(values, axis=-1, keepdims=True)
        return np.where(length > 0.5, values / np.maximum(length, 1e-6), 0).astype(np.float32)

    def classes(self, view: str) -> UInt8[np.ndarray, "h w"]:
        """Class of every pixel, an index of :attr:`class_names`, 255 = nothing."""
        return self._map("classes", view, np.uint8)

    def instances(self, view: str) -> Int16[np.ndarray, "h w"]:
        """Thing of every pixel, an index of :attr:`things`, -1 = nothing."""
        return (self._map("instances", view, np.uint16).astype(np.int32) - 1).astype(np.int16)

    def gaussian_instances(self) -> Int16[np.ndarray, " n"]:
        """Thing of every Gaussian of the scene, in their order.

        Raises:
            InputError: the room has no sampled Gaussians, or their file does not belong to them.
        """
        file = self.path / GAUSSIAN_INSTANCES
        if not file.is_file():
            raise InputError(
                f"{self.path} has no {GAUSSIAN_INSTANCES}: its Gaussians were not sampled; write the room again with "
                "`fit3d rooms ... --gaussians sampled`."
            )
        try:
            with np.load(file) as archive:
                instances = np.asarray(archive["instances"])
        except (ValueError, KeyError, OSError, EOFError) as error:
            raise InputError(f"{file} is damaged ({type(error).__name__}); {AGAIN}.") from error
        count = len(self.scene.gaussians)
        if instances.shape != (count,) or instances.dtype != np.int16:
            raise InputError(
                f"Expected {count} int16 instances in {file}, one for each Gaussian, found {instances.dtype} of shape "
                f"{list(instances.shape)}; {AGAIN}."
            )
        return instances

    def _map(self, kind: str, name: str, dtype: type) -> np.ndarray:
        import cv2

        camera = self.scene.view(name).camera
        file = self.path / kind / f"{name}.png"
        if not file.is_file():
            raise InputError(f"{self.path} lacks the map {kind}/{name}.png; {AGAIN}.")
        values = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        if values is None or values.dtype != dtype or values.shape[:2] != (camera.height, camera.width):
            found = "no picture" if values is None else f"{values.dtype} of {values.shape[1]}x{values.shape[0]}"
            raise InputError(
                f"Expected a {np.dtype(dtype)} picture of {camera.width}x{camera.height} pixels at {file}, "
                f"found {found}; {AGAIN}."
            )
        return values


def is_whole_room(path: Path, form: RoomFormat) -> bool:
    """Whether a folder holds a room of this version and format with all its files."""
    try:
        room = RoomScene.open(path)
    except InputError:
        return False
    files = [path / kind / f"{name}.png" for kind in MAPS for name in room.views]
    if form.gaussians == "sampled":
        files += [path / GAUSSIAN_INSTANCES, room.scene.gaussians_path]
    photos = [view.path for view in room.scene.views if view.path is not None]
    sizes = {(view.camera.width, view.camera.height) for view in room.scene.views}
    fits = len(room.views) == form.views and sizes == {(form.width, form.height)}
    return fits and all(file.is_file() for file in [*files, *photos])


def _described(path: Path, scene: Scene, content: dict[str, Any]) -> RoomScene:
    things = content["things"]
    if [thing["id"] for thing in things] != list(range(len(things))):
        raise ValueError("things are not numbered from 0")
    queries = tuple(Query(q["text"], q["kind"], tuple(int(i) for i in q["instances"])) for q in content["queries"])
    if any(not 0 <= i < len(things) for query in queries for i in query.instances):
        raise ValueError("a query names a thing that does not exist")
    x, y, z = (float(side) for side in content["size"])
    return RoomScene(
        path,
        scene,
        str(content["split"]),
        int(content["index"]),
        (x, y, z),
        tuple(content["classes"]),
        [ThingWords.from_json(thing) for thing in things],
        [str(thing["caption"]) for thing in things],
        queries,
        {int(index): int(count) for index, count in content["visible"].items()},
    )
