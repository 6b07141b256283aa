"""How photos are changed before networks see them (appendix B.1.3).

All that is drawn follows from the seed of the item; the teacher and the student see the same result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from render.errors import InputError
from training.augmentation import Augmentation
from training.augmentation.trivial import NUMBERS, trivially_changed
from training.distillation.parts import part_of
from training.distillation.specific.models import Goal, resized
from training.distillation.specific.samples import Sample, TaskPhotos, at_nearest
from training.probing.photos import MARGIN, VOID

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

Augment: TypeAlias = Literal["standard", "trivial", "centre", "plain"]
"""standard = that of transformers, and of every segmentation.  For photos with a class each besides: trivial = with
TrivialAugment, for ResNets; centre = the middle of a photo and no Mixup, for heads that tell kinds much alike.  plain =
none: what a frozen encoder says of the photos is then computed once."""
AUGMENTS: tuple[Augment, ...] = get_args(Augment)
TRIES = 10  # at a crop that more than one class shares
BRIGHTNESS, CONTRAST, SATURATION, HUE = 32 / 255, (0.5, 1.5), (0.5, 1.5), 0.1  # of mmsegmentation; hue: of a turn
HALF = 0.5


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How photos are augmented.

    Attributes:
        augment: See :data:`Augment`.
        side: Pixels along each side of what networks see.
        scale: Classification: the least part of a photo that a crop shows; tiny photos need less of it.
        jitter: Classification: brightness, contrast and saturation change by factors of ``1 - jitter`` to
            ``1 + jitter``.  (The text says "ColorJitter with range (0, 0.4)": torchvision's 0.4, no hue.)
        mixup: Classification with ``standard``: photos are blended in pairs, and their labels with them, by shares
            drawn from Beta(mixup, mixup); 0 = they are not.
        ratio: Segmentation: the shorter side is so many times ``side`` at least and at most before a crop.
        most: Segmentation: of the known pixels of a crop that one class has at most, if ten tries find such a crop.
        augmentation: What takes the place of other colours, mirrors and TrivialAugment, and of the parts that crops of
            photos with a class show: a policy, for example.  Such a photo is resized and cut as it is without
            augmentation, but anywhere, and Mixup stays; of a photo with a class for each pixel crops stay.

    Raises:
        InputError: a number is out of its range.
    """

    augment: Augment = "standard"
    side: int = 224
    scale: float = 0.08
    jitter: float = 0.4
    mixup: float = 0.2
    ratio: tuple[float, float] = (0.5, 2.0)
    most: float = 0.75
    augmentation: Augmentation | None = None

    def __post_init__(self) -> None:
        if self.side < 1 or not 0 < self.scale <= 1 or not 0 <= self.jitter <= 1 or not 0 <= self.mixup < math.inf:
            raise InputError(
                "Expected a side of 1 or more, a scale above 0 and up to 1, a jitter from 0 to 1 and a mixup of 0 or "
                f"more, found {self.side}, {self.scale:g}, {self.jitter:g} and {self.mixup:g}."
            )
        if not 0 < self.ratio[0] <= self.ratio[1] or not 0 < self.most <= 1:
            raise InputError(
                f"Expected a rising ratio above 0 and a share of up to 1, found {self.ratio} and {self.most:g}."
            )

    @property
    def plain(self) -> bool:
        """Whether a photo is always seen in the same way."""
        return self.augment == "plain" and self.augmentation is None

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        known = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "augmentation"}
        # Trainings from before there was another augmentation go on.
        return known if self.augmentation is None else {**known, "augmentation": self.augmentation.title}


class Drawn(NamedTuple):
    """A photo of a batch, as small as it is drawn.

    Attributes:
        photo: Its index.
        seed: Of its augmentation.
    """

    photo: int
    seed: int


def make_sample(photos: TaskPhotos, drawn: Drawn, recipe: Recipe) -> Sample:
    """A photo as it was drawn: read and augmented, its class map with it."""
    image = photos.image(drawn.photo)
    truth = photos.truth(drawn.photo, (image.shape[1], image.shape[2]))
    return augmented(image, truth, photos.goal, recipe, drawn.seed)


