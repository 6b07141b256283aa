from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import numba
import numpy as np
import pytest
import torch

from render import (
    Camera,
    Gaussians,
    InputError,
    Rendering,
    contributions,
    lift_views_,
    lifting_matrix,
    rasterize,
    rasterize_transposed,
)
from render.rasterizer import reference
from render.rasterizer import threads as threads_module
from render.rasterizer._frame import Projected, sort_into_tiles
from render.rasterizer._simd import _CACHE, kernel
from render.rasterizer.threads import kernels_alone_on_all_threads

GRIDS = [(5, 7), (1, 1), (4, 1), (13, 9), (50, 70), (60, 80)]


def make_scene(n: int, width: int, height: int, *, degree: int = 3, seed: int = 0) -> tuple[Gaussians, Camera]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    gaussians = Gaussians(
        means=normal(n, 3) * torch.tensor([1.2, 0.9, 0.6]) + torch.tensor([0.0, 0.0, 3.0]),
        quats=normal(n, 4),
        scales=torch.exp(normal(n, 3) * 0.7 - 3.2) * (300 / n) ** 0.3,
        opacities=torch.sigmoid(2 * normal(n)),
        sh=normal(n, (degree + 1) ** 2, 3) * 0.3,
    )
    angle = torch.tensor(0.2)
    pose = torch.eye(4)
    pose[0, 0] = pose[2, 2] = angle.cos()
    pose[0, 2], pose[2, 0] = angle.sin(), -angle.sin()
    pose[:3, 3] = torch.tensor([0.1, -0.05, 0.2])
    K = torch.tensor([[0.9 * width, 0.0, 0.51 * width], [0.0, 0.95 * width, 0.48 * height], [0.0, 0.0, 1.0]])
    return gaussians, Camera(K, pose, width, height)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def small() -> tuple[Gaussians, Camera]:
    return make_scene(400, 70, 50)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def test_image_alpha_and_depth_agree_with_the_reference_on_20k_gaussians() -> None:
    gaussians, camera = make_scene(20_000, 160, 120)
    fast = rasterize(gaussians, camera)
    # float64, so that the error is the fast path's own.
    exact = reference.rasterize(gaussians.to(dtype=torch.float64), camera.to(dtype=torch.float64))
    for name in ("values", "alpha"):
        error = (getattr(fast, name) - getattr(exact, name)).abs().flatten()
        assert error.quantile(0.9999) <= 1e-5, name
        assert (error > 1e-3).sum() <= 3, name  # a contribution that falls on the other side of 1/255
    depth_error = ((fast.depth - exact.depth).abs() / exact.depth.clamp_min(1)).flatten()
    assert depth_error.quantile(0.999) <= 1e-4
    assert torch.equal(fast.radii, exact.radii)
    assert fast.alpha.mean() > 0.5


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_gradients_agree_with_float64_autograd(degree: int) -> None:
    scene, view = make_scene(800, 70, 50, degree=degree, seed=degree)
    background = torch.tensor([0.2, 0.4, 0.6])
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(50, 70, *c, generator=generator, dtype=torch.float64) for c in ((3,), (), ())]

    def gradients(rasterizer: Callable[..., Rendering], dtype: torch.dtype) -> dict[str, torch.Tensor]:
        leaves = {f.name: getattr(scene, f.name).to(dtype).clone().requires_grad_() for f in fields(scene)}
        leaves["pose"] = view.world_to_camera.to(dtype).clone().requires_grad_()
        leaves["background"] = background.to(dtype).clone().requires_grad_()
        camera = Camera(view.K.to(dtype), leaves["pose"], view.width, view.height)
        gaussians = Gaussians(**{f.name: leaves[f.name] for f in fields(scene)})
        rendering = rasterizer(gaussians, camera, None, leaves["background"])
        loss = sum(
            (w.to(dtype) * output).sum()
            for w, output in zip(weights, (rendering.values, rendering.alpha, rendering.depth), strict=True)
        )
        assert isinstance(loss, torch.Tensor)
        loss.backward()
        return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}

    found, expected = gradients(rasterize, torch.float32), gradients(reference.rasterize, torch.float64)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert relative(found[name], gradient) <= 1e-5, name


