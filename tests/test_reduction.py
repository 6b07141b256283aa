"""Encoders reduced by a PCA over the scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from render.errors import InputError
from tests.test_encoders import photo
from tests.test_lifting import scene
from tests.tiny_models import tiny_vit_file
from uplift import FeatureField, FeatureMapCache, lift, load_encoder, reduction
from uplift.encoders import Encoder, Image, fit_encoder
from uplift.encoders.dense_descriptors import DenseDescriptors
from uplift.reduction import Reduced


class Blocks(Encoder):
    """Seven channels on a grid of 6 x 8 that vary in three directions; counts its calls."""

    name = "rgb"
    dimension = 7
    licence = "MIT"

    def __init__(self) -> None:
        self.calls = 0
        self.mixing = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))

    def encode(self, image: Image) -> torch.Tensor:
        self.calls += 1
        seed = int(torch.as_tensor(image).sum())
        latent = torch.randn(6, 8, 3, generator=torch.Generator().manual_seed(seed)) * torch.tensor([3.0, 2.0, 1.0])
        return latent @ self.mixing + 5

    def weights_hash(self) -> str:
        return "0" * 64


def fitted(dimension: int = 3, weighting: bool = False, seed: int = 0) -> Reduced:
    encoder = Reduced(Blocks(), dimension, weighting, seed)
    encoder.fit([photo(i) for i in range(12)])
    return encoder


def test_features_of_three_directions_survive_a_reduction_to_three() -> None:
    encoder = fitted()
    whole, reduced = encoder.inner.encode(photo(5)), encoder.encode(photo(5))
    assert reduced.shape == (6, 8, 3)
    a, b = whole.reshape(-1, 7).double(), reduced.reshape(-1, 3).double()
    torch.testing.assert_close(torch.cdist(a, a), torch.cdist(b, b), rtol=1e-3, atol=1e-3)


def test_the_components_are_those_of_a_plain_pca() -> None:
    encoder = fitted(2)
    encoded = torch.cat([encoder.encode(photo(i)).reshape(-1, 2) for i in range(12)])
    torch.testing.assert_close(encoded.mean(0), torch.zeros(2), rtol=0, atol=0.01)
    rows = torch.cat([encoder.inner.encode(photo(i)).reshape(-1, 7) for i in range(12)]).double()
    values, vectors = torch.linalg.eigh(torch.cov(rows.T))
    found = encoder.state()["reduction.components"].double()
    for component, vector in zip(found, vectors.T.flip(0)[:2], strict=True):
        assert abs(float(component @ vector)) > 0.999
    torch.testing.assert_close(encoder.state()["reduction.eigenvalues"].double(), values.flip(0)[:2], rtol=0.02, atol=0)


def test_eigenvalue_weighting_scales_each_component_by_its_share_of_the_largest() -> None:
    plain, weighted = fitted(), fitted(weighting=True)
    eigenvalues = plain.state()["reduction.eigenvalues"]
    expected = plain.encode(photo(3)) * eigenvalues / eigenvalues[0]
    torch.testing.assert_close(weighted.encode(photo(3)), expected, rtol=1e-4, atol=1e-4)


def test_the_seed_chooses_the_nodes_and_the_same_seed_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduction, "NODES", 120)
    assert fitted(seed=1).fingerprint() == fitted(seed=1).fingerprint()
    assert fitted(seed=1).fingerprint() != fitted(seed=2).fingerprint()


def test_a_reduction_is_restored_from_its_state() -> None:
    encoder = fitted(2, weighting=True)
    restored = Reduced(Blocks(), 1)
    restored.load_state(encoder.state())
    assert restored.dimension == 2
    assert torch.equal(restored.encode(photo(9)), encoder.encode(photo(9)))
    assert restored.fingerprint() == encoder.fingerprint()


@pytest.mark.parametrize("dimension", [0, -1, 8])
def test_dimensions_that_do_not_fit_are_refused(dimension: int) -> None:
    with pytest.raises(InputError, match=f"has 7 dimensions; it can be reduced to 1 to 7, found {dimension}"):
        Reduced(Blocks(), dimension)


def test_too_little_to_learn_from_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduction, "NODES", 4)
    with pytest.raises(InputError, match=r"at least as many grid nodes.*found 4"):
        Reduced(Blocks(), 5).fit([photo(0)])
    with pytest.raises(InputError, match="found none"):
        Reduced(Blocks(), 5).fit([])
    with pytest.raises(InputError, match="must be fitted first"):
        Reduced(Blocks(), 5).encode(photo(0))


def test_a_foreign_state_or_map_is_refused() -> None:
    with pytest.raises(InputError, match=r"expects the tensors mean \[7\]"):
        Reduced(Blocks(), 2).load_state({"reduction.mean": torch.zeros(6)})
    with pytest.raises(InputError, match=r"maps of shape \[gh, gw, 7\], found \[2, 2, 6\]"):
        fitted().derive(torch.zeros(2, 2, 6))


def test_with_a_cache_fitting_and_lifting_encode_each_photo_once(tmp_path: Path) -> None:
    gaussians, views = scene()
    first, second = Blocks(), Blocks()
    field = lift(gaussians, views, Reduced(first, 3), cache=FeatureMapCache(tmp_path))
    assert first.calls == len(views)
    lift(gaussians, views, Reduced(second, 2, eigenvalue_weighting=True), cache=FeatureMapCache(tmp_path))
    assert second.calls == 0
    assert (field.dimension, field.licence, field.metadata["reduced_from"]) == (3, "MIT", 7)


def test_a_field_restores_the_reduced_encoder_that_made_it(tmp_path: Path) -> None:
    name, weights = tiny_vit_file(tmp_path)
    gaussians, views = scene()
    encoder = Reduced(load_encoder(name, weights, "cpu", options={"window": 32, "stride": 20}), 5)
    lift(gaussians, views, encoder).save(tmp_path / "f.safetensors")
    field = FeatureField.load(tmp_path / "f.safetensors")
    assert field.metadata["options"] == {"window": 32, "stride": 20}
    restored = field.load_encoder(weights, "cpu")
    assert restored.dimension == 5
    assert torch.equal(restored.encode(photo(1)), encoder.encode(photo(1)))


def test_encoders_that_are_fitted_themselves_can_be_reduced(tmp_path: Path) -> None:
    gaussians, views = scene()
    field = lift(gaussians, views, Reduced(DenseDescriptors(8), 3))
    field.save(tmp_path / "f.safetensors")
    restored = FeatureField.load(tmp_path / "f.safetensors").load_encoder(device="cpu")
    assert (field.dimension, restored.dimension) == (3, 3)
    assert restored.metric == field.metadata["metric"] == "euclidean"
    assert restored.encode(views[0].image()).shape == (7, 10, 3)


def test_fitting_streams_over_the_photos() -> None:
    reports: list[tuple[int, int]] = []
    encoder = Reduced(Blocks(), 3)
    fit_encoder(encoder, scene(views=5)[1], lambda done, total, what: reports.append((done, total)))
    assert reports == [(i, 5) for i in range(6)]
    assert np.isfinite(encoder.state()["reduction.mean"]).all()
