"""Crops of rooms with prompts on their things, for the training of ``tiny-sam``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Int16, UInt8
    from numpy.random import Generator

    from training.tiny.images import RoomImages

LEAST = 48  # pixels of a thing in a crop, below which nobody would point at it
SMALLEST = 0.45  # crop's sides over the photo's
ASPECTS = (1.0, 1.0, 4 / 3, 4 / 3, 3 / 4, 3 / 2)
JITTER, MOST_JITTER = 0.1, 20.0  # of a box's corners: of its sides, and pixels at most


@dataclass(frozen=True, eq=False)
class Prompts:
    """Crops and what to find in them.

    Attributes:
        crops: Square, the crop at the top left as the predictor lays photos, black where there is none.
        there: Pixels that are of the crop.
        instances: Thing of every pixel; -1 = nothing.
        wanted: The things asked for.
        points: Pixels of them, (x, y), drawn uniformly.
        boxes: Left, top, right, bottom around them, jittered.
    """

    crops: UInt8[np.ndarray, "b s s 3"]
    there: Bool[np.ndarray, "b s s"]
    instances: Int16[np.ndarray, "b s s"]
    wanted: Int16[np.ndarray, "b p"]
    points: Float32[np.ndarray, "b p m 2"]
    boxes: Float32[np.ndarray, "b p 4"]

    def shares(self, cell: int) -> Float32[np.ndarray, "b p g g"]:
        """The part of every cell, of a side of so many pixels, that is the wanted thing's."""
        b, side, _ = self.instances.shape
        g = side // cell
        cells = self.instances.reshape(b, g, cell, g, cell).transpose(0, 1, 3, 2, 4).reshape(b, 1, g, g, cell * cell)
        found = cells == self.wanted[:, :, None, None, None]
        return found.mean(-1, dtype=np.float32)


def draw_prompts(images: RoomImages, random: Generator, *, batch: int, prompts: int, points: int, side: int) -> Prompts:
    """Draw photos, a crop of each, and things in them with points and boxes.

    Crops have the shapes of photos in use (square, 4:3, 3:4, 3:2) and down to 0.45 of the photo's sides; half of
    them are mirrored.

    Args:
        images: Photos to draw from.
        random: Of all choices.
        batch: Photos.
        prompts: Things asked for in each, small ones as often as large ones; repeated where there are fewer.
        points: On each thing.
        side: Of the square that a crop is fitted into; pixels.
    """
    crops = np.zeros((batch, side, side, 3), np.uint8)
    there = np.zeros((batch, side, side), bool)
    instances = np.full((batch, side, side), -1, np.int16)
    wanted = np.zeros((batch, prompts), np.int16)
    where = np.zeros((batch, prompts, points, 2), np.float32)
    boxes = np.zeros((batch, prompts, 4), np.float32)
    row = 0
    while row < batch:
        index = int(random.integers(len(images)))
        photo, things = _crop(random, images.photos[index], images.instances[index], side)
        found = np.flatnonzero(np.bincount(things.reshape(-1) + 1)[1:] >= LEAST)
        if len(found) == 0:
            continue
        h, w = things.shape
        crops[row, :h, :w], there[row, :h, :w], instances[row, :h, :w] = photo, True, things
        chosen = random.permutation(found)[:prompts]
        wanted[row] = np.concatenate([chosen, random.choice(found, prompts - len(chosen))])
        where[row], boxes[row] = _marks(random, things, wanted[row], points)
        row += 1
    return Prompts(crops, there, instances, wanted, where, boxes)


def _crop(
    random: Generator, photo: UInt8[np.ndarray, "h w 3"], instances: Int16[np.ndarray, "h w"], side: int
) -> tuple[UInt8[np.ndarray, "a b 3"], Int16[np.ndarray, "a b"]]:
    """A piece of a photo and its things, its longer side resized to ``side``."""
    import cv2

    height, width = instances.shape
    aspect, scale = random.choice(ASPECTS), random.uniform(SMALLEST, 1.15)
    h = min(height, max(16, round(min(scale, 1) * min(height, width / aspect))))
    w = min(width, max(16, round(h * aspect)))
    y, x = int(random.integers(height - h + 1)), int(random.integers(width - w + 1))
    size = (side, max(1, round(h * side / w))) if w >= h else (max(1, round(w * side / h)), side)
    piece, things = photo[y : y + h, x : x + w], instances[y : y + h, x : x + w]
    if random.random() < 0.5:
        piece, things = piece[:, ::-1], things[:, ::-1]
    mode = cv2.INTER_AREA if max(h, w) > side else cv2.INTER_LINEAR
    piece = cv2.resize(np.ascontiguousarray(piece), size, interpolation=mode)
    # The exact one takes pixels at the same centres as the photo's resizing.
    things = cv2.resize(np.ascontiguousarray(things), size, interpolation=cv2.INTER_NEAREST_EXACT)
    return piece, things


def _marks(
    random: Generator, instances: Int16[np.ndarray, "h w"], wanted: Int16[np.ndarray, " p"], points: int
) -> tuple[Float32[np.ndarray, "p m 2"], Float32[np.ndarray, "p 4"]]:
    """Points on things and boxes around them."""
    width = instances.shape[1]
    flat = instances.reshape(-1)
    order = np.argsort(flat, kind="stable")
    starts, ends = (np.searchsorted(flat[order], wanted, side) for side in ("left", "right"))
    drawn = starts[:, None] + (random.random((len(wanted), points)) * (ends - starts)[:, None]).astype(int)
    pixels = order[drawn]
    boxes = np.empty((len(wanted), 4), np.float32)
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        y, x = np.divmod(order[start:end], width)
        boxes[row] = x.min(), y[0], x.max(), y[-1]
    sizes = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    shift = np.clip(random.normal(0, 1, boxes.shape) * JITTER * sizes, -MOST_JITTER, MOST_JITTER)
    return np.stack([pixels % width, pixels // width], -1).astype(np.float32), (boxes + shift).astype(np.float32)
