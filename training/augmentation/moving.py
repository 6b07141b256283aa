"""How the policy is moved by what a step says of it, and where chance alone would have moved it."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from training.augmentation.estimate import anchor_gradient, policy_gradient
from training.augmentation.policy import Policy

if TYPE_CHECKING:
    from jaxtyping import Float

    from training.augmentation.search import SearchNumbers, Variant


class Velocity(NamedTuple):
    """What momentum keeps of earlier gradients.

    Attributes:
        logits: As the policy's, ``[K, N]``.
        bounds: As the policy's, ``[N]``.
    """

    logits: Tensor
    bounds: Tensor

    @classmethod
    def none(cls, policy: Policy) -> Velocity:
        """Before the first step of a round."""
        return cls(torch.zeros_like(policy.logits.detach()), torch.zeros_like(policy.bounds.detach()))


@torch.no_grad()
def move(
    policy: Policy,
    gradients: tuple[Float[Tensor, "K N"], Float[Tensor, " N"]],
    velocity: Velocity,
    numbers: SearchNumbers,
    variant: Variant,
    anchor: Policy,
) -> None:
    """One step of gradient descent with momentum; changes the policy and the velocity.

    Args:
        policy: What is moved.
        gradients: Of its logits and bounds, without the anchor's.
        velocity: Of the steps before.
        numbers: How fast, those of the variant.
        variant: What is moved.
        anchor: What the policy is held near to, where ``numbers`` have a weight for it.
    """
    logits, bounds = gradients
    if numbers.anchor:
        logits = logits + numbers.anchor * anchor_gradient(policy, anchor)
    if variant != "mu":
        velocity.logits.mul_(numbers.momentum).add_(logits)
        policy.logits.sub_(numbers.upper_rate * velocity.logits)
    if variant != "pi":
        velocity.bounds.mul_(numbers.momentum).add_(bounds)
        policy.bounds.sub_(numbers.upper_rate / numbers.bounds_slower * velocity.bounds)
        policy.keep_bounds()


def by_chance(
    begun: Policy, alignments: Float[Tensor, "r u A"], numbers: SearchNumbers, variant: Variant, *, seed: int
) -> Policy:
    """Where a search would have ended if what it measured had nothing to do with what it drew.

    The policy is moved as in the search, and draws as many augmentations; but each of them is told the alignment of
    another one.  What lies as far from the uniform policy as this is no finding.

    Args:
        begun: As the search began.
        alignments: Of every round, step and augmentation of a search.
        numbers: Those of the search's variant.
        variant: Of the search.
        seed: Of what is drawn.
    """
    random = torch.Generator().manual_seed(seed)
    policy = deepcopy(begun).cpu().requires_grad_(False)
    first = deepcopy(policy)
    for steps in alignments:
        anchor = first if variant == "entropy" else deepcopy(policy)
        velocity = Velocity.none(policy)
        for told in steps:
            draws = policy.sample(len(told), random)
            move(policy, policy_gradient(policy, draws, told, numbers.rate), velocity, numbers, variant, anchor)
    return policy


def size_of(alignments: Float[Tensor, "*steps A"]) -> float:
    """How large alignments are: the root of their mean square.

    Without a baseline, what all augmentations of a step have in common moves a policy by chance as much as what they
    differ by.
    """
    return float(alignments.double().square().mean().sqrt())
