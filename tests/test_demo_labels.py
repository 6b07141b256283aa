"""The demo scene knows its objects, per Gaussian and per pixel, and scribbles look like a person's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from assets.demo_scene import demo_objects, demo_scene
from assets.furniture import STRUCTURE, furnish
from assets.room_corner import build_room_corner, label_maps, room_cameras
from uplift.evaluation.scribbles import draw_scribbles, scribble_picture
from render.errors import InputError
from render.rasterizer import rasterize
from tests.miniatures import HEIGHT, VIEWS, WIDTH, tiny_objects
from uplift.prompts import read_scribbles


def test_every_part_belongs_to_an_object() -> None:
    names = {part.name for part in furnish()}
    assert "" not in names
    assert set(STRUCTURE) < names
    assert {"table", "chair", "plant", "rug", "beach ball"} < names
    objects = tiny_objects()
    assert {objects.names[thing] for thing in objects.things} == names - set(STRUCTURE)


def test_gaussians_and_pixels_agree_on_what_is_seen() -> None:
    objects = tiny_objects()
    gaussians = objects.scene.gaussians
    assert objects.labels.shape == (len(gaussians),)
    columns = torch.nn.functional.one_hot(torch.from_numpy(objects.labels).long()).float()
    agreement = []
    for view in objects.scene.views:
        truth = objects.maps[view.name]
        assert truth.shape == (HEIGHT, WIDTH)
        drawn = rasterize(gaussians, view.camera, columns).values.argmax(-1).numpy()
        inside = np.zeros(truth.shape, bool)
        # Away from borders, where a pixel shows one object alone.
        inside[2:-2, 2:-2] = True
        for shift in ((0, 2), (0, -2), (2, 0), (-2, 0)):
            inside &= np.roll(truth, shift, (0, 1)) == truth
        agreement.append((drawn == truth)[inside].mean())
    assert min(agreement) > 0.97


def test_labels_are_those_of_the_gaussians_that_were_built() -> None:
    built = build_room_corner(count=2000, views=1, width=64, height=48)
    assert len(built.labels) == len(built.gaussians)
    floor = built.labels == built.object_names.index("floor")
    assert np.abs(built.gaussians.means[torch.from_numpy(floor), 2].numpy()).max() < 1e-5
    ball = torch.from_numpy(built.labels == built.object_names.index("beach ball"))
    centre = torch.tensor([1.12, 1.46, 0.202])
    assert ((built.gaussians.means[ball] - centre).norm(dim=1) - 0.19).abs().max() < 0.003


def test_label_maps_do_not_depend_on_resolution() -> None:
    coarse, names = label_maps(room_cameras(2, 64, 48))
    fine, _ = label_maps(room_cameras(2, 192, 144))
    assert names[: len(STRUCTURE)] == STRUCTURE
    for small, large in zip(coarse, fine, strict=True):
        assert small.dtype == np.int16
        assert (large[1::3, 1::3] == small).mean() == 1.0


def test_objects_of_another_scene_are_refused(tmp_path: Path) -> None:
    scene = demo_scene(count=1000, views=1, width=48, height=36, cache=tmp_path)
    moved = scene.gaussians
    replace(moved, means=moved.means + 0.1).save(scene.gaussians_path)
    with pytest.raises(InputError, match="delete that folder"):
        demo_objects(count=1000, views=1, width=48, height=36, cache=tmp_path)


def test_the_best_view_shows_the_most_of_an_object() -> None:
    objects = tiny_objects()
    for thing in objects.things:
        shown = {view: int(objects.mask(view, thing).sum()) for view in objects.maps}
        assert shown[objects.best_view(thing)] == max(shown.values()) > 0


def test_scribbles_lie_inside_and_outside_and_repeat() -> None:
    maps, names = label_maps(room_cameras(1, 320, 240))
    for index, name in enumerate(names):
        mask = maps[0] == index
        if name in STRUCTURE or mask.sum() < 50:
            continue
        positive, negative = draw_scribbles(mask)
        assert positive.any(), name
        assert not (positive & ~mask).any(), name
        assert negative.any(), name
        assert not (negative & mask).any(), name
        assert positive.sum() < 0.75 * mask.sum(), name
        again = draw_scribbles(mask)
        assert (again[0] == positive).all()
        assert (again[1] == negative).all()
        other = draw_scribbles(mask, seed=1)
        assert (other[1] != negative).any(), name


def test_strokes_reach_from_end_to_end() -> None:
    mask = np.zeros((60, 200), bool)
    mask[20:40, 10:190] = True
    positive, _ = draw_scribbles(mask)
    columns = np.flatnonzero(positive.any(0))
    assert columns.min() < 30
    assert columns.max() > 170


def test_single_pixels_and_whole_pictures_can_be_scribbled_on() -> None:
    mask = np.zeros((30, 40), bool)
    mask[10, 20] = True
    positive, negative = draw_scribbles(mask)
    assert positive.sum() == 1
    assert negative.any()
    whole, none = draw_scribbles(np.ones((30, 40), bool))
    assert whole.any()
    assert not none.any()


def test_a_scribble_picture_is_read_as_it_was_drawn(tmp_path: Path) -> None:
    from PIL import Image

    objects = tiny_objects()
    view = objects.scene.views[0]
    drawn = draw_scribbles(objects.mask(view.name, objects.things[0]))
    Image.fromarray(scribble_picture(*drawn)).save(tmp_path / "scribble.png")
    prompt = read_scribbles(tmp_path / "scribble.png", view)
    assert (prompt.positive == drawn[0]).all()
    assert (prompt.negative == drawn[1]).all()


def test_empty_masks_are_refused() -> None:
    with pytest.raises(InputError, match="0 pixels"):
        draw_scribbles(np.zeros((8, 8), bool))
    with pytest.raises(InputError, match="uint8"):
        draw_scribbles(np.ones((8, 8), np.uint8))


def test_the_tiny_scene_has_the_views_that_miniatures_expect() -> None:
    assert len(tiny_objects().maps) == VIEWS
