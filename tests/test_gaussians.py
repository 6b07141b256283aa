"""The container of Gaussians."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from render.errors import InputError
from render.gaussians import Gaussians


def some(n: int = 12, k: int = 4) -> Gaussians:
    g = torch.Generator().manual_seed(n)
    return Gaussians(
        torch.randn(n, 3, generator=g),
        torch.randn(n, 4, generator=g),
        torch.rand(n, 3, generator=g),
        torch.rand(n, generator=g),
        torch.randn(n, k, 3, generator=g),
    )


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("quats", (12, 3)),
        ("scales", (11, 3)),
        ("opacities", (12, 1)),
        ("sh", (12, 5, 3)),
        ("sh", (12, 25, 3)),
        ("sh", (12, 3)),
    ],
)
def test_wrong_shapes_are_named(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"Gaussians.{name} must have shape"):
        replace(some(), **{name: torch.zeros(shape)})


@pytest.mark.parametrize(("k", "degree"), [(1, 0), (4, 1), (9, 2), (16, 3)])
def test_the_degree_follows_from_the_coefficients(k: int, degree: int) -> None:
    assert some(k=k).sh_degree == degree


def test_masks_indices_and_slices_take_the_same_rows() -> None:
    g = some()
    mask = torch.zeros(12, dtype=torch.bool)
    mask[3:6] = True
    for index in (mask, torch.tensor([3, 4, 5]), slice(3, 6), [3, 4, 5]):
        for field in fields(g):
            assert torch.equal(getattr(g[index], field.name), getattr(g, field.name)[3:6])


def test_a_mask_of_another_length_is_refused() -> None:
    with pytest.raises(InputError, match=r"shape \[12\]"):
        some()[torch.ones(11, dtype=torch.bool)]


def test_another_degree_drops_coefficients_or_appends_zeros() -> None:
    g = some(k=9)
    assert torch.equal(g.with_sh_degree(1).sh, g.sh[:, :4])
    grown = g.with_sh_degree(3).sh
    assert torch.equal(grown[:, :9], g.sh)
    assert not grown[:, 9:].any()
    with pytest.raises(InputError, match="from 0 to 3"):
        g.with_sh_degree(4)


def test_nothing_edits_its_callers_tensors_and_fields_are_tensors() -> None:
    g = some()
    before = [getattr(g, f.name).clone() for f in fields(g)]
    g[2:4], g.to(dtype=torch.float64), g.detach(), g.with_values(means=g.means + 1)
    assert all(torch.equal(getattr(g, f.name), b) for f, b in zip(fields(g), before, strict=True))
    assert [f.name for f in fields(g)] == ["means", "quats", "scales", "opacities", "sh"]


def test_detaching_cuts_the_graph() -> None:
    g = replace(some(), means=torch.zeros(12, 3, requires_grad=True))
    assert g.means.requires_grad
    assert not g.detach().means.requires_grad
