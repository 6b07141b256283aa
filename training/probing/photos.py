"""Photos with what is true of them, read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from render.errors import InputError
from render.spacing import evenly

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8

MARGIN = 256 / 224  # of the shorter side of a photo to the square that is cut out of its middle
VOID = 255  # in class maps: pixels that do not count
Task: TypeAlias = Literal["segmentation", "depth", "classification"]
TASKS: tuple[Task, ...] = get_args(Task)
WHAT = {"segmentation": "class maps", "depth": "depth maps", "classification": "labels of whole photos"}


@dataclass(frozen=True, eq=False)
class ProbePhoto:
    """A photo and what is true of it.  Maps may have another size than the photo, but show the same.

    Attributes:
        name: Of the photo within its group.
        group: What photos that resemble each other have in common, such as a room: intervals are over groups.
        image: Gives ``[h, w, 3]`` uint8.
        classes: Gives the class of every pixel, 255 = does not count; ``[H, W]`` uint8.
        depth: Gives the depth along the viewing direction in metres, 0 = not known; ``[H, W]`` float32.
        label: The class of the whole photo.
        lasting: Whether the same pixels will be seen again: features of others are not kept on disk.
    """

    name: str
    group: str
    image: Callable[[], UInt8[np.ndarray, "h w 3"]]
    classes: Callable[[], UInt8[np.ndarray, "H W"]] | None = None
    depth: Callable[[], Float32[np.ndarray, "H W"]] | None = None
    label: int | None = None
    lasting: bool = True

    def has(self, task: Task) -> bool:
        """Whether the truth of a task is known."""
        return {"segmentation": self.classes, "depth": self.depth, "classification": self.label}[task] is not None


@dataclass(frozen=True, eq=False)
class ProbeData:
    """Photos to learn from, and others to measure.

    Attributes:
        name: Of the data.
        train: What heads learn from.
        test: What they are measured on.
        classes: Names, by index.
        farthest: The largest depth that a head can say, in metres; None = the largest of the training.
        side: Photos are shrunk until their shorter side has so many pixels; None = never.
        enlarge: Smaller photos are enlarged to it.
        square: The middle squares of photos are taken, ``side`` pixels wide: see :func:`middle_square`.
    """

    name: str
    train: Sequence[ProbePhoto]
    test: Sequence[ProbePhoto]
    classes: tuple[str, ...] = ()
    farthest: float | None = None
    side: int | None = None
    enlarge: bool = False
    square: bool = False

    def limited(self, train: int | None = None, test: int | None = None) -> ProbeData:
        """The same with so many photos at most, evenly spaced."""
        return replace(self, train=evenly(self.train, train), test=evenly(self.test, test))

    def for_task(self, task: Task) -> ProbeData:
        """The photos whose truth is known, as they are to be seen; reading a class that has no name is an InputError.

        Raises:
            InputError: a split has none, or the names of the classes are missing.
        """
        splits = {"train": [p for p in self.train if p.has(task)], "test": [p for p in self.test if p.has(task)]}
        for name, photos in splits.items():
            if not photos:
                raise InputError(f"{self.name} has no {WHAT[task]} in its split {name}; choose another task or data.")
        if task != "depth" and not 2 <= len(self.classes) <= VOID:
            raise InputError(f"Expected 2 to {VOID} classes, found {len(self.classes)} in {self.name}.")
        if task == "segmentation":
            splits = {name: [self._checked(photo) for photo in photos] for name, photos in splits.items()}
        seen = {name: [self._seen(photo) for photo in photos] for name, photos in splits.items()}
        return replace(self, train=seen["train"], test=seen["test"], side=None, enlarge=False, square=False)

    def _checked(self, photo: ProbePhoto) -> ProbePhoto:
        if photo.classes is None:
            return photo
        return replace(photo, classes=partial(checked, photo.classes, len(self.classes), photo.name))

    def _seen(self, photo: ProbePhoto) -> ProbePhoto:
        if self.side is None:
            return photo
        if self.square:
            return replace(photo, image=partial(middle_square, photo.image, self.side))
        return replace(photo, image=partial(resized, photo.image, self.side, enlarge=self.enlarge))


def checked(classes: Callable[[], UInt8[np.ndarray, "h w"]], count: int, name: str) -> UInt8[np.ndarray, "h w"]:
    """A class map.

    Raises:
        InputError: a class is neither below ``count`` nor 255.
    """
    values = classes()
    known = values[values != VOID]
    if known.size and int(known.max()) >= count:
        raise InputError(
            f"Expected classes below {count} (or {VOID}, which does not count) in the class map of {name}, found "
            f"{int(known.max())}; correct the map or name more classes."
        )
    return values


def resized(
    image: Callable[[], UInt8[np.ndarray, "h w 3"]], side: int, *, enlarge: bool = False
) -> UInt8[np.ndarray, "H W 3"]:
    """A photo whose shorter side has at most ``side`` pixels; exactly so many if it is to be enlarged."""
    import cv2

    photo = image()
    height, width = photo.shape[:2]
    scale = side / min(height, width)
    if scale < 1 or enlarge:
        size = (max(side, round(width * scale)), max(side, round(height * scale)))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        photo = cv2.resize(photo, size, interpolation=how)
    return np.ascontiguousarray(photo)


def middle_square(image: Callable[[], UInt8[np.ndarray, "h w 3"]], side: int) -> UInt8[np.ndarray, "s s 3"]:
    """The middle ``side`` x ``side`` pixels of a photo resized as DINOv2's evaluation does: of 256 pixels 224."""
    photo = resized(image, round(side * MARGIN), enlarge=True)
    top, left = ((length - side) // 2 for length in photo.shape[:2])
    return np.ascontiguousarray(photo[top : top + side, left : left + side])
