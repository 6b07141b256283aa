"""What surrounds gsplat's kernels, with each kernel replaced by its meaning in torch: needs no GPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gsplat.cuda._torch_impl as meaning
import pytest
import torch

from render import Camera, Gaussians
from render.rasterizer import cuda, reference
from tests.test_rasterizer import make_scene, relative


def fully_fused_projection(**call: Any) -> tuple[torch.Tensor, ...]:
    assert call.pop("covars") is None
    assert call.pop("packed") is False
    opacities = call.pop("opacities")
    covariances, _ = meaning._quat_scale_to_covar_preci(call.pop("quats"), call.pop("scales"), True, False)
    radii, *others = meaning._fully_fused_projection(covars=covariances, **call)
    return radii * (opacities >= 1 / 255)[None, :, None], *others


def spherical_harmonics(degree: int, directions: torch.Tensor, sh: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    return meaning._spherical_harmonics(degree, directions, sh) * masks[:, None]


def blending_weights(call: dict[str, Any]) -> torch.Tensor:
    """Dense [pixels, n] from what the kernels are given: the tile lists say who may be seen."""
    n = call["means2d"].shape[1]
    radii = torch.zeros(n, 2, dtype=torch.int32)
    radii[call["flatten_ids"].long()] = 1000
    depths = call["depths"]
    camera = Camera(torch.eye(3), torch.eye(4), call["image_width"], call["image_height"])
    projected = reference.Projected(call["means2d"][0], call["conics"][0], depths, radii)
    weights = torch.zeros(call["image_width"] * call["image_height"], n)
    shown, ids = reference._weights(projected, call["opacities"][0], reference._pixel_centres(camera, depths))
    return weights.index_add(1, ids, shown)


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    depths: list[torch.Tensor] = []

    def project(**call: Any) -> tuple[torch.Tensor, ...]:
        result = fully_fused_projection(**call)
        depths.append(result[2][0].detach())
        return result

    def rasterize_to_pixels(**call: Any) -> tuple[torch.Tensor, torch.Tensor]:
        assert call["colors"].shape[-1] <= 32 or call["absgrad"]
        weights = blending_weights({**call, "depths": depths[-1]})
        size = (1, call["image_height"], call["image_width"], -1)
        return (weights @ call["colors"][0]).reshape(size), weights.sum(1).reshape(size)

    def rasterize_to_indices_in_range(**call: Any) -> tuple[torch.Tensor, ...]:
        weights = blending_weights({**call, "depths": depths[-1]})
        order = torch.argsort(depths[-1], stable=True)
        pixels, places = weights[:, order].nonzero(as_tuple=True)
        return order[places], pixels, torch.zeros_like(pixels)

    fakes = SimpleNamespace(
        fully_fused_projection=project,
        spherical_harmonics=spherical_harmonics,
        isect_tiles=lambda means, radii, depth, *tiles: meaning._isect_tiles(means, radii, depth, *tiles),
        isect_offset_encode=meaning._isect_offset_encode,
        rasterize_to_pixels=rasterize_to_pixels,
        rasterize_to_indices_in_range=rasterize_to_indices_in_range,
    )
    monkeypatch.setattr(cuda, "gsplat", fakes)
    monkeypatch.setattr(cuda, "PAIRS_PER_PASS", 1000)  # several portions, also in a small scene


@pytest.fixture(scope="module")
def scene() -> tuple[Gaussians, Camera]:
    return make_scene(300, 70, 50, seed=3)


@pytest.mark.usefixtures("kernels")
def test_rendering_around_the_kernels_equals_the_reference(scene: tuple[Gaussians, Camera]) -> None:
    background = torch.tensor([0.1, 0.5, 0.9])
    found = cuda.rasterize(*scene, background=background)
    expected = reference.rasterize(*scene, background=background)
    for name in ("values", "alpha", "depth"):
        assert relative(getattr(found, name), getattr(expected, name)) <= 1e-5, name
    values = torch.randn(len(scene[0]), 70, generator=torch.Generator().manual_seed(0))
    assert relative(cuda.rasterize(*scene, values).values, reference.rasterize(*scene, values).values) <= 1e-5


@pytest.mark.usefixtures("kernels")
def test_screen_gradients_reach_the_centres_of_the_rendering(scene: tuple[Gaussians, Camera]) -> None:
    gaussians, camera = scene
    means = gaussians.means.clone().requires_grad_()
    moving = Gaussians(means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh)
    gradients = []
    for module in (cuda, reference):
        rendering = module.rasterize(moving, camera)
        rendering.means2d.retain_grad()
        rendering.values.square().sum().backward()
        assert rendering.means2d.grad is not None
        gradients.append(rendering.means2d.grad)
    assert relative(*gradients) <= 1e-4


@pytest.mark.usefixtures("kernels")
def test_contributions_follow_from_the_listed_ids(scene: tuple[Gaussians, Camera]) -> None:
    found, expected = cuda.contributions(*scene), reference.contributions(*scene)
    assert torch.equal(found.offsets, expected.offsets)
    assert torch.equal(found.ids, expected.ids)
    assert (found.weights - expected.weights).abs().max() <= 1e-5


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("grid", [(5, 7), (1, 3), (50, 70)])
def test_lifting_around_the_kernels_equals_the_reference(
    grid: tuple[int, int], scene: tuple[Gaussians, Camera]
) -> None:
    found, expected = cuda.lifting_matrix(*scene, grid), reference.lifting_matrix(*scene, grid)
    assert relative(found.to_dense(), expected.to_dense()) <= 1e-5
    patches = torch.rand(*grid, 4, generator=torch.Generator().manual_seed(1))
    sums, weights = torch.zeros(len(scene[0]), 4), torch.zeros(len(scene[0]))
    cuda.lift_views_(sums, weights, scene[0], [scene[1]] * 2, [patches] * 2)
    assert relative(sums, 2 * expected @ patches.reshape(-1, 4)) <= 1e-5
    assert relative(weights, 2 * expected.to_dense().sum(1)) <= 1e-5


@pytest.mark.usefixtures("kernels")
def test_transposed_rendering_around_the_kernels_equals_the_reference(scene: tuple[Gaussians, Camera]) -> None:
    maps = torch.randn(50, 70, 40, generator=torch.Generator().manual_seed(2))
    for found, expected in zip(
        cuda.rasterize_transposed(*scene, maps), reference.rasterize_transposed(*scene, maps), strict=True
    ):
        assert relative(found, expected) <= 1e-5


def test_contributions_of_some_pixels_are_those_of_all_with_the_others_empty(kernels: None) -> None:
    gaussians, camera = make_scene(200, 40, 30)
    mask = torch.rand(30, 40, generator=torch.Generator().manual_seed(0)) < 0.2
    every = cuda.contributions(gaussians, camera).only(mask)
    some = cuda.contributions(gaussians, camera, mask)
    assert torch.equal(some.offsets, every.offsets)
    assert torch.equal(some.ids, every.ids)
    assert torch.allclose(some.weights, every.weights, atol=1e-6)
    assert some.offsets.diff()[mask.flatten()].sum() == len(some.ids) > 100
