"""Depth from bins: activations become shares by linear normalization (Bhat et al. 2021; FiT3D, 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from render.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float

BINS = 256
NEAREST = 1e-3  # metres, the middle of the first bin
FLOOR = 0.1  # added to the activations, so that they have a sum to be divided by
MEAN_WEIGHT = 0.15  # of the mean in the scale-invariant loss; the variance counts whole


@dataclass(frozen=True)
class DepthBins:
    """Uniform bins.

    Attributes:
        farthest: The middle of the last one, in metres.
    """

    farthest: float

    def __post_init__(self) -> None:
        if not self.farthest > NEAREST:
            raise InputError("A probe of depth needs some depth in metres, found none above 0.")

    def depth(self, output: Float[Tensor, "... b"]) -> Float[Tensor, "..."]:
        """The mean of the bins' middles, weighted by their shares; metres."""
        middles = torch.linspace(NEAREST, self.farthest, BINS, device=output.device)
        sums = output.relu().float() @ torch.stack([middles, torch.ones_like(middles)], 1)
        return (sums[..., 0] + FLOOR * middles.sum()) / (sums[..., 1] + FLOOR * BINS)


def scale_invariant_loss(told: Float[Tensor, "... m"], truth: Float[Tensor, "... m"]) -> Float[Tensor, "..."]:
    """Of depths above 0 (Eigen et al. 2014), as DINOv2's head has it; over the last axis."""
    ratio = told.log() - truth.log()
    return (ratio.var(-1) + MEAN_WEIGHT * ratio.mean(-1).square()).clamp_min(1e-12).sqrt()
