"""Searches for augmentations: that they find what is known to help, variants, going on, several processes."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from render.errors import InputError
from tests.taught import small_data
from tests.test_loop import logged
from tests.test_loop_processes import LAUNCH, ROOT
from tests.turned import CLASSES, NAMES, SHORT, SIDE, Kind, bars, estimate, numbers, tiny_net, toy_search
from training.augmentation import POOLS, Policy, load_policy
from training.augmentation.balanced import of_each_class, split_each_class
from training.augmentation.estimate import policy_gradient
from training.augmentation.moving import Velocity, by_chance, move, size_of
from training.augmentation.photos import Squares, squares_of
from training.augmentation.search import SEARCH, SearchNumbers, SearchRound, Variant
from training.augmentation.searching import POLICY, Found
from training.loop import train

ROTATE = NAMES.index("Rotate")
DISCARDED, KEPT = 0.11, 0.45  # of the augmentations; a third of them in the beginning


@pytest.fixture(scope="module", autouse=True)
def _quick_collections() -> Iterator[None]:
    """The training loop collects garbage after each training, which is slow among all that a test session has."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Found]:
    """A short search that was not interrupted."""
    out = tmp_path_factory.mktemp("short")
    return out, toy_search("oriented", out, 3, **SHORT).run()


def is_found(kind: Kind, policy: Policy) -> bool:
    """Whether rotations are discarded where they change classes, and kept where held photos need them."""
    chance = policy.probabilities()[0]
    if kind == "oriented":
        return bool(chance[ROTATE] < DISCARDED)
    return bool(chance[ROTATE] > KEPT and chance.argmax() == ROTATE)


@pytest.mark.slow
@pytest.mark.parametrize("kind", get_args(Kind))
def test_the_search_finds_what_is_known_to_help(kind: Kind, tmp_path: Path) -> None:
    found, by_luck = 0, []
    for seed in range(5):
        search = toy_search(kind, tmp_path / str(seed), seed).run()
        found += is_found(kind, search.policy)
        begun, alignments = search.policies[0], torch.stack(search.alignments)
        by_luck += [
            is_found(kind, by_chance(begun, alignments, numbers(kind), "slack", seed=10 * seed + i)) for i in range(3)
        ]
        if found == 4:
            break
    assert found >= 4
    assert sum(by_luck) < 0.4 * len(by_luck), "augmentations that are told each other's alignment do not find it"


