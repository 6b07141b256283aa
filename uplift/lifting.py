"""Lifting 2D feature maps onto Gaussians: f = D^-1 W^T F (LUDVIG, eq. 5.3 and 5.5).

``W`` renders all views and ``D = diag(W^T 1)``.  A map of the image's size is ``F`` itself; a coarser grid
``G`` stands for its bilinear interpolation ``F = U G``, lifted exactly as ``(W^T U) G`` without making it.

Refining steps ``f += D^-1 W^T (F - W f)``, the descent on eq. (5.6), are computed as
``f += D^-1 (W^T F - W^T W f)``.  The numerators ``W^T F`` are those of the first pass, so the steps are exact
at pixel level for grids too, and need the cameras only: no photo is read or encoded twice.  ``D^-1 W^T W``
has non-negative rows that sum to at most 1, so its eigenvalues lie in [0, 1] and no step increases the
residual.

Pruning (LUDVIG 5.3.2) keeps the Gaussians with the largest ``beta_i = (W^T 1)_i`` and lifts onto the scene that
they make; the others get weight and value 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from render.camera import Camera
from render.devices import resolve_device
from render.errors import InputError
from render.gaussians import Gaussians
from render.progress import Progress, silent
from render.rasterizer import contributions, lift_views_, rasterize, rasterize_transposed
from render.views import View
from uplift.encoders.base import DerivedEncoder, Encoder, as_image, fit_encoder
from uplift.field import STATE_PREFIX, FeatureField
from uplift.maps import FeatureMapCache
from uplift.pca import MAX_ROWS

if TYPE_CHECKING:
    from jaxtyping import Float, Int

VIEWS_PER_BATCH = 8  # maps of patch grids that wait for each other, to read the sums from memory less often
BATCH_BYTES = 64 << 20  # of waiting maps
CHUNK_BYTES = 384 << 20  # of temporary arrays where full-size maps are lifted or rendered
SLACK = 1.15  # what allocators keep beyond what is in use, measured
NNZ_PER_GAUSSIAN = 8  # of a lifting matrix, generously, for the estimate
PAIRS_PER_PIXEL = 40  # of Gaussians that a pixel shows, generously, for the estimate of counting them


FeatureMap: TypeAlias = Tensor | np.ndarray
MapSource: TypeAlias = Encoder | Mapping[str, FeatureMap] | Sequence[FeatureMap] | Callable[[View], FeatureMap]
Normalization: TypeAlias = Literal["weights", "count"]
"""What sums are divided by: blending weights (LUDVIG eq. 5.3), or the number of pixels (GaussianEditor; C.3.3)."""


@torch.no_grad()
def lift(
    gaussians: Gaussians,
    views: Sequence[View],
    encoder_or_maps: MapSource,
    *,
    refine: int = 0,
    keep: float | int | None = None,
    normalization: Normalization = "weights",
    device: str | torch.device | None = None,
    cache: FeatureMapCache | None = None,
    name: str = "maps",
    metadata: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> FeatureField:
    """Lift the feature maps of all views onto the Gaussians, one photo in memory at a time.

    Args:
        gaussians: The scene.
        views: Posed photos; their cameras are those of the maps.
        encoder_or_maps: An encoder (fitted to the views first if it needs that), or maps ``[gh, gw, c]``: a
            mapping by view name, a sequence in the order of ``views``, or a function of the view.  A map has
            the view's size or is a grid at most half as fine.
        refine: Steps of ``f += D^-1 W^T (F - W f)`` after the weighted mean, at least 0.
        keep: Prune: a fraction (a float up to 1) or a number of Gaussians to lift onto, those with the largest weights;
            takes a pass over the views, without maps, before.  None = all.
        normalization: ``weights`` makes every feature a weighted mean of pixels.  ``count`` divides by the number
            of pixels that show the Gaussian, whatever their weights, as GaussianEditor does: for comparison.
        device: Where to compute; None = where the Gaussians are.
        cache: Where an encoder's maps are kept on disk; None = they are not.
        name: What ``FeatureField.encoder`` says if maps are given.
        metadata: Added to the field's metadata.
        progress: Called once per view and pass; raising from it cancels, and nothing is left behind but
            cached maps.

    Returns:
        The field with its PCA basis; Gaussians never seen or pruned have weight 0 and value 0.

    Raises:
        InputError: no Gaussians or views, a map of a wrong size or with NaN, channels that differ between
            views, maps that are missing, no view sees any Gaussian, ``keep`` keeps none or more than there are, or
            refining is asked for with ``count``, which no step would lead to.
    """
    if len(gaussians) == 0 or refine < 0 or (refine and normalization == "count"):
        raise InputError(
            "Lifting needs Gaussians and refine >= 0, which is 0 with the normalization count, "
            f"found {len(gaussians)} Gaussians, refine={refine} and {normalization}."
        )
    gaussians = gaussians.detach().to(resolve_device(device or gaussians.device))
    about: dict[str, Any] = {"views": len(views), "refine": refine, "normalization": normalization, **(metadata or {})}
    if keep is not None:
        kept = _heaviest(gaussians, views, keep, progress)
        options: dict[str, Any] = {"refine": refine, "normalization": normalization, "cache": cache, "name": name}
        about["keep"] = len(kept)
        part = lift(gaussians[kept], views, encoder_or_maps, metadata=about, progress=progress, **options)
        return _spread(part, kept, len(gaussians))
    tensors: dict[str, Tensor] = {}
    if isinstance(encoder_or_maps, Encoder):
        encoder = encoder_or_maps
        fit_encoder(encoder, views, progress, cache)
        name = encoder.name
        tensors = {STATE_PREFIX + key: tensor for key, tensor in encoder.state().items()}
        about = _record_of(encoder) | about
    sums, weights = _accumulate(gaussians, views, _map_reader(views, encoder_or_maps, cache), progress)
    divisors = weights if normalization == "weights" else _pixel_counts(gaussians, views, progress)
    inverse = torch.where(divisors > 0, 1 / divisors, torch.zeros_like(divisors))
    if refine:
        _refine_(sums, inverse, gaussians, [view.camera for view in views], refine, progress)
    else:
        sums *= inverse[:, None]
    return FeatureField(sums, weights, name, about, tensors).with_pca()


def _record_of(encoder: Encoder) -> dict[str, Any]:
    """What a field says of its encoder."""
    record: dict[str, Any] = {
        "fingerprint": encoder.fingerprint(),
        "metric": encoder.metric,
        "licence": encoder.licence,
        "weights": encoder.weights_hash(),
    }
    if isinstance(encoder, DerivedEncoder):
        record["reduced_from"] = encoder.inner.dimension
    return record | {"options": encoder.options()}


def _heaviest(
    gaussians: Gaussians, views: Sequence[View], keep: float | int, progress: Progress
) -> Int[Tensor, " kept"]:
    """Indices of the Gaussians with the largest total weights, in order."""
    number = number_to_keep(keep, len(gaussians))
    weights = total_weights(gaussians, views, progress)
    return weights.argsort(descending=True, stable=True)[:number].sort().values


def _spread(part: FeatureField, kept: Int[Tensor, " kept"], n: int) -> FeatureField:
    """A field of some Gaussians as one of all ``n``, zero elsewhere."""
    values = part.values.new_zeros(n, part.dimension).index_copy_(0, kept, part.values)
    return replace(part, values=values, weights=part.weights.new_zeros(n).index_copy_(0, kept, part.weights))


def number_to_keep(keep: float | int, n: int) -> int:
    """``keep`` of :func:`lift` as a number of Gaussians: a float up to 1 is a fraction.

    Raises:
        InputError: none or more than there are.
    """
    number = round(keep * n) if isinstance(keep, float) and 0 < keep <= 1 else keep
    if not math.isfinite(number) or not 1 <= number <= n or int(number) != number:
        raise InputError(
            f"Pruning keeps a fraction between 0 and 1 of the Gaussians, or 1 to {n} of them, found {keep}."
        )
    return int(number)


@torch.no_grad()
def total_weights(gaussians: Gaussians, views: Sequence[View], progress: Progress = silent) -> Float[Tensor, " n"]:
    """``beta_i``: how much each Gaussian contributes to all views, the sum of its blending weights (LUDVIG 5.3.2)."""
    weights = torch.zeros(len(gaussians), device=gaussians.device, dtype=gaussians.means.dtype)
    sums = weights.new_zeros(len(gaussians), 1)
    for start in range(0, len(views), VIEWS_PER_BATCH):
        progress(start, len(views), "weighing Gaussians")
        cameras = [view.camera for view in views[start : start + VIEWS_PER_BATCH]]
        lift_views_(sums, weights, gaussians, cameras, [weights.new_ones(1, 1, 1)] * len(cameras))
    progress(len(views), len(views), "weighing Gaussians")
    return weights


def _pixel_counts(gaussians: Gaussians, views: Sequence[View], progress: Progress) -> Float[Tensor, " n"]:
    """How many pixels of all views show each Gaussian (LUDVIG C.3.3)."""
    counts = torch.zeros(len(gaussians), device=gaussians.device, dtype=torch.int64)
    for done, view in enumerate(views):
        progress(done, len(views), "counting pixels")
        counts += torch.bincount(contributions(gaussians, view.camera).ids, minlength=len(gaussians))
    progress(len(views), len(views), "counting pixels")
    return counts.to(gaussians.means.dtype)


def lift_memory(
    n: int,
    c: int,
    size: tuple[int, int],
    grid: tuple[int, int] | None = None,
    *,
    views: int = VIEWS_PER_BATCH,
    refine: int = 0,
    keep: float | int | None = None,
    normalization: Normalization = "weights",
) -> int:
    """Estimate the bytes that :func:`lift` needs on top of the scene and the encoder.

    Args:
        n: Gaussians.
        c: Feature channels.
        size: Largest photo, ``(h, w)`` pixels.
        grid: Nodes ``(gh, gw)`` of the maps, None = full size.
        views: Number of views.
        refine: Number of refining steps.
        keep: Fraction or number of Gaussians to lift onto.
        normalization: What sums are divided by.
    """
    pixels = size[0] * size[1]
    result = 4 * n * (c + 2)
    if keep is not None:
        n = number_to_keep(keep, n)
        result += 4 * n * (c + 16)  # the sums before they are spread, and the kept Gaussians
    photo = 3 * pixels + 16 * pixels
    if grid is None:
        working = 4 * pixels * c + 4 * (6 * n + 4 * pixels) * _channels_per_chunk(n, pixels, c)
    else:
        map_bytes = 4 * grid[0] * grid[1] * c
        batch = min(VIEWS_PER_BATCH, views, max(1, BATCH_BYTES // map_bytes))
        working = batch * (map_bytes + 8 * NNZ_PER_GAUSSIAN * n)
    if refine:
        working = max(working, 4 * (6 * n + 4 * pixels) * _channels_per_chunk(n, pixels, c))
    if normalization == "count":
        working = max(working, 12 * PAIRS_PER_PIXEL * pixels)
    rasterizing = 512 * n
    basis = 6 * 8 * min(n, MAX_ROWS) * c  # float64, as rows, their order, centred, weighted
    return int(SLACK * (result + photo + max(working + rasterizing, basis)))


def _channels_per_chunk(n: int, pixels: int, c: int) -> int:
    """How many channels of Gaussians and pixels are worked on at a time."""
    return max(1, min(c, CHUNK_BYTES // (4 * (6 * n + 4 * pixels))))


def _map_reader(views: Sequence[View], source: MapSource, cache: FeatureMapCache | None) -> Callable[[int], Tensor]:
    """A function that gives the map of view ``i``, on any device."""
    if isinstance(source, Encoder):
        encoder = source
        return lambda i: _encoded(encoder, views[i], cache)
    if isinstance(source, Mapping):
        by_name = source
        missing = [view.name for view in views if view.name not in by_name]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(views)} views have no feature map: {', '.join(missing[:5])}"
                f"{' ...' if len(missing) > 5 else ''}; give a map for each view, by name."
            )
        return lambda i: torch.as_tensor(by_name[views[i].name])
    if callable(source):
        function = source
        return lambda i: torch.as_tensor(function(views[i]))
    if len(source) != len(views):
        raise InputError(f"Expected one feature map per view, found {len(source)} for {len(views)} views.")
    in_order = source
    return lambda i: torch.as_tensor(in_order[i])


def _encoded(encoder: Encoder, view: View, cache: FeatureMapCache | None) -> Tensor:
    image = as_image(view.image())
    expected = (view.camera.height, view.camera.width)
    if image.shape[:2] != expected:
        raise InputError(
            f"The photo of view {view.name} has {image.shape[1]}x{image.shape[0]} pixels, "
            f"but its camera has {expected[1]}x{expected[0]}."
        )
    return encoder.encode(image) if cache is None else cache.get(image, encoder)


def _checked(feature_map: Tensor, view: View, channels: int | None) -> tuple[Tensor, bool]:
    """The map as float32, and whether it has the image's size; InputError unless it can be lifted."""
    height, width = view.camera.height, view.camera.width
    shape = list(feature_map.shape)
    full = shape[:2] == [height, width]
    coarse = len(shape) == 3 and 2 * shape[0] <= height + 1 and 2 * shape[1] <= width + 1
    if len(shape) != 3 or 0 in shape or not (full or coarse):
        raise InputError(
            f"The feature map of view {view.name} must have shape [{height}, {width}, c] or be a grid "
            f"at most half as fine, found {shape}."
        )
    if channels is not None and shape[2] != channels:
        raise InputError(
            f"The feature map of view {view.name} has {shape[2]} channels, those before it had {channels}."
        )
    feature_map = feature_map.detach().to(torch.float32)
    low, high = torch.aminmax(feature_map)
    if not bool(torch.isfinite(low) & torch.isfinite(high)):
        raise InputError(f"The feature map of view {view.name} has NaN or infinite values.")
    return feature_map, full


