"""Pairs of crops that show the same place from two photos of a room, and where in the room each patch lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.tiny.images import RoomImages, cropped

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, UInt8
    from numpy.random import Generator

SMALLEST, LARGEST = 64.0, 224.0  # pixels of a photo that a crop shows along each side
OVERLAP = 0.3  # of a photo's points that its partner must show
CELLS = 10  # points along each side of a photo by which overlap is measured
NEAR, RELATIVE = 0.03, 0.02  # metres, and part of the depth, that a point seen twice may be off


@dataclass(frozen=True, eq=False)
class Pairs:
    """Two crops of every pair, the first halves of the arrays belonging to the first crops.

    Attributes:
        crops: ``[2 b, side, side, 3]`` uint8.
        points: What the middle of every patch shows, in metres of the room's frame; ``[2 b, g * g, 3]`` float32.
        extents: How much of the room a patch spans along each side there, in metres, were it seen at a right angle;
            0 = nothing is seen; ``[2 b, g * g]`` float32.
    """

    crops: UInt8[np.ndarray, "n s s 3"]
    points: Float32[np.ndarray, "n m 3"]
    extents: Float32[np.ndarray, "n m"]


class PairSampler:
    """Draws pairs from the photos of many rooms.

    Depths and poses say which points two photos share; no label is used.
    """

    def __init__(self, images: RoomImages, *, side: int, patch: int) -> None:
        self._images, self._side, self._grid = images, side, side // patch
        self._inverse = np.linalg.inv(images.world_to_camera).astype(np.float32)
        self._partners = self._overlapping()

    def draw(self, random: Generator, count: int) -> Pairs:
        """A batch of pairs."""
        images = self._images
        h, w = images.photos.shape[1:3]
        first = random.integers(len(images), size=count)
        second = np.array([random.choice(self._partners[i]) for i in first])
        largest = min(LARGEST, h, w)
        side = np.exp(random.uniform(np.log(SMALLEST), np.log(largest), count))
        centre = random.uniform(side[:, None] / 2, np.array([w, h]) - side[:, None] / 2)
        place, depth, seen = self._carried(first, second, centre[:, None])
        # Where the middle is hidden from the partner, the photo is its own partner.
        second = np.where(seen[:, 0], second, first)
        place = np.where(seen, place[:, 0], centre)
        ratio = np.where(seen[:, 0], depth[:, 0, 0] / np.maximum(depth[:, 0, 1], 1e-3), 1.0)
        other = np.clip(side * ratio * np.exp(random.uniform(-0.4, 0.4, count)), SMALLEST * 0.75, largest)
        shift = random.uniform(-0.25, 0.25, (count, 2)) * other[:, None]
        where = np.clip(place + shift, other[:, None] / 2, np.array([w, h]) - other[:, None] / 2)
        boxes = [
            np.concatenate([c - s[:, None] / 2, c + s[:, None] / 2], 1) for c, s in ((centre, side), (where, other))
        ]
        boxes = [np.round(box) for box in boxes]
        crops = np.concatenate(
            [cropped(images.photos, box, which, self._side) for box, which in zip(boxes, (first, second), strict=True)]
        )
        flips = random.random((2, count)) < 0.5
        flipped = flips.reshape(-1)
        crops[flipped] = crops[flipped, :, ::-1]
        return Pairs(crops, *self._located(np.concatenate([first, second]), np.concatenate(boxes), flipped))

    def _located(
        self, which: np.ndarray, boxes: Float[np.ndarray, "n 4"], flips: Bool[np.ndarray, " n"]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Points and extents of the patches of crops, as :class:`Pairs` has them."""
        g, images = self._grid, self._images
        middles = (np.arange(g) + 0.5) / g
        x, y = (values.reshape(-1) for values in np.meshgrid(middles, middles, indexing="xy"))
        x = np.where(flips[:, None], 1 - x, x)  # [n, g * g]
        corner, extent = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
        pixels = corner + extent * np.stack([x, np.broadcast_to(y, x.shape)], -1)
        depth, rays = self._rays(which, pixels)
        pose = self._inverse[which]
        points = np.einsum("nij,nmj->nmi", pose[:, :3, :3], rays * depth[..., None]) + pose[:, None, :3, 3]
        extents = depth * extent[..., 0] / g / images.K[which][:, 0, 0, None]
        return points.astype(np.float32), extents.astype(np.float32)

    def _rays(self, which: np.ndarray, pixels: Float[np.ndarray, "n m 2"]) -> tuple[np.ndarray, np.ndarray]:
        """Depths ``[n, m]`` at pixels of photos, and directions ``[n, m, 3]`` through them with z = 1."""
        h, w = self._images.photos.shape[1:3]
        columns, rows = (np.clip(pixels[..., i].astype(int), 0, size - 1) for i, size in ((0, w), (1, h)))
        depth = self._images.depths[which[:, None], rows, columns].astype(np.float32)
        K = self._images.K[which][:, None]
        x, y = ((pixels[..., i] - K[..., i, 2]) / K[..., i, i] for i in (0, 1))
        return depth, np.stack([x, y, np.ones_like(x)], -1)

    def _carried(
        self, first: np.ndarray, second: np.ndarray, points: Float[np.ndarray, "b m 2"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels of photos where other photos show them, both depths ``[b, m, 2]``, and whether they are seen."""
        images = self._images
        h, w = images.photos.shape[1:3]
        depth, rays = self._rays(first, points)
        other = images.K[second][:, None]
        move = images.world_to_camera[second] @ self._inverse[first]  # [b, 4, 4]
        there = np.einsum("bij,bmj->bmi", move[:, :3, :3], rays * depth[..., None]) + move[:, None, :3, 3]
        z = np.maximum(there[..., 2], 1e-3)
        place = np.stack(
            [
                there[..., 0] / z * other[..., 0, 0] + other[..., 0, 2],
                there[..., 1] / z * other[..., 1, 1] + other[..., 1, 2],
            ],
            -1,
        )
        inside = (there[..., 2] > 0.05) & (place >= 0).all(-1) & (place < np.array([w, h])).all(-1)
        columns, rows = (np.clip(place[..., i], 0, size - 1).astype(int) for i, size in ((0, w), (1, h)))
        found = images.depths[second[:, None], rows, columns].astype(np.float32)
        seen = inside & (depth > 0) & (np.abs(found - z) < NEAR + RELATIVE * z)
        return place, np.stack([depth, z], -1), seen

    def _overlapping(self) -> list[np.ndarray]:
        """For every photo the photos of its room that show enough of it; itself where there are none."""
        images = self._images
        h, w = images.photos.shape[1:3]
        middles = (np.arange(CELLS) + 0.5) / CELLS
        grid = np.stack(np.meshgrid(middles * w, middles * h), -1).reshape(-1, 2)
        partners: list[np.ndarray] = []
        for room in range(len(images.things)):
            members = np.flatnonzero(images.rooms == room)
            first, second = (side.reshape(-1) for side in np.meshgrid(members, members, indexing="ij"))
            _, _, seen = self._carried(first, second, np.broadcast_to(grid, (len(first), *grid.shape)))
            share = seen.mean(1).reshape(len(members), len(members))
            np.fill_diagonal(share, 0)
            for i, row in zip(members, share, strict=True):
                enough = members[row >= OVERLAP]
                partners.append(enough if len(enough) else np.array([i]))
        return partners
