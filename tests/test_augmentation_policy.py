"""The policy of SLACK: what it draws, how likely that is, and how that changes with its parameters."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor
from torch.distributions import Categorical, kl_divergence
from torch.func import grad, vmap

from render.errors import InputError
from training.augmentation._smoothed import log_density, score
from training.augmentation.policy import LEAST_BOUND, Draws, Policy
from training.augmentation.transformations import CIFAR

NAMES = ("Identity", "Rotate", "Invert", "Brightness")
SIGMA = 0.1


def policy(seed: int = 0) -> Policy:
    generator = torch.Generator().manual_seed(seed)
    logits, bounds = torch.randn(3, 4, generator=generator), torch.rand(4, generator=generator).clamp_min(0.1)
    return Policy(NAMES, logits, bounds).double()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("bound", [LEAST_BOUND, 0.3, 1.0])
def test_the_density_is_the_integral_that_the_text_defines(bound: float) -> None:
    for magnitude in (-0.25, 0.0, 0.1, 0.7, 1.2):
        whole, _ = integrate.quad(lambda u: stats.norm.pdf(u, magnitude, SIGMA), 0, bound, epsabs=1e-14)  # noqa: B023
        found = log_density(torch.tensor(magnitude), torch.tensor(bound, dtype=torch.float64), SIGMA)
        assert math.exp(float(found)) == pytest.approx(whole / bound, rel=1e-5, abs=1e-12)
    edges = torch.linspace(-1, 2, 3001, dtype=torch.float64)
    total = torch.trapezoid(log_density(edges, torch.full_like(edges, bound), SIGMA).exp(), edges)
    assert float(total) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("bound", [1e-3, LEAST_BOUND, 0.05, 0.4, 0.75, 1.0])
def test_the_score_in_closed_form_is_the_numerical_derivative(bound: float) -> None:
    """Also of bounds near 0 and of magnitudes far outside, where tails are below what float64 can hold."""
    magnitudes = torch.tensor([-5.0, -1.0, -0.2, 0.0, bound / 2, bound, 0.9, 1.3, 3.0, 6.0], dtype=torch.float64)
    bounds = torch.full_like(magnitudes, bound).requires_grad_()
    log_density(magnitudes, bounds, SIGMA).sum().backward()
    step = 1e-4 * bound
    ends = [log_density(magnitudes, torch.full_like(magnitudes, bound + way), SIGMA) for way in (-step, step)]
    numerical = (ends[1] - ends[0]) / (2 * step)
    assert bounds.grad is not None
    torch.testing.assert_close(bounds.grad, numerical, rtol=1e-5, atol=1e-5)
    assert torch.equal(bounds.grad, score(magnitudes, bounds.detach(), SIGMA))
    # In the limit of no smoothing, inside the range: -1 / bound.
    inside = score(torch.tensor([bound / 2]), torch.tensor([bound], dtype=torch.float64), bound / 100)
    assert float(inside) == pytest.approx(-1 / bound)


def test_float32_bounds_have_finite_scores_wherever_magnitudes_lie() -> None:
    magnitudes = torch.tensor([-30.0, -0.5, 0.0, 0.5, 30.0]).repeat(3)
    bounds = torch.tensor([LEAST_BOUND, 0.5, 1.0]).repeat_interleave(5).requires_grad_()
    log_density(magnitudes, bounds, SIGMA).sum().backward()
    assert bounds.grad is not None
    assert bounds.grad.dtype == torch.float32
    assert bool(bounds.grad.isfinite().all())
    # A magnitude above the bound speaks for a greater one, one below nought for a smaller one.
    assert bool((bounds.grad[4::5] > 0).all())
    assert bool((bounds.grad[0::5] < 0).all())


def test_what_is_drawn_has_the_density_and_the_probabilities() -> None:
    drawn_from = policy()
    draws = drawn_from.sample(20000, generator())
    assert draws.chosen.shape == draws.magnitudes.shape == (20000, 3)
    shares = torch.stack([(draws.chosen == k).double().mean(0) for k in range(4)], 1)
    torch.testing.assert_close(shares, drawn_from.probabilities().detach(), atol=0.015, rtol=0)
    assert float(draws.magnitudes.min()) < 0, "they are not clamped"
    grid = np.linspace(-1, 2, 3001)
    for which, bound in enumerate(drawn_from.bounds.detach()):
        mine = draws.magnitudes[draws.chosen == which].numpy()
        density = log_density(torch.from_numpy(grid), bound.expand(len(grid)), SIGMA).exp().numpy()
        heights = integrate.cumulative_trapezoid(density, grid, initial=0)
        # Kolmogorov and Smirnov's test would call one in a million of right ones wrong.
        assert stats.kstest(mine, lambda at: np.interp(at, grid, heights)).pvalue > 1e-6  # noqa: B023


def test_the_ends_of_random_numbers_are_draws_too() -> None:
    last = 1 - 2.0**-53
    for numbers in (0.0, last):
        draws = Policy.uniform(CIFAR).drawn(torch.full((1, 3, 3), numbers, dtype=torch.float64))
        assert bool((draws.chosen == (0 if numbers == 0 else len(CIFAR) - 1)).all())
        assert bool(draws.magnitudes.isfinite().all())
    same = Policy.uniform(CIFAR)
    assert torch.equal(same.sample(5, generator(3)).magnitudes, same.sample(5, generator(3)).magnitudes)


def test_the_probability_of_an_augmentation_is_the_product_of_its_steps() -> None:
    drawn_from = policy()
    draws = drawn_from.sample(7, generator())
    found = drawn_from.log_probability(draws)
    wanted = torch.zeros(7, dtype=torch.float64)
    for i in range(7):
        for k in range(3):
            which = int(draws.chosen[i, k])
            wanted[i] += Categorical(logits=drawn_from.logits[k]).log_prob(draws.chosen[i, k])
            bound = drawn_from.bounds[which].detach()
            wanted[i] += log_density(draws.magnitudes[i, k], bound, SIGMA)
    torch.testing.assert_close(found, wanted)


def test_scores_are_closed_forms_and_nought_in_expectation() -> None:
    drawn_from = policy()
    draws = drawn_from.sample(3000, generator(1))

    def log_probability(parameters: dict[str, Tensor], chosen: Tensor, magnitudes: Tensor) -> Tensor:
        one = Draws(chosen[None], magnitudes[None])
        return torch.func.functional_call(_LogProbability(drawn_from), parameters, (one,))[0]

    parameters = {f"policy.{name}": value.detach() for name, value in drawn_from.named_parameters()}
    scores = vmap(grad(log_probability), (None, 0, 0))(parameters, *draws)
    categorical, bounds = scores["policy.logits"], scores["policy.bounds"]
    # The score of a categorical distribution: what was chosen less what was likely.
    chosen = torch.nn.functional.one_hot(draws.chosen, 4).double()
    torch.testing.assert_close(categorical, chosen - drawn_from.probabilities().detach())
    own = score(draws.magnitudes, drawn_from.bounds.detach()[draws.chosen], SIGMA)
    wanted = (chosen * own[..., None]).sum(1)
    assert torch.equal(bounds[:, [0, 2]], torch.zeros(3000, 2, dtype=torch.float64)), "their magnitude does not matter"
    torch.testing.assert_close(bounds[:, [1, 3]], wanted[:, [1, 3]])
    for values in (categorical.flatten(1), bounds[:, [1, 3]]):
        assert float((values.mean(0) / (values.std(0) / 3000**0.5)).abs().max()) < 4.5
    drawn_from.log_probability(draws).sum().backward()
    torch.testing.assert_close(drawn_from.logits.grad, categorical.sum(0))
    torch.testing.assert_close(drawn_from.bounds.grad, bounds.sum(0))


class _LogProbability(torch.nn.Module):
    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, draws: Draws) -> Tensor:
        return self.policy.log_probability(draws)


def test_divergence_is_exact_and_pulls_towards_an_anchor_that_stays() -> None:
    current, anchor = policy(0), policy(1)
    found = current.divergence(anchor)
    pairs = [(Categorical(logits=current.logits[k]), Categorical(logits=anchor.logits[k])) for k in range(3)]
    torch.testing.assert_close(found, torch.stack([kl_divergence(*pair) for pair in pairs]).sum())
    found.backward()
    assert anchor.logits.grad is None
    assert current.logits.grad is not None
    nearer = copy.deepcopy(current)
    with torch.no_grad():
        nearer.logits -= 0.1 * current.logits.grad
    assert bool(nearer.divergence(anchor) < found)
    own = policy(0)
    own.divergence(copy.deepcopy(own)).backward()
    torch.testing.assert_close(own.logits.grad, torch.zeros(3, 4, dtype=torch.float64))
    with pytest.raises(InputError, match="An anchor has the transformations"):
        current.divergence(Policy.uniform(CIFAR))


def test_entropy_is_greatest_where_all_are_as_likely() -> None:
    assert float(Policy.uniform(NAMES).entropy()) == pytest.approx(3 * math.log(4))
    # Of the divergence from the uniform policy it is what is missing: an anchor there regularizes by entropy.
    current = policy()
    missing = 3 * math.log(4) - current.entropy()
    torch.testing.assert_close(current.divergence(Policy.uniform(NAMES).double()), missing)


def test_bounds_are_kept_where_they_mean_something() -> None:
    current = Policy.uniform(NAMES)
    assert bool((current.bounds == 0.75).all())
    with torch.no_grad():
        current.bounds.copy_(torch.tensor([-0.3, 0.0, 0.5, 1.7]))
    current.keep_bounds()
    torch.testing.assert_close(current.bounds.detach(), torch.tensor([LEAST_BOUND, LEAST_BOUND, 0.5, 1.0]))


def test_what_is_no_policy_is_refused() -> None:
    with pytest.raises(InputError, match=r"Expected logits \[K, 4\]"):
        Policy(NAMES, torch.zeros(3, 5), torch.ones(4))
    with pytest.raises(InputError, match=r"bounds above 0 and up to 1, found \[0.0, 1.0"):
        Policy(NAMES, torch.zeros(3, 4), torch.tensor([0.0, 1, 1, 1]))
    with pytest.raises(InputError, match="finite logits, found 12 that are not"):
        Policy(NAMES, torch.full((3, 4), math.nan), torch.ones(4))
    with pytest.raises(InputError, match="Expected transformations"):
        Policy.uniform(())