def test_what_chance_leads_to_is_what_the_search_does_with_what_it_measured(short: tuple[Path, Found]) -> None:
    begun, alignments = short[1].policies[0], torch.stack(short[1].alignments)
    assert alignments.shape == (2, 2, 3)
    assert size_of(alignments) == pytest.approx(float(alignments.pow(2).mean()) ** 0.5)
    one, again, other = (by_chance(begun, alignments, SHORT["numbers"], "slack", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.logits, again.logits)
    assert not torch.equal(one.logits, other.logits)
    assert float(begun.logits.abs().max()) == 0, "what it begins with stays"
    still = by_chance(begun, 0 * alignments, SHORT["numbers"], "slack", seed=0)
    assert float(still.logits.abs().max()) < 1e-5 < 1e-2 < float(one.logits.abs().max())


def test_the_held_loss_is_known_before_and_after_re_training(short: tuple[Path, Found]) -> None:
    first, second = short[1].figures[1:]
    assert first["held_loss_begun"] == pytest.approx(second["held_loss_begun"]), "rounds begin with the same network"
    assert first["held_loss_begun"] != first["held_loss_retrained"]
    assert 0 < second["held_loss_retrained"] < 10


def test_what_is_not_re_trained_has_the_held_loss_that_it_began_with(tmp_path: Path) -> None:
    numbers = replace(SHORT["numbers"], retrain=0, rounds=1)
    told = toy_search("oriented", tmp_path, 3, **{**SHORT, "numbers": numbers}).run().figures[1]
    assert told["held_loss_retrained"] == told["held_loss_begun"]


def test_a_search_that_was_interrupted_ends_as_if_it_had_not_been(tmp_path: Path, short: tuple[Path, Found]) -> None:
    def until(name: str, at: int) -> Found:
        def progress(done: int, total: int, what: str) -> None:
            if what.startswith(name) and done == at:
                raise KeyboardInterrupt

        return toy_search("oriented", tmp_path, 3, progress=progress, **SHORT).run()

    # A checkpoint follows the last step of a training; the others are younger than three minutes.
    for name, at in (("augment-pretrain", 3), ("augment-round-1", 2), ("augment-round-2", 3)):
        with pytest.raises(KeyboardInterrupt):
            until(name, at)
    again = toy_search("oriented", tmp_path, 3, **SHORT).run()
    torch.testing.assert_close(again.policy.state_dict(), short[1].policy.state_dict(), rtol=0, atol=0)
    assert again.figures == short[1].figures
    for folder in ("pretraining", "round-01", "round-02"):
        assert logged(tmp_path / folder) == logged(short[0] / folder)


def test_a_round_goes_on_in_the_middle_of_what_it_learns(tmp_path: Path) -> None:
    numbers = replace(SHORT["numbers"], unrolled=4)
    schedule = replace(numbers.schedule(seed=5, precision="no"), save_every=0.0, log_every=1)

    def begun() -> SearchRound:
        policy = Policy.uniform(NAMES, steps=2)
        photos, held = (bars("turned", 24, first, held=first > 0) for first in (0, 500))
        return SearchRound([tiny_net(1)], policy, photos, held, numbers, flip=False, classes=CLASSES)

    class Stopped(SearchRound):
        stop = False

        def after_step(self, progress: float) -> None:
            super().after_step(progress)
            if round(progress * numbers.steps) == 3:
                raise KeyboardInterrupt

    whole, parts, last = begun(), begun(), begun()
    train(whole, schedule, tmp_path / "whole", device="cpu")
    parts.__class__ = Stopped
    with pytest.raises(KeyboardInterrupt):
        train(parts, schedule, tmp_path / "parts", device="cpu")
    train(last, schedule, tmp_path / "parts", device="cpu")
    torch.testing.assert_close(last.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert logged(tmp_path / "parts") == logged(tmp_path / "whole")
    assert float(whole.logits_speed.abs().max()) > 0
    assert float((whole.policy.bounds - 0.75).abs().max()) > 0


def test_a_search_writes_its_policies(short: tuple[Path, Found]) -> None:
    out, found = short
    saved = load_policy(out / POLICY)
    torch.testing.assert_close(saved.policy.logits, found.policy.logits.detach())
    assert saved.found["variant"] == "slack"
    assert saved.found["rounds"] == 2
    assert len(found.policies) == len(found.figures) == 3
    assert float(found.policies[0].logits.abs().max()) == 0
    after_one = load_policy(out / "round-01" / POLICY).policy
    torch.testing.assert_close(after_one.logits, found.policies[1].logits.detach())
    assert not torch.equal(after_one.logits, found.policy.logits)


def test_what_a_variant_does_not_learn_stays(tmp_path: Path) -> None:
    for variant in ("pi", "mu"):
        policy = toy_search("oriented", tmp_path / variant, 3, variant=variant, **SHORT).run().policy
        moved = [float((now - 1.0 * begun).abs().max()) for now, begun in ((policy.logits, 0.0), (policy.bounds, 0.75))]
        still, learned = moved[::-1] if variant == "pi" else moved
        assert still == 0 < learned


def test_rounds_begin_with_the_pretrained_network_unless_they_are_warm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []

    class Watched(SearchRound):
        def begin(self, progress: float) -> None:
            super().begin(progress)
            seen.append(next(self.members.parameters()).detach().clone())

    def networks(variant: str) -> list[torch.Tensor]:
        seen.clear()
        toy_search("oriented", tmp_path / variant, 3, variant=variant, **SHORT).run()
        return list(seen)

    monkeypatch.setattr("training.augmentation.searching.SearchRound", Watched)

    cold, warm = networks("slack"), networks("warm")
    assert torch.equal(cold[0], cold[1])
    assert torch.equal(cold[0], warm[0])
    assert not torch.equal(warm[0], warm[1])


def test_variants_are_as_fast_as_the_text_has_them() -> None:
    paper = SEARCH["paper"]
    assert (paper.rounds, paper.retrain, paper.unrolled, paper.augmentations, paper.batch) == (10, 1000, 400, 8, 128)
    assert paper.anchor * paper.upper_rate == 0.02
    free, long, steady = (paper.of(variant) for variant in ("no-kl", "unrolled", "entropy"))
    assert (paper.rate, replace(paper, bounds_slower=20).of("no-kl").bounds_slower) == (0.4, 5)
    assert (free.upper_rate, free.anchor, free.bounds_slower, free.steps) == (0.25, 0, 10, 1400)
    assert (long.rounds, long.retrain, long.unrolled, long.upper_rate, long.anchor) == (1, 0, 10_000, 0.25, 0)
    assert (steady.rounds, steady.unrolled, steady.upper_rate, steady.anchor) == (1, 10_000, 0.25, 0.005)
    assert all(paper.of(variant) == paper for variant in ("slack", "warm", "pi", "mu"))


def drift(numbers: SearchNumbers, variant: Variant, gradient: float) -> float:
    """By how much a logit is ahead of the others after a round in which its gradient is constant."""
    policy = Policy.uniform(POOLS["cifar"], steps=1).requires_grad_(False)
    anchor, velocity = deepcopy(policy), Velocity.none(policy)
    logits = torch.zeros(1, 17)
    logits[0, 0] = -gradient
    for _ in range(numbers.unrolled):
        move(policy, (logits, torch.zeros(17)), velocity, numbers.of(variant), variant, anchor)
    return float(policy.logits[0, 0] - policy.logits[0, 1])


def test_a_short_round_has_an_anchor_as_strong_as_a_long_one() -> None:
    assert SEARCH["small"].strength == pytest.approx(SEARCH["paper"].strength, rel=0.02)
    for scale in SEARCH.values():
        anchored = drift(scale, "slack", 1e-5)
        assert anchored < 0.5 * drift(replace(scale, anchor=0.0), "slack", 1e-5)
        # What has no anchor is learned as much more slowly as it takes to move as far.
        assert 0.7 < drift(scale, "no-kl", 1e-5) / anchored < 1.5


def test_the_upper_rate_follows_from_how_fast_chance_moves_a_policy() -> None:
    short = replace(SEARCH["small"], momentum=0.0)
    found = short.at_speed(0.05, 0.3, 17)
    assert found.strength == pytest.approx(short.strength)
    random, begun = torch.Generator().manual_seed(0), Policy.uniform(POOLS["cifar"]).requires_grad_(False)
    free = replace(found, anchor=0.0)
    steps = []
    for _ in range(60):
        policy = deepcopy(begun)
        told, draws = 0.18 + 0.24 * torch.randn(free.augmentations, generator=random), policy.sample(8, random)
        move(policy, policy_gradient(policy, draws, told, free.rate), Velocity.none(policy), free, "pi", begun)
        steps.append(policy.logits)
    assert float(torch.stack(steps).std()) == pytest.approx(0.05, rel=0.1)
    with pytest.raises(InputError, match="alignments other than 0"):
        short.at_speed(0.05, 0.0, 17)


def test_each_class_has_as_many_photos_and_as_many_held() -> None:
    photos = bars("oriented", 36, 0, held=False).photos  # three classes
    some = of_each_class(photos[:20], 9)
    assert [sum(photo.label == label for photo in some) for label in range(3)] == [3, 3, 3]
    assert of_each_class(photos, None) == of_each_class(photos, 40) == list(photos)
    own, held = split_each_class(photos, 0.5, seed=1)
    assert [[sum(p.label == label for p in part) for label in range(3)] for part in (own, held)] == [[6, 6, 6]] * 2
    assert sorted(p.name for p in (*own, *held)) == sorted(p.name for p in photos)
    assert held != split_each_class(photos, 0.5, seed=2)[1]
    with pytest.raises(InputError, match="a photo of each of 3 classes"):
        of_each_class(photos, 2)


def test_the_anchor_keeps_the_policy_near(tmp_path: Path) -> None:
    def entropy(anchor: float) -> float:
        numbers = replace(SHORT["numbers"], anchor=anchor, unrolled=4, momentum=0.0)
        out = tmp_path / str(anchor)
        return float(toy_search("oriented", out, 3, **{**SHORT, "numbers": numbers}).run().policy.entropy().detach())

    assert entropy(0.0) < entropy(0.02) < float(Policy.uniform(NAMES, steps=2).entropy().detach())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rounds": 0}, "Expected rounds to be 1 or more, found 0"),
        ({"augmentations": 1}, "Expected augmentations to be 2 or more"),
        ({"upper_rate": 0.0}, "Expected rate, upper_rate"),
        ({"anchor": -1.0}, "Expected an anchor"),
    ],
)
def test_numbers_out_of_range_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        SearchNumbers(**change)


