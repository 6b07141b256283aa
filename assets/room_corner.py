"""The demo scene: a procedural room corner as Gaussians and posed photos, the same on every machine.

Made by :func:`build_room_corner` in a few seconds; nothing of it is stored in the project.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from assets.furniture import Part, furnish
from assets.ray_casting import RayCaster
from render.camera import Camera
from render.errors import InputError
from render.gaussians import Gaussians
from render.progress import Progress, silent
from render.rasterizer import rasterize, rasterize_transposed
from render.spherical_harmonics import C0

if TYPE_CHECKING:
    from jaxtyping import Float, Int16, Int32, UInt8

TARGET = np.array([0.76, 0.82, 0.55])  # what all cameras look at
FIELD_OF_VIEW = np.radians(62)  # horizontal
LAMP_CENTRE, LAMP_SIZE = np.array([2.3, 1.5, 2.7]), 0.9  # a square lamp under the ceiling
LAMP_COLOUR = np.array([1.0, 0.93, 0.82], np.float32) * 1.18
SKY_COLOUR = np.array([0.80, 0.90, 1.0], np.float32) * 0.46
BOUNCE = np.array([0.10, 0.085, 0.07], np.float32)  # light that has met a wall before
AMBIENT_REACH = 1.3  # metres within which things darken each other
GAMMA = 2.2
SUPERSAMPLING = 2
DISC_SIZE = 0.62  # standard deviation of a Gaussian, in distances to its neighbours
THICKNESS = 0.05  # of a disc, relative to its size
OPACITY = 0.95
CANDIDATES = 8  # random points drawn for every Gaussian wanted
PACKING = 0.6
DETAIL = 0.1  # spread of colours and normals that asks for the usual density
DENSITY_RANGE = (0.8, 3.0)
DARK = 0.03  # share of the sky below which a face is taken to lie inside something
REFINEMENTS = 5  # steps that fit the colours to the photos


@dataclass(frozen=True)
class RoomCorner:
    """The demo scene in memory.

    Attributes:
        gaussians: Flat discs on the surfaces, SH degree 0; z is up, metres.
        cameras: One per photo.
        photos: RGB; each ``[h, w, 3]`` uint8.
        names: File names of the photos.
        labels: The object of every Gaussian, an index into ``object_names``; ``[n]`` int16.
        object_names: The objects, floor and walls (:data:`assets.furniture.STRUCTURE`) among them.
    """

    gaussians: Gaussians
    cameras: list[Camera]
    photos: list[UInt8[np.ndarray, "h w 3"]]
    names: list[str]
    labels: Int16[np.ndarray, " n"]
    object_names: tuple[str, ...]


class _Surfaces:
    """All parts as one mesh."""

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts
        counts = [len(part.mesh.vertices) for part in parts]
        starts = np.cumsum([0, *counts])
        self.vertices = np.concatenate([part.mesh.vertices for part in parts]).astype(np.float32)
        self.normals = np.concatenate([part.mesh.vertex_normals for part in parts]).astype(np.float32)
        self.faces = np.concatenate([p.mesh.faces + s for p, s in zip(parts, starts, strict=False)]).astype(np.int32)
        self.part_of_face = np.repeat(np.arange(len(parts)), [len(part.mesh.faces) for part in parts])
        self.caster = RayCaster(self.vertices, self.faces)
        self.object_names = tuple(dict.fromkeys(part.name for part in parts))
        index = {name: i for i, name in enumerate(self.object_names)}
        self.object_of_face = np.array([index[part.name] for part in parts], np.int16)[self.part_of_face]


class _Stage(_Surfaces):
    """All parts as one mesh, with light at its vertices."""

    def __init__(self, parts: list[Part]) -> None:
        super().__init__(parts)
        self.light, self.openness = self._bake()

    def _bake(self) -> tuple[Float[np.ndarray, "v 3"], Float[np.ndarray, " v"]]:
        """Light on every vertex (a lamp with soft shadows, a sky with occlusion) and how open it lies."""
        # Light is taken a little above the surface and off the walls, so that no vertex sits inside one.
        origins = (self.vertices + 0.004 * self.normals).astype(np.float32)
        origins[:, :2] = np.clip(origins[:, :2], 0.004, None)
        lamp = np.zeros(len(origins), np.float32)
        spots = (np.stack(np.meshgrid(*[np.arange(6)] * 2, indexing="ij"), -1).reshape(-1, 2) + 0.5) / 6 - 0.5
        for spot in spots:
            target = LAMP_CENTRE + np.array([*(spot * LAMP_SIZE), 0])
            toward = (target - origins).astype(np.float32)
            distance = np.linalg.norm(toward, axis=1)
            cosine = (toward * self.normals).sum(1) / distance
            falloff = (
                np.clip(cosine, 0, None) * np.clip(toward[:, 2] / distance, 0, None) ** 0.5 * (2.4 / distance) ** 2
            )
            falloff[falloff > 0] *= ~self.caster.blocked(
                origins[falloff > 0], toward[falloff > 0], np.ones((falloff > 0).sum(), np.float32)
            )
            lamp += falloff / len(spots)
        openness = np.zeros(len(origins), np.float32)
        directions = _hemisphere(48)
        frames = _frames(self.normals)
        for direction in directions:
            rays = (frames @ direction).astype(np.float32)
            openness += ~self.caster.blocked(origins, rays, np.full(len(rays), AMBIENT_REACH, np.float32)) / 48
        light = lamp[:, None] * LAMP_COLOUR + openness[:, None] * SKY_COLOUR + BOUNCE
        return light, openness

    def shade(
        self, faces: Int32[np.ndarray, " m"], barycentric: Float[np.ndarray, "m 2"]
    ) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, "m 3"]]:
        """Lit linear colours of points on faces, and the points."""
        corners = self.faces[faces]
        weights = np.concatenate([1 - barycentric.sum(1, keepdims=True), barycentric], axis=1).astype(np.float32)
        points = np.einsum("mk,mkc->mc", weights, self.vertices[corners])
        normals = np.einsum("mk,mkc->mc", weights, self.normals[corners])
        light = np.einsum("mk,mkc->mc", weights, self.light[corners])
        return self._albedo(faces, points, normals) * light, points

    def _albedo(self, faces: np.ndarray, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        colours = np.zeros((len(faces), 3), np.float32)
        owners = self.part_of_face[faces]
        order = np.argsort(owners, kind="stable")
        bounds = np.searchsorted(owners[order], np.arange(len(self.parts) + 1))
        for index, part in enumerate(self.parts):
            members = order[bounds[index] : bounds[index + 1]]
            if len(members):
                rotation, shift = (
                    part.to_local[:3, :3].astype(np.float32),
                    part.to_local[:3, 3].astype(np.float32),
                )
                local = points[members] @ rotation.T + shift
                colours[members] = part.texture(local, normals[members] @ rotation.T)
        return np.clip(colours, 0.01, 1) ** GAMMA


def build_room_corner(
    *,
    count: int = 50_000,
    views: int = 12,
    width: int = 480,
    height: int = 360,
    progress: Progress = silent,
) -> RoomCorner:
    """Build the demo scene.

    Args:
        count: About how many Gaussians; at least 500.
        views: How many photos, at least one.
        width: Of the photos, in pixels.
        height: Of the photos, in pixels.
        progress: Told after every photo.

    Raises:
        InputError: a number is too small.
    """
    if count < 500 or views < 1 or min(width, height) < 16:
        raise InputError(
            "The demo scene needs at least 500 Gaussians, one view and 16 pixels a side, "
            f"found {count} Gaussians, {views} views and {width}x{height} pixels."
        )
    steps = views + 2
    progress(0, steps, "building the room")
    stage = _Stage(furnish())
    progress(1, steps, "building the room")
    cameras = room_cameras(views, width, height)
    photos = []
    for camera in cameras:
        photos.append(_photograph(stage, camera))
        progress(len(photos) + 1, steps, "building the room")
    sampled, labels = _sample_gaussians(stage, count)
    gaussians = _refined(sampled, cameras, photos)
    progress(steps, steps, "building the room")
    names = [f"view_{i:02d}.png" for i in range(views)]
    return RoomCorner(gaussians, cameras, photos, names, labels, stage.object_names)


def gaussian_labels(count: int = 50_000) -> tuple[Int16[np.ndarray, " n"], Float[torch.Tensor, "n 3"]]:
    """The objects of the Gaussians that :func:`build_room_corner` makes, and their centres, without any photo."""
    gaussians, labels = _sample_gaussians(_Stage(furnish()), count)
    return labels, gaussians.means


def label_maps(cameras: Sequence[Camera]) -> tuple[list[Int16[np.ndarray, "h w"]], tuple[str, ...]]:
    """The object at the centre of every pixel, by casting rays; and the objects' names.

    Args:
        cameras: Any views of the room.

    Returns:
        One map for each camera, indices into the names, -1 where the room is open.
    """
    surfaces = _Surfaces(furnish())
    maps = []
    for camera in cameras:
        hits = surfaces.caster.first_hits(*_rays(camera, 1))
        labels = np.where(hits.faces >= 0, surfaces.object_of_face[hits.faces], np.int16(-1))
        maps.append(labels.reshape(camera.height, camera.width))
    return maps, surfaces.object_names


def _refined(gaussians: Gaussians, cameras: list[Camera], photos: list[np.ndarray]) -> Gaussians:
    """Fit the colours to the photos: steps ``f += 1.5 D^-1 W^T (F - W f)``."""
    targets = [torch.from_numpy(photo).to(torch.float32) / 255 for photo in photos]
    colours = gaussians.sh[:, 0] * C0 + 0.5
    for _ in range(REFINEMENTS):
        step, weights = torch.zeros_like(colours), torch.full_like(colours[:, :1], 1e-6)
        for camera, target in zip(cameras, targets, strict=True):
            residual = target - rasterize(gaussians, camera, values=colours).values
            sums, seen = rasterize_transposed(gaussians, camera, residual)
            step += sums
            weights += seen[:, None]
        colours = colours + 1.5 * step / weights
    return replace(gaussians, sh=((colours - 0.5) / C0)[:, None])


def room_cameras(views: int, width: int, height: int) -> list[Camera]:
    """Cameras on an arc in the open half of the room, low and high in turn, all looking at the furniture."""
    focal = width / 2 / np.tan(FIELD_OF_VIEW / 2)
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float32)
    cameras = []
    for index in range(views):
        along = index / max(views - 1, 1)
        angle = np.radians(12 + 66 * along)
        radius = 2.3 + 0.25 * np.sin(3.1 * index)
        position = np.array([TARGET[0] + radius * np.cos(angle), TARGET[1] + radius * np.sin(angle), 0.0])
        position[2] = (1.25, 1.65, 1.4, 1.9)[index % 4]
        target = TARGET + 0.08 * np.array([np.sin(2.0 * index), np.cos(1.7 * index), np.sin(1.3 * index)])
        cameras.append(Camera(K, _look_at(position, target), width, height))
    return cameras


def _look_at(position: np.ndarray, target: np.ndarray) -> torch.Tensor:
    """World to OpenCV camera axes, for a world whose z is up; ``[4, 4]``."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ position
    return torch.from_numpy(pose.astype(np.float32))


