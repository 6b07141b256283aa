"""The scene that other tests take for the truth is one."""

from __future__ import annotations

import numpy as np
import torch

from app.pictures import psnr, render_depth, render_rgb
from render.rasterizer import rasterize
from tests.corner import SIZE, STRUCTURE, corner_cameras, corner_renderer
from tests.miniatures import COUNT, HEIGHT, VIEWS, WIDTH, tiny_objects


def test_every_thing_has_a_name_of_its_own() -> None:
    objects = tiny_objects()
    assert len(set(objects.names)) == len(objects.names)
    assert {"table", "chair", "plant", "rug", "ball", "vase", "picture"} < set(objects.names)
    assert {objects.names[thing] for thing in objects.things} == set(objects.names) - set(STRUCTURE)
    assert len(objects.maps) == VIEWS


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
        # Away from borders, where a pixel shows one thing alone.
        inside[2:-2, 2:-2] = True
        for shift in ((0, 2), (0, -2), (2, 0), (-2, 0)):
            inside &= np.roll(truth, shift, (0, 1)) == truth
        agreement.append((drawn == truth)[inside].mean())
    assert min(agreement) > 0.97


def test_labels_are_those_of_the_gaussians() -> None:
    objects = tiny_objects()
    means = objects.scene.gaussians.means.numpy()
    floor = means[objects.labels == objects.names.index("floor")]
    assert np.quantile(np.abs(floor[:, 2]), 0.9) < 0.02
    ball = means[objects.labels == objects.names.index("ball")]
    assert np.ptp(ball, axis=0).max() < 0.45


def test_label_maps_do_not_depend_on_resolution() -> None:
    renderer = corner_renderer()
    for small, large in zip(corner_cameras(2, 64, 48), corner_cameras(2, 192, 144), strict=True):
        coarse, fine = renderer.render(small).instances, renderer.render(large).instances
        assert coarse.dtype == np.int16
        assert (fine[1::3, 1::3] == coarse).mean() == 1.0


def test_the_gaussians_look_like_the_photos() -> None:
    scene = tiny_objects().scene
    assert min(psnr(render_rgb(scene.gaussians, view.camera), view.image()) for view in scene.views) > 21
    assert 0.8 * COUNT < len(scene.gaussians) < 1.2 * COUNT
    depth = render_depth(scene.gaussians, scene.views[0].camera)
    assert (depth > 0).mean() > 0.98
    assert 0.5 < depth[depth > 0].min() < depth.max() < np.linalg.norm(SIZE)


def test_the_best_view_shows_the_most_of_a_thing() -> None:
    objects = tiny_objects()
    for thing in objects.things:
        shown = {view: int(objects.mask(view, thing).sum()) for view in objects.maps}
        assert shown[objects.best_view(thing)] == max(shown.values()) > 0
