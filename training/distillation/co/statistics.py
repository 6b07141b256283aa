"""Moving means and deviations of what teachers say, shared by all processes (as in UNIC and DUNE)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from training.loop.processes import several_processes
from uplift.encoders.base import Tokens

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

LEAST = 1e-3  # the momentum that stays
FLAT = 1e-3  # of the mean deviation: dimensions that hardly change are not blown up more
STILL = 1e-5  # of the root mean square: nor is what does not change at all, such as the token of a single photo


class Statistics(nn.Module):
    """Mean and deviation of every dimension of one teacher's tokens of one kind.

    The momentum of an update is its share of all tokens that there were, 1 for the first, and 0.001 at least.  Until
    then this gives the plain mean of all tokens, which is the best guess and asks for no schedule; afterwards tokens
    count less the longer ago they were seen.  (The text says nothing of it; the released DUNE lets the momentum fall
    from 1 to 0.001 along a cosine over the training.)  What moves is the mean and the mean square, so that the
    deviation counts what differs between batches as well as what does within.

    Attributes:
        seen: How many tokens there were.
        mean: ``[d]``.
        square: Mean square; ``[d]``.
    """

    seen: Tensor
    mean: Tensor
    square: Tensor

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        # Double precision: a variance that is small beside the mean would drown in rounding.
        self.register_buffer("mean", torch.zeros(dimension, dtype=torch.float64))
        self.register_buffer("square", torch.ones(dimension, dtype=torch.float64))
        self._sums: Tensor | None = None

    def momentum(self, count: int) -> float:
        """Of an update by so many tokens."""
        return max(count / (int(self.seen) + count), LEAST)

    @property
    def deviation(self) -> Float64[Tensor, " d"]:
        """Of every dimension, above 0."""
        found = (self.square - self.mean.square()).clamp_min(0).sqrt()
        still = STILL * self.square.mean().sqrt()
        return torch.maximum(found, torch.maximum(FLAT * found.mean(), still)).clamp_min(1e-12)

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
        count, d = round(float(sums[0])), len(self.mean)
        if not count:
            return
        momentum = self.momentum(count)
        self.mean.lerp_(sums[1 : d + 1] / count, momentum)
        self.square.lerp_(sums[d + 1 :] / count, momentum)
        self.seen += count


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
    if several_processes():
        values = values.clone()
        torch.distributed.all_reduce(values)
    return values
