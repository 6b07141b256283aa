"""Augmentations as training loops take them: by seeds, from files, with label maps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scipy import stats

from render.errors import InputError
from training.augmentation import (
    Augmentation,
    Policy,
    augmentation_of,
    item_seeds,
    load_policy,
    save_policy,
    uniform_numbers,
)
from training.augmentation.transformations import CIFAR, POOL, VOID, transformed
from training.augmentation.trivial import NUMBERS, SPACES, Space, reaches, trivially_changed
from uplift.field import write_safetensors

KINDS: tuple[Policy | Space | None, ...] = (None, *SPACES, Policy.uniform(CIFAR))


def photos(count: int, side: int = 16) -> torch.Tensor:
    return torch.rand(count, 3, side, side + 4, generator=torch.Generator().manual_seed(5))


def found_policy() -> Policy:
    generator = torch.Generator().manual_seed(0)
    return Policy(
        CIFAR,
        torch.randn(2, len(CIFAR), generator=generator),
        torch.rand(len(CIFAR), generator=generator).clamp_min(0.1),
    )


def test_numbers_of_seeds_are_uniform_and_do_not_know_of_each_other() -> None:
    seeds = item_seeds(0, 0, range(4000))
    numbers = uniform_numbers(seeds, 6)
    assert torch.equal(numbers[7:9], uniform_numbers(seeds[7:9].tolist(), 6))
    assert torch.equal(numbers[:, :4], uniform_numbers(seeds, 4))
    assert 0 <= float(numbers.min()) <= float(numbers.max()) < 1
    neighbours = uniform_numbers(range(-2000, 2000), 6)
    for one in (numbers, neighbours):
        assert min(stats.kstest(column.numpy(), "uniform").pvalue for column in one.T) > 1e-5
        beside = torch.cat([one[:-1], one[1:]], 1).T
        assert float(torch.corrcoef(beside).fill_diagonal_(0).abs().max()) < 5 / 4000**0.5


def test_seeds_of_items_follow_from_seed_step_and_item() -> None:
    seeds = torch.cat([item_seeds(seed, step, range(50)) for seed in range(4) for step in range(4)])
    assert len(seeds.unique()) == len(seeds)
    assert torch.equal(item_seeds(2, 3, range(50))[7:9], item_seeds(2, 3, [7, 8]))
    assert int(item_seeds(1, 2, [3])) == 6364003950160017285, "what was drawn once is drawn again for ever"


@pytest.mark.parametrize(
    "source", KINDS, ids=lambda source: source if isinstance(source, str) else type(source).__name__
)
def test_a_photo_is_augmented_by_its_seed_alone(source: Policy | Space | None) -> None:
    augmentation = Augmentation(source)
    images, seeds = photos(24), item_seeds(1, 2, range(24))
    before = images.clone()
    torch.manual_seed(3)
    first = augmentation(images, seeds)
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), after), "the global generator is left as it was"
    assert torch.equal(images, before)
    torch.testing.assert_close(augmentation(images[[5, 17]], seeds[[5, 17]].tolist()), first[[5, 17]])
    assert not torch.equal(augmentation(images, seeds + 1), first)
    assert 0 <= float(first.min()) <= float(first.max()) <= 1


def test_without_anything_photos_are_mirrored_half_of_the_time() -> None:
    images, seeds = photos(400, side=4), item_seeds(0, 0, range(400))
    assert torch.equal(Augmentation(None, flip=False)(images, seeds), images)
    found = Augmentation(None)(images, seeds)
    mirrored = (found == images.flip(-1)).flatten(1).all(1)
    assert torch.equal(found[~mirrored], images[~mirrored])
    assert 160 < int(mirrored.sum()) < 240


def test_a_policy_draws_what_is_likely_as_strong_as_its_bounds() -> None:
    logits = torch.full((1, 2), -30.0)
    logits[0, 1] = 30
    policy = Policy(("Invert", "TranslateX"), logits, torch.tensor([1.0, 0.4]), deviation=1e-6)
    images = torch.ones(300, 3, 4, 200)
    found = Augmentation(policy, flip=False)(images, item_seeds(0, 0, range(300)))
    shifts = 1 - found[:, 0, 0].mean(1)  # the share that was moved out
    assert float(shifts.max()) == pytest.approx(0.4 * 0.75, abs=0.01)
    assert float(shifts.mean()) == pytest.approx(0.2 * 0.75, abs=0.02)
    left = found[:, 0, 0, 0] < found[:, 0, 0, -1]
    assert 120 < int(left.sum()) < 180, "as often in one direction as in the other"


@pytest.mark.parametrize(
    "source", KINDS, ids=lambda source: source if isinstance(source, str) else type(source).__name__
)
def test_label_maps_follow_and_stay_where_pixels_are_still(source: Policy | Space | None) -> None:
    images, seeds = photos(40), item_seeds(3, 0, range(40))
    labels = torch.randint(5, (40, 16, 20), generator=torch.Generator().manual_seed(1)).byte()
    augmentation = Augmentation(source)
    found, moved = augmentation.with_labels(images, labels, seeds)
    torch.testing.assert_close(found, augmentation(images, seeds))
    assert int((moved != labels).flatten(1).any(1).sum()) > 10
    assert bool((moved == VOID).any()) == (source is not None)
    still = augmentation.still()
    changed, kept = still.with_labels(images, labels, seeds)
    assert torch.equal(kept, labels)
    assert torch.equal(changed, images) == (source is None)
    assert "(still)" in still.title


def test_a_policy_of_motions_alone_cannot_keep_pixels_still() -> None:
    with pytest.raises(InputError, match="only moves and hides pixels"):
        Augmentation(Policy.uniform(("Rotate", "Cutout"))).still()
    with pytest.raises(InputError, match="cannot be mirrored"):
        Augmentation(None, flip=True, still=True)
    kept = Augmentation(Policy(("Rotate", "Invert"), torch.tensor([[5.0, -5.0]]), torch.ones(2))).still()
    images = photos(3)
    torch.testing.assert_close(kept(images, [0, 1, 2]), 1 - images)  # what is left is drawn instead


def test_a_policy_goes_into_a_file_and_comes_back(tmp_path: Path) -> None:
    path, policy = tmp_path / "policy.safetensors", found_policy()
    save_policy(path, policy, {"data": "cifar10", "seed": 3})
    saved = load_policy(path)
    assert saved.found == {"data": "cifar10", "seed": 3}
    assert (saved.policy.names, saved.policy.steps, saved.policy.deviation) == (CIFAR, 2, 0.1)
    assert torch.equal(saved.policy.logits, policy.logits)
    assert torch.equal(saved.policy.bounds, policy.bounds)
    images, seeds = photos(8), item_seeds(0, 0, range(8))
    named = augmentation_of(str(path))
    assert torch.equal(named(images, seeds), Augmentation(policy)(images, seeds))
    assert named.title == Augmentation(policy).title != Augmentation(Policy.uniform(CIFAR)).title
    assert augmentation_of("trivial-ra").title == "trivial-ra (flips)"
    assert augmentation_of("none", flip=False).title == "none"
    assert augmentation_of("uniform").title == Augmentation(Policy.uniform(CIFAR)).title


def test_what_is_no_file_of_a_policy_is_refused(tmp_path: Path) -> None:
    for text, said in (("trivial", "found no file trivial"), ("", "found no file at all"), (".", r"found no file \.")):
        with pytest.raises(InputError, match=said):
            augmentation_of(text)
    other = tmp_path / "other.safetensors"
    write_safetensors(other, {"values": torch.zeros(2)}, {"encoder": "rgb"})
    with pytest.raises(InputError, match="is no augmentation policy"):
        load_policy(other)
    policy = Policy.uniform(("Rotate", "Invert"))
    tensors = {"logits": policy.logits.detach(), "bounds": policy.bounds.detach()}
    header = {"kind": "augmentation policy", "names": ["Rotate", "Swirl"], "steps": 3, "deviation": 0.1, "found": {}}
    write_safetensors(other, tensors, header)
    with pytest.raises(InputError, match=r"or of a newer fit3d: .*Swirl"):
        load_policy(other)
    write_safetensors(other, tensors, {**header, "names": ["Rotate", "Invert"], "steps": 2})
    with pytest.raises(InputError, match="says 2 steps, its logits have 3"):
        load_policy(other)
    write_safetensors(other, {"logits": tensors["logits"]}, {**header, "names": ["Rotate", "Invert"]})
    with pytest.raises(InputError, match="lacks or misstates 'bounds'"):
        load_policy(other)
    whole = {**header, "names": ["Rotate", "Invert"]}
    for changed, also, said in (
        ({"logits": torch.full((3, 2), float("nan"))}, {}, "finite logits, found 6 that are not"),
        ({"logits": torch.zeros(3, 2, dtype=torch.int32)}, {}, "logits in floating point, found torch.int32"),
        ({"bounds": torch.tensor([0.5, 1.5])}, {}, r"bounds above 0 and up to 1, found \[0.5, 1.5\]"),
        ({}, {"deviation": float("inf")}, "finite deviation above 0, found inf"),
        ({}, {"names": ["Rotate", 7]}, "found Rotate, 7"),
    ):
        write_safetensors(other, {**tensors, **changed}, {**whole, **also})
        with pytest.raises(InputError, match=said):
            load_policy(other)
    other.write_bytes(b"nothing")
    with pytest.raises(InputError, match="truncated or not a safetensors file"):
        load_policy(other)


@pytest.mark.parametrize("space", SPACES)
def test_trivial_augmentation_goes_from_nothing_to_all(space: Space) -> None:
    images = photos(1, side=64)
    pool = reaches(space, *images.shape[2:])
    adapting = {"AutoContrast", "Equalize"}

    def changed(name: str, strength: float, sign: float) -> torch.Tensor:
        chosen = torch.tensor([list(pool).index(name)])
        noise = torch.tensor([[0.25 if sign < 0 else 0.75, 0.5, 0.5]])
        return transformed(images, None, pool, chosen, torch.tensor([strength]), noise)[0]

    for name in pool:
        if name not in adapting:
            torch.testing.assert_close(changed(name, 0.0, 1.0), images, atol=1e-5, rtol=0)
        both = [changed(name, 1.0, sign) for sign in (1.0, -1.0)]
        assert torch.equal(both[0], images) == (name == "Identity"), name
        signed = name not in {"Identity", "Posterize", "Solarize", *adapting}
        assert torch.equal(both[0], both[1]) != signed, name
    shift = 32 if space == "wide" else round(0.31 * 68)
    moved = changed("TranslateX", 1.0, 1.0)
    torch.testing.assert_close(
        moved[..., shift + 1 :], images[..., 1:-shift], atol=0.1 if space == "ra" else 1e-5, rtol=0
    )
    assert len(changed("Posterize", 1.0, 1.0).unique()) == (4 if space == "wide" else 16)
    torch.testing.assert_close(changed("Solarize", 1.0, 1.0), 1 - images)


def test_trivial_augmentation_draws_each_of_its_pool_at_31_strengths() -> None:
    pool = reaches("wide", 8, 8)
    assert len(pool) == 14
    assert set(pool) < set(POOL)
    images = torch.full((3000, 3, 8, 8), 0.5)
    images[:, 0, 2:6, 2:6] = 1.0
    numbers = uniform_numbers(item_seeds(0, 0, range(3000)), NUMBERS)
    found, _ = trivially_changed(images, None, "wide", numbers)
    chosen = (numbers[:, 0] * 14).long()
    counts = chosen.bincount(minlength=14)
    assert 150 < int(counts.min()) <= int(counts.max()) < 280
    # Brightness by factors of 1 +- 0.99 s, seen where the photo is grey, as far as that is not clamped.
    bright = found[chosen == list(pool).index("Brightness"), 1, 0, 0]
    assert len(bright.mul(1e4).round().unique()) > 50
    strengths = ((bright / 0.5 - 1) / 0.99 * 30).abs()
    torch.testing.assert_close(strengths, strengths.round(), atol=1e-3, rtol=0)
    assert int(strengths.max().round()) == 30