def augmented(image: UInt8[Tensor, "3 h w"], truth: Tensor, goal: Goal, recipe: Recipe, seed: int) -> Sample:
    """A photo as networks see it.

    Args:
        image: The photo.
        truth: Of the photo ``[k]``, or of its pixels ``[h, w]``.
        goal: Which of both.
        recipe: How it is augmented; ``plain`` segmentation cuts one of the windows that cover the photo.
        seed: Of all that is drawn.
    """
    if recipe.augmentation is not None:
        return _otherwise_changed(image, truth, goal, recipe, recipe.augmentation, seed)
    if recipe.augment == "plain":
        windows = plain_samples(image, truth, goal, recipe.side)
        return windows[seed % len(windows)]
    if goal == "segmentation":
        return _pixels_changed(image, truth, recipe, seed)
    return Sample(_photo_changed(image, truth, recipe, np.random.default_rng(seed)), truth, None)


def plain_samples(image: UInt8[Tensor, "3 h w"], truth: Tensor, goal: Goal, side: int) -> list[Sample]:
    """A photo without augmentation: its middle square, or for segmentation all windows that cover it.

    A photo larger than the square is shrunk and cut as DINOv2's evaluation does (of 256 pixels 224); of a smaller one
    nothing is lost but what makes it longer than wide.
    """
    if goal == "classification":
        pixels = _with_margin(image, side)
        top, left = ((length - side) // 2 for length in pixels.shape[1:])
        return [Sample(pixels[:, top : top + side, left : left + side].contiguous(), truth, None)]
    pixels = with_shorter_side(image, side)
    classes = at_nearest(truth, (pixels.shape[1], pixels.shape[2]))
    inside = torch.ones(side, side, dtype=torch.bool)
    found = []
    for y in window_starts(pixels.shape[1], side, side):
        for x in window_starts(pixels.shape[2], side, side):
            part = np.s_[y : y + side, x : x + side]
            found.append(Sample(pixels[:, *part].contiguous(), classes[part].contiguous(), inside))
    return found


def _with_margin(image: UInt8[Tensor, "3 h w"], side: int) -> Float[Tensor, "3 H W"]:
    return with_shorter_side(image, side if min(image.shape[1:]) <= side else round(side * MARGIN))


def window_starts(length: int, side: int, stride: int) -> list[int]:
    """First pixels of windows that cover a length, evenly spaced, ``stride`` apart at most."""
    count = 1 + max(0, -(-(length - side) // stride))
    return np.linspace(0, max(0, length - side), count).round().astype(int).tolist()


def with_shorter_side(image: UInt8[Tensor, "3 h w"], side: int) -> Float[Tensor, "3 H W"]:
    """A photo in [0, 1] whose shorter side has so many pixels."""
    scale = side / min(image.shape[1:])
    height, width = (max(side, round(length * scale)) for length in image.shape[1:])
    return sized(image, (height, width))


def sized(image: UInt8[Tensor, "3 h w"], size: tuple[int, int]) -> Float[Tensor, "3 H W"]:
    """A photo in [0, 1] of another size."""
    pixels = image.float() / 255
    if tuple(image.shape[1:]) == size:
        return pixels
    return resized(pixels[None], size)[0]


def colours_changed(pixels: Float[Tensor, "3 h w"], random: np.random.Generator) -> Float[Tensor, "3 h w"]:
    """mmsegmentation's PhotoMetricDistortion: brightness, contrast (before or after what follows), saturation, hue.

    Each of them half of the time.  torchvision's RandomPhotometricDistort swaps channels besides, which that one does
    not.
    """
    from torchvision.transforms.v2 import functional as transforms

    chances = random.random(4) < HALF
    contrast_first = random.random() < HALF
    brightness, contrast = random.uniform(-BRIGHTNESS, BRIGHTNESS), random.uniform(*CONTRAST)
    saturation, hue = random.uniform(*SATURATION), random.uniform(-HUE, HUE)
    if chances[0]:
        pixels = (pixels + brightness).clamp(0, 1)
    if chances[1] and contrast_first:
        pixels = (pixels * contrast).clamp(0, 1)
    if chances[2]:
        pixels = transforms.adjust_saturation(pixels, saturation)
    if chances[3]:
        pixels = transforms.adjust_hue(pixels, hue)
    if chances[1] and not contrast_first:
        pixels = (pixels * contrast).clamp(0, 1)
    return pixels


def _photo_changed(
    image: UInt8[Tensor, "3 h w"], truth: Tensor, recipe: Recipe, random: np.random.Generator
) -> Float[Tensor, "3 s s"]:
    """A crop with other colours, mirrored or not."""
    if recipe.augment == "centre":
        pixels = plain_samples(image, truth, "classification", recipe.side)[0].pixels
    else:
        top, left, height, width = part_of(image.shape[1], image.shape[2], random, recipe.scale)
        pixels = sized(image[:, top : top + height, left : left + width], (recipe.side,) * 2)
    pixels = _jittered(pixels, recipe.jitter, random)
    if random.random() < HALF:
        pixels = pixels.flip(-1)
    if recipe.augment != "trivial":
        return pixels
    return trivially_changed(pixels[None], None, "wide", torch.from_numpy(random.random((1, NUMBERS))))[0][0]


def _jittered(pixels: Float[Tensor, "3 h w"], jitter: float, random: np.random.Generator) -> Float[Tensor, "3 h w"]:
    """Brightness, contrast and saturation changed, in a random order."""
    from torchvision.transforms.v2 import functional as transforms

    changes = (transforms.adjust_brightness, transforms.adjust_contrast, transforms.adjust_saturation)
    factors = random.uniform(1 - jitter, 1 + jitter, len(changes))
    for index in random.permutation(len(changes)):
        pixels = changes[index](pixels, float(factors[index]))
    return pixels


def _pixels_changed(image: UInt8[Tensor, "3 h w"], classes: UInt8[Tensor, "h w"], recipe: Recipe, seed: int) -> Sample:
    """A crop of a photo of another size and of its class map, mirrored or not, with other colours."""
    random = np.random.default_rng(seed)
    pixels, known = _resized_crop(image, classes, recipe, random)
    if random.random() < HALF:
        pixels, known = pixels.flip(-1), known.flip(-1)
    return _padded(colours_changed(pixels, random), known, recipe.side)


def _resized_crop(
    image: UInt8[Tensor, "3 h w"], classes: UInt8[Tensor, "h w"], recipe: Recipe, random: np.random.Generator
) -> tuple[Float[Tensor, "3 s1 s2"], UInt8[Tensor, "s1 s2"]]:
    side = recipe.side
    scale = random.uniform(*recipe.ratio) * side / min(image.shape[1:])
    height, width = (max(1, round(length * scale)) for length in image.shape[1:])
    pixels, known = sized(image, (height, width)), at_nearest(classes, (height, width))
    part = _crop(known, side, recipe.most, random)
    return pixels[:, *part], known[part]


def _padded(pixels: Float[Tensor, "3 h w"], known: UInt8[Tensor, "h w"], side: int) -> Sample:
    """To a square, with what is outside void."""
    below, right = side - pixels.shape[1], side - pixels.shape[2]
    inside = torch.ones(known.shape, dtype=torch.bool)
    edges = (0, right, 0, below)
    return Sample(
        functional.pad(pixels, edges), functional.pad(known, edges, value=VOID), functional.pad(inside, edges)
    )


def _otherwise_changed(
    image: UInt8[Tensor, "3 h w"], truth: Tensor, goal: Goal, recipe: Recipe, augmentation: Augmentation, seed: int
) -> Sample:
    """A part of a photo after :attr:`Recipe.augmentation`; of pixels that it moves, classes and padding move too."""
    random = np.random.default_rng(seed)
    if goal == "classification":
        pixels = _with_margin(image, recipe.side)
        top, left = (int(random.integers(length - recipe.side + 1)) for length in pixels.shape[1:])
        pixels = pixels[:, top : top + recipe.side, left : left + recipe.side]
        return Sample(augmentation(pixels[None], [seed])[0], truth, None)
    if recipe.augment == "plain":
        windows = plain_samples(image, truth, goal, recipe.side)
        sample = windows[seed % len(windows)]
    else:
        sample = _padded(*_resized_crop(image, truth, recipe, random), recipe.side)
    # Both in one map: a class below 256, and whether the photo is there.
    both = sample.truth.long() + (VOID + 1) * torch.as_tensor(sample.inside).long()
    pixels, moved = augmentation.with_labels(sample.pixels[None], both[None], [seed], void=VOID)
    return Sample(pixels[0], (moved[0] % (VOID + 1)).to(torch.uint8), moved[0] > VOID)


def _crop(classes: UInt8[Tensor, "h w"], side: int, most: float, random: np.random.Generator) -> tuple[slice, slice]:
    """A random window of at most ``side`` pixels, drawn again while one class has more than ``most`` of it."""
    part = np.s_[0:side, 0:side]
    for _ in range(TRIES):
        top, left = (int(random.integers(max(0, length - side) + 1)) for length in classes.shape)
        part = np.s_[top : top + side, left : left + side]
        if _shared(classes[part], most):
            break
    return part


def _shared(classes: UInt8[Tensor, "h w"], most: float) -> bool:
    counts = torch.bincount(classes[classes != VOID].long().flatten())
    return bool(counts.numel()) and int((counts > 0).sum()) > 1 and bool(counts.max() < most * counts.sum())
