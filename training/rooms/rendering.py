"""Pictures and maps of a room: colours, depth, normals, classes and instances by casting rays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.rooms._kernels import MISSED, encode, interpolate, spread, world_normals
from training.rooms.cameras import camera_rays
from training.rooms.lighting import bake_light
from training.rooms.materials import MaterialTable
from training.rooms.rays import RayCaster
from training.rooms.surfaces import STRUCTURE, Surfaces, room_surfaces
from training.rooms.words import VOID

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Int16, UInt8, UInt32

    from render.camera import Camera
    from training.rooms.layout import Room

MIDDLE = 0.23  # linear radiance of a room, on average over its surfaces
SHOULDER = 0.6  # linear radiance above which highlights are compressed instead of cut off
BRIGHTEST = 3.0  # linear radiance that is white
TABLE = 4096  # steps of brightness
EDGE = 7  # difference of bytes between neighbours that asks for more rays
SUBPIXELS = np.array([[-0.375, -0.125], [0.125, -0.375], [0.375, 0.125], [-0.125, 0.375]], np.float32)
SHADE = 0.9  # metres: a part of a lamp larger than this throws shadows of its own light


@dataclass(frozen=True, eq=False)
class RoomImage:
    """What a camera sees of a room.

    Attributes:
        rgb: sRGB; ``[h, w, 3]`` uint8.
        depth: Along the camera's z axis, at pixel centres, 0 = nothing; metres, ``[h, w]`` float32.
        normals: Unit length, world frame, towards the camera, 0 = nothing; ``[h, w, 3]`` float32.
        classes: Index of ``CLASSES``, 255 = nothing; ``[h, w]`` uint8.
        instances: Index of the room's things, -1 = nothing; ``[h, w]`` int16.
    """

    rgb: UInt8[np.ndarray, "h w 3"]
    depth: Float32[np.ndarray, "h w"]
    normals: Float32[np.ndarray, "h w 3"]
    classes: UInt8[np.ndarray, "h w"]
    instances: Int16[np.ndarray, "h w"]


class RoomRenderer:
    """Draws one room from any camera; its light is computed once, here.

    Args:
        room: What to draw.
        threads: How many threads rays may use; None = all cores.
    """

    def __init__(self, room: Room, *, threads: int | None = None) -> None:
        self.room = room
        self._materials = MaterialTable([part.material for thing in room.things for part in thing.parts])
        self.surfaces: Surfaces = room_surfaces(room)
        coarse = RayCaster(self.surfaces.vertices, self.surfaces.faces, threads)
        shadows = self._shadows(coarse, threads)
        self.surfaces, light = bake_light(self.surfaces, coarse, shadows, room.lights, self._albedo_of_vertices())
        self.caster = RayCaster(self.surfaces.vertices, self.surfaces.faces, threads)
        self.light = light * self._exposure(light)

    def render(self, camera: Camera) -> RoomImage:
        """Draw the room with all maps; colours take more rays where they change, maps belong to pixel centres."""
        h, w = camera.height, camera.width
        x, y = np.meshgrid(np.arange(w, dtype=np.float32) + 0.5, np.arange(h, dtype=np.float32) + 0.5)
        origin, directions = camera_rays(camera, x.ravel(), y.ravel())
        depth, hits, uvs = self.caster.first_hits(origin, directions)
        colours = self.radiance(hits, uvs)
        missed = hits == MISSED
        faces = np.where(missed, 0, hits)
        parts = np.where(missed, -1, self.surfaces.part_of_face[faces])
        normals = np.empty((h * w, 3), np.float32)
        world_normals(hits, uvs, directions, self.surfaces.faces, self.surfaces.normals, normals)
        edges = _edges(encoded(colours).reshape(h, w, 3), parts.reshape(h, w)).ravel()
        self._supersample(camera, x.ravel(), y.ravel(), edges, colours)
        return RoomImage(
            encoded(colours).reshape(h, w, 3),
            np.where(missed, np.float32(0), depth).reshape(h, w),
            normals.reshape(h, w, 3),
            np.where(missed, np.uint8(VOID), self.surfaces.class_of_part[parts]).reshape(h, w),
            np.where(missed, np.int16(-1), self.surfaces.instance_of_part[parts]).reshape(h, w),
        )

    def radiance(self, hits: UInt32[np.ndarray, " m"], uvs: Float32[np.ndarray, "m 2"]) -> Float32[np.ndarray, "m 3"]:
        """Linear colours of points on triangles; black for rays that hit nothing."""
        m, s = len(hits), self.surfaces
        parts, light = np.empty(m, np.int32), np.empty((m, 3), np.float32)
        points, normals = np.empty((m, 3), np.float32), np.empty((m, 3), np.float32)
        interpolate(
            hits, uvs, s.faces, s.vertices, s.normals, self.light, s.part_of_face, s.to_part,
            parts, points, normals, light,
        )  # fmt: skip
        light *= self._materials.albedo(np.maximum(parts, 0), points, normals)
        return light

    def _supersample(
        self, camera: Camera, x: np.ndarray, y: np.ndarray, edges: Bool[np.ndarray, " p"], colours: np.ndarray
    ) -> None:
        """Replace the colours of pixels by means over several rays."""
        chosen = np.flatnonzero(edges)
        if not len(chosen):
            return
        around = np.stack([x[chosen], y[chosen]], -1)[:, None] + SUBPIXELS
        origin, directions = camera_rays(camera, around[..., 0].ravel(), around[..., 1].ravel())
        _, hits, uvs = self.caster.first_hits(origin, directions)
        spread(edges.astype(np.int32) * len(SUBPIXELS), self.radiance(hits, uvs), colours)

    def _shadows(self, every: RayCaster, threads: int | None) -> RayCaster:
        """The triangles that throw shadows: not those of shades around a lamp's own light."""
        s = self.surfaces
        around = np.zeros(len(s.instance_of_part), bool)
        positions = np.array([light.position for light in self.room.lights], np.float32)
        for part in range(len(around)):
            if s.instance_of_part[part] < STRUCTURE:
                continue
            points = s.vertices[s.part_of_vertex == part]
            if not len(points) or np.ptp(points, axis=0).max() > SHADE:
                continue
            low, high = points.min(0) - 0.02, points.max(0) + 0.02
            around[part] = ((positions > low) & (positions < high)).all(1).any()
        if not around.any():
            return every
        return RayCaster(s.vertices, s.faces[~around[s.part_of_face]], threads)

    def _albedo_of_vertices(self) -> Float32[np.ndarray, "v 3"]:
        s = self.surfaces
        pose = s.to_part[s.part_of_vertex]
        points = np.einsum("vij,vj->vi", pose[..., :3], s.vertices) + pose[..., 3]
        normals = np.einsum("vij,vj->vi", pose[..., :3], s.normals)
        return self._materials.albedo(s.part_of_vertex, points, normals)

    def _exposure(self, light: Float32[np.ndarray, "v 3"]) -> np.float32:
        """What brings the room to a middle brightness, as a camera would."""
        s = self.surfaces
        corners = s.vertices[s.faces]
        areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        radiance = (light * self._albedo_of_vertices()).mean(1)[s.faces].mean(1)
        lit = radiance > 0.02 * np.average(radiance, weights=areas)
        return np.float32(MIDDLE / max(np.average(radiance[lit], weights=areas[lit]), 1e-6))


