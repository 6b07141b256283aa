"""Light at the vertices of a room: soft shadows of its lamps and what walls and things throw back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.rooms._kernels import MISSED, drop_backs, gather, look, smooth
from training.rooms.rays import RayCaster

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float32, UInt32

    from training.rooms.layout import Light
    from training.rooms.surfaces import Surfaces

SPOTS = 16  # points on every lamp
RAYS = 64  # directions that look for reflected light
BOUNCES = 4
LIFT, SHIFT = 0.004, 0.012  # metres off the surface, and towards the middle of the faces around
SMOOTHINGS = 3
NEAREST = 0.6  # metres: within about this distance a lamp lights no more strongly, as if it were that large
DIVISIONS = 2  # times that edges of shadows are halved
CHANGE = 0.15  # of direct light along an edge, relative to all light there, that is the edge of a shadow
SHORTEST = 0.04  # metres: shorter edges stay
GAP = 0.04  # metres: closer than this to something else a surface counts as covered
RINGS = 8  # of vertices around what can be seen
GOLDEN = np.pi * (3 - np.sqrt(5))


def bake_light(
    surfaces: Surfaces,
    caster: RayCaster,
    shadows: RayCaster,
    lights: Sequence[Light],
    albedo: Float32[np.ndarray, "v 3"],
) -> tuple[Surfaces, Float32[np.ndarray, "u 3"]]:
    """Irradiance at every vertex in units of the lamps' colours at one metre.

    Direct light comes from points on each lamp; reflected light is gathered along cosine-weighted rays, a few
    times over (radiosity with the vertices as its elements; Cohen and Wallace 1993, chapter 4).  Where direct light
    changes within a triangle, the edge of a shadow, surfaces are divided further.

    Args:
        surfaces: The room.
        caster: Its triangles.
        shadows: The triangles that throw shadows: without the shades that lamps stand in.
        lights: The lamps.
        albedo: Reflectance of the vertices, linear.

    Returns:
        The divided surfaces, and the light at their vertices.
    """
    origins = _origins(surfaces)
    direct = _direct(origins, surfaces.normals, shadows, lights)
    hits = _look_around(surfaces, origins, caster)
    buried = surfaces.hidden() | _buried(surfaces, caster, origins, surfaces.normals)
    indirect = np.zeros_like(direct)
    for _ in range(BOUNCES):
        leaving = (direct + indirect) * albedo
        indirect = np.zeros_like(direct)
        gather(hits, surfaces.faces, leaving, 1 / RAYS, indirect)
    outside = (~buried).astype(np.float32)
    for _ in range(SMOOTHINGS):
        indirect, _ = _smoothed(surfaces, indirect, outside)
    coarse = surfaces
    for _ in range(DIVISIONS):
        surfaces, pairs = surfaces.halved(_shadow_edges(surfaces, direct, direct + indirect, buried))
        origins, normals = _origins(surfaces)[len(direct) :], surfaces.normals[len(direct) :]
        indirect = np.concatenate([indirect, indirect[pairs].mean(1)])
        covered = surfaces.hidden()[len(direct) :] | _buried(coarse, caster, origins, normals)
        buried = np.concatenate([buried, covered])
        direct = np.concatenate([direct, _direct(origins, normals, shadows, lights)])
    return surfaces, _filled(surfaces, direct + indirect, buried)


def _shadow_edges(
    surfaces: Surfaces,
    direct: Float32[np.ndarray, "v 3"],
    light: Float32[np.ndarray, "v 3"],
    buried: Bool[np.ndarray, " v"],
) -> Bool[np.ndarray, "f 3"]:
    """Edges along which direct light changes much, for its brightness and for an even gradient."""
    ends = np.stack([surfaces.faces, np.roll(surfaces.faces, -1, axis=1)])
    first, second = direct.mean(1)[ends]
    change = np.abs(first - second)
    known = ~buried[ends].any(0)
    strong = change > CHANGE * light.mean(1)[ends].mean(0)
    return strong & known & (surfaces.edge_lengths() > SHORTEST)


def _origins(surfaces: Surfaces) -> Float32[np.ndarray, "v 3"]:
    """Where light is measured: a little above the surface and within it, so that no vertex sits in a neighbour."""
    around, _ = _smoothed(surfaces, surfaces.vertices, np.ones(len(surfaces.vertices), np.float32))
    inwards = around - surfaces.vertices
    length = np.linalg.norm(inwards, axis=1, keepdims=True)
    inwards *= np.minimum(0.5, SHIFT / np.maximum(length, 1e-6))
    return (surfaces.vertices + inwards + LIFT * surfaces.normals).astype(np.float32)


def _direct(
    origins: Float32[np.ndarray, "v 3"],
    normals: Float32[np.ndarray, "v 3"],
    shadows: RayCaster,
    lights: Sequence[Light],
) -> Float32[np.ndarray, "v 3"]:
    """Light straight from lamps."""
    return sum((_from_lamp(origins, normals, shadows, light) for light in lights), np.zeros_like(origins))


def _from_lamp(
    origins: Float32[np.ndarray, "v 3"], normals: Float32[np.ndarray, "v 3"], shadows: RayCaster, light: Light
) -> Float32[np.ndarray, "v 3"]:
    """Light straight from a lamp: a disc that faces every vertex."""
    toward = np.asarray(light.position, np.float32) - origins
    facing = np.flatnonzero((toward * normals).sum(1) > -float(light.radius))
    toward, starts, above = toward[facing], origins[facing], normals[facing]
    across = np.cross(toward, np.array([0.31, 0.17, 0.93], np.float32))
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    upwards = np.cross(across, toward)
    upwards /= np.linalg.norm(upwards, axis=1, keepdims=True)
    total = np.zeros(len(facing), np.float32)
    for spot in range(SPOTS):
        radius, angle = float(light.radius) * np.sqrt((spot + 0.5) / SPOTS), spot * GOLDEN
        ray = toward + np.float32(radius * np.cos(angle)) * across + np.float32(radius * np.sin(angle)) * upwards
        squared = (ray * ray).sum(1)
        received = np.maximum((ray * above).sum(1), 0) / np.sqrt(squared) / (squared + NEAREST**2)
        lit = received > 0
        received[lit] *= ~shadows.blocked(starts[lit], ray[lit], 0.99)
        total += received
    out = np.zeros_like(origins)
    out[facing] = (total / SPOTS)[:, None] * np.asarray(light.colour, np.float32)
    return out


def _look_around(
    surfaces: Surfaces, origins: Float32[np.ndarray, "v 3"], caster: RayCaster
) -> UInt32[np.ndarray, "rays v"]:
    """The triangles that cosine-weighted rays from every vertex hit; none where they leave a solid."""
    index = np.arange(RAYS) + 0.5
    radius, angle = np.sqrt(index / RAYS), index * GOLDEN
    local = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - radius**2)], -1).astype(np.float32)
    # Each vertex turns the pattern by its own angle: what remains is fine noise, which is smoothed, and no bands.
    turns = np.random.default_rng(0).uniform(0, 2 * np.pi, len(origins)).astype(np.float32)
    hits = np.empty((RAYS, len(origins)), np.uint32)
    rays = np.empty((len(origins), 6), np.float32)
    for ray, direction in enumerate(local):
        look(direction, turns, surfaces.normals, origins, rays)
        hits[ray] = caster.cast(rays)[1]
        drop_backs(rays, surfaces.backs, hits[ray])
    return hits


def _buried(
    surfaces: Surfaces, caster: RayCaster, origins: Float32[np.ndarray, "v 3"], normals: Float32[np.ndarray, "v 3"]
) -> Bool[np.ndarray, " v"]:
    """Which points of surfaces lie inside something solid, or in a narrow gap, so that nobody sees them."""
    depth, hits, _ = caster.first_hits(origins, normals)
    found = hits != MISSED
    inside = np.zeros(len(origins), bool)
    inside[found] = (normals[found] * surfaces.backs[hits[found]]).sum(1) > 0
    return inside | (depth < GAP)


def _smoothed(
    surfaces: Surfaces, values: Float32[np.ndarray, "v 3"], weights: Float32[np.ndarray, " v"]
) -> tuple[Float32[np.ndarray, "v 3"], Float32[np.ndarray, " v"]]:
    """Weighted means over the triangles around each vertex, and the sums of the weights."""
    sums, counts = np.zeros_like(values), np.zeros(len(values), np.float32)
    smooth(surfaces.faces, values, weights, sums, counts)
    return np.where(counts[:, None] > 0, sums / np.maximum(counts, 1e-9)[:, None], values).astype(np.float32), counts


def _filled(
    surfaces: Surfaces, values: Float32[np.ndarray, "v 3"], buried: Bool[np.ndarray, " v"]
) -> Float32[np.ndarray, "v 3"]:
    """Light of vertices inside something, taken from those around: else their darkness would show outside."""
    known = ~buried
    for _ in range(RINGS):
        means, counts = _smoothed(surfaces, values, known.astype(np.float32))
        reached = ~known & (counts > 0)
        values = np.where(reached[:, None], means, values)
        known |= reached
    return values


def normal_frames(normals: Float32[np.ndarray, "m 3"]) -> Float32[np.ndarray, "m 3 3"]:
    """Rotations that take +z to the normals (Duff et al. 2017)."""
    x, y, z = normals.T
    sign = np.where(z >= 0, np.float32(1), np.float32(-1))
    a = -1 / (sign + z)
    b = x * y * a
    columns = [
        np.stack([1 + sign * x * x * a, sign * b, -sign * x], -1),
        np.stack([b, sign + y * y * a, -y], -1),
    ]
    return np.stack([*columns, normals], axis=-1)
