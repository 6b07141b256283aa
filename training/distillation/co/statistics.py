"""Moving means and deviations of what teachers say, shared by all processes (as in UNIC and DUNE)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from uplift.encoders.base import Tokens

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

LEAST = 1e-3  # the momentum that stays
FLAT = 1e-3  # of the mean deviation: dimensions that hardly change are not blown up more


class Statistics(nn.Module):
    """Mean and deviation of every dimension of one teacher's tokens of one kind.

    The momentum of the n-th update is ``max(1 / n, 0.001)``: 1 for the first.  Until the thousandth this gives the
    plain mean of what batches said, which is the best guess and asks for no schedule, afterwards that of about the
    last thousand batches.  What moves is the mean and the mean square, so that the deviation counts what differs
    between batches as well as what does within.

    Attributes:
        updates: How many there were.
        mean: ``[d]``.
        square: Mean square; ``[d]``.
    """

    updates: Tensor
    mean: Tensor
    square: Tensor

    def __init__(self, dimension: int) -> None:
        super().__init__()
        # Double precision: a variance that is small beside the mean would drown in rounding.
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(dimension, dtype=torch.float64))
        self.register_buffer("square", torch.ones(dimension, dtype=torch.float64))
        self._sums: Tensor | None = None

    @property
    def momentum(self) -> float:
        """Of the next update."""
        return max(1 / (int(self.updates) + 1), LEAST)

    @property
    def deviation(self) -> Float64[Tensor, " d"]:
        """Of every dimension, above 0."""
        found = (self.square - self.mean.square()).clamp_min(0).sqrt()
        return torch.maximum(found, FLAT * found.mean()).clamp_min(1e-12)

    def standardized(self, values: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Values less the mean, divided by the deviation."""
        return (values - self.mean.to(values)) / self.deviation.to(values)

    @torch.no_grad()
    def gather(self, values: Float[Tensor, "... d"]) -> None:
        """Remember tokens for the next update; they do not count before it."""
        rows = values.detach().flatten(0, -2).to(torch.float64)
        count = rows.new_full((1,), len(rows))
        sums = torch.cat([count, rows.sum(0), rows.square().sum(0)])
        self._sums = sums if self._sums is None else self._sums + sums

    def gathered(self) -> Float64[Tensor, " 2*d+1"]:
        """Count, sums and sums of squares of what was gathered, to be added up over processes; forgotten here."""
        found = self.mean.new_zeros(2 * len(self.mean) + 1) if self._sums is None else self._sums
        self._sums = None
        return found

    @torch.no_grad()
    def update(self, sums: Float64[Tensor, " 2*d+1"]) -> None:
        """Move towards what :meth:`gathered` gave, of all processes together; nothing where that is nothing."""
        count, d = sums[0], len(self.mean)
        if not bool(count > 0):
            return
        momentum = self.momentum
        self.mean.lerp_(sums[1 : d + 1] / count, momentum)
        self.square.lerp_(sums[d + 1 :] / count, momentum)
        self.updates += 1


class TeacherStatistics(nn.Module):
    """Those of a teacher's patch tokens, and of its global token where it has one.

    Attributes:
        patches: Of patch tokens.
        whole: Of the global token; None where it has none.
    """

    def __init__(self, dimension: int, *, whole: bool) -> None:
        super().__init__()
        self.patches = Statistics(dimension)
        self.whole = Statistics(dimension) if whole else None

    @property
    def kinds(self) -> list[Statistics]:
        """All of them."""
        return [self.patches] if self.whole is None else [self.patches, self.whole]

    def standardized(self, tokens: Tokens) -> Tokens:
        """Tokens less their means, divided by their deviations."""
        cls = None if self.whole is None or tokens.cls is None else self.whole.standardized(tokens.cls)
        return Tokens(self.patches.standardized(tokens.patches), cls)

    def gather(self, tokens: Tokens) -> None:
        """Remember tokens for the next update."""
        self.patches.gather(tokens.patches)
        if self.whole is not None and tokens.cls is not None:
            self.whole.gather(tokens.cls)


def summed(values: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """The sum over all processes of a training."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        values = values.clone()
        torch.distributed.all_reduce(values)
    return values
