"""Rays against a triangle mesh: a bounding-volume tree split at medians, walked by numba.

Only the demo scene needs it.  Open3D and Embree would do the same, but want system libraries that
a fresh machine does not have.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int32

LEAF_TRIANGLES = 4
STACK = 64
RAYS_PER_CHUNK = 1 << 17
NO_HIT = -1


@dataclass(frozen=True)
class Hits:
    """What rays meet first.

    Attributes:
        faces: Index of the face, -1 where nothing is hit; ``[r]`` int32.
        distances: Along the ray, in lengths of its direction; ``[r]`` float32, infinite without a hit.
        barycentric: Weights of the face's second and third corner; ``[r, 2]`` float32.
    """

    faces: Int32[np.ndarray, " r"]
    distances: Float32[np.ndarray, " r"]
    barycentric: Float32[np.ndarray, "r 2"]


class RayCaster:
    """Answers what rays hit in a mesh of triangles.

    Args:
        vertices: ``[v, 3]`` float.
        faces: Corner indices; ``[f, 3]`` integer, at least one face.
    """

    def __init__(self, vertices: Float64[np.ndarray, "v 3"], faces: Int32[np.ndarray, "f 3"]) -> None:
        triangles = vertices[faces].astype(np.float32)
        leaves = 1 << int(np.ceil(np.log2(max(1, len(faces) / LEAF_TRIANGLES))))
        self._ids = _split_at_medians(triangles.mean(1), leaves)
        ordered = triangles[self._ids]
        self._corners = np.ascontiguousarray(ordered[:, 0])
        self._edges = np.ascontiguousarray(ordered[:, 1:] - ordered[:, :1])
        self._boxes = _boxes(ordered, leaves)

    def first_hits(self, origins: Float32[np.ndarray, "r 3"], directions: Float32[np.ndarray, "r 3"]) -> Hits:
        """The nearest face along every ray."""
        rays = len(origins)
        hits = Hits(np.empty(rays, np.int32), np.empty(rays, np.float32), np.empty((rays, 2), np.float32))
        limits = np.full(rays, np.inf, np.float32)
        self._walk(origins, directions, limits, hits, any_hit=False)
        return hits

    def blocked(
        self,
        origins: Float32[np.ndarray, "r 3"],
        directions: Float32[np.ndarray, "r 3"],
        limits: Float32[np.ndarray, " r"],
    ) -> Bool[np.ndarray, " r"]:
        """Whether anything stands within ``limits`` (lengths of the direction) along every ray."""
        rays = len(origins)
        hits = Hits(np.empty(rays, np.int32), np.empty(rays, np.float32), np.empty((rays, 2), np.float32))
        self._walk(origins, directions, limits, hits, any_hit=True)
        return hits.faces != NO_HIT

    def _walk(
        self, origins: np.ndarray, directions: np.ndarray, limits: np.ndarray, hits: Hits, *, any_hit: bool
    ) -> None:
        origins, directions = (np.ascontiguousarray(a, np.float32) for a in (origins, directions))

        def chunk(start: int) -> None:
            part = slice(start, start + RAYS_PER_CHUNK)
            _walk_tree(
                origins[part],
                directions[part],
                np.asarray(limits[part], np.float32),
                (self._boxes, self._corners, self._edges, self._ids),
                any_hit,
                hits.faces[part],
                hits.distances[part],
                hits.barycentric[part],
            )

        # Threads of Python, not of numba: the kernel releases the lock, and no threading layer is involved.
        with ThreadPoolExecutor() as pool:
            list(pool.map(chunk, range(0, len(origins), RAYS_PER_CHUNK)))


def _split_at_medians(centres: np.ndarray, leaves: int) -> np.ndarray:
    """Triangle of every slot (some fill two): halved along the longest axis until a leaf is left."""
    slots = leaves * LEAF_TRIANGLES
    ids = np.arange(slots) * len(centres) // slots
    nodes = 1
    while nodes < leaves:
        blocks = ids.reshape(nodes, -1)
        points = centres[blocks]
        axis = np.argmax(points.max(1) - points.min(1), axis=1)
        order = np.argsort(np.take_along_axis(points, axis[:, None, None], axis=2)[..., 0], axis=1, kind="stable")
        ids = np.take_along_axis(blocks, order, axis=1).reshape(-1)
        nodes *= 2
    return ids.astype(np.int32)


def _boxes(ordered: np.ndarray, leaves: int) -> np.ndarray:
    """Low and high corners of a complete tree, node ``i`` above ``2 i + 1``, ``2 i + 2``; ``[nodes, 6]``."""
    points = ordered.reshape(leaves, -1, 3)
    level = np.concatenate([points.min(1) - 1e-5, points.max(1) + 1e-5], axis=1)
    levels = [level]
    while len(level) > 1:
        low = np.minimum(level[0::2, :3], level[1::2, :3])
        high = np.maximum(level[0::2, 3:], level[1::2, 3:])
        level = np.concatenate([low, high], axis=1)
        levels.append(level)
    return np.ascontiguousarray(np.concatenate(levels[::-1]), dtype=np.float32)


@numba.njit(nogil=True, fastmath=False, cache=True)
def _enter(boxes, node, ox, oy, oz, ix, iy, iz, best):  # type: ignore[no-untyped-def]
    """Distance at which a ray enters a node's box, infinite if it misses."""
    ax, bx = (boxes[node, 0] - ox) * ix, (boxes[node, 3] - ox) * ix
    ay, by = (boxes[node, 1] - oy) * iy, (boxes[node, 4] - oy) * iy
    az, bz = (boxes[node, 2] - oz) * iz, (boxes[node, 5] - oz) * iz
    near = max(max(min(ax, bx), min(ay, by)), max(min(az, bz), np.float32(0)))
    far = min(min(max(ax, bx), max(ay, by)), min(max(az, bz), best))
    return near if near <= far else np.float32(np.inf)


