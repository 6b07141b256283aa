"""Where photos of a room are taken from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from render.camera import Camera
from render.errors import InputError
from training.rooms.rays import RayCaster
from training.rooms.surfaces import STRUCTURE, room_surfaces

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

    from training.rooms.layout import Room
    from training.rooms.surfaces import Surfaces

HEIGHTS = (1.0, 1.9)  # metres
FIELDS = (60.0, 75.0)  # degrees, horizontal
CLEARANCE = 0.28  # metres around a camera that are free
WALL = 0.3  # metres from the walls
PROBES = 64  # directions that look for what is near
CANDIDATES = 24  # positions drawn for every camera
NEAREST_TARGET = 1.0  # metres


def room_cameras(
    room: Room, count: int, width: int, height: int, seed: int, *, surfaces: Surfaces | None = None,
    caster: RayCaster | None = None,
) -> list[Camera]:  # fmt: skip
    """Cameras in the free space of a room, spread over it, each looking at a thing.

    Args:
        room: The room.
        count: How many.
        width: Of the images, in pixels.
        height: Of the images, in pixels.
        seed: Of all choices.
        surfaces: Those of the room, where they are at hand.
        caster: Their rays, where they are at hand.

    Raises:
        InputError: no position has enough space around it.
    """
    surfaces = room_surfaces(room) if surfaces is None else surfaces
    caster = RayCaster(surfaces.vertices, surfaces.faces, 1) if caster is None else caster
    random = np.random.default_rng(np.random.SeedSequence([seed, room.index, count]))
    positions = _spread(_free_positions(room, caster, max(count, 8) * CANDIDATES, random), count, random)
    targets = _targets(room, surfaces)
    cameras = []
    for index in range(count):
        position = positions[index % len(positions)]
        target = _target(position, targets, np.asarray(room.size, float), index, random)
        field = np.radians(random.uniform(*FIELDS))
        focal = width / 2 / np.tan(field / 2)
        K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float32)
        cameras.append(Camera(K, look_at(position, target), width, height))
    return cameras


def look_at(position: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"]) -> Float32[torch.Tensor, "4 4"]:
    """World to OpenCV camera axes, for a world whose z is up."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ position
    return torch.from_numpy(pose.astype(np.float32))


def _free_positions(room: Room, caster: RayCaster, count: int, random: np.random.Generator) -> Float[np.ndarray, "n 3"]:
    """Random positions with free space around them, from which the floor can be seen straight below or beside."""
    low = np.array([WALL, WALL, HEIGHTS[0]])
    high = np.array([room.size[0] - WALL, room.size[1] - WALL, min(HEIGHTS[1], room.size[2] - WALL)])
    positions = random.uniform(low, high, (count, 3))
    index = np.arange(PROBES) + 0.5
    z, angle = 1 - 2 * index / PROBES, index * np.pi * (3 - np.sqrt(5))
    directions = np.stack([np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z], -1)
    origins = np.repeat(positions, PROBES, axis=0).astype(np.float32)
    rays = np.tile(directions, (count, 1)).astype(np.float32)
    near = caster.blocked(origins, rays, CLEARANCE).reshape(count, PROBES).any(1)
    # A point inside a large cabinet is free too, but sees it from behind: every ray ends close.
    distances = caster.first_hits(origins, rays)[0].reshape(count, PROBES)
    free = positions[~near & (np.median(distances, axis=1) > 2 * CLEARANCE) & np.isfinite(distances).all(1)]
    if not len(free):
        raise InputError(
            f"Room {room.split}-{room.index} has no place for a camera: expected {CLEARANCE} m of free space around "
            "some point between 1.0 and 1.9 m; furnish it less."
        )
    return free


def _spread(positions: Float[np.ndarray, "n 3"], count: int, random: np.random.Generator) -> Float[np.ndarray, "m 3"]:
    """Farthest points first: every next one is the farthest from those before."""
    chosen = [int(random.integers(len(positions)))]
    nearest = np.full(len(positions), np.inf)
    for _ in range(min(count, len(positions)) - 1):
        nearest = np.minimum(nearest, np.linalg.norm((positions - positions[chosen[-1]]) * [1, 1, 0.6], axis=1))
        chosen.append(int(nearest.argmax()))
    return positions[chosen]


def _targets(room: Room, surfaces: Surfaces) -> Float[np.ndarray, "t 3"]:
    """Middles of the things in the room."""
    instance = surfaces.instance_of_part[surfaces.part_of_vertex]
    things = [i for i in range(STRUCTURE, len(room.things)) if (instance == i).any()]
    middles = [(surfaces.vertices[instance == i].min(0) + surfaces.vertices[instance == i].max(0)) / 2 for i in things]
    return np.array(middles or [np.asarray(room.size) / 2], float)


def _target(
    position: np.ndarray, targets: np.ndarray, size: np.ndarray, index: int, random: np.random.Generator
) -> Float[np.ndarray, "3"]:
    """Something to look at: mostly a thing that is not too near, every fourth time across the room."""
    away = np.linalg.norm((targets - position)[:, :2], axis=1)
    far = targets[away > NEAREST_TARGET]
    if index % 4 == 3 or not len(far):
        # Across the middle, so that a camera in a corner shows most of the room.
        target = size * [0.5, 0.5, 0.3] + random.uniform(-0.3, 0.3, 3)
        if np.linalg.norm((target - position)[:2]) > 0.5:
            return target
        far = targets[away > 0.3] if (away > 0.3).any() else size[None] * [0.9, 0.9, 0.3]
    target = far[int(random.integers(len(far)))] + random.uniform(-0.15, 0.15, 3)
    # Neither the ceiling nor the floor alone.
    slope = np.tan(np.radians(30)) * np.linalg.norm((target - position)[:2])
    target[2] = np.clip(target[2], position[2] - 1.2 * slope, position[2] + 0.2 * slope)
    return target