@pytest.mark.parametrize("channels", [1, 3, 40, 70])
def test_any_number_of_channels_is_rendered_and_differentiated(channels: int, small: tuple[Gaussians, Camera]) -> None:
    gaussians, camera = small
    values = torch.randn(len(gaussians), channels, generator=torch.Generator().manual_seed(2)).requires_grad_()
    opacities = gaussians.opacities.clone().requires_grad_()
    scene = Gaussians(gaussians.means, gaussians.quats, gaussians.scales, opacities, gaussians.sh)
    image = rasterize(scene, camera, values).values
    expected = reference.rasterize(scene, camera, values).values
    assert (image - expected).abs().max() <= 1e-5
    target = torch.randn(image.shape, generator=torch.Generator().manual_seed(3))
    found = torch.autograd.grad((image * target).sum(), [values, opacities])
    wanted = torch.autograd.grad((expected * target).sum(), [values, opacities])
    for a, b in zip(found, wanted, strict=True):
        assert relative(a, b) <= 1e-5


def test_reference_gradients_pass_gradcheck() -> None:
    gaussians, camera = make_scene(6, 9, 7, degree=1, seed=4)
    gaussians, camera = gaussians.to(dtype=torch.float64), camera.to(dtype=torch.float64)
    inputs = [getattr(gaussians, f.name).clone().requires_grad_() for f in fields(gaussians)]

    def image(*leaves: torch.Tensor) -> torch.Tensor:
        return reference.rasterize(Gaussians(*leaves), camera).values

    assert torch.autograd.gradcheck(image, inputs, eps=1e-7, atol=1e-5)


def test_absolute_screen_gradients_sum_the_magnitudes_of_the_pixels(small: tuple[Gaussians, Camera]) -> None:
    gaussians, camera = small
    means = gaussians.means.clone().requires_grad_()
    scene = Gaussians(means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh)
    rendering = rasterize(scene, camera, absgrad=True)
    rendering.means2d.retain_grad()
    weight = torch.randn(rendering.values.shape, generator=torch.Generator().manual_seed(5))
    (rendering.values * weight).sum().backward()
    absolute = rendering.means2d.absgrad
    assert rendering.means2d.grad is not None
    signed = torch.zeros_like(absolute)
    total = torch.zeros_like(absolute)
    for column in range(0, camera.width, 1):
        # One column of pixels at a time: triangle inequality within it, so a lower bound of the total.
        part = rasterize(scene, camera)
        part.means2d.retain_grad()
        (part.values[:, column] * weight[:, column]).sum().backward()
        assert part.means2d.grad is not None
        signed += part.means2d.grad
        total += part.means2d.grad.abs()
    assert relative(rendering.means2d.grad, signed) <= 1e-4
    assert (absolute >= total - 1e-3 * total.max()).all()
    assert (absolute >= rendering.means2d.grad.abs() * 0.999 - 1e-5).all()


def test_contributions_are_the_rendering_matrix(small: tuple[Gaussians, Camera]) -> None:
    gaussians, camera = small
    fast, exact = contributions(gaussians, camera), reference.contributions(gaussians, camera)
    assert torch.equal(fast.offsets, exact.offsets)
    assert torch.equal(fast.ids, exact.ids)
    assert (fast.weights - exact.weights).abs().max() <= 1e-5
    values = torch.rand(len(gaussians), 5)
    image = (fast.to_sparse(len(gaussians)) @ values).reshape(camera.height, camera.width, 5)
    assert (image - rasterize(gaussians, camera, values).values).abs().max() <= 1e-5


@pytest.mark.parametrize("grid", GRIDS)
def test_lifting_matrix_equals_dense_lifting_of_the_upsampled_map(
    grid: tuple[int, int], small: tuple[Gaussians, Camera]
) -> None:
    gaussians, camera = small
    patches = torch.rand(*grid, 3, generator=torch.Generator().manual_seed(6))
    upsampled = torch.nn.functional.interpolate(
        patches.permute(2, 0, 1)[None], (camera.height, camera.width), mode="bilinear", align_corners=False
    )[0].permute(1, 2, 0)
    dense, weights = rasterize_transposed(gaussians, camera, upsampled)
    matrix = lifting_matrix(gaussians, camera, grid)
    assert relative(matrix @ patches.reshape(-1, 3), dense) <= 1e-5
    assert relative(matrix.to_dense().sum(1), weights) <= 1e-5
    assert relative(matrix.to_dense(), reference.lifting_matrix(gaussians, camera, grid).to_dense()) <= 1e-5


