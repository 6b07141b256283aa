"""Gaussians drawn on the surfaces of rooms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from render.gaussians import Gaussians
from render.rasterizer import rasterize
from tests.box_rooms import RED, SIZE, box, room_of
from training.rooms.cameras import room_cameras
from training.rooms.materials import Material
from training.rooms.reading import RoomScene
from training.rooms.rendering import RoomRenderer
from training.rooms.sampling import fitted, sample_gaussians
from training.rooms.writing import RoomFormat, write_room

COUNT = 12_000
STRIPED = Material("stripes", ((0.9, 0.9, 0.85), (0.1, 0.1, 0.3)), scale=0.1)


@pytest.fixture(scope="module")
def renderer() -> RoomRenderer:
    # A board hidden in a closed box can be seen by nobody.
    things = [
        box("box", (0.7, 0.6, 0.5), (0.8, 2.5, 0.25), RED, turn=0.4),
        box("book", (0.3, 0.02, 0.3), (0.8, 2.5, 0.25)),
        box("cabinet", (0.9, 0.5, 1.2), (2.4, 2.9, 0.6), STRIPED),
    ]
    return RoomRenderer(room_of(*things), threads=1)


@pytest.fixture(scope="module")
def sampled(renderer: RoomRenderer) -> tuple[Gaussians, np.ndarray]:
    return sample_gaussians(renderer, COUNT)


def psnr(gaussians: Gaussians, renderer: RoomRenderer, seed: int) -> float:
    errors = []
    for camera in room_cameras(renderer.room, 4, 96, 72, seed):
        shown = rasterize(gaussians, camera).values.clamp(0, 1).numpy()
        errors.append(((shown - renderer.render(camera).rgb / 255.0) ** 2).mean())
    return float(-10 * np.log10(np.mean(errors)))


def test_about_as_many_as_asked_lie_on_the_surfaces(sampled: tuple[Gaussians, np.ndarray]) -> None:
    gaussians, instances = sampled
    assert 0.75 * COUNT < len(gaussians) < 1.25 * COUNT
    assert instances.dtype == np.int16
    assert instances.shape == (len(gaussians),)
    means = gaussians.means.numpy()
    floor, walls = means[instances == 1], means[instances == 0]
    np.testing.assert_allclose(floor[:, 2], 0, atol=1e-5)
    to_walls = np.stack([walls[:, 0], SIZE[0] - walls[:, 0], walls[:, 1], SIZE[1] - walls[:, 1]])
    np.testing.assert_allclose(np.abs(to_walls).min(0), 0, atol=1e-5)
    assert (means > -1e-4).all()
    assert (means < np.array(SIZE) + 1e-4).all()


def test_discs_lie_flat_on_their_surface(sampled: tuple[Gaussians, np.ndarray]) -> None:
    gaussians, instances = sampled
    scales = gaussians.scales.numpy()
    assert (scales[:, 2] < 0.1 * scales[:, 0]).all()
    assert (scales[:, 1] <= scales[:, 0] + 1e-7).all()
    w, x, y, z = torch.nn.functional.normalize(gaussians.quats, dim=1).numpy().T
    third = np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], -1)
    np.testing.assert_allclose(
        np.abs(third[instances == 1]), np.broadcast_to([0, 0, 1], third[instances == 1].shape), atol=1e-4
    )
    # Narrow across an edge: the floor ends at the wall.
    close = (instances == 1) & (gaussians.means[:, 0].numpy() < 0.01)
    middle = (instances == 1) & (np.abs(gaussians.means[:, 0].numpy() - 1.5) < 0.3)
    assert close.sum() > 3
    ratio = scales[:, 1] / scales[:, 0]
    assert ratio[close].max() < 0.7
    assert np.median(ratio[middle]) > 0.99


def test_what_nobody_can_see_gets_none(sampled: tuple[Gaussians, np.ndarray]) -> None:
    _, instances = sampled
    assert set(np.unique(instances)) == {0, 1, 2, 3, 5}


def test_detail_gets_more(sampled: tuple[Gaussians, np.ndarray]) -> None:
    gaussians, instances = sampled
    assert gaussians.scales[instances == 5, 0].median() < 0.7 * gaussians.scales[instances == 2, 0].median()


def test_they_look_like_the_photos_from_elsewhere_too(
    renderer: RoomRenderer, sampled: tuple[Gaussians, np.ndarray]
) -> None:
    gaussians, _ = sampled
    cameras = room_cameras(renderer.room, 40, 96, 72, 1)
    better = fitted(gaussians, cameras, [renderer.render(camera).rgb for camera in cameras], steps=150)
    before, after = psnr(gaussians, renderer, 2), psnr(better, renderer, 2)
    assert before > 20
    assert after > before + 3
    assert (better.means - gaussians.means).norm(dim=1).quantile(0.9) < 0.03


def test_gaussians_are_written_with_their_instances(tmp_path: Path) -> None:
    write_room(tmp_path / "room", "test", 1, RoomFormat(3, 64, 48, "sampled", 4000), threads=1)
    room = RoomScene.open(tmp_path / "room")
    instances = room.gaussian_instances()
    assert instances.shape == (len(room.scene.gaussians),)
    assert set(np.unique(instances)) <= set(range(len(room.things)))
    assert room.scene.check() == []
    # The most opaque Gaussian of most pixels is the pixel's thing.
    view = room.scene.views[0]
    values = torch.nn.functional.one_hot(torch.from_numpy(instances).long(), len(room.things)).float()
    shown = rasterize(room.scene.gaussians, view.camera, values=values).values.argmax(-1).numpy()
    assert (shown == room.instances(view.name)).mean() > 0.85
