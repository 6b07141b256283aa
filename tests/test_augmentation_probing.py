"""Heads that learn from augmented copies of photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from render.errors import InputError
from tests.test_probing import QUICK, Counting, data, figures, give, photos
from training.augmentation import Augmentation, Policy, item_seeds
from training.probing import VOID, Augmenting, EncoderSource, GivenSource, SideBySide, run_probe
from uplift.encoders import load_encoder
from uplift.maps import FeatureMapCache

MIRRORED = Augmentation(None)
INVERTED = Augmentation(Policy(("Invert", "Rotate"), torch.tensor([[20.0, -20.0]]), torch.ones(2)), flip=False)
TURNED = Augmentation(Policy(("Rotate", "Invert"), torch.tensor([[20.0, -20.0]]), torch.ones(2)), flip=False)


def test_copies_are_of_their_photo_and_class_map_by_seed_and_place_alone() -> None:
    whole = photos(3, 0)
    assert whole[1].classes is not None
    # A class map of a third of the photo's size, as some data have them.
    whole[1] = replace(whole[1], classes=give(whole[1].classes()[::4, ::4]))
    made = Augmenting(TURNED, copies=2, seed=7).of(whole, "segmentation")
    assert [one.name for one in made[:4]] == ["0 copy 0", "1 copy 0", "2 copy 0", "0 copy 1"]
    assert not any(one.lasting for one in made)
    for place in (4, 1):  # in any order, photo or map first
        one = made[place]
        assert one.classes is not None
        classes, image = one.classes(), one.image()
        pixels = torch.from_numpy(whole[1].image()).permute(2, 0, 1)[None] / 255
        wanted = TURNED(pixels, item_seeds(7, place // 3, [1]))[0].permute(1, 2, 0)
        np.testing.assert_array_equal(image, (wanted * 255).round().byte().numpy())
        assert classes.shape == image.shape[:2]
        assert classes.dtype == np.uint8
        # Colours are those of the classes, and black is void.
        sure = image.max(2) > 50
        known = sure & (classes != VOID)
        assert (image.argmax(2)[known] == classes[known]).mean() > 0.98, "but where two of them meet"
        assert (classes[image.max(2) == 0] == VOID).mean() > 0.9
    assert not np.array_equal(made[1].image(), made[4].image())
    labels = Augmenting(MIRRORED, copies=3).of(whole, "classification")
    assert [one.label for one in labels] == 3 * [one.label for one in whole]
    mirrored = [np.array_equal(one.image(), whole[k % 3].image()) for k, one in enumerate(labels)]
    assert 0 < sum(mirrored) < 9


def test_heads_learn_from_copies_and_are_measured_on_photos_as_they_are() -> None:
    encoder, quick = load_encoder("rgb"), replace(QUICK, steps=100, batch=128, rate=3e-2)
    assert figures("segmentation", encoder, settings=quick, augmenting=Augmenting(MIRRORED, 2))["miou"] > 0.7
    assert figures("segmentation", encoder, settings=quick, augmenting=Augmenting(INVERTED, 1))["miou"] < 0.3
    assert figures("classification", encoder, settings=quick, augmenting=Augmenting(INVERTED, 1))["accuracy"] < 0.5


def test_depth_is_learned_from_pixels_that_stay() -> None:
    augmenting = Augmenting(Augmentation(Policy.uniform(("Rotate",))), 1)
    with pytest.raises(InputError, match="only moves and hides pixels"):
        augmenting.of(photos(1, 0), "depth")
    both = Augmentation(Policy.uniform(("Rotate", "Identity")))
    original = photos(1, 0)
    (copy,) = Augmenting(both, 1).of(original, "depth")
    np.testing.assert_array_equal(copy.image(), original[0].image())
    assert copy.depth is original[0].depth
    assert copy.classes is None


def test_features_of_copies_are_not_kept_and_those_of_measured_photos_are(tmp_path: Path) -> None:
    encoder, settings = Counting(), replace(QUICK, steps=5)
    source = EncoderSource(encoder, FeatureMapCache(tmp_path))
    first = run_probe(data(), "segmentation", source, settings=settings, augmenting=Augmenting(MIRRORED, 3))
    assert encoder.asked == 3 * 40 + 10
    again = run_probe(data(), "segmentation", source, settings=settings, augmenting=Augmenting(MIRRORED, 3))
    assert encoder.asked == 2 * 3 * 40 + 10
    np.testing.assert_array_equal(first.scores.sums, again.scores.sums)


def test_maps_that_were_made_of_photos_as_they_are_cannot_be_augmented() -> None:
    given = GivenSource("given", lambda _: torch.zeros(4, 4, 2))
    with pytest.raises(InputError, match="given has maps of the photos as they are"):
        run_probe(data(), "segmentation", SideBySide([given]), settings=QUICK, augmenting=Augmenting(MIRRORED))
    with pytest.raises(InputError, match="at least one augmented copy"):
        Augmenting(MIRRORED, 0)
