"""Large pieces of photos of rooms, and points on the things that they show, for features of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from render.errors import InputError
from training.tiny.images import RoomImages, cropped

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8
    from numpy.random import Generator

    from training.rooms.words import ThingWords

SMALLEST = 0.4  # sides of pieces, parts of the photo's height
LEAST = 12  # pixels of a thing in a piece, below which nobody could name it
SIZES = 0.3  # 0 = a small thing is marked as often as a large one, 1 = all pixels are alike
TRIES = 100  # pieces that may show nothing, for each that is asked for
BALANCE = 0.4  # 0 = categories as frequent as they are, 1 = all alike


@dataclass(frozen=True, eq=False)
class Pieces:
    """Pieces of photos and points on what they show.

    Attributes:
        images: ``[b, side, side, 3]`` uint8.
        points: ``p`` points in each piece, (x, y) between 0 and 1 from its top left corner.
        shown: What lies at each point, an index of ``things``; ``[b, p]`` int.
        things: What can be said of everything that is marked.
    """

    images: UInt8[np.ndarray, "b s s 3"]
    points: Float32[np.ndarray, "b p 2"]
    shown: np.ndarray
    things: Sequence[ThingWords]


class PieceSampler:
    """Draws pieces and points, rare categories more often than they occur."""

    def __init__(self, images: RoomImages, side: int) -> None:
        """Count categories.

        Args:
            images: Photos of rooms.
            side: Of the pieces, in pixels.

        Raises:
            InputError: no photo shows a thing.
        """
        self._images, self._side = images, side
        names = [words.category for things in images.things for words in things]
        if not names or not (images.instances >= 0).any():
            raise InputError("Expected photos that show things, found instance maps without any.")
        kinds, counts = np.unique(names, return_counts=True)
        weights = dict(zip(kinds, (counts / counts.max()) ** -BALANCE, strict=True))
        self._weights = [np.array([weights[words.category] for words in things]) for things in images.things]

    def draw(self, random: Generator, count: int, points: int) -> Pieces:
        """So many pieces with so many points in each; half of them are mirrored."""
        images, (h, w) = self._images, self._images.photos.shape[1:3]
        which, boxes = np.empty(count, int), np.empty((count, 4), np.float32)
        where, shown = np.empty((count, points, 2), np.float32), np.empty((count, points), int)
        things: list[ThingWords] = []
        row = tried = 0
        while row < count:
            tried += 1
            if tried > TRIES * count:
                raise InputError(f"Expected things of {LEAST} pixels or more in photos, found none in {tried} pieces.")
            photo = int(random.integers(len(images)))
            side = round(min(h, w) * float(np.exp(random.uniform(np.log(SMALLEST), 0))))
            x, y = int(random.integers(w - side + 1)), int(random.integers(h - side + 1))
            part = images.instances[photo, y : y + side, x : x + side].reshape(-1)
            sizes = np.bincount(part[part >= 0], minlength=1)
            seen = np.flatnonzero(sizes >= LEAST)
            if len(seen) == 0:
                continue
            room = int(images.rooms[photo])
            chances = sizes[seen] ** SIZES * self._weights[room][seen]
            chosen = random.choice(len(seen), points, p=chances / chances.sum())
            order = np.argsort(part, kind="stable")
            starts, ends = (np.searchsorted(part[order], seen, edge)[chosen] for edge in ("left", "right"))
            pixels = order[starts + (random.random(points) * (ends - starts)).astype(int)]
            where[row] = (np.stack([pixels % side, pixels // side], -1) + 0.5) / side
            marked, of_piece = np.unique(chosen, return_inverse=True)
            shown[row] = len(things) + of_piece
            things += [images.things[room][int(seen[index])] for index in marked]
            which[row], boxes[row] = photo, (x, y, x + side, y + side)
            row += 1
        pieces = cropped(images.photos, boxes, which, self._side)
        flipped = random.random(count) < 0.5
        pieces[flipped] = pieces[flipped, :, ::-1]
        where[flipped, :, 0] = 1 - where[flipped, :, 0]
        return Pieces(pieces, where, shown, things)
