"""Rooms of plain boxes, whose pictures can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import trimesh

from render.camera import Camera
from training.rooms.cameras import look_at
from training.rooms.layout import Light, Part, Room, Thing
from training.rooms.materials import Material
from training.rooms.words import ThingWords

SIZE = (3.0, 3.2, 2.5)
LAMP = Light((1.5, 1.6, 2.3), (1.0, 1.0, 1.0), 0.2)
GREY = Material("plain", ((0.7, 0.7, 0.7),), roughness=0.0)
RED = Material("plain", ((0.8, 0.1, 0.1),), roughness=0.0)


def box(
    category: str, extents: Sequence[float], middle: Sequence[float], material: Material = GREY, turn: float = 0.0
) -> Thing:
    """A box, turned around its vertical axis by ``turn`` radians."""
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    pose[:3, 3] = middle
    return Thing(ThingWords(category), (Part(trimesh.creation.box(extents), material),), pose)


def shell() -> list[Thing]:
    """Walls, floor and ceiling, 10 cm thick."""
    x, y, z = SIZE
    walls = []
    for extents, middle in (
        ((0.1, y, z), (-0.05, y / 2, z / 2)),
        ((0.1, y, z), (x + 0.05, y / 2, z / 2)),
        ((x, 0.1, z), (x / 2, -0.05, z / 2)),
        ((x, 0.1, z), (x / 2, y + 0.05, z / 2)),
    ):
        mesh = trimesh.creation.box(extents)
        mesh.apply_translation(middle)
        walls.append(Part(mesh, GREY))
    wall = Thing(ThingWords("wall"), tuple(walls), np.eye(4))
    floor = box("floor", (x, y, 0.1), (x / 2, y / 2, -0.05))
    return [wall, floor, box("ceiling", (x, y, 0.1), (x / 2, y / 2, z + 0.05))]


def room_of(*things: Thing, lights: tuple[Light, ...] = (LAMP,)) -> Room:
    """A room with these things in it."""
    return Room("test", 0, SIZE, (*shell(), *things), lights)


def camera_at(position: Sequence[float], target: Sequence[float], side: int = 64, focal: float = 50.0) -> Camera:
    """A square camera."""
    K = torch.tensor([[focal, 0, side / 2], [0, focal, side / 2], [0, 0, 1]])
    return Camera(K, look_at(np.array(position, float), np.array(target, float)), side, side)
