"""Linear heads for each task: learned from patches, asked for the pixels of photos."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from render.errors import InputError
from render.progress import Progress
from training.probing.bins import BINS, DepthBins, scale_invariant_loss
from training.probing.linear import LinearHeads, fit_heads
from training.probing.photos import ProbeData, ProbePhoto
from training.probing.rows import Rows, gather_rows
from training.probing.settings import ProbeSettings
from training.probing.sources import FeatureSource
from training.probing.targets import FULL, class_shares, mean_depth

if TYPE_CHECKING:
    from jaxtyping import Float

T = TypeVar("T")


class Predictor(ABC):
    """Heads of several seeds that tell something of photos."""

    @abstractmethod
    def tell(self, photo: ProbePhoto, size: tuple[int, int]) -> Iterator[np.ndarray]:
        """What each head says of the pixels of a photo, at that size (height, width); of classification, ``[1]``."""


class LinearPredictor(Predictor):
    """Heads on the patches of a source.

    Args:
        source: Of the features.
        heads: Fitted.
        bins: Those of depth; None = the heads tell classes.
    """

    def __init__(self, source: FeatureSource, heads: LinearHeads, bins: DepthBins | None = None) -> None:
        self._source, self._heads, self._bins = source, heads, bins

    @torch.no_grad()
    def tell(self, photo: ProbePhoto, size: tuple[int, int]) -> Iterator[np.ndarray]:
        """Classes, or depths in metres, interpolated from the patches."""
        described = self._source.describe(photo, whole=self._bins is not None)
        gh, gw, channels = described.patches.shape
        rows = described.patches.reshape(-1, channels)
        if self._bins is not None:
            rows = torch.cat([rows, described.whole.expand(len(rows), -1)], 1)
        for said in self._heads.on(rows.half().to(self._heads.weight)):
            values = said if self._bins is None else self._bins.depth(said)[:, None]
            yield at_size(values.T.reshape(1, -1, gh, gw), size, classes=self._bins is None)


class PhotoPredictor(Predictor):
    """Heads on the features of whole photos."""

    def __init__(self, source: FeatureSource, heads: LinearHeads, mean_patch: bool) -> None:
        self._source, self._heads, self._mean = source, heads, mean_patch

    @torch.no_grad()
    def tell(self, photo: ProbePhoto, size: tuple[int, int]) -> Iterator[np.ndarray]:  # noqa: ARG002  one for all
        """The class of the photo, ``[1]``."""
        feature = whole_feature(self._source, photo, self._mean)[None].half()
        for said in self._heads.on(feature.to(self._heads.weight)):
            yield said.argmax(1).cpu().numpy()


def fit_segmentation(
    data: ProbeData,
    source: FeatureSource,
    settings: ProbeSettings,
    seeds: Sequence[int],
    device: torch.device,
    progress: Progress,
) -> Predictor:
    """Heads for classes, by the cross entropy with the share of each class in a patch.

    Raises:
        InputError: a class is out of range, or no patch is known.
    """
    count = len(data.classes)

    def targets(photo: ProbePhoto, grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        return class_shares(_required(photo.classes)(), count, grid)

    rows = gather_rows(data.train, source, targets, memory=settings.bytes, whole=False, progress=progress)
    heads = LinearHeads(rows.patches.shape[1], count, seeds)

    def loss(chosen: Tensor, said: Tensor) -> Tensor:
        shares = rows.targets[chosen].to(said) / FULL
        return -(shares * said.log_softmax(-1)).sum(-1).mean(-1)

    what = f"head of {source.name}"
    fit_heads(
        heads,
        len(rows.patches),
        rows.patches.__getitem__,
        loss,
        settings,
        "segmentation",
        seeds,
        device=device,
        what=what,
        progress=progress,
    )
    return LinearPredictor(source, heads)


def fit_depth(
    data: ProbeData,
    source: FeatureSource,
    settings: ProbeSettings,
    seeds: Sequence[int],
    device: torch.device,
    progress: Progress,
) -> Predictor:
    """Heads for depth on every patch beside the feature of its photo, by the scale-invariant loss.

    Raises:
        InputError: no depth is known.
    """
    farthest = [0.0]

    def targets(photo: ProbePhoto, grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        depth = _required(photo.depth)()
        farthest[0] = max(farthest[0], float(depth.max()))
        return mean_depth(depth, grid)

    rows = gather_rows(data.train, source, targets, memory=settings.bytes, whole=True, progress=progress)
    bins = DepthBins(data.farthest or farthest[0])
    heads = LinearHeads(rows.patches.shape[1] + rows.whole.shape[1], BINS, seeds)

    def loss(chosen: Tensor, said: Tensor) -> Tensor:
        return scale_invariant_loss(bins.depth(said), rows.targets[chosen].to(said))

    fit_heads(
        heads,
        len(rows.patches),
        lambda chosen: _beside_whole(rows, chosen),
        loss,
        settings,
        "depth",
        seeds,
        device=device,
        what=f"head of {source.name}",
        progress=progress,
    )
    return LinearPredictor(source, heads, bins)


def fit_classification(
    data: ProbeData,
    source: FeatureSource,
    settings: ProbeSettings,
    seeds: Sequence[int],
    device: torch.device,
    progress: Progress,
) -> Predictor:
    """Heads for the class of a photo on its own feature, by the cross entropy."""
    features, labels = [], []
    for index, photo in enumerate(data.train):
        progress(index, len(data.train), f"features of {source.name}")
        features.append(whole_feature(source, photo, settings.mean_patch).half())
        labels.append(_required(photo.label))
    progress(len(data.train), len(data.train), f"features of {source.name}")
    rows, truth = torch.stack(features), torch.tensor(labels)
    if int(truth.max()) >= len(data.classes):
        raise InputError(f"Expected labels below {len(data.classes)}, found {int(truth.max())}.")
    heads = LinearHeads(rows.shape[1], len(data.classes), seeds)

    def loss(chosen: Tensor, said: Tensor) -> Tensor:
        wanted = truth[chosen].to(said.device)
        return -said.log_softmax(-1).gather(-1, wanted[..., None])[..., 0].mean(-1)

    what = f"head of {source.name}"
    fit_heads(
        heads,
        len(rows),
        rows.__getitem__,
        loss,
        settings,
        "classification",
        seeds,
        device=device,
        what=what,
        progress=progress,
    )
    return PhotoPredictor(source, heads, settings.mean_patch)


def whole_feature(source: FeatureSource, photo: ProbePhoto, mean_patch: bool) -> Float[Tensor, " k"]:
    """The feature of a whole photo, the mean of its patches beside it if asked for."""
    described = source.describe(photo)
    if not mean_patch:
        return described.whole
    return torch.cat([described.whole, described.patches.mean((0, 1))])


def at_size(values: Float[Tensor, "1 k a b"], size: tuple[int, int], *, classes: bool) -> np.ndarray:
    """The class with the highest score of every pixel, or the value itself."""
    sized = nn.functional.interpolate(values.float(), size, mode="bilinear", align_corners=False)[0]
    return sized.argmax(0).to("cpu", torch.uint8).numpy() if classes else sized[0].cpu().numpy()


def _beside_whole(rows: Rows, chosen: Tensor) -> Tensor:
    return torch.cat([rows.patches[chosen], rows.whole[rows.photo[chosen].long()]], 1)


def _required(value: T | None) -> T:
    if value is None:
        raise InputError("A probe needs the truth of every photo; choose them with ProbeData.for_task.")
    return value
