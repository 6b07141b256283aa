"""Linear probes find what features hold, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from render.errors import InputError
from training.probes import (
    VOID,
    ClassProbe,
    DepthProbe,
    ProbePhotos,
    ProbeSettings,
    class_figures,
    depth_figures,
    fit_to_photos,
    patch_features,
    probe,
)
from uplift.encoders import load_encoder
from uplift.encoders.base import Encoder, Image

NAMES = ("red", "green", "blue", "never seen")
QUICK = ProbeSettings(steps=200, batch=512, rate=1e-2)


class Blind(Encoder):
    """Says the same of every patch."""

    name = "blind"
    dimension = 3

    def encode(self, image: Image) -> torch.Tensor:
        return torch.ones(4, 4, 3)


def photos(count: int, seed: int, *, side: int = 32) -> ProbePhotos:
    """Patches of one of three colours; the brighter, the nearer."""
    random = np.random.default_rng(seed)
    blocks = random.integers(3, size=(count, side // 8, side // 8))
    bright = random.uniform(60, 250, size=blocks.shape)
    picture = np.zeros((*blocks.shape, 3))
    np.put_along_axis(picture, blocks[..., None], bright[..., None], axis=3)

    def grown(values: np.ndarray) -> np.ndarray:
        return values.repeat(8, axis=1).repeat(8, axis=2)

    depths = (5 - bright / 60).astype(np.float32)
    return ProbePhotos(grown(picture).astype(np.uint8), grown(blocks).astype(np.uint8), grown(depths))


def test_a_probe_reads_what_the_features_hold() -> None:
    train, test = photos(40, 0), photos(10, 1)
    encoder = load_encoder("rgb")
    found = probe(encoder, train, {"a": test, "b": photos(6, 2, side=48)}, NAMES, QUICK)
    blind = probe(Blind(), train, {"a": test}, NAMES, QUICK)["a"]
    for group in found.values():
        # Between two patches scores are interpolated, so their borders are not exact.
        assert group["miou"] > 0.7
        assert set(group["iou"]) == {"red", "green", "blue"}
        assert group["accuracy"] > 0.8
        assert group["rmse"] < 0.75 * blind["rmse"]
    assert blind["miou"] < 0.35
    assert blind["rmse"] > 0.95 * float(test.depths.std()), "one depth is all it can say"


def test_on_its_own_grid_a_probe_is_exact() -> None:
    train, test = photos(40, 0), photos(10, 1)
    encoder = load_encoder("rgb")
    features, described = patch_features(encoder, train.photos), patch_features(encoder, test.photos)
    assert list(features.shape) == [40, 3, 4, 4]
    told = ClassProbe.fit(features, train.classes, len(NAMES), QUICK)
    assert class_figures(told.predict(described, (4, 4)), test.classes[:, ::8, ::8], NAMES)["miou"] == 1
    deep = DepthProbe.fit(features, train.depths, ProbeSettings(steps=400, batch=512, rate=1e-2))
    assert depth_figures(deep.predict(described, (4, 4)), test.depths[:, ::8, ::8])["rmse"] < 0.35


def test_what_does_not_count_teaches_nothing() -> None:
    train = photos(20, 0)
    features = patch_features(load_encoder("rgb"), train.photos)
    hidden = train.classes == 1
    lied = np.where(hidden, VOID, train.classes).astype(np.uint8)
    told = ClassProbe.fit(features, lied, 3, QUICK).predict(features, (32, 32))
    assert not (told == 1).any()
    near = np.where(hidden, 0, train.depths).astype(np.float32)
    spoilt = np.where(hidden, 0, train.depths + 0).astype(np.float32)
    assert depth_figures(np.where(hidden, 99, near), spoilt)["rmse"] == 0
    deep = DepthProbe.fit(features, near, QUICK)
    assert deep.predict(features, (4, 4)).min() > 0.5, "unknown depth is not taken for zero"


def test_the_same_seed_gives_the_same_probe_and_leaves_torch_alone() -> None:
    train = photos(8, 0)
    features = patch_features(load_encoder("rgb"), train.photos)
    before = torch.random.get_rng_state()
    first, again = (DepthProbe.fit(features, train.depths, QUICK).predict(features, (4, 4)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = DepthProbe.fit(features, train.depths, ProbeSettings(steps=200, batch=512, rate=1e-2, seed=1))
    assert (other.predict(features, (4, 4)) != first).any()
    assert torch.equal(before, torch.random.get_rng_state())


def test_figures_are_those_of_a_count_by_hand() -> None:
    truth = np.array([[[0, 0, 1, 1], [2, 2, VOID, VOID]]], np.uint8)
    predicted = np.array([[[0, 1, 1, 1], [2, 3, 0, 2]]], np.uint8)
    found = class_figures(predicted, truth, NAMES)
    assert found["iou"] == pytest.approx({"red": 1 / 2, "green": 2 / 3, "blue": 1 / 2})
    assert found["miou"] == pytest.approx((1 / 2 + 2 / 3 + 1 / 2) / 3)
    assert found["accuracy"] == pytest.approx(4 / 6)
    depth = np.array([[[1.0, 2.0], [0.0, 3.0]]], np.float32)
    assert depth_figures(depth + 0.5, depth)["rmse"] == pytest.approx(0.5)


def test_encoders_that_adapt_are_fitted_to_photos_of_the_training() -> None:
    random = np.random.default_rng(0)
    encoder = load_encoder("dense-descriptors")
    pictures = random.integers(256, size=(3, 64, 64, 3)).astype(np.uint8)
    fit_to_photos(encoder, pictures)
    assert encoder.fitted
    assert patch_features(encoder, pictures).shape[0] == 3


def test_wrong_data_are_refused_in_a_sentence() -> None:
    train = photos(4, 0)
    features = patch_features(load_encoder("rgb"), train.photos)
    with pytest.raises(InputError, match="below 2"):
        ClassProbe.fit(features, train.classes, 2)
    with pytest.raises(InputError, match="3 maps"):
        ClassProbe.fit(features, train.classes[:3], 3)
    with pytest.raises(InputError, match="found none"):
        ClassProbe.fit(features, np.full_like(train.classes, VOID), 3)
    with pytest.raises(InputError, match="above 0"):
        DepthProbe.fit(features, np.zeros_like(train.depths))
    with pytest.raises(InputError, match="found none"):
        patch_features(load_encoder("rgb"), train.photos[:0])
    with pytest.raises(InputError, match="with maps"):
        ProbePhotos(train.photos, train.classes[:2], train.depths)
