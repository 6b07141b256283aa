"""The smoothed uniform distribution of magnitudes (section 3.3.1), and its score in closed form.

Its density is that of a uniform number of [0, bound] plus a Gaussian one of mean 0 and the deviation::

    p(m) = (1 / bound) int_0^bound N(u; m, deviation) du = (F((bound - m) / deviation) - F(-m / deviation)) / bound

with F the Gaussian's distribution function.  All is computed in log-space and float64, so that neither a small bound
nor a magnitude far outside loses it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

ROOT = math.log(math.sqrt(2 * math.pi))


def log_density(
    magnitudes: Float[Tensor, "..."], bounds: Float[Tensor, "..."], deviation: float
) -> Float[Tensor, "..."]:
    """Log density of magnitudes, float64, differentiable in the bounds alone.

    Args:
        magnitudes: Any numbers.
        bounds: Above 0, of the same shape.
        deviation: Of the smoothing, above 0.
    """
    found: Tensor = _LogDensity.apply(magnitudes, bounds, deviation)
    return found


def score(magnitudes: Float[Tensor, "..."], bounds: Float[Tensor, "..."], deviation: float) -> Float[Tensor, "..."]:
    """Derivative of :func:`log_density` by the bounds, float64: N(bound; m, deviation) / (bound p(m)) - 1 / bound."""
    magnitudes, bounds = magnitudes.double(), bounds.double()
    above = (bounds - magnitudes) / deviation
    gaussian = -above.square() / 2 - ROOT - math.log(deviation)
    return torch.exp(gaussian - _log_mass(magnitudes, bounds, deviation)) - 1 / bounds


class _LogDensity(torch.autograd.Function):
    """The density with its closed-form score as the derivative: that of a difference of tails would be 0 / 0."""

    generate_vmap_rule = True

    @staticmethod
    def forward(magnitudes: Tensor, bounds: Tensor, deviation: float) -> Tensor:
        magnitudes, bounds = magnitudes.double(), bounds.double()
        return _log_mass(magnitudes, bounds, deviation) - bounds.log()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: Tensor) -> None:  # noqa: ARG004
        magnitudes, bounds, ctx.deviation = inputs
        ctx.save_for_backward(magnitudes, bounds)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        magnitudes, bounds = ctx.saved_tensors
        return None, (gradient * score(magnitudes, bounds, ctx.deviation)).to(bounds.dtype), None


def _log_mass(magnitudes: Tensor, bounds: Tensor, deviation: float) -> Tensor:
    """Log of F((bound - m) / deviation) - F(-m / deviation)."""
    above, below = (bounds - magnitudes) / deviation, -magnitudes / deviation
    # A difference of tails is exact on the side where F is small: beyond the middle the other side's is taken.
    mirrored = above + below > 0
    high, low = torch.where(mirrored, -below, above), torch.where(mirrored, -above, below)
    log_high = torch.special.log_ndtr(high)
    gap = torch.special.log_ndtr(low) - log_high
    return log_high + torch.log(-torch.expm1(gap))