def _photograph(stage: _Stage, camera: Camera) -> np.ndarray:
    """Cast rays through every pixel, several per pixel, and average what they meet."""
    s = SUPERSAMPLING
    origins, directions = _rays(camera, s)
    hits = stage.caster.first_hits(origins, directions)
    seen = hits.faces >= 0
    colours = np.zeros((len(directions), 3), np.float32)
    colours[seen] = stage.shade(hits.faces[seen], hits.barycentric[seen])[0]
    linear = colours.reshape(camera.height, s, camera.width, s, 3).mean((1, 3))
    return (_encoded(linear) * 255 + 0.5).astype(np.uint8)


def _rays(camera: Camera, s: int) -> tuple[Float[np.ndarray, "r 3"], Float[np.ndarray, "r 3"]]:
    """Origins and directions of the rays through ``s`` by ``s`` points of every pixel, row by row."""
    y, x = np.meshgrid(*[(np.arange(n * s) + 0.5) / s for n in (camera.height, camera.width)], indexing="ij")
    pose, K = camera.world_to_camera.numpy(), camera.K.numpy()
    rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], -1).reshape(-1, 3)
    directions = (rays @ pose[:3, :3]).astype(np.float32)
    return np.broadcast_to(-pose[:3, :3].T @ pose[:3, 3], directions.shape).astype(np.float32), directions


