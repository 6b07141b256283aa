"""The policy of SLACK: which transformations are drawn, and how strong they are (section 3.3.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from render.errors import InputError
from training.augmentation._smoothed import log_density
from training.augmentation.transformations import named

if TYPE_CHECKING:
    from jaxtyping import Float, Int

STEPS = 3  # transformations that are composed: "the three composite distributions" of figure 3.3
BOUND = 0.75  # where magnitude bounds start (appendix A.2.2)
DEVIATION = 0.1  # of the Gaussian that smooths the uniform distribution
LEAST_BOUND = 0.01  # an upper bound of 0 has no uniform distribution below it
UNIFORMS = 3  # numbers that a step of an augmentation is drawn from: transformation, magnitude, its smoothing


class Draws(NamedTuple):
    """Augmentations drawn from a policy.

    Attributes:
        chosen: The transformation of each step, as an index of the policy's names, ``[count, K]`` int64.
        magnitudes: How strong each is, ``[count, K]``, as drawn: a few lie outside [0, 1], and are clamped when they
            are applied.
    """

    chosen: Int[Tensor, "count K"]
    magnitudes: Float[Tensor, "count K"]


class Policy(nn.Module):
    """A probabilistic model of augmentations, each of K transformations one after the other.

    Attributes:
        names: Of the N transformations.
        logits: Of the categorical distribution of each step (pi of equation 3.2), ``[K, N]``.
        bounds: How strong each transformation is at most, before smoothing (mu), ``[N]`` in (0, 1].
        deviation: Of the smoothing Gaussian (sigma).
    """

    def __init__(
        self,
        names: Sequence[str],
        logits: Float[Tensor, "K N"],
        bounds: Float[Tensor, " N"],
        *,
        deviation: float = DEVIATION,
    ) -> None:
        """Copies what it is given.

        Raises:
            InputError: a name is not one of the pool, shapes do not fit, or numbers are not finite or out of range.
        """
        super().__init__()
        pool = named(names)
        if logits.ndim != 2 or not len(logits) or logits.shape[1] != len(pool) or bounds.shape != (len(pool),):
            raise InputError(
                f"Expected logits [K, {len(pool)}] and bounds [{len(pool)}] for {len(pool)} transformations, found "
                f"{list(logits.shape)} and {list(bounds.shape)}."
            )
        if not logits.is_floating_point():
            raise InputError(f"Expected logits in floating point, found {logits.dtype}.")
        if not bool(logits.isfinite().all()):
            raise InputError(f"Expected finite logits, found {int((~logits.isfinite()).sum())} that are not.")
        if not bounds.is_floating_point() or not bool(((bounds > 0) & (bounds <= 1)).all()):
            raise InputError(f"Expected bounds above 0 and up to 1, found {bounds.tolist()}.")
        if not 0 < deviation < math.inf:
            raise InputError(f"Expected a finite deviation above 0, found {deviation:g}.")
        self.names = tuple(names)
        self.deviation = deviation
        self.logits = nn.Parameter(logits.detach().clone())
        self.bounds = nn.Parameter(bounds.detach().clone())
        self.adjustable: Tensor
        self.register_buffer("adjustable", torch.tensor([one.adjustable for one in pool]), persistent=False)

    @classmethod
    def uniform(
        cls, names: Sequence[str], *, steps: int = STEPS, bound: float = BOUND, deviation: float = DEVIATION
    ) -> Policy:
        """The policy that a search starts from: all transformations equally likely, all bounds the same.

        Raises:
            InputError: as the constructor's.
        """
        return cls(names, torch.zeros(steps, len(names)), torch.full((len(names),), bound), deviation=deviation)

    @property
    def steps(self) -> int:
        """K, how many transformations an augmentation has."""
        return len(self.logits)

    def probabilities(self) -> Float[Tensor, "K N"]:
        """Of each transformation at each step."""
        return self.logits.softmax(1)

    def sample(self, count: int, generator: torch.Generator | None = None) -> Draws:
        """So many augmentations; the generator is on the policy's device."""
        shape = (count, self.steps, UNIFORMS)
        return self.drawn(torch.rand(shape, generator=generator, device=self.logits.device, dtype=torch.float64))

    @torch.no_grad()
    def drawn(self, numbers: Float[Tensor, "count K 3"]) -> Draws:
        """The augmentations that uniform random numbers in [0, 1) stand for: transformation, magnitude, smoothing.

        A magnitude is a uniform number of [0, bound] plus a Gaussian one, which has the smoothed uniform density.
        """
        numbers = numbers.to(self.logits.device, torch.float64)
        totals = self.logits.double().softmax(1).cumsum(1)
        # The last total is 1 but for rounding, and no number may go beyond it.
        places = [torch.searchsorted(row, numbers[:, k, 0].contiguous(), right=True) for k, row in enumerate(totals)]
        chosen = torch.stack(places, 1).clamp_max(len(self.names) - 1)
        uniform = numbers[..., 1] * self.bounds.double()[chosen]
        tiny = torch.finfo(torch.float64).tiny
        magnitudes = uniform + self.deviation * torch.special.ndtri(numbers[..., 2].clamp_min(tiny))
        return Draws(chosen, magnitudes.to(self.bounds.dtype))

    def log_probability(self, draws: Draws) -> Float[Tensor, " count"]:
        """Log density of augmentations (equation 3.1), differentiable in logits and bounds.

        The bound of a transformation whose magnitude does not matter has a gradient of 0, which it is in expectation:
        what is drawn of it would only be noise.
        """
        chosen = draws.chosen
        categorical = self.logits.log_softmax(1).expand(len(chosen), -1, -1).gather(2, chosen[..., None])[..., 0]
        bounds = torch.where(self.adjustable, self.bounds, self.bounds.detach())[chosen]
        return (categorical + log_density(draws.magnitudes, bounds, self.deviation).to(categorical.dtype)).sum(1)

    def divergence(self, anchor: Policy) -> Float[Tensor, ""]:
        """KL of what is chosen, summed over steps, from an anchor that is held fixed: KL(p_pi, p_anchor).

        Raises:
            InputError: the anchor chooses from other transformations, or another number of times.
        """
        if anchor.names != self.names or anchor.steps != self.steps:
            raise InputError("An anchor has the transformations of the policy, and as many steps.")
        logs = self.logits.log_softmax(1)
        return (logs.exp() * (logs - anchor.logits.detach().log_softmax(1))).sum()

    def entropy(self) -> Float[Tensor, ""]:
        """Of what is chosen, summed over steps, in nats."""
        logs = self.logits.log_softmax(1)
        return -(logs.exp() * logs).sum()

    @torch.no_grad()
    def keep_bounds(self) -> None:
        """Bring bounds back to [LEAST_BOUND, 1], the projection that follows each step of an optimizer."""
        self.bounds.clamp_(LEAST_BOUND, 1.0)
