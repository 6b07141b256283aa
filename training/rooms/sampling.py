"""Gaussians drawn on the surfaces of a room: seconds instead of a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from render.gaussians import Gaussians
from render.progress import Progress, silent
from render.rasterizer import rasterize
from render.spherical_harmonics import C0
from training.rooms._kernels import thin
from training.rooms.cameras import free_positions
from training.rooms.lighting import LIFT, normal_frames
from training.rooms.rendering import encoded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Bool, Float, Float32, Int16, Int32, UInt8

    from render.camera import Camera
    from training.rooms.rendering import RoomRenderer
    from training.rooms.surfaces import Surfaces

EYES = 40  # positions in the free space from which Gaussians shall be seen
PROBES = 6  # points on a triangle that tell how much its colour varies
CANDIDATES = 8  # random points drawn for every Gaussian wanted
NEIGHBOURS = 24
PACKING = 0.6  # points with mutual distances of at least r cover about r^2 / PACKING each
DETAIL = 0.05  # spread of colours that asks for twice the density of an even surface
DENSEST = 8.0  # most times the density of an even surface
SMALL = 0.5  # metres: parts smaller than this get more
DISC_SIZE = 0.62  # standard deviation of a Gaussian, in distances to its neighbours
THICKNESS = 0.05  # of a disc, relative to its size
RIM = 0.5  # standard deviation across a nearby edge, in distances to the edge,
NARROWEST = 0.15  # and at least this share of the disc's size
EDGE_STEP = 0.01  # metres
OPACITY = 0.95
STEPS = 300
RATES = {"means": 1e-3, "quats": 1e-2, "scales": 2e-2, "opacities": 3e-2, "sh": 2e-2}  # steps of Adam, at first
FAR = 100.0  # metres: keeps surfaces apart that do not belong together


def sample_gaussians(renderer: RoomRenderer, count: int = 60_000) -> tuple[Gaussians, Int16[np.ndarray, " n"]]:
    """Flat Gaussians on everything that somebody who stands in the room can see, and the thing of each.

    They lie closer together where colours change and on small parts, and are narrow across edges, so that
    outlines stay sharp.

    Args:
        renderer: The room with its light; colours are those of its photos.
        count: About how many.
    """
    s = renderer.surfaces
    random = np.random.default_rng(0)
    seen = _seen(renderer)
    faces = np.flatnonzero(seen[s.faces].any(1)).astype(np.uint32)
    drawn = _candidates(renderer, faces, count, random)
    places = drawn.points + _apart(s.part_of_face[drawn.faces], drawn.normals)
    kept = _thinned(places, drawn.spacing)
    points, normals, part = drawn.points[kept], drawn.normals[kept], s.part_of_face[drawn.faces[kept]]
    size = DISC_SIZE * _distances(places[kept], drawn.spacing[kept])
    frames, scales = _discs(s, faces, points, normals, part, size)
    colours = encoded(renderer.radiance(drawn.faces[kept], drawn.uvs[kept])).astype(np.float32) / 255
    xyzw = Rotation.from_matrix(frames).as_quat(canonical=True)
    gaussians = Gaussians(
        _tensor(points),
        _tensor(xyzw[:, [3, 0, 1, 2]]),
        _tensor(scales),
        torch.full((len(points),), OPACITY),
        _tensor((colours - 0.5)[:, None] / C0),
    )
    return gaussians, s.instance_of_part[part]


def fitted(
    gaussians: Gaussians,
    cameras: Sequence[Camera],
    photos: Sequence[UInt8[np.ndarray, "h w 3"]],
    *,
    steps: int = STEPS,
    progress: Progress = silent,
) -> Gaussians:
    """Fit Gaussians that lie well already to photos: a few hundred steps of Adam on the absolute error.

    None is added or removed, and their order stays.

    Args:
        gaussians: Where to begin.
        cameras: One for each photo.
        photos: What the cameras saw.
        steps: Photos looked at.
        progress: Told after every step.
    """
    targets = [torch.from_numpy(photo).to(torch.float32) / 255 for photo in photos]
    values = {
        "means": gaussians.means.clone(),
        "quats": gaussians.quats.clone(),
        "scales": gaussians.scales.log(),
        "opacities": torch.logit(gaussians.opacities),
        "sh": gaussians.sh.clone(),
    }
    groups = [{"params": [value.requires_grad_()], "lr": RATES[name]} for name, value in values.items()]
    optimizer = torch.optim.Adam(groups, eps=1e-15)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    random, order = np.random.default_rng(0), np.zeros(0, int)
    for step in range(steps):
        if not len(order):
            order = random.permutation(len(targets))
        view, order = int(order[0]), order[1:]
        shown = rasterize(_of(values), cameras[view]).values
        optimizer.zero_grad()
        (shown - targets[view]).abs().mean().backward()
        optimizer.step()
        schedule.step()
        progress(step + 1, steps, "fitting Gaussians")
    return _of({name: value.detach() for name, value in values.items()})


def _of(values: Mapping[str, torch.Tensor]) -> Gaussians:
    return Gaussians(
        values["means"], values["quats"], values["scales"].exp(), values["opacities"].sigmoid(), values["sh"]
    )


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Random points: their triangles, corner weights, positions, normals, and the distance wanted around each."""

    faces: np.ndarray
    uvs: Float32[np.ndarray, "m 2"]
    points: Float[np.ndarray, "m 3"]
    normals: Float[np.ndarray, "m 3"]
    spacing: Float[np.ndarray, " m"]


