"""Where photos of a room are taken from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from render.camera import Camera
from render.errors import InputError
from training.rooms._kernels import MISSED
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
INSIDE = 0.2  # share of rays that see a solid from behind, from where a point is inside it
PROBES = 64  # directions that look for what is near
CANDIDATES = 24  # positions drawn for every camera
NEAREST_TARGET = 1.0  # metres
STEEPEST, FLATTEST = 0.7, 0.1  # slopes of the view, down and up
TRIES = 6  # targets tried for every camera
GLANCE = (28, 21)  # rays that tell what a camera would show
ENOUGH = 5  # of those rays on a thing show it well
CLOSE = 0.9  # metres: a camera that sees half of its rays end nearer shows nothing


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
    positions = _spread(free_positions(room, surfaces, caster, max(count, 8) * CANDIDATES, random), count, random)
    targets = _targets(room, surfaces)
    cameras: list[Camera] = []
    times_seen = np.zeros(len(room.things))
    for index in range(count):
        position = positions[index % len(positions)]
        focal = width / 2 / np.tan(np.radians(random.uniform(*FIELDS)) / 2)
        K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float32)
        tried = [
            Camera(
                K,
                look_at(position, _target(position, targets, np.asarray(room.size, float), k == 0, random)),
                width,
                height,
            )
            for k in range(TRIES)
        ]
        shown = [_shown(camera, surfaces, caster, len(room.things)) for camera in tried]
        best = int(np.argmax([(seen / (1 + times_seen)).sum() for seen in shown]))
        cameras.append(tried[best])
        times_seen += shown[best]
    return cameras


def _shown(camera: Camera, surfaces: Surfaces, caster: RayCaster, things: int) -> Float[np.ndarray, " things"]:
    """How well a camera shows each thing, from 0 to 1; nothing if it looks at something close."""
    small = camera.resized(*GLANCE)
    y, x = np.divmod(np.arange(GLANCE[0] * GLANCE[1]), GLANCE[0])
    origin, directions = camera_rays(small, x + 0.5, y + 0.5)
    depth, hits, _ = caster.first_hits(origin, directions)
    found = np.isfinite(depth)
    pixels = np.bincount(surfaces.instance_of_part[surfaces.part_of_face[hits[found]]], minlength=things)
    return np.minimum(pixels / ENOUGH, 1) * (np.median(depth) > CLOSE)


def camera_rays(
    camera: Camera, x: Float[np.ndarray, " m"], y: Float[np.ndarray, " m"]
) -> tuple[Float32[np.ndarray, "3"], Float32[np.ndarray, "m 3"]]:
    """Centre of a camera, and directions through points of its image (pixels) whose depth is 1."""
    pose, K = camera.world_to_camera.double().numpy(), camera.K.double().numpy()
    local = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], -1)
    return (-pose[:3, :3].T @ pose[:3, 3]).astype(np.float32), (local @ pose[:3, :3]).astype(np.float32)


def zoomed(camera: Camera, factor: float) -> Camera:
    """The same camera with its focal lengths multiplied; it still looks at the same point."""
    K = camera.K.clone()
    K[0, 0], K[1, 1] = factor * K[0, 0], factor * K[1, 1]
    return replace(camera, K=K)


def look_at(position: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"]) -> Float32[torch.Tensor, "4 4"]:
    """World to OpenCV camera axes, for a world whose z is up."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ position
    return torch.from_numpy(pose.astype(np.float32))


def free_positions(
    room: Room, surfaces: Surfaces, caster: RayCaster, count: int, random: np.random.Generator
) -> Float[np.ndarray, "n 3"]:
    """Random positions with free space around them.

    Raises:
        InputError: there are none.
    """
    low = np.array([WALL, WALL, HEIGHTS[0]])
    high = np.array([room.size[0] - WALL, room.size[1] - WALL, min(HEIGHTS[1], room.size[2] - WALL)])
    positions = random.uniform(low, high, (count, 3))
    index = np.arange(PROBES) + 0.5
    z, angle = 1 - 2 * index / PROBES, index * np.pi * (3 - np.sqrt(5))
    directions = np.stack([np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z], -1)
    origins = np.repeat(positions, PROBES, axis=0).astype(np.float32)
    rays = np.tile(directions, (count, 1)).astype(np.float32)
    near = caster.blocked(origins, rays, CLEARANCE).reshape(count, PROBES).any(1)
    # A point inside a large cabinet is free too, but sees it from behind.
    _, hits, _ = caster.first_hits(origins, rays)
    behind = np.zeros(len(rays), bool)
    found = hits != MISSED
    behind[found] = (rays[found] * surfaces.backs[hits[found]]).sum(1) > 0
    inside = behind.reshape(count, PROBES).mean(1) > INSIDE
    free = positions[~near & ~inside]
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
    position: np.ndarray, targets: np.ndarray, size: np.ndarray, across: bool, random: np.random.Generator
) -> Float[np.ndarray, "3"]:
    """Something to look at: a thing that is not too near, or across the middle of the room."""
    away = np.linalg.norm((targets - position)[:, :2], axis=1)
    far = targets[away > NEAREST_TARGET]
    if across or not len(far):
        # Not the middle itself: a camera may stand there.
        far = (size * [0.5, 0.5, 0.3] + (size * [0.5, 0.5, 0] - position * [1, 1, 0]) * 0.8)[None]
        if np.linalg.norm((far[0] - position)[:2]) < NEAREST_TARGET / 2:
            far = size[None] * [0.95, 0.9, 0.3]
    target = far[int(random.integers(len(far)))] + random.uniform(-0.2, 0.2, 3)
    # Neither the ceiling nor the floor alone.
    level = np.linalg.norm((target - position)[:2])
    target[2] = np.clip(target[2], position[2] - STEEPEST * level, position[2] + FLATTEST * level)
    return target
