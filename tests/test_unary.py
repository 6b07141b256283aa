"""Unary terms: logistic regression as scikit-learn does it, and the mean feature."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from render.errors import InputError
from uplift.unary import LogisticModel, logistic_unary, mean_feature_unary


def blobs(n: int = 400, apart: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 4 == 0
    features = torch.randn(n, 6, generator=random) + apart * labels[:, None]
    return features, labels


@pytest.mark.parametrize("balanced", [False, True])
def test_probabilities_are_scikit_learns(balanced: bool) -> None:
    from sklearn.linear_model import LogisticRegression

    features, labels = blobs()
    model = LogisticModel.fit(features, labels, C=0.1, balanced=balanced, normalize=False)
    expected = LogisticRegression(C=0.1, class_weight="balanced" if balanced else None, max_iter=1000)
    expected.fit(features.numpy(), labels.numpy())
    found = model.probability(features).numpy()
    np.testing.assert_allclose(found, expected.predict_proba(features.numpy())[:, 1], atol=2e-3)


@pytest.mark.parametrize("balanced", [False, True])
def test_fewer_rows_weigh_as_all_of_them(balanced: bool) -> None:
    features, labels = blobs(8000, apart=0.3)
    some = LogisticModel.fit(features, labels, normalize=False, max_rows=1500, balanced=balanced)
    every = LogisticModel.fit(features, labels, normalize=False, balanced=balanced)
    assert (some.probability(features) - every.probability(features)).abs().mean() < 0.02


def test_normalized_features_know_no_length() -> None:
    features, labels = blobs()
    model = LogisticModel.fit(features, labels)
    torch.testing.assert_close(model.probability(features), model.probability(7 * features))


def test_the_bandwidth_is_an_exponent() -> None:
    features, labels = blobs()
    wide, narrow = (logistic_unary(features, labels, bandwidth=b) for b in (1.0, 0.25))
    torch.testing.assert_close(wide.pow(4), narrow)


def test_the_mean_feature_is_certain_and_others_fall_off_with_distance() -> None:
    features = torch.tensor([[0.0, 0], [2, 0], [1, 0], [1, 3], [9, 9]])
    anchors = torch.tensor([True, True, False, False, False])
    found = mean_feature_unary(features, anchors, 0.5, normalize=False)
    squared = torch.tensor([1.0, 1, 0, 9, 145])
    torch.testing.assert_close(found, torch.exp(-squared / (0.5 * squared.median())))


def test_a_missing_class_and_wrong_shapes_get_a_sentence() -> None:
    features, labels = blobs()
    with pytest.raises(InputError, match="none that are positive"):
        LogisticModel.fit(features, torch.zeros_like(labels))
    with pytest.raises(InputError, match="none that are negative"):
        LogisticModel.fit(features, torch.ones_like(labels))
    with pytest.raises(InputError, match="6 channels"):
        LogisticModel.fit(features, labels).probability(features[:, :5])
    with pytest.raises(InputError, match="at least one anchor"):
        mean_feature_unary(features, torch.zeros_like(labels), 1.0)
    with pytest.raises(InputError, match="greater than 0"):
        logistic_unary(features, labels, bandwidth=0)