def encoded(linear: Float32[np.ndarray, "m 3"]) -> UInt8[np.ndarray, "m 3"]:
    """Linear colours as sRGB bytes; highlights are compressed."""
    out = np.empty((len(linear), 3), np.uint8)
    encode(linear, _TONES, BRIGHTEST, out)
    return out


def _tones() -> UInt8[np.ndarray, " t"]:
    """Bytes for radiances from 0 to ``BRIGHTEST``, evenly in their square root."""
    x = BRIGHTEST * np.linspace(0, 1, TABLE) ** 2
    bent = np.where(x < SHOULDER, x, 1 - (1 - SHOULDER) * np.exp((SHOULDER - x) / (1 - SHOULDER)))
    srgb = np.where(bent <= 0.0031308, 12.92 * bent, 1.055 * np.maximum(bent, 1e-9) ** (1 / 2.4) - 0.055)
    return (srgb * 255 + 0.5).astype(np.uint8)


_TONES = _tones()


def _edges(colours: UInt8[np.ndarray, "h w 3"], parts: np.ndarray) -> Bool[np.ndarray, "h w"]:
    """Pixels that differ from a neighbour, by part or by colour."""
    out = np.zeros(parts.shape, bool)
    values = colours.astype(np.int16)
    for axis in (0, 1):
        near = np.moveaxis(out, axis, 0)
        c, p = np.moveaxis(values, axis, 0), np.moveaxis(parts, axis, 0)
        differs = (np.abs(c[1:] - c[:-1]).max(-1) > EDGE) | (p[1:] != p[:-1])
        near[1:] |= differs
        near[:-1] |= differs
    return out
