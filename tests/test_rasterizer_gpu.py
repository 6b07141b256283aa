"""gsplat's kernels against the torch reference, where there is an NVIDIA GPU."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from render import contributions, lift_views_, lifting_matrix, rasterize, rasterize_transposed
from render.gaussians import Gaussians
from render.rasterizer import reference
from tests.test_rasterizer import make_scene, relative

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine"),
]


def test_images_agree_with_the_reference() -> None:
    gaussians, camera = make_scene(5000, 160, 120)
    found = rasterize(gaussians.to("cuda"), camera, background=torch.ones(3, device="cuda"))
    expected = reference.rasterize(gaussians, camera, background=torch.ones(3))
    for name in ("values", "alpha"):
        error = (getattr(found, name).cpu() - getattr(expected, name)).abs().flatten()
        assert error.quantile(0.9999) <= 1e-4, name


def test_gradients_agree_with_the_reference() -> None:
    gaussians, camera = make_scene(1000, 70, 50)
    results = []
    for device, module in (("cuda", rasterize), ("cpu", reference.rasterize)):
        leaves = [getattr(gaussians, f.name).to(device).requires_grad_() for f in fields(gaussians)]
        rendering = module(Gaussians(*leaves), camera)
        results.append(torch.autograd.grad(rendering.values.square().sum(), leaves))
    for found, expected in zip(*results, strict=True):
        assert relative(found.cpu(), expected) <= 1e-3


def test_screen_gradients_are_left_on_the_rendering() -> None:
    gaussians, camera = make_scene(1000, 70, 50)
    means = gaussians.means.to("cuda").requires_grad_()
    moving = gaussians.to("cuda")
    rendering = rasterize(
        Gaussians(means, moving.quats, moving.scales, moving.opacities, moving.sh), camera, absgrad=True
    )
    rendering.means2d.retain_grad()
    rendering.values.sum().backward()
    assert rendering.means2d.grad is not None
    absolute = rendering.means2d.absgrad
    assert (absolute >= rendering.means2d.grad.abs() * 0.999 - 1e-5).all()


def test_attribution_and_lifting_agree_with_the_reference() -> None:
    gaussians, camera = make_scene(1000, 70, 50)
    moved = gaussians.to("cuda")
    found, expected = contributions(moved, camera), reference.contributions(gaussians, camera)
    n = len(gaussians)
    assert relative(found.to_sparse(n).to_dense().cpu(), expected.to_sparse(n).to_dense()) <= 1e-4
    matrix = reference.lifting_matrix(gaussians, camera, (5, 7))
    assert relative(lifting_matrix(moved, camera, (5, 7)).to_dense().cpu(), matrix.to_dense()) <= 1e-4
    patches = torch.rand(5, 7, 40)
    sums, weights = torch.zeros(n, 40, device="cuda"), torch.zeros(n, device="cuda")
    lift_views_(sums, weights, moved, [camera], [patches.to("cuda")])
    assert relative(sums.cpu(), matrix @ patches.reshape(-1, 40)) <= 1e-4
    maps = torch.rand(50, 70, 40)
    for a, b in zip(
        rasterize_transposed(moved, camera, maps.to("cuda")),
        reference.rasterize_transposed(gaussians, camera, maps),
        strict=True,
    ):
        assert relative(a.cpu(), b) <= 1e-4
