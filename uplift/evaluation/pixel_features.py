"""Features of pixels, some channels at a time, and how much they look like those of an object.

The baselines of LUDVIG, section C.1.2: a logistic regression on the features of the reference view where its
mask is given, the distance to the mean feature where scribbles are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from render.camera import Camera
from render.gaussians import Gaussians
from render.rasterizer import contributions, rasterize
from render.views import View
from uplift.encoders.base import Encoder
from uplift.field import FeatureField
from uplift.maps import FeatureMapCache
from uplift.prompts import Prompt
from uplift.unary import MAX_ROWS, LogisticModel

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

CHUNK_BYTES = 256 << 20  # of pixels' features in memory at a time
KEPT_BYTES = 512 << 20  # of encoded maps that are kept for the next object

Key = tuple[str, bool]


class PixelFeatures(ABC):
    """Features of a view's pixels, which are linear in features of something smaller.

    What they are multiplied with is therefore multiplied there; their lengths are remembered by view, so that many
    objects of one scene are cheap.
    """

    def __init__(self) -> None:
        self._lengths: dict[Key, Tensor] = {}

    @abstractmethod
    def rows(self, view: View, pixels: Int[np.ndarray, " m"]) -> Float[Tensor, "m c"]:
        """The features of some pixels, given by their index in the flattened view."""

    def reduced(
        self, view: View, vector: Float[Tensor, " c"], *, covering: bool
    ) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
        """Products of the features with a vector, and the features' lengths.

        Args:
            view: The view.
            vector: What features are multiplied with.
            covering: Whether with the view's margin (:attr:`View.covering_camera`), where there is one.
        """
        return self._products(view, vector, covering), self.lengths(view, covering=covering)

    def lengths(self, view: View, *, covering: bool) -> Float[Tensor, "h w"]:
        """The features' lengths, remembered by view."""
        key = view.name, covering
        if key not in self._lengths:
            squares = torch.zeros(())
            for part in self.chunks(view, covering):
                squares = squares.to(part) + part.square().sum(2)
            self._lengths[key] = squares.sqrt().clamp_min(1e-12)
        return self._lengths[key]

    @abstractmethod
    def chunks(self, view: View, covering: bool) -> Iterator[Tensor]:
        """Features of all pixels, ``[h, w, some channels]`` until all channels are through."""

    @abstractmethod
    def _products(self, view: View, vector: Tensor, covering: bool) -> Float[Tensor, "h w"]: ...


class RenderedFeatures(PixelFeatures):
    """The lifted features, rendered (LUDVIG eq. 5.4)."""

    def __init__(self, gaussians: Gaussians, field: FeatureField) -> None:
        super().__init__()
        self._gaussians = gaussians
        self._values = field.values.to(gaussians.means)

    def rows(self, view: View, pixels: Int[np.ndarray, " m"]) -> Float[Tensor, "m c"]:
        """Blended at these pixels alone."""
        index, order = np.unique(pixels, return_inverse=True)
        asked = np.zeros(view.camera.height * view.camera.width, bool)
        asked[index] = True
        mask = torch.from_numpy(asked).reshape(view.camera.height, view.camera.width)
        shown = contributions(self._gaussians, view.camera, mask)
        places = torch.from_numpy(np.append(index, asked.size)).to(shown.offsets.device)
        blended = torch.nn.functional.embedding_bag(
            shown.ids.long(),
            self._values,
            shown.offsets[places],
            mode="sum",
            per_sample_weights=shown.weights,
            include_last_offset=True,
        )
        return blended[torch.from_numpy(order).to(self._values.device)]

    def chunks(self, view: View, covering: bool) -> Iterator[Tensor]:
        """Rendered some channels at a time."""
        camera = _camera(view, covering)
        for part in _parts(camera, self._values.shape[1]):
            yield rasterize(self._gaussians, camera, self._values[:, part].contiguous()).values

    def column(self, vector: Float[Tensor, " c"]) -> Float[Tensor, " n"]:
        """What is rendered to give the products with a vector."""
        return self._values @ vector.to(self._values)

    def _products(self, view: View, vector: Tensor, covering: bool) -> Float[Tensor, "h w"]:
        return rasterize(self._gaussians, _camera(view, covering), self.column(vector)[:, None]).values[..., 0]


