"""Which Gaussians make a pixel, and which pixels a Gaussian touches."""

from __future__ import annotations

import pytest
import torch

from render import Camera, Gaussians, InputError, contributions, rasterize, rasterize_transposed
from tests.test_rasterizer import make_scene
from uplift.attribution import as_ids, gaussians_of_pixels, pixels_of_gaussians, touched_pixels


@pytest.fixture(scope="module")
def view() -> tuple[Gaussians, Camera]:
    return make_scene(400, 90, 70, seed=3)


def far_pixels(camera: Camera, count: int) -> torch.Tensor:
    """Pixels all over the image, one of them asked for twice."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(count, 2, generator=generator) * torch.tensor([camera.width, camera.height])
    return torch.cat([pixels.long(), torch.tensor([[0, 0], [camera.width - 1, camera.height - 1], [0, 0]])])


@pytest.mark.parametrize("count", [1, 5, 300])
def test_a_pixel_is_made_of_exactly_its_contributions(view: tuple[Gaussians, Camera], count: int) -> None:
    gaussians, camera = view
    asked = far_pixels(camera, count)
    found = gaussians_of_pixels(gaussians, camera, asked)
    full = contributions(gaussians, camera)
    assert len(found) == len(asked)
    for j, (x, y) in enumerate(asked.tolist()):
        pixel = y * camera.width + x
        ids, weights = found[j]
        first, last = full.offsets[pixel], full.offsets[pixel + 1]
        assert torch.equal(ids, full.ids[first:last].long())
        assert torch.equal(weights, full.weights[first:last])


def test_few_pixels_need_few_gaussians(view: tuple[Gaussians, Camera], monkeypatch: pytest.MonkeyPatch) -> None:
    from uplift import attribution

    gaussians, camera = view
    used: list[int] = []

    def counting(some: Gaussians, where: Camera, pixels: torch.Tensor) -> object:
        used.append(len(some))
        return contributions(some, where, pixels)

    monkeypatch.setattr(attribution, "contributions", counting)
    found = gaussians_of_pixels(gaussians, camera, torch.tensor([[45, 35]]))
    assert len(found.ids) <= used[0] < len(gaussians) / 2


def test_weights_of_a_pixel_sum_to_its_alpha(view: tuple[Gaussians, Camera]) -> None:
    gaussians, camera = view
    mask = torch.zeros(camera.height, camera.width, dtype=torch.bool)
    mask[20:40, 30:70] = True
    found = gaussians_of_pixels(gaussians, camera, mask)
    alpha = rasterize(gaussians, camera).alpha
    assert torch.allclose(found.alpha, alpha[mask], atol=1e-5)
    assert torch.equal(found.pixels, mask.nonzero().flip(1))


def test_totals_over_pixels_are_the_transposed_rendering_of_their_mask(view: tuple[Gaussians, Camera]) -> None:
    gaussians, camera = view
    mask = torch.zeros(camera.height, camera.width, dtype=torch.bool)
    mask[5:60:3, 10:80:2] = True
    totals = gaussians_of_pixels(gaussians, camera, mask).totals(len(gaussians))
    lifted, _ = rasterize_transposed(gaussians, camera, mask[..., None].float())
    assert torch.allclose(totals, lifted[:, 0], atol=1e-4, rtol=1e-4)


def test_both_directions_are_adjoint(view: tuple[Gaussians, Camera]) -> None:
    """The weight of some Gaussians in some pixels is one number, whichever is asked for first."""
    gaussians, camera = view
    mask = torch.zeros(camera.height, camera.width, dtype=torch.bool)
    mask[30:50, 20:60] = True
    chosen = torch.zeros(len(gaussians), dtype=torch.bool)
    chosen[::3] = True
    there = gaussians_of_pixels(gaussians, camera, mask).totals(len(gaussians))[chosen].sum()
    back = pixels_of_gaussians(gaussians, camera, chosen)[mask].sum()
    assert float(there) > 1
    assert float(there) == pytest.approx(float(back), rel=1e-4)


def test_touched_pixels_are_those_with_weight(view: tuple[Gaussians, Camera]) -> None:
    gaussians, camera = view
    seen = rasterize_transposed(gaussians, camera, torch.ones(camera.height, camera.width, 1))[1]
    ids = torch.cat([seen.argsort(descending=True)[:4], seen.argmin()[None]])
    found = touched_pixels(gaussians, camera, ids)
    assert torch.equal(found.ids, ids)
    for j, gaussian in enumerate(ids.tolist()):
        alone = torch.zeros(len(gaussians), 1)
        alone[gaussian] = 1
        image = rasterize(gaussians, camera, alone).values[..., 0]
        pixels, weights = found[j]
        assert torch.equal(pixels, (image > 0).nonzero().flip(1))
        assert torch.allclose(weights, image[pixels[:, 1], pixels[:, 0]], atol=1e-6)
    assert len(found[0][0]) > 20


def test_positions_name_the_pixel_they_lie_in(view: tuple[Gaussians, Camera]) -> None:
    gaussians, camera = view
    by_position = gaussians_of_pixels(gaussians, camera, torch.tensor([[45.0, 35.99], [45.99, 35.5]]))
    assert by_position.pixels.tolist() == [[45, 35], [45, 35]]


def test_no_pixels_have_no_gaussians(view: tuple[Gaussians, Camera]) -> None:
    gaussians, camera = view
    nothing = torch.zeros(camera.height, camera.width, dtype=torch.bool)
    found = gaussians_of_pixels(gaussians, camera, nothing)
    assert len(found) == 0
    assert found.totals(len(gaussians)).sum() == 0
    behind = Gaussians(
        gaussians.means - torch.tensor([0, 0, 50.0]),
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        gaussians.sh,
    )
    assert gaussians_of_pixels(behind, camera, torch.tensor([[4, 5]])).offsets.tolist() == [0, 0]


@pytest.mark.parametrize("pixels", [[[90, 0]], [[-1, 3]], [[3.0, 70.0]], [[float("nan"), 2.0]], [[1, 2, 3]]])
def test_pixels_outside_the_image_are_refused(view: tuple[Gaussians, Camera], pixels: list) -> None:
    with pytest.raises(InputError, match=r"outside the image|shape \[m, 2\]"):
        gaussians_of_pixels(*view, torch.tensor(pixels))


def test_masks_and_indices_that_do_not_fit_are_refused(view: tuple[Gaussians, Camera]) -> None:
    with pytest.raises(InputError, match=r"\[70, 90\]"):
        gaussians_of_pixels(*view, torch.zeros(90, 70, dtype=torch.bool))
    with pytest.raises(InputError, match="400"):
        as_ids(torch.ones(399, dtype=torch.bool), 400)
    with pytest.raises(InputError, match="399"):
        pixels_of_gaussians(*view, torch.tensor([400]))
    with pytest.raises(InputError, match="twice"):
        touched_pixels(*view, torch.tensor([4, 4]))


def test_contributions_of_some_pixels_are_those_of_all_with_the_others_empty(view: tuple[Gaussians, Camera]) -> None:
    from render.rasterizer import reference

    gaussians, camera = view
    mask = torch.rand(camera.height, camera.width, generator=torch.Generator().manual_seed(2)) < 0.01
    mask[40:, :40] = False
    full = contributions(gaussians, camera).to_sparse(len(gaussians)).to_dense()
    for some in (contributions(gaussians, camera, mask), reference.contributions(gaussians, camera, mask)):
        assert torch.allclose(some.to_sparse(len(gaussians)).to_dense(), full * mask.flatten()[:, None], atol=1e-6)
        assert torch.equal(some.offsets.diff() > 0, mask.flatten() & (full.sum(1) > 0))
    with pytest.raises(InputError, match="bool of shape"):
        contributions(gaussians, camera, mask.T)
