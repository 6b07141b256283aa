"""Things in photos of rooms, with boxes and masks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from render.errors import InputError
from training.distillation.specific.reading import PHOTO_MEMORY, KeptPhotos
from training.rooms.reading import RoomScene
from training.rooms.tasks import STRUCTURE

if TYPE_CHECKING:
    from jaxtyping import Int16, UInt8

LEAST = 16  # pixels of a thing, at the size that is seen
THIN = 2  # pixels along each side of a box


class Scene(NamedTuple):
    """A photo and the things in it.

    Attributes:
        pixels: ``[3, h, w]`` float32 in [0, 1].
        boxes: Left, top, right, bottom in pixels, the latter two behind the last pixel; ``[n, 4]`` float32.
        labels: Classes, from 1; ``[n]`` int64.
        masks: ``[n, h, w]`` uint8, 1 = the thing.
    """

    pixels: Tensor
    boxes: Tensor
    labels: Tensor
    masks: Tensor

    def target(self, device: torch.device) -> dict[str, Tensor]:
        """As torchvision's detectors take it."""
        return {name: getattr(self, name).to(device) for name in ("boxes", "labels", "masks")}


class RoomThings:
    """Photos of rooms, all at one size, with what can be taken out of a room: no walls, floors and ceilings.

    Args:
        rooms: The rooms.
        size: Height and width in pixels.
        memory: Bytes of photos and maps that are kept; the others are read whenever they are needed.

    Raises:
        InputError: there are no photos, or a side is below 1.
    """

    def __init__(self, rooms: Sequence[RoomScene], size: tuple[int, int], memory: int = PHOTO_MEMORY) -> None:
        if min(size) < 1:
            raise InputError(f"Expected a height and a width of 1 or more, found {size[0]} and {size[1]}.")
        self.rooms, self.size = list(rooms), size
        self.index = [(number, name) for number, room in enumerate(self.rooms) for name in room.views]
        if not self.index:
            raise InputError("A detector learns from photos of rooms, found none.")
        kept = KeptPhotos(memory)
        self._photos, self._instances = (
            [kept.once(partial(read, index)) for index in range(len(self))] for read in (self._photo, self._things)
        )

    def __len__(self) -> int:
        return len(self.index)

    @property
    def names(self) -> tuple[str, ...]:
        """What the labels mean, from the label 1 on."""
        return tuple(name for name in self.rooms[0].class_names if name not in STRUCTURE)

    @property
    def fingerprint(self) -> str:
        """Hash of the photos' names in order, of their size, and of what the first shows."""
        digest = hashlib.sha256(str(self.size).encode())
        for number, name in self.index:
            digest.update(f"{self.rooms[number].path.name}/{name};".encode())
        for first in (self._photos[0], self._instances[0]):
            digest.update(first().tobytes())
        return digest.hexdigest()

    def scene(self, index: int, *, flipped: bool = False) -> Scene:
        """A photo and its things; those that fill less than :data:`LEAST` pixels are left out."""
        photo, instances = self._photos[index](), self._instances[index]()
        if flipped:
            photo, instances = photo[:, ::-1], instances[:, ::-1]
        room = self.rooms[self.index[index][0]]
        labels = {name: label for label, name in enumerate(self.names, 1)}
        boxes, classes, masks = [], [], []
        for thing in np.unique(instances[instances >= 0]).tolist():
            label, mask = labels.get(room.things[thing].category), instances == thing
            rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
            box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
            if label is None or mask.sum() < LEAST or min(box[2] - box[0], box[3] - box[1]) < THIN:
                continue
            boxes.append(box)
            classes.append(label)
            masks.append(mask)
        found = np.stack(masks) if masks else np.zeros((0, *self.size), bool)
        return Scene(
            torch.from_numpy(np.ascontiguousarray(photo)).permute(2, 0, 1).float() / 255,
            torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            torch.tensor(classes, dtype=torch.int64),
            torch.from_numpy(found.astype(np.uint8)),
        )

    def _photo(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        import cv2

        number, name = self.index[index]
        return cv2.resize(self.rooms[number].scene.view(name).image(), self.size[::-1], interpolation=cv2.INTER_AREA)

    def _things(self, index: int) -> Int16[np.ndarray, "h w"]:
        import cv2

        number, name = self.index[index]
        found = self.rooms[number].instances(name)
        return cv2.resize(found, self.size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