class EncodedFeatures(PixelFeatures):
    """The encoder's map of the view alone, interpolated to its pixels; it has no margin.

    Args:
        encoder: Ready to encode.
        cache: Where maps may lie already.
    """

    def __init__(self, encoder: Encoder, cache: FeatureMapCache | None = None) -> None:
        super().__init__()
        self._encoder = encoder
        self._cache = cache
        self._maps: dict[str, Tensor] = {}

    def rows(self, view: View, pixels: Int[np.ndarray, " m"]) -> Float[Tensor, "m c"]:
        """Interpolated at these pixels alone."""
        encoded = self._map(view)
        width, height = view.camera.width, view.camera.height
        x, y = (pixels % width + 0.5) * 2 / width - 1, (pixels // width + 0.5) * 2 / height - 1
        places = torch.from_numpy(np.stack([x, y], axis=1)).to(encoded)
        # Between nodes as torch's interpolation has it, beyond the outermost ones their values.
        sampled = torch.nn.functional.grid_sample(
            encoded.permute(2, 0, 1)[None], places[None, None], padding_mode="border", align_corners=False
        )
        return sampled[0, :, 0].T.contiguous()

    def chunks(self, view: View, covering: bool) -> Iterator[Tensor]:  # noqa: ARG002  it has no margin
        """The map, interpolated some channels at a time."""
        encoded = self._map(view)
        for part in _parts(view.camera, encoded.shape[2]):
            yield _sized(encoded[..., part], view.camera)

    def _products(self, view: View, vector: Tensor, covering: bool) -> Float[Tensor, "h w"]:  # noqa: ARG002
        encoded = self._map(view)
        return _sized((encoded @ vector.to(encoded))[..., None], view.camera)[..., 0]

    def _map(self, view: View) -> Float[Tensor, "gh gw c"]:
        if view.name in self._maps:
            return self._maps[view.name]
        image = view.image()
        encoded = self._encoder.encode(image) if self._cache is None else self._cache.get(image, self._encoder)
        encoded = encoded.float()
        if sum(kept.nbytes for kept in self._maps.values()) + encoded.nbytes <= KEPT_BYTES:
            self._maps[view.name] = encoded
        return encoded


@dataclass(frozen=True, eq=False)
class PixelModel:
    """How much a pixel's feature looks like the object's.

    Attributes:
        vector: What features are multiplied with; ``[c]``.
        score: From that product and the features' length to the score in [0, 1].
    """

    vector: Float[Tensor, " c"]
    score: Callable[[Tensor, Tensor], Tensor]

    def scores(self, features: PixelFeatures, view: View, *, covering: bool = False) -> Float[np.ndarray, "h w"]:
        """Scores of a view's pixels."""
        return self.score(*features.reduced(view, self.vector, covering=covering)).cpu().numpy()


def fit_pixel_model(features: PixelFeatures, prompt: Prompt, *, normalize: bool, seed: int = 0) -> PixelModel:
    """Learn the object's features from the reference view.

    Args:
        features: Of the pixels.
        prompt: A complete prompt gives a logistic regression of the object against all else, an incomplete one
            the similarity to the mean feature of what is marked, as in section C.1.2.
        normalize: Whether features are l2-normalised first (cosine similarity).
        seed: Of the choice of pixels that are learned from.

    Returns:
        The model; its scores lie in [0, 1].
    """
    if not prompt.complete:
        return _mean_model(features, prompt, normalize=normalize, seed=seed)
    random = np.random.default_rng(seed)
    inside, outside = (_some(random, mask) for mask in (prompt.positive, prompt.negative))
    rows = features.rows(prompt.view, np.concatenate([inside, outside]))
    positives = torch.arange(len(rows), device=rows.device) < len(inside)
    model = LogisticModel.fit(rows, positives, normalize=normalize, seed=seed)
    intercept = model.intercept

    def score(products: Tensor, lengths: Tensor) -> Tensor:
        return torch.sigmoid((products / lengths if normalize else products) + intercept)

    return PixelModel(model.coefficients, score)


def _mean_model(features: PixelFeatures, prompt: Prompt, *, normalize: bool, seed: int) -> PixelModel:
    """``exp(-|f - mean|^2 / s^2)`` with the median squared distance ``s^2`` of the reference view's pixels."""
    rows = features.rows(prompt.view, _some(np.random.default_rng(seed), prompt.positive))
    mean = (torch.nn.functional.normalize(rows, dim=1) if normalize else rows).mean(0)
    length = mean.square().sum()

    def squared(products: Tensor, lengths: Tensor) -> Tensor:
        own = torch.ones_like(lengths) if normalize else lengths.square()
        return (own - 2 * (products / lengths if normalize else products) + length).clamp_min(0)

    scale = squared(*features.reduced(prompt.view, mean, covering=False)).median().clamp_min(1e-12)
    return PixelModel(mean, lambda products, lengths: torch.exp(-squared(products, lengths) / scale))


def _some(random: np.random.Generator, mask: Bool[np.ndarray, "h w"]) -> np.ndarray:
    every = np.flatnonzero(mask)
    return np.sort(random.choice(every, min(len(every), MAX_ROWS), replace=False))


def _camera(view: View, covering: bool) -> Camera:
    return view.covering_camera if covering else view.camera


def _sized(encoded: Float[Tensor, "gh gw c"], camera: Camera) -> Float[Tensor, "h w c"]:
    """A map at the size of the picture."""
    sized = torch.nn.functional.interpolate(
        encoded.permute(2, 0, 1)[None], (camera.height, camera.width), mode="bilinear", align_corners=False
    )
    return sized[0].permute(1, 2, 0)


def _parts(camera: Camera, channels: int) -> Iterator[slice]:
    count = max(1, CHUNK_BYTES // (4 * camera.width * camera.height))
    for start in range(0, channels, count):
        yield slice(start, min(start + count, channels))
