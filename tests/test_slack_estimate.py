"""Networks of augmentation searches, derivatives of many losses at once, and the estimate for a policy."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from render.errors import InputError
from training.augmentation.estimate import align, anchor_gradient, policy_gradient
from training.augmentation.forward_mode import derivatives_along
from training.augmentation.networks import apart, build_network
from training.augmentation.policy import Policy

COUNT, BATCH, HELD, RATE = 3, 4, 5, 0.3
NAMES = ("Identity", "Rotate", "Invert", "Solarize")


def small_net(seed: int = 0) -> nn.Module:
    """The narrowest WideResNet, in training mode and double precision."""
    return build_network("wrn-10-1", 3, 8, seed=seed).double().train()


def drawn(seed: int, *size: int) -> Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("name", "expected"), [("wrn-40-2", 2_243_546), ("wrn-16-4", 2_748_890)])
def test_a_wide_resnet_has_as_many_parameters_as_published_ones(name: str, expected: int) -> None:
    assert sum(parameter.numel() for parameter in build_network(name, 10, 32).parameters()) == expected


def test_networks_begin_with_the_weights_of_their_seed() -> None:
    first, again, other = (build_network("wrn-10-1", 4, 32, seed=seed) for seed in (1, 1, 2))
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    with torch.no_grad():
        assert first(torch.rand(2, 3, 32, 32)).shape == (2, 4)
        assert first.trunk[:4](torch.rand(1, 3, 32, 32)).shape == (1, 64, 8, 8)


@pytest.mark.parametrize("name", ["wrn-11-1", "wrn-4-1", "wrn-10-0", "wrn-10", "resnet19"])
def test_a_network_that_there_is_not_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="Expected"):
        build_network(name, 10, 32)


def test_derivatives_along_a_direction_are_products_with_gradients() -> None:
    network, pixels = small_net(), drawn(1, COUNT * BATCH, 3, 8, 8)
    targets = torch.arange(COUNT * BATCH) % 3
    weights = {name: value.detach() for name, value in network.named_parameters()}
    direction = {name: drawn(i, *value.shape) - 0.5 for i, (name, value) in enumerate(weights.items())}
    before = [buffer.clone() for buffer in network.buffers()]

    def losses(model: nn.Module) -> Tensor:
        return functional.cross_entropy(model(pixels), targets, reduction="none").view(COUNT, BATCH).mean(1)

    found, slopes = derivatives_along(network, weights, direction, losses)
    assert all(torch.equal(a, b) for a, b in zip(network.buffers(), before, strict=True)), "statistics have moved"
    expected = losses(network)
    torch.testing.assert_close(found, expected.detach())
    for index in range(COUNT):
        gradients = torch.autograd.grad(expected[index], list(network.parameters()), retain_graph=True)
        product = sum((g * direction[n]).sum() for g, n in zip(gradients, weights, strict=True))
        torch.testing.assert_close(slopes[index], product)


def test_the_estimate_is_that_of_gradients_of_single_augmentations() -> None:
    network = small_net()
    pictures, held = drawn(2, COUNT * BATCH, 3, 8, 8), drawn(3, HELD, 3, 8, 8)
    targets, held_targets = torch.arange(BATCH) % 3, torch.arange(HELD) % 3
    explicit = small_net()
    told = align(network, pictures, targets, held, held_targets, rate=RATE)
    # The same from the definition: the gradient of every augmentation, within the whole batch, and one step ahead.
    losses = functional.cross_entropy(explicit(pictures), targets.repeat(COUNT), reduction="none").view(COUNT, -1)
    parameters = dict(explicit.named_parameters())
    single = [torch.autograd.grad(loss.mean(), list(parameters.values()), retain_graph=True) for loss in losses]
    mean = [torch.stack(parts).mean(0) for parts in zip(*single, strict=True)]
    ahead = {n: (p - RATE * g).detach().requires_grad_() for (n, p), g in zip(parameters.items(), mean, strict=True)}
    statistics = [buffer.clone() for buffer in explicit.buffers()]
    loss = functional.cross_entropy(functional_call(explicit, ahead, (held,)), held_targets)
    direction = torch.autograd.grad(loss, list(ahead.values()))
    alignments = [sum(float((g * d).sum()) for g, d in zip(one, direction, strict=True)) for one in single]
    assert told.alignments.tolist() == pytest.approx(alignments, rel=1e-5)
    assert told.losses.tolist() == pytest.approx(losses.mean(1).tolist())
    assert told.held_loss == pytest.approx(float(loss.detach()))
    for gradient, expected in zip(told.gradients.values(), mean, strict=True):
        torch.testing.assert_close(gradient, expected)
    assert all(torch.equal(a, b) for a, b in zip(network.buffers(), statistics, strict=True)), (
        "held photos were counted"
    )
    assert network.trunk[-1].num_batches_tracked == 1


def test_the_policy_moves_by_scores_weighted_with_alignments() -> None:
    policy = Policy(NAMES, torch.tensor([[0.1, 0.4, -0.3, 0.0], [0.0, 0.2, 0.5, -0.1]]), torch.full((4,), 0.6))
    draws = policy.sample(3, torch.Generator().manual_seed(0))
    alignments = torch.tensor([0.5, -1.0, 2.0])
    expected = [torch.zeros(2, 4), torch.zeros(4)]
    for index, alignment in enumerate(alignments):
        single = policy.log_probability(type(draws)(*(part[index : index + 1] for part in draws)))
        for total, score in zip(
            expected, torch.autograd.grad(single.sum(), (policy.logits, policy.bounds)), strict=True
        ):
            total -= RATE / 3 * float(alignment) * score
    for found, wanted in zip(policy_gradient(policy, draws, alignments, RATE), expected, strict=True):
        torch.testing.assert_close(found, wanted)
    assert policy.logits.grad is None


def test_the_anchor_pulls_the_policy_back() -> None:
    anchor = Policy.uniform(NAMES, steps=2)
    policy = Policy(NAMES, torch.tensor([[2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]), torch.full((4,), 0.6))
    found = anchor_gradient(policy, anchor)
    chance = policy.probabilities().detach()[0]
    # d KL(p, q) / d logits = p * (log p - log q - KL), here with log q = -log 4.
    away = chance.log() + torch.tensor(4.0).log()
    torch.testing.assert_close(found[0], chance * (away - (chance * away).sum()))
    assert found[1].abs().max() < 1e-6


def test_norms_of_a_network_that_is_trained_apart_are_those_of_its_own_photos() -> None:
    shared, own = small_net(), apart(small_net())
    pixels = drawn(4, 6, 3, 8, 8)
    assert any(isinstance(module, nn.BatchNorm2d) for module in own.modules())
    torch.testing.assert_close(own(pixels), shared(pixels))
    assert dict(own.named_buffers()).keys() == dict(shared.named_buffers()).keys()
