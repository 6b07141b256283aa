"""What a network is shown of a frame: a part of it, and patches of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.pretraining.mask3d.frames import Frame, known
from training.pretraining.mask3d.settings import Augment

if TYPE_CHECKING:
    from jaxtyping import Int
    from numpy.random import Generator

HALF = 0.5


class Shown(NamedTuple):
    """Parts of frames, all of one size.

    Attributes:
        pixels: ``[b, 3, h, w]`` float32 in [0, 1].
        depth: Metres, 0 where it is not known; ``[b, h, w]`` float32.
        known: Where it is; ``[b, h, w]`` bool.
    """

    pixels: Tensor
    depth: Tensor
    known: Tensor


class Kept(NamedTuple):
    """Patches that are shown, numbered row by row, in rising order.

    Attributes:
        colour: ``[b, k]`` int64.
        depth: ``[b, m]`` int64.
    """

    colour: Tensor
    depth: Tensor


def part_of(frame: Frame, size: tuple[int, int], augment: Augment, least: float, random: Generator) -> Frame:
    """A part of a frame at the size that networks see.

    Args:
        frame: The frame.
        size: Height and width in pixels; the part has the same form.
        augment: Whether it is a random part or the largest of the middle, and mirrored or not.
        least: Sides of the smallest part, of those of the largest.
        random: Of all that is drawn.
    """
    import cv2

    height, width = frame.photo.shape[:2]
    scale = min(height / size[0], width / size[1])  # of the largest part with that form
    if augment == "crops":
        scale *= random.uniform(least, 1)
    high, wide = (min(max(1, round(scale * side)), most) for side, most in zip(size, (height, width), strict=True))
    if augment == "crops":
        top, left = int(random.integers(height - high + 1)), int(random.integers(width - wide + 1))
    else:
        top, left = (height - high) // 2, (width - wide) // 2
    part = np.s_[top : top + high, left : left + wide]
    shrinks = high > size[0]
    smoothly = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    photo = cv2.resize(frame.photo[part], size[::-1], interpolation=smoothly)
    depth = cv2.resize(frame.depth[part], size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    if augment != "none" and random.random() < HALF:
        photo, depth = photo[:, ::-1], depth[:, ::-1]
    return Frame(np.ascontiguousarray(photo), np.ascontiguousarray(depth))


def shown(parts: list[Frame], device: torch.device) -> Shown:
    """Parts as networks take them."""
    photos = torch.from_numpy(np.stack([part.photo for part in parts])).to(device)
    depth = np.stack([part.depth for part in parts])
    there = known(depth)
    return Shown(
        photos.permute(0, 3, 1, 2).float() / 255,
        torch.from_numpy(np.where(there, depth, 0).astype(np.float32)).to(device),
        torch.from_numpy(there).to(device),
    )


def draw_kept(places: int, colour: int, depth: int, random: Generator) -> tuple[Int[np.ndarray, " k"], np.ndarray]:
    """Which patches keep their colours and which their depth: never the same, unless more are kept than there are.

    Holes of a sensor do not matter to the choice: a patch of nothing but holes says that nothing is known there.

    Args:
        places: Patches of a frame.
        colour: So many keep their colours.
        depth: So many keep their depth; of those for which no place is left, the places are among the former.
        random: Of the choice.

    Returns:
        Both in rising order.
    """
    order = random.permutation(places)
    return np.sort(order[:colour]), np.sort(order[places - depth :])
