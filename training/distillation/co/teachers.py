"""Encoders as teachers: each sees photos in its own way, and its maps are brought to the student's grid."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from render.errors import InputError
from render.progress import Progress, silent
from training.distillation.co.photos import Photos
from uplift.encoders.base import Encoder, Tokens, TrainableEncoder

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

SMALL = 64  # pixels of the photo that tells whether there is a global token


class Teacher:
    """An encoder that teaches.

    Attributes:
        name: As the person called it.
        encoder: Fitted, if it needs to be.
        side: The longer side of what it sees in pixels, about; None = as large as what the student sees.
        has_whole: Whether it has a global token.
    """

    def __init__(self, name: str, encoder: Encoder, *, side: int | None = None) -> None:
        """Set up; the encoder describes a small photo, which tells what it says.

        Raises:
            InputError: ``side`` is less than a patch, or the global token has another dimension than the patches.
        """
        self.name, self.encoder, self.side = name, encoder, side
        check_side(name, encoder, side)
        told = encoder.encode_global(np.zeros((SMALL, SMALL, 3), np.uint8))
        if told is not None and len(told) != encoder.dimension:
            raise InputError(
                f"A teacher's global token and patches have the same dimension, found {len(told)} and "
                f"{encoder.dimension} of {name}."
            )
        self.has_whole = told is not None

    @property
    def dimension(self) -> int:
        """Channels of its tokens."""
        return self.encoder.dimension

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the encoder and of what it sees."""
        return hashlib.sha256(json.dumps([self.encoder.fingerprint(), self.side]).encode()).hexdigest()

    @torch.no_grad()
    def describe(self, pixels: UInt8[Tensor, "b 3 h w"]) -> Tokens:
        """What it says of photos of one size, on its own grid; float32, on its device.

        It computes in the precision around it: asked about crops at every step in that of the training, as UNIC's
        released training does (but the first statistics are taken, and students validated, before it begins), and in
        full where what it says is kept, see :func:`full_precision`.
        """
        h, w = pixels.shape[2:]
        scale = 1.0 if self.side is None else self.side / max(h, w)
        if isinstance(self.encoder, TrainableEncoder):
            patch = self.encoder.patch
            size = tuple(max(1, round(length * scale / patch)) * patch for length in (h, w))
            found = self.encoder.tokens(_resized(pixels.to(self.encoder.device), size))
            return Tokens(found.patches.to(torch.float32), None if found.cls is None else found.cls.to(torch.float32))
        size = tuple(max(1, round(length * scale)) for length in (h, w))
        seen = (_resized(pixels, size) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().contiguous().numpy()
        maps = torch.stack([self.encoder.encode(one).to(torch.float32) for one in seen])
        if not self.has_whole:
            return Tokens(maps, None)
        told = [self.encoder.encode_global(one) for one in seen]
        return Tokens(maps, torch.stack([one.to(torch.float32) for one in told if one is not None]))


def check_side(name: str, encoder: Encoder, side: int | None) -> None:
    """Raise InputError where what an encoder is to see is less than one of its patches."""
    patch = encoder.patch if isinstance(encoder, TrainableEncoder) else 1
    if side is not None and side < patch:
        raise InputError(f"{name} sees patches of {patch} pixels, found a side of {side}; choose a larger one.")


@contextmanager
def full_precision() -> Iterator[None]:
    """No automatic casting within: what is kept must not depend on the precision of whoever needed it first."""
    with ExitStack() as stack:
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def fit_to(encoder: Encoder, photos: Photos, progress: Progress = silent) -> None:
    """Fit an encoder that adapts to its photos to some of all sources; others stay as they are."""
    if encoder.fitted:
        return
    chosen = photos.evenly(max(1, encoder.photos_to_fit // len(photos.sources)))
    encoder.fit([photos.read(index) for index in chosen], progress)


def batch_of(tokens: Tokens) -> Tokens:
    """A batch of one photo."""
    return Tokens(tokens.patches[None], None if tokens.cls is None else tokens.cls[None])


def moved(tokens: Tokens, device: torch.device) -> Tokens:
    """Tokens on a device, as float32."""
    return Tokens(*(None if part is None else part.to(device, torch.float32) for part in tokens))


def on_grid(tokens: Tokens, grid: tuple[int, int]) -> Tokens:
    """A map interpolated linearly to a grid; of a finer one everything that a node covers counts."""
    if tuple(tokens.patches.shape[1:3]) == grid:
        return tokens
    resized = functional.interpolate(
        tokens.patches.permute(0, 3, 1, 2), grid, mode="bilinear", antialias=True, align_corners=False
    )
    return Tokens(resized.permute(0, 2, 3, 1), tokens.cls)


def mirrored(tokens: Tokens) -> Tokens:
    """What is said of mirrored photos, if the teacher does not mind: the map mirrored."""
    return Tokens(tokens.patches.flip(2), tokens.cls)


def _resized(pixels: UInt8[Tensor, "b 3 h w"], size: tuple[int, ...]) -> Float[Tensor, "b 3 H W"]:
    """Photos of another size with values in [0, 1]."""
    values = pixels.to(torch.float32) / 255
    if tuple(values.shape[2:]) == size:
        return values
    return functional.interpolate(values, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
