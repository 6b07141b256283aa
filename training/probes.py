"""Linear probes: what one linear layer reads from the features of patches, as FiT3D measures it (Yue et al. 2024).

The encoder stays as it is.  Its maps of all photos are computed once; layers are fitted on the grid of patches, and
what they say there is interpolated to the size of the photo.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from render.errors import InputError
from render.progress import Progress, silent
from uplift.encoders.base import DerivedEncoder, Encoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float, UInt8

VOID = 255  # in class maps: pixels that do not count
PATCH = 8  # pixels: finer maps are averaged to it, so that every encoder is asked at the same grid
BINS = 256  # of depth, uniform (Bhat et al. 2021)
NEAREST = 1e-3  # metres, the middle of the first of them
FLOOR = 0.1  # added to the bins' activations, so that they have a sum to be divided by
HALF = 0.5  # of a patch must be known for it to be learned from
MEAN_WEIGHT = 0.15  # of the mean in the scale-invariant loss; the variance counts whole
EVALUATED_AT_ONCE = 16  # photos


@dataclass(frozen=True)
class ProbeSettings:
    """How a layer is fitted: AdamW, a rate that falls to zero along half a cosine."""

    steps: int = 600
    """Optimizer steps."""
    batch: int = 4096
    """Patches of a step."""
    rate: float = 1e-3
    """Learning rate in the beginning."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    seed: int = 0
    """Of the weights and the batches."""


@dataclass(frozen=True, eq=False)
class ProbePhotos:
    """Photos of one size and what is true of their pixels.

    Attributes:
        photos: ``[n, h, w, 3]`` uint8.
        classes: Class of every pixel, 255 = does not count; ``[n, h, w]`` uint8.
        depths: Along the viewing direction in metres, 0 = not known; ``[n, h, w]`` float.

    Raises:
        InputError: the shapes differ.
    """

    photos: UInt8[np.ndarray, "n h w 3"]
    classes: UInt8[np.ndarray, "n h w"]
    depths: Float[np.ndarray, "n h w"]

    def __post_init__(self) -> None:
        shapes = [self.photos.shape, (*self.classes.shape, 3), (*self.depths.shape, 3)]
        if len(set(shapes)) > 1 or self.photos.ndim != 4:
            raise InputError(
                f"Expected photos [n, h, w, 3] with maps [n, h, w], found {list(self.photos.shape)}, "
                f"{list(self.classes.shape)} and {list(self.depths.shape)}."
            )


