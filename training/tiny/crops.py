"""Crops of photos of rooms as a CLIP's image pyramid makes them, with the thing that lies in their middle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from render.errors import InputError
from training.rooms.words import ThingWords
from training.tiny.images import RoomImages, cropped

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
    from numpy.random import Generator

SMALLEST, LARGEST = 0.08, 0.55  # sides of crops, parts of the photo's height
OF_ONE_PHOTO = 8  # crops, so that the things of a room are told from each other
LEAST = 30  # pixels of a thing in a photo from which crops are drawn around it
BALANCE = 0.7  # 0 = categories as frequent as they are, 1 = all alike
FITTING = 0.5  # part of the crops that are about as large as the thing
MARGIN = (0.8, 3.0)  # sides of those, times the square root of the thing's pixels
SPREAD = 0.1  # of the crop's side: how far from its middle what it shows may lie (standard deviation)
EVERY = 4  # pixels along each side between those that are counted for the shares


@dataclass(frozen=True, eq=False)
class Crops:
    """Crops, and what they show.

    Attributes:
        images: ``[b, side, side, 3]`` uint8.
        shares: For each crop the things that it shows and the parts of it that they fill; the thing in the middle
            comes first, the others by what they fill.
    """

    images: UInt8[np.ndarray, "b s s 3"]
    shares: Sequence[Sequence[tuple[ThingWords, float]]]

    @property
    def main(self) -> list[ThingWords]:
        """The things in the middle."""
        return [shares[0][0] for shares in self.shares]


class CropSampler:
    """Draws crops around things, rare categories more often than they occur.

    A pyramid gives a crop's embedding to the crop's middle, so the thing there is what the crop shows, however much
    the others fill: a cup on a table is a cup, and a part of a sofa is a sofa.
    """

    def __init__(self, images: RoomImages, side: int) -> None:
        """Count what every photo shows.

        Args:
            images: Photos of rooms.
            side: Of the crops, in pixels.

        Raises:
            InputError: no photo shows a thing.
        """
        self._images, self._side = images, side
        photos, things = [], []
        for index, instances in enumerate(images.instances):
            counts = np.bincount(instances[instances >= 0].ravel())
            seen = np.flatnonzero(counts >= LEAST)
            photos.append(np.full(len(seen), index))
            things.append(seen)
        self._photos, self._things = np.concatenate(photos), np.concatenate(things)
        if not len(self._photos):
            raise InputError("Expected photos that show things, found instance maps without any.")
        self._first = np.searchsorted(self._photos, np.arange(len(images) + 1))
        names = [self._words(i, t).category for i, t in zip(self._photos, self._things, strict=True)]
        _, kinds, counts = np.unique(names, return_inverse=True, return_counts=True)
        weights = counts[kinds].astype(float) ** -BALANCE
        self._sums = np.cumsum(weights / weights.sum())

    def draw(self, random: Generator, count: int) -> Crops:
        """A batch; every few crops come from one photo."""
        images, (h, w) = self._images, self._images.photos.shape[1:3]
        anchors = np.searchsorted(self._sums, random.random(-(-count // OF_ONE_PHOTO)))
        rows = np.repeat(np.minimum(anchors, len(self._photos) - 1), OF_ONE_PHOTO)[:count]
        photos = self._photos[rows]
        first, last = self._first[photos], self._first[photos + 1]
        others = np.arange(count) % OF_ONE_PHOTO != 0
        rows[others] = random.integers(first, last)[others]
        boxes, middles = [], []
        for row in rows:
            photo = self._photos[row]
            places = np.flatnonzero(images.instances[photo] == self._things[row])
            y, x = divmod(int(places[random.integers(len(places))]), w)
            side = h * float(np.exp(random.uniform(np.log(SMALLEST), np.log(LARGEST))))
            if random.random() < FITTING:
                side = float(np.clip(len(places) ** 0.5 * random.uniform(*MARGIN), SMALLEST * h, LARGEST * h))
            side = min(side, h, w)
            middle = random.normal([x, y], SPREAD * side)
            middle = np.clip(middle, side / 2, [w - side / 2, h - side / 2])
            boxes.append(np.concatenate([middle - side / 2, middle + side / 2]))
            there = np.clip(random.normal(middle, SPREAD * side), middle - side / 2, middle + side / 2)
            middles.append(np.clip(there, 0, [w - 1, h - 1]).astype(int))
        places = np.array(middles)
        shown = images.instances[photos, places[:, 1], places[:, 0]]
        shown = np.where(shown >= 0, shown, self._things[rows])
        crops = cropped(images.photos, np.array(boxes, np.float32), photos, self._side)
        flipped = random.random(count) < 0.5
        crops[flipped] = crops[flipped, :, ::-1]
        shares = [self._shares(*found) for found in zip(photos, shown, boxes, strict=True)]
        return Crops(crops, shares)

    def _shares(self, photo: int, shown: int, box: Float[np.ndarray, " 4"]) -> list[tuple[ThingWords, float]]:
        x0, y0, x1, y1 = (round(float(v)) for v in box)
        part = self._images.instances[photo, y0 : max(y1, y0 + 1) : EVERY, x0 : max(x1, x0 + 1) : EVERY]
        counts = np.bincount(part[part >= 0].ravel(), minlength=int(shown) + 1) / max(1, part.size)
        order = [int(shown), *(int(i) for i in np.argsort(-counts, kind="stable") if i != shown and counts[i] > 0)]
        return [(self._words(photo, index), float(counts[index])) for index in order]

    def _words(self, photo: int, thing: int) -> ThingWords:
        return self._images.things[int(self._images.rooms[photo])][int(thing)]