def _seen(renderer: RoomRenderer) -> Bool[np.ndarray, " v"]:
    """Vertices that can be seen from somewhere in the free space."""
    s = renderer.surfaces
    random = np.random.default_rng(1)
    eyes = free_positions(renderer.room, s, renderer.caster, 8 * EYES, random)[:EYES]
    seen = np.zeros(len(s.vertices), bool)
    for eye in eyes.astype(np.float32):
        # Of thin things both sides count.
        left = np.flatnonzero(~seen)
        toward = eye - s.vertices[left]
        side = np.where((toward * s.normals[left]).sum(1) < 0, -LIFT, LIFT).astype(np.float32)
        origins = s.vertices[left] + side[:, None] * s.normals[left]
        seen[left] = ~renderer.caster.blocked(origins, eye - origins, 1.0)
    return seen


def _candidates(renderer: RoomRenderer, faces: np.ndarray, count: int, random: np.random.Generator) -> _Candidates:
    s = renderer.surfaces
    corners = s.vertices[s.faces[faces]].astype(np.float64)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    density = _density(renderer, faces, random)
    weight = areas * density
    rows = random.choice(len(faces), CANDIDATES * count, p=weight / weight.sum())
    uvs = _uniform(random, len(rows))
    weights = np.concatenate([1 - uvs.sum(1, keepdims=True), uvs], axis=1)
    normals = np.einsum("mk,mkc->mc", weights, s.normals[s.faces[faces[rows]]].astype(np.float64))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    spacing = np.sqrt(PACKING * weight.sum() / (count * density[rows]))
    return _Candidates(faces[rows], uvs, np.einsum("mk,mkc->mc", weights, corners[rows]), normals, spacing)


def _density(renderer: RoomRenderer, faces: np.ndarray, random: np.random.Generator) -> Float[np.ndarray, " f"]:
    """How close Gaussians shall lie on each triangle, 1 on even and large surfaces."""
    s = renderer.surfaces
    uvs = _uniform(random, PROBES * len(faces))
    colours = encoded(renderer.radiance(np.repeat(faces, PROBES), uvs)).reshape(len(faces), PROBES, 3) / 255.0
    spread = np.sqrt(colours.var(axis=1).sum(1))
    around = np.zeros(len(s.vertices))
    np.maximum.at(around, s.faces[faces].ravel(), np.repeat(spread, 3))
    extent = np.zeros(len(s.instance_of_part))
    for axis in range(3):
        low, high = np.full(len(extent), np.inf), np.full(len(extent), -np.inf)
        np.minimum.at(low, s.part_of_vertex, s.vertices[:, axis])
        np.maximum.at(high, s.part_of_vertex, s.vertices[:, axis])
        extent = np.maximum(extent, np.where(high > low, high - low, 0))
    small = np.clip(SMALL / np.maximum(extent, 1e-3), 1, 3)[s.part_of_face[faces]]
    return np.minimum((1 + around[s.faces[faces]].mean(1) / DETAIL) * small, DENSEST)