@numba.njit(nogil=True, fastmath=False, cache=True)
def _walk_tree(origins, directions, limits, tree, any_hit, faces, distances, barycentric):  # type: ignore[no-untyped-def]
    """Depth-first, near child first; triangles by Moeller and Trumbore (1997)."""
    boxes, corners, edges, ids = tree
    inner = boxes.shape[0] // 2
    stack = np.empty(STACK, np.int64)
    entries = np.empty(STACK, np.float32)
    tiny = np.float32(1e-12)
    for r in range(len(origins)):
        ox, oy, oz = origins[r, 0], origins[r, 1], origins[r, 2]
        dx, dy, dz = directions[r, 0], directions[r, 1], directions[r, 2]
        ix = np.float32(1) / (dx if abs(dx) > tiny else tiny)
        iy = np.float32(1) / (dy if abs(dy) > tiny else tiny)
        iz = np.float32(1) / (dz if abs(dz) > tiny else tiny)
        best, face, bu, bv = limits[r], -1, np.float32(0), np.float32(0)
        depth = 1
        stack[0], entries[0] = 0, np.float32(0)
        while depth > 0:
            depth -= 1
            node = stack[depth]
            if entries[depth] >= best:
                continue
            if node < inner:
                left = 2 * node + 1
                a = _enter(boxes, left, ox, oy, oz, ix, iy, iz, best)
                b = _enter(boxes, left + 1, ox, oy, oz, ix, iy, iz, best)
                nearer, farther = (left, left + 1) if a <= b else (left + 1, left)
                if max(a, b) < np.inf:
                    stack[depth], entries[depth] = farther, max(a, b)
                    depth += 1
                if min(a, b) < np.inf:
                    stack[depth], entries[depth] = nearer, min(a, b)
                    depth += 1
                continue
            start = (node - inner) * LEAF_TRIANGLES
            for s in range(start, start + LEAF_TRIANGLES):
                e1x, e1y, e1z = edges[s, 0, 0], edges[s, 0, 1], edges[s, 0, 2]
                e2x, e2y, e2z = edges[s, 1, 0], edges[s, 1, 1], edges[s, 1, 2]
                px, py, pz = dy * e2z - dz * e2y, dz * e2x - dx * e2z, dx * e2y - dy * e2x
                det = e1x * px + e1y * py + e1z * pz
                if abs(det) < tiny:
                    continue
                inverse = np.float32(1) / det
                tx, ty, tz = ox - corners[s, 0], oy - corners[s, 1], oz - corners[s, 2]
                u = (tx * px + ty * py + tz * pz) * inverse
                qx, qy, qz = ty * e1z - tz * e1y, tz * e1x - tx * e1z, tx * e1y - ty * e1x
                v = (dx * qx + dy * qy + dz * qz) * inverse
                t = (e2x * qx + e2y * qy + e2z * qz) * inverse
                if u >= 0 and v >= 0 and u + v <= 1 and t > 0 and t < best:
                    best, face, bu, bv = t, ids[s], u, v
            if any_hit and face >= 0:
                break
        faces[r] = face
        distances[r] = best if face >= 0 else np.inf
        barycentric[r, 0] = bu
        barycentric[r, 1] = bv
