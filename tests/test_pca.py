"""PCA colours."""

from __future__ import annotations

import pytest
import torch

from render.errors import InputError
from uplift import pca
from uplift.pca import PCAColours


def features(rows: int = 2000, channels: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([4.0, 2.0, 1.0] + [0.1] * (channels - 3))
    rotation = torch.linalg.qr(torch.randn(channels, channels, generator=generator)).Q
    return (torch.randn(rows, channels, generator=generator) * scales) @ rotation.T + 3


def test_colours_lie_in_zero_to_one_and_use_the_range() -> None:
    values = features()
    colours = PCAColours.fit(values).colours(values)
    assert colours.shape == (2000, 3)
    assert colours.min() >= 0
    assert colours.max() <= 1
    assert (colours.quantile(0.05, dim=0) < 0.2).all()
    assert (colours.quantile(0.95, dim=0) > 0.8).all()


def test_components_are_orthonormal_by_falling_variance() -> None:
    values = features()
    basis = PCAColours.fit(values)
    torch.testing.assert_close(basis.components @ basis.components.T, torch.eye(3), atol=1e-5, rtol=0)
    variances = ((values - basis.mean) @ basis.components.T).var(0)
    assert variances[0] > variances[1] > variances[2]
    # The planted deviations are 4, 2 and 1.
    torch.testing.assert_close(variances.sqrt(), torch.tensor([4.0, 2.0, 1.0]), atol=0.2, rtol=0)


def test_the_order_of_the_rows_does_not_matter() -> None:
    values = features()
    weights = torch.rand(2000, generator=torch.Generator().manual_seed(1))
    order = torch.randperm(2000, generator=torch.Generator().manual_seed(2))
    first = PCAColours.fit(values, weights)
    second = PCAColours.fit(values[order], weights[order])
    torch.testing.assert_close(first.colours(values), second.colours(values), atol=1e-5, rtol=0)


def test_flipping_the_data_in_feature_space_cannot_flip_the_signs() -> None:
    values = features() - 3
    first, second = PCAColours.fit(values), PCAColours.fit(-values)
    torch.testing.assert_close(first.components, second.components, atol=1e-5, rtol=0)
    assert (first.components.gather(1, first.components.abs().argmax(1, keepdim=True)) > 0).all()


def test_a_tie_between_opposite_loadings_goes_to_the_first() -> None:
    line = torch.linspace(-1, 1, 101)[:, None]
    noise = 1e-4 * torch.randn(101, 2, generator=torch.Generator().manual_seed(0))
    for sign in (1.0, -1.0):
        basis = PCAColours.fit(line * torch.tensor([[sign, -sign]]) + noise)
        assert basis.components[0, 0] > 0
        assert basis.components[0, 1] < 0


def test_outliers_hardly_change_the_colours() -> None:
    values = features()
    spoilt = values.clone()
    spoilt[::100] = 1e4 * torch.randn(20, 8, generator=torch.Generator().manual_seed(3))
    clean, robust = PCAColours.fit(values).colours(values), PCAColours.fit(spoilt).colours(values)
    kept = torch.ones(2000, dtype=torch.bool)
    kept[::100] = False
    assert (clean - robust)[kept].abs().mean() < 0.05


def test_rows_of_weight_zero_are_left_out() -> None:
    values = features()
    weights = torch.ones(2000)
    weights[::2] = 0
    spoilt = values.clone()
    spoilt[::2] = 1e6
    torch.testing.assert_close(PCAColours.fit(spoilt, weights).components, PCAColours.fit(values[1::2]).components)


def test_one_huge_weight_does_not_decide_alone() -> None:
    values = features()
    weights = torch.ones(2000)
    weights[0] = 1e9
    plain, weighted = PCAColours.fit(values).colours(values), PCAColours.fit(values, weights).colours(values)
    assert (plain - weighted).abs().max() < 0.05


def test_many_rows_are_reduced_to_the_most_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pca, "MAX_ROWS", 500)
    values = features()
    weights = torch.linspace(1, 2, 2000)
    torch.testing.assert_close(
        PCAColours.fit(values, weights).components,
        PCAColours.fit(values[1500:], weights[1500:]).components,
    )


def test_pictures_and_rows_get_the_same_colours() -> None:
    values = features()
    basis = PCAColours.fit(values)
    assert torch.equal(basis.colours(values.reshape(40, 50, 8)).reshape(-1, 3), basis.colours(values))


def test_a_constant_field_is_grey() -> None:
    values = torch.full((50, 5), 2.0)
    colours = PCAColours.fit(values).colours(values)
    assert torch.equal(colours, torch.full((50, 3), 0.5))


def test_one_channel_is_shown_as_grey_and_two_leave_blue_at_one_half() -> None:
    line = torch.linspace(0, 1, 50)[:, None]
    grey = PCAColours.fit(line).colours(line)
    assert torch.equal(grey[:, 0], grey[:, 2])
    assert grey[0, 0] == 0
    assert grey[-1, 0] == 1
    two = PCAColours.fit(torch.cat([line, line**2], 1)).colours(torch.cat([line, line**2], 1))
    assert (two[:, 2] == 0.5).all()


def test_fewer_components_are_the_first_of_all() -> None:
    values = features()
    whole = PCAColours.fit(values)
    for count in (1, 2):
        some = PCAColours.fit(values, components=count)
        assert torch.equal(some.components, whole.components[:count])
        restored = PCAColours.from_tensors(some.tensors())
        assert torch.equal(restored.colours(values), some.colours(values))


@pytest.mark.parametrize("percentile", [0.0, 5.0, 30.0])
def test_the_percentile_says_how_much_becomes_black_and_full(percentile: float) -> None:
    values = features()
    colours = PCAColours.fit(values, percentile=percentile).colours(values)
    for level in (0, 1):
        share = (colours == level).float().mean(dim=0)
        assert (share - percentile / 100).abs().max() < 0.01


def test_a_basis_survives_saving_as_tensors() -> None:
    basis = PCAColours.fit(features())
    restored = PCAColours.from_tensors(basis.tensors())
    assert torch.equal(restored.colours(features()), basis.colours(features()))
    with pytest.raises(InputError, match="lacks components, high"):
        PCAColours.from_tensors({"mean": basis.mean, "low": basis.low})


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match=r"\[m, c\], found \[4\]"):
        PCAColours.fit(torch.zeros(4))
    with pytest.raises(InputError, match=r"weights of shape \[4\], found \[3\]"):
        PCAColours.fit(torch.zeros(4, 2), torch.ones(3))
    with pytest.raises(InputError, match="positive weight"):
        PCAColours.fit(torch.zeros(4, 2), torch.zeros(4))
    for wrong in ({"components": 0}, {"components": 4}, {"percentile": 50.0}, {"percentile": -1.0}):
        with pytest.raises(InputError, match="1 to 3 components and a percentile"):
            PCAColours.fit(features(), **wrong)
    with pytest.raises(InputError, match="NaN"):
        PCAColours.fit(torch.full((4, 2), torch.nan))
    with pytest.raises(InputError, match="takes 8 channels, found values with 7"):
        PCAColours.fit(features()).colours(torch.zeros(2, 7))
    with pytest.raises(InputError, match="basis of 4 channels"):
        PCAColours(torch.zeros(4), torch.zeros(3, 5), torch.zeros(3), torch.zeros(3))
