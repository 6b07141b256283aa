"""The policy of SLACK: which transformations are drawn, and how strong they are (section 3.3.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from render.errors import InputError
from training.augmentation.transformations import POOL

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
        super().__init__()
        self.names = tuple(names)
        self.deviation = deviation
        self.logits = nn.Parameter(logits.clone())
        self.bounds = nn.Parameter(bounds.clone())
        adjustable = torch.tensor([POOL[name].adjustable for name in self.names])
        self.adjustable: Tensor
        self.register_buffer("adjustable", adjustable, persistent=False)

    @classmethod
    def uniform(cls, names: Sequence[str], *, steps: int = STEPS, bound: float = BOUND) -> Policy:
        """The policy that a search starts from: all transformations equally likely, all bounds the same."""
        return cls(names, torch.zeros(steps, len(names)), torch.full((len(names),), bound))

    def sample(self, count: int, generator: torch.Generator | None = None) -> Draws:
        """So many augmentations; the generator is on the policy's device."""
        numbers = torch.rand(
            count, len(self.logits), UNIFORMS, generator=generator, device=self.logits.device, dtype=torch.float64
        )
        return self.drawn(numbers)

    def drawn(self, numbers: Float[Tensor, "count K 3"]) -> Draws:
        """The augmentations that uniform random numbers in [0, 1) stand for."""
        raise NotImplementedError

    def log_probability(self, draws: Draws) -> Float[Tensor, " count"]:
        """Log density of augmentations (equation 3.1), differentiable in logits and bounds."""
        raise NotImplementedError

    def divergence(self, anchor: Policy) -> Float[Tensor, ""]:
        """KL of what is chosen, summed over steps, from an anchor that is held fixed: KL(p_pi, p_anchor)."""
        raise NotImplementedError

    def entropy(self) -> Float[Tensor, ""]:
        """Of what is chosen, summed over steps, in nats."""
        raise NotImplementedError

    def keep_bounds(self) -> None:
        """Bring bounds back to [LEAST_BOUND, 1]: call it after each step of an optimizer."""
        with torch.no_grad():
            self.bounds.clamp_(LEAST_BOUND, 1.0)
