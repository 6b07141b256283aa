"""All photos and maps of a folder of rooms in memory, for trainings that draw crops from them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from render.errors import InputError
from render.progress import Progress, silent
from training.rooms.reading import RoomScene

if TYPE_CHECKING:
    from jaxtyping import Float32, Int16, UInt8
    from numpy.random import Generator

    from training.rooms.words import ThingWords


@dataclass(frozen=True, eq=False)
class RoomImages:
    """Photos of many rooms, all of one size.

    Attributes:
        photos: ``[n, h, w, 3]`` uint8.
        classes: Class of every pixel, 255 = nothing; ``[n, h, w]`` uint8.
        instances: Thing of every pixel, an index of its room's ``things``, -1 = nothing; ``[n, h, w]`` int16.
        depths: Metres along the viewing direction, 0 = nothing; ``[n, h, w]`` float16.
        K: Intrinsics in pixels; ``[n, 3, 3]`` float32.
        world_to_camera: ``[n, 4, 4]`` float32, OpenCV axes.
        rooms: Which room a photo shows, an index of ``things``; ``[n]`` int.
        things: What stands in each room.
    """

    photos: UInt8[np.ndarray, "n h w 3"]
    classes: UInt8[np.ndarray, "n h w"]
    instances: Int16[np.ndarray, "n h w"]
    depths: np.ndarray
    K: Float32[np.ndarray, "n 3 3"]
    world_to_camera: Float32[np.ndarray, "n 4 4"]
    rooms: np.ndarray
    things: Sequence[Sequence[ThingWords]]

    def __len__(self) -> int:
        return len(self.photos)

    def of_rooms(self, count: int) -> RoomImages:
        """The photos of the first rooms."""
        keep = self.rooms < count
        return RoomImages(
            self.photos[keep],
            self.classes[keep],
            self.instances[keep],
            self.depths[keep],
            self.K[keep],
            self.world_to_camera[keep],
            self.rooms[keep],
            self.things[:count],
        )


def load_room_images(folder: str | Path, *, most: int | None = None, progress: Progress = silent) -> RoomImages:
    """Read every room of a folder that ``fit3d rooms`` wrote.

    Args:
        folder: Holds one folder for each room.
        most: Read only this many rooms.
        progress: Told after every room.

    Raises:
        InputError: there are no rooms, or their photos differ in size.
    """
    folder = Path(folder)
    paths = sorted(path.parent for path in folder.glob("*/room.json"))[:most]
    if not paths:
        raise InputError(f"There are no rooms in {folder}; make some with: fit3d rooms {folder}")
    done = 0
    parts = []
    with ThreadPoolExecutor(max(1, min(8, os.cpu_count() or 1))) as pool:
        for part in pool.map(_read, paths):
            parts.append(part)
            done += 1
            progress(done, len(paths), "reading rooms")
    shapes = {part.photos.shape[1:] for part in parts}
    if len(shapes) > 1:
        sizes = ", ".join(sorted(f"{w}x{h}" for h, w, _ in shapes))
        raise InputError(f"The photos of a training have one size, found {sizes} in {folder}.")
    return RoomImages(
        np.concatenate([part.photos for part in parts]),
        np.concatenate([part.classes for part in parts]),
        np.concatenate([part.instances for part in parts]),
        np.concatenate([part.depths for part in parts]),
        np.concatenate([part.K for part in parts]),
        np.concatenate([part.world_to_camera for part in parts]),
        np.concatenate([np.full(len(part), i) for i, part in enumerate(parts)]),
        [part.things[0] for part in parts],
    )


def _read(path: Path) -> RoomImages:
    room = RoomScene.open(path)
    views = room.scene.views
    names = [view.name for view in views]
    return RoomImages(
        np.stack([view.image() for view in views]),
        np.stack([room.classes(name) for name in names]),
        np.stack([room.instances(name) for name in names]).astype(np.int16),
        np.stack([room.depth(name) for name in names]).astype(np.float16),
        np.stack([view.camera.K.numpy() for view in views]).astype(np.float32),
        np.stack([view.camera.world_to_camera.numpy() for view in views]).astype(np.float32),
        np.zeros(len(views), int),
        [room.things],
    )


def cropped(
    photos: UInt8[np.ndarray, "n h w 3"], boxes: Float32[np.ndarray, "b 4"], which: np.ndarray, side: int
) -> UInt8[np.ndarray, "b side side 3"]:
    """Crops of photos, resized by area where they shrink and linearly where they grow.

    Args:
        photos: The photos.
        boxes: Left, top, right, bottom in pixels, inside the photo.
        which: The photo of each box; ``[b]`` int.
        side: Of the crops, in pixels.
    """
    import cv2

    out = np.empty((len(boxes), side, side, 3), np.uint8)
    for row, (box, index) in enumerate(zip(boxes, which, strict=True)):
        x0, y0, x1, y1 = (round(float(v)) for v in box)
        part = photos[index, y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
        mode = cv2.INTER_AREA if part.shape[0] >= side else cv2.INTER_LINEAR
        out[row] = cv2.resize(part, (side, side), interpolation=mode)
    return out


def jittered(random: Generator, images: UInt8[np.ndarray, "b s s 3"], strength: float = 1.0) -> np.ndarray:
    """Jitter brightness, contrast, saturation and the balance of the three channels of each image.

    Args:
        random: Of all choices.
        images: uint8 images.
        strength: 1 = brightness by 0.6 to 1.4, the others by less; 0 = as they are.

    Returns:
        ``[b, s, s, 3]`` float32 in [0, 1].
    """
    values = images.astype(np.float32) / 255
    b = len(values)

    def factors(width: float, *shape: int) -> np.ndarray:
        return (1 + strength * random.uniform(-width, width, (b, *shape))).astype(np.float32)

    gray = values @ np.array([0.299, 0.587, 0.114], np.float32)
    values = gray[..., None] + (values - gray[..., None]) * factors(0.4, 1, 1, 1)
    mean = values.mean((1, 2, 3), keepdims=True)
    values = mean + (values - mean) * factors(0.4, 1, 1, 1)
    return np.clip(values * factors(0.4, 1, 1, 1) * factors(0.08, 1, 1, 3), 0, 1)


def normalised(
    images: Float32[np.ndarray, "b h w 3"], mean: Sequence[float], std: Sequence[float], device: torch.device
) -> Float32[Tensor, "b 3 h w"]:
    """Images in [0, 1] as a network takes them; in memory channels stay last, which convolutions of a CPU prefer."""
    pixels = torch.from_numpy(images).to(device)
    return ((pixels - torch.tensor(mean, device=device)) / torch.tensor(std, device=device)).permute(0, 3, 1, 2)
