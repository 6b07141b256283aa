"""Solids that furniture is made of: closed, of few triangles, in metres."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import trimesh
    from jaxtyping import Float


def turned_about_z(angle: float) -> Float[np.ndarray, "4 4"]:
    """A pose that turns by radians."""
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return pose


def moved(mesh: trimesh.Trimesh, x: float, y: float, z: float) -> trimesh.Trimesh:
    """Move a mesh itself, and return it."""
    mesh.apply_translation([x, y, z])
    return mesh


def block(x: float, y: float, z: float, at: tuple[float, float, float]) -> trimesh.Trimesh:
    """A box of these sides, whose bottom's middle is ``at``."""
    import trimesh

    return moved(trimesh.creation.box((x, y, z)), at[0], at[1], at[2] + z / 2)


def rod(radius: float, height: float, at: tuple[float, float, float], sections: int = 14) -> trimesh.Trimesh:
    """An upright cylinder whose bottom's middle is ``at``."""
    import trimesh

    mesh = trimesh.creation.cylinder(radius, height, sections=sections)
    return moved(mesh, at[0], at[1], at[2] + height / 2)


def lathe(profile: list[tuple[float, float]], sections: int = 20) -> trimesh.Trimesh:
    """A body of revolution about z from (radius, height) pairs, from bottom to top."""
    import trimesh

    return trimesh.creation.revolve(np.array(profile), sections=sections)


def globe(radius: float, at: tuple[float, float, float]) -> trimesh.Trimesh:
    """A sphere around ``at``."""
    import trimesh

    return moved(trimesh.creation.icosphere(2, radius), *at)


def pad(x: float, y: float, z: float, at: tuple[float, float, float], power: float = 0.3) -> trimesh.Trimesh:
    """A cushion of these sides (a superellipsoid; Barr 1981) whose bottom's middle is ``at``."""
    import trimesh

    mesh = trimesh.creation.icosphere(2, 1.0)
    bent = np.sign(mesh.vertices) * np.abs(mesh.vertices) ** power
    mesh.vertices = bent / np.abs(bent).max(0) * np.array([x, y, z]) / 2
    return moved(mesh, at[0], at[1], at[2] + z / 2)


def capsule(length: float, radius: float, sections: int) -> trimesh.Trimesh:
    """A rod with round ends whose lower end's middle is the origin and whose upper one's is above it."""
    import trimesh

    mesh = trimesh.creation.capsule(length, radius, count=(sections, 6))
    return moved(mesh, 0, 0, -radius - float(mesh.bounds[0, 2]))


def legs(x: float, y: float, height: float, thickness: float, *, round_: bool = False) -> trimesh.Trimesh:
    """Four legs at the corners of a rectangle of half sides ``x`` and ``y``."""
    corners = [(sx * (x - thickness / 2), sy * (y - thickness / 2), 0.0) for sx in (-1, 1) for sy in (-1, 1)]
    if round_:
        return joined(*(rod(thickness / 2, height, at, 8) for at in corners))
    return joined(*(block(thickness, thickness, height, at) for at in corners))


def joined(*meshes: trimesh.Trimesh) -> trimesh.Trimesh:
    """Several meshes as one."""
    import trimesh

    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    return trimesh.Trimesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]),
        process=False,
    )


def outline(half: tuple[float, float], turn: float) -> Float[np.ndarray, " 2"]:
    """Half the extent along x and y of a rectangle that is turned about z."""
    c, s = abs(np.cos(turn)), abs(np.sin(turn))
    return np.array([c * half[0] + s * half[1], s * half[0] + c * half[1]])
