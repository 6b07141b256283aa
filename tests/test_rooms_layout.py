"""Rooms: the same from the same numbers, furnished, and possible."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import numpy as np
import pytest

from render.errors import InputError
from training.rooms.layout import SPLIT_NUMBER, Room, Thing, build_room
from training.rooms.words import CLASSES

STRUCTURE = 3
HUNG = ("door", "window", "picture", "clock", "curtain")
DEEP = 0.03  # metres that things may sink into each other: cushions into mattresses, feet into rugs


@cache
def room(index: int, split: str = "train") -> Room:
    return build_room(split, index)


def points_of(thing: Thing) -> np.ndarray:
    points = np.concatenate([np.asarray(part.mesh.vertices) for part in thing.parts])
    return points @ thing.pose[:3, :3].T + thing.pose[:3, 3]


def samples_of(thing: Thing) -> np.ndarray:
    """Points of the surface: corners, and middles of small pieces of the triangles."""
    found = [points_of(thing)]
    for part in thing.parts:
        corners = np.asarray(part.mesh.vertices)[part.mesh.faces] @ thing.pose[:3, :3].T + thing.pose[:3, 3]
        for weights in ((1 / 3, 1 / 3, 1 / 3), (0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8), (0.5, 0.5, 0)):
            found.append(np.einsum("fkc,k->fc", corners, weights))
    return np.concatenate(found)


@cache
def solids(index: int) -> list[tuple[np.ndarray, list]]:
    """Bounds of every thing that is not the room itself, and each of its closed pieces as a scene for rays."""
    from open3d import core
    from open3d.t.geometry import RaycastingScene

    found = []
    for thing in room(index).things[STRUCTURE:]:
        scenes = []
        for part in thing.parts:
            for piece in part.mesh.split(only_watertight=False):
                scene = RaycastingScene(nthreads=1)
                vertices = np.asarray(piece.vertices) @ thing.pose[:3, :3].T + thing.pose[:3, 3]
                scene.add_triangles(
                    core.Tensor.from_numpy(vertices.astype(np.float32)),
                    core.Tensor.from_numpy(np.asarray(piece.faces).astype(np.uint32)),
                )
                scenes.append((np.stack([vertices.min(0), vertices.max(0)]), scene))
        found.append((np.stack([points_of(thing).min(0), points_of(thing).max(0)]), scenes))
    return found


def test_a_room_is_the_same_every_time() -> None:
    first, again = build_room("val", 5), build_room("val", 5)
    assert first.size == again.size
    assert first.lights == again.lights
    assert [thing.words for thing in first.things] == [thing.words for thing in again.things]
    for one, other in zip(first.things, again.things, strict=True):
        np.testing.assert_array_equal(one.pose, other.pose)
        for part, copy in zip(one.parts, other.parts, strict=True):
            assert part.material == copy.material
            np.testing.assert_array_equal(part.mesh.vertices, copy.mesh.vertices)


def test_no_room_of_one_split_is_in_another() -> None:
    sizes = {build_room(split, index).size for split in SPLIT_NUMBER for index in range(6)}
    assert len(sizes) == 6 * len(SPLIT_NUMBER)


@pytest.mark.parametrize(("split", "index"), [("training", 0), ("train", -1)])
def test_an_unknown_room_is_one_sentence(split: str, index: int) -> None:
    with pytest.raises(InputError, match="Expected a split of train, val, test and a number from 0"):
        build_room(split, index)


def test_walls_floor_and_ceiling_come_first_and_everything_is_inside() -> None:
    for index in range(8):
        found = room(index)
        assert [thing.words.category for thing in found.things[:STRUCTURE]] == ["wall", "floor", "ceiling"]
        assert all(2.9 <= side <= 4.5 for side in found.size[:2])
        assert 2.3 < found.size[2] < 2.9
        for thing in found.things[STRUCTURE:]:
            points = points_of(thing)
            assert (points > -0.01).all(), thing.words
            assert (points < np.array(found.size) + 0.01).all(), thing.words


def test_rooms_are_furnished_with_many_kinds_of_things() -> None:
    rooms = [room(index) for index in range(12)]
    seen = {thing.words.category for found in rooms for thing in found.things}
    assert len(seen) >= 26
    assert seen <= set(CLASSES)
    counts = [len(found.things) - STRUCTURE for found in rooms]
    assert min(counts) >= 12
    assert max(counts) <= 45
    assert 18 <= np.mean(counts) <= 32
    colours = {thing.words.colour for found in rooms for thing in found.things}
    kinds = {part.material.kind for found in rooms for thing in found.things for part in thing.parts}
    shapes = {thing.words.shape for found in rooms for thing in found.things}
    assert len(colours) >= 12
    assert len(kinds) >= 12
    assert len(shapes) >= 10


def test_two_of_a_kind_differ() -> None:
    for category in ("chair", "table", "lamp", "plant", "picture", "sofa", "vase"):
        sizes = {
            tuple(np.round(np.ptp(points_of(thing) @ np.diag([1, 1, 1.0]), axis=0), 3))
            for index in range(12)
            for thing in room(index).things
            if thing.words.category == category
        }
        assert len(sizes) >= 3, category


def test_meshes_are_light_closed_and_look_outwards() -> None:
    for index in range(6):
        assert sum(len(part.mesh.faces) for thing in room(index).things for part in thing.parts) < 30_000
        for thing in room(index).things:
            for part in thing.parts:
                # The sum over triangles of six times the tetrahedron to the origin, piece by piece.
                for piece in part.mesh.split(only_watertight=False):
                    a, b, c = (np.asarray(piece.vertices)[piece.faces[:, k]] for k in range(3))
                    volume = (np.cross(a, b) * c).sum() / 6
                    assert volume > 0, (index, thing.words)
                    edges = np.sort(np.asarray(piece.faces)[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
                    assert (np.unique(edges, axis=0, return_counts=True)[1] % 2 == 0).all(), (index, thing.words)


@pytest.mark.parametrize("index", range(5))
def test_nothing_stands_in_something_else(index: int) -> None:
    from open3d import core

    found = room(index).things[STRUCTURE:]
    for i, thing in enumerate(found):
        points = samples_of(thing).astype(np.float32)
        for j, (bounds, scenes) in enumerate(solids(index)):
            if i == j or "rug" in (thing.words.category, found[j].words.category):
                continue
            if not ((points > bounds[0]) & (points < bounds[1])).all(1).any():
                continue
            for extent, scene in scenes:
                near = points[((points > extent[0]) & (points < extent[1])).all(1)]
                if not len(near):
                    continue
                inside = -scene.compute_signed_distance(core.Tensor.from_numpy(near), nthreads=1, nsamples=3).numpy()
                assert inside.max() < DEEP, f"{thing.words} is {inside.max():.3f} m in {found[j].words}"


@pytest.mark.parametrize("index", range(5))
def test_nothing_floats(index: int) -> None:
    found = room(index)
    everything = [points_of(thing) for thing in found.things]
    for i, thing in enumerate(found.things[STRUCTURE:], STRUCTURE):
        low = everything[i][:, 2].min()
        if low < DEEP or thing.words.shape == "ceiling lamp":
            continue
        if thing.words.category in HUNG:
            distance = min(
                (everything[i][:, :2].min(0)).min(), (np.array(found.size[:2]) - everything[i][:, :2].max(0)).min()
            )
            assert distance < 0.03, thing.words
            continue
        foot = everything[i][everything[i][:, 2] < low + 0.02].mean(0)
        carriers = [
            scene
            for j, (_, scenes) in enumerate(solids(index))
            if j + STRUCTURE != i
            for extent, scene in scenes
            if (extent[0, :2] < foot[:2]).all() and (foot[:2] < extent[1, :2]).all()
        ]
        assert any(_below(scene, foot) < DEEP for scene in carriers), (thing.words, foot)


def _below(scene: Any, foot: np.ndarray) -> float:
    """How far the next surface is below a point that may be a little inside it."""
    from open3d import core

    ray = np.array([[foot[0], foot[1], foot[2] + DEEP, 0, 0, -1]], np.float32)
    return float(abs(scene.cast_rays(core.Tensor.from_numpy(ray), nthreads=1)["t_hit"].numpy()[0] - DEEP))


def test_there_is_floor_to_walk_on() -> None:
    for index in range(8):
        found = room(index)
        cells = np.stack(np.meshgrid(np.arange(0.05, found.size[0], 0.1), np.arange(0.05, found.size[1], 0.1)), -1)
        free = np.ones(cells.shape[:2], bool)
        for thing in found.things[STRUCTURE:]:
            points = points_of(thing)
            if thing.words.category == "rug" or points[:, 2].min() > 1.9:
                continue
            low, high = points[:, :2].min(0), points[:, :2].max(0)
            free &= ~((cells > low) & (cells < high)).all(-1)
        assert free.mean() > 0.25


def test_lights_shine_inside_the_room() -> None:
    for index in range(12):
        found = room(index)
        assert 1 <= len(found.lights) <= 6
        for light in found.lights:
            assert all(0 < light.position[i] < found.size[i] for i in range(3))
            assert all(colour > 0 for colour in light.colour)
            assert light.radius > 0


def test_rooms_are_built_quickly() -> None:
    build_room("val", 0)
    start = time.process_time()
    for index in range(1, 6):
        build_room("val", index)
    assert (time.process_time() - start) / 5 < 0.3
