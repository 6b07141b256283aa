"""All parts of a room as one finely divided mesh with smooth normals, ready for light and for rays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from training.rooms.words import CLASSES

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Int16, Int32, Int64, UInt8

    from training.rooms.layout import Room

COARSEST, FINEST = 0.16, 0.05  # metres: longest edges of large and of small parts
EDGES_PER_PART = 3  # an edge is at most this share of its part's extent
CREASE = np.cos(np.radians(38))  # faces that meet at a sharper angle do not share a normal
MERGED = 1e-5  # metres: vertices closer than this are one
STRUCTURE = 3  # walls, floor and ceiling are the first things
BEHIND = 0.001  # metres beyond the room's box, from where a wall lies behind another
OUTSIDE = 0.01  # metres beyond the room's box, where nobody sees a wall


@dataclass(frozen=True, eq=False)
class Surfaces:
    """A room as triangles in the world frame.

    Attributes:
        vertices: Metres; ``[v, 3]`` float32.
        normals: Unit length, smooth within 38 degrees; ``[v, 3]`` float32.
        faces: Corners of each triangle; ``[f, 3]`` int32.
        part_of_face: Index over all parts of all things; ``[f]`` int32.
        part_of_vertex: The same for vertices; ``[v]`` int32.
        instance_of_part: Index of the room's things; ``[p]`` int16.
        class_of_part: Index of ``CLASSES``; ``[p]`` uint8.
        to_part: World to the part's own frame; ``[p, 3, 4]`` float32.
        size: Of the room along x, y and z; metres, ``[3]`` float32.
        solid: Whether a part's mesh is closed, so that whoever sees it from behind is inside; ``[p]`` bool.
    """

    vertices: Float32[np.ndarray, "v 3"]
    normals: Float32[np.ndarray, "v 3"]
    faces: Int32[np.ndarray, "f 3"]
    part_of_face: Int32[np.ndarray, " f"]
    part_of_vertex: Int32[np.ndarray, " v"]
    instance_of_part: Int16[np.ndarray, " p"]
    class_of_part: UInt8[np.ndarray, " p"]
    to_part: Float32[np.ndarray, "p 3 4"]
    size: Float32[np.ndarray, "3"]
    solid: Bool[np.ndarray, " p"]

    @cached_property
    def backs(self) -> Float32[np.ndarray, "f 3"]:
        """What rays have to be multiplied with to tell, by a positive sign, that they leave a solid part.

        Normals of triangles, zeros for those of open meshes; ``[f, 3]`` float32.
        """
        normals = _crossed(self.vertices, self.faces)
        return np.where(self.solid[self.part_of_face][:, None], normals, 0).astype(np.float32)

    def halved(self, edges: Bool[np.ndarray, "f 3"]) -> tuple[Surfaces, Int64[np.ndarray, "new 2"]]:
        """Divide further: the same surfaces with more vertices at the end.

        Args:
            edges: Which edges of each triangle to halve (edge k joins corners k and k + 1), the same in both
                triangles that share one.

        Returns:
            The surfaces, and for each new vertex the two that it lies between.
        """
        vertices, normals, faces, part_of_face, pairs = _halved(
            self.vertices, self.normals, self.faces, self.part_of_face, edges
        )
        finer = replace(
            self,
            vertices=vertices,
            normals=normals,
            faces=faces.astype(np.int32),
            part_of_face=part_of_face,
            part_of_vertex=np.concatenate([self.part_of_vertex, self.part_of_vertex[pairs[:, 0]]]),
        )
        return finer, pairs

    def edge_lengths(self) -> Float32[np.ndarray, "f 3"]:
        """Metres; edge k of a triangle joins its corners k and k + 1."""
        return _lengths(self.vertices, self.faces)

    def hidden(self) -> Bool[np.ndarray, " v"]:
        """Vertices of walls, floor and ceiling that lie behind others of them."""
        beyond = ((self.vertices < -BEHIND) | (self.vertices > self.size + BEHIND)).any(1)
        return beyond & (self.instance_of_part[self.part_of_vertex] < STRUCTURE)

    @property
    def instance_of_face(self) -> Int16[np.ndarray, " f"]:
        """The thing that each triangle belongs to."""
        return self.instance_of_part[self.part_of_face]


def room_surfaces(room: Room) -> Surfaces:
    """Join and divide the parts of a room.

    Edges become at most 16 cm long, on small parts a third of their extent; edges that triangles share are divided
    alike, so no cracks open.  Where the light asks for it, :meth:`Surfaces.halved` divides further.
    """
    owners = [(index, thing, part) for index, thing in enumerate(room.things) for part in thing.parts]
    poses = np.stack([np.asarray(thing.pose, np.float64) for _, thing, _ in owners])
    points, faces, starts = [], [], 0
    for (_, _, part), pose in zip(owners, poses, strict=True):
        local = np.asarray(part.mesh.vertices, np.float64)
        points.append(local @ pose[:3, :3].T + pose[:3, 3])
        faces.append(np.asarray(part.mesh.faces, np.int64) + starts)
        starts += len(local)
    part_of_vertex = np.repeat(np.arange(len(owners)), [len(p) for p in points])
    part_of_face = np.repeat(np.arange(len(owners)), [len(f) for f in faces])
    edges = np.array([np.clip(np.ptp(p, axis=0).max() / EDGES_PER_PART, FINEST, COARSEST) for p in points])
    instances = np.array([index for index, _, _ in owners], np.int16)
    vertices, corners, kept = _merged(np.concatenate(points), np.concatenate(faces), part_of_vertex)
    part_of_face = part_of_face[kept]
    corners, solid = _outwards(vertices, corners, part_of_face, len(owners))
    structure = instances < STRUCTURE
    corners = _facing_inwards(vertices, corners, structure[part_of_face], np.asarray(room.size))
    visible = ~_outside(vertices, corners, np.asarray(room.size))
    corners, part_of_face = corners[visible], part_of_face[visible]
    vertices, normals, corners = _creased(vertices, corners)
    vertices, normals, corners, part_of_face = _divided(vertices, normals, corners, part_of_face, edges)
    part_of_vertex = np.zeros(len(vertices), np.int32)
    part_of_vertex[corners.ravel()] = np.repeat(part_of_face, 3)
    return Surfaces(
        vertices.astype(np.float32),
        normals.astype(np.float32),
        corners.astype(np.int32),
        part_of_face.astype(np.int32),
        part_of_vertex,
        instances,
        np.array([CLASSES.index(thing.words.category) for _, thing, _ in owners], np.uint8),
        np.linalg.inv(poses)[:, :3].astype(np.float32),
        np.asarray(room.size, np.float32),
        solid & ~structure,
    )


def _merged(
    vertices: Float[np.ndarray, "v 3"], faces: np.ndarray, part_of_vertex: np.ndarray
) -> tuple[Float[np.ndarray, "u 3"], np.ndarray, Bool[np.ndarray, " f"]]:
    """Join equal vertices of a part; also which faces still have an area."""
    keys = np.concatenate([part_of_vertex[:, None], _rounded(vertices / MERGED)], axis=1)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    vertices, faces = vertices[first], inverse.reshape(-1)[faces]
    crossed = _crossed(vertices, faces)
    kept = np.linalg.norm(crossed, axis=1) > 1e-10
    return vertices, faces[kept], kept


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.round(values).astype(np.int64)


def _crossed(vertices: np.ndarray, faces: np.ndarray) -> Float[np.ndarray, "f 3"]:
    """Normals of triangles, as long as twice their area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def _outwards(
    vertices: np.ndarray, faces: np.ndarray, part_of_face: np.ndarray, parts: int
) -> tuple[np.ndarray, Bool[np.ndarray, " p"]]:
    """Turn closed parts that are inside out; also which parts are closed."""
    ends = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    _, first, times = np.unique(ends[:, 0] * len(vertices) + ends[:, 1], return_index=True, return_counts=True)
    solid = np.ones(parts, bool)
    solid[part_of_face[first[times % 2 != 0] // 3]] = False
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    volumes = np.bincount(part_of_face, (np.cross(a, b) * c).sum(1), parts)
    turned = (solid & (volumes < 0))[part_of_face]
    return np.where(turned[:, None], faces[:, ::-1], faces), solid


def _facing_inwards(
    vertices: np.ndarray, faces: np.ndarray, structure: Bool[np.ndarray, " f"], size: np.ndarray
) -> np.ndarray:
    """Turn the faces of walls, floor and ceiling that look out of the room."""
    inwards = size / 2 - vertices[faces].mean(1)
    away = structure & ((_crossed(vertices, faces) * inwards).sum(1) < 0)
    return np.where(away[:, None], faces[:, ::-1], faces)


def _outside(vertices: np.ndarray, faces: np.ndarray, size: np.ndarray) -> Bool[np.ndarray, " f"]:
    """Faces that lie beyond the room's box as a whole."""
    corners = vertices[faces]
    return ((corners < -OUTSIDE).all(1) | (corners > size + OUTSIDE).all(1)).any(1)


def _creased(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One vertex for every smooth group of faces around a point: vertices, normals, faces."""
    crossed = _crossed(vertices, faces)
    unit = crossed / np.linalg.norm(crossed, axis=1, keepdims=True)
    corners = faces.ravel()
    count = len(corners)
    incidence = sparse.csr_matrix((np.ones(count, np.float32), (np.arange(count), corners)), (count, len(vertices)))
    pairs = (incidence @ incidence.T).tocoo()
    smooth = np.einsum("pc,pc->p", unit[pairs.row // 3], unit[pairs.col // 3]) > CREASE
    row, column = pairs.row[smooth], pairs.col[smooth]
    sums = np.stack([np.bincount(row, crossed[column // 3, k], count) for k in range(3)], axis=1)
    normals = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    keys = np.concatenate([corners[:, None], _rounded(normals * 1000)], axis=1)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return vertices[corners[first]], normals[first], inverse.reshape(-1, 3)


def _divided(
    vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray, part_of_face: np.ndarray, longest: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Halve edges that are longer than ``longest [p]`` until none is left, in both triangles that share one."""
    while True:
        marked = _lengths(vertices, faces) > longest[part_of_face][:, None]
        if not marked.any():
            return vertices, normals, faces, part_of_face
        vertices, normals, faces, part_of_face, _ = _halved(vertices, normals, faces, part_of_face, marked)


def _lengths(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Of the edges of triangles; edge k joins corners k and k + 1; ``[f, 3]``."""
    corners = vertices[faces]
    return np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=-1)


def _halved(
    vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray, part_of_face: np.ndarray, marked: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Halve the edges ``marked [f, 3]``; the last result is the ends of each edge that new vertices halve."""
    ends = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1), axis=-1).astype(np.int64)[marked]
    keys, inverse = np.unique(ends[:, 0] * len(vertices) + ends[:, 1], return_inverse=True)
    pairs = np.stack(np.divmod(keys, len(vertices)), axis=-1)
    middles = np.full(faces.shape, -1)
    middles[marked] = len(vertices) + inverse.reshape(-1)
    between = normals[pairs].sum(1)
    vertices = np.concatenate([vertices, vertices[pairs].mean(1)])
    normals = np.concatenate([normals, between / np.linalg.norm(between, axis=1, keepdims=True)])
    faces, part_of_face = _split(faces, middles, part_of_face)
    return vertices, normals, faces, part_of_face, pairs


def _split(faces: np.ndarray, middles: np.ndarray, part_of_face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles with one, two or three halved edges (``middles``, -1 = whole) become two, three or four."""
    marked = middles >= 0
    number = marked.sum(1)
    # Turned so that, with one mark, edge 0 has it, and with two, edge 2 lacks it.
    turn = np.where(number == 1, marked.argmax(1), np.where(number == 2, ((~marked).argmax(1) + 1) % 3, 0))
    order = (turn[:, None] + np.arange(3)) % 3
    a, b, c = np.take_along_axis(faces, order, 1).T
    p, q, r = np.take_along_axis(middles, order, 1).T
    patterns = {
        0: [(a, b, c)],
        1: [(a, p, c), (p, b, c)],
        2: [(p, b, q), (a, p, q), (a, q, c)],
        3: [(a, p, r), (p, b, q), (r, q, c), (p, q, r)],
    }
    made, owners = [], []
    for count, triangles in patterns.items():
        members = number == count
        for triangle in triangles:
            made.append(np.stack([corner[members] for corner in triangle], axis=1))
            owners.append(part_of_face[members])
    return np.concatenate(made), np.concatenate(owners)
