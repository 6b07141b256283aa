"""Pairs of crops that show the same place from two photos of a room, and which patches correspond."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.tiny.images import RoomImages, cropped

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8
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
        partner: For every patch of the first crops, the patch of the second that shows the same point, as a row of
            its grid; -1 = not seen there; ``[b, g * g]`` int.
    """

    crops: UInt8[np.ndarray, "n s s 3"]
    partner: np.ndarray


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
        partner = self._corresponding(first, second, boxes, flips)
        flipped = flips.reshape(-1)
        crops[flipped] = crops[flipped, :, ::-1]
        return Pairs(crops, partner)

    def _corresponding(
        self, first: np.ndarray, second: np.ndarray, boxes: list[np.ndarray], flips: Bool[np.ndarray, "2 b"]
    ) -> np.ndarray:
        """The patch of the second crop that shows what a patch of the first shows in its middle."""
        g = self._grid
        middles = (np.arange(g) + 0.5) / g
        x, y = (values.reshape(-1) for values in np.meshgrid(middles, middles, indexing="xy"))
        x = np.where(flips[0][:, None], 1 - x, x)  # [b, g * g]
        corner, extent = boxes[0][:, None, :2], (boxes[0][:, 2:] - boxes[0][:, :2])[:, None]
        points = corner + extent * np.stack([x, np.broadcast_to(y, x.shape)], -1)
        place, _, seen = self._carried(first, second, points)
        corner, extent = boxes[1][:, None, :2], (boxes[1][:, 2:] - boxes[1][:, :2])[:, None]
        there = (place - corner) / extent
        there[..., 0] = np.where(flips[1][:, None], 1 - there[..., 0], there[..., 0])
        inside = seen & (there >= 0).all(-1) & (there < 1).all(-1)
        cell = np.clip(np.nan_to_num(there) * g, 0, g - 1).astype(int)
        return np.where(inside, cell[..., 1] * g + cell[..., 0], -1)

    def _carried(
        self, first: np.ndarray, second: np.ndarray, points: Float[np.ndarray, "b m 2"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels of photos where other photos show them, both depths ``[b, m, 2]``, and whether they are seen."""
        images = self._images
        h, w = images.photos.shape[1:3]
        columns, rows = (np.clip(points[..., i].astype(int), 0, size - 1) for i, size in ((0, w), (1, h)))
        depth = images.depths[first[:, None], rows, columns].astype(np.float32)
        K, other = images.K[first][:, None], images.K[second][:, None]
        rays = np.stack(
            [
                (points[..., 0] - K[..., 0, 2]) / K[..., 0, 0],
                (points[..., 1] - K[..., 1, 2]) / K[..., 1, 1],
                np.ones_like(points[..., 0]),
            ],
            -1,
        )
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