def _encoded(linear: np.ndarray) -> np.ndarray:
    return np.clip(linear, 0, 1) ** (1 / GAMMA)


def _sample_gaussians(stage: _Stage, count: int) -> tuple[Gaussians, Int16[np.ndarray, " n"]]:
    """Discs on all surfaces that light can reach, close together where colours or normals change; their objects."""
    drawn = _draw_candidates(stage, count)
    detail = np.empty(len(drawn.points))
    for part in range(len(stage.parts)):
        members = np.flatnonzero(stage.part_of_face[drawn.faces] == part)
        if len(members):
            detail[members] = _detail(drawn.points[members], drawn.colours[members], drawn.normals[members])
    density = drawn.density * np.clip(detail / DETAIL, *DENSITY_RANGE)
    # Random points thinned to a smallest distance r keep about PACKING / r^2 per unit area.
    radii = np.sqrt(PACKING * (drawn.area * density).sum() / (count * density))
    kept, sizes = [], []
    for part in range(len(stage.parts)):
        members = np.flatnonzero(stage.part_of_face[drawn.faces] == part)
        chosen = members[_thinned(drawn.points[members], radii[members])]
        kept.append(chosen)
        sizes.append(_spacing(drawn.points[chosen], radii[chosen]))
    index, size = np.concatenate(kept), np.concatenate(sizes) * DISC_SIZE
    scales = size[:, None] * np.array([1, 1, THICKNESS])
    sh = (_encoded(drawn.colours[index]) - 0.5) / C0
    opacities = torch.full((len(index),), OPACITY)
    quats = _quats(_frames(drawn.normals[index]))
    gaussians = Gaussians(_tensor(drawn.points[index]), quats, _tensor(scales), opacities, _tensor(sh[:, None]))
    return gaussians, stage.object_of_face[drawn.faces[index]]


