"""Clicks land on the visible surface."""

from __future__ import annotations

import pytest
import torch

from render import Camera, Gaussians, InputError
from tests.test_rasterizer import make_scene
from uplift import picking
from uplift.picking import median_depth, pick, surface_weights

WIDTH, HEIGHT = 64, 48


def sheet(depth: float, opacity: float, *, x: tuple[float, float] = (-2, 2)) -> Gaussians:
    """A plane of flat Gaussians across the view, at one depth."""
    xs = torch.arange(x[0], x[1] + 1e-6, 0.1)
    ys = torch.arange(-1.5, 1.5, 0.1)
    means = torch.cartesian_prod(xs, ys, torch.tensor([depth]))
    n = len(means)
    scales = torch.tensor([0.06, 0.06, 0.005]).expand(n, 3)
    return Gaussians(
        means,
        torch.tensor([1.0, 0, 0, 0]).expand(n, 4),
        scales,
        torch.full((n,), opacity),
        torch.zeros(n, 1, 3),
    )


def together(*parts: Gaussians) -> Gaussians:
    names = ("means", "quats", "scales", "opacities", "sh")
    return Gaussians(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def camera() -> Camera:
    K = torch.tensor([[50.0, 0, WIDTH / 2], [0, 50.0, HEIGHT / 2], [0, 0, 1]])
    return Camera(K, torch.eye(4), WIDTH, HEIGHT)


def floater(depth: float, opacity: float) -> Gaussians:
    return Gaussians(
        torch.tensor([[0.0, 0.0, depth]]),
        torch.tensor([[1.0, 0, 0, 0]]),
        torch.full((1, 3), 0.15),
        torch.tensor([opacity]),
        torch.zeros(1, 1, 3),
    )


def test_the_median_depth_is_that_of_the_surface_behind_a_floater() -> None:
    scene = together(floater(1.0, 0.4), sheet(3.0, 0.95), sheet(5.0, 0.95))
    middle = torch.tensor([[WIDTH / 2, HEIGHT / 2], [5.0, 5.0]])
    assert torch.allclose(median_depth(scene, camera(), middle), torch.tensor([3.0, 3.0]))
    opaque = together(floater(1.0, 0.9), sheet(3.0, 0.95))
    assert torch.allclose(median_depth(opaque, camera(), middle), torch.tensor([1.0, 3.0]))


def test_half_of_the_weight_is_reached_at_the_median_depth() -> None:
    from uplift.attribution import gaussians_of_pixels

    gaussians, view = make_scene(500, 40, 30, seed=5)
    mask = torch.ones(30, 40, dtype=torch.bool)
    depths = median_depth(gaussians, view, mask)
    found = gaussians_of_pixels(gaussians, view, mask)
    z = gaussians.means @ view.world_to_camera[2, :3] + view.world_to_camera[2, 3]
    for j in range(0, len(found), 37):
        ids, weights = found[j]
        if len(ids) == 0:
            assert torch.isnan(depths[j])
            continue
        assert weights[z[ids] <= depths[j] + 1e-6].sum() >= 0.5 * weights.sum() - 1e-6
        assert weights[z[ids] < depths[j] - 1e-6].sum() <= 0.5 * weights.sum() + 1e-6


def test_a_click_gives_the_gaussians_of_the_surface_alone() -> None:
    parts = floater(1.0, 0.4), sheet(3.0, 0.95), sheet(5.0, 0.95)
    scene = together(*parts)
    surface = range(1, 1 + len(parts[1]))
    picked = pick(scene, camera(), torch.tensor([[WIDTH / 2, HEIGHT / 2]]), radius=3)
    ids, weights = picked[0]
    assert len(ids) > 3
    assert set(ids.tolist()) <= set(surface)
    assert bool((weights.diff() <= 0).all())
    assert torch.allclose(picked.points, torch.tensor([[0.0, 0.0, 3.0]]), atol=1e-5)


def test_a_picked_point_projects_to_its_click() -> None:
    gaussians, view = make_scene(2000, 80, 60, seed=1)
    clicks = torch.tensor([[40.5, 30.5], [33.2, 28.9], [50.0, 20.0]])
    picked = pick(gaussians, view, clicks)
    local = picked.points @ view.world_to_camera[:3, :3].T + view.world_to_camera[:3, 3]
    pixels = local @ view.K.T
    assert torch.allclose(pixels[:, :2] / pixels[:, 2:], clicks, atol=1e-3)
    assert torch.allclose(local[:, 2], picked.depths, atol=1e-4)


def test_pixels_of_another_surface_are_left_out_of_a_click() -> None:
    """A disc that reaches over the edge of a near sheet onto a far one."""
    near, far = sheet(2.0, 0.95, x=(-2, 0)), sheet(4.0, 0.95, x=(-3, 3))
    scene = together(near, far)
    clicks = torch.tensor([[28.5, 24.5], [37.5, 24.5]])
    picked = pick(scene, camera(), clicks, radius=6)
    assert torch.allclose(picked.depths, torch.tensor([2.0, 4.0]))
    assert int(picked[0][0].max()) < len(near) <= int(picked[1][0].min())


def test_surface_weights_are_a_lifted_mask_without_what_hovers_before_it() -> None:
    from render import rasterize_transposed

    parts = floater(1.0, 0.4), sheet(3.0, 0.9), sheet(5.0, 0.9)
    scene = together(*parts)
    mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    mask[15:35, 20:45] = True
    lifted = rasterize_transposed(scene, camera(), mask[..., None].float())[0][:, 0]
    weights = surface_weights(scene, camera(), mask[None])[:, 0]
    surface = slice(1, 1 + len(parts[1]))
    assert lifted[0] > 1
    assert weights[0] == 0
    assert torch.allclose(weights[surface], lifted[surface], atol=1e-4)
    assert weights[surface.stop :].sum() == 0 < lifted[surface.stop :].sum()


def test_many_pixels_are_worked_on_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    gaussians, view = make_scene(800, 60, 40, seed=2)
    mask = torch.rand(40, 60, generator=torch.Generator().manual_seed(0)) < 0.4
    whole = surface_weights(gaussians, view, mask[None])[:, 0], median_depth(gaussians, view, mask)
    monkeypatch.setattr(picking, "PIXELS_PER_PASS", 100)
    parts = surface_weights(gaussians, view, mask[None])[:, 0], median_depth(gaussians, view, mask)
    torch.testing.assert_close(parts[0], whole[0])
    torch.testing.assert_close(parts[1], whole[1], equal_nan=True, rtol=0, atol=0)


def test_clicks_on_nothing_have_no_depth() -> None:
    scene = sheet(3.0, 0.95, x=(-2, -0.5))
    clicks = torch.tensor([[60.0, 24.0], [5.0, 24.0]])
    picked = pick(scene, camera(), clicks, radius=2)
    assert torch.isnan(picked.depths[0])
    assert torch.isnan(picked.points[0]).all()
    assert len(picked[0][0]) == 0
    assert picked.depths[1] == 3
    assert torch.isnan(median_depth(scene, camera(), clicks)).tolist() == [True, False]


def test_clicks_at_the_border_and_with_whole_numbers_work() -> None:
    scene = sheet(3.0, 0.95)
    picked = pick(scene, camera(), torch.tensor([[0, 0], [WIDTH - 1, HEIGHT - 1]]), radius=4)
    assert torch.allclose(picked.depths, torch.tensor(3.0))
    assert picked.points[0, 0] == pytest.approx((0.5 - WIDTH / 2) / 50 * 3)


def test_bad_clicks_are_refused() -> None:
    with pytest.raises(InputError, match="outside"):
        pick(sheet(3.0, 0.9), camera(), torch.tensor([[WIDTH + 3.0, 1.0]]))
    with pytest.raises(InputError, match="radius"):
        pick(sheet(3.0, 0.9), camera(), torch.tensor([[3.0, 1.0]]), radius=-1)
