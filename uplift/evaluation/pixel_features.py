"""Features of pixels, some channels at a time, and how much they look like those of an object.

The baselines of LUDVIG, section C.1.2: a logistic regression on the features of the reference view where its
mask is given, the distance to the mean feature where scribbles are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from render.camera import Camera
from render.gaussians import Gaussians
from render.rasterizer import rasterize
from render.views import View
from uplift.encoders.base import Encoder
from uplift.field import FeatureField
from uplift.prompts import Prompt
from uplift.unary import MAX_ROWS, LogisticModel

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

CHUNK_BYTES = 256 << 20  # of pixels' features in memory at a time

Chunks = Callable[[View, bool], Iterator[Tensor]]
"""``chunks(view, covering)`` gives ``[h, w, some channels]`` until all channels are through; ``covering`` asks for
the view with its margin (:attr:`View.covering_camera`), where there is one."""


def rendered_features(gaussians: Gaussians, field: FeatureField) -> Chunks:
    """The lifted features, rendered (LUDVIG eq. 5.4)."""
    values = field.values.to(gaussians.means)

    def chunks(view: View, covering: bool) -> Iterator[Tensor]:
        camera = view.covering_camera if covering else view.camera
        for part in _parts(camera, values.shape[1]):
            yield rasterize(gaussians, camera, values[:, part].contiguous()).values

    return chunks


def encoded_features(encoder: Encoder) -> Chunks:
    """The encoder's map of the view alone, interpolated to its pixels; it has no margin."""

    def chunks(view: View, covering: bool) -> Iterator[Tensor]:  # noqa: ARG001  the signature is Chunks
        camera = view.camera
        encoded = encoder.encode(view.image()).permute(2, 0, 1)[None]
        for part in _parts(camera, encoded.shape[1]):
            sized = torch.nn.functional.interpolate(
                encoded[:, part].float(), (camera.height, camera.width), mode="bilinear", align_corners=False
            )
            yield sized[0].permute(1, 2, 0)

    return chunks


@dataclass(frozen=True, eq=False)
class PixelModel:
    """How much a pixel's feature looks like the object's.

    Attributes:
        vector: What features are multiplied with; ``[c]``.
        score: From that product and the features' length to the score in [0, 1].
    """

    vector: Float[Tensor, " c"]
    score: Callable[[Tensor, Tensor], Tensor]

    def scores(self, chunks: Chunks, view: View, *, covering: bool = False) -> Float[np.ndarray, "h w"]:
        """Scores of a view's pixels."""
        return self.score(*_reduced(chunks, view, self.vector, covering=covering)).cpu().numpy()


def fit_pixel_model(chunks: Chunks, prompt: Prompt, *, normalize: bool, seed: int = 0) -> PixelModel:
    """Learn the object's features from the reference view.

    Args:
        chunks: The features.
        prompt: A complete prompt gives a logistic regression of the object against all else, an incomplete one
            the similarity to the mean feature of what is marked, as in section C.1.2.
        normalize: Whether features are l2-normalised first (cosine similarity).
        seed: Of the choice of pixels that are learned from.

    Returns:
        The model; its scores lie in [0, 1].
    """
    if not prompt.complete:
        return _mean_model(chunks, prompt, normalize=normalize, seed=seed)
    random = np.random.default_rng(seed)
    inside, outside = (_some(random, mask) for mask in (prompt.positive, prompt.negative))
    rows = _rows(chunks, prompt.view, np.concatenate([inside, outside]))
    positives = torch.arange(len(rows), device=rows.device) < len(inside)
    model = LogisticModel.fit(rows, positives, normalize=normalize, seed=seed)
    intercept = model.intercept

    def score(products: Tensor, lengths: Tensor) -> Tensor:
        return torch.sigmoid((products / lengths if normalize else products) + intercept)

    return PixelModel(model.coefficients, score)


def _mean_model(chunks: Chunks, prompt: Prompt, *, normalize: bool, seed: int) -> PixelModel:
    """``exp(-|f - mean|^2 / s^2)`` with the median squared distance ``s^2`` of the reference view's pixels."""
    rows = _rows(chunks, prompt.view, _some(np.random.default_rng(seed), prompt.positive))
    mean = (torch.nn.functional.normalize(rows, dim=1) if normalize else rows).mean(0)
    length = mean.square().sum()

    def squared(products: Tensor, lengths: Tensor) -> Tensor:
        own = torch.ones_like(lengths) if normalize else lengths.square()
        return (own - 2 * (products / lengths if normalize else products) + length).clamp_min(0)

    scale = squared(*_reduced(chunks, prompt.view, mean, covering=False)).median().clamp_min(1e-12)
    return PixelModel(mean, lambda products, lengths: torch.exp(-squared(products, lengths) / scale))


def _reduced(chunks: Chunks, view: View, vector: Tensor, *, covering: bool) -> tuple[Tensor, Tensor]:
    """Products of the features with a vector, and the features' lengths; ``[h, w]`` each."""
    start = 0
    products, squares = torch.zeros(()), torch.zeros(())
    for part in chunks(view, covering):
        own = vector[start : start + part.shape[2]].to(part)
        products = products.to(part) + part @ own
        squares = squares.to(part) + part.square().sum(2)
        start += part.shape[2]
    return products, squares.sqrt().clamp_min(1e-12)


def _rows(chunks: Chunks, view: View, pixels: np.ndarray) -> Float[Tensor, "m c"]:
    """The features of some pixels, given by their index in the flattened view."""
    index = torch.from_numpy(pixels)
    return torch.cat([part.flatten(0, 1)[index.to(part.device)] for part in chunks(view, False)], dim=1)


def _some(random: np.random.Generator, mask: Bool[np.ndarray, "h w"]) -> np.ndarray:
    every = np.flatnonzero(mask)
    return np.sort(random.choice(every, min(len(every), MAX_ROWS), replace=False))


def _parts(camera: Camera, channels: int) -> Iterator[slice]:
    count = max(1, CHUNK_BYTES // (4 * camera.width * camera.height))
    for start in range(0, channels, count):
        yield slice(start, min(start + count, channels))