def test_transposed_rendering_is_the_adjoint_of_rendering() -> None:
    gaussians, camera = make_scene(3000, 150, 110, seed=7)
    generator = torch.Generator().manual_seed(8)
    values = torch.randn(len(gaussians), 35, generator=generator)
    pixels = torch.randn(camera.height, camera.width, 35, generator=generator)
    left = (rasterize(gaussians, camera, values).values.double() * pixels).sum()
    sums, weights = rasterize_transposed(gaussians, camera, pixels)
    right = (values.double() * sums).sum()
    scale = rasterize(gaussians, camera, values).values.norm() * pixels.norm()
    assert abs(left - right) <= 1e-5 * scale
    assert relative(weights.sum(), rasterize(gaussians, camera).alpha.sum()) <= 1e-5


def test_lifting_several_views_at_once_adds_them_up(small: tuple[Gaussians, Camera]) -> None:
    gaussians, camera = small
    generator = torch.Generator().manual_seed(9)
    cameras, maps = [], []
    for shift in range(11):  # more than one batch, and grids of two sizes
        pose = camera.world_to_camera.clone()
        pose[0, 3] += 0.05 * shift
        cameras.append(Camera(camera.K, pose, camera.width, camera.height))
        maps.append(torch.rand(5 + shift % 2, 7, 33, generator=generator))
    sums, weights = torch.ones(len(gaussians), 33), torch.ones(len(gaussians))
    lift_views_(sums, weights, gaussians, cameras, maps)
    expected, total = torch.ones_like(sums), torch.ones_like(weights)
    for view, patches in zip(cameras, maps, strict=True):
        matrix = reference.lifting_matrix(gaussians, view, (patches.shape[0], patches.shape[1]))
        expected += matrix @ patches.reshape(-1, 33)
        total += matrix.to_dense().sum(1)
    assert relative(sums, expected) <= 1e-5
    assert relative(weights, total) <= 1e-5


def test_a_constant_map_lifts_to_that_constant(small: tuple[Gaussians, Camera]) -> None:
    gaussians, camera = small
    constant = torch.tensor([0.3, -2.0])
    sums, weights = torch.zeros(len(gaussians), 2), torch.zeros(len(gaussians))
    lift_views_(sums, weights, gaussians, [camera], [constant.expand(6, 8, 2)])
    seen = weights > 0
    assert seen.sum() > 100
    assert ((sums[seen] / weights[seen, None] - constant).abs() <= 1e-5).all()
    assert (sums[~seen] == 0).all()


def test_bits_do_not_depend_on_the_number_of_threads(threads: None) -> None:
    gaussians, camera = make_scene(6000, 200, 150, seed=10)
    leaves = [getattr(gaussians, f.name).clone().requires_grad_() for f in fields(gaussians)]
    pose = camera.world_to_camera.clone().requires_grad_()

    def everything() -> list[torch.Tensor]:
        rendering = rasterize(Gaussians(*leaves), Camera(camera.K, pose, camera.width, camera.height))
        grads = torch.autograd.grad(rendering.values.square().sum() + rendering.depth.sum(), [*leaves, pose])
        matrix = lifting_matrix(gaussians, camera, (10, 14))
        sums, weights = torch.zeros(len(gaussians), 40), torch.zeros(len(gaussians))
        lift_views_(sums, weights, gaussians, [camera] * 2, [torch.ones(10, 14, 40)] * 2)
        listed = contributions(gaussians, camera)
        return [rendering.values, rendering.alpha, *grads, matrix.values(), sums, weights, listed.ids, listed.weights]

    torch.set_num_threads(1)
    one = everything()
    torch.set_num_threads(2)
    two = everything()
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a, b)


def test_two_threads_may_render_at_once(small: tuple[Gaussians, Camera]) -> None:
    gaussians, camera = small
    expected = rasterize(gaussians, camera).values
    results: list[torch.Tensor] = []

    def work() -> None:
        for _ in range(20):
            results.append(rasterize(gaussians, camera).values)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 60
    assert all(torch.equal(result, expected) for result in results)


