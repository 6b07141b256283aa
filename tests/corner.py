"""The corner of a room, furnished by hand: every test that needs a scene whose things are known uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch

from render.camera import Camera
from render.scene import Scene, frame_of, write_scene
from tests.box_rooms import box
from training.rooms import furniture as make
from training.rooms.cameras import look_at
from training.rooms.furniture import Maker, Piece
from training.rooms.layout import Light, Room, Thing
from training.rooms.materials import Material
from training.rooms.rendering import RoomRenderer
from training.rooms.sampling import fitted, sample_gaussians

if TYPE_CHECKING:
    from jaxtyping import Bool, Int16

SIZE = (3.2, 3.2, 2.5)
LAMP = Light((2.2, 1.6, 2.4), (1.0, 0.95, 0.85), 0.4)
TARGET = np.array([0.8, 0.9, 0.5])  # what all cameras look at
FIELD_OF_VIEW = np.radians(62)  # horizontal
STEPS = 60  # of the fit
STRUCTURE = ("wall", "floor")
KEPT: list[TemporaryDirectory[str]] = []  # removed when the run ends


@dataclass(frozen=True, eq=False)
class Corner:
    """The scene and what stands in it.

    Attributes:
        scene: Photos, poses and Gaussians.
        names: Of all things.
        things: The indices of those that a person would select: all but floor and walls.
        labels: The thing of every Gaussian; ``[n]`` int16.
        maps: The thing of every pixel by view name, -1 where the room is open; each ``[h, w]`` int16.
    """

    scene: Scene
    names: tuple[str, ...]
    things: tuple[int, ...]
    labels: Int16[np.ndarray, " n"]
    maps: dict[str, Int16[np.ndarray, "h w"]]

    def mask(self, view: str, thing: int) -> Bool[np.ndarray, "h w"]:
        """The pixels of a thing in a photo."""
        return self.maps[view] == thing

    def best_view(self, thing: int) -> str:
        """The view that shows the most of a thing, the first of several."""
        return max(self.maps, key=lambda name: int(self.mask(name, thing).sum()))


@cache
def corner(*, count: int, views: int, width: int, height: int) -> Corner:
    """The corner with about so many Gaussians and so many photos; made once per run of the tests, not to be changed."""
    renderer = corner_renderer()
    cameras = corner_cameras(views, width, height)
    images = [renderer.render(camera) for camera in cameras]
    gaussians, labels = sample_gaussians(renderer, count)
    gaussians = fitted(gaussians, cameras, [image.rgb for image in images], steps=STEPS)
    temporary = TemporaryDirectory(prefix="fit3d-tests-")
    KEPT.append(temporary)
    folder = Path(temporary.name) / "corner"
    frames = [frame_of(camera, f"images/view_{i:02d}.png") for i, camera in enumerate(cameras)]
    transforms = {"camera_model": "PINHOLE", "frames": frames}
    write_scene(folder, gaussians, transforms, [image.rgb for image in images])
    scene = Scene.open(folder)
    names = tuple(thing.words.category for thing in renderer.room.things)
    things = tuple(i for i, name in enumerate(names) if name not in STRUCTURE)
    maps = {view.name: image.instances for view, image in zip(scene.views, images, strict=True)}
    return Corner(scene, names, things, labels, maps)


@cache
def corner_renderer() -> RoomRenderer:
    """The corner with its light."""
    return RoomRenderer(Room("test", 0, SIZE, tuple(_things()), (LAMP,)), threads=1)


def corner_cameras(views: int, width: int, height: int) -> list[Camera]:
    """Cameras on an arc in the open half of the room, low and high in turn, all looking at the furniture."""
    focal = width / 2 / np.tan(FIELD_OF_VIEW / 2)
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float32)
    cameras = []
    for index in range(views):
        angle = np.radians(12 + 66 * index / max(views - 1, 1))
        radius = 2.3 + 0.25 * np.sin(3.1 * index)
        height_above = (1.25, 1.65, 1.4, 1.9)[index % 4]
        position = np.array([TARGET[0] + radius * np.cos(angle), TARGET[1] + radius * np.sin(angle), height_above])
        cameras.append(Camera(K, look_at(position, TARGET), width, height))
    return cameras


def _things() -> list[Thing]:
    """Two walls, the floor, and what stands there; no two of a kind."""
    x, y, z = SIZE
    paper = Material("plain", ((0.80, 0.83, 0.74),), roughness=0.0)
    wood = Material("wood", ((0.72, 0.55, 0.36), (0.52, 0.36, 0.22)), 0.08)
    sides = (((0.1, y, z), (-0.05, y / 2, z / 2)), ((x, 0.1, z), (x / 2, -0.05, z / 2)))
    walls = [box("wall", extents, middle, paper) for extents, middle in sides]
    wall = Thing(walls[0].words, tuple(_moved(one) for one in walls), np.eye(4))
    things = [wall, box("floor", (x, y, 0.1), (x / 2, y / 2, -0.05), wood)]

    def put(piece: Piece, x: float, y: float, z: float = 0.001, turn: float = 0.0) -> None:
        pose = np.eye(4)
        pose[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        pose[:3, 3] = x, y, z - piece.foot
        things.append(Thing(piece.words, piece.parts, pose))

    put(made(make.rug, 3), 1.55, 1.35)
    table = made(lambda m: make.table(m, "desk"), 5)
    put(table, 0.45, 1.55, turn=np.pi / 2)
    top = table.height + 0.001
    put(made(make.vase, 73), 0.4, 1.15, top)
    put(made(make.bowl, 2), 0.45, 1.55, top)
    put(made(make.book_stack, 4), 0.42, 1.95, top, 0.3)
    put(made(make.chair, 6), 1.75, 0.6, turn=2.2)
    put(made(lambda m: make.plant(m, large=True), 7), 0.45, 0.45)
    put(made(make.ball, 116), 1.15, 1.5)
    put(made(lambda m: make.box(m, large=True), 9), 1.05, 0.45, turn=0.4)
    put(made(make.picture, 10), 1.1, 0.0, 1.5, np.pi)
    return things


def made(maker: Callable[[Maker], Piece], seed: int) -> Piece:
    """A piece of furniture by a seed."""
    return maker(Maker(np.random.default_rng(seed)))


def _moved(thing: Thing) -> make.Part:
    """A box with its place in its mesh, as a part of a larger thing."""
    (part,) = thing.parts
    mesh = part.mesh.copy()
    mesh.apply_transform(thing.pose)
    return make.Part(mesh, part.material)