def _accumulate(
    gaussians: Gaussians, views: Sequence[View], read: Callable[[int], Tensor], progress: Progress
) -> tuple[Float[Tensor, "n c"], Float[Tensor, " n"]]:
    """``W^T F`` and ``W^T 1`` over all views, in one pass."""
    n, device, dtype = len(gaussians), gaussians.device, gaussians.means.dtype
    weights = torch.zeros(n, device=device, dtype=dtype)
    sums: Tensor | None = None
    waiting: list[tuple[Camera, Tensor]] = []
    for done, view in enumerate(views):
        progress(done, len(views), "lifting")
        feature_map, full = _checked(read(done), view, None if sums is None else sums.shape[1])
        feature_map = feature_map.to(device)
        if sums is None:
            sums = torch.zeros(n, feature_map.shape[2], device=device, dtype=dtype)
        if full:
            _add_full_size_(sums, weights, gaussians, view.camera, feature_map)
        else:
            waiting.append((view.camera, feature_map))
        del feature_map  # before the next one is made
        # The list empties before the next map is read: at most one batch is in memory.
        held = sum(m.numel() * m.element_size() for _, m in waiting)
        last = done == len(views) - 1
        if waiting and (last or len(waiting) == VIEWS_PER_BATCH or held >= BATCH_BYTES):
            lift_views_(sums, weights, gaussians, [c for c, _ in waiting], [m for _, m in waiting])
            waiting = []
    progress(len(views), len(views), "lifting")
    if sums is None:
        raise InputError("Lifting needs at least one view, found none.")
    if not bool((weights > 0).any()):
        raise InputError(
            f"None of the {len(views)} views sees any of the {len(gaussians)} Gaussians; "
            "check that the poses and the Gaussians are in the same frame."
        )
    return sums, weights