def test_a_forked_child_can_render(small: tuple[Gaussians, Camera]) -> None:
    # Fresh interpreter: forking the test runner would copy its threads' locks.
    code = (
        "import os, torch; torch.set_num_threads(2)\n"
        "from tests.test_rasterizer import make_scene, rasterize\n"
        "scene = make_scene(200, 64, 48); rasterize(*scene)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    torch.set_num_threads(2); os._exit(0 if rasterize(*scene).alpha.sum() > 0 else 1)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0


def test_the_first_compilation_is_announced(tmp_path: object) -> None:
    code = "from tests.test_rasterizer import make_scene, rasterize; rasterize(*make_scene(50, 32, 32))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
    )
    assert "Compiling the CPU rasterizer" in run.stderr
    again = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
    )
    assert "Compiling" not in again.stderr


def test_kernels_that_several_threads_import_are_kept_in_one_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def slow(**_: object) -> Callable[[float], float]:
        def compile_(seconds: float) -> float:
            time.sleep(seconds)
            seen.append(numba.config.CACHE_DIR)
            return seconds

        return compile_

    monkeypatch.setattr(numba, "njit", slow)
    before = numba.config.CACHE_DIR
    with ThreadPoolExecutor(2) as pool:  # the second begins before the first ends, and ends after it
        list(pool.map(kernel, (0.1, 0.3)))
    assert seen == [str(_CACHE)] * 2
    assert before == numba.config.CACHE_DIR


def test_a_camera_that_sees_nothing_gets_the_background(small: tuple[Gaussians, Camera]) -> None:
    gaussians, camera = small
    behind = camera.world_to_camera.clone()
    behind[2, 3] -= 100
    camera = Camera(camera.K, behind, camera.width, camera.height)
    background = torch.tensor([0.1, 0.2, 0.3])
    rendering = rasterize(gaussians, camera, background=background)
    assert torch.equal(rendering.values, background.expand_as(rendering.values))
    assert not rendering.alpha.any()
    assert not rendering.depth.any()
    assert len(contributions(gaussians, camera).ids) == 0
    assert lifting_matrix(gaussians, camera, (3, 4)).values().numel() == 0
    assert not rasterize_transposed(gaussians, camera, torch.ones(50, 70, 2))[1].any()


