from __future__ import annotations

from pathlib import Path

import pytest
import torch

from render import InputError, Scene
from render.rasterizer import reference
from tests.room import tiny_scene
from uplift import lift, load_encoder
from uplift.hold_out import HeldOutError, held_out_error, split_views


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene.open(tiny_scene(tmp_path))


def test_every_nth_photo_in_the_order_of_names_is_held_out(scene: Scene) -> None:
    kept, held = split_views(list(reversed(scene.views)), 2)
    names = sorted(view.name for view in scene.views)
    assert sorted(view.name for view in held) == names[::2]
    assert sorted(view.name for view in kept) == names[1::2]


@pytest.mark.parametrize("every", [-1, 0, 1])
def test_holding_out_all_photos_is_refused(scene: Scene, every: int) -> None:
    with pytest.raises(InputError, match="can be held out"):
        split_views(scene.views, every)


def test_the_error_is_that_of_the_reference_rendering(scene: Scene) -> None:
    kept, held = split_views(scene.views, 2)
    encoder = load_encoder("rgb")
    field = lift(scene.gaussians, kept, encoder)
    found = held_out_error(scene.gaussians, field, held, encoder)
    assert len(found.mean_squares) == len(held)
    for mean_square, view in zip(found.mean_squares, held, strict=True):
        truth = torch.as_tensor(view.image()).float() / 255
        rendered = reference.rasterize(scene.gaussians, view.camera, field.values.float()).values
        assert mean_square == pytest.approx(float((rendered - truth).square().mean()), rel=1e-4)
    truths = torch.cat([torch.as_tensor(view.image()).float().reshape(-1, 3) / 255 for view in held])
    assert found.variance == pytest.approx(float(truths.var(0, unbiased=False).mean()), rel=1e-3)
    assert 0 < found.explained < 1


def test_psnr_is_averaged_over_views() -> None:
    error = HeldOutError((0.1, 0.001), variance=0.2)
    assert error.psnr == pytest.approx((10 + 30) / 2)
    assert error.explained == pytest.approx(1 - 0.0505 / 0.2)