def _add_full_size_(
    sums: Tensor, weights: Tensor, gaussians: Gaussians, camera: Camera, feature_map: Float[Tensor, "h w c"]
) -> None:
    """Add a full-size map, some channels at a time."""
    chunk = _channels_per_chunk(len(gaussians), camera.height * camera.width, feature_map.shape[2])
    for start in range(0, feature_map.shape[2], chunk):
        part = slice(start, start + chunk)
        added, seen = rasterize_transposed(gaussians, camera, feature_map[..., part].contiguous())
        sums[:, part] += added
        if start == 0:
            weights += seen


def _refine_(
    sums: Float[Tensor, "n c"],
    inverse: Float[Tensor, " n"],
    gaussians: Gaussians,
    cameras: Sequence[Camera],
    steps: int,
    progress: Progress,
) -> None:
    """Turn the numerators ``W^T F`` into the features after ``steps`` of ``f += D^-1 (W^T F - W^T W f)``.

    Channels do not mix, so they go through all steps a few at a time, in place: no second ``[n, c]`` array.
    """
    channels = sums.shape[1]
    pixels = max(camera.height * camera.width for camera in cameras)
    chunk = _channels_per_chunk(len(gaussians), pixels, channels)
    total = -(-channels // chunk) * steps * len(cameras)
    done = 0
    for start in range(0, channels, chunk):
        part = slice(start, start + chunk)
        features = (sums[:, part] * inverse[:, None]).contiguous()
        for _ in range(steps):
            residual = sums[:, part].clone()
            for camera in cameras:
                progress(done, total, "refining")
                rendered = rasterize(gaussians, camera, values=features).values
                residual -= rasterize_transposed(gaussians, camera, rendered)[0]
                done += 1
            features += inverse[:, None] * residual
        sums[:, part] = features
    progress(total, total, "refining")
