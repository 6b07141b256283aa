"""Compiled loops of the rooms: light at vertices, and what rays hit."""

from __future__ import annotations

import numpy as np

from render.rasterizer._kinds import Bools, Bytes, Floats, Ints, Words
from render.rasterizer._simd import kernel

MISSED = np.uint32(0xFFFFFFFF)  # the triangle of a ray that hits nothing
_ZERO = np.float32(0)
_ONE = np.float32(1)
_THIRD = np.float32(1 / 3)


@kernel
def gather(hits: Words, faces: Ints, leaving: Floats, share: float, out: Floats) -> None:
    """Light that arrives at vertices from the triangles that their rays hit.

    Args:
        hits: Triangle of each ray; ``[rays, v]``.
        faces: Corners of the triangles; ``[f, 3]``.
        leaving: Light that leaves the vertices; ``[v, 3]``.
        share: Of one ray.
        out: Added to; ``[v, 3]``.
    """
    weight = np.float32(share) * _THIRD
    for ray in range(hits.shape[0]):
        for vertex in range(hits.shape[1]):
            hit = hits[ray, vertex]
            if hit == MISSED:
                continue
            for k in range(3):
                corner = faces[hit, k]
                for c in range(3):
                    out[vertex, c] += weight * leaving[corner, c]


@kernel
def look(direction: Floats, turns: Floats, normals: Floats, origins: Floats, rays: Floats) -> None:
    """One ray for every vertex: a direction around +z, carried to around the vertex's normal (Duff et al. 2017).

    Args:
        direction: ``[3]``.
        turns: Angle by which each vertex turns it about its normal first; ``[v]``.
        normals: ``[v, 3]``.
        origins: ``[v, 3]``.
        rays: Written: origin and direction; ``[v, 6]``.
    """
    for vertex in range(len(normals)):
        nx, ny, nz = normals[vertex, 0], normals[vertex, 1], normals[vertex, 2]
        cosine, sine = np.cos(turns[vertex]), np.sin(turns[vertex])
        x = cosine * direction[0] - sine * direction[1]
        y = sine * direction[0] + cosine * direction[1]
        z = direction[2]
        sign = _ONE if nz >= _ZERO else -_ONE
        a = -_ONE / (sign + nz)
        b = nx * ny * a
        for c in range(3):
            rays[vertex, c] = origins[vertex, c]
        rays[vertex, 3] = x * (_ONE + sign * nx * nx * a) + y * b + z * nx
        rays[vertex, 4] = x * sign * b + y * (sign + ny * ny * a) + z * ny
        rays[vertex, 5] = -x * sign * nx - y * ny + z * nz


@kernel
def drop_backs(rays: Floats, backs: Floats, hits: Words) -> None:
    """Rays that leave a solid hit nothing.

    Args:
        rays: Origin and direction; ``[v, 6]``.
        backs: Normals of solid triangles, zeros for others; ``[f, 3]``.
        hits: Triangle of each ray, changed in place; ``[v]``.
    """
    for vertex in range(len(hits)):
        hit = hits[vertex]
        if hit == MISSED:
            continue
        away = _ZERO
        for c in range(3):
            away += rays[vertex, 3 + c] * backs[hit, c]
        if away > _ZERO:
            hits[vertex] = MISSED


@kernel
def interpolate(
    hits: Words,
    uvs: Floats,
    faces: Ints,
    vertices: Floats,
    normals: Floats,
    light: Floats,
    part_of_face: Ints,
    to_part: Floats,
    parts: Ints,
    points_out: Floats,
    normals_out: Floats,
    light_out: Floats,
) -> None:
    """Points and normals in the frame of the part that was hit, and the light there; rays that miss get part -1.

    Args:
        hits: Triangle of each ray; ``[m]``.
        uvs: Weights of its second and third corner; ``[m, 2]``.
        faces: ``[f, 3]``.
        vertices: ``[v, 3]``.
        normals: ``[v, 3]``.
        light: ``[v, 3]``.
        part_of_face: ``[f]``.
        to_part: World to part; ``[p, 3, 4]``.
        parts: Written; ``[m]``.
        points_out: Written; ``[m, 3]``.
        normals_out: Written; ``[m, 3]``.
        light_out: Written; ``[m, 3]``.
    """
    point = np.empty(3, np.float32)
    normal = np.empty(3, np.float32)
    for ray in range(len(hits)):
        hit = hits[ray]
        if hit == MISSED:
            parts[ray] = -1
            for c in range(3):
                points_out[ray, c] = _ZERO
                normals_out[ray, c] = _ZERO
                light_out[ray, c] = _ZERO
            continue
        part = part_of_face[hit]
        parts[ray] = part
        i, j, k = faces[hit, 0], faces[hit, 1], faces[hit, 2]
        v, w = uvs[ray, 0], uvs[ray, 1]
        u = _ONE - v - w
        length = _ZERO
        for c in range(3):
            point[c] = u * vertices[i, c] + v * vertices[j, c] + w * vertices[k, c]
            normal[c] = u * normals[i, c] + v * normals[j, c] + w * normals[k, c]
            light_out[ray, c] = u * light[i, c] + v * light[j, c] + w * light[k, c]
            length += normal[c] * normal[c]
        length = _ONE / np.sqrt(max(length, np.float32(1e-12)))
        for r in range(3):
            a, b, c = to_part[part, r, 0], to_part[part, r, 1], to_part[part, r, 2]
            points_out[ray, r] = a * point[0] + b * point[1] + c * point[2] + to_part[part, r, 3]
            normals_out[ray, r] = (a * normal[0] + b * normal[1] + c * normal[2]) * length


