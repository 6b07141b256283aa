"""What the features are trained to decode to: the encoder's maps of the undistorted photos, from disk."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from render.progress import Progress, silent
from render.spacing import evenly_spaced
from uplift.encoders import Encoder, load_encoder
from uplift.maps import FeatureMapCache

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8


@contextmanager
def untouched_randomness() -> Iterator[None]:
    """Give the global random generators back as they were.

    Training with and without features must draw the same numbers.
    """
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002  the legacy global state is meant
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)  # noqa: NPY002  see above


class FeatureTargets:
    """An encoder fitted to the training photos, and its maps, streamed from a folder.

    Args:
        encoder: Name in the registry.
        weights: A local file of weights; None = the encoder's own.
        folder: Where maps are cached, keyed by image content, encoder and settings.
        photos: Undistorted training photos, ``[h, w, 3]`` uint8 each.
        device: Where the encoder computes.
        progress: Told about fitting and encoding.
    """

    def __init__(
        self,
        encoder: str,
        weights: Path | None,
        folder: Path,
        photos: Sequence[UInt8[Tensor, "h w 3"]],
        *,
        device: torch.device | str,
        progress: Progress = silent,
    ) -> None:
        self._progress = progress
        with untouched_randomness():
            self.encoder: Encoder = load_encoder(encoder, weights, device)
            if not self.encoder.fitted:
                chosen = evenly_spaced(len(photos), self.encoder.photos_to_fit)
                self.encoder.fit((photos[i].cpu().numpy() for i in chosen), progress)
        self.fingerprint = self.encoder.fingerprint()
        self._cache = FeatureMapCache(folder)

    def map_of(self, photo: UInt8[Tensor, "h w 3"]) -> Float[Tensor, "gh gw c"]:
        """The feature map of a photo, computed the first time and read from disk afterwards."""
        with untouched_randomness():
            return self._cache.get(photo.cpu().numpy(), self.encoder)

    def prepare(self, photos: Sequence[UInt8[Tensor, "h w 3"]]) -> Float[Tensor, " c"]:
        """Compute the maps of all photos and return the mean feature, the best constant guess."""
        total = torch.zeros(self.encoder.dimension, dtype=torch.float64)
        nodes = 0
        for done, photo in enumerate(photos):
            self._progress(done, len(photos), f"encoding with {self.encoder.name}")
            flat = self.map_of(photo).flatten(0, 1)
            total += flat.sum(0, dtype=torch.float64).cpu()
            nodes += len(flat)
        self._progress(len(photos), len(photos), f"encoding with {self.encoder.name}")
        return (total / max(nodes, 1)).float()


def resize_map(features: Float[Tensor, "gh gw c"], height: int, width: int) -> Float[Tensor, "h w c"]:
    """Bring a feature map to another grid: averaged where it shrinks, bilinear where it grows."""
    if features.shape[:2] == (height, width):
        return features
    stacked = features.permute(2, 0, 1)[None]
    if features.shape[0] >= height and features.shape[1] >= width:
        resized = torch.nn.functional.interpolate(stacked, (height, width), mode="area")
    else:
        resized = torch.nn.functional.interpolate(stacked, (height, width), mode="bilinear")
    return resized[0].permute(1, 2, 0)
