"""The matrix from patches to Gaussians and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from render.errors import InputError
from render.rasterizer import rasterize
from tests.miniatures import tiny_objects
from training.finetuning import transport as module
from training.finetuning.measures import blurred, inconsistency, matching_width
from training.finetuning.transport import Transport, cached_transport, compute_transport
from uplift.encoders.windows import interpolation
from uplift.lifting import lift

GRIDS = [(5, 7), (5, 7), (9, 12), (5, 7)]
CHANNELS = 6


def random_maps() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(*grid, CHANNELS, generator=generator) for grid in GRIDS]


def on_grid(pixels: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """``U^T`` of a full-size map ``[h, w, c]``; ``[gh * gw, c]``."""
    sides = [
        torch.from_numpy(interpolation(np.arange(length) + 0.5, length / nodes / 2, length / nodes, nodes)).float()
        for nodes, length in zip(grid, pixels.shape[:2], strict=True)
    ]
    return torch.einsum("yi,xj,yxc->ijc", sides[0], sides[1], pixels).flatten(0, 1)


@pytest.fixture(scope="module")
def exact() -> Transport:
    scene = tiny_objects().scene
    return compute_transport(scene.gaussians, [view.camera for view in scene.views], GRIDS, dropped=0)


def test_it_is_lifting_followed_by_rendering_on_the_patches(exact: Transport) -> None:
    scene, maps = tiny_objects().scene, random_maps()
    field = lift(scene.gaussians, scene.views, maps)
    found = exact.apply(torch.cat([one.flatten(0, 1) for one in maps]))
    for index, (view, grid) in enumerate(zip(scene.views, GRIDS, strict=True)):
        rendered = rasterize(scene.gaussians, view.camera, field.values)
        light = on_grid(rendered.alpha.reshape(view.camera.height, view.camera.width, 1), grid)
        expected = on_grid(rendered.values, grid) / light
        torch.testing.assert_close(found[exact.rows(index)], expected, rtol=1e-4, atol=1e-4)
        pixels = on_grid(torch.ones(view.camera.height, view.camera.width, 1), grid)
        torch.testing.assert_close(exact.coverage[exact.rows(index)], (light / pixels)[:, 0], rtol=1e-4, atol=1e-4)


def test_small_entries_are_dropped_and_move_features_by_less_than_promised(exact: Transport) -> None:
    scene = tiny_objects().scene
    cameras = [view.camera for view in scene.views]
    features = torch.rand(len(exact), CHANNELS, generator=torch.Generator().manual_seed(1))
    for dropped in (0.01, 0.2):
        thin = compute_transport(scene.gaussians, cameras, GRIDS, dropped=dropped)
        assert thin.matrix.values().numel() < 0.9 * exact.matrix.values().numel()
        assert float((thin.apply(features) - exact.apply(features)).abs().max()) <= 2 * dropped
        torch.testing.assert_close(thin.apply(torch.ones(len(thin), 1)), torch.ones(len(thin), 1))


def test_patches_that_no_other_view_sees_have_no_target() -> None:
    scene = tiny_objects().scene
    camera = scene.views[0].camera
    alone = compute_transport(scene.gaussians, [camera], [(5, 7)])
    assert not alone.mask().any()
    twice = compute_transport(scene.gaussians, [camera, camera], [(5, 7), (5, 7)])
    torch.testing.assert_close(twice.others, torch.full((70,), 0.5), rtol=0, atol=1e-4)
    assert twice.mask().all()


def test_patches_that_show_nothing_have_no_target_and_zero_features() -> None:
    scene = tiny_objects().scene
    kept = scene.gaussians.means[:, 2] < 0.02  # the floor alone
    cameras = [view.camera for view in scene.views]
    transport = compute_transport(scene.gaussians[kept], cameras, GRIDS)
    empty = transport.coverage == 0
    assert 0 < int(empty.sum()) < len(transport)
    assert not transport.mask()[transport.coverage < 0.5].any()
    assert not transport.apply(torch.ones(len(transport), 1))[empty].any()


def test_without_other_views_only_the_own_one_counts(exact: Transport) -> None:
    own = exact.own_view()
    features = torch.rand(len(exact), CHANNELS, generator=torch.Generator().manual_seed(2))
    others = features.clone()
    others[exact.rows(1).start :] = 9.0
    first = exact.rows(0)
    torch.testing.assert_close(own.apply(features)[first], own.apply(others)[first])
    assert not torch.allclose(exact.apply(features)[first], exact.apply(others)[first])
    torch.testing.assert_close(own.apply(torch.ones(len(own), 1)), torch.ones(len(own), 1))


def test_it_is_computed_once_and_again_where_the_scene_or_the_file_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = tiny_objects().scene
    cameras = [view.camera for view in scene.views]
    first = cached_transport(tmp_path, scene.gaussians, cameras, GRIDS)
    (file,) = (tmp_path / "transports").iterdir()
    whole = file.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(module, "compute_transport", None)
        again = cached_transport(tmp_path, scene.gaussians, cameras, GRIDS)
        features = torch.rand(len(first), 3)
        assert torch.equal(again.apply(features), first.apply(features))
        assert torch.equal(again.mask(), first.mask())
        with pytest.raises(TypeError):
            cached_transport(tmp_path, scene.gaussians[:-1], cameras, GRIDS)
    for content in (whole[: len(whole) // 2], b"nothing"):
        file.write_bytes(content)
        with pytest.raises(InputError, match="truncated"):
            Transport.load(file)
        mended = cached_transport(tmp_path, scene.gaussians, cameras, GRIDS)
        assert torch.equal(mended.apply(features), first.apply(features))
    with pytest.raises(InputError, match="belongs to other Gaussians"):
        Transport.load(file, "another")


def test_what_makes_no_sense_is_refused(exact: Transport) -> None:
    scene = tiny_objects().scene
    cameras = [view.camera for view in scene.views]
    with pytest.raises(InputError, match="needs views, a grid for each"):
        compute_transport(scene.gaussians, cameras, GRIDS[:-1])
    away = scene.gaussians.with_values(means=scene.gaussians.means + 1000)
    with pytest.raises(InputError, match="None of the 4 views sees"):
        compute_transport(away, cameras, GRIDS)
    with pytest.raises(InputError, match="Expected features of"):
        exact.apply(torch.zeros(3, 2))


def test_features_that_views_agree_on_are_consistent(exact: Transport) -> None:
    features = torch.rand(len(exact), CHANNELS, generator=torch.Generator().manual_seed(3))
    carried = exact.apply(features)
    assert inconsistency(carried, exact) < 0.7 * inconsistency(features, exact)
    assert inconsistency(5 * features + 2, exact) == pytest.approx(inconsistency(features, exact), rel=1e-3)


def test_a_blur_goes_as_far_as_asked_or_as_it_can() -> None:
    maps = random_maps()
    masks = [torch.rand(grid, generator=torch.Generator().manual_seed(4)) > 0.3 for grid in GRIDS]
    for distance in (0.05, 0.2):
        width = matching_width(maps, masks, distance)
        moved = [(blurred(f, width) - f).abs().mean(-1)[m] for f, m in zip(maps, masks, strict=True)]
        assert float(torch.cat(moved).mean()) == pytest.approx(distance, rel=1e-3)
    assert matching_width(maps, masks, 99.0) == 2 * 12
    constant = torch.full((4, 5, 2), 3.0)
    torch.testing.assert_close(blurred(constant, 1.3), constant)