def test_a_thread_whose_first_view_sees_nothing_gets_an_empty_matrix(small: tuple[Gaussians, Camera]) -> None:
    gaussians, camera = small
    behind = camera.world_to_camera.clone()
    behind[2, 3] -= 100
    found: list[torch.Tensor] = []

    def work() -> None:  # in a thread of its own, where no view before it has left arrays to use again
        found.append(lifting_matrix(gaussians, Camera(camera.K, behind, 70, 50), (3, 4)))
        found.append(lifting_matrix(gaussians[:0], camera, (3, 4)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [matrix.values().numel() for matrix in found] == [0, 0]
    assert [tuple(matrix.shape) for matrix in found] == [(400, 12), (0, 12)]


def test_contexts_of_threads_nest() -> None:
    before = torch.get_num_threads()
    with kernels_alone_on_all_threads():
        with kernels_alone_on_all_threads():
            assert threads_module._threads == before
        assert threads_module._threads == before
        assert torch.get_num_threads() == 1
    assert threads_module._threads is None
    assert torch.get_num_threads() == before


def test_zero_gaussians_give_the_background(small: tuple[Gaussians, Camera]) -> None:
    gaussians, camera = small
    rendering = rasterize(gaussians[:0], camera, background=torch.ones(3))
    assert (rendering.values == 1).all()


def test_subsets_blend_front_to_back() -> None:
    camera = Camera(torch.tensor([[20.0, 0, 8], [0, 20, 8], [0, 0, 1]]), torch.eye(4), 16, 16)
    pair = Gaussians(
        means=torch.tensor([[0.0, 0, 4], [0, 0, 2]]),
        quats=torch.tensor([[1.0, 0, 0, 0]] * 2),
        scales=torch.full((2, 3), 0.5),
        opacities=torch.tensor([0.9, 0.5]),
        sh=torch.zeros(2, 1, 3),
    )
    values = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    near_only = rasterize(pair[1:], camera, values[1:]).values[8, 8]
    both = rasterize(pair, camera, values).values[8, 8]
    assert both[1] == near_only[1]
    assert 0.4 < both[1] < 0.5
    assert 0.3 < both[0] < 0.5


@pytest.mark.parametrize(
    ("values", "background", "message"),
    [
        (torch.zeros(3, 2), None, r"one row for each of the 400 Gaussians"),
        (torch.zeros(400), None, r"found \[400\]"),
        (torch.zeros(400, 0), None, r"at least one channel"),
        (None, torch.zeros(4), r"background must have shape \[3\]"),
    ],
)
def test_wrong_shapes_are_refused(
    values: torch.Tensor | None, background: torch.Tensor | None, message: str, small: tuple[Gaussians, Camera]
) -> None:
    with pytest.raises(InputError, match=message):
        rasterize(*small, values, background)


def test_other_dtypes_and_sizes_are_refused(small: tuple[Gaussians, Camera]) -> None:
    gaussians, camera = small
    with pytest.raises(InputError, match="float32"):
        rasterize(gaussians.to(dtype=torch.float64), camera)
    with pytest.raises(InputError, match=r"shape \[50, 70, c\] with c > 0, found \[70, 50, 3\]"):
        rasterize_transposed(gaussians, camera, torch.zeros(70, 50, 3))
    with pytest.raises(InputError, match="at least one patch"):
        lifting_matrix(gaussians, camera, (0, 4))
    with pytest.raises(InputError, match=r"Map 1 must have shape \[gh, gw, 2\]"):
        lift_views_(
            torch.zeros(400, 2), torch.zeros(400), gaussians, [camera] * 2, [torch.zeros(3, 3, 2), torch.zeros(3, 3, 5)]
        )


def test_needles_and_giants_agree_with_the_reference() -> None:
    gaussians, camera = make_scene(300, 70, 50, seed=11)
    scales = gaussians.scales.clone()
    scales[:100, 0] *= 60  # needles
    scales[100:110] *= 200  # fill the image
    scales[110:120] *= 1e-4  # points
    scene = Gaussians(gaussians.means, gaussians.quats, scales, gaussians.opacities, gaussians.sh)
    fast = rasterize(scene, camera)
    exact = reference.rasterize(scene.to(dtype=torch.float64), camera.to(dtype=torch.float64))
    error = (fast.values - exact.values).abs().flatten()
    assert error.quantile(0.999) <= 1e-4
    assert torch.equal(fast.radii > 0, exact.radii > 0)


def test_no_tile_is_listed_beyond_those_that_were_counted() -> None:
    """Ellipses that end at a border of tiles, where rounding would list one more and write past the arrays."""
    n, random = 200_000, np.random.default_rng(0)
    angle, long, short = random.uniform(0, np.pi, n), random.uniform(1, 40, n), random.uniform(0.55, 1, n)
    cos, sin = np.cos(angle), np.sin(angle)
    xx, yy = (long * cos) ** 2 + (short * sin) ** 2, (long * sin) ** 2 + (short * cos) ** 2
    xy = (long**2 - short**2) * cos * sin
    log_opacity = random.uniform(-5, -0.01, n)
    reach = np.sqrt(2 * np.log(2) * (log_opacity + np.log2(255)))
    ends = 16 * random.integers(0, 16, n) + random.choice([-0.5, 0.5], n) + random.normal(0, 2e-4, n)
    projected = Projected(
        Camera(torch.eye(3), torch.eye(4), 256, 256),
        means2d=np.stack([ends + random.choice([-1, 1], n) * reach * np.sqrt(xx), random.uniform(0, 256, n)], 1).astype(
            np.float32
        ),
        conics=(np.stack([yy, -xy, xx], 1) / (xx * yy - xy**2)[:, None]).astype(np.float32),
        depths=np.ones(n, np.float32),
        variances=np.stack([xx, yy, log_opacity], 1).astype(np.float32),
        radii=np.ones((n, 2), np.int32),
    )
    tiles = sort_into_tiles(projected)
    assert (tiles.slot_ends <= tiles.slot_starts[1:]).all()