def test_a_batch_that_is_larger_than_the_photos_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    numbers = replace(SHORT["numbers"], batch=200)
    with pytest.raises(InputError, match="A batch of 200 needs as many photos to train on and as many held ones"):
        toy_search("oriented", tmp_path, 0, **{**SHORT, "numbers": numbers})
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_two_processes_search_as_one_does(tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, *LAUNCH, "-m", "tests.turned", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    for members in (1, 2):
        one = toy_search("oriented", tmp_path / f"alone-{members}", 3, members=members, **SHORT).run().policy
        for rank in range(2):
            two = torch.load(tmp_path / f"{members}-{rank}.pt", weights_only=True)
            assert float((two["logits"] - one.logits).norm()) < 0.02 * float(one.logits.norm())
            assert float((two["bounds"] - one.bounds).norm()) < 0.02 * float((one.bounds - 0.75).norm())
    # Float32 and large rates lose digits in a search; a step of it in double precision does not.
    alone = estimate(0, 1)
    for rank in range(2):
        told = torch.load(tmp_path / f"estimate-{rank}.pt", weights_only=True)
        assert told["held_loss"] == pytest.approx(alone.held_loss, rel=1e-5)
        for name in ("losses", "alignments", "gradients"):
            torch.testing.assert_close(told[name], getattr(alone, name), rtol=1e-5, atol=1e-7)


def test_photos_of_another_size_are_seen_as_squares() -> None:
    data, side = squares_of(small_data("classification"), 24)
    photos = Squares(data.train, 3, side)
    assert photos.image(0).shape == (3, 27, 27)  # 256 for every 224
    middle, placed = photos.pixels([0]), photos.pixels([0, 0], [1, 2])
    assert middle.shape == (1, 3, 24, 24)
    assert not torch.equal(placed[0], placed[1])
    assert torch.equal(placed[0], photos.pixels([0], [1])[0])
    whole, side = squares_of(small_data("classification"))
    assert (side, Squares(whole.train, 3, side).pixels([0]).shape) == (32, (1, 3, 32, 32))
    assert bars("oriented", 3, 0, held=False).pixels([0]).shape[2] == SIDE
