"""How the loss on held photos changes with a policy: the estimate of appendix A.2.1.

For augmentations ``tau_1 .. tau_A`` of a policy, each applied to the same batch, a step of gradient descent on their
mean loss gives weights ``ahead = theta - rate * mean_i grad loss(theta, tau_i)``.  The gradient of the held loss at
``ahead`` with respect to the policy is then, by the score method,

    - rate / A * sum_i alignment_i * grad log p(tau_i),   alignment_i = <grad held(ahead), grad loss(theta, tau_i)>.

Gradients of single augmentations are not formed: all alignments are derivatives of losses along one direction, and come
from one pass in forward mode (:mod:`training.augmentation.forward_mode`).

Batch norms see the photos of all augmentations together.  That is how photos are seen in the training that the policy
is for, where each has an augmentation of its own; a batch of one augmentation alone would have what all its photos
share, such as their brightness, taken out by the first norm.  The loss of an augmentation is the mean over its photos
within that batch; how it changes the norms of the others is left out of its alignment, as it would add their noise.
Held photos are normalized by their own batch.  No baseline is subtracted from the alignments, as in the text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.func import functional_call
from torch.nn import functional

from training.augmentation.forward_mode import derivatives_along
from training.augmentation.policy import Draws, Policy

if TYPE_CHECKING:
    from jaxtyping import Float, Int64


class Alignment(NamedTuple):
    """What a batch says of its augmentations.

    Attributes:
        losses: Of every augmentation, ``[A]``.
        accuracy: Part of the photos of all augmentations that are told rightly.
        gradients: Of the mean loss, by the names of the network's parameters.
        held_loss: Of the held photos, one step ahead.
        alignments: Of every augmentation, ``[A]``.
    """

    losses: Float[Tensor, " A"]
    accuracy: float
    gradients: dict[str, Tensor]
    held_loss: float
    alignments: Float[Tensor, " A"]


def align(
    network: nn.Module,
    pictures: Float[Tensor, "A*b 3 h w"],
    targets: Int64[Tensor, " b"],
    held: Float[Tensor, "n 3 h w"],
    held_targets: Int64[Tensor, " n"],
    *,
    rate: float,
    shared: bool = False,
) -> Alignment:
    """How the gradient of each augmentation's loss agrees with that of the held loss one step ahead.

    Args:
        network: In training mode; the running statistics of its batch norms follow the pictures once.
        pictures: A batch of photos after each augmentation, those of an augmentation one after the other.
        targets: Classes of the batch.
        held: Photos that are not trained on, as they are.
        held_targets: Their classes.
        rate: Of the step ahead.
        shared: Whether other processes have other photos of the same batch, under the same augmentations.
    """
    count = len(pictures) // len(targets)
    weights = {name: value.detach().requires_grad_() for name, value in network.named_parameters()}
    repeated = targets.repeat(count)
    with torch.enable_grad():
        logits = functional_call(network, weights, (pictures,)).float()
        losses = functional.cross_entropy(logits, repeated, reduction="none").view(count, -1).mean(1)
        gradients = _gradients(losses.mean(), weights, shared)
    ahead = {name: (value.detach() - rate * gradients[name]).requires_grad_() for name, value in weights.items()}
    kept = {name: value.clone() for name, value in network.named_buffers()}  # running statistics stay as they are
    with torch.enable_grad():
        told = functional_call(network, {**kept, **ahead}, (held,)).float()
        held_loss = functional.cross_entropy(told, held_targets)
        direction = _gradients(held_loss, ahead, shared)

    def by_augmentation(model: Callable[[Tensor], Tensor]) -> Tensor:
        found = functional.cross_entropy(model(pictures).float(), repeated, reduction="none")
        return found.view(count, -1).mean(1)

    plain = {name: value.detach() for name, value in weights.items()}
    _, alignments = derivatives_along(network, plain, direction, by_augmentation)
    accuracy = (logits.detach().argmax(1) == repeated).float().mean()
    figures = torch.cat([losses.detach(), alignments, torch.stack([accuracy, held_loss.detach()])])
    figures = mean_over_processes(figures) if shared else figures
    return Alignment(
        figures[:count], float(figures[-2]), gradients, float(figures[-1]), figures[count : 2 * count].clone()
    )


def policy_gradient(
    policy: Policy, draws: Draws, alignments: Float[Tensor, " A"], rate: float
) -> tuple[Float[Tensor, "K N"], Float[Tensor, " N"]]:
    """The estimate for logits and bounds.

    Args:
        policy: That the augmentations were drawn from.
        draws: The augmentations.
        alignments: Of each of them.
        rate: Of the step ahead.
    """
    copy = policy_copy(policy)
    with torch.enable_grad():
        log_probability = copy.log_probability(draws)
        total = -rate * (alignments.to(log_probability) * log_probability).mean()
        logits, bounds = torch.autograd.grad(total, (copy.logits, copy.bounds), materialize_grads=True)
    return logits, bounds


def anchor_gradient(policy: Policy, anchor: Policy) -> Float[Tensor, "K N"]:
    """The exact gradient of the divergence from the anchor, for the logits."""
    copy = policy_copy(policy)
    with torch.enable_grad():
        return torch.autograd.grad(copy.divergence(anchor), copy.logits)[0]


def policy_copy(policy: Policy) -> Policy:
    """The same policy, whose logits and bounds ask for gradients."""
    copy = Policy(policy.names, policy.logits.detach(), policy.bounds.detach(), deviation=policy.deviation)
    return copy.to(policy.logits.device).requires_grad_(True)


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean of what all processes have; changes what is given."""
    distributed.all_reduce(values)
    return values.div_(distributed.get_world_size())


def _gradients(loss: Tensor, weights: dict[str, Tensor], shared: bool) -> dict[str, Tensor]:
    found = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
    if shared:
        joined = mean_over_processes(torch.cat([value.flatten() for value in found]))
        parts = joined.split([value.numel() for value in found])
        found = tuple(part.view_as(value) for part, value in zip(parts, found, strict=True))
    return dict(zip(weights, found, strict=True))
