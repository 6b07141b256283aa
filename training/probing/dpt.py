"""The DPT head (Ranftl et al. 2021) on four layers of a frozen network, from segmentation-models-pytorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from render.errors import InputError
from render.progress import Progress
from training.probing.bins import BINS, DepthBins, scale_invariant_loss
from training.probing.heads import Predictor, at_size
from training.probing.linear import require_finite
from training.probing.photos import VOID, ProbeData, ProbePhoto, Task
from training.probing.settings import DptSettings
from training.probing.sources import LAYERS, Described, FeatureSource

if TYPE_CHECKING:
    from jaxtyping import Float

STRIDE = 16  # that the head takes patches for: its layers then have 4, 2, 1 and 1/2 nodes along a patch
NODES = 4  # along a patch, of what the head says
LEAST = 0.01  # share of the pixels of a batch that must be known for a step


class DptHead(nn.Module):
    """Scores of classes or bins at four nodes along a patch.

    Args:
        channels: Of the features.
        outputs: Classes or bins.
        width: Channels in which the layers are fused.
    """

    def __init__(self, channels: int, outputs: int, width: int) -> None:
        from segmentation_models_pytorch.decoders.dpt.decoder import DPTDecoder, DPTSegmentationHead

        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels) for _ in range(LAYERS)])
        self.decoder = DPTDecoder(
            encoder_out_channels=(channels,) * LAYERS,
            encoder_output_strides=(STRIDE,) * LAYERS,
            encoder_has_prefix_tokens=True,
            readout="cat",
            intermediate_channels=(width, 2 * width, 4 * width, 4 * width),
            fusion_channels=width,
        )
        self.head = DPTSegmentationHead(width, outputs, upsampling=1)

    def forward(
        self, patches: Sequence[Float[Tensor, "b c gh gw"]], wholes: Sequence[Float[Tensor, "b c"]]
    ) -> Float[Tensor, "b k 4gh 4gw"]:
        """What the head says."""
        gh, gw = patches[0].shape[2:]
        # One of its layers has half a node along a patch.
        padded = [nn.functional.pad(p, (0, gw % 2, 0, gh % 2), mode="replicate") for p in patches]
        normed = [norm(one) for norm, one in zip(self.norms, padded, strict=True)]
        fused = self.decoder(normed, [whole[:, None] for whole in wholes])
        said: Tensor = self.head(nn.functional.avg_pool2d(fused, 2))
        return said[..., : NODES * gh, : NODES * gw]


class DptPredictor(Predictor):
    """Heads of several seeds on the layers of a source."""

    def __init__(self, source: FeatureSource, heads: Sequence[DptHead], bins: DepthBins | None) -> None:
        self._source, self._heads, self._bins = source, heads, bins

    @torch.no_grad()
    def tell(self, photo: ProbePhoto, size: tuple[int, int]) -> Iterator[np.ndarray]:
        """Classes, or depths in metres, of the pixels."""
        layers = self._source.layers(photo)
        for head in self._heads:
            device = next(head.parameters()).device
            said = head(*_batch([layers], device))
            if self._bins is not None:
                said = self._bins.depth(said.permute(0, 2, 3, 1))[:, None]
            yield at_size(said, size, classes=self._bins is None)


def fit_dpt(
    data: ProbeData,
    task: Task,
    source: FeatureSource,
    settings: DptSettings,
    seeds: Sequence[int],
    device: torch.device,
    progress: Progress,
) -> Predictor:
    """Fit a DPT head for each seed; features are read from the cache in every step.

    Args:
        data: Photos to learn from.
        task: Segmentation, by the cross entropy of pixels; or depth, by the scale-invariant loss.
        source: Of the layers.
        settings: How the heads are fitted.
        seeds: One head for each.
        device: Where to compute.
        progress: Told along the steps.

    Raises:
        InputError: the source has no layers, another task is asked for, or a head diverges.
    """
    if task == "classification":
        raise InputError("A DPT head tells of pixels; use the linear head for the classification of photos.")
    bins = DepthBins(data.farthest or _farthest(data.train, progress)) if task == "depth" else None
    outputs = BINS if bins else len(data.classes)
    channels = source.layers(data.train[0])[0].patches.shape[2]
    heads = []
    for seed in seeds:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = DptHead(channels, outputs, settings.width).to(device)
            _fit(head, data.train, source, bins, settings, seed, f"DPT head of {source.name}: seed {seed}", progress)
        heads.append(head.eval())
        require_finite(head, f"DPT head of {source.name}")
    return DptPredictor(source, heads, bins)


def _fit(
    head: DptHead,
    photos: Sequence[ProbePhoto],
    source: FeatureSource,
    bins: DepthBins | None,
    settings: DptSettings,
    seed: int,
    what: str,
    progress: Progress,
) -> None:
    random = np.random.default_rng(seed)
    device = next(head.parameters()).device
    optimizer = torch.optim.AdamW(head.parameters(), lr=settings.rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    head.train()
    for step in range(settings.steps):
        progress(step, settings.steps, what)
        chosen = [photos[i] for i in random.choice(len(photos), settings.batch, replace=len(photos) < settings.batch)]
        layers, truth = _crops(chosen, source, bins is not None, settings.crop, random)
        said = head(*_batch(layers, device))
        value = _loss(said, torch.from_numpy(truth).to(device), bins)
        if value is not None:
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        schedule.step()
    progress(settings.steps, settings.steps, what)


def _loss(said: Tensor, truth: Tensor, bins: DepthBins | None) -> Tensor | None:
    """None where hardly anything is known."""
    known = truth > 0 if bins else truth != VOID
    if float(known.float().mean()) < LEAST:
        return None
    rows = said.permute(0, 2, 3, 1)[known]
    if bins:
        return scale_invariant_loss(bins.depth(rows), truth[known])
    return nn.functional.cross_entropy(rows, truth[known].long())


def _crops(
    photos: Sequence[ProbePhoto], source: FeatureSource, depth: bool, most: int, random: np.random.Generator
) -> tuple[list[list[Described]], np.ndarray]:
    """A random part of each photo, all of one size, and what is true of it."""
    every = [source.layers(photo) for photo in photos]
    grids = [layers[0].patches.shape[:2] for layers in every]
    rows, columns = (min(most, *(int(grid[axis]) for grid in grids)) for axis in (0, 1))
    cut, truths = [], []
    for photo, layers, (gh, gw) in zip(photos, every, grids, strict=True):
        top, left = int(random.integers(gh - rows + 1)), int(random.integers(gw - columns + 1))
        window = np.s_[top : top + rows, left : left + columns]
        cut.append([Described(layer.patches[window], layer.whole) for layer in layers])
        values = photo.depth() if depth and photo.depth else photo.classes() if photo.classes else np.zeros((1, 1))
        fine = _at_nodes(values, (NODES * gh, NODES * gw))
        truths.append(fine[NODES * top : NODES * (top + rows), NODES * left : NODES * (left + columns)])
    return cut, np.stack(truths)


def _at_nodes(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map's values at the nodes of a grid."""
    rows, columns = ((2 * np.arange(n) + 1) * length // (2 * n) for n, length in zip(size, values.shape, strict=True))
    return values[np.ix_(rows, columns)]


def _batch(photos: Sequence[Sequence[Described]], device: torch.device) -> tuple[list[Tensor], list[Tensor]]:
    layers = list(zip(*photos, strict=True))
    patches = [torch.stack([one.patches for one in layer]).permute(0, 3, 1, 2).to(device) for layer in layers]
    return [p.contiguous() for p in patches], [torch.stack([one.whole for one in layer]).to(device) for layer in layers]


def _farthest(photos: Sequence[ProbePhoto], progress: Progress) -> float:
    found = 0.0
    for index, photo in enumerate(photos):
        progress(index, len(photos), "reading depths")
        found = max(found, float(photo.depth().max()) if photo.depth else 0.0)
    progress(len(photos), len(photos), "reading depths")
    return found
