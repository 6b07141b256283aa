"""What student and teachers see of a photo: crops in other colours or the whole, at the side of the stage."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from render.errors import InputError
from render.machine import cores
from training.distillation.co.photos import Photos
from training.distillation.co.sampling import Item
from training.distillation.co.settings import SMALLEST_CROP, Settings
from training.distillation.parts import part_of
from uplift.encoders.base import TrainableEncoder

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from numpy.random import Generator

FLIPPED = 0.5  # of what is seen is mirrored
RECOLOURED, GREY, BLURRED, SOLARIZED = 0.8, 0.2, 0.2, 0.2  # of crops: with other colours; with none; and so on
JITTER = (0.4, 0.4, 0.2)  # brightness, contrast and saturation change by factors of 1 - this to 1 + this
HUE = 0.1  # turns around the circle of hues, to either side
BLUR, KERNEL = (0.1, 5.0), 9  # deviation and width of the Gaussian, in pixels
SOLAR = 128  # colours from here on are inverted
READERS = 8  # threads that read and crop photos
CROP, COLOURS = 0, 2  # the draws of an item's seed that decide what is seen; dropping has others

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, eq=False)
class Seen:
    """What is seen of a photo.

    Attributes:
        pixels: ``[3, h, w]`` uint8; crops are mirrored already.
        digest: Of whole photos: hash of the pixels, as they are before mirroring.
        mirrored: Whether the student sees it mirrored, and maps are mirrored with it.
    """

    pixels: UInt8[Tensor, "3 h w"]
    digest: str = ""
    mirrored: bool = False

    @property
    def turned(self) -> UInt8[Tensor, "3 h w"]:
        """As the student sees it."""
        return self.pixels.flip(-1) if self.mirrored else self.pixels


class Sight:
    """Looks at photos as a co-distillation does.

    Attributes:
        stages: Sides of what is seen.
        patch: Of the student, in pixels.
        grid: The student's grid on a photo of ``h`` by ``w`` pixels that is seen whole at a side.
    """

    def __init__(
        self, photos: Photos, encoder: TrainableEncoder, settings: Settings, stages: Stages, *, readers: int = READERS
    ) -> None:
        """Set up.

        Args:
            photos: To look at.
            encoder: The student, whose patches whole photos are resized to.
            settings: What is seen.
            stages: Sides of what is seen.
            readers: Threads at most, beside which there is this one; 1 = no other.
        """
        self.stages, self._photos, self._settings, self._readers = stages, photos, settings, readers
        self.patch, self.grid = encoder.patch, encoder.grid

    def look(self, items: Sequence[Item], side: int) -> list[Seen]:
        """What is seen of the photos of a step, at a side in pixels."""
        return together(lambda item: self._seen(item, side), items, self._readers)

    def look_at_whole(self, photos: Sequence[int], side: int) -> list[Seen]:
        """What is seen of whole photos, at a side in pixels."""
        return together(lambda photo: self._whole(photo, side), photos, self._readers)

    def view(self, photo: int, side: int, photos: Photos | None = None) -> str:
        """Tells the file of a photo, when it changed, and how it is seen whole; "" where the file is not known."""
        file = (self._photos if photos is None else photos).photo(photo).file
        return f"{file} {side} {self.patch}" if file else ""

    def _whole(self, photo: int, side: int) -> Seen:
        """A whole photo of the training, kept if there is room: smaller than the file's, and with its hash."""
        return self._photos.kept(
            (photo, side, self.patch), lambda: self.whole(self._photos.read(photo), side), lambda one: one.pixels.nbytes
        )

    def whole(self, image: UInt8[np.ndarray, "h w 3"], side: int) -> Seen:
        """A whole photo; a larger one is shrunk until its longer side has so many pixels."""
        pixels = whole(image, self.grid(image.shape[0], image.shape[1], side), self.patch)
        return Seen(pixels, digest_of(pixels))

    def nodes(self, seen: Seen) -> tuple[int, int]:
        """The student's grid on what is seen."""
        return seen.pixels.shape[1] // self.patch, seen.pixels.shape[2] // self.patch

    def _seen(self, item: Item, side: int) -> Seen:
        random = np.random.default_rng([CROP, item.seed])
        if self._settings.augment == "flips":
            return replace(self._whole(item.photo, side), mirrored=bool(random.random() < FLIPPED))
        image = self._photos.image(item.photo)
        pixels = cropped(image, random, side, self._settings.least)
        if self._settings.augmentation is not None:
            return Seen(self._settings.augmentation.on_bytes(pixels[None], [item.seed])[0])
        if self._settings.recolours:
            pixels = recoloured(pixels, np.random.default_rng([COLOURS, item.seed]))
        return Seen(pixels)