@torch.no_grad()
def patch_features(
    encoder: Encoder, photos: UInt8[np.ndarray, "n h w 3"], *, patch: int = PATCH, progress: Progress = silent
) -> Float[Tensor, "n c gh gw"]:
    """Maps of photos as fp16 on the CPU, averaged to ``patch`` pixels where the encoder's grid is finer.

    Args:
        encoder: Ready to encode (:func:`fit_to_photos`).
        photos: All of one size.
        patch: Pixels.
        progress: Told of every photo.

    Raises:
        InputError: there are no photos, or the encoder must be fitted first.
    """
    if len(photos) == 0:
        raise InputError("A probe needs photos, found none.")
    height, width = photos.shape[1:3]
    maps = []
    for done, photo in enumerate(photos):
        progress(done, len(photos), f"features of {encoder.name}")
        encoded = encoder.encode(photo).permute(2, 0, 1).float()
        size = (min(encoded.shape[1], -(-height // patch)), min(encoded.shape[2], -(-width // patch)))
        maps.append(nn.functional.adaptive_avg_pool2d(encoded, size).to("cpu", torch.float16))
    progress(len(photos), len(photos), f"features of {encoder.name}")
    return torch.stack(maps)


def fit_to_photos(encoder: Encoder, photos: UInt8[np.ndarray, "n h w 3"]) -> None:
    """Fit an encoder that needs it (a PCA) to evenly spaced photos of the training; changed in place."""
    if encoder.fitted:
        return
    if isinstance(encoder, DerivedEncoder):
        fit_to_photos(encoder.inner, photos)
    count = min(len(photos), max(1, encoder.photos_to_fit))
    encoder.fit([photos[i] for i in np.linspace(0, len(photos) - 1, count).round().astype(int)])


@dataclass(frozen=True, eq=False)
class ClassProbe:
    """A batch norm and a linear layer from a patch to the scores of classes.

    Attributes:
        layer: From ``[m, c]`` to ``[m, k]``.
    """

    layer: nn.Module

    @staticmethod
    def fit(
        features: Float[Tensor, "n c gh gw"],
        classes: UInt8[np.ndarray, "n h w"],
        count: int,
        settings: ProbeSettings | None = None,
        *,
        device: str | torch.device = "cpu",
        progress: Progress = silent,
    ) -> ClassProbe:
        """Learn from photos and their class maps, by the cross entropy with the share of each class in a patch.

        Args:
            features: :func:`patch_features` of the photos.
            classes: The class of every pixel, 255 = does not count.
            count: How many classes there are.
            settings: How it is fitted.
            device: Where to compute.
            progress: Told along the steps.

        Raises:
            InputError: photos and maps differ in number, a class is out of range, or no pixel counts.
        """
        _check_number(features, classes)
        known = classes[classes != VOID]
        if known.size == 0 or int(known.max()) >= count:
            found = "none" if known.size == 0 else f"class {int(known.max())}"
            raise InputError(f"Expected classes below {count} in the maps of a probe's training, found {found}.")
        grid = tuple(features.shape[2:])
        shares = torch.cat([_class_shares(one, count, grid) for one in classes])
        rows = _rows(features)
        sums = shares.sum(1, keepdim=True)
        use = sums[:, 0] >= HALF
        layer = _linear(features.shape[1], count, settings)

        def loss(chosen: Tensor, output: Tensor) -> Tensor:
            targets = (shares[chosen] / sums[chosen]).to(output)
            return nn.functional.cross_entropy(output, targets)

        _fit(layer, rows, use, loss, settings, device, "probe of classes", progress)
        return ClassProbe(layer)

    @torch.no_grad()
    def predict(self, features: Float[Tensor, "n c gh gw"], size: tuple[int, int]) -> UInt8[np.ndarray, "n h w"]:
        """The most likely class of every pixel of photos of that size (height, width)."""
        device = next(self.layer.parameters()).device
        found = []
        for part in features.split(EVALUATED_AT_ONCE):
            scores = _on_grid(self.layer, part.to(device, torch.float32))
            found.append(_sized(scores, size).argmax(1).to("cpu", torch.uint8))
        return torch.cat(found).numpy()


@dataclass(frozen=True, eq=False)
class DepthProbe:
    """A batch norm and a linear layer from a patch, and the mean of its photo, to the share of each bin of depth.

    Activations become shares by linear normalization; the depth is the mean of the bins' middles (Bhat et al.
    2021).  FiT3D has DINOv2's [CLS] token where here is the mean of the photo's patches: an encoder of this project
    hands out patches alone.

    Attributes:
        layer: From ``[m, 2 c]`` to ``[m, 256]``.
        middles: Of the bins, in metres; ``[256]``.
    """

    layer: nn.Module
    middles: Float[Tensor, " b"]

    @staticmethod
    def fit(
        features: Float[Tensor, "n c gh gw"],
        depths: Float[np.ndarray, "n h w"],
        settings: ProbeSettings | None = None,
        *,
        farthest: float | None = None,
        device: str | torch.device = "cpu",
        progress: Progress = silent,
    ) -> DepthProbe:
        """Learn from photos and their depth, by the scale-invariant loss (Eigen et al. 2014) as DINOv2's head does.

        Args:
            features: :func:`patch_features` of the photos.
            depths: Metres, 0 = not known.
            settings: How it is fitted.
            farthest: The middle of the last bin in metres; None = the largest depth.
            device: Where to compute.
            progress: Told along the steps.

        Raises:
            InputError: photos and maps differ in number, or no depth is known.
        """
        _check_number(features, depths)
        largest = float(depths.max()) if farthest is None else farthest
        if not largest > NEAREST:
            raise InputError("A probe of depth needs some depth in metres, found none above 0.")
        grid = tuple(features.shape[2:])
        pooled = [_mean_depth(one, grid) for one in depths]
        targets, use = torch.cat([t for t, _ in pooled]), torch.cat([u for _, u in pooled])
        middles = torch.linspace(NEAREST, largest, BINS)
        layer = _linear(2 * features.shape[1], BINS, settings)
        rows = _rows(_with_mean(features))

        def loss(chosen: Tensor, output: Tensor) -> Tensor:
            ratio = _depth_of(output, middles).log() - targets[chosen].to(output).log()
            return (ratio.var() + MEAN_WEIGHT * ratio.mean().square()).sqrt()

        _fit(layer, rows, use, loss, settings, device, "probe of depth", progress)
        return DepthProbe(layer, middles)

    @torch.no_grad()
    def predict(self, features: Float[Tensor, "n c gh gw"], size: tuple[int, int]) -> Float[np.ndarray, "n h w"]:
        """The depth of every pixel in metres, for photos of that size (height, width)."""
        device = next(self.layer.parameters()).device
        found = []
        for part in features.split(EVALUATED_AT_ONCE):
            output = _on_grid(self.layer, _with_mean(part).to(device, torch.float32))
            depth = _depth_of(output.permute(0, 2, 3, 1), self.middles)[:, None]
            found.append(_sized(depth, size)[:, 0].cpu())
        return torch.cat(found).numpy()


def class_figures(
    predicted: UInt8[np.ndarray, "n h w"], truth: UInt8[np.ndarray, "n h w"], names: Sequence[str]
) -> dict[str, Any]:
    """How well classes were told.

    Args:
        predicted: Of every pixel.
        truth: The same, 255 = does not count.
        names: Of the classes, by index.

    Returns:
        JSON values: ``miou`` (the mean over the classes that the truth has), ``accuracy`` of pixels, ``iou`` by
        class.
    """
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

    a, b = torch.from_numpy(predicted).long().flatten(), torch.from_numpy(truth).long().flatten()
    common: dict[str, Any] = {"num_classes": len(names), "ignore_index": VOID, "validate_args": False}
    values = multiclass_jaccard_index(a, b, average=None, **common)
    there = torch.bincount(b[b != VOID], minlength=len(names)) > 0
    return {
        "miou": float(values[there].mean()),
        "accuracy": float(multiclass_accuracy(a, b, average="micro", **common)),
        "iou": {names[i]: float(values[i]) for i in torch.nonzero(there).flatten().tolist()},
    }


def depth_figures(predicted: Float[np.ndarray, "n h w"], truth: Float[np.ndarray, "n h w"]) -> dict[str, Any]:
    """``rmse`` in metres over the pixels whose depth is known (above 0)."""
    from torchmetrics.functional.regression import mean_squared_error

    known = truth > 0
    a, b = (torch.from_numpy(np.ascontiguousarray(values[known], np.float32)) for values in (predicted, truth))
    return {"rmse": float(mean_squared_error(a, b, squared=False))}


def probe(
    encoder: Encoder,
    train: ProbePhotos,
    tests: Mapping[str, ProbePhotos],
    names: Sequence[str],
    settings: ProbeSettings | None = None,
    *,
    device: str | torch.device = "cpu",
    progress: Progress = silent,
) -> dict[str, dict[str, Any]]:
    """Fit both probes of an encoder and measure them.

    Args:
        encoder: One that adapts to photos (a PCA) is fitted to those of the training.
        train: What the layers learn from.
        tests: Other photos, by the name of a group such as a room.
        names: Of the classes.
        settings: How the layers are fitted.
        device: Where they are.
        progress: Told of photos and steps.

    Returns:
        JSON values by group: :func:`class_figures` and :func:`depth_figures` together.

    Raises:
        InputError: see :meth:`ClassProbe.fit` and :meth:`DepthProbe.fit`.
    """
    fit_to_photos(encoder, train.photos)
    features = patch_features(encoder, train.photos, progress=progress)
    told = ClassProbe.fit(features, train.classes, len(names), settings, device=device, progress=progress)
    deep = DepthProbe.fit(features, train.depths, settings, device=device, progress=progress)
    found = {}
    for group, test in tests.items():
        described = patch_features(encoder, test.photos, progress=progress)
        height, width = test.photos.shape[1:3]
        found[group] = class_figures(told.predict(described, (height, width)), test.classes, names)
        found[group] |= depth_figures(deep.predict(described, (height, width)), test.depths)
    return found


def _linear(channels: int, outputs: int, settings: ProbeSettings | None) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed((settings or ProbeSettings()).seed)
        layer = nn.Linear(channels, outputs)
        nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(nn.BatchNorm1d(channels), layer)


def _fit(
    layer: nn.Module,
    rows: Tensor,
    use: Bool[Tensor, " m"],
    loss: Callable[[Tensor, Tensor], Tensor],
    settings: ProbeSettings | None,
    device: str | torch.device,
    what: str,
    progress: Progress,
) -> None:
    """Fit a layer on random rows; it is left ready to predict."""
    how = settings or ProbeSettings()
    rows_used = torch.nonzero(use).flatten()
    if len(rows_used) == 0:
        raise InputError("A probe needs patches that are known, found none.")
    generator = torch.Generator().manual_seed(how.seed)
    layer.to(device).train()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=how.rate, weight_decay=how.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, how.steps)
    with torch.enable_grad():
        for step in range(how.steps):
            progress(step, how.steps, what)
            chosen = rows_used[torch.randint(len(rows_used), (how.batch,), generator=generator)]
            value = loss(chosen, layer(rows[chosen].to(device, torch.float32)))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
    progress(how.steps, how.steps, what)
    layer.eval()


def _check_number(features: Tensor, maps: np.ndarray) -> None:
    if len(features) != len(maps) or len(features) == 0:
        raise InputError(f"A probe needs a map for each photo, found {len(features)} photos and {len(maps)} maps.")


def _rows(features: Float[Tensor, "n c gh gw"]) -> Float[Tensor, "m c"]:
    return features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])


