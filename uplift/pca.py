"""Features as colours: one robust PCA basis per field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from render.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float

MAX_ROWS = 16_384  # the most heavily weighted rows say enough, and bound time and memory
REACH = 3.0  # rows farther from the centre than this many median distances are pulled in to it
CHANNELS = 3  # of a colour
PERCENTILE = 2.0  # of the rows become black, and as many full colour
TIE = 0.99  # loadings this close to the largest count as equally large


@dataclass(frozen=True, eq=False)
class PCAColours:
    """One to three directions of feature space and their ranges.

    Fewer than three directions: one gives grey, two leave blue at one half.

    Attributes:
        mean: Centre in feature space; ``[c]``.
        components: Orthonormal directions, by falling variance where they were fitted alone; ``[k, c]`` with
            ``k`` from 1 to ``min(c, 3)``.
        low: Projections that become 0; ``[k]``.
        high: Projections that become 1; ``[k]``.
    """

    mean: Float[Tensor, " c"]
    components: Float[Tensor, "k c"]
    low: Float[Tensor, " k"]
    high: Float[Tensor, " k"]

    def __post_init__(self) -> None:
        c = len(self.mean)
        shapes = [tuple(t.shape) for t in (self.mean, self.components, self.low, self.high)]
        k = len(self.components)
        if shapes != [(c,), (k, c), (k,), (k,)] or not 1 <= k <= min(c, 3):
            raise InputError(
                f"A PCA basis of {c} channels has shapes [{c}], [k, {c}], [k], [k] with k from 1 to {min(c, 3)}, "
                f"found {shapes}."
            )

    @staticmethod
    @torch.no_grad()
    def fit(
        values: Float[Tensor, "m c"],
        weights: Float[Tensor, " m"] | None = None,
        *,
        components: int = CHANNELS,
        percentile: float = PERCENTILE,
    ) -> PCAColours:
        """Fit a basis that outliers hardly move and whose signs are fixed.

        Rows far from the median are pulled in to ``REACH`` median distances first, and the colour range is
        taken from quantiles.  Of each direction the largest loading is positive (the first of those as large
        but for 1 %), so colours do not flip between runs.  The order of the rows does not matter.

        Args:
            values: One feature per row.
            weights: How much each row counts, at least 0; rows of weight 0 are left out.  None = equal.
            components: How many directions, 1 to 3; features of fewer channels have fewer.
            percentile: How many percent of the rows become black, and how many full colour, in each direction;
                at least 0 and below 50.

        Raises:
            InputError: shapes do not fit, there is no row of positive weight, values are not finite, or an option
                is out of range.
        """
        if not 1 <= components <= CHANNELS or not 0 <= percentile < 50:
            raise InputError(
                f"PCA colours have 1 to {CHANNELS} components and a percentile from 0 to below 50, found "
                f"{components} and {percentile:g}."
            )
        rows, row_weights = _selected_rows(values, weights)
        centre = rows.median(dim=0).values
        distances = (rows - centre).norm(dim=1)
        scale = distances.median()
        if scale > 0:
            factors = (REACH * scale / distances.clamp_min(1e-30)).clamp_max(1)
            rows = centre + (rows - centre) * factors[:, None]
        mean = (row_weights[:, None] * rows).sum(0) / row_weights.sum()
        centred = rows - mean
        covariance = centred.T @ (row_weights[:, None] * centred) / row_weights.sum()
        directions = _with_fixed_signs(torch.linalg.eigh(covariance).eigenvectors.T.flip(0)[:components])
        low, high = _quantiles(centred @ directions.T, row_weights, percentile / 100)
        return PCAColours(mean.float(), directions.float().contiguous(), low.float(), high.float())

    def colours(self, values: Float[Tensor, "... c"]) -> Float[Tensor, "... 3"]:
        """Colours in [0, 1] of features (lifted, rendered or of a map); a basis without extent gives grey.

        Raises:
            InputError: the number of channels is not the basis's.
        """
        if values.shape[-1] != len(self.mean):
            raise InputError(f"This PCA basis takes {len(self.mean)} channels, found values with {values.shape[-1]}.")
        mean, components, low, high = (
            t.to(values.device, torch.float32) for t in (self.mean, self.components, self.low, self.high)
        )
        extent = high - low
        projected = (values.to(torch.float32) - mean) @ components.T
        scaled = ((projected - low) / extent.clamp_min(1e-12)).clamp(0, 1)
        scaled = torch.where(extent > 1e-12, scaled, torch.full_like(scaled, 0.5))
        if scaled.shape[-1] == 1:
            return scaled.expand(*scaled.shape[:-1], 3).contiguous()
        missing = scaled.new_full((*scaled.shape[:-1], 3 - scaled.shape[-1]), 0.5)
        return torch.cat([scaled, missing], dim=-1)

    def tensors(self) -> dict[str, Tensor]:
        """The basis as tensors by name, for saving."""
        return {"mean": self.mean, "components": self.components, "low": self.low, "high": self.high}

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor]) -> PCAColours:
        """What :meth:`tensors` returned, back as a basis."""
        missing = [name for name in ("mean", "components", "low", "high") if name not in tensors]
        if missing:
            raise InputError(f"A PCA basis lacks {', '.join(missing)}; found {sorted(tensors)}.")
        return PCAColours(tensors["mean"], tensors["components"], tensors["low"], tensors["high"])


def _selected_rows(values: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """The rows that count, at most ``MAX_ROWS``, and their weights without extremes; float64 on the CPU."""
    if values.ndim != 2 or values.shape[1] == 0:
        raise InputError(f"A PCA needs values of shape [m, c], found {list(values.shape)}.")
    if weights is None:
        weights = values.new_ones(len(values), dtype=torch.float32)
    if weights.shape != (len(values),):
        raise InputError(f"A PCA needs weights of shape [{len(values)}], found {list(weights.shape)}.")
    kept = (weights > 0).nonzero()[:, 0]
    if len(kept) == 0:
        raise InputError(f"A PCA needs at least one row of positive weight, found {len(values)} rows and none.")
    if len(kept) > MAX_ROWS:
        kept = kept[weights[kept].topk(MAX_ROWS).indices]
    rows = values[kept].to("cpu", torch.float64)
    if not torch.isfinite(rows).all():
        raise InputError("A PCA needs finite values, found NaN or infinity among the features.")
    chosen = weights[kept].to("cpu", torch.float64)
    # A few huge Gaussians must not decide alone.
    return rows, chosen.clamp_max(chosen.median() * REACH)


def _with_fixed_signs(components: Float[Tensor, "k c"]) -> Float[Tensor, "k c"]:
    magnitudes = components.abs()
    deciding = (magnitudes >= TIE * magnitudes.max(dim=1, keepdim=True).values).to(torch.int8).argmax(dim=1)
    return components * components.gather(1, deciding[:, None]).sign()


def _quantiles(projected: Float[Tensor, "m k"], weights: Float[Tensor, " m"], share: float) -> tuple[Tensor, Tensor]:
    """The weighted quantiles ``share`` and ``1 - share`` of each column."""
    ordered, order = projected.sort(dim=0)
    shares = weights[order].cumsum(dim=0) / weights.sum()
    bounds = [(shares < bound).sum(dim=0).clamp_max(len(ordered) - 1) for bound in (share, 1 - share)]
    low, high = (ordered.gather(0, bound[None])[0] for bound in bounds)
    return low, high