@dataclass(frozen=True)
class Stages:
    """Resolutions one after the other (DUNE, section 5.1: 336, in the end 448).

    Attributes:
        sides: Of what the student sees, in pixels.
        shares: Parts of the steps; their sum is 1.
    """

    sides: tuple[int, ...]
    shares: tuple[float, ...]

    @staticmethod
    def parse(texts: Sequence[str], patch: int) -> Stages:
        """Stages that are written ``SIDE:SHARE``, or one as ``SIDE``.

        Args:
            texts: As a person typed them; shares are divided by their sum.
            patch: Of the student, in pixels.

        Raises:
            InputError: one is written otherwise, a share is not above 0, or a side is no multiple of the patch.
        """
        pairs = []
        for text in texts:
            pixels, _, share = text.partition(":")
            try:
                pairs.append((int(pixels), float(share or 1)))
            except ValueError as error:
                raise InputError(f"Stages are given as SIDE:SHARE, such as 336:0.9 448:0.1; found {text!r}.") from error
        for side, part in pairs:
            if side < patch or side % patch:
                below = max(patch, side // patch * patch)
                raise InputError(
                    f"The student sees patches of {patch} pixels, found stages of {side}; choose a multiple, such as "
                    f"{below}."
                )
            if not 0 < part < math.inf:
                raise InputError(f"A stage has a share above 0 of the steps, found {part:g}.")
        if not pairs:
            raise InputError("Expected one stage of resolution or more, found none.")
        total = sum(part for _, part in pairs)
        return Stages(tuple(side for side, _ in pairs), tuple(part / total for _, part in pairs))

    def side_at(self, progress: float) -> int:
        """The side at a part of the steps, from 0 to 1."""
        ends = np.cumsum(self.shares) - 1e-9
        return self.sides[min(int(np.searchsorted(ends, progress, side="right")), len(self.sides) - 1)]


def cropped(
    image: UInt8[np.ndarray, "h w 3"], random: Generator, side: int, least: float = SMALLEST_CROP
) -> UInt8[Tensor, "3 side side"]:
    """A random part of a photo, resized, and mirrored half of the time.

    The part's area and the logarithm of its aspect ratio are uniform; after ten parts that do not lie inside the photo
    the largest one of a permitted ratio in its middle is taken.

    Args:
        image: The photo.
        random: Of all choices.
        side: Of the result, in pixels.
        least: Smallest part of the area; the largest is all of it.
    """
    from torchvision.transforms.v2 import functional

    top, left, height, width = part_of(image.shape[0], image.shape[1], random, least)
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    found: Tensor = functional.resized_crop(
        pixels, top, left, height, width, [side, side], functional.InterpolationMode.BICUBIC, antialias=True
    )
    return found.flip(-1) if random.random() < FLIPPED else found


def whole(image: UInt8[np.ndarray, "h w 3"], grid: tuple[int, int], patch: int) -> UInt8[Tensor, "3 h w"]:
    """A whole photo, resized to a grid of patches."""
    from torchvision.transforms.v2 import functional

    size = [length * patch for length in grid]
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    if list(pixels.shape[1:]) == size:
        return pixels.contiguous()
    found: Tensor = functional.resize(pixels, size, functional.InterpolationMode.BICUBIC, antialias=True)
    return found.contiguous()


def recoloured(pixels: UInt8[Tensor, "3 h w"], random: Generator) -> UInt8[Tensor, "3 h w"]:
    """A photo whose colours vary as in UNIC's released training.

    Four times of five brightness, contrast, saturation and hue change, in random order.  One time of five each, drawn
    for itself and in this order, it becomes grey, is blurred, or has its bright colours inverted.

    Args:
        pixels: The photo.
        random: Of all choices.
    """
    from torchvision.transforms.v2 import functional

    jitters, greys, blurs, inverts = random.random(4) < (RECOLOURED, GREY, BLURRED, SOLARIZED)
    factors = [float(random.uniform(1 - width, 1 + width)) for width in JITTER]
    hue, deviation, order = float(random.uniform(-HUE, HUE)), float(random.uniform(*BLUR)), random.permutation(4)
    adjust = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)
    changes = [*zip(adjust, factors, strict=True), (functional.adjust_hue, hue)]
    found = pixels
    for place in order if jitters else ():
        change, value = changes[place]
        found = change(found, value)
    if greys:
        found = functional.rgb_to_grayscale(found, num_output_channels=3)
    if blurs:
        width = min(KERNEL, 2 * min(found.shape[1:]) - 1)  # mirrored borders are no wider than the photo
        found = functional.gaussian_blur(found, [width, width], [deviation, deviation])
    if inverts:
        found = functional.solarize(found, SOLAR)
    return found.contiguous()


def digest_of(pixels: UInt8[Tensor, "3 h w"]) -> str:
    """Hash of pixels."""
    digest = hashlib.sha256(str(list(pixels.shape)).encode())
    digest.update(pixels.contiguous().numpy().data)
    return digest.hexdigest()


def alike(seen: Sequence[Seen]) -> list[list[int]]:
    """The places of photos of one size, together."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, one in enumerate(seen):
        groups.setdefault(tuple(one.pixels.shape), []).append(place)
    return list(groups.values())


def together(function: Callable[[A], B], items: Sequence[A], most: int = READERS) -> list[B]:
    """What a function gives for every item, in threads that are gone afterwards.

    Args:
        function: May be called by several threads.
        items: Its arguments.
        most: Threads; with one, or one item, none is started.
    """
    count = min(most, cores(), len(items))
    if count <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(function, items))
