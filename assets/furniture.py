"""The objects of the demo scene: meshes made with trimesh, each with a procedural texture."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from assets import textures
from assets.textures import Texture

if TYPE_CHECKING:
    import trimesh
    from jaxtyping import Float

ROOM = 3.1  # metres along x and y
CEILING = 2.4
SMOOTH_ANGLE = np.radians(35)
STRUCTURE = ("floor", "papered wall", "panelled wall")  # what nobody would call an object


@dataclass(frozen=True)
class Part:
    """One piece of an object.

    Attributes:
        mesh: In the world frame (z up, metres), finely enough divided to carry light at its vertices.
        texture: Colours in the object's own frame.
        to_local: World to the object's own frame; ``[4, 4]``.
        density: Gaussians per unit area, relative to the walls.
        name: The object that a person would point at; several parts may share it.
    """

    mesh: trimesh.Trimesh
    texture: Texture
    to_local: Float[np.ndarray, "4 4"]
    density: float
    name: str = ""


def furnish() -> list[Part]:
    """Everything in the room corner: two walls, a floor and the things that stand there."""
    return [*_shell(), *_table(), *_on_the_table(), *_chair(), *_plant(), *_on_the_floor()]


def _called(name: str, parts: list[Part]) -> list[Part]:
    """The parts of one object."""
    return [replace(part, name=name) for part in parts]


def _placed(
    mesh: trimesh.Trimesh,
    texture: Texture,
    position: tuple[float, float, float],
    *,
    turn: float = 0.0,
    tilt: float = 0.0,
    density: float = 3.0,
) -> Part:
    """Split a mesh at sharp edges, tilt it about y, turn it about z (degrees), put it at ``position``."""
    import trimesh

    pose = trimesh.transformations.rotation_matrix(np.radians(turn), [0, 0, 1])
    pose = pose @ trimesh.transformations.rotation_matrix(np.radians(tilt), [0, 1, 0])
    pose[:3, 3] = position
    shaded = trimesh.graph.smooth_shade(mesh, angle=SMOOTH_ANGLE)
    shaded.apply_transform(pose)
    return Part(shaded, texture, np.linalg.inv(pose), density)


def _box(x: float, y: float, z: float, cell: float = 0.06) -> trimesh.Trimesh:
    """A box around the origin whose sides are divided into cells."""
    import trimesh

    half = np.array([x, y, z]) / 2
    corners, triangles, start = [], [], 0
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        for sign in (-1, 1):
            vertices, faces = _grid(half[u], half[v], cell)
            side = np.full((len(vertices), 3), sign * half[axis])
            side[:, u], side[:, v] = vertices.T
            corners.append(side)
            triangles.append(faces[:, ::sign] + start)
            start += len(vertices)
    return trimesh.Trimesh(np.concatenate(corners), np.concatenate(triangles), process=False)


def _grid(half_u: float, half_v: float, cell: float) -> tuple[np.ndarray, np.ndarray]:
    """A rectangle as a grid of triangle pairs, counter-clockwise: vertices ``[v, 2]``, faces ``[f, 3]``."""
    nu, nv = (int(np.ceil(2 * half / cell)) for half in (half_u, half_v))
    u, v = np.meshgrid(np.linspace(-half_u, half_u, nu + 1), np.linspace(-half_v, half_v, nv + 1), indexing="ij")
    a = (np.arange(nu)[:, None] * (nv + 1) + np.arange(nv)).reshape(-1)
    quads = np.stack([a, a + nv + 1, a + nv + 2, a, a + nv + 2, a + 1], axis=1)
    return np.stack([u, v], -1).reshape(-1, 2), quads.reshape(-1, 3)


def _lathe(profile: list[tuple[float, float]], sections: int = 32, cell: float = 0.05) -> trimesh.Trimesh:
    """A body of revolution around z from (radius, height) pairs, bottom to top."""
    import trimesh

    points = [np.array(profile[:1], float)]
    for start, end in itertools.pairwise(np.array(profile, float)):
        steps = int(np.ceil(np.linalg.norm(end - start) / cell))
        points.append(start + (end - start) * (np.arange(1, steps + 1) / steps)[:, None])
    return trimesh.creation.revolve(np.concatenate(points), sections=sections)


def _cylinder(radius: float, height: float, sections: int = 16, cell: float = 0.06) -> trimesh.Trimesh:
    """An upright cylinder around the origin."""
    h = height / 2
    return _lathe([(0, -h), (radius, -h), (radius, h), (0, h)], sections, cell)


def _shell() -> list[Part]:
    floor = textures.planks("c99a66", "8a5a34")
    paper = textures.damask("dfe3d2", "a9bb9c", "c4764f")
    panels = textures.panelled("e9dcc0", "d3b98f", "eef0ec")
    frame = textures.painting("3a2a20", 0.42, 0.3)
    half, middle = ROOM / 2, CEILING / 2
    parts = [
        _placed(_plane(2, half, half), floor, (half, half, 0), density=1.3),
        _placed(_plane(0, half, middle), paper, (0, half, middle), density=1.2),
        _placed(_plane(1, middle, half), _lifted(panels, middle), (half, 0, middle), density=1.2),
        _placed(_box(0.04, 0.84, 0.6), frame, (0.022, 1.3, 1.42), density=3),
    ]
    return [replace(part, name=name) for part, name in zip(parts, (*STRUCTURE, "picture"), strict=True)]


def _plane(axis: int, half_u: float, half_v: float, cell: float = 0.06) -> trimesh.Trimesh:
    """A rectangle around the origin that faces along +x, +y or +z (axis 0, 1, 2); u is the next axis."""
    import trimesh

    vertices, faces = _grid(half_u, half_v, cell)
    corners = np.zeros((len(vertices), 3))
    corners[:, (axis + 1) % 3], corners[:, (axis + 2) % 3] = vertices.T
    return trimesh.Trimesh(corners, faces, process=False)


def _lifted(texture: Texture, height: float) -> Texture:
    """A texture whose z counts from the floor, for an object whose own frame starts ``height`` above it."""

    def lifted(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        return texture(points + np.array([0, 0, height], np.float32), normals)

    return lifted


def _table() -> list[Part]:
    top, leg = textures.wood("b3774a", "7a4a2a", axis=1), textures.wood("a56b42", "6d4226", axis=2)
    parts = [_placed(_box(0.66, 1.15, 0.045), top, (0.4, 1.35, 0.72), density=2.5)]
    for x in (0.12, 0.68):
        for y in (0.85, 1.85):
            pole = _cylinder(0.03, 0.7)
            parts.append(_placed(pole, leg, (x, y, 0.35)))
    return _called("table", parts)


def _on_the_table() -> list[Part]:
    import trimesh

    top = 0.7425
    vase = _lathe(
        [
            (0, 0),
            (0.055, 0),
            (0.085, 0.06),
            (0.1, 0.13),
            (0.085, 0.21),
            (0.045, 0.27),
            (0.042, 0.31),
            (0.06, 0.34),
            (0.045, 0.335),
            (0, 0.3),
        ]
    )
    bowl = _lathe([(0, 0), (0.06, 0), (0.11, 0.035), (0.14, 0.085), (0.125, 0.085), (0.09, 0.04), (0, 0.02)])
    standing = _placed(vase, textures.glaze("e8e4da", "2f5f8a", "1d3f66"), (0.33, 1.06, top), density=8)
    fruit = [_placed(bowl, textures.glaze("d9ead8", "3f8f7f", "2a6a60"), (0.42, 1.62, top), density=8)]
    books = []
    fruits = [("e39b2d", 0.05, -0.035, 0.0), ("c9372c", 0.048, 0.045, 0.035), ("8fae3a", 0.046, 0.02, -0.055)]
    for colour, radius, x, y in fruits:
        ball = trimesh.creation.icosphere(subdivisions=3, radius=radius)
        fruit.append(_placed(ball, textures.plain(colour, 0.06), (0.42 + x, 1.62 + y, top + 0.085), density=8))
    for level, (colour, turn) in enumerate([("8c2f39", 8.0), ("e0a33e", -11.0), ("2f6f73", 21.0)]):
        cover = textures.checks(colour, "f3efe4", 10.0) if level != 1 else textures.checks(colour, "b9752a", 0.05)
        book = _placed(_box(0.16, 0.22, 0.035), cover, (0.5, 1.33, top + 0.018 + 0.0355 * level), turn=turn, density=8)
        books.append(book)
    return [*_called("vase", [standing]), *_called("fruit bowl", fruit), *_called("books", books)]


def _chair() -> list[Part]:
    blue, x, y, turn = textures.wood("4f86a8", "37688a", axis=2), 1.66, 0.52, 28.0
    turned = np.array(
        [
            [np.cos(np.radians(turn)), -np.sin(np.radians(turn))],
            [np.sin(np.radians(turn)), np.cos(np.radians(turn))],
        ]
    )

    def piece(size: tuple[float, float, float], at: tuple[float, float, float]) -> Part:
        px, py = turned @ np.array(at[:2])
        return _placed(_box(*size), blue, (x + px, y + py, at[2]), turn=turn, density=4)

    parts = [piece((0.4, 0.4, 0.035), (0, 0, 0.45)), piece((0.4, 0.03, 0.1), (0, -0.185, 0.9))]
    parts += [piece((0.035, 0.035, 0.45), (sx * 0.17, 0.175, 0.225)) for sx in (-1, 1)]
    parts += [piece((0.035, 0.035, 0.93), (sx * 0.18, -0.185, 0.465)) for sx in (-1, 1)]
    parts += [piece((0.035, 0.02, 0.4), (sx * 0.075, -0.185, 0.66)) for sx in (-1, 1)]
    cushion = textures.checks("f0e6d2", "d9822b", 0.075)
    px, py = turned @ np.array([0, 0.01])
    pillow = _placed(_box(0.36, 0.34, 0.05), cushion, (x + px, y + py, 0.492), turn=turn, density=5)
    return [*_called("chair", parts), *_called("cushion", [pillow])]


def _plant() -> list[Part]:
    import trimesh

    x, y = 0.42, 0.42
    pot = _lathe(
        [
            (0, 0),
            (0.12, 0),
            (0.165, 0.26),
            (0.185, 0.26),
            (0.185, 0.31),
            (0.16, 0.31),
            (0.15, 0.27),
            (0, 0.27),
        ]
    )
    vessel = _placed(pot, textures.glaze("c0683f", "d9855a", "8a4426"), (x, y, 0), density=5)
    green_parts = []
    random = np.random.default_rng(4)
    for index in range(16):
        turn = index * 137.5
        tilt = -25 - 42 * (index % 4) / 3
        size = random.uniform(0.24, 0.36)
        blade = trimesh.creation.icosphere(subdivisions=2)
        blade.apply_scale((size / 2, 0.065, 0.008))
        blade.apply_translation((size / 2 + 0.03, 0, 0))
        bend = blade.vertices.copy()
        bend[:, 2] -= 0.9 * bend[:, 0] ** 2
        blade.vertices = bend
        green = textures.leaf(*[("5d9a48", "2f6b34"), ("79b356", "3f7f3d")][index % 2])
        height = 0.3 + 0.028 * index
        green_parts.append(_placed(blade, green, (x, y, height), turn=turn, tilt=tilt, density=6))
    stem = _cylinder(0.012, 0.5, sections=10)
    green_parts.append(_placed(stem, textures.plain("5f7f3f"), (x, y, 0.5), density=4))
    return [*_called("flower pot", [vessel]), *_called("plant", green_parts)]


def _on_the_floor() -> list[Part]:
    import trimesh

    rug = _cylinder(0.62, 0.012, sections=64)
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.19)
    beach = textures.sectors("e4483a", "f7f3e8", "2d7fc1", "f7f3e8", "f2c230", "f7f3e8")
    box = textures.parcel("c49a6c", "e7d9b8", "4a3624")
    cube = textures.checks("f2f0ea", "c23b6b", 0.06)
    parts = [
        _placed(
            rug,
            textures.rings("8f2f2f", "e6d3a8", "27496d", "d98f4e", "e6d3a8"),
            (1.33, 1.33, 0.006),
            density=2.5,
        ),
        _placed(ball, beach, (1.12, 1.46, 0.202), turn=25, tilt=35, density=4),
        _placed(_box(0.42, 0.36, 0.3), box, (0.98, 0.5, 0.15), turn=-14, density=3),
        _placed(_box(0.18, 0.18, 0.18), cube, (0.95, 0.5, 0.39), turn=31, density=6),
        _placed(
            _box(0.1, 0.1, 0.1),
            textures.checks("2d7fc1", "f2c230", 0.05),
            (1.5, 1.12, 0.062),
            turn=17,
            density=8,
        ),
    ]
    names = ("rug", "beach ball", "parcel", "dotted cube", "block")
    return [replace(part, name=name) for part, name in zip(parts, names, strict=True)]