@dataclass(frozen=True)
class _Candidates:
    """Random points on the surfaces: their faces, positions, unit normals, linear colours, and the area
    and relative density of Gaussians that each stands for."""

    faces: np.ndarray
    points: np.ndarray
    normals: np.ndarray
    colours: np.ndarray
    area: np.ndarray
    density: np.ndarray


def _draw_candidates(stage: _Stage, count: int) -> _Candidates:
    triangles = stage.vertices[stage.faces].astype(np.float64)
    crossed = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    open_to_light = stage.openness[stage.faces].max(1) > DARK
    areas = np.linalg.norm(crossed, axis=1) / 2 * open_to_light
    density = np.array([part.density for part in stage.parts])[stage.part_of_face]
    share = areas * density / (areas * density).sum()
    random = np.random.default_rng(0)
    faces = random.choice(len(areas), CANDIDATES * count, p=share).astype(np.int32)
    uv = random.random((len(faces), 2)).astype(np.float32)
    uv = np.where(uv.sum(1, keepdims=True) > 1, 1 - uv, uv)
    colours, points = stage.shade(faces, uv)
    weights = np.concatenate([1 - uv.sum(1, keepdims=True), uv], axis=1)
    normals = np.einsum("mk,mkc->mc", weights, stage.normals[stage.faces[faces]].astype(np.float64))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    area = areas[faces] / (share[faces] * len(faces))
    return _Candidates(faces, points.astype(np.float64), normals, colours, area, density[faces])


def _detail(points: np.ndarray, colours: np.ndarray, normals: np.ndarray) -> Float[np.ndarray, " m"]:
    """How much colour and normal differ from those of the points around; 0 on even, flat surfaces."""
    from scipy.spatial import cKDTree

    around = cKDTree(points).query(points, k=min(8, len(points)))[1].reshape(len(points), -1)
    values = np.concatenate([_encoded(colours), 0.5 * normals], axis=1)
    spread = np.sqrt(((values[around] - values[around].mean(1, keepdims=True)) ** 2).sum(2).mean(1))
    return spread[around].max(1)


def _thinned(points: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Indices of a subset in which no point has another one within both their radii, and none could be added."""
    from scipy.spatial import cKDTree

    if not len(points):
        return np.zeros(0, np.int64)
    # Fine points first: else a coarse one in their midst would push them out.
    order = np.argsort(radii, kind="stable")
    points, radii = points[order], radii[order]
    tree = cKDTree(points)
    kept = np.ones(len(points), bool)
    near = tree.query_ball_point(points, radii, workers=-1)
    for index, others in enumerate(near):
        if kept[index]:
            later = np.asarray(others)
            kept[later[later > index]] = False
    return order[kept.nonzero()[0]]


def _spacing(points: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Mean distance to the nearest points, not far from the radius that they were thinned with."""
    from scipy.spatial import cKDTree

    if len(points) < 2:
        return radii
    near = cKDTree(points).query(points, k=min(5, len(points)))[0]
    return np.clip(near[:, 1:].mean(1), 0.9 * radii, 1.6 * radii)


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def _hemisphere(count: int) -> Float[np.ndarray, "count 3"]:
    """Cosine-weighted directions around +z, spread by the golden angle."""
    index = np.arange(count) + 0.5
    radius, angle = np.sqrt(index / count), index * np.pi * (3 - np.sqrt(5))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - radius**2)], -1)


def _frames(normals: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m 3 3"]:
    """Rotations that take +z to the normals (Duff et al. 2017)."""
    x, y, z = normals.T
    sign = np.where(z >= 0, 1.0, -1.0)
    a = -1 / (sign + z)
    b = x * y * a
    columns = [
        np.stack([1 + sign * x * x * a, sign * b, -sign * x], -1),
        np.stack([b, sign + y * y * a, -y], -1),
    ]
    return np.stack([*columns, normals], axis=-1)


def _quats(frames: Float[np.ndarray, "m 3 3"]) -> Float[torch.Tensor, "m 4"]:
    from scipy.spatial.transform import Rotation

    xyzw = Rotation.from_matrix(frames).as_quat(canonical=True)
    return torch.from_numpy(np.ascontiguousarray(xyzw[:, [3, 0, 1, 2]], np.float32))