def _uniform(random: np.random.Generator, count: int) -> Float32[np.ndarray, "count 2"]:
    """Weights of the second and third corner, evenly over triangles."""
    uvs = random.random((count, 2)).astype(np.float32)
    return np.where(uvs.sum(1, keepdims=True) > 1, 1 - uvs, uvs)


def _apart(parts: np.ndarray, normals: np.ndarray) -> Float[np.ndarray, "m 3"]:
    """Shifts that carry surfaces of other parts, and sides that face elsewhere, out of each other's reach."""
    axis = np.abs(normals).argmax(1)
    side = 2 * axis + (np.take_along_axis(normals, axis[:, None], 1)[:, 0] > 0)
    return np.stack([FAR * side, FAR * parts, np.zeros(len(parts))], axis=1)


def _thinned(places: Float[np.ndarray, "m 3"], radii: Float[np.ndarray, " m"]) -> np.ndarray:
    """Indices of a subset in which hardly any point has another one within its radius."""
    # Fine points first: else a coarse one in their midst would push them out.
    order = np.argsort(radii, kind="stable")
    places, radii = places[order], radii[order]
    distances, near = cKDTree(places).query(places, k=min(NEIGHBOURS, len(places)), workers=-1)
    kept = np.ones(len(places), np.bool_)
    thin(near.astype(np.int32), distances.astype(np.float32), radii.astype(np.float32), kept)
    return order[kept]


def _distances(places: Float[np.ndarray, "n 3"], spacing: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Mean distance to the nearest Gaussians, not far from what was wanted."""
    near = cKDTree(places).query(places, k=min(5, len(places)), workers=-1)[0].reshape(len(places), -1)
    return np.clip(near[:, 1:].mean(1), 0.9 * spacing, 1.6 * spacing) if near.shape[1] > 1 else spacing


def _discs(
    surfaces: Surfaces,
    faces: np.ndarray,
    points: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    parts: Int32[np.ndarray, " n"],
    size: Float[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, "n 3 3"], Float[np.ndarray, "n 3"]]:
    """Rotations (columns are axes) and standard deviations: along a nearby edge, across it, and off the surface."""
    frames = normal_frames(normals.astype(np.float32)).astype(np.float64)
    across = size.copy()
    places, along = _edge_points(surfaces, faces)
    if len(places):
        distance, nearest = cKDTree(places).query(points + _apart(parts, normals), workers=-1)
        close = np.flatnonzero(distance < 2 * size)
        tangent = along[nearest[close]]
        tangent = tangent - (tangent * normals[close]).sum(1, keepdims=True) * normals[close]
        length = np.linalg.norm(tangent, axis=1)
        close, tangent = close[length > 0.1], (tangent / np.maximum(length, 1e-9)[:, None])[length > 0.1]
        frames[close, :, 0] = tangent
        frames[close, :, 1] = np.cross(normals[close], tangent)
        across[close] = np.clip(RIM * distance[close], NARROWEST * size[close], size[close])
    return frames, np.stack([size, across, THICKNESS * size], axis=1)


def _edge_points(surfaces: Surfaces, faces: np.ndarray) -> tuple[Float[np.ndarray, "e 3"], Float[np.ndarray, "e 3"]]:
    """Points on the edges where smooth surfaces end, set apart as :func:`_apart` does, and the edges' directions."""
    s = surfaces
    used = s.faces[faces].astype(np.int64)
    ends = np.sort(np.stack([used, np.roll(used, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    keys, times = np.unique(ends[:, 0] * len(s.vertices) + ends[:, 1], return_counts=True)
    a, b = np.divmod(keys[times == 1], len(s.vertices))
    start, step = s.vertices[a].astype(np.float64), (s.vertices[b] - s.vertices[a]).astype(np.float64)
    length = np.linalg.norm(step, axis=1)
    pieces = np.maximum(np.ceil(length / EDGE_STEP), 1).astype(int)
    row = np.repeat(np.arange(len(pieces)), pieces)
    within = (np.arange(len(row)) - np.repeat(np.cumsum(pieces) - pieces, pieces) + 0.5) / pieces[row]
    points = start[row] + within[:, None] * step[row]
    shift = _apart(s.part_of_vertex[a], (s.normals[a] + s.normals[b]).astype(np.float64))
    return points + shift[row], (step / np.maximum(length, 1e-9)[:, None])[row]


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
