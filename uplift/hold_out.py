"""How well a lifted field renders views that it was not lifted from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from render.errors import InputError
from render.gaussians import Gaussians
from render.progress import Progress, silent
from render.rasterizer import rasterize
from render.views import View
from uplift.encoders.base import Encoder
from uplift.field import FeatureField
from uplift.maps import FeatureMapCache


@dataclass(frozen=True)
class HeldOutError:
    """Errors of rendered features against the encoder's maps.

    Attributes:
        mean_squares: Mean over pixels and channels, one per view.
        variance: Of the maps' channels, averaged: the error of always predicting the mean feature.
    """

    mean_squares: tuple[float, ...]
    variance: float

    @property
    def explained(self) -> float:
        """Share of the variance that the field explains: 1 is perfect, 0 no better than the mean feature."""
        return 1 - sum(self.mean_squares) / len(self.mean_squares) / self.variance

    @property
    def psnr(self) -> float:
        """Mean over views of the peak signal-to-noise ratio in dB, for features in [0, 1]."""
        decibels = -10 * torch.tensor(self.mean_squares, dtype=torch.float64).log10()
        return float(decibels.mean())


def split_views(views: Sequence[View], every: int) -> tuple[list[View], list[View]]:
    """Split into the views to lift from and every ``every``-th one, in the order of their names, to hold out.

    nerfstudio's ``eval_interval`` holds out the same ones.

    Raises:
        InputError: nothing would be left to lift from.
    """
    held = {view.name for view in sorted(views, key=lambda view: view.name)[::every]} if every > 0 else set()
    if every < 2 or len(held) == len(views):
        raise InputError(
            f"Of {len(views)} photos every 2nd, 3rd, ... can be held out, found {every}; take a number such as 8."
        )
    return [v for v in views if v.name not in held], [v for v in views if v.name in held]


@torch.no_grad()
def held_out_error(
    gaussians: Gaussians,
    field: FeatureField,
    views: Sequence[View],
    encoder: Encoder,
    *,
    cache: FeatureMapCache | None = None,
    progress: Progress = silent,
) -> HeldOutError:
    """Render the field in views and compare with the encoder's maps, interpolated to the pixels (LUDVIG eq. 5.4).

    Args:
        gaussians: The scene.
        field: Lifted with ``encoder``, not from ``views``.
        views: The held-out photos.
        encoder: Fitted, if it needs that.
        cache: Where the encoder's maps are kept on disk; None = they are not.
        progress: Called once per view.
    """
    gaussians, values = field.carried_by(gaussians)
    values = values.to(torch.float32)
    squares, sums, sums_of_squares, pixels = [], torch.zeros(field.dimension), torch.zeros(field.dimension), 0
    for done, view in enumerate(views):
        progress(done, len(views), "held-out views")
        camera = view.camera
        image = view.image()
        encoded = (encoder.encode(image) if cache is None else cache.get(image, encoder)).to(values)
        truth = torch.nn.functional.interpolate(
            encoded.permute(2, 0, 1)[None], (camera.height, camera.width), mode="bilinear", align_corners=False
        )[0].permute(1, 2, 0)
        squares.append(float((rasterize(gaussians, camera, values).values - truth).square().mean()))
        sums += truth.sum((0, 1)).cpu()
        sums_of_squares += truth.square().sum((0, 1)).cpu()
        pixels += camera.height * camera.width
    progress(len(views), len(views), "held-out views")
    variance = (sums_of_squares / pixels - (sums / pixels).square()).mean()
    return HeldOutError(tuple(squares), float(variance))