def _with_mean(features: Float[Tensor, "n c gh gw"]) -> Float[Tensor, "n 2c gh gw"]:
    """Every patch beside the mean of its photo."""
    mean = features.float().mean((2, 3), keepdim=True).to(features.dtype)
    return torch.cat([features, mean.expand_as(features)], dim=1)


def _on_grid(layer: nn.Module, features: Float[Tensor, "n c gh gw"]) -> Float[Tensor, "n k gh gw"]:
    n, _, gh, gw = features.shape
    return layer(_rows(features)).reshape(n, gh, gw, -1).permute(0, 3, 1, 2)


def _sized(values: Float[Tensor, "n k gh gw"], size: tuple[int, int]) -> Float[Tensor, "n k h w"]:
    return nn.functional.interpolate(values, size, mode="bilinear", align_corners=False)


def _depth_of(output: Float[Tensor, "... b"], middles: Float[Tensor, " b"]) -> Float[Tensor, "..."]:
    activations = output.relu() + FLOOR
    return (activations * middles.to(output)).sum(-1) / activations.sum(-1)


def _class_shares(classes: UInt8[np.ndarray, "h w"], count: int, grid: tuple[int, ...]) -> Float[Tensor, "m k"]:
    """The share of each class in every patch of a photo; what does not count has none."""
    labels = torch.from_numpy(classes).long()
    columns = nn.functional.one_hot(labels.where(labels != VOID, count), count + 1)[..., :count].permute(2, 0, 1)
    return nn.functional.adaptive_avg_pool2d(columns.float(), grid).flatten(1).T.contiguous()


def _mean_depth(
    depth: Float[np.ndarray, "h w"], grid: tuple[int, ...]
) -> tuple[Float[Tensor, " m"], Bool[Tensor, " m"]]:
    """The mean depth of every patch in metres, and whether enough of it is known."""
    values = torch.from_numpy(np.ascontiguousarray(depth, np.float32))
    both = nn.functional.adaptive_avg_pool2d(torch.stack([values, (values > 0).float()]), grid).flatten(1)
    return both[0] / both[1].clamp_min(1e-6), both[1] >= HALF
