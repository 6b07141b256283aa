"""Lifting feature maps onto Gaussians."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from render.camera import Camera
from render.devices import is_accelerated, resolve_device
from render.errors import InputError
from render.gaussians import Gaussians
from render.rasterizer import rasterize, reference
from render.views import View
from uplift import FeatureMapCache, lift, lift_memory, lifting, load_encoder
from uplift.encoders.dense_descriptors import DenseDescriptors

WIDTH, HEIGHT = 48, 36


def scene(n: int = 150, views: int = 3) -> tuple[Gaussians, list[View]]:
    """Random Gaussians in front of cameras on an arc; Gaussian 0 lies behind all of them."""
    generator = torch.Generator().manual_seed(0)
    means = torch.rand(n, 3, generator=generator) * 2 - 1
    means[0] = torch.tensor([0.0, 0.0, -9.0])
    gaussians = Gaussians(
        means=means,
        quats=torch.randn(n, 4, generator=generator),
        scales=torch.rand(n, 3, generator=generator) * 0.15 + 0.03,
        opacities=torch.rand(n, generator=generator) * 0.8 + 0.1,
        sh=torch.randn(n, 1, 3, generator=generator),
    )
    return gaussians, [view(i, 0.4 * (i - (views - 1) / 2)) for i in range(views)]


def view(index: int, angle: float) -> View:
    pose = torch.eye(4)
    pose[0, 0] = pose[2, 2] = math.cos(angle)
    pose[0, 2], pose[2, 0] = math.sin(angle), -math.sin(angle)
    pose[2, 3] = 4.0
    K = torch.tensor([[50.0, 0, WIDTH / 2], [0, 50.0, HEIGHT / 2], [0, 0, 1]])
    generator = np.random.default_rng(index)
    photo = generator.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return View(f"v{index}", Camera(K, pose, WIDTH, HEIGHT), lambda: photo)


def random_maps(views: int, gh: int, gw: int, c: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(gh, gw, c, generator=generator) for _ in range(views)]


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (9, 12), (5, 7), (1, 1)])
def test_a_constant_map_lifts_to_that_constant(size: tuple[int, int]) -> None:
    gaussians, views = scene()
    constant = torch.tensor([0.3, -2.0, 5.0, 0.0])
    field = lift(gaussians, views, [constant.expand(*size, 4)] * 3)
    seen = field.weights > 0
    assert 100 < seen.sum() < 150
    torch.testing.assert_close(field.values[seen], constant.expand(int(seen.sum()), 4), rtol=1e-5, atol=1e-5)


def test_gaussians_never_seen_have_weight_and_value_zero() -> None:
    gaussians, views = scene()
    for refine in (0, 2):
        field = lift(gaussians, views, random_maps(3, 9, 12, 4), refine=refine)
        assert field.weights[0] == 0
        assert (field.values[0] == 0).all()
        assert field.values.isfinite().all()


def test_weights_are_the_sums_of_the_blending_weights() -> None:
    gaussians, views = scene()
    expected = torch.zeros(len(gaussians))
    for v in views:
        expected += reference.contributions(gaussians, v.camera).to_sparse(len(gaussians)).to_dense().sum(0)
    for size in ((HEIGHT, WIDTH), (9, 12)):
        field = lift(gaussians, views, random_maps(3, *size, 2))
        torch.testing.assert_close(field.weights, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("c", [1, 3, 70])
def test_lifting_is_the_adjoint_of_rendering(c: int) -> None:
    gaussians, views = scene()
    maps = random_maps(3, HEIGHT, WIDTH, c)
    field = lift(gaussians, views, maps)
    numerators = field.values * field.weights[:, None]
    f = torch.randn(len(gaussians), c, generator=torch.Generator().manual_seed(2))
    rendered = [rasterize(gaussians, v.camera, values=f).values for v in views]
    left = sum(float((r.double() * m).sum()) for r, m in zip(rendered, maps, strict=True))
    right = float((f.double() * numerators).sum())
    scale = sum(float(r.norm() * m.norm()) for r, m in zip(rendered, maps, strict=True))
    assert abs(left - right) < 1e-5 * scale


@pytest.mark.parametrize("grid", [(9, 12), (7, 11), (1, 5), (18, 24)])
def test_lifting_a_grid_equals_lifting_its_bilinear_interpolation(grid: tuple[int, int]) -> None:
    gaussians, views = scene()
    maps = random_maps(3, *grid, 5)
    dense = [
        torch.nn.functional.interpolate(
            m.permute(2, 0, 1)[None], (HEIGHT, WIDTH), mode="bilinear", align_corners=False
        )[0].permute(1, 2, 0)
        for m in maps
    ]
    on_grid, at_pixels = lift(gaussians, views, maps), lift(gaussians, views, dense)
    assert (on_grid.values - at_pixels.values).norm() <= 1e-5 * at_pixels.values.norm()
    torch.testing.assert_close(on_grid.weights, at_pixels.weights, rtol=1e-5, atol=1e-4)


def residual(gaussians: Gaussians, views: list[View], maps: list[torch.Tensor], f: torch.Tensor) -> float:
    rendered = [rasterize(gaussians, v.camera, values=f).values for v in views]
    return sum(float((m - r).square().sum()) for m, r in zip(maps, rendered, strict=True))


def test_refining_lowers_the_reprojection_residual_step_by_step() -> None:
    gaussians, views = scene()
    maps = random_maps(3, HEIGHT, WIDTH, 3)
    residuals = [residual(gaussians, views, maps, lift(gaussians, views, maps, refine=k).values) for k in (0, 1, 2, 5)]
    assert residuals == sorted(residuals, reverse=True)
    assert residuals[3] < residuals[0] * 0.99


def test_refining_equals_its_formula_in_float64() -> None:
    gaussians, views = scene(60, 2)
    maps = random_maps(2, 9, 12, 4)
    W = torch.cat([reference.contributions(gaussians, v.camera).to_sparse(60).to_dense().double() for v in views])
    U = reference.bilinear_matrix(views[0].camera, (9, 12), gaussians.opacities).to_dense().double()
    F = torch.cat([U @ m.reshape(-1, 4).double() for m in maps])
    D = W.sum(0)[:, None]
    inverse = torch.where(D > 0, 1 / D, torch.zeros_like(D))
    f = inverse * (W.T @ F)
    for _ in range(3):
        f = f + inverse * (W.T @ (F - W @ f))
    refined = lift(gaussians, views, maps, refine=3).values.double()
    assert (refined - f).norm() <= 1e-4 * f.norm()


def test_chunks_of_channels_and_batches_of_views_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    gaussians, views = scene(80, 5)
    for size in ((HEIGHT, WIDTH), (9, 12)):
        maps = random_maps(5, *size, 7)
        whole = lift(gaussians, views, maps, refine=1)
        with monkeypatch.context() as patch:
            patch.setattr(lifting, "CHUNK_BYTES", 4 * 3 * (6 * 80 + 4 * HEIGHT * WIDTH))
            patch.setattr(lifting, "VIEWS_PER_BATCH", 2)
            parts = lift(gaussians, views, maps, refine=1)
        torch.testing.assert_close(parts.values, whole.values, rtol=1e-4, atol=1e-5)


def test_views_and_maps_are_released_as_lifting_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifting, "VIEWS_PER_BATCH", 2)
    gaussians, views = scene(40, 8)
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    most = [0]

    def read(v: View, size: tuple[int, int]) -> torch.Tensor:
        made = torch.randn(*size, 3)
        alive.add(made)
        most[0] = max(most[0], len(alive))
        return made

    lift(gaussians, views, lambda v: read(v, (9, 12)))
    assert most[0] <= 3
    assert len(alive) == 0
    most[0] = 0
    lift(gaussians, views, lambda v: read(v, (HEIGHT, WIDTH)))
    assert most[0] == 1


def test_each_photo_is_read_once_for_rgb_even_with_refining() -> None:
    gaussians, views = scene()
    reads: list[str] = []

    def counted(v: View) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            reads.append(v.name)
            return v.image()

        return read

    watched = [View(v.name, v.camera, counted(v)) for v in views]
    field = lift(gaussians, watched, load_encoder("rgb", device="cpu"), refine=2)
    assert reads == ["v0", "v1", "v2"]
    maps = [torch.from_numpy(v.image()) / 255 for v in views]
    torch.testing.assert_close(field.values, lift(gaussians, views, maps, refine=2).values)


def test_a_field_says_where_it_comes_from() -> None:
    gaussians, views = scene()
    encoder = load_encoder("rgb", device="cpu")
    field = lift(gaussians, views, encoder, refine=1, metadata={"note": "x"})
    assert (field.encoder, field.dimension, field.fingerprint) == ("rgb", 3, encoder.fingerprint())
    assert (field.metadata["views"], field.metadata["refine"], field.metadata["note"]) == (3, 1, "x")
    assert field.pca is not None
    assert lift(gaussians, views, random_maps(3, 9, 12, 4), name="mine").encoder == "mine"


def test_descriptors_are_fitted_lifted_and_restored_from_the_field() -> None:
    gaussians, views = scene()
    field = lift(gaussians, views, DenseDescriptors(8))
    assert field.dimension == 8
    restored = field.load_encoder(device="cpu")
    assert restored.encode(views[0].image()).shape == (7, 10, 8)
    again = lift(gaussians, views, restored)
    assert torch.equal(again.values, field.values)


def test_an_encoder_with_a_cache_is_asked_once_per_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gaussians, views = scene()
    encoder = DenseDescriptors(8)
    cache = FeatureMapCache(tmp_path / "maps")
    first = lift(gaussians, views, encoder, cache=cache)
    state = encoder.state()
    encoder = DenseDescriptors(8)
    encoder.load_state(state)
    monkeypatch.setattr(encoder, "encode", None)  # whoever calls it fails
    second = lift(gaussians, views, encoder, cache=cache)
    assert torch.equal(first.values, second.values)


def test_a_cancelled_lift_resumes_with_the_maps_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifting, "VIEWS_PER_BATCH", 1)
    gaussians, views = scene(views=6)
    encoder = DenseDescriptors(8)
    encoder.fit([v.image() for v in views])
    encoded: list[np.ndarray] = []
    plain = encoder.encode

    def counted(image: np.ndarray) -> torch.Tensor:
        encoded.append(image)
        return plain(image)

    monkeypatch.setattr(encoder, "encode", counted)

    def cancel(done: int, total: int, what: str) -> None:
        if what == "lifting" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lift(gaussians, views, encoder, cache=FeatureMapCache(tmp_path), progress=cancel)
    assert len(encoded) == 3
    resumed = lift(gaussians, views, encoder, cache=FeatureMapCache(tmp_path))
    assert len(encoded) == 6
    assert torch.equal(resumed.values, lift(gaussians, views, encoder, cache=FeatureMapCache(tmp_path / "new")).values)


def test_pruning_keeps_the_gaussians_with_the_largest_weights() -> None:
    gaussians, views = scene()
    maps = random_maps(3, 9, 12, 4)
    beta = lift(gaussians, views, maps).weights
    torch.testing.assert_close(lifting.total_weights(gaussians, views), beta)
    kept = beta.argsort(descending=True)[:60].sort().values
    pruned = lift(gaussians, views, maps, keep=60)
    dropped = torch.ones(150, dtype=torch.bool).index_fill_(0, kept, False)
    assert (pruned.weights[dropped] == 0).all()
    assert (pruned.values[dropped] == 0).all()
    alone = lift(gaussians[kept], views, maps)
    assert torch.equal(pruned.values[kept], alone.values)
    assert torch.equal(pruned.weights[kept], alone.weights)
    assert pruned.metadata["keep"] == 60
    assert (len(pruned), pruned.pca is not None) == (150, True)


def test_pruning_takes_a_fraction_or_a_number() -> None:
    gaussians, views = scene()
    maps = random_maps(3, 9, 12, 2)
    assert torch.equal(lift(gaussians, views, maps, keep=0.4).values, lift(gaussians, views, maps, keep=60).values)
    assert torch.equal(lift(gaussians, views, maps, keep=1.0).values, lift(gaussians, views, maps).values)
    for bad in (0, -3, 151, 0.0, 1.5, -0.5, float("nan"), float("inf")):
        with pytest.raises(InputError, match="Pruning keeps a fraction between 0 and 1"):
            lift(gaussians, views, maps, keep=bad)


def test_pruning_half_hardly_changes_what_is_rendered() -> None:
    gaussians, views = scene(400)
    maps = [torch.from_numpy(v.image()[::4, ::4].copy()) / 255 for v in views]
    whole, pruned = lift(gaussians, views, maps), lift(gaussians, views, maps, keep=0.5)
    camera = views[1].camera
    assert whole.carried_by(gaussians)[0] is gaussians
    assert len(pruned.carried_by(gaussians)[0]) == 200
    before, after = (rasterize(g, camera, v).values for g, v in (f.carried_by(gaussians) for f in (whole, pruned)))
    assert (before - after).abs().mean() < 0.1 * before.abs().mean()


def test_count_normalization_divides_by_the_pixels_that_show_a_gaussian() -> None:
    gaussians, views = scene(60, 2)
    maps = random_maps(2, HEIGHT, WIDTH, 3)
    W = torch.cat([reference.contributions(gaussians, v.camera).to_sparse(60).to_dense() for v in views])
    counts = (W > 0).sum(0)[:, None]
    expected = torch.where(counts > 0, W.T @ torch.cat([m.reshape(-1, 3) for m in maps]) / counts, torch.zeros(()))
    counted = lift(gaussians, views, maps, normalization="count")
    torch.testing.assert_close(counted.values, expected, rtol=1e-3, atol=1e-4)
    assert torch.equal(counted.weights, lift(gaussians, views, maps).weights)
    assert counted.metadata["normalization"] == "count"
    with pytest.raises(InputError, match="refine=1 and count"):
        lift(gaussians, views, maps, normalization="count", refine=1)


def test_a_field_names_the_hash_of_the_weights_and_the_options(tmp_path: Path) -> None:
    from tests.tiny_models import tiny_vit_file

    gaussians, views = scene()
    name, weights = tiny_vit_file(tmp_path)
    encoder = load_encoder(name, weights, "cpu", options={"window": 32, "stride": 16})
    field = lift(gaussians, views, encoder)
    assert field.metadata["weights"] == encoder.weights_hash()
    assert field.metadata["options"] == {"window": 32, "stride": 16}
    assert (field.dimension, field.licence) == (64, "Apache-2.0")
    assert torch.equal(field.load_encoder(weights, "cpu").encode(views[0].image()), encoder.encode(views[0].image()))


def test_maps_are_taken_by_name_in_order_or_from_a_function() -> None:
    gaussians, views = scene()
    maps = random_maps(3, 9, 12, 2)
    by_name = {v.name: m.numpy() for v, m in zip(reversed(views), reversed(maps), strict=True)}
    expected = lift(gaussians, views, maps).values
    assert torch.equal(lift(gaussians, views, by_name).values, expected)
    assert torch.equal(lift(gaussians, views, lambda v: by_name[v.name]).values, expected)


def test_gradients_and_the_callers_tensors_are_left_alone() -> None:
    gaussians, views = scene()
    maps = random_maps(3, HEIGHT, WIDTH, 2)
    before = [m.clone() for m in maps]
    field = lift(gaussians, views, [m.requires_grad_() for m in maps], refine=1)
    assert not field.values.requires_grad
    assert all(torch.equal(m, b) for m, b in zip(maps, before, strict=True))


@pytest.mark.parametrize("shape", [(WIDTH, HEIGHT, 3), (HEIGHT - 1, WIDTH, 3), (30, 40, 3), (9, 12), (0, 4, 3)])
def test_a_map_of_the_wrong_size_is_refused_by_view_and_size(shape: tuple[int, ...]) -> None:
    gaussians, views = scene()
    maps = [*random_maps(2, HEIGHT, WIDTH, 3), torch.zeros(shape)]
    with pytest.raises(InputError, match=r"view v2 must have shape \[36, 48, c\].*found \["):
        lift(gaussians, views, maps)


def test_channels_that_differ_between_views_are_refused() -> None:
    gaussians, views = scene()
    maps = [*random_maps(2, 9, 12, 3), *random_maps(1, 9, 12, 4)]
    with pytest.raises(InputError, match="view v2 has 4 channels, those before it had 3"):
        lift(gaussians, views, maps)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_maps_that_are_not_finite_are_refused(bad: float) -> None:
    gaussians, views = scene()
    maps = random_maps(3, 9, 12, 3)
    maps[1][4, 5, 2] = bad
    with pytest.raises(InputError, match="view v1 has NaN or infinite"):
        lift(gaussians, views, maps)


def test_missing_maps_are_named() -> None:
    gaussians, views = scene()
    with pytest.raises(InputError, match="2 of 3 views have no feature map: v0, v2;"):
        lift(gaussians, views, {"v1": torch.zeros(9, 12, 3)})
    with pytest.raises(InputError, match="found 2 for 3 views"):
        lift(gaussians, views, random_maps(2, 9, 12, 3))


def test_views_that_see_nothing_are_refused() -> None:
    gaussians, views = scene()
    with pytest.raises(InputError, match="None of the 3 views sees any of the 1 Gaussians"):
        lift(gaussians[:1], views, random_maps(3, 9, 12, 3))


def test_no_gaussians_no_views_and_negative_steps_are_refused() -> None:
    gaussians, views = scene()
    with pytest.raises(InputError, match="found 0 Gaussians"):
        lift(gaussians[:0], views, random_maps(3, 9, 12, 3))
    with pytest.raises(InputError, match="at least one view"):
        lift(gaussians, [], [])
    with pytest.raises(InputError, match="refine=-1"):
        lift(gaussians, views, random_maps(3, 9, 12, 3), refine=-1)


def test_a_photo_that_is_not_the_cameras_is_refused() -> None:
    gaussians, views = scene()
    small = View("v0", views[0].camera, lambda: np.zeros((10, 20, 3), np.uint8))
    with pytest.raises(InputError, match="view v0 has 20x10 pixels, but its camera has 48x36"):
        lift(gaussians, [small], load_encoder("rgb", device="cpu"))


def test_progress_reports_every_view_and_raising_from_it_cancels() -> None:
    gaussians, views = scene()
    reports: list[tuple[int, int, str]] = []
    lift(gaussians, views, random_maps(3, 9, 12, 3), refine=2, progress=lambda *report: reports.append(report))
    assert [r for r in reports if r[2] == "lifting"] == [(i, 3, "lifting") for i in range(4)]
    assert [r for r in reports if r[2] == "refining"] == [(i, 6, "refining") for i in range(7)]

    def cancel(done: int, total: int, what: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    maps = random_maps(3, 9, 12, 3)
    before = [m.clone() for m in maps]
    with pytest.raises(KeyboardInterrupt):
        lift(gaussians, views, maps, progress=cancel)
    assert all(torch.equal(m, b) for m, b in zip(maps, before, strict=True))


def test_the_memory_estimate_covers_the_arrays_and_grows_with_the_work() -> None:
    bar = lift_memory(200_000, 384, (480, 640), (34, 45), views=50)
    assert 200_000 * 384 * 4 < bar < 2e9
    assert lift_memory(200_000, 384, (480, 640), views=50) > 480 * 640 * 384 * 4
    assert lift_memory(400_000, 384, (480, 640), (34, 45)) > bar
    assert lift_memory(200_000, 384, (480, 640), (34, 45), refine=1) >= bar
    assert lift_memory(200_000, 384, (480, 640), (34, 45), views=50, keep=0.5) > 300_000 * 384 * 4
    assert lift_memory(1000, 3, (480, 640), (34, 45), normalization="count") > 480 * 640 * 400


@pytest.mark.gpu
@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (9, 12)])
def test_an_accelerator_lifts_as_the_cpu_does(size: tuple[int, int]) -> None:
    device = resolve_device("auto")
    if not is_accelerated(device):
        pytest.skip("no NVIDIA GPU")
    gaussians, views = scene()
    maps = random_maps(3, *size, 5)
    there, here = lift(gaussians, views, maps, refine=1, device=device), lift(gaussians, views, maps, refine=1)
    assert there.values.device.type == device.type
    assert (there.to("cpu").values - here.values).norm() <= 1e-4 * here.values.norm()