@kernel
def world_normals(hits: Words, uvs: Floats, directions: Floats, faces: Ints, normals: Floats, out: Floats) -> None:
    """Unit normals at hits, turned to where the ray comes from; zeros where it misses.

    Args:
        hits: ``[m]``.
        uvs: ``[m, 2]``.
        directions: Of the rays; ``[m, 3]``.
        faces: ``[f, 3]``.
        normals: ``[v, 3]``.
        out: Written; ``[m, 3]``.
    """
    for ray in range(len(hits)):
        hit = hits[ray]
        if hit == MISSED:
            for c in range(3):
                out[ray, c] = _ZERO
            continue
        i, j, k = faces[hit, 0], faces[hit, 1], faces[hit, 2]
        v, w = uvs[ray, 0], uvs[ray, 1]
        u = _ONE - v - w
        length, toward = np.float32(1e-12), _ZERO
        for c in range(3):
            value = u * normals[i, c] + v * normals[j, c] + w * normals[k, c]
            out[ray, c] = value
            length += value * value
            toward += value * directions[ray, c]
        factor = (_ONE if toward <= _ZERO else -_ONE) / np.sqrt(length)
        for c in range(3):
            out[ray, c] *= factor


@kernel
def spread(counts: Ints, colours: Floats, out: Floats) -> None:
    """Mean of consecutive colours: pixel ``i`` takes the next ``counts[i]``; pixels without any stay.

    Args:
        counts: ``[p]``.
        colours: ``[sum of counts, 3]``.
        out: Holds the sum of one colour already where counts > 0; becomes the mean with it; ``[p, 3]``.
    """
    row = 0
    for pixel in range(len(counts)):
        count = counts[pixel]
        if count == 0:
            continue
        share = _ONE / np.float32(count + 1)
        for _ in range(count):
            for c in range(3):
                out[pixel, c] += colours[row, c]
            row += 1
        for c in range(3):
            out[pixel, c] *= share


@kernel
def encode(linear: Floats, table: Bytes, brightest: float, out: Bytes) -> None:
    """Linear colours to bytes through a table over the square roots of [0, brightest].

    Args:
        linear: ``[m, 3]``.
        table: ``[t]``.
        brightest: Where the table ends.
        out: Written; ``[m, 3]``.
    """
    inverse = _ONE / np.float32(brightest)
    last = np.float32(len(table) - 1)
    for row in range(len(linear)):
        for c in range(3):
            value = min(max(linear[row, c] * inverse, _ZERO), _ONE)
            out[row, c] = table[int(np.sqrt(value) * last + np.float32(0.5))]


@kernel
def smooth(faces: Ints, values: Floats, weights: Floats, sums: Floats, counts: Floats) -> None:
    """Weighted sums of the values at the corners of all triangles around each vertex, and of the weights.

    Args:
        faces: ``[f, 3]``.
        values: ``[v, 3]``.
        weights: Of the values; ``[v]``.
        sums: Added to; ``[v, 3]``.
        counts: Added to; ``[v]``.
    """
    for face in range(len(faces)):
        i, j, k = faces[face, 0], faces[face, 1], faces[face, 2]
        a, b, c = weights[i], weights[j], weights[k]
        total = a + b + c
        counts[i] += total
        counts[j] += total
        counts[k] += total
        for channel in range(3):
            value = a * values[i, channel] + b * values[j, channel] + c * values[k, channel]
            sums[i, channel] += value
            sums[j, channel] += value
            sums[k, channel] += value


@kernel
def thin(near: Ints, distances: Floats, radii: Floats, kept: Bools) -> None:
    """Drop points one after another that lie within the radius of one that was kept before.

    Args:
        near: Neighbours of each point; ``[m, k]``.
        distances: To them; ``[m, k]``.
        radii: ``[m]``.
        kept: All true; points that go become false; ``[m]``.
    """
    for row in range(len(near)):
        if not kept[row]:
            continue
        for k in range(near.shape[1]):
            other = near[row, k]
            if other > row and distances[row, k] < radii[row]:
                kept[other] = False
